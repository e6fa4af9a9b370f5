"""Builds our distributions, and installs one beside linked copies of what it needs: no package is downloaded."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib.metadata import distribution
from pathlib import Path

from tests.paths import ROOT
from tests.supply import slim
from tests.supply.locked import Locked


def build(project: Path, folder: Path) -> Path:
    """Build the wheel of a project into an empty folder, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def wheels(folder: Path) -> dict[str, Path]:
    """Build both distributions; return the paths by name."""
    projects = {"routes-gateway": ROOT, slim.NAME: slim.PROJECT}
    return {name: build(project, folder / name) for name, project in projects.items()}


def here(lock: Mapping[str, Locked]) -> list[str]:
    """Return the names of a lock's packages that this platform and Python need."""
    return [name for name, package in lock.items() if package.marker is None or package.marker.evaluate()]


def environment(folder: Path, needed: Iterable[str], wheel: Path) -> Path:
    """Make a virtual environment with a wheel and, as links, the packages that it needs; return its Python.

    The versions of these are those installed here, and need not be the locked ones.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for name in needed:
        installed = distribution(name)
        tops = {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}
        for top in tops:
            (packages / top).symlink_to(Path(str(installed.locate_file(top))))
    python = folder / "bin" / "python"
    pip(python, "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    return python


def pip(python: Path, *arguments: str) -> str:
    """Run the pip of this environment on another one; return what it prints."""
    command = [sys.executable, "-m", "pip", "--python", str(python), *arguments, "--disable-pip-version-check"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
