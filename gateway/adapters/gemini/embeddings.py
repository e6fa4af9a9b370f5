"""Embeddings on OpenAI's wire as Gemini's `batchEmbedContents`, and its answer back.

Token counts are told only where Gemini tells them. Source: https://ai.google.dev/api/embeddings
"""

from __future__ import annotations

import struct
from base64 import b64encode

from gateway.adapters.base import NotSupported
from gateway.adapters.fields import fields_of
from gateway.adapters.gemini.models import path_of
from gateway.adapters.gemini.usage import chat_usage
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import Json, JsonObject


def request(body: JsonObject) -> JsonObject:
    """Return a request for embeddings, with `model`, in Gemini's words. Raises NotSupported for tokens as input."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise NotSupported("does not support an input that is no text")
    one: JsonObject = {"model": path_of(str(body.get("model")))}
    if body.get("dimensions") is not None:
        one["outputDimensionality"] = body["dimensions"]
    if body.get("task_type") is not None:
        one["taskType"] = body["task_type"]
    return {"requests": [{**one, "content": {"parts": [{"text": text}]}} for text in texts]}


def answer(data: JsonObject, *, model: str, base64: bool) -> JsonObject:
    """Return Gemini's embeddings on OpenAI's wire, `base64` or as numbers. Raises UpstreamError for what are none."""
    found: list[JsonObject] = []
    for index, one in enumerate(data["embeddings"]):
        values = fields_of(one).get("values")
        found.append({"object": "embedding", "index": index, "embedding": _encoded(values) if base64 else values})
    reply: JsonObject = {"object": "list", "data": found, "model": model}
    counts = chat_usage(data.get("usageMetadata"))
    if counts is not None:
        reply["usage"] = {"prompt_tokens": counts["prompt_tokens"], "total_tokens": counts["prompt_tokens"]}
    return reply


def _encoded(values: Json) -> str:
    """Return numbers as OpenAI's clients want them: floats of four bytes, little-endian, in base64."""
    try:
        return b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except (TypeError, struct.error, OverflowError):
        raise UpstreamError(Kind.BAD_RESPONSE, status=200) from None
