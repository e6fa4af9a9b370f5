"""A file that is being written is not taken for whole; one that was renamed into place is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gateway.policy.regular_file import read_regular_file
from gateway.policy.stamp import Stamp
from gateway.policy.writers import QUIET_S, held_for_writing, is_half_written
from tests.saving import linux
from tests.special_files import SPECIAL_FILES


def version(path: Path) -> Stamp:
    return read_regular_file(path, limit_bytes=100)[1]


@linux
def test_a_file_is_half_written_while_it_is_open_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    before = version(path)
    with path.open("w") as file:
        file.write("ne")
        file.flush()
        assert is_half_written(path, version(path), before=before, now=time.time() + 60)
        file.write("w")
    assert not is_half_written(path, version(path), before=before, now=time.time())


def test_what_was_written_since_it_was_read_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("half")
    read = version(path)
    path.write_text("whole version")
    assert is_half_written(path, read, before=None, now=time.time())


def test_where_nobody_tells_who_writes_a_write_in_place_has_to_rest(tmp_path: Path) -> None:
    """A file of another user: `held_for_writing` says None, as it does for the descriptor of a pipe."""
    reader, writer = os.pipe()
    try:
        assert held_for_writing(reader) is None
    finally:
        os.close(reader)
        os.close(writer)
    path = Path("/proc/self/mountinfo")
    if held_for_writing(os.open(path, os.O_RDONLY)) is not None:
        pytest.skip("this system tells for every file")
    found = version_of_proc(path)
    changed_at = max(found[3:]) / 1e9
    assert is_half_written(path, found, before=found, now=changed_at + QUIET_S / 2)
    assert not is_half_written(path, found, before=found, now=changed_at + 2 * QUIET_S)
    assert not is_half_written(path, found, before=(0, 0, *found[2:]), now=changed_at)
    assert not is_half_written(path, found, before=None, now=changed_at)
    assert not is_half_written(path, found, before=found, now=changed_at - 3600)


def version_of_proc(path: Path) -> Stamp:
    return read_regular_file(path, limit_bytes=1024 * 1024)[1]


@pytest.mark.parametrize("kind", SPECIAL_FILES)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    SPECIAL_FILES[kind](tmp_path / "f")
    assert is_half_written(tmp_path / "f", (0, 0, 0, 0, 0), before=None, now=0) in (True, False)
