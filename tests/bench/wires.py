"""What an upstream answers on each wire, as bytes made beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.messages import EVENTS, LAST, TEXT, answer, event

WORD: Final = "because "
"""The text of an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """The answers of one wire."""

    plain: bytes
    begun: bytes = b""
    """The events before the first text."""
    event: Callable[[str, int], bytes]
    """(text, n) → the n-th event with a text, from 0 on."""
    last: bytes
    """The events behind the last text."""

    def stream(self) -> bytes:
        """Return a whole stream."""
        return self.begun + b"".join(self.event(WORD, number) for number in range(EVENTS)) + self.last


def _json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _named(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(data["type"]).encode(), _json(data))


def _unnamed(data: dict[str, Any]) -> bytes:
    return b"data: " + _json(data) + b"\n\n"


# Anthropic's Messages

_MESSAGE: Final = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "bench-model"}


def _messages() -> Spoken:
    started: dict[str, Any] = {
        **_MESSAGE,
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 18, "output_tokens": 1},
    }
    stopped = {"stop_reason": "end_turn", "stop_sequence": None}
    block = {"type": "text", "text": ""}
    return Spoken(
        plain=_json(
            {
                **_MESSAGE,
                "content": [{**block, "text": TEXT}],
                **stopped,
                "usage": {"input_tokens": 18, "output_tokens": 9},
            }
        ),
        begun=_named({"type": "message_start", "message": started})
        + _named({"type": "content_block_start", "index": 0, "content_block": block}),
        event=lambda text, number: _named(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        ),
        last=_named({"type": "content_block_stop", "index": 0})
        + _named({"type": "message_delta", "delta": stopped, "usage": {"output_tokens": EVENTS}})
        + _named({"type": "message_stop"}),
    )


# OpenAI's Responses

_ITEM: Final = {"id": "msg_bench", "type": "message", "role": "assistant"}
_BEGINNING: Final = 4
"""Events before the first text."""


def _responses() -> Spoken:
    response = {"id": "resp_bench", "object": "response", "created_at": 1_760_000_000, "model": "bench-model"}
    usage = {"input_tokens": 18, "output_tokens": EVENTS, "total_tokens": 18 + EVENTS}
    at = {"item_id": "msg_bench", "output_index": 0, "content_index": 0}

    def part(text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def item(status: str, *parts: dict[str, Any]) -> dict[str, Any]:
        return {**_ITEM, "status": status, "content": parts}

    def whole(status: str, *items: dict[str, Any]) -> dict[str, Any]:
        return {**response, "status": status, "error": None, "output": items, "usage": usage if items else None}

    def told(number: int, *events: tuple[str, dict[str, Any]]) -> bytes:
        return b"".join(
            _named({"type": f"response.{kind}", "sequence_number": number + place, **fields})
            for place, (kind, fields) in enumerate(events)
        )

    text = WORD * EVENTS
    done = item("completed", part(text))
    return Spoken(
        plain=_json(whole("completed", item("completed", part(TEXT)))),
        begun=told(
            0,
            ("created", {"response": whole("in_progress")}),
            ("in_progress", {"response": whole("in_progress")}),
            ("output_item.added", {"output_index": 0, "item": item("in_progress")}),
            ("content_part.added", {**at, "part": part("")}),
        ),
        event=lambda text, number: told(
            _BEGINNING + number, ("output_text.delta", {**at, "delta": text, "logprobs": []})
        ),
        last=told(
            _BEGINNING + EVENTS,
            ("output_text.done", {**at, "text": text, "logprobs": []}),
            ("content_part.done", {**at, "part": part(text)}),
            ("output_item.done", {"output_index": 0, "item": done}),
            ("completed", {"response": whole("completed", done)}),
        ),
    )


# Gemini's own API


def _gemini() -> Spoken:
    def answered(text: str, **more: Any) -> dict[str, Any]:
        return {
            "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}],
            "usageMetadata": {"promptTokenCount": 18, "candidatesTokenCount": 9, "totalTokenCount": 27},
            "modelVersion": "bench-model",
            "responseId": "bench",
        }

    return Spoken(
        plain=_json(answered(TEXT, finishReason="STOP")),
        event=lambda text, number: _unnamed(answered(text)),
        last=_unnamed(answered("", finishReason="STOP")),
    )


# Cohere's chat


def _cohere() -> Spoken:
    usage = {
        "billed_units": {"input_tokens": 18, "output_tokens": 9},
        "tokens": {"input_tokens": 18, "output_tokens": 9},
    }
    said = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
    content = {"message": {"content": {"type": "text", "text": ""}}}
    return Spoken(
        plain=_json({"id": "bench", "finish_reason": "COMPLETE", "message": said, "usage": usage}),
        begun=_named({"type": "message-start", "id": "bench", "delta": {"message": {"role": "assistant"}}})
        + _named({"type": "content-start", "index": 0, "delta": content}),
        event=lambda text, number: _named(
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}
        ),
        last=_named({"type": "content-end", "index": 0})
        + _named({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}),
    )


# Chat


def alike(other: Spoken) -> Spoken:
    """Return chat whose streams have as many events and bytes as those of another wire."""

    def chunk(text: str | None) -> bytes:
        finish = None if text is not None else "stop"
        delta = {} if text is None else {"content": text}
        return _unnamed({"id": "b", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    stream = other.stream()
    last = chunk(None) + b"data: [DONE]\n\n"
    count = stream.count(b"\n\n") - last.count(b"\n\n")
    fill = len(stream) - len(last) - count * len(chunk(""))
    each, more = divmod(fill, count)
    texts = ["w" * (each + (place < more)) for place in range(count)]
    first = count - EVENTS
    return Spoken(
        plain=answer(),
        begun=b"".join(map(chunk, texts[:first])),
        event=lambda text, number: chunk(texts[first + number]),
        last=last,
    )


MESSAGES: Final = _messages()
RESPONSES: Final = _responses()

SPOKEN: Final = {
    b"/chat/completions": Spoken(plain=answer(), event=lambda text, number: event(text), last=LAST),
    b"/messages": MESSAGES,
    b"/responses": RESPONSES,
    b"enerateContent": _gemini(),
    b"/v2/chat": _cohere(),
    b"/like-messages/": alike(MESSAGES),
    b"/like-responses/": alike(RESPONSES),
}
"""A part of the path → what is answered there. The last one that fits counts."""


def spoken_at(path: bytes) -> Spoken:
    """Return what is answered at a path: chat if nothing else."""
    found = [spoken for part, spoken in SPOKEN.items() if part in path]
    return found[-1] if found else SPOKEN[b"/chat/completions"]
