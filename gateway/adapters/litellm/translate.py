"""Translates for LiteLLM: a call into keyword arguments, LiteLLM's objects into plain dicts."""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gateway.adapters.base import Call, passed_back, whole
from gateway.policy.params import merged
from gateway.policy.target import Endpoint
from gateway.wire.json import EMPTY, Json, JsonObject

_WITHHELD: Final = frozenset({"metadata", "moderation", "prompt_cache_options"})
"""Parameters of an operation that LiteLLM does not get. `metadata` steers it: `model_group` turns its router on."""
_EXTRA: Final = {"chat": frozenset({"thinking"}), "embeddings": frozenset[str]()}
"""Operation → parameters that LiteLLM gets beside the operation's own."""

_NULL_IN_ANSWER: Final = frozenset({"content", "finish_reason"})
_NULL_IN_CHUNK: Final = frozenset({"finish_reason"})
"""Fields that OpenAI's shape requires even when null. Other nulls are left out."""

_PLAIN: Final = frozenset({str, int, float, bool})
_UNCOPIED: Final = _PLAIN | {type(None)}

_ACCOUNT_VARIABLES: Final = ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID")
_ACCOUNT_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"openai-organization": "OpenAI-Organization", "openai-project": "OpenAI-Project"}
)
"""OpenAI's SDK, which LiteLLM uses for many providers, sends these headers, so spelled, from those variables."""

_UNFIT_MODEL: Final = re.compile(r"\.\.|[?#\\\s\x00-\x1f\x7f]")


NO_KEY: Final = "none"
"""The key for an address of the file without a key: LiteLLM would send one of the environment's there."""


class NoRetries(int):
    """A zero that is true: LiteLLM's OpenAI embeddings read `max_retries or 2`, so a plain 0 means two retries."""

    def __new__(cls) -> NoRetries:
        """Return the zero."""
        return super().__new__(cls, 0)

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Function:
    """LiteLLM's function for one operation."""

    function: str
    """Looked up in `litellm` at each call: programs replace it in their tests."""
    no_retries: int
    """The value of `max_retries` that switches its retries off."""
    given: str
    """The parameter that holds what is asked: requests of one shape may differ in it."""
    answer: str
    """LiteLLM's class of its plain answers."""
    httpx_timeouts: frozenset[str] | None = None
    """Provider kinds for which it takes an `httpx.Timeout`; None for all."""


FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {
        "chat": Function("acompletion", 0, "messages", "ModelResponse"),
        "embeddings": Function("aembedding", NoRetries(), "input", "EmbeddingResponse", frozenset({"openai", "azure"})),
    }
)
"""The operations that this adapter carries, as `policy.target.CARRIED` says."""


def is_fit(model: str) -> bool:
    """Tell whether a model name is safe in a URL: no `..`, `?`, `#`, backslash, blank or control character."""
    return bool(model) and _UNFIT_MODEL.search(model) is None


def request_kwargs(
    call: Call, *, key: str | None, stream: bool, unsent: frozenset[str], by_classes: bool = False
) -> dict[str, Any]:
    """Return the keyword arguments of `acompletion` or `aembedding`, without the timeout.

    Of the request only the operation's parameters get in, as copies: other fields could steer LiteLLM. The file's
    `params` override them unfiltered. `unsent` comes from `unsent_headers`. `by_classes` leaves out the request's own
    headers, such as its id, which our HTTP client adds: so requests of one shape have equal arguments.
    """
    endpoint, operation = call.target.endpoint, call.operation
    allowed = (operation.params | _EXTRA[operation.name]) - _WITHHELD
    params = {name: value for name, value in whole(call.params).items() if name in allowed}
    body = merged(params, call.overrides.sent, call.target.model)
    # LiteLLM takes None for an argument that is not given.
    kwargs = {name: copied(value) for name, value in body.items() if value is not None}
    if stream:
        kwargs["stream"] = True
    else:
        kwargs.pop("stream_options", None)
    if kwargs.get("tools"):
        # Otherwise LiteLLM looks for its proxy's tools and imports packages that are not installed.
        kwargs["_skip_mcp_handler"] = True
    kwargs["model"] = f"{endpoint.kind}/{call.target.model}" if endpoint.kind else call.target.model
    kwargs["max_retries"] = FUNCTIONS[operation.name].no_retries
    kwargs["num_retries"] = 0
    kwargs["drop_params"] = True
    if endpoint.own_base_url:
        kwargs["api_base"] = _api_base(endpoint)
        kwargs["api_key"] = key or NO_KEY
    elif key:
        kwargs["api_key"] = key
    own = EMPTY if by_classes else call.headers
    if endpoint.headers or own or unsent:
        headers = {_ACCOUNT_HEADERS.get(name.lower(), name): value for name, value in endpoint.headers.items()}
        headers |= own
        headers |= {_ACCOUNT_HEADERS[name]: left_out() for name in unsent}
        kwargs["extra_headers"] = headers
    return kwargs


@functools.cache
def left_out() -> Any:
    """Return a header value that OpenAI's SDK omits and other providers take for an empty text."""
    omit = importlib.import_module("openai").Omit
    return type("_LeftOut", (str, omit), {})()


def unsent_headers(call: Call) -> frozenset[str]:
    """Return the lower-case names of headers from the environment that must not reach a host named in the file."""
    endpoint = call.target.endpoint
    if not endpoint.own_base_url or not any(name in os.environ for name in _ACCOUNT_VARIABLES):
        return frozenset()
    named = {name.lower() for name in endpoint.headers}
    if call.overrides.sent.get("organization"):
        named.add("openai-organization")
    return frozenset(_ACCOUNT_HEADERS) - named


def copied(value: Json) -> Json:
    """Return a copy as plain dicts and lists: LiteLLM changes messages in place, and later targets need them."""
    if type(value) in _UNCOPIED:
        return value
    if isinstance(value, (dict, Mapping)):  # a dict first, as telling a Mapping is slow
        return {name: copied(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [copied(item) for item in value]
    return value


def _api_base(endpoint: Endpoint) -> str | None:
    # LiteLLM always adds `/v1/messages` to Anthropic's base URL, and `/models` to Gemini's.
    base_url = endpoint.relay_url if endpoint.adapter == "gemini" else endpoint.base_url
    return base_url.removesuffix("/v1") if base_url and endpoint.kind == "anthropic" else base_url


def answer_data(answer: Any, *, usage_told: bool | None = None) -> JsonObject:
    """Return a plain answer as a dict in OpenAI's shape.

    `usage_told`: whether the upstream told token counts, if that is known; LiteLLM's own are left out. A dict comes
    from a program's own replacement for LiteLLM: a missing or null `finish_reason` means `stop` there.
    """
    if isinstance(answer, dict):
        data = dict(answer)
        if isinstance(data.get("choices"), list):
            data["choices"] = [_with_finish_reason(choice) for choice in data["choices"]]
        return data
    data = _fields(answer, _NULL_IN_ANSWER) or _without_nulls(_dumped(answer), keep=_NULL_IN_ANSWER)
    model = _upstream_model(answer)
    if model:
        data["model"] = model
    for choice in data.get("choices", ()):
        for tool_call in choice.get("message", {}).get("tool_calls", ()):
            tool_call.pop("index", None)
    beside = _usage_beside_choice(data)
    if beside is not None:
        data["usage"] = beside
    elif usage_told is False or (usage_told is None and not _counts(data.get("usage"))):
        data.pop("usage", None)
    return data


def _usage_beside_choice(data: JsonObject) -> JsonObject | None:
    """Take the token counts that Moonshot tells in `choices[0]`, and LiteLLM puts aside."""
    for choice in data.get("choices", ()):
        aside = choice.get("provider_specific_fields")
        usage = aside.get("usage") if isinstance(aside, dict) else None
        if isinstance(usage, dict):
            choice["provider_specific_fields"] = {name: field for name, field in aside.items() if name != "usage"}
            if not choice["provider_specific_fields"]:
                del choice["provider_specific_fields"]
            return usage
    return None


def _counts(usage: Json) -> bool:
    """Tell whether any token was counted."""
    return isinstance(usage, dict) and any(isinstance(count, int) and count > 0 for count in usage.values())


def chunk_data(item: Any, *, model: str | None) -> JsonObject:
    """Return one event of a stream as a dict in OpenAI's shape. `model` is the upstream's last model name, if any."""
    if isinstance(item, dict):
        return dict(item)
    data = _fields(item, _NULL_IN_CHUNK) or _without_nulls(_dumped(item), keep=_NULL_IN_CHUNK)
    reported = model or _upstream_model(item)
    if isinstance(reported, str) and reported:
        data["model"] = reported
    if data.get("usage") and not any(_says_something(choice) for choice in data.get("choices", ())):
        data["choices"] = []
    return data


def headers_back(headers: Any) -> dict[str, str]:
    """Return the upstream's headers that may go back to the client, without LiteLLM's prefix."""
    passed: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else ():
        plain = str(name).lower().removeprefix("llm_provider-")
        if passed_back(plain) and value is not None:
            passed[plain] = str(value)
    return passed


def headers_of(answer: Any) -> dict[str, str]:
    """Return the headers of LiteLLM's answer or stream that may go back to the client."""
    hidden = _hidden(answer)
    return headers_back(
        hidden.get("headers") or getattr(answer, "_response_headers", None) or hidden.get("additional_headers")
    )


_END: Final[Any] = object()


async def finished_dicts(source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the events of a program's replacement for LiteLLM; the last gets `stop` if no event has `finish_reason`.

    Until an event has that key, each waits for the next one. Null counts too: real streams send it before the last
    event, so one that ends with null was cut off.
    """
    held: JsonObject | None = None
    has_reason = False
    try:
        # Not `async for`, which asks the iterator for `__aiter__` again: `unittest.mock`'s has none.
        while (item := await anext(source, _END)) is not _END:
            has_reason = has_reason or not isinstance(item, dict) or _has_finish_reason(item)
            if held is not None:
                yield held
            held = None if has_reason else item
            if has_reason:
                yield item
    except Exception:
        if held is not None:
            yield held
        raise
    if held is not None:
        yield {**held, "choices": [_with_finish_reason(choice) for choice in held.get("choices", ())]}


def _fields(model: Any, keep: frozenset[str]) -> JsonObject | None:
    """Return a pydantic model as a dict; None if a value is neither plain, nor such a model, nor a list of them.

    Equal to `model_dump` without nulls (except the fields in `keep`), in half the time.
    """
    extra = getattr(model, "__pydantic_extra__", None)
    if extra is None:
        return None
    plain: JsonObject = {}
    given = model.__pydantic_fields_set__
    fields = {**model.__dict__, **extra} if extra else model.__dict__
    for name, value in fields.items():
        if value is None:
            if name in keep:
                plain[name] = None
        elif name in given or name in extra:  # neither a default nor an attribute that LiteLLM added
            kind = type(value)
            if kind in _PLAIN:
                plain[name] = value
            elif kind is list:
                items = plain[name] = []
                for item in value:
                    inner = _fields(item, keep)
                    if inner is None:
                        return None
                    items.append(inner)
            elif kind is not dict:
                inner = plain[name] = _fields(value, keep)
                if inner is None:
                    return None
            elif value or name != "provider_specific_fields":
                return None
    return plain


def _dumped(item: Any) -> JsonObject:
    data = item.model_dump()
    if not isinstance(data, dict):
        raise TypeError(f"LiteLLM answered with {type(item).__name__}, which is no object in OpenAI's shape")
    return data


def _without_nulls(value: JsonObject, *, keep: frozenset[str]) -> JsonObject:
    tidy: JsonObject = {}
    for name, field in value.items():
        if isinstance(field, dict):
            inner = _without_nulls(field, keep=keep)
            if name != "provider_specific_fields" or any(item is not None for item in inner.values()):
                tidy[name] = inner
        elif isinstance(field, list) and field and isinstance(field[0], dict):
            tidy[name] = [_without_nulls(item, keep=keep) if isinstance(item, dict) else item for item in field]
        elif field is not None or name in keep:
            tidy[name] = field
    return tidy


def _upstream_model(item: Any) -> str | None:
    model = _hidden(item).get("provider_response_model")
    return model if isinstance(model, str) and model else None


def _hidden(item: Any) -> Mapping[str, Any]:
    """Return LiteLLM's notes on an answer or a chunk."""
    # Access by name to pydantic's private field takes as long as to all other fields together.
    private = getattr(item, "__pydantic_private__", None)
    hidden = private.get("_hidden_params") if private else getattr(item, "_hidden_params", None)
    return hidden if isinstance(hidden, dict) else EMPTY


def _says_something(choice: JsonObject) -> bool:
    delta = choice.get("delta") or {}
    return bool(choice.get("finish_reason")) or any(value for name, value in delta.items() if name != "role")


def _has_finish_reason(item: JsonObject) -> bool:
    return any(isinstance(choice, dict) and "finish_reason" in choice for choice in item.get("choices") or ())


def _with_finish_reason(choice: Json) -> Json:
    if not isinstance(choice, dict) or choice.get("finish_reason") is not None:
        return choice
    return {**choice, "finish_reason": "stop"}
