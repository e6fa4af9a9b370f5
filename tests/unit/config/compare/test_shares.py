"""Shares of requests that go elsewhere after a change."""

from __future__ import annotations

import pytest

from gateway.config.compare.shares import NO_CONDITION, moved, moved_by_key, of_keys
from gateway.engine.arrange import shares
from tests.compiling import route

LONG = "{when: {tokens: '> 100'}, target: mock/l}"
A, B, L = ({f"mock/{name}": 1.0} for name in "abl")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[mock/a, mock/b]", "[mock/b, mock/a]", []),
        ("[{pool: {mock/a: 9, mock/b: 1}}]", "[{pool: {mock/a: 90, mock/b: 10}}]", []),
        ("[{pool: {mock/a: 9, mock/b: 1}}]", "[{pool: {mock/b: 1, mock/a: 9}, pick: fastest}]", []),
        (
            "[{pool: {mock/a: 9, mock/b: 1}}]",
            "[{pool: {mock/a: 4, mock/b: 1}}]",
            [("", {"mock/a": 0.9, "mock/b": 0.1}, {"mock/a": 0.8, "mock/b": 0.2})],
        ),
        ("[mock/a, mock/b]", "[{pool: {mock/a: 0, mock/b: 1}}]", [("", A, B)]),
        (f"[{LONG}, mock/a]", f"[{LONG}, mock/b]", [(NO_CONDITION, A, B)]),
        (f"[mock/a, {LONG}]", f"[mock/b, {LONG}]", [(NO_CONDITION, A, B)]),
        (f"[mock/a, {LONG}]", f"[{LONG}, mock/a]", [("tokens > 100", A, L)]),
        (f"[{LONG}, mock/a]", f"[{LONG.replace('100', '50')}, mock/a]", [("tokens > 50", A, L)]),
        (f"[{LONG}, mock/a]", f"[{LONG.replace('100', '200')}, mock/a]", [("tokens > 100", L, A)]),
        (
            f"[{LONG}, mock/a]",
            "[{when: {tools: true}, target: mock/l}, mock/a]",
            [("tools", A, L), ("tokens > 100", L, A)],
        ),
        (
            "[{when: {tools: true}, target: mock/a}, {when: {tools: false}, target: mock/l}, mock/a]",
            "[{when: {tools: true}, target: mock/b}, {when: {tools: false}, target: mock/l}, mock/b]",
            [("tools", A, B)],
        ),
        ("[{when: {tools: true}, target: mock/a}]", "[{when: {tools: true}, target: mock/b}]", [("tools", A, B)]),
    ],
)
def test_kinds_of_request_and_their_shares(
    old: str, new: str, told: list[tuple[str, dict[str, float], dict[str, float]]]
) -> None:
    found = moved(route(f"models: {{fast: {old}}}\n"), route(f"models: {{fast: {new}}}\n"), shares)
    assert [tuple(one) for one in found] == told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{mock/a: 3, mock/b: 1}, pick: sticky", "{mock/a: 3, mock/b: 1}, pick: sticky, key: client", [0.375]),
        ("{mock/a: 1, mock/b: 1}, pick: sticky, key: client", "{mock/b: 1, mock/a: 3}, pick: sticky", [0.5]),
        ("{mock/a: 1, mock/b: 1}, pick: sticky", "{mock/a: 1, mock/c: 1}, pick: sticky, key: client", [0.75]),
        ("{mock/a: 1, mock/b: 1}, pick: sticky", "{mock/c: 1, mock/d: 1}, pick: sticky, key: client", []),
        ("{mock/a: 1, mock/b: 0}, pick: sticky", "{mock/a: 1, mock/b: 0}, pick: sticky, key: client", []),
        ("{mock/a: 0}, pick: sticky", "{mock/a: 0}, pick: sticky, key: client", []),
        ("{mock/a: 1, mock/b: 1}, pick: sticky", "{mock/a: 2, mock/b: 1}, pick: sticky", []),
        ("{mock/a: 1, mock/b: 1}", "{mock/a: 1, mock/b: 1}, pick: sticky, key: client", []),
    ],
)
def test_another_key_of_a_sticky_pool_moves_requests(old: str, new: str, told: list[float]) -> None:
    routes = [route(f"models: {{fast: [{{pool: {pool}}}]}}\n") for pool in (old, new)]
    assert list(moved_by_key(*routes)) == told


def test_keys_share_the_calls_and_equal_sources_count_together() -> None:
    assert of_keys(["$A", "file b", "$A", "$A"]) == {"$A": 0.75, "file b": 0.25}
