"""Names of tools and ids of calls that the target takes."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.sent import CallIds, Sent, ToolNames


def test_a_name_that_fits_stays() -> None:
    names = ToolNames(64)
    assert names.sent("get_weather-2") == "get_weather-2"
    assert names.renamed == {}


def test_other_names_are_found_again_and_never_meet() -> None:
    names = ToolNames(64)
    first, second = names.sent("a.b"), names.sent("a/b")
    assert first != second
    sent = Sent({}, tool_names=names.renamed)
    assert (sent.tool_name(first), sent.tool_name(second), sent.tool_name("other")) == ("a.b", "a/b", "other")
    assert ToolNames(64).sent("a.b") == first


@settings(deadline=None)
@given(st.lists(st.text(max_size=200)))
def test_every_name_becomes_one_that_fits(given_names: list[str]) -> None:
    names = ToolNames(64)
    sent = [names.sent(name) for name in given_names]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in sent)
    assert len(set(sent)) == len(set(given_names))


def test_an_id_that_comes_again_gets_another() -> None:
    """Kimi and others begin at 0 again with every answer; Messages wants each id once."""
    ids = CallIds()
    first = ids.called("functions.weather:0")
    assert first == "functions_weather_0"
    assert ids.answered("functions.weather:0") == first
    second = ids.called("functions.weather:0")
    assert second == "functions_weather_0_2"
    assert ids.answered("functions.weather:0") == second


def test_ids_that_meet_take_linear_time() -> None:
    """A body of 4 MiB has 100,000 calls; numbers that were given before are not tried again."""
    ids = CallIds()
    sent = [ids.called(given) for given in ["a_2", "a_3", *["a"] * 100_000]]
    assert len(set(sent)) == len(sent)
    assert sent[2:5] == ["a", "a_4", "a_5"]
    assert ids.answered("a") == sent[-1]


def test_a_call_without_id_gets_one() -> None:
    ids = CallIds()
    assert (ids.called(None), ids.called(""), ids.answered("unknown.id"), ids.answered(7)) == (
        "call", "call_2", "unknown_id", "call_2",
    )  # fmt: skip
