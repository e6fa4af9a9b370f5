"""What pyproject.toml declares: the dependencies, and the oldest version that each may have."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from packaging.requirements import Requirement

from tests.paths import ROOT

PYPROJECT: Final = ROOT / "pyproject.toml"


def dependencies() -> list[Requirement]:
    """Return what the package needs where it runs."""
    return [Requirement(line) for line in _read()["project"]["dependencies"]]


def extra(name: str) -> list[Requirement]:
    """Return what an extra needs beside that."""
    return [Requirement(line) for line in _read()["project"]["optional-dependencies"][name]]


def build_requirements() -> list[Requirement]:
    """Return what the package is built with."""
    return [Requirement(line) for line in _read()["build-system"]["requires"]]


def oldest(requirement: Requirement) -> Requirement | None:
    """Return the requirement for its lower bound and nothing else; None if it has none."""
    bounds = [part.version for part in requirement.specifier if part.operator == ">="]
    if not bounds:
        return None
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return Requirement(f"{requirement.name}=={bounds[0]}{marker}")


def _read() -> dict[str, Any]:
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
