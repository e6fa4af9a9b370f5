"""LiteLLM's own Router beside the imported file: random graphs of fallbacks, and the calls that both make.

The calls must be the same, unless the report says that a fallback is carried over approximately.
`python -m tests.unit.importers.litellm.test_order 500` compares as many graphs; the suite takes a few.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import openai
import pytest
import yaml
from litellm.router import Router

from gateway.adapters.base import Call
from gateway.config.compiler.compiler import Compiler
from gateway.importers.litellm.convert import convert
from gateway.importers.litellm.report import Item, Verdict
from gateway.policy.failures import Kind
from gateway.policy.table import RoutingTable
from gateway.policy.target import ScriptedOutcome
from gateway.simulation.walk import walk
from gateway.wire.json import JsonObject
from tests.litellm_calls import MESSAGES, QUIET
from tests.scripted_openai import ScriptedOpenAI

pytestmark = list(QUIET)
logger = logging.getLogger("LiteLLM Router")

ANSWERS: Final[Mapping[Kind, JsonObject]] = {
    Kind.SERVER_ERROR: {"status": 500},
    Kind.BAD_REQUEST: {"status": 400, "error": {"message": "no such parameter"}},
    Kind.CONTEXT_WINDOW: {
        "status": 400,
        "error": {"code": "context_length_exceeded", "message": "This model's maximum context length is 5 tokens"},
    },
    Kind.CONTENT_FILTER: {
        "status": 400,
        "error": {"code": "content_policy_violation", "message": "invalid_request_error: content_policy_violation"},
    },
}
"""What the upstream says, in words that LiteLLM reads as that kind."""

Kinds = Mapping[str, Kind]
"""Model → the kind with which its calls fail."""


def config_of(models: Mapping[str, Sequence[str]] | str, **settings: Any) -> JsonObject:
    """Return a config. `models` has the upstream models of each group, by their order; `ab` is one of each name."""
    entries = [
        {
            "model_name": group,
            "litellm_params": {"model": f"openai/{model}"} | ({"order": place} if len(names) > 1 else {}),
        }
        for group, names in (models if isinstance(models, Mapping) else {name: [name] for name in models}).items()
        for place, model in enumerate(names, start=1)
    ]
    return {"model_list": entries, "router_settings": {"num_retries": 0, "disable_cooldowns": True, **settings}}


def random_config(seed: int) -> JsonObject:
    draw = random.Random(seed)  # a graph, no secret
    names = list("abcdef")[: draw.randint(2, 6)]
    if draw.random() < 0.3:
        names[-1] = f"openai/{names[-1]}"
    models: dict[str, list[str]] = {}
    for name in names:
        model = name.removeprefix("openai/")
        models[name] = [f"{model}{order}" for order in range(draw.choice((2, 3)))] if draw.random() < 0.2 else [model]
    settings: dict[str, Any] = {}
    for key, often in (("fallbacks", 0.9), ("context_window_fallbacks", 0.3), ("content_policy_fallbacks", 0.3)):
        if draw.random() < often:
            groups = draw.sample([*names, "*", names[-1].removeprefix("openai/")], draw.randint(1, len(names)))
            settings[key] = [
                {group: draw.sample(names, min(len(names), draw.choice((0, 1, 1, 2, 3))))} for group in groups
            ]
    if draw.random() < 0.4:
        settings["default_fallbacks"] = draw.sample(names, draw.randint(1, 2))
    if draw.random() < 0.4:
        settings["max_fallbacks"] = draw.randint(0, 4)
    if draw.random() < 0.2:
        settings["model_group_alias"] = {"alias": draw.choice(names)}
    return config_of(models, **settings)


def models_of(config: JsonObject) -> list[str]:
    return [entry["litellm_params"]["model"].removeprefix("openai/") for entry in config["model_list"]]


def names_of(config: JsonObject) -> list[str]:
    groups = dict.fromkeys(entry["model_name"] for entry in config["model_list"])
    return [*groups, *config["router_settings"].get("model_group_alias", ())]


async def calls_of_litellm(upstream: ScriptedOpenAI, config: JsonObject, asked: Mapping[str, Kinds]) -> list[list[str]]:
    """Return the models that LiteLLM's Router calls for each name asked for, all of which fail with their kinds."""
    own = {"api_base": upstream.base_url, "api_key": "sk-test"}
    models = [{**entry, "litellm_params": {**entry["litellm_params"], **own}} for entry in config["model_list"]]
    router = Router(model_list=models, **json.loads(json.dumps(config["router_settings"])))
    found: list[list[str]] = []
    for name, kinds in asked.items():
        for model, kind in kinds.items():
            upstream.reset_script(model).script(model, **ANSWERS[kind])
        upstream.calls.clear()
        with pytest.raises(openai.APIError):
            await router.acompletion(model=name, messages=MESSAGES)
        found.append(list(upstream.calls))
    return found


def imported(config: JsonObject) -> tuple[RoutingTable, tuple[Item, ...]]:
    found = convert(yaml.safe_dump(config).encode(), source="config.yaml")
    assert found.routes is not None
    table = Compiler(environ={}).compile(found.routes.encode(), source="routes.yaml").table
    assert table is not None, found.routes
    return table, found.items


def calls_of_ours(table: RoutingTable, asked: str, kinds: Kinds) -> list[str]:
    """Return the models that the engine calls for a request, all of which fail."""
    route = table.find(asked)
    assert route is not None

    def suppose(call: Call, *_: int) -> ScriptedOutcome:
        return ScriptedOutcome(kind=kinds[call.target.model], status=500)

    return [route.steps[event.step].target.model for event in walk(route, suppose).events]


def differences_in(items: Sequence[Item]) -> list[str]:
    """Return what the report says of fallbacks that are not followed exactly."""
    return [item.message for item in items if item.verdict is Verdict.APPROXIMATE and "fallbacks" in item.path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The calls of one request, where each fails."""

    config: JsonObject
    asked: str
    kinds: Kinds
    theirs: list[str]
    ours: list[str]
    differences: list[str]

    @property
    def is_honest(self) -> bool:
        """Whether the calls are the same, or the report says that they may differ."""
        return self.ours == self.theirs or bool(self.differences)


def compared(configs: Sequence[tuple[JsonObject, Mapping[str, Kinds]]]) -> list[Comparison]:
    """Compare requests: `configs` has each config with the names to ask for."""

    async def all_calls() -> list[list[list[str]]]:
        async with ScriptedOpenAI() as upstream:
            return [await calls_of_litellm(upstream, *case) for case in configs]

    logger.disabled = True
    try:
        theirs = asyncio.run(all_calls())
    finally:
        logger.disabled = False
    found: list[Comparison] = []
    for (config, asked), calls in zip(configs, theirs, strict=True):
        table, items = imported(config)
        for (name, kinds), called in zip(asked.items(), calls, strict=True):
            ours = calls_of_ours(table, name, kinds)
            found.append(
                Comparison(
                    config=config, asked=name, kinds=kinds, theirs=called, ours=ours, differences=differences_in(items)
                )
            )
    return found


def random_comparisons(seeds: Iterable[int]) -> list[Comparison]:
    cases = []
    for seed in seeds:
        draw = random.Random(seed)
        config = random_config(seed)
        kinds = {
            name: {model: draw.choice((Kind.SERVER_ERROR, *ANSWERS)) for model in models_of(config)}
            for name in draw.sample(names_of(config), 2)
        }
        cases.append((config, kinds))
    return compared(cases)


FAILURE, LONG, REFUSAL = Kind.SERVER_ERROR, Kind.CONTEXT_WINDOW, Kind.CONTENT_FILTER


@pytest.mark.parametrize(
    ("settings", "kinds", "calls"),
    [
        ({"fallbacks": [{"a": ["b", "c"]}, {"b": ["d"]}]}, {}, "abdc"),
        ({"fallbacks": [{"a": []}], "default_fallbacks": ["b"]}, {}, "a"),
        ({"fallbacks": [{"a": ["b"]}, {"b": []}], "default_fallbacks": ["c"]}, {}, "ab"),
        ({"fallbacks": [{"a": ["b"]}], "default_fallbacks": ["c"]}, {}, "ab"),
        ({"fallbacks": [{"b": ["c"]}], "default_fallbacks": ["b", "d"]}, {}, "abcd"),
        ({"fallbacks": [{"*": ["b"]}, {"b": ["c"]}]}, {}, "abc"),
        ({"fallbacks": [{"*": ["b"]}, {"*": ["c"]}]}, {}, "ac"),
        ({"fallbacks": [{"*": ["b"]}], "default_fallbacks": ["c"]}, {}, "ac"),
        ({"fallbacks": [{"a": ["b"]}, {"a": ["c"]}]}, {}, "ab"),
        ({"fallbacks": [{"a": ["b"]}, {"b": ["c"]}, {"c": ["a", "d"]}]}, {}, "abcd"),
        ({"fallbacks": [{"a": ["b"]}, {"b": ["c"]}, {"c": ["d"]}], "max_fallbacks": 2}, {}, "abc"),
        ({"fallbacks": [{"a": ["b", "c", "d"]}, {"b": ["e"]}], "max_fallbacks": 1}, {}, "abcd"),
        ({"fallbacks": [{"a": ["b"]}], "max_fallbacks": 0}, {}, "a"),
        ({"fallbacks": [{x: [y]} for x, y in zip("abcdefg", "bcdefgh", strict=True)]}, {}, "abcdef"),
        ({"fallbacks": [{"a": ["b"]}]}, {"a": Kind.BAD_REQUEST}, "ab"),
        ({"fallbacks": [{"a": ["b"]}], "content_policy_fallbacks": [{"c": ["d"]}]}, {"a": REFUSAL}, "a"),
        ({"fallbacks": [{"a": ["b"]}], "content_policy_fallbacks": [{"c": ["d"]}]}, {"a": FAILURE}, "ab"),
        ({"fallbacks": [{"a": ["b"]}], "context_window_fallbacks": [{"c": ["d"]}]}, {"a": LONG}, "ab"),
        ({"fallbacks": [{"a": ["b"]}], "context_window_fallbacks": [{"a": []}]}, {"a": LONG}, "a"),
        ({"context_window_fallbacks": [{"a": ["b"]}]}, {"a": LONG}, "ab"),
        ({"context_window_fallbacks": [{"a": ["b"]}]}, {"a": FAILURE}, "a"),
        ({"context_window_fallbacks": [{"*": ["b"]}]}, {"a": LONG}, "ab"),
        ({"fallbacks": [{"a": ["gone", "b"]}, {"gone": ["c"]}]}, {}, "acb"),
        ({"fallbacks": [{"b": ["c"]}], "model_group_alias": {"a": "b"}}, {}, "b"),
        ({"fallbacks": [{"a": ["c"]}, {"b": ["d"]}], "model_group_alias": {"a": "b"}}, {}, "bc"),
    ],
)  # fmt: skip
def test_what_follows_a_failure(settings: JsonObject, kinds: Kinds, calls: str) -> None:
    config = config_of("abcdefgh", **settings)
    [found] = compared([(config, {"a": {**dict.fromkeys("abcdefgh", FAILURE), **kinds}})])
    assert ("".join(found.theirs), "".join(found.ours), found.differences) == (calls, calls, [])


def test_a_chain_with_one_order_says_where_litellm_goes_elsewhere() -> None:
    config = config_of("abc", fallbacks=[{"a": ["b"]}], context_window_fallbacks=[{"a": ["c"]}])
    [found] = compared([(config, {"a": dict.fromkeys("abc", LONG)})])
    assert (found.theirs, found.ours) == (["a", "c"], ["a", "b", "c"])
    assert "after context_window of a, LiteLLM goes to c" in found.differences[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_random_graph_is_followed_as_litellm_follows_it(seed: int) -> None:
    assert [each for each in random_comparisons([seed]) if not each.is_honest] == []


def test_many_random_graphs_are_carried_over_exactly() -> None:
    assert sum(not differences_in(imported(random_config(seed))[1]) for seed in range(30)) >= 12


if __name__ == "__main__":
    found = random_comparisons(range(int(sys.argv[1])))
    for each in found:
        if not each.is_honest:
            print(each)
    print(Counter((each.ours == each.theirs, not each.differences) for each in found))
