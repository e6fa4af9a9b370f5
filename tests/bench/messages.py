"""What is sent and answered: small chats, long ones, and streams of events."""

from __future__ import annotations

import json
from typing import Any, Final

EVENTS: Final = 50
"""Content events of a stream."""
SIZES: Final = {"1 KB": 1_000, "100 KB": 100_000, "10 MB": 10_000_000}
"""Lengths of bodies. An answer is as long as what was asked."""

TEXT: Final = "Air scatters blue light more than red light."
"""A small answer."""
_WORDS: Final = "Tell me in two sentences why the sky is blue."


def question(model: str, *, stream: bool = False, length: int = 0, path: str = "") -> bytes:
    """Return a request's body of at least `length` bytes, on the wire of the path: chat, Messages or Responses."""
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": _WORDS}]}
    if stream:
        asked["stream"] = True
    if path.endswith("/responses"):
        return json.dumps({"model": model, "input": _WORDS, "stream": stream}).encode()
    if path.endswith("/messages"):
        asked["max_tokens"] = 1024
    bare = len(json.dumps(asked))
    asked["messages"] = [{"role": "user", "content": _WORDS + " because" * max(0, -(-(length - bare) // 8))}]
    return json.dumps(asked).encode()


def answer(length: int = 0) -> bytes:
    """Return a plain answer's body of about `length` bytes."""
    text = TEXT + " because" * max(0, (length - 300) // 8)
    return json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": "bench-model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 18, "completion_tokens": 9, "total_tokens": 27},
        },
        separators=(",", ":"),
    ).encode()


def event(content: str | None) -> bytes:
    """Return one event of a stream; without content it is the one with the finish reason."""
    choice = {
        "index": 0,
        "delta": {} if content is None else {"content": content},
        "finish_reason": "stop" if content is None else None,
    }
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "bench-model",
        "choices": [choice],
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


LAST: Final = event(None) + b"data: [DONE]\n\n"
"""How a stream ends."""
