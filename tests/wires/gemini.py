"""Gemini's own API: `generateContent`, plain and as a stream, `batchEmbedContents`, `countTokens`, and errors.

https://ai.google.dev/api/generate-content, https://ai.google.dev/api/embeddings and https://ai.google.dev/api/tokens
"""

from __future__ import annotations

import json
from typing import Any, Final

from tests.wires.play import EVENT_STREAM, TEXT, Answer, Play, WireRequest, in_json

STATUSES: Final = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
USAGE: Final = {
    "promptTokenCount": 7,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 1,
    "totalTokenCount": 12,
    "cachedContentTokenCount": 2,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
}
SIGNATURE: Final = "c2ln+bmVk/w="
"""Of the first call of a tool, as the newer models sign it."""


def generate(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /v1beta/models/…:generateContent` and `:streamGenerateContent`."""
    if not request.path.endswith(":streamGenerateContent"):
        return in_json(answer(request, play))
    if request.query.get("alt") != "sse":
        return in_json([answer(request, play)])
    return Answer(parts=list(map(event, events(request, play))), content_type=EVENT_STREAM,
                  error_part=event(error_body(play, 503)))  # fmt: skip


def embed(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /v1beta/models/…:batchEmbedContents`: as many numbers as its text has letters."""
    texts = [one["content"]["parts"][0]["text"] for one in request.body["requests"]]
    return in_json({"embeddings": [{"values": [0.5] * len(text)} for text in texts]})


def count(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /v1beta/models/…:countTokens`: the parts of the contents."""
    contents = request.body["generateContentRequest"]["contents"]
    return in_json({"totalTokens": sum(len(one["parts"]) for one in contents)})


def said(request: WireRequest, text: str) -> dict[str, Any]:
    """Return an event with a text."""
    return _response(request, Play(), [{"text": text}], USAGE)


def error_body(play: Play, status: int) -> dict[str, Any]:
    """Return the error envelope."""
    known = STATUSES.get(status, "UNKNOWN")
    return {"error": {"code": status, "message": "scripted error", "status": known, **play.error}}


def answer(request: WireRequest, play: Play) -> dict[str, Any]:
    """Return a whole answer."""
    parts = [*_thoughts(play, [play.thinking] if play.thinking else []), *_texts([play.text] if _says(play) else [])]
    return _response(request, play, [*parts, *_calls(play)], play.usage or USAGE, finish=play.stop or "STOP")


def events(request: WireRequest, play: Play) -> list[dict[str, Any]]:
    """Return the events of an answer: a word each, a call each, and the end."""
    thoughts = _thoughts(play, Play(text=play.thinking).words if play.thinking else [])
    parts = [*thoughts, *_texts(play.words if _says(play) else []), *_calls(play)]
    usage = dict(play.usage or USAGE)
    prompt = usage.get("promptTokenCount", 0)
    growing = [
        {"promptTokenCount": prompt, "candidatesTokenCount": count, "totalTokenCount": prompt + count}
        for count in range(1, len(parts) + 1)
    ]
    told = [_response(request, play, [part], count) for part, count in zip(parts, growing, strict=True)]
    return [*told, _response(request, play, [{"text": ""}], usage, finish=play.stop or "STOP")]


def event(data: dict[str, Any]) -> bytes:
    """Return an event as Google's servers write it."""
    return f"data: {json.dumps(data)}\r\n\r\n".encode()


def _says(play: Play) -> bool:
    return not play.tools or play.text != TEXT


def _texts(texts: list[str]) -> list[dict[str, Any]]:
    return [{"text": text} for text in texts]


def _thoughts(play: Play, texts: list[str]) -> list[dict[str, Any]]:
    return [{"text": text, "thought": True} for text in texts]


def _calls(play: Play) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = [
        {"functionCall": {"name": tool.name, "args": dict(tool.arguments)}} for tool in play.tools
    ]
    if calls:
        calls[0]["thoughtSignature"] = SIGNATURE
    return calls


def _response(
    request: WireRequest, play: Play, parts: list[dict[str, Any]], usage: Any, *, finish: str | None = None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": dict(usage),
        "modelVersion": request.model,
        "responseId": "scripted-gemini",
    }
