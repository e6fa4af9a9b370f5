"""The files that the names and patterns of a command line match."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gateway.cli.checked import expand
from gateway.errors import UsageError

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def files(tmp_path: Path) -> None:
    """Make a few files in the current folder."""
    for name in (
        "b.yaml",
        "a.yaml",
        "a.test.yaml",
        "[x].yaml",
        "routes/c.yml",
        "routes/deep/d.yaml",
        "cases/e.test.yml",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "lost.yml").symlink_to("nowhere")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["b.yaml", "a.yaml"], ["b.yaml", "a.yaml"]),
        (["?.yaml"], ["a.yaml", "b.yaml"]),
        (["b.yaml", "*.yaml"], ["b.yaml", "[x].yaml", "a.yaml"]),
        (["**/*.y*ml"], ["[x].yaml", "a.yaml", "b.yaml", "lost.yml", "routes/c.yml", "routes/deep/d.yaml"]),
        (["lost*"], ["lost.yml"]),
        (["routes/**"], ["routes/c.yml", "routes/deep/d.yaml"]),
        (["[x].yaml"], ["[x].yaml"]),
        (["a.yaml", "./a.yaml", "routes/../a.yaml", "-", "-"], ["a.yaml", "-"]),
        (["a.test.yaml"], ["a.test.yaml"]),
        (["none.yaml", "folder.yaml"], ["none.yaml", "folder.yaml"]),
    ],
)
def test_patterns_are_filled_in_and_every_file_stays_where_it_first_stood(given: list[str], names: list[str]) -> None:
    assert expand(given) == names


@pytest.mark.usefixtures("files")
def test_a_file_is_the_same_however_it_is_named() -> None:
    assert expand(["a.yaml", os.path.abspath("a.yaml")]) == ["a.yaml"]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("no/*.yaml", "no file matches 'no/*.yaml'"),
        ("folder.y*ml", "no file matches 'folder.y*ml'"),
        ("cases/*", "'cases/*' matches files of test cases alone; `gateway test` plays them"),
        ("", "the name of a file is empty"),
    ],
)
def test_a_pattern_for_nothing_is_wrong_usage(pattern: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        expand(["a.yaml", pattern])
