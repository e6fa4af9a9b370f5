"""When a save is complete: the decision from look to look, and who has a file open for writing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from gateway.config.saves import LONG_S, QUIET_S, REPLACED_S, TICK_S, Look, Looks, Save, look_at, wait_for_writer
from gateway.errors import UsageError
from gateway.policy.stamp import Stamp, stamp
from tests.saving import IS_ROOT, NOBODY, folder_in, linux

ONE: Stamp = (1, 1, 10, 0, 0)
TWO: Stamp = (1, 1, 20, 5, 5)
HOLD = "import sys, time; file = open(sys.argv[1], sys.argv[2]); print(flush=True); time.sleep(60)"


def played(looks: list[tuple[float, Look]]) -> list[bool]:
    save = Save(Path("routes.yaml"), now_s=100.0)
    return [save.is_complete(Looks(look), now_s=100 + at_s) for at_s, look in looks]


@pytest.mark.parametrize(
    ("looks", "complete"),
    [
        ([(0.0, Look(ONE, False)), (0.19, Look(ONE, False)), (0.2, Look(ONE, False))], [False, False, True]),
        ([(0.0, Look(ONE, None)), (0.2, Look(ONE, None))], [False, True]),
        ([(0.0, Look(ONE, False)), (0.2, Look(TWO, False)), (0.4, Look(TWO, False))], [False, False, True]),
        ([(0.0, Look(ONE, True)), (9.0, Look(ONE, True)), (9.1, Look(ONE, False))], [False, False, True]),
        ([(0.0, Look(None, None)), (0.1, Look(ONE, False)), (0.25, Look(ONE, False))], [False, False, False]),
        ([(0.0, Look(None, None)), (0.2, Look(None, None))], [False, True]),
    ],
)
def test_a_save_is_complete_once_it_is_quiet_and_nobody_has_it_open(
    looks: list[tuple[float, Look]], complete: list[bool]
) -> None:
    assert played(looks) == complete


def test_files_that_are_replaced_again_and_again_count_after_a_while() -> None:
    save = Save(Path("routes.yaml"), now_s=0.0)
    looks = [Looks(Look((1, tick, 10, tick, tick), None)) for tick in range(40)]
    complete = [save.is_complete(look, now_s=n * 0.04, in_place=False) for n, look in enumerate(looks)]
    assert complete.index(True) * 0.04 == pytest.approx(REPLACED_S)


@pytest.mark.parametrize(("in_place", "held"), [(True, False), (False, True)])
def test_what_is_written_in_place_or_held_open_has_to_rest(*, in_place: bool, held: bool) -> None:
    save = Save(Path("routes.yaml"), now_s=0.0)
    looks = [Looks(Look((1, tick, 10, tick, tick), held)) for tick in range(40)]
    complete = [save.is_complete(look, now_s=n * 0.04, in_place=in_place) for n, look in enumerate(looks)]
    assert not any(complete)
    assert not save.is_complete(Looks(Look((1, 99, 10, 99, 99), False)), now_s=1.6, in_place=False)


QUIET: Final = Look(ONE, False)
BESIDE: Final = "/conf/teams/a.yaml"


@pytest.mark.parametrize(
    ("later", "complete"),
    [
        ({BESIDE: Look(ONE, False)}, True),
        ({BESIDE: Look(TWO, False)}, False),
        ({BESIDE: Look(ONE, True)}, False),
        ({BESIDE: Look(None, None)}, False),
        ({}, False),
        ({BESIDE: Look(ONE, False), "/conf/teams/b.yaml": QUIET}, False),
    ],
)
def test_a_save_of_several_files_is_complete_once_all_are_quiet(later: dict[str, Look], complete: bool) -> None:
    save = Save(Path("routes.yaml"), now_s=0.0)
    assert not save.is_complete(Looks(QUIET, {BESIDE: QUIET}), now_s=0.0)
    assert save.is_complete(Looks(QUIET, later), now_s=0.2) is complete


def test_a_long_save_names_the_included_file(caplog: pytest.LogCaptureFixture) -> None:
    for held in (True, False):
        save = Save(Path("routes.yaml"), now_s=0.0)
        for tick in range(120):
            save.is_complete(Looks(QUIET, {BESIDE: Look((1, 1, tick, tick, tick), held)}), now_s=tick * TICK_S)
    assert [vars(record)["source"] for record in caplog.records] == [BESIDE, BESIDE]


def test_the_age_of_several_files_is_that_of_the_latest_change() -> None:
    old, new = Look((1, 1, 1, 0, 10**9), False), Look((1, 1, 1, 0, 5 * 10**9), False)
    assert Looks(old, {BESIDE: new}).age_s(now=6.0) == 1.0
    assert Looks(old, {BESIDE: Look(None, None)}).age_s(now=6.0) is None


@pytest.mark.parametrize("held", [True, None])
def test_a_long_save_is_logged_once(held: bool | None, caplog: pytest.LogCaptureFixture) -> None:
    save = Save(Path("routes.yaml"), now_s=0.0)
    for tick in range(400):
        assert not save.is_complete(Looks(Look((1, 1, tick, tick, tick), held)), now_s=tick * TICK_S)
        assert len(caplog.records) == (tick * TICK_S >= LONG_S)
    assert ("has it open" if held else "keeps changing") in vars(caplog.records[0])["reason"]


@pytest.mark.parametrize(("now", "age_s"), [(12.0, 2.0), (10.0, 0.0), (9.0, None)])
def test_the_age_is_that_of_the_latest_time_and_unknown_when_it_lies_ahead(now: float, age_s: float | None) -> None:
    assert Look((1, 1, 1, 4 * 10**9, 10**10), False).age_s(now=now) == age_s
    assert Look(None, None).age_s(now=now) is None


@linux
@pytest.mark.parametrize(("mode", "held"), [("r", False), ("w", True), ("a", True), ("r+", True)])
def test_a_writer_is_told_from_a_reader(tmp_path: Path, mode: str, held: bool) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    assert look_at(path) == Look(stamp(path), False)
    with subprocess.Popen([sys.executable, "-c", HOLD, path, mode], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert look_at(path) == Look(stamp(path), held)
        other.kill()
    assert look_at(path) == Look(stamp(path), False)


def test_what_is_no_file_or_cannot_be_opened_has_no_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert look_at(tmp_path) == Look(stamp(tmp_path), None)
    assert look_at(tmp_path / "pipe") == Look(stamp(tmp_path / "pipe"), None)
    assert look_at(tmp_path / "nothing") == Look(None, None)


FOREIGN = """\
import os, sys
from gateway.config.saves import look_at
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
print(look_at(sys.argv[1]).held)
"""


@linux
@pytest.mark.skipif(not IS_ROOT, reason="only root can change its user")
@pytest.mark.parametrize(("mode", "owner", "held"), [(0o644, 0, "None"), (0o600, 0, "None"), (0o600, NOBODY, "False")])
def test_only_the_owner_is_told(mode: int, owner: int, held: str) -> None:
    with folder_in(None) as folder:
        path = folder / "file"
        path.write_text("text")
        path.chmod(mode)
        os.chown(path, owner, owner)
        assert subprocess.check_output([sys.executable, "-c", FOREIGN, path, str(NOBODY)], text=True).strip() == held


LOOKING = """\
import sys, time
from gateway.config.saves import look_at
end_s = time.monotonic() + 1
seen = set()
while time.monotonic() < end_s or len(seen) < 2:
    seen.add(look_at(sys.argv[1]).held)
print(sorted(seen))
"""
OPENING = "import os, sys\nwhile True: os.close(os.open(sys.argv[1], os.O_WRONLY))"


@linux
def test_a_writer_that_opens_the_file_during_a_look_neither_kills_nor_fails(tmp_path: Path) -> None:
    """The kernel signals the holder of a lease when somebody opens the file: by default that ends the process."""
    path = tmp_path / "file"
    path.write_text("text")
    opening = subprocess.Popen([sys.executable, "-c", OPENING, path])
    try:
        assert subprocess.check_output([sys.executable, "-c", LOOKING, path], text=True) == "[False, True]\n"
        assert opening.poll() is None
    finally:
        opening.kill()
        opening.wait()


class TestWaitForWriter:
    def test_a_quiet_file_and_a_missing_one_are_not_waited_for(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("text")
        os.utime(tmp_path / "file", (2**33, 2**33))
        for name in ("file", "nothing"):
            wait_for_writer(tmp_path / name, quiet_s=60, limit_s=0)

    def test_a_fresh_file_is_waited_for_where_that_is_asked(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("text")
        wait_for_writer(tmp_path / "file", limit_s=0)
        with pytest.raises(UsageError, match="is still being written after 0 s: it keeps changing"):
            wait_for_writer(tmp_path / "file", quiet_s=60, limit_s=0)
        wait_for_writer(tmp_path / "file", quiet_s=QUIET_S)
        assert time.time() - (tmp_path / "file").stat().st_mtime >= QUIET_S

    @linux
    def test_another_process_is_waited_for_and_this_one_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with path.open("w") as file:
            file.write("text")
            wait_for_writer(path, limit_s=0)
        with subprocess.Popen([sys.executable, "-c", HOLD, path, "a"], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(UsageError, match="a process has it open for writing"):
                wait_for_writer(path, limit_s=0)
            other.kill()
        wait_for_writer(path, limit_s=0)
