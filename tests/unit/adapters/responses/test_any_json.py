"""Any JSON, with the wires' own names in it: clients and upstreams get an error, never a bug."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.base import NotSupported
from gateway.adapters.responses import Events, answer, request
from gateway.policy.failures import UpstreamError
from gateway.wire.json import JsonObject, encode_json

_WORDS: Final = (
    "message", "user", "assistant", "system", "developer", "input_text", "output_text", "refusal", "input_image",
    "input_file", "input_audio", "function", "custom", "namespace", "tool_search", "client", "web_search",
    "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "tool_search_call",
    "tool_search_output", "reasoning", "item_reference", "additional_tools", "configuration_update", "compaction",
    "compaction_trigger", "agent_message", "allowed_tools", "required", "json_schema", "f", "1", "stop", "length",
    "thinking", "text", "auto",
)  # fmt: skip
_NAMES: Final = (
    "type", "role", "content", "text", "refusal", "image_url", "file_data", "file_id", "call_id", "id", "name",
    "namespace", "arguments", "input", "output", "tools", "tool_choice", "mode", "execution", "format", "reasoning",
    "summary", "encrypted_content", "effort", "description", "parameters", "external_web_access", "include",
    "instructions", "top_logprobs", "schema", "choices", "message", "delta", "index", "finish_reason", "tool_calls",
    "function", "usage", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "logprobs",
    "top_logprobs", "token", "annotations", "url_citation", "reasoning_content", "error", "created", "model",
    "service_tier", "thinking", "detail", "definition", "syntax", "max_output_tokens",
)  # fmt: skip

_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from(_WORDS), st.text(max_size=3)
)
_any = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
    max_leaves=25,
)


def _shaped(*names: str) -> st.SearchStrategy[Any]:
    """Return objects with most of these names."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, _any))


_items = _shaped(
    "type", "role", "content", "call_id", "id", "name", "namespace", "arguments", "input", "output", "tools"
)
_typed = st.builds(lambda item, kind: {**item, "type": kind}, _items, st.sampled_from(_WORDS))
_tools = st.builds(
    lambda tool, kind: {**tool, "type": kind},
    _shaped("name", "description", "parameters", "strict", "format", "tools", "execution", "external_web_access"),
    st.sampled_from(("function", "custom", "namespace", "tool_search", "web_search")),
)
_params = st.fixed_dictionaries(
    {"input": _any | st.lists(_typed | _any, max_size=5)},
    optional={
        "tools": _any | st.lists(_tools, max_size=4), "tool_choice": _any, "text": _any, "reasoning": _any,
        "include": _any, "instructions": _any, "top_logprobs": _any, "metadata": _any,
    },
)  # fmt: skip
_calls = st.lists(
    st.fixed_dictionaries({}, optional={"index": _any, "id": _any, "function": _shaped("name", "arguments")}),
    max_size=3,
)
_said = st.fixed_dictionaries(
    {},
    optional={
        "content": _any, "refusal": _any, "reasoning_content": _any, "reasoning": _any, "tool_calls": _any | _calls,
        "annotations": _any,
    },
)  # fmt: skip
_choices = st.fixed_dictionaries(
    {},
    optional={
        "index": _any, "delta": _any | _said, "message": _any | _said, "logprobs": _any,
        "finish_reason": _any | st.sampled_from(("stop", "tool_calls", "length")),
    },
)  # fmt: skip
_replies = st.fixed_dictionaries(
    {},
    optional={
        "choices": _any | st.lists(_choices, min_size=1, max_size=2),
        "usage": _any,
        "created": _any,
        "model": _any,
    },
)
_many = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@given(_params)
@_many
def test_any_request(params: JsonObject) -> None:
    with suppress(NotSupported):
        body, asked = request(params, stream=True, keep_reasoning=True)
        encode_json(body)
        encode_json(dict(asked.fields))


@given(_params, _replies, st.lists(_replies, max_size=4))
@_many
def test_any_answer(params: JsonObject, reply: JsonObject, chunks: list[JsonObject]) -> None:
    try:
        _, asked = request(params)
    except NotSupported:
        _, asked = request({"input": "", "tools": [{"type": "custom", "name": "f"}]})
    with suppress(UpstreamError):
        encode_json(answer(reply, asked, serial="s", now=1))
    events = Events(asked, serial="s", now=1)
    with suppress(UpstreamError):
        for chunk in chunks:
            encode_json(events.feed(chunk))
        encode_json(events.end(now=2))
