"""Which step of a chain a bound request goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway.engine.bound import Bound, bound, relaying_steps
from gateway.engine.makers import Makers
from gateway.engine.missing_paths import MissingPaths
from gateway.operations import OPERATIONS
from gateway.policy.keys import NO_KEY, KeyList, KeySource, Secret
from gateway.policy.table import Route, Step
from gateway.policy.target import AdapterName, Endpoint, Limits, Target

LIMITS = Limits(connect_s=1, first_token_s=1, idle_s=1, total_s=1)
RESPONSES = OPERATIONS["responses"]


def step(name: str, adapter: AdapterName = "relay", *, keys: Sequence[str] = (), kind: str = "openai") -> Step:
    provider, _, model = name.partition("/")
    endpoint = Endpoint(
        provider=provider,
        kind=kind,
        adapter=adapter,
        base_url=f"https://{provider}.example",
        api_key=KeyList([KeySource(name=key, value=Secret(key)) for key in keys]) if keys else NO_KEY,
    )
    return Step(target=Target(name=name, model=model, label=name, endpoint=endpoint), limits=LIMITS)


ONE, TWO, TWO_B, CHAT_ONLY = step("one/a"), step("two/a"), step("two/b"), step("chat/a", "litellm")


async def found(params: Mapping[str, Any], steps: list[Step]) -> Bound | None:
    makers = Makers()
    makers.note(["made_by_one"], ONE.target, alias="", client=None)
    makers.note(["made_by_two"], TWO.target, alias="", client=None)
    makers.note(["made_elsewhere"], step("three/a").target, alias="", client=None)
    relaying = relaying_steps(steps, RESPONSES, MissingPaths(), now_s=0.0)
    return await bound(RESPONSES, params, steps, relaying, makers, client=None)


@pytest.mark.parametrize(
    ("previous", "steps", "position"),
    [
        ("made_by_two", [ONE, TWO], 1),
        ("made_by_two", [ONE, TWO_B, TWO], 2),
        ("made_by_two", [ONE, TWO_B], 1),
        ("made_by_one", [TWO, ONE], 1),
        ("made_elsewhere", [ONE, TWO], 0),
        ("unknown", [ONE, TWO], 0),
        ("unknown", [CHAT_ONLY, TWO], 1),
    ],
)
async def test_the_maker_is_chosen_else_the_first_that_relays(previous: str, steps: list[Step], position: int) -> None:
    assert await found({"previous_response_id": previous}, steps) == Bound(position, "previous_response_id")


async def test_nothing_is_bound_where_nothing_is_relayed_or_named() -> None:
    assert await found({"previous_response_id": "made_by_two"}, [CHAT_ONLY, CHAT_ONLY]) is None
    assert await found({"input": "hi"}, [ONE, TWO]) is None


async def test_a_known_id_decides_before_an_unknown_one() -> None:
    params = {"previous_response_id": "unknown", "conversation": {"id": "made_by_two"}}
    assert await found(params, [ONE, TWO]) == Bound(1, "conversation")


async def test_a_bound_request_keeps_the_key_of_its_maker_and_an_unknown_one_the_first() -> None:
    steps = [ONE, step("two/a", keys=["k1", "k2"])]
    makers = Makers()
    makers.note(["made"], steps[1].target.by_key[1], alias="", client=None)
    found = await bound(RESPONSES, {"previous_response_id": "made"}, steps, [0, 1], makers, client=None)
    assert found == Bound(1, "previous_response_id", key=1)
    kept = found.kept(Route(alias="a", steps=tuple(steps))).steps
    assert [one.target.endpoint.api_key.name for one in kept[1].by_key] == ["k2"]
    unknown = await bound(RESPONSES, {"previous_response_id": "?"}, steps[1:], [0], makers, client=None)
    assert unknown == Bound(0, "previous_response_id", key=0)


def test_a_target_without_the_path_is_not_relayed_to() -> None:
    missing = MissingPaths()
    missing.note(ONE.target.endpoint, RESPONSES, now_s=0.0)
    assert relaying_steps([ONE, TWO], RESPONSES, missing, now_s=1.0) == [1]
    assert relaying_steps([ONE, TWO], RESPONSES, missing, now_s=1e6) == [0, 1]


def test_the_reason_names_target_and_field_where_there_is_another() -> None:
    assert Bound(1, "conversation").reason([ONE]) == ""
    reason = Bound(1, "conversation").reason([ONE, TWO])
    assert reason == "; it is bound to two/a by conversation, so no other target was asked"


async def test_what_gemini_keeps_binds_to_its_first_step_in_whatever_words_it_is_asked() -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    params = {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": url}}]}]}
    gemini, second = step("g1/a", "gemini", kind="gemini"), step("g2/a", "gemini", kind="gemini", keys=["k1", "k2"])
    chat = OPERATIONS["chat"]
    for steps, expected in (
        ([ONE, gemini, second], Bound(1, "file_id")),
        ([second, gemini], Bound(0, "file_id", key=0)),
        ([ONE, TWO], None),
    ):
        relaying = relaying_steps(steps, chat, MissingPaths(), now_s=0.0)
        assert await bound(chat, params, steps, relaying, Makers(), client=None) == expected
    assert await bound(chat, {"messages": []}, [ONE, gemini], [0], Makers(), client=None) is None


def test_only_a_chain_with_gemini_and_others_looks_for_it() -> None:
    gemini, keys = step("g1/a", "gemini", kind="gemini"), step("g2/a", "gemini", kind="gemini", keys=["k1", "k2"])
    for steps, keeps in (((ONE, TWO), False), ((gemini,), False), ((keys,), True), ((ONE, gemini), True)):
        route = Route(alias="a", steps=steps)
        assert (route.keeps, route.is_plain) == (keeps, not keeps)
