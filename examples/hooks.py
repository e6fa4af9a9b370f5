"""Hooks and a capability to copy from. A config file names them by dotted path: `examples.hooks.redact`.

A pre hook gets the request's parameters as a dict, a post hook the response or one chunk of a stream; both give back
the dict to go on with. They may be `async`. They get a copy, so changing it in place is fine.

A hook's entry in the file names the operations that it knows, as in `routes-hooks.yaml` beside this file. To a pre hook
`request["operation"]` tells which one a request is.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Set
from typing import Any

SYSTEM_MESSAGE = "Answer briefly, and say so when you do not know."

_SYSTEM_FIELDS = {
    "responses": "instructions",
    "input_tokens": "instructions",
    "compact": "instructions",
    "messages": "system",
    "count_tokens": "system",
}
"""By operation: the field for what chats have a system message for."""

_TEXTS = ("messages", "input", "prompt", "suffix", "prediction", "system", "instructions", "query", "documents")
"""The fields of all operations that have text for a model."""

_NO_TEXTS = {
    "data", "encrypted_content", "file_data", "file_url", "image", "image_url", "signature", "thinking", "url",
}  # fmt: skip
"""Keys inside of these fields whose values must stay as they are: files, addresses, and what is signed."""

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_KEY = re.compile(r"\b(?:sk|pk|ghp|gho|xox[abp]|AKIA)[-_]?[A-Za-z0-9_-]{16,}")


def add_system_message(request: dict[str, Any]) -> dict[str, Any]:
    """Pre hook: put SYSTEM_MESSAGE first, unless the conversation has a system message of its own.

    Knows all operations: requests that are no conversation, such as embeddings, stay as they are.
    """
    field = _SYSTEM_FIELDS.get(request.get("operation", "chat"))
    messages = _messages(request.get("messages") or request.get("input"))
    if any(message.get("role") in {"system", "developer"} for message in messages):
        return request
    if field is not None:
        request[field] = request.get(field) or SYSTEM_MESSAGE
    elif messages and "messages" in request:
        request["messages"] = [{"role": "system", "content": SYSTEM_MESSAGE}, *request["messages"]]
    return request


def redact(request: dict[str, Any]) -> dict[str, Any]:
    """Pre hook: blank out e-mail addresses and API keys in all text of a request, whoever wrote it.

    Knows all operations: messages with their parts, tool calls and tool results, prompts, texts to embed, to rank, to
    speak. It cannot read images, audio, other files, nor a text that is given as a list of tokens: these pass.
    """
    for name in _TEXTS:
        if name in request:
            request[name] = _redacted(request[name])
    return request


def add_metadata(response: dict[str, Any]) -> dict[str, Any]:
    """Post hook: note that a hook was here. Touches no choice, so it suits responses and chunks alike."""
    response["metadata"] = {**(response.get("metadata") or {}), "processed_by": "examples.hooks"}
    return response


def _messages(messages: Any) -> list[dict[str, Any]]:
    """Return the messages that are what they should be; a malformed request is the upstream's to refuse."""
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _redacted(value: Any, kept: Set[str] = _NO_TEXTS) -> Any:
    """Return a value with all of its texts redacted, but those with the keys `kept`."""
    if isinstance(value, str):
        return _KEY.sub("[key]", _EMAIL.sub("[email]", value))
    if isinstance(value, list):
        return [_redacted(item, kept) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "text":
        kept = kept - {"data"}  # a document in plain text
    if value.get("type") == "tool_use":
        return {**value, "input": _redacted(value.get("input"), set())}  # its keys are the tool's own
    return {key: item if key in kept else _redacted(item, kept) for key, item in value.items()}


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
