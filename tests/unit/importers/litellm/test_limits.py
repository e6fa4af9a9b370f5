"""Limits of deployments, and a cache: carried over where LiteLLM enforces them, else told why not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import litellm
import pytest
from litellm.router import Router

from gateway.importers.litellm.report import Verdict
from gateway.wire.json import EMPTY
from tests.compiling import names
from tests.litellm_calls import MESSAGES, QUIET
from tests.unit.importers.litellm.test_convert import said, table

pytestmark = list(QUIET)
ENFORCED = "router_settings: {optional_pre_call_checks: [enforce_model_rate_limits]}\n"
BLOCK = "router_settings:\n  optional_pre_call_checks: [enforce_model_rate_limits]\n"


def config(*params: str, settings: str = ENFORCED) -> str:
    lines = [f"  - {{model_name: m{number}, litellm_params: {{{one}}}}}\n" for number, one in enumerate(params)]
    return f"model_list:\n{''.join(lines)}{settings}"


def limits(text: str, alias: str = "m0") -> list[str]:
    route = table(text).find(alias)
    assert route is not None
    return [limit.text for limit in route.steps[0].target.endpoint.limits]


@pytest.mark.parametrize(
    ("params", "settings", "found"),
    [
        ("model: openai/gpt-4o, rpm: 60, tpm: 1000", ENFORCED, ["60 requests/minute", "1k tokens/minute"]),
        ("model: openai/gpt-4o, rpd: 60, tpd: 1500", ENFORCED, ["60 requests/day", "1.5k tokens/day"]),
        ("model: openai/gpt-4o, rpm: 60, rpd: 60", "", []),
        (
            "model: openai/gpt-4o, rpm: 60, rpd: 60",
            "router_settings: {routing_strategy: usage-based-routing-v2}\n",
            ["60 requests/minute"],
        ),
        ("model: openai/gpt-4o, rpm: 60", "router_settings: {optional_pre_call_checks: [prompt_caching]}\n", []),
        ("model: openai/gpt-4o, max_parallel_requests: 5", "", ["5 concurrent"]),
        ("model: openai/gpt-4o, max_parallel_requests: 0", "", []),
        ("model: openai/gpt-4o, max_parallel_requests: 1.5", "", []),
        ("model: openai/gpt-4o, max_parallel_requests: many", "", []),
    ],
)
def test_what_litellm_enforces_is_a_limit_of_the_provider(params: str, settings: str, found: list[str]) -> None:
    assert limits(config(params, settings=settings)) == found


def providers(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return the target of each alias' first step, and the limits of its provider."""
    return {name: (names(route)[0], limits(text, name)) for name, route in table(text).routes.items()}


def test_limits_of_a_deployment_are_those_of_a_provider_of_its_own() -> None:
    text = config("model: openai/gpt-4o, rpm: 60", "model: openai/gpt-4o-mini", "model: openai/o3, rpd: 5")
    assert providers(text) == {
        "m0": ("openai-m0/gpt-4o", ["60 requests/minute"]),
        "m1": ("openai/gpt-4o-mini", []),
        "m2": ("openai-m2/o3", ["5 requests/day"]),
    }
    assert any(
        "rpd: as the limit 5 requests/day of a provider of its own" in line for line in said(text, Verdict.EXACT)
    )
    alone = config("model: openai/gpt-4o, rpm: 60", "model: groq/llama-3.3-70b-versatile, rpm: 5")
    assert providers(alone) == {
        "m0": ("openai/gpt-4o", ["60 requests/minute"]),
        "m1": ("groq/llama-3.3-70b-versatile", ["5 requests/minute"]),
    }


def test_a_provider_of_its_own_has_the_same_connection() -> None:
    connection = "api_base: 'https://eu.example.com/v1', api_key: os.environ/KEY, extra_headers: {x-a: b}"
    found = table(config(f"model: openai/a, {connection}, max_parallel_requests: 2", f"model: openai/b, {connection}"))
    endpoints = [found.routes[name].steps[0].target.endpoint for name in ("m0", "m1")]
    own, shared = (replace(endpoint, provider="", written=EMPTY) for endpoint in endpoints)
    assert ([limit.text for limit in own.limits], shared.limits) == (["2 concurrent"], ())
    assert replace(own, limits=()) == shared


def test_a_budget_of_a_provider_keeps_its_deployments_together() -> None:
    settings = "  provider_budget_config: {openai: {budget_limit: 5, time_period: 1d}}\n"
    text = config("model: openai/gpt-4o, rpm: 60", "model: openai/gpt-4o-mini", settings=f"{BLOCK}{settings}")
    assert providers(text)["m0"] == ("openai/gpt-4o", ["$5/day"])
    assert any("budget is of all its deployments" in line for line in said(text, Verdict.LEFT_OUT))


@pytest.mark.parametrize(
    ("params", "key", "what"),
    [
        ("rpm: 5", "rpm", "only the calls at once"),
        ("tpm: 5", "tpm", "only the calls at once"),
        ("rpm: 5, tpm: 5", "tpm", "LiteLLM limits nothing by it"),
        ("rpm: 5, max_parallel_requests: 5", "rpm", "LiteLLM limits nothing by it"),
        ("rpd: 5", "rpd", "LiteLLM limits nothing by it"),
    ],
)
def test_what_litellm_does_not_enforce_is_told(params: str, key: str, what: str) -> None:
    text = config(f"model: openai/gpt-4o, {params}", settings="")
    assert [line for line in said(text) if f".{key}: " in line and what in line]


@pytest.mark.parametrize("ids", [("", ""), ("one", "one"), ("one", "two")])
def test_equal_deployments_of_two_names_count_as_they_do_in_litellm(
    ids: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "callbacks", [])
    params = {"model": "groq/x", "api_key": "x", "rpd": 1}
    entries = [
        {"model_name": name, "litellm_params": params} | ({"model_info": {"id": id_}} if id_ else {})
        for name, id_ in zip(("a", "b"), ids, strict=True)
    ]
    checks = ["enforce_model_rate_limits"]
    mocked = [entry | {"litellm_params": {**params, "mock_response": "hello"}} for entry in entries]
    router = Router(model_list=mocked, optional_pre_call_checks=checks, num_retries=0)

    async def answers() -> list[bool]:
        calls = [router.acompletion(model=name, messages=MESSAGES) for name in ("a", "b")]
        return [not isinstance(answer, Exception) for answer in await asyncio.gather(*calls, return_exceptions=True)]

    is_counted_together = asyncio.run(answers()) == [True, False]
    text = json.dumps({"model_list": entries, "router_settings": {"optional_pre_call_checks": checks}})
    first, second = (target for target, _ in providers(text).values())
    assert (is_counted_together, first == second) == (ids == ("one", "one"),) * 2
    assert limits(text, "a") == limits(text, "b") == ["1 requests/day"]


@pytest.mark.parametrize(
    ("settings", "ttl_s"),
    [
        ("{cache: true, cache_params: {ttl: 60}}", 60),
        ("{cache: true, cache_params: {type: local, ttl: 60, default_in_memory_ttl: 5}}", 5),
        ("{cache: true, cache_params: {type: redis, ttl: 60, default_in_memory_ttl: 5}}", 60),
        ("{cache: true, cache_params: {type: redis, default_in_redis_ttl: 7}}", 7),
        ("{cache: true}", None),
        ("{cache: false, cache_params: {ttl: 60}}", None),
        ("{cache_params: {ttl: 60}}", None),
        ("{cache: true, cache_params: {ttl: 60, mode: default_off}}", None),
        ("{cache: true, cache_params: {ttl: 60, type: redis-semantic}}", None),
        ("{cache: true, cache_params: {ttl: soon}}", None),
    ],
)
def test_a_cache_with_a_ttl_is_each_alias(settings: str, ttl_s: float | None) -> None:
    found = table(config("model: openai/gpt-4o", settings=f"litellm_settings: {settings}\n")).find("m0")
    assert found is not None
    assert (found.cache and found.cache.ttl_s) == ttl_s
    if found.cache is not None:
        assert found.cache.scope == "shared"
