"""OpenAI's chat completions and completions, plain and as a stream.

https://platform.openai.com/docs/api-reference/chat and .../completions
"""

from __future__ import annotations

from typing import Any, Final

from tests.wires.play import EVENT_STREAM, TEXT, Answer, Play, WireRequest, data_event, in_json, openai_error

USAGE: Final = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
DONE: Final = b"data: [DONE]\n\n"


def chat(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /chat/completions`."""
    finish = play.stop or ("tool_calls" if play.tools else "stop")
    calls = [
        {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.text}}
        for tool in play.tools
    ]
    says_text = not calls or play.text != TEXT
    if request.stream:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
        if play.thinking is not None:
            deltas += [{"reasoning_content": word} for word in Play(text=play.thinking).words]
        if play.refusal is not None:
            deltas += [{"refusal": word} for word in Play(text=play.refusal).words]
        elif says_text:
            deltas += [{"content": word} for word in play.words]
        for index, call in enumerate(calls):
            deltas += _call_deltas(index, call)
        return _stream(request, play, [{"delta": delta} for delta in deltas], {"delta": {}}, finish)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": play.text if says_text and play.refusal is None else None,
        "refusal": play.refusal,
        "annotations": [],
    }
    if play.thinking is not None:
        message["reasoning_content"] = play.thinking
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return in_json({**_head(request, stream=False), "choices": [choice], "usage": dict(play.usage or USAGE)})


def completions(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /completions`."""
    finish = play.stop or "stop"
    if request.stream:
        return _stream(request, play, [{"text": word} for word in play.words], {"text": ""}, finish)
    choice = {"index": 0, "text": play.text, "logprobs": None, "finish_reason": finish}
    return in_json({**_head(request, stream=False), "choices": [choice], "usage": dict(play.usage or USAGE)})


def _call_deltas(index: int, call: dict[str, Any]) -> list[dict[str, Any]]:
    text = call["function"]["arguments"]
    first = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
    pieces = [text[start : start + 8] for start in range(0, len(text), 8)]
    rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces]
    return [{"tool_calls": [part]} for part in (first, *rest)]


def _stream(
    request: WireRequest, play: Play, carried: list[dict[str, Any]], last: dict[str, Any], finish: str
) -> Answer:
    head = _head(request, stream=True)
    options = request.field("stream_options")
    tells_usage = isinstance(options, dict) and options.get("include_usage") is True
    beside: dict[str, Any] = {"usage": None} if tells_usage else {}
    chunks = [
        {**head, "choices": [{"index": 0, **part, "logprobs": None, "finish_reason": None}], **beside}
        for part in carried
    ]
    chunks.append({**head, "choices": [{"index": 0, **last, "logprobs": None, "finish_reason": finish}], **beside})
    if tells_usage:
        chunks.append({**head, "choices": [], "usage": dict(play.usage or USAGE)})
    parts = [*map(data_event, chunks), DONE]
    return Answer(parts=parts, content_type=EVENT_STREAM, error_part=data_event(openai_error(play, status=500)))


def _head(request: WireRequest, *, stream: bool) -> dict[str, Any]:
    if request.path.endswith("/chat/completions"):
        kind, name = "chat.completion.chunk" if stream else "chat.completion", "chatcmpl-1"
    else:
        kind, name = "text_completion", "cmpl-1"
    return {
        "id": name, "object": kind, "created": 1_700_000_000, "model": request.model, "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }  # fmt: skip
