"""Hooks and a capability to copy from. A config file names them by dotted path: `examples.hooks.redact`.

A pre hook gets the request's parameters as a dict, a post hook the response or one chunk of a stream; both give back
the dict to go on with. They may be `async`. They get a copy, so changing it in place is fine.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

SYSTEM_MESSAGE = "Answer briefly, and say so when you do not know."

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_KEY = re.compile(r"\b(?:sk|pk|ghp|gho|xox[abp]|AKIA)[-_]?[A-Za-z0-9_-]{16,}")


def add_system_message(request: dict[str, Any]) -> dict[str, Any]:
    """Pre hook: put SYSTEM_MESSAGE first, unless the conversation has a system message of its own."""
    # An embeddings request has no messages.
    messages = _messages(request)
    if messages and not any(message.get("role") in {"system", "developer"} for message in messages):
        request["messages"] = [{"role": "system", "content": SYSTEM_MESSAGE}, *request["messages"]]
    return request


def redact(request: dict[str, Any]) -> dict[str, Any]:
    """Pre hook: blank out e-mail addresses and API keys in what users wrote, and in texts to embed."""
    for message in _messages(request):
        if message.get("role") == "user":
            message["content"] = _redacted(message.get("content"))
    if "input" in request:
        request["input"] = _redacted(request["input"])
    return request


def add_metadata(response: dict[str, Any]) -> dict[str, Any]:
    """Post hook: note that a hook was here. Touches no choice, so it suits responses and chunks alike."""
    response["metadata"] = {**(response.get("metadata") or {}), "processed_by": "examples.hooks"}
    return response


def _messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages that are what they should be; a malformed request is the upstream's to refuse."""
    messages = request.get("messages")
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _redacted(content: Any) -> Any:
    """Content is text, or a list of parts of which some are text; everything else stays as it is."""
    if isinstance(content, str):
        return _KEY.sub("[key]", _EMAIL.sub("[email]", content))
    if isinstance(content, list):
        return [_redacted(part) if isinstance(part, str) else _redacted_part(part) for part in content]
    return content


def _redacted_part(part: Any) -> Any:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return {**part, "text": _redacted(part["text"])}
    return part


async def embed_locally(text: str) -> list[float]:
    """Return a vector made of the words' hashes: no model and no key, but alike texts get alike vectors."""
    vector = [0.0] * 64
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        vector[digest[0] % 64] += 1.0 if digest[1] % 2 else -1.0
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]


class CachedEmbedding:
    """Capability: embeddings with a memory. Register it as `cached_embedding`.

    A config file makes it without arguments; in code, hand in a function that asks a real model.
    """

    def __init__(
        self, embed: Callable[[str], Awaitable[list[float]]] = embed_locally, *, max_entries: int = 1024
    ) -> None:
        self._embed = embed
        self._max_entries = max_entries
        self._cache: OrderedDict[str, list[float]] = OrderedDict()
        self.hits = 0

    async def get_embedding(self, text: str) -> list[float]:
        """Return the vector of `text`; the ones not asked for the longest are forgotten first."""
        if text in self._cache:
            self.hits += 1
            self._cache.move_to_end(text)
            return list(self._cache[text])
        vector = await self._embed(text)
        self._cache[text] = vector
        while len(self._cache) > self._max_entries:
            self._cache.popitem(last=False)
        return list(vector)
