"""What an endpoint under test must be told: one alias per scenario, and the same limits, retries and fallbacks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tests.failover.scenario import (
    CHAT,
    COOLDOWN_FAILURES,
    COOLDOWN_FOR_S,
    COOLDOWN_WITHIN_S,
    DEADLINE_S,
    LIMIT_S,
    RETRIES,
    SECRET,
    Route,
    Scenario,
)

REFUSING: Final = "http://127.0.0.1:9/v1"
"""The base URL of a target that nobody listens at."""


_CARRIED: Final = {
    "relay": f"{CHAT.provider}, adapter: relay",
    "litellm": f"{CHAT.provider}, adapter: litellm",
    "classes": "kind: hosted_vllm, adapter: litellm",
    "functions": f"{CHAT.provider}, adapter: litellm",
}
"""How targets are reached → their provider's entry: by LiteLLM's classes instead of OpenAI's SDK, by classes of a
provider's own, or by LiteLLM's call function, which is used while somebody listens to its callbacks."""
_LISTENING: Final = "  listening: {chain: [mock/echo], hooks: {pre: [tests.failover.listening.pass_on]}}"
ADAPTERS: Final = tuple(_CARRIED)


def gateway_config(scenarios: Sequence[Scenario], *, upstream_url: str, adapter: str) -> str:
    """Return our routes.yaml. `adapter` is how the targets of the route from chat to chat are reached."""
    cooldown = f"{{failures: {COOLDOWN_FAILURES}, within: {COOLDOWN_WITHIN_S}s, for: {COOLDOWN_FOR_S}s}}"
    routes = {scenario.route.name: scenario.route for scenario in scenarios}.values()
    lines = [
        "version: 1",
        f"defaults: {{timeout: {LIMIT_S:g}s, retries: {RETRIES}, deadline: {DEADLINE_S:g}s, cooldown: {cooldown}}}",
        "providers:",
        *(line for route in routes for line in _providers(route, upstream_url, adapter)),
        "models:",
        *(f"  {scenario.full_name}: {json.dumps(_alias(scenario))}" for scenario in scenarios),
        *([_LISTENING] if adapter == "functions" else []),
    ]
    return "\n".join(lines) + "\n"


def _providers(route: Route, upstream_url: str, adapter: str) -> Iterator[str]:
    """Yield the entries of the upstream and of one that nobody listens at."""
    fields = _CARRIED[adapter] if route is CHAT else route.provider
    for name, url in (("up", upstream_url), ("gone", REFUSING)):
        yield f'  {_provider(name, route)}: {{{fields}, base_url: "{url}", api_key: {SECRET}}}'


def _provider(name: str, route: Route) -> str:
    return name if route is CHAT else f"{name}-{route.name}"


def _alias(scenario: Scenario) -> dict[str, Any]:
    providers = [_provider("gone" if script is None else "up", scenario.route) for script in scenario.scripts]
    chain = [f"{name}/{model}" for name, model in zip(providers, scenario.models, strict=True)]
    alias: dict[str, Any] = {"chain": chain}
    if scenario.hold:
        alias["stream"] = {"hold": "full"}
    if scenario.hold_bytes is not None:
        alias["stream"]["max_bytes"] = scenario.hold_bytes
    if scenario.deadline_s is not None:
        alias["deadline"] = scenario.deadline_s
    return alias


def litellm_config(scenarios: Sequence[Scenario], *, upstream_url: str) -> str:
    """Return the LiteLLM proxy's config.yaml. There is no deadline over all attempts and no `hold` in it."""
    fallbacks = [{scenario.full_name: list(scenario.models[1:])} for scenario in scenarios if len(scenario.models) > 1]
    policy = {
        "num_retries": RETRIES,
        "fallbacks": fallbacks,
        "context_window_fallbacks": fallbacks,
    }
    settings = {"litellm_settings": {**policy, "request_timeout": LIMIT_S, "telemetry": False}}
    router = {
        **policy,
        "timeout": LIMIT_S,
        "stream_timeout": LIMIT_S,
        "allowed_fails": COOLDOWN_FAILURES - 1,
        "cooldown_time": COOLDOWN_FOR_S,
    }
    lines = ["model_list:"]
    lines += [f"- {json.dumps(entry)}" for scenario in scenarios for entry in _deployments(scenario, upstream_url)]
    lines += [f"{name}: {json.dumps(value)}" for name, value in {**settings, "router_settings": router}.items()]
    return "\n".join(lines) + "\n"


def _deployments(scenario: Scenario, upstream_url: str) -> Iterator[dict[str, Any]]:
    is_anthropic = scenario.route.upstream == "messages"
    for position, (model, script) in enumerate(zip(scenario.models, scenario.scripts, strict=True)):
        url = REFUSING if script is None else upstream_url
        yield {
            "model_name": model if position else scenario.full_name,
            "litellm_params": {
                "model": f"{'anthropic' if is_anthropic else 'openai'}/{model}",
                "api_base": url.removesuffix("/v1") if is_anthropic else url,
                "api_key": SECRET,
                "timeout": LIMIT_S,
                "stream_timeout": LIMIT_S,
            },
        }
