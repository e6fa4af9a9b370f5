"""Limits of deployments, and a cache: carried over where LiteLLM enforces them, else told why not."""

from __future__ import annotations

import pytest

from tests.unit.importers.litellm.test_convert import said, table

ENFORCED = "router_settings: {optional_pre_call_checks: [enforce_model_rate_limits]}\n"


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


def test_deployments_of_one_provider_have_no_limits() -> None:
    text = config("model: openai/gpt-4o, rpm: 60", "model: openai/gpt-4o-mini")
    assert limits(text) == []
    assert any("count for all of them together" in line for line in said(text))
    text = config("model: openai/gpt-4o, rpm: 60", "model: groq/llama-3.3-70b-versatile, rpm: 5")
    assert (limits(text), limits(text, "m1")) == (["60 requests/minute"], ["5 requests/minute"])


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
