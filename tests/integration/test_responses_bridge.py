"""LiteLLM's bridge from Responses to chat, asked the same: what differs is listed here, each with its reason.

Requests:

- `max_completion_tokens` for `max_tokens`: OpenAI's reasoning models refuse the latter.
- System and developer messages that lead are one `system` message: many chat templates take one, and no `developer`.
- A single text part is a text: some servers take no parts.
- The parameter of a custom tool's function is `input`, as Codex' own JSON form of apply_patch has it, not `content`.
- A picture in a tool's output follows as the user's: OpenAI's chat takes text only from tools.
- `verbosity`, `logprobs`, `prompt_cache_key`, `prompt_cache_retention` are sent; LiteLLM drops them.
- `strict` is sent if it is written; LiteLLM writes `false`, and an empty description.
- OpenAI's web search is refused, or left out for Codex; LiteLLM sends `web_search_options`.
- Custom tools of a namespace have its name in theirs, as its functions have; LiteLLM leaves it out, so two may collide.
- Reasoning of earlier turns is left out; LiteLLM sends it as `reasoning_content`, which Groq and Mistral refuse.
- A namespace's description stands with its first function; LiteLLM repeats it with each.
- `additional_tools`, which Codex sends for newer models, are offered; LiteLLM fails with a KeyError.

Answers:

- Reasoning is `reasoning_text`, or a summary for those who asked for one; LiteLLM's stream tells it as a summary and
  its last event has it as the `output_text` of an item of type `reasoning`.
- The message is told before the calls that follow it; LiteLLM's stream closes it after them.
- An answer without text has no message, unless there is nothing else; LiteLLM's plain answer has an empty one.
- An answer's model is the upstream's; ids are ours on both sides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import litellm
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from litellm.responses.litellm_completion_transformation.transformation import LiteLLMCompletionResponsesConfig

from gateway.adapters.responses import Events, answer, request
from gateway.wire import sse
from gateway.wire.json import JsonObject, encode_json
from tests.litellm_calls import QUIET
from tests.unit.adapters.responses.checked import call, chunk, codex, usage_chunk

pytestmark = [pytest.mark.timeout(60), *QUIET]

PNG: Final = "data:image/png;base64,iVBORw0KGgo="
FUNCTION: Final = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
CUSTOM: Final = {"type": "custom", "name": "c", "description": "d"}
_CALL: Final = {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a": 1}'}
_OUTPUT: Final = {"type": "function_call_output", "call_id": "1", "output": "ok"}

REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "text": {"input": "hi", "instructions": "be brief", "temperature": 0.5, "top_p": 0.5, "max_output_tokens": 9},
    "items": {
        "input": [
            {"role": "developer", "content": "a"},
            {"role": "user", "content": [{"type": "input_text", "text": "b"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "d"}, {"type": "input_text", "text": "e"}]},
        ]
    },
    "picture": {
        "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "low"}]},
            {"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": "JVBERg=="}]},
        ]
    },
    "calls": {
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "now"}]},
            _CALL,
            {**_CALL, "call_id": "2"},
            _OUTPUT,
            {**_OUTPUT, "call_id": "2", "output": [{"type": "input_text", "text": "yes"}]},
            {"role": "user", "content": "and?"},
        ],
        "tools": [FUNCTION],
        "parallel_tool_calls": False,
        "tool_choice": "required",
    },
    "calls in turn": {"input": [_CALL, _OUTPUT, {**_CALL, "call_id": "2"}, {**_OUTPUT, "call_id": "2"}]},
    "picture of a tool": {"input": [_CALL, {**_OUTPUT, "output": [{"type": "input_image", "image_url": PNG}]}]},
    "custom": {
        "input": [
            {"type": "custom_tool_call", "call_id": "1", "name": "c", "input": 'a\n"b"'},
            {"type": "custom_tool_call_output", "call_id": "1", "output": "ok"},
        ],
        "tools": [CUSTOM],
    },
    "chosen": {"input": "hi", "tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
    "chosen custom": {"input": "hi", "tools": [CUSTOM], "tool_choice": {"type": "custom", "name": "c"}},
    "namespace": {
        "input": [{**_CALL, "namespace": "crm"}, _OUTPUT],
        "tools": [{"type": "namespace", "name": "crm", "description": "", "tools": [FUNCTION]}],
    },
    "schema": {
        "input": "hi",
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
    },
    "object": {"input": "hi", "text": {"format": {"type": "json_object"}}},
    "reasoning": {"input": "hi", "reasoning": {"effort": "low", "summary": "auto"}},
    "reasoning in the history": {
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"role": "assistant", "content": "a"},
        ]
    },
    "who": {"input": "hi", "user": "u", "safety_identifier": "s", "service_tier": "flex", "metadata": {"a": "b"}},
    "codex": codex("own-model"),
}
_NOT_THEIRS: Final = ("verbosity", "logprobs", "top_logprobs", "prompt_cache_key", "prompt_cache_retention")
_NOT_OURS: Final = ("model", "stream", "custom_llm_provider", "web_search_options", "metadata")


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_means_the_same(name: str, stream: bool) -> None:
    params = {key: value for key, value in REQUESTS[name].items() if key not in ("model", "stream")}
    ours, _ = request(params, stream=stream)
    theirs = LiteLLMCompletionResponsesConfig.transform_responses_api_request_to_chat_completion_request(
        model="m",
        input=params["input"],
        responses_api_request=params,  # type: ignore[arg-type]  # a plain dict is what LiteLLM's own callers pass
        custom_llm_provider="openai_like",
        stream=stream,
    )
    assert _without_differences(theirs) == _without_differences(ours)


def _without_differences(body: JsonObject) -> JsonObject:
    body = {name: value for name, value in body.items() if name not in (*_NOT_THEIRS, *_NOT_OURS)}
    if "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    body["messages"] = [message for given in body["messages"] for message in _message(given)]
    while [message["role"] for message in body["messages"][:2]] == ["system", "system"]:
        first, second, *others = body["messages"]
        body["messages"] = [{"role": "system", "content": [*first["content"], *second["content"]]}, *others]
    if "tools" in body:
        body["tools"] = [_tool(tool) for tool in body["tools"]]
    return body


def _message(message: JsonObject) -> list[JsonObject]:
    """Return a message without what differs; two for the output of a tool that has a picture."""
    made = {name: value for name, value in message.items() if value is not None and name != "reasoning_content"}
    content = made.pop("content", None) or []
    parts = [_part(part) for part in ([{"type": "text", "text": content}] if isinstance(content, str) else content)]
    if made["role"] in ("developer", "system"):
        made["role"] = "system"
        parts = [{"type": "text", "text": text} for part in parts for text in part["text"].split("\n\n")]
    if made.get("tool_calls"):
        made["tool_calls"] = [_tool_call(call_) for call_ in made["tool_calls"]]
    shown = [part for part in parts if part["type"] != "text"]
    if made["role"] == "tool" and shown:
        return [{**made, "content": []}, {"role": "user", "content": shown}]
    if parts and parts[0].get("text") == "The output is in the next message.":
        parts = []
    if made["role"] == "user" and shown:
        parts = shown
    return [{**made, "content": parts}]


def _part(part: JsonObject) -> JsonObject:
    if part["type"] == "image_url":
        return {**part, "image_url": {"detail": "auto", **part["image_url"]}}
    return part


def _tool_call(call_: JsonObject) -> JsonObject:
    function = call_["function"]
    arguments = function["arguments"].replace('{"content": ', '{"input":')
    return {"id": call_["id"], "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _tool(tool: JsonObject) -> JsonObject:
    function = {"description": "", "strict": False, **tool["function"]}
    if "__" in function["name"]:  # it is mixed with that of the namespace
        del function["description"]
    parameters = dict(function["parameters"])
    if parameters.get("required") in (["content"], ["input"]):
        parameters = {}
    return {**tool, "function": {**function, "parameters": parameters}}


CHATS: Final[dict[str, Sequence[JsonObject]]] = {
    "text": [chunk("", role="assistant"), chunk("Hel"), chunk("lo"), chunk(finish="stop"), usage_chunk()],
    "reasoning": [chunk(reasoning_content="h"), chunk(reasoning_content="m"), chunk("a"), chunk(finish="stop"),
                  usage_chunk(completion_tokens_details={"reasoning_tokens": 2})],
    "call": [
        chunk("Now."),
        chunk(tool_calls=[call(0, id="call_a", name="f", type="function")]),
        chunk(tool_calls=[call(0, '{"x":')]),
        chunk(tool_calls=[call(0, "1}")]),
        chunk(finish="tool_calls"),
        usage_chunk(prompt_tokens_details={"cached_tokens": 3}),
    ],
    "parallel": [
        chunk(tool_calls=[call(0, "{", id="call_a", name="f", type="function")]),
        chunk(tool_calls=[call(1, "{", id="call_b", name="f", type="function")]),
        chunk(tool_calls=[call(0, "}")]),
        chunk(tool_calls=[call(1, "}")]),
        chunk(finish="tool_calls"),
        usage_chunk(),
    ],
    "custom": [
        chunk(tool_calls=[call(0, '{"input": "a\\nb", "content": "a\\nb"}', id="call_a", name="c", type="function")]),
        chunk(finish="tool_calls"),
        usage_chunk(),
    ],
    "cut": [chunk("Once upon"), chunk(finish="length"), usage_chunk()],
}  # fmt: skip


@pytest.fixture
async def chats() -> AsyncIterator[str]:
    """A chat server whose model's name is that of an answer; its base URL."""

    async def handle(received: web.Request) -> web.Response:
        params = await received.json()
        chunks = CHATS[params["model"]]
        if not params.get("stream"):
            return web.json_response(_whole(chunks))
        body = b"".join(sse.encode(encode_json(data)) for data in chunks) + sse.encode(sse.DONE)
        return web.Response(body=body, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1"))


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_means_the_same(chats: str, name: str, stream: bool) -> None:
    params: dict[str, Any] = {"input": "hi", "tools": [FUNCTION, CUSTOM]}
    told: Any = await litellm.aresponses(
        **params, model=f"deepseek/{name}", stream=stream, api_base=chats, api_key="none", max_retries=0
    )
    _, asked = request(params, stream=stream)
    if stream:
        last = [event async for event in told][-1]
        theirs = last.response.model_dump()
        events = Events(asked, serial="s", now=1)
        for data in CHATS[name]:
            events.feed(data)
        end = events.end(now=2)[-1]
        ours = end["response"]
        assert end["type"] == last.type.value
    else:
        theirs, ours = told.model_dump(), answer(_whole(CHATS[name]), asked, serial="s", now=1)
    assert _meaning(theirs) == _meaning(ours)


def _whole(chunks: Sequence[JsonObject]) -> JsonObject:
    """Return the plain answer that says what these chunks say."""
    message: JsonObject = {"role": "assistant", "content": "", "reasoning_content": ""}
    calls: dict[int, JsonObject] = {}
    reply: JsonObject = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1"}
    for data in chunks:
        for choice in data["choices"]:
            for field in ("content", "reasoning_content"):
                message[field] += choice["delta"].get(field, "")
            for part in choice["delta"].get("tool_calls", ()):
                one = calls.setdefault(part["index"], {**part, "function": {**part["function"], "arguments": ""}})
                one["function"]["arguments"] += part["function"]["arguments"]
            reply["choices"] = [{"index": 0, "message": message, "finish_reason": choice["finish_reason"]}]
        reply["usage"] = data.get("usage")
    if calls:
        message["tool_calls"] = list(calls.values())
    return reply


def _meaning(response: JsonObject) -> JsonObject:
    usage = response["usage"]
    return {
        "status": response["status"],
        "incomplete": (response["incomplete_details"] or {}).get("reason"),
        "output": [item for item in map(_item, response["output"]) if item[:2] != ("message", "")],
        "tokens": [usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")],
        "cached": (usage["input_tokens_details"] or {}).get("cached_tokens") or 0,
        "reasoning": (usage["output_tokens_details"] or {}).get("reasoning_tokens") or 0,
    }


def _item(item: JsonObject) -> tuple[Any, ...]:
    parts = [*(item.get("content") or ()), *(item.get("summary") or ())]
    return (
        item["type"],
        "".join(part["text"] for part in parts),
        *(item.get(name) for name in ("call_id", "name", "arguments", "input")),
    )
