"""Only small regular files are read, and nothing else is waited for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from gateway.policy.keys import MAX_KEY_FILE_BYTES, KeySource, Secret
from gateway.policy.regular_file import read_regular_file, why
from gateway.policy.stamp import stamp, stamp_of
from tests.special_files import SPECIAL_FILES

LIMIT: Final = 1000


def test_a_regular_file_is_read_with_its_stamp(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for size in (0, 1, LIMIT):
        path.write_bytes(b"x" * size)
        assert read_regular_file(path, limit_bytes=LIMIT) == (b"x" * size, stamp_of(os.stat(path)))
    (tmp_path / "link").symlink_to(path)
    assert read_regular_file(tmp_path / "link", limit_bytes=LIMIT)[0] == b"x" * LIMIT


@pytest.mark.parametrize("kind", SPECIAL_FILES)
def test_another_is_an_error_at_once(tmp_path: Path, kind: str) -> None:
    SPECIAL_FILES[kind](tmp_path / "f")
    with pytest.raises(OSError, match=r".") as caught:
        read_regular_file(tmp_path / "f", limit_bytes=MAX_KEY_FILE_BYTES)
    assert why(caught.value) in {
        "not a regular file",
        f"larger than {MAX_KEY_FILE_BYTES} bytes",
        "no such file or directory",
        "too many levels of symbolic links",
    }
    source = KeySource(name="k", file=tmp_path / "f")
    assert source.read() is None
    (tmp_path / "g").write_text("key-1")
    os.rename(tmp_path / "g", tmp_path / "f") if kind != "folder" else None
    assert source.read() == (None if kind == "folder" else Secret("key-1"))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system has no /proc")
def test_a_file_without_a_size_is_bounded_too() -> None:
    with pytest.raises(OSError, match="larger than 1 bytes"):
        read_regular_file(Path("/proc/self/status"), limit_bytes=1)


def test_a_name_with_a_nul_character_is_no_file() -> None:
    with pytest.raises(OSError, match="null"):
        read_regular_file(Path("a\0b"), limit_bytes=LIMIT)
    assert (stamp("a\0b"), KeySource(name="k", file=Path("a\0b")).read()) == (None, None)


def test_a_pipe_with_a_writer_is_not_read_either(tmp_path: Path) -> None:
    """A device or pipe may be fed later: what it holds is not for us to take."""
    os.mkfifo(tmp_path / "f")
    reader = os.open(tmp_path / "f", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "f", os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"key-1")
    assert KeySource(name="k", file=tmp_path / "f").read() is None
    assert os.read(reader, 100) == b"key-1"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("change", [os.unlink, lambda path: os.truncate(path, 0)])
def test_a_file_that_vanishes_or_shrinks_meanwhile_is_no_trouble(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    path, ended = tmp_path / "f", threading.Event()

    def churn() -> None:
        while not ended.is_set():
            path.write_bytes(b"k" * 100)
            change(path)

    thread = threading.Thread(target=churn)
    thread.start()
    source = KeySource(name="k", file=path)
    try:
        for _ in range(500):
            read = source.read()
            assert read is None or set(read.reveal()) == {"k"}
    finally:
        ended.set()
        thread.join()
