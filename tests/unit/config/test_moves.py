"""Renames into place are told from files made or written in place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.config import moves as module
from gateway.config.moves import Moves

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux'")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "routes.yaml").write_text("old")
    (tmp_path / "fresh").write_text("new")
    return tmp_path / "routes.yaml"


@pytest.fixture
def moves(path: Path) -> Iterator[Moves]:
    moves = Moves()
    moves.watch([str(path.parent)])
    yield moves
    moves.close()


def rename(path: Path) -> None:
    path.with_name("fresh").rename(path)


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")


def anew(path: Path) -> None:
    path.unlink()
    path.write_text("new")


def other(path: Path) -> None:
    path.with_name("other").write_text("noise")


def unlink(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("steps", "renamed"),
    [
        ([], False),
        ([other], False),
        ([append], False),
        ([anew], False),
        ([rename], True),
        ([rename, other], True),
        ([append, rename], True),
        ([anew, rename], True),
        ([rename, append], False),
        ([rename, anew], False),
    ],
)
def test_only_a_rename_that_nothing_followed_counts(
    moves: Moves, path: Path, steps: list[Callable[[Path], None]], renamed: bool
) -> None:
    for step in steps:
        step(path)
    assert moves.renamed([str(path)]) is renamed


def test_what_was_read_is_forgotten(moves: Moves, path: Path) -> None:
    rename(path)
    assert moves.renamed([str(path)])
    moves.forget()
    assert not moves.renamed([str(path)])


def test_a_link_that_was_swapped_counts_unless_its_file_is_written_since(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to("routes.yaml")
    folder = path.with_name("folder")
    folder.mkdir()
    (folder / "file").write_text("new")
    moves = Moves()
    moves.watch([str(path.parent)])
    (folder / "swap").symlink_to("folder/file")
    (folder / "swap").rename(link)
    entries = [str(link), str(folder / "file")]
    moves.watch([str(path.parent), str(folder)])
    assert moves.renamed(entries)
    append(path)
    assert moves.renamed(entries)
    append(folder / "file")
    assert not moves.renamed(entries)
    moves.close()


def test_a_folder_that_was_made_anew_is_watched_again(moves: Moves, path: Path) -> None:
    for file in (path, path.with_name("fresh")):
        file.unlink()
    path.parent.rmdir()
    moves.watch([str(path.parent)])
    assert not moves.renamed([str(path)])
    path.parent.mkdir()
    path.with_name("fresh").write_text("new")
    moves.watch([str(path.parent)])
    rename(path)
    assert moves.renamed([str(path)])


def test_each_file_has_its_own_renames(moves: Moves, path: Path) -> None:
    rename(path)
    other(path)
    assert moves.renamed([str(path)])
    assert not moves.renamed([str(path.with_name("other"))])
    path.with_name("other").rename(path.with_name("a-new-one"))
    assert moves.renamed([str(path.with_name("a-new-one"))])


def test_the_names_that_are_kept_are_bounded(moves: Moves, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_NAMES", 10)
    rename(path)
    assert moves.renamed([str(path)])
    for number in range(20):
        path.with_name(f"noise-{number}").touch()
    assert not moves.renamed([str(path)])


def test_when_events_were_lost_nothing_counts_until_the_next_rename(moves: Moves, path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("too many events to lose")
    rename(path)
    with ExitStack() as stack:
        others = [stack.enter_context(path.with_name(name).open("wb", buffering=0)) for name in ("a", "b")]
        for number in range(limit):  # of equal events in a row the kernel keeps one
            others[number % 2].write(b"x")
    assert not moves.renamed([str(path)])
    path.with_name("fresh").write_text("newer")
    rename(path)
    assert moves.renamed([str(path)])


def test_after_the_end_nothing_counts(path: Path) -> None:
    moves = Moves()
    moves.close()
    moves.close()
    moves.watch([str(path.parent)])
    rename(path)
    assert not moves.renamed([str(path)])
