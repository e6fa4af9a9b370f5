"""A plain Gemini answer as a chat reply.

Thoughts are `reasoning_content`, images are `images` and sound is `audio`, as in LiteLLM. A tool call's id carries the
call's thought signature; those of texts are `thought_signatures` in `provider_specific_fields`. What Google's hosted
tools did is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.adapters.fields import fields_of, items_of
from gateway.adapters.gemini.errors import failed_by
from gateway.adapters.gemini.finish import finish_reason
from gateway.adapters.gemini.signatures import signed_id
from gateway.adapters.gemini.usage import chat_usage
from gateway.adapters.sent import AS_IS, Sent
from gateway.policy.failures import Kind, UpstreamError, error_object
from gateway.policy.finish import index_of
from gateway.wire.json import Json, JsonObject, encode_json

AUDIO_S: Final = 24 * 60 * 60
"""Seconds until a sound expires, in OpenAI's words for it. Nothing keeps it longer than its answer."""


def answer(data: JsonObject, sent: Sent = AS_IS, *, model: str, created: int, new_id: Callable[[], str]) -> JsonObject:
    """Return a Gemini answer as a chat reply, `created` at that second. Raises UpstreamError for what is no answer.

    `new_id` returns a new hexadecimal word. `model` is the one asked for; the answer tells which it was, if it can.
    """
    if "error" in data and (error := error_object(data)) is not None:
        raise failed_by(error)
    calls = ToolCalls(sent, new_id)
    choices = []
    for position, candidate in enumerate(items_of(data.get("candidates"))):
        if not isinstance(candidate, dict):
            raise malformed()
        choices.append(_choice(candidate, position, calls, created))
    chat: JsonObject = {
        "id": data.get("responseId") or f"chatcmpl-{new_id()}",
        "object": "chat.completion",
        "created": created,
        "model": data.get("modelVersion") or model,
        "choices": choices,
    }
    counts = chat_usage(data.get("usageMetadata"))
    if counts is not None:
        chat["usage"] = counts
    return chat


def _choice(candidate: JsonObject, position: int, tool_calls: ToolCalls, created: int) -> JsonObject:
    said = Said()
    for part in parts_in(candidate):
        said.take(part)
    calls = [tool_calls.call(part) for part in said.calls]
    message: JsonObject = {"role": "assistant", "content": "".join(said.texts) if said.texts or not calls else None}
    if said.thoughts:
        message["reasoning_content"] = "".join(said.thoughts)
    if said.images:
        message["images"] = [{"index": index, **image} for index, image in enumerate(said.images)]
    if said.sound is not None:
        message["audio"] = audio_of(said.sound, created)
    if said.signatures:
        message["provider_specific_fields"] = {"thought_signatures": said.signatures}
    if calls:
        message["tool_calls"] = calls
    finish = finish_reason(candidate.get("finishReason"))
    if calls and finish == "stop":
        finish = "tool_calls"
    index = candidate.get("index")
    return {
        "index": position if index is None else index_of(index),
        "message": message,
        "finish_reason": finish,
        "logprobs": logprobs_of(candidate.get("logprobsResult")),
    }


class Said:
    """What the parts of a candidate say, by kind."""

    __slots__ = ("calls", "images", "signatures", "sound", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[JsonObject] = []
        """Parts with a `functionCall`."""
        self.images: list[JsonObject] = []
        self.sound: JsonObject | None = None
        """Inline data of a sound."""
        self.signatures: list[str] = []
        """Those of other parts than calls."""

    def take(self, part: Json) -> None:
        """Take a part. Raises UpstreamError for one that is malformed; those of unknown kinds are left out."""
        if type(part) is not dict:
            raise malformed()
        if "functionCall" in part:
            self.calls.append(part)
            return
        text = part.get("text")
        if text is not None:
            if type(text) is not str:
                raise malformed()
            if text:
                (self.thoughts if part.get("thought") is True else self.texts).append(text)
        elif "inlineData" in part:
            self._inline(fields_of(part["inlineData"]))
        signature = part.get("thoughtSignature")
        if signature and isinstance(signature, str):
            self.signatures.append(signature)

    def _inline(self, inline: JsonObject) -> None:
        media_type, data = inline.get("mimeType"), inline.get("data")
        if not isinstance(media_type, str) or not isinstance(data, str):
            raise malformed()
        if media_type.startswith("image/"):
            url = f"data:{media_type};base64,{data}"
            self.images.append({"type": "image_url", "image_url": {"url": url}})
        elif media_type.startswith("audio/"):
            self.sound = inline


class ToolCalls:
    """Makes tool calls of one answer: their ids are Gemini's, or ours, which no other answer has."""

    __slots__ = ("_count", "_new_id", "_sent", "_serial")

    def __init__(self, sent: Sent, new_id: Callable[[], str]) -> None:
        self._sent = sent
        self._new_id = new_id
        self._serial = ""
        self._count = 0

    def call(self, part: JsonObject) -> JsonObject:
        """Return a part's `functionCall` as a tool call. Raises UpstreamError for a malformed one."""
        called = part["functionCall"]
        name = called.get("name") if isinstance(called, dict) else None
        if not isinstance(name, str):
            raise malformed()
        call_id = called.get("id")
        if not isinstance(call_id, str) or not call_id:
            self._serial = self._serial or self._new_id()[:24]
            call_id = f"call_{self._serial}{self._count}"
        self._count += 1
        arguments = encode_json(called.get("args") or {}).decode()
        function = {"name": self._sent.tool_name(name), "arguments": arguments}
        return {"id": signed_id(call_id, part.get("thoughtSignature")), "type": "function", "function": function}


def parts_in(candidate: JsonObject) -> list[Json]:
    """Return the parts of a candidate's content; none if it has no content. Raises UpstreamError for another shape."""
    content = candidate.get("content")
    if content is None:
        return []
    parts = content.get("parts") if isinstance(content, dict) else content
    if parts is None:
        return []
    if not isinstance(parts, list):
        raise malformed()
    return parts


def audio_of(sound: JsonObject, created: int) -> JsonObject:
    """Return inline data as chat's `audio`."""
    return {"data": sound["data"], "expires_at": created + AUDIO_S, "transcript": ""}


def logprobs_of(result: Json) -> JsonObject | None:
    """Return chat's `logprobs`; None if there are none."""
    chosen = items_of(fields_of(result).get("chosenCandidates"))
    if not chosen:
        return None
    best = items_of(fields_of(result).get("topCandidates"))
    content = []
    for position, one in enumerate(chosen):
        others = items_of(fields_of(best[position]).get("candidates")) if position < len(best) else []
        content.append({**_token(one), "top_logprobs": [_token(other) for other in others]})
    return {"content": content, "refusal": None}


def _token(candidate: Json) -> JsonObject:
    fields = fields_of(candidate)
    token = fields.get("token")
    text = token if isinstance(token, str) else ""
    encoded = list(text.encode("utf-8", "replace"))
    return {"token": text, "bytes": encoded, "logprob": fields.get("logProbability", 0.0)}


def malformed() -> UpstreamError:
    """Return the failure for what is no answer."""
    return UpstreamError(Kind.BAD_RESPONSE, status=200)
