"""A plain Messages reply as a chat reply.

Thinking is `reasoning_content`; `thinking_blocks` beside it are the same with Claude's signatures, as LiteLLM has them,
for clients that send them back. Blocks of hosted tools are left out.
"""

from __future__ import annotations

from gateway.adapters.anthropic.stops import REFUSAL, finish_reason
from gateway.adapters.anthropic.thinking import THINKING
from gateway.adapters.anthropic.usage import chat_usage
from gateway.adapters.fields import fields_of, text_of
from gateway.adapters.sent import AS_IS, Sent
from gateway.policy.failures import Kind, UpstreamError, error_object, failed_by
from gateway.wire.json import Json, JsonObject, encode_json


def answer(data: JsonObject, sent: Sent = AS_IS, *, created: int) -> JsonObject:
    """Return a Messages reply as a chat reply, `created` at that second. Raises UpstreamError for what is no answer.

    A reply without a stop reason becomes a choice without a finish reason.
    """
    if "error" in data and (error := error_object(data)) is not None:
        raise failed_by(error)
    content = data.get("content")
    if not isinstance(content, list):
        raise UpstreamError(Kind.BAD_RESPONSE, status=200)
    texts: list[str] = []
    thoughts: list[JsonObject] = []
    calls: list[JsonObject] = []
    citations: list[Json] = []
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts.append(text_of(block.get("text")))
            if block.get("citations"):
                citations.append(block["citations"])
        elif kind == "tool_use":
            calls.append(_call(block, sent))
        elif kind in THINKING:
            thoughts.append(block)
    reason = data.get("stop_reason")
    message: JsonObject = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if reason == REFUSAL and (explanation := explanation_of(data.get("stop_details"))):
        message["refusal"] = explanation
    if thoughts:
        message["reasoning_content"] = "".join(text_of(block.get("thinking")) for block in thoughts)
        message["thinking_blocks"] = thoughts
    if citations:
        message["provider_specific_fields"] = {"citations": citations}
    if calls:
        message["tool_calls"] = calls
    chat: JsonObject = {
        "id": data.get("id"),
        "object": "chat.completion",
        "created": created,
        "model": data.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(reason), "logprobs": None}],
    }
    usage = fields_of(data.get("usage"))
    counts = chat_usage(usage)
    if counts is not None:
        chat["usage"] = counts
        tier = usage.get("service_tier")
        if isinstance(tier, str):
            chat["service_tier"] = "default" if tier == "standard" else tier
    return chat


def explanation_of(details: Json) -> str | None:
    """Return why an answer was refused, as a text; None if that is not told."""
    return text_of(fields_of(details).get("explanation")) or None


def _call(block: JsonObject, sent: Sent) -> JsonObject:
    name, call_id = block.get("name"), block.get("id")
    if not isinstance(name, str) or not isinstance(call_id, str):
        raise UpstreamError(Kind.BAD_RESPONSE, status=200)
    arguments = encode_json(block.get("input") or {}).decode()
    return {"id": call_id, "type": "function", "function": {"name": sent.tool_name(name), "arguments": arguments}}
