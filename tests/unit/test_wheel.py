"""What people install: the wheel carries what lies outside the package."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gateway.config.model.read import schema
from gateway.config.problems import codes
from tests.paths import ROOT


@pytest.mark.timeout(60)
def test_the_schemas_and_the_pages_are_read_from_an_installed_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")

    def run(*argv: str) -> str:
        env = {"PYTHONPATH": str(tmp_path / "installed")}
        command = [sys.executable, *argv]
        return subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert Path(run("-c", "import gateway.config as c; print(c.__file__)").strip()).is_relative_to(tmp_path)
    assert json.loads(run("-m", "gateway", "schema")) == schema()
    assert json.loads(run("-m", "gateway", "schema", "test")) == schema("routes.test")
    assert len(run("-m", "gateway", "validate", "--explain").splitlines()) == len(codes())
