"""The tools that check the files of `deploy/`: those of the machine, or those that `make manifests` installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.paths import ROOT

DEPLOY: Final = ROOT / "deploy"
INSTALLED: Final = ROOT / ".bench" / "deploy"
"""Where `make manifests` puts them."""
_WHERE: Final = os.pathsep.join([str(INSTALLED / "bin"), os.environ.get("PATH", "")])


def tool(*names: str, how: str = "make manifests") -> str:
    """Return the path of the first of some programs that is there; skip the test where none is."""
    for name in names:
        if found := shutil.which(name, path=_WHERE):
            return found
    pytest.skip(f"no {' and no '.join(names)} on this machine: {how}")


def installed(name: str) -> Path:
    """Return the path of a file that `make manifests` installs; skip the test where it is not there."""
    path = INSTALLED / name
    if not path.exists():
        pytest.skip(f"no {path.relative_to(ROOT)}: make manifests")
    return path


def run(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool in the repository."""
    return subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=False)
