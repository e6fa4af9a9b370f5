"""What `explain` says of an alias' cache is what the cache does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.adapters.mock import MockAdapter
from gateway.engine.limits.estimate import NOTHING
from gateway.engine.limits.outlook import Outlook
from gateway.errors import NotKept
from gateway.operations import OPERATIONS
from gateway.reports.explanation import lines
from gateway.reports.problems import PLAIN
from gateway.simulation import clock as virtual
from gateway.simulation.circumstances import Circumstances
from gateway.simulation.explain import as_json, explain
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import ANSWERED, Script
from gateway.telemetry.report import CacheResult
from gateway.wire.json import EMPTY
from tests.compiling import table

TABLE = table(
    """\
models:
  faq: {chain: [up/a], cache: {ttl: 1h, stale_if_error: 1d}}
  shared: {chain: [up/a], cache: {ttl: 10m, scope: shared}}
  set: {chain: [{target: up/a, params: {tools: [{type: web_search}]}}], cache: 1h}
  some: {chain: [{target: up/a, when: {header: {x-fast: "1"}}}, up/b], cache: 1h}
  plain: up/a
providers: {up: {kind: openai, base_url: "http://127.0.0.1:9"}}
"""
)


def asked_twice(model: str, operation: str, body: dict[str, Any], **headers: str) -> list[Observed]:
    async def ask() -> list[Observed]:
        simulator = Simulator(TABLE, Script({"*": (ANSWERED,)}))
        whole = {**OPERATIONS[operation].example, **body, "model": model}
        return [await simulator.ask(whole, operation, headers=headers) for _ in range(2)]

    return virtual.run(ask())


def told(model: str, operation: str = "chat", body: Mapping[str, Any] = EMPTY, **headers: str) -> Any:
    route = TABLE.routes[model]
    whole = {**OPERATIONS[operation].example, **body, "model": model}
    circumstances = Circumstances(headers=headers)
    explanation = explain(
        model, route, {}, operation=operation, request=whole, mock=MockAdapter(), circumstances=circumstances
    )
    return as_json(explanation)


@pytest.mark.parametrize(
    ("model", "operation", "body", "control", "second", "why_not"),
    [
        ("faq", "chat", {}, "", "hit", None),
        ("faq", "chat", {"stream": True}, "", "hit", None),
        ("shared", "embeddings", {}, "", "hit", None),
        ("some", "chat", {}, "", "hit", None),
        ("faq", "chat", {}, "no-cache", "miss", None),
        ("faq", "chat", {}, "max-age=60", "hit", None),
        ("faq", "chat", {}, "no-store", "bypass", "it says `Cache-Control: no-store`"),
        ("faq", "chat", {"store": True}, "", "bypass", "it has `store: true`, so the upstream keeps it"),
        ("set", "chat", {}, "", "bypass", "it has a tool that the upstream runs"),
        ("faq", "responses", {}, "", "bypass", "it does not write `store: false`, so the upstream keeps it"),
        ("faq", "responses", {"store": False}, "", "hit", None),
        ("faq", "responses", {"background": True}, "", "bypass", "it has `background`, so the upstream keeps it"),
        ("faq", "speech", {}, "", "bypass", "no answer to speech is ever kept"),
        (
            "faq",
            "responses",
            {"store": False, "previous_response_id": "resp_1"},
            "",
            "bypass",
            "it names what only its maker has, so it is bound to one target",
        ),
    ],
)
def test_it_says_what_the_cache_does(
    model: str, operation: str, body: dict[str, Any], control: str, second: CacheResult, why_not: str | None
) -> None:
    headers = {"cache-control": control} if control else {}
    seen = asked_twice(model, operation, body, **headers)
    assert [one.cache for one in seen] == ["bypass" if second == "bypass" else "miss", second]
    cache = told(model, operation, body, **headers)["cache"]
    assert cache["why_not"] == why_not
    assert cache["looked_up"] == (second == "hit")
    assert cache["kept"] == (second != "bypass")


def test_who_wants_a_kept_answer_only_gets_none_of_an_empty_cache() -> None:
    headers = {"cache-control": "only-if-cached"}
    first, _ = asked_twice("faq", "chat", {}, **headers)
    explained = told("faq", "chat", EMPTY, **headers)
    assert (first.status, first.error) == (explained["walk"]["status"], explained["walk"]["error"])
    assert explained["walk"]["error"] == NotKept.code
    assert (explained["cache"]["looked_up"], explained["cache"]["kept"]) == (True, False)


def test_an_alias_without_a_cache_has_none() -> None:
    assert "cache" not in told("plain")


def test_it_tells_the_policy() -> None:
    assert told("faq")["cache"] == {
        "ttl_s": 3600.0,
        "scope": "client",
        "stale_if_error_s": 86400.0,
        "looked_up": True,
        "kept": True,
        "why_not": None,
    }


def test_a_gateway_without_room_keeps_nothing() -> None:
    said = explain("faq", TABLE.routes["faq"], {}, mock=MockAdapter(), keeps_answers=False)
    assert said.cache is not None
    assert said.cache.why_not == "this gateway keeps no answers: its --cache-size is 0"
    assert not said.cache.is_looked_up
    assert not said.cache.is_kept


@pytest.mark.parametrize(
    ("name", "headers", "client", "rows"),
    [
        (
            "faq",
            {},
            None,
            [
                "  looked up  yes: the answer to an equal request of the same client is given again for 1h",
                "  kept       1h; 24h more when all targets fail",
            ],
        ),
        (
            "shared",
            {"cache-control": "max-age=60"},
            "ann",
            [
                "  looked up  yes: the answer to an equal request of any client is given again for 1m",
                "  kept       10m",
            ],
        ),
        (
            "shared",
            {"cache-control": "no-cache"},
            "ann",
            ["  looked up  no: its `Cache-Control` wants a new answer", "  kept       10m"],
        ),
        (
            "faq",
            {"cache-control": "only-if-cached"},
            "ann",
            [
                "  looked up  yes: the answer to an equal request of ann is given again for 1h",
                "  kept       no: nothing is called",
            ],
        ),
        (
            "faq",
            {"cache-control": "no-store"},
            None,
            ["  looked up  no: it says `Cache-Control: no-store`", "  kept       no"],
        ),
        ("plain", {}, None, []),
    ],
)
def test_the_text_says_for_whom_and_how_long(
    name: str, headers: dict[str, str], client: str | None, rows: list[str]
) -> None:
    supposed = Circumstances(headers=headers, client=client)
    explanation = explain(name, TABLE.routes[name], {}, mock=MockAdapter(), circumstances=supposed)
    text = [*lines(explanation, place="routes.yaml:1", failing=(), sent=None, painter=PLAIN)]
    shown = text[text.index("cache") + 1 :] if "cache" in text else []
    assert shown[: shown.index("") if shown else 0] == rows


def test_what_a_budget_sends_on_is_not_kept() -> None:
    budget = table(
        "clients: {default: {limits: [{tokens: 1, per: day, then: {alias: small}}]}}\n"
        "models: {faq: {chain: [mock/a], cache: 1h}, small: mock/b}"
    )
    outlook = Outlook(None, budget.clients["default"], NOTHING, sent_on="1 tokens/day", route=budget.routes["faq"])
    explanation = explain("faq", budget.routes["faq"], {}, mock=MockAdapter(), limits=outlook)
    text = [*lines(explanation, place="routes.yaml:1", failing=(), sent=None, painter=PLAIN)]
    assert "  kept       no: a budget sends it to another alias" in text
    assert as_json(explanation)["cache"]["kept"] is False
