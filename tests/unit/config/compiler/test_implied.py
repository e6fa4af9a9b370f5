"""What one condition says about another; checked against random requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.compiler.conditions import during_of
from gateway.config.compiler.implied import ALWAYS, are_exhaustive, implies
from gateway.policy.conditions import DAYS, During, Threshold, When, unmet
from gateway.wire.json import Json


def at(text: str) -> During:
    found = during_of(text)
    assert isinstance(found, During)
    return found


@dataclass(frozen=True)
class Request:
    features: frozenset[str]
    operation: str
    client: str | None
    at: datetime
    headers: Mapping[str, str]
    metadata: Mapping[str, Json]
    params: Mapping[str, Json]
    tokens: int
    max_tokens: int | None

    def has(self, feature: str) -> bool:
        return feature in self.features


def mapped(values: st.SearchStrategy[Json]) -> st.SearchStrategy[Mapping[str, Json]]:
    return st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2)


NUMBERS = st.integers(0, 6)
NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["a", "ab", "abc", "b"])
REQUESTS = st.builds(
    Request,
    features=st.frozensets(st.sampled_from(["stream", "tools"])),
    operation=NAMES,
    client=st.none() | NAMES,
    at=st.integers(0, 14 * 24).map(lambda hours: datetime(2026, 11, 23, tzinfo=UTC) + timedelta(hours=hours / 2)),
    headers=st.dictionaries(st.sampled_from(["a", "b"]), TEXTS),
    metadata=mapped(st.sampled_from(["a", 1, True, 1.0])),
    params=mapped(st.sampled_from(["a", "a*", 2])),
    tokens=NUMBERS,
    max_tokens=st.none() | NUMBERS,
)
THRESHOLDS = st.none() | st.builds(Threshold, st.sampled_from([">", ">=", "<", "<="]), NUMBERS)
TIMES = ["mon-fri 08:00-18:00 UTC", "mon 09:00-10:00 UTC", "sat,sun UTC", "fri 22:00-06:00 UTC", "22:00-06:00 UTC"]


def listed(values: st.SearchStrategy[Json]) -> st.SearchStrategy[Mapping[str, tuple[Json, ...]]]:
    return st.dictionaries(st.sampled_from(["a", "b"]), st.lists(values, min_size=1, max_size=2).map(tuple), max_size=1)


def conditions(inverse: st.SearchStrategy[When | None]) -> st.SearchStrategy[When]:
    return st.builds(
        When,
        features=st.dictionaries(st.sampled_from(["stream", "tools"]), st.booleans(), max_size=2),
        tokens=THRESHOLDS,
        max_tokens=THRESHOLDS,
        operations=st.frozensets(NAMES, max_size=2),
        clients=st.frozensets(NAMES, max_size=1),
        headers=listed(st.sampled_from(["a", "ab", "a*", "ab*", "*"])),
        metadata=listed(st.sampled_from(["a", 1, True])),
        params=listed(st.sampled_from(["a", "a*", 2])),
        during=st.none() | st.sampled_from(TIMES).map(at),
        inverse=inverse,
    )


def sparse(inverse: st.SearchStrategy[When | None]) -> st.SearchStrategy[When]:
    """Return conditions of few parts, of which more imply each other."""
    few = st.sets(st.sampled_from(["features", "tokens", "max_tokens", "headers", "during", "inverse"]), max_size=2)
    return st.builds(lambda when, kept: When(**{name: getattr(when, name) for name in kept}), conditions(inverse), few)


WHENS = sparse(st.none() | sparse(st.none()))


@given(WHENS, WHENS, st.lists(REQUESTS, max_size=10))
def test_what_is_implied_holds_and_of_exhaustive_conditions_one_does(
    one: When, other: When, requests: list[Request]
) -> None:
    implied, exhaustive = implies(one, other), are_exhaustive(one, other)
    for request in requests:
        meets, also = unmet(one, request) is None, unmet(other, request) is None
        assert also or not (implied and meets)
        assert meets or also or not exhaustive


@given(conditions(st.none()))
def test_a_condition_implies_itself_and_the_empty_one(when: When) -> None:
    assert implies(when, when)
    assert implies(when, ALWAYS)


@pytest.mark.parametrize(
    ("one", "other", "implied"),
    [
        (When(tokens=Threshold(">", 50)), When(tokens=Threshold(">", 10)), True),
        (When(tokens=Threshold(">", 10)), When(tokens=Threshold(">", 50)), False),
        (When(tokens=Threshold(">", 10)), When(tokens=Threshold(">=", 11)), True),
        (When(tokens=Threshold("<", 10)), When(tokens=Threshold("<=", 9)), True),
        (When(tokens=Threshold("<", 10)), When(tokens=Threshold(">", 9)), False),
        (When(headers={"a": ("eu-1", "eu-2")}), When(headers={"a": ("eu-*",)}), True),
        (When(headers={"a": ("eu-*",)}), When(headers={"a": ("eu-1",)}), False),
        (When(metadata={"a": ("eu-1",)}), When(metadata={"a": ("eu-*",)}), False),
        (When(operations=frozenset("a")), When(operations=frozenset("ab")), True),
        (When(), When(operations=frozenset("ab")), False),
        (When(during=at("mon 09:00-10:00 UTC")), When(during=at("mon-fri 08:00-18:00 UTC")), True),
        (When(during=at("mon 23:00-02:00 UTC")), When(during=at("mon,tue UTC")), True),
        (When(during=at("sun 23:00-02:00 UTC")), When(during=at("sun UTC")), False),
        (When(during=at("mon UTC")), When(during=at("mon Europe/Berlin")), False),
        (When(features={"tools": True}), When(inverse=When(features={"tools": False})), True),
        (When(inverse=When(features={"tools": False})), When(features={"tools": True}), True),
        (When(tokens=Threshold(">", 50)), When(inverse=When(tokens=Threshold("<", 10))), True),
        (When(inverse=When(tokens=Threshold(">", 5))), When(inverse=When(tokens=Threshold(">", 9))), True),
    ],
)
def test_conditions_imply_each_other(one: When, other: When, implied: bool) -> None:
    assert implies(one, other) is implied


@given(st.sets(st.sampled_from(DAYS), min_size=1), st.integers(0, 47), st.integers(1, 48))
def test_a_time_that_is_always_is_refused_and_no_other_is(days: set[str], begin: int, end: int) -> None:
    text = f"{','.join(sorted(days))} {begin // 2:02}:{begin % 2 * 30:02}-{end // 2:02}:{end % 2 * 30:02} UTC"
    found = during_of(text)
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    if isinstance(found, During):
        assert not all(found.holds(monday + timedelta(hours=half / 2)) for half in range(7 * 48))
    else:
        assert (found.code, "it always holds" in found.message) == ("bad-during", True)
        assert len(days) == 7
        assert begin == end or (begin, end) == (0, 48)


@pytest.mark.parametrize(
    ("one", "other", "exhaustive"),
    [
        (When(features={"tools": True}), When(features={"tools": False}), True),
        (When(tokens=Threshold(">", 50)), When(tokens=Threshold("<=", 50)), True),
        (When(tokens=Threshold(">", 50)), When(tokens=Threshold("<", 50)), False),
        (When(max_tokens=Threshold(">", 50)), When(max_tokens=Threshold("<=", 50)), False),
        (When(clients=frozenset("a")), When(inverse=When(clients=frozenset("a"))), True),
        (When(features={"tools": True, "stream": True}), When(features={"tools": False}), False),
        (ALWAYS, When(features={"tools": False}), True),
    ],
)
def test_two_conditions_may_leave_no_request_over(one: When, other: When, exhaustive: bool) -> None:
    assert are_exhaustive(one, other) is exhaustive
    assert are_exhaustive(other, one) is exhaustive
