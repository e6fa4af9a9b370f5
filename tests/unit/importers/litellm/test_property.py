"""For a config of any shape the imported file compiles, and the report has every key."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config.compiler.compiler import Compiler
from gateway.config.format.format import format_bytes
from gateway.importers.litellm.convert import Imported, convert
from gateway.wire.json import Json

SECRET = "sk-hidden-0123456789abcdef"

NAMES = st.sampled_from(
    ["a", "b", "c", "openai/a", "openai/*", "*", "two words", "x*y", "日本", "$d", "", "on", 4, None]
)
MODELS = st.sampled_from(
    [
        "openai/gpt-4o", "gpt-4o", "claude-3-haiku-20240307", "azure/chat", "bedrock/nova:0", "openai/*", "*",
        "groq/llama", "hosted_vllm/m", "vllm/m", "ollama/phi", "mock/echo", "nebius/m", "unknown/m", "openai/", "/x",
        "openai/a b", "openai/../x", "openai/$HOME", "openai/${X}", "auto_router/x", "", None, 5, ["openai/a"],
        "os.environ/M", "openai/responses/m", "responses/m", "groq/responses/*", "openai/whisper-1",
    ]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, 1, 2, 7, 1000, -1, 0.5, 1e-9, 1e12, "3", "x", "os.environ/N", "os.environ/", True, None, [1], {"a": 1}]
)
TEXTS = st.sampled_from(["os.environ/KEY", "os.environ/not a name", "", None, 5, "${X}", "a\nb", "\u2028", ["x"]])
KEYS = TEXTS | st.just(SECRET)
ADDRESSES = st.sampled_from(
    [
        "http://localhost:8000/v1", "https://eu.example.com/", "https://u:p@example.com", "https://x.com/v1?a=b", "x",
        "os.environ/BASE", "http://x:99999", "https://x.com/v1/chat/completions", "http://$X.com", None, 5, "",
    ]
)  # fmt: skip
ODD: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4) | st.sampled_from(["os.environ/A", "a", "$"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


BODIES = st.dictionaries(st.sampled_from(["top_k", "api_key", "model", "x"]), ODD, max_size=3) | ODD
DROPPED = st.lists(st.sampled_from(["stop", "model", "timeout", "a b"]), max_size=3) | ODD


def mapping(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Json]:
    """Return mappings of the shape, some with a value of the wrong type."""
    spoilt = {
        key: value | ODD if key in {"tags", "extra_headers", "model_info"} else value for key, value in optional.items()
    }
    return st.fixed_dictionaries(required, optional=spoilt)


COSTS = st.sampled_from([0, 1e-6, "0.5", 2, None])
PARAMS = mapping(
    {"model": MODELS},
    {
        "api_base": ADDRESSES, "base_url": ADDRESSES, "api_key": KEYS, "api_version": TEXTS, "timeout": NUMBERS,
        "stream_timeout": NUMBERS, "max_retries": NUMBERS, "num_retries": NUMBERS, "temperature": NUMBERS, "stop": ODD,
        "organization": TEXTS, "extra_headers": st.dictionaries(st.text(max_size=5), TEXTS, max_size=2),
        "custom_llm_provider": st.sampled_from(["openai", "groq", "nobody", None, 5]), "order": NUMBERS,
        "weight": NUMBERS, "rpm": NUMBERS, "tpm": NUMBERS, "mock_response": ODD, "aws_region_name": TEXTS,
        "extra_body": BODIES, "cooldown_time": NUMBERS, "tags": ODD, "additional_drop_params": DROPPED,
        "drop_params": ODD, "rpd": NUMBERS, "tpd": NUMBERS, "max_parallel_requests": NUMBERS, "daily_reset_time": ODD,
        "litellm_credential_name": st.sampled_from(["c", "none", 5]), "zzz": ODD,
        "input_cost_per_token": COSTS, "output_cost_per_token": COSTS, "max_budget": NUMBERS,
        "budget_duration": st.sampled_from(["1d", "30d", "1mo", "7d", "", 5]),
    },
)  # fmt: skip
DEPLOYMENT = mapping(
    {"model_name": NAMES, "litellm_params": PARAMS},
    {
        "model_info": mapping(
            {}, {"mode": st.sampled_from(["chat", "responses", "rerank"]) | ODD, "id": ODD, "description": TEXTS}
        ),
        "rpm": NUMBERS,
        "yyy": ODD,
    },
)
RULES = (
    st.lists(st.dictionaries(NAMES.map(str), st.lists(NAMES | ODD, max_size=3) | NAMES, max_size=2), max_size=4) | ODD
)
FALLBACKS = {
    "fallbacks": RULES,
    "context_window_fallbacks": RULES,
    "content_policy_fallbacks": RULES,
    "default_fallbacks": st.lists(NAMES, max_size=3) | ODD,
}
POLICY = st.dictionaries(
    st.sampled_from(["TimeoutErrorRetries", "RateLimitErrorRetries", "DefaultRetries", "OddRetries", "x"]), NUMBERS
)
CHECKS = st.lists(st.just("enforce_model_rate_limits") | ODD, max_size=2) | ODD
CACHES = {
    "cache": st.booleans() | ODD,
    "cache_params": mapping({}, {"ttl": NUMBERS, "type": TEXTS, "mode": ODD, "host": KEYS}) | ODD,
}
ROUTER = mapping(
    {},
    {
        **FALLBACKS, "num_retries": NUMBERS, "timeout": NUMBERS, "stream_timeout": NUMBERS, "allowed_fails": NUMBERS,
        "cooldown_time": NUMBERS, "disable_cooldowns": ODD, "routing_strategy": ODD, "retry_policy": POLICY | ODD,
        "model_group_retry_policy": st.dictionaries(NAMES.map(str), POLICY | ODD, max_size=2) | ODD, "xxx": ODD,
        "model_group_alias": st.dictionaries(NAMES.map(str), NAMES | ODD, max_size=3) | ODD, "redis_password": KEYS,
        "enable_pre_call_checks": ODD, "optional_pre_call_checks": CHECKS, "max_fallbacks": NUMBERS,
        "fallback_on_unsupported_params": ODD,
    },
)  # fmt: skip
CONFIGS = mapping(
    {"model_list": st.lists(DEPLOYMENT | ODD, max_size=6) | ODD},
    {
        "router_settings": ROUTER | ODD,
        "litellm_settings": mapping({}, {**FALLBACKS, "drop_params": ODD, "callbacks": ODD, "www": ODD, **CACHES})
        | ODD,
        "general_settings": mapping({}, {"master_key": KEYS, "vvv": ODD}) | ODD,
        "credential_list": st.just([{"credential_name": "c", "credential_values": {"api_key": SECRET}}]) | ODD,
        "environment_variables": st.dictionaries(st.text(max_size=3), KEYS, max_size=2) | ODD,
        "uuu": ODD,
    },
)


def converted(config: Json) -> Imported:
    return convert(yaml.safe_dump(config, allow_unicode=True).encode(), source="config.yaml")


@given(CONFIGS)
@settings(max_examples=80, deadline=None)
def test_the_result_always_compiles_and_shows_no_secret(config: Json) -> None:
    found = converted(config)
    if found.routes is None:
        assert found.problems
        return
    compiled = Compiler(environ={}).compile(found.routes.encode(), source="routes.yaml")
    # A variable that is not set stays one: the file tells of it, and its checks too.
    errors = [
        str(problem)
        for problem in compiled.problems
        if problem.severity == "error" and problem.code != "unset-variable"
    ]
    assert not errors, found.routes
    assert SECRET not in found.routes
    assert SECRET not in json.dumps([item.as_json() for item in found.items])
    # The importer itself left out what the compiler would refuse: no entry was removed afterwards.
    assert not [
        item for item in found.items if item.path == "" and re.match(r"(models|providers|defaults)", item.message)
    ]


@example(
    {"router_settings": {"allowed_fails": 0, "retry_policy": {"TimeoutErrorRetries": 0, "RateLimitErrorRetries": 0}}}
)
@given(CONFIGS)
@settings(max_examples=80, deadline=None)
def test_the_result_is_in_its_normal_form(config: Json) -> None:
    routes = (converted(config).routes or "").encode()
    assert not routes or format_bytes(routes, name="routes.yaml").data == routes


@given(CONFIGS)
@settings(max_examples=30, deadline=None)
def test_the_result_is_the_same_each_time(config: Json) -> None:
    assert converted(config) == converted(config)


def _paths(value: Json, path: str = "") -> list[str]:
    """Return the paths of all leaves, which the report must have, as it writes them."""
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _paths(item, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and value:
        return [leaf for index, item in enumerate(value) for leaf in _paths(item, f"{path}[{index}]")]
    return [path]


def _plain(value: Json) -> Json:
    """Return the value with `k` in place of each key that a path would quote."""
    if isinstance(value, dict):
        return {key if re.fullmatch("[a-z][a-z0-9]*", key) else "k": _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.sampled_from(["aa", "bb", "cc"]), ODD, max_size=3))
@example({"aa": {":": None}})
@settings(max_examples=30, deadline=None)
def test_every_unknown_leaf_is_told(unknown: Json) -> None:
    plain = _plain(unknown)
    config = {"model_list": [{"model_name": "a", "litellm_params": {"model": "openai/a"}}], "unknown": plain}
    told = {item.path for item in converted(config).items}
    for leaf in _paths(plain, "unknown"):
        if re.fullmatch(r"[a-z.\[\]0-9]+", leaf):
            assert leaf in told
