"""Reads a lock, as `make lock` writes them: deploy/constraints.txt, build-constraints.txt, constraints-redis.txt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

LOCK: Final = ROOT / "deploy" / "constraints.txt"
BUILD_LOCK: Final = ROOT / "deploy" / "build-constraints.txt"
REDIS_LOCK: Final = ROOT / "deploy" / "constraints-redis.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """One package of a lock."""

    name: str
    """In its normal form: lower case, with hyphens."""
    version: str
    marker: Marker | None
    """Where it is installed; None is everywhere."""
    sha256: tuple[str, ...]
    """The digests of the version's files, in hex. pip takes no other file."""
    parents: tuple[str, ...]
    """Who needs it: names of packages, our own included."""


def read(path: Path = LOCK) -> dict[str, Locked]:
    """Return a lock's packages by name. Raises ValueError for a line that is not of one."""
    found: dict[str, Locked] = {}
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    for entry in re.split(r"\n(?=\S)", text):
        if not entry.strip():
            continue
        first, *rest = entry.splitlines()
        requirement = Requirement(first.removesuffix("\\").strip())
        (pin,) = requirement.specifier
        if pin.operator != "==":
            raise ValueError(f"{path.name}: not locked: {first}")
        name = canonicalize_name(requirement.name)
        found[name] = Locked(
            name=name,
            version=pin.version,
            marker=requirement.marker,
            sha256=tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})(?!\S)", "\n".join(rest))),
            parents=tuple(name for name in (_parent(line) for line in rest) if name),
        )
    return found


def _parent(line: str) -> str:
    """Return the name in a line `# via NAME`, `# via NAME (FILE)` or `#   NAME`; empty for any other."""
    match = re.match(r" +#(?: via(?!$))? +(?!via$)([\w.-]+)(?: \(.*\))?$", line)
    return canonicalize_name(match[1]) if match else ""
