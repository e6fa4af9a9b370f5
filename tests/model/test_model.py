"""A few random sequences, one of every step, and that the model sees what it is there for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.model.__main__ import main, summary
from tests.model.drawn import Result, play_some
from tests.model.play import Differs, Played, play
from tests.model.steps import (
    Checkout,
    Delete,
    EndStream,
    Hangup,
    Hold,
    Kill,
    Mode,
    OpenStream,
    Post,
    Release,
    Sequence,
    Swap,
    SwapFolder,
    Write,
)
from tests.model.texts import MAIN, Author, policy

pytestmark = pytest.mark.timeout(120)

EACH: Final = (
    OpenStream(),
    Write(way="in place"),
    Write("b", way="symlink"),
    Write("a", "taken"),
    Post(if_match="right"),
    Checkout(),
    Hold("b"),
    Release(),
    Swap("a", "b"),
    SwapFolder(),
    EndStream(),
    Mode(),
    Post(dry_run=True),
    Kill((Delete(),)),
    Checkout(new=True),
    Hangup(),
)
"""One of each step."""


@pytest.mark.parametrize("config_map", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["files", "config map"])
async def test_each_step_keeps_the_promise(tmp_path: Path, *, config_map: bool) -> None:
    played = await play(Sequence(EACH, state_dir=True, config_map=config_map), tmp_path)
    assert (played.starts, played.streams) == (2, 1)
    assert played.requests > 20


@pytest.mark.parametrize(("count", "most"), [(3, 5), pytest.param(10, 14, marks=pytest.mark.slow)])
def test_random_sequences_keep_the_promise(count: int, most: int) -> None:
    result = play_some(1, count, most=most)
    assert result.faults == []
    assert len(result.played) == count


def test_what_a_text_says_is_known_from_how_it_was_made() -> None:
    author = Author("http://h/v1", "teams/*.yaml")
    main, half = author.good(MAIN)
    team, torn = author.good("teams/a.yaml", broken_off=True)
    both = policy({MAIN: main, "teams/a.yaml": team})
    assert both is not None
    assert both.aliases == {**(main.aliases or {}), **(team.aliases or {})}
    assert policy({MAIN: half}) != policy({MAIN: main})
    assert policy({MAIN: main, "teams/a.yaml": torn}) is None
    assert policy({MAIN: main, "teams/a.yaml": author.taken()}) is None
    assert policy({MAIN: main}, frozenset({"teams/a.yaml"})) is None
    assert policy({"teams/a.yaml": team}) is None
    assert policy({MAIN: author.good(MAIN, includes=False)[0], "teams/a.yaml": torn}) is not None


def test_once_the_time_is_up_no_sequence_begins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sequences", "4", "--at-once", "2", "--minutes", "0"]) == 0
    assert capsys.readouterr().out.startswith("0 sequences passed, 0 failed")


def test_a_difference_is_told_and_counted() -> None:
    played = Played(requests=7, checks=3, live_s=[0.1, 0.3])
    told = summary([Result(0, [played]), Result(1, [], ["it differs"])], 2.0)
    assert told.splitlines()[0] == "1 sequences passed, 1 failed, in 2 s"
    assert "300 ms at most" in told
    assert issubclass(Differs, AssertionError)
