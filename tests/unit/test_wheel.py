"""What people install: the wheel carries what lies outside the package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gateway.config import schema

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(60)
def test_the_schema_is_read_from_an_installed_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = "import gateway.config as c, sys; sys.stdout.write(c.__file__ + '\\n' + str(len(str(c.schema()))))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    file, size = run.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert int(size) == len(str(schema()))
