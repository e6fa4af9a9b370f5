"""What is kept of a config on disk: whole, private, and nobody else's."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from gateway.config.kept import Kept, LastGood, UnusableError
from gateway.errors import UsageError

MAIN = b"version: 1\nmodels: {demo: mock/echo}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def entry(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


def test_what_was_written_is_read_again(folder: Path) -> None:
    kept = LastGood(folder, Path("routes.yaml"))
    assert kept.read() is None
    for main, included in ((MAIN, {}), (b"", {}), (MAIN, {"teams/ä.yaml": b"\x00\n\xff", "b": b""})):
        kept.write(main, included, accepted_at=12.5)
        assert kept.read() == Kept(main=main, included=included, accepted_at=12.5)
        assert LastGood(folder, Path("routes.yaml")).read() == kept.read()


def test_it_is_for_this_user_only(folder: Path) -> None:
    mask = os.umask(0)
    try:
        LastGood(folder, Path("routes.yaml")).write(MAIN, accepted_at=0)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(folder).stat().st_mode) == 0o600


def test_each_config_file_has_its_own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LastGood(folder, tmp_path / "a" / "routes.yaml").write(MAIN, accepted_at=0)
    assert LastGood(folder, tmp_path / "b" / "routes.yaml").read() is None
    monkeypatch.chdir(tmp_path)
    assert LastGood(folder, Path("a/routes.yaml")).read() is not None


def test_damage_is_noticed_wherever_it_is(folder: Path) -> None:
    kept = LastGood(folder, Path("routes.yaml"))
    kept.write(MAIN, {"teams/a.yaml": b"models: {}\n"}, accepted_at=0)
    path = entry(folder)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        with pytest.raises(UnusableError, match=r"is damaged|was written by another version"):
            kept.read()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UnusableError, match=r"is damaged|was written by another version"):
            kept.read()
    path.write_bytes(whole)
    assert kept.read() is not None


def test_what_is_no_file_is_told(folder: Path) -> None:
    kept = LastGood(folder, Path("routes.yaml"))
    kept.write(MAIN, accepted_at=0)
    path = entry(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnusableError, match="cannot be read: not a regular file"):
        kept.read()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(UsageError, match="is not safe: others may write to it"):
        LastGood(folder, Path("routes.yaml"))


def test_a_folder_that_others_can_read_will_do(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    LastGood(folder, Path("routes.yaml")).write(MAIN, accepted_at=0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "is no folder"),
        ("nowhere/state", "no such file or directory"),
        ("file/state", "not a directory"),
        ("a\0b", "null"),
    ],
)
def test_what_is_no_folder_is_a_usage_error(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=said):
        LastGood(tmp_path / name, Path("routes.yaml"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_usage_error(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with pytest.raises(UsageError, match="permission denied"):
        LastGood(folder, Path("routes.yaml"))


def test_what_a_killed_writer_left_is_removed(folder: Path) -> None:
    kept = LastGood(folder, Path("routes.yaml"))
    kept.write(MAIN, accepted_at=0)
    path = entry(folder)
    old, new = (path.with_name(f".{path.name}.{word}") for word in ("old", "new"))
    for left in (old, new):
        left.write_bytes(b"")
    os.utime(old, (time.time() - 3600,) * 2)
    LastGood(folder, Path("routes.yaml"))
    assert (old.exists(), new.exists()) == (False, True)
