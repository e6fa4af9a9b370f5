"""Sound: `POST /v1/audio/speech`, `/v1/audio/transcriptions` and `/v1/audio/translations`.

Source: https://platform.openai.com/docs/api-reference/audio
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.content_types import FORM
from gateway.adapters.counts import counts
from gateway.adapters.events import Event, StreamJudge
from gateway.errors import BadRequest
from gateway.operations.base import (
    ChoicesJudge,
    check_stream_fields,
    first_choice,
    is_long_text,
    raise_error,
    words_in,
)
from gateway.operations.typed_events import TypedEvents, TypedJudge
from gateway.operations.written import text_size
from gateway.policy.failures import no_answer
from gateway.wire.json import EMPTY, Json, JsonObject

_EVENTS: Final = "sse"
_TEXT_DELTA: Final = "transcript.text.delta"
_TEXT_FORMATS: Final = frozenset({"srt", "text", "vtt"})
_RATE: Final = 8000
"""Samples of a mock's sound in a second,"""
_WORD_SAMPLES: Final = 400
"""and for each word."""


class Speech(TypedEvents):
    """Speech: a text in, its sound out, as bytes or as events."""

    name: Final = "speech"
    wire: Final = "speech"
    path: Final = "/audio/speech"
    example = MappingProxyType({"input": "hello", "voice": "alloy"})
    field: Final = None
    params: Final = frozenset({"input", "instructions", "response_format", "speed", "stream_format", "voice"})
    streams = True
    read_fields = ("input", "instructions")
    stream_fields = EMPTY
    byte_types = ("application/octet-stream", "audio/", "video/")

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        given = body.get("input")
        if not isinstance(given, str) and not is_long_text(given):
            raise BadRequest("input must be a string", param="input")

    def wants_stream(self, body: Mapping[str, Json]) -> bool:
        """Tell whether the request asks for events: bytes are a plain answer."""
        return body.get("stream_format") == _EVENTS

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError: sound is no JSON."""
        raise_error(data)
        raise no_answer()

    def judge(self, *, one_choice: bool = False) -> StreamJudge:
        """Return a judge of the events of a speech."""
        return TypedJudge(("speech.audio.delta",), "speech.audio.done", self.tokens)

    def is_last(self, event: Event) -> bool:
        """Tell whether this ends the sound."""
        return event.data is not None and event.data.get("type") == "speech.audio.done"

    def is_answer(self, data: JsonObject) -> bool:
        """Return False: no JSON is a speech."""
        return False

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the token counts of an event; None if it has none."""
        return _tokens(data)

    # For the mock and the simulation

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the text."""
        return _text(params.get("input"))

    def mock_events(self, text: str, params: Mapping[str, Json]) -> list[Event]:
        """Return a sound as two events and the end."""
        piece = {"type": "speech.audio.delta", "audio": "AAAA"}
        done = {"type": "speech.audio.done", "usage": self.usage(text, params)}
        return [Event({**data}, name=str(data["type"]).encode()) for data in (piece, piece, done)]

    def mock_bytes(self, text: str, params: Mapping[str, Json]) -> tuple[str, bytes]:
        """Return a WAV file with a hum for each word of the text."""
        return "audio/wav", _wav(words_in(params.get("input")) * _WORD_SAMPLES)

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return rough token counts."""
        words = words_in(params.get("input"))
        return {"input_tokens": words, "output_tokens": words, "total_tokens": 2 * words}


class Transcriptions(TypedEvents):
    """Transcriptions: a sound in, its text out, as JSON, text or events."""

    name: str = "transcriptions"
    wire: Final = "transcriptions"
    path: str = "/audio/transcriptions"
    generates_text = True
    field: Final = None
    params: Final = frozenset(
        {
            "chunking_strategy", "include", "keywords", "known_speaker_names", "known_speaker_references", "language",
            "languages", "prompt", "response_format", "temperature", "timestamp_granularities",
        }
    )  # fmt: skip
    media_types = (FORM,)
    streams = True
    read_fields = ("prompt",)
    form_media = frozenset({"audio", "files"})
    byte_types = (
        "application/octet-stream", "application/srt", "application/x-subrip", "text/plain", "text/srt", "text/vtt",
    )  # fmt: skip

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        check_stream_fields(body)

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there is a text, which may be empty."""
        if "error" in data:
            raise_error(data)
        if not isinstance(data.get("text"), str):
            raise no_answer()

    def judge(self, *, one_choice: bool = False) -> StreamJudge:
        """Return a judge of the events of a transcript."""
        return _TranscriptJudge(self.tokens)

    def varying(self, data: JsonObject) -> Mapping[str, Json] | None:
        """Return the text of a delta."""
        delta = data.get("delta") if data.get("type") == _TEXT_DELTA else None
        return {"delta": delta} if isinstance(delta, str) and delta else None

    def is_last(self, event: Event) -> bool:
        """Tell whether this ends the transcript."""
        return event.data is not None and event.data.get("type") == "transcript.text.done"

    def is_answer(self, data: JsonObject) -> bool:
        """Tell whether a body is a transcript."""
        return isinstance(data.get("text"), str)

    def as_events(self, data: JsonObject) -> list[Event]:
        """Return a transcript as a delta with all of its text and the end."""
        more = {"usage": data["usage"]} if "usage" in data else {}
        delta = {"type": _TEXT_DELTA, "delta": data["text"]}
        done = {"type": "transcript.text.done", "text": data["text"], **more}
        return [Event(event, name=str(event["type"]).encode()) for event in (delta, done)]

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the token counts of an answer or an event; None if it has none, or tells seconds."""
        return _tokens(data)

    # For the mock and the simulation

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the text that shall precede the transcript; a greeting without one."""
        return _text(params.get("prompt")) or "hello"

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a transcript."""
        return {"text": text, "usage": {"type": "duration", "seconds": 1}}

    def mock_events(self, text: str, params: Mapping[str, Json]) -> list[Event]:
        """Return a transcript as events."""
        return self.as_events(self.reply(text, params))

    def mock_bytes(self, text: str, params: Mapping[str, Json]) -> tuple[str, bytes] | None:
        """Return the text where it is asked for as text."""
        if params.get("response_format") not in _TEXT_FORMATS:
            return None
        return "text/plain; charset=utf-8", f"{text}\n".encode()

    def text(self, data: JsonObject) -> str | None:
        """Return the text of a transcript or a delta; None if it has none."""
        text = data.get("delta", data.get("text")) if "choices" not in data else _content(first_choice(data))
        return text if isinstance(text, str) else None

    def written_bytes(self, data: JsonObject) -> int:
        """Return the bytes of a transcript, or of a delta, vLLM's too."""
        if (kind := data.get("type")) is not None:
            return text_size(data.get("delta")) if kind == _TEXT_DELTA else 0
        return text_size(data.get("text")) + super().written_bytes(data)


class _TranscriptJudge:
    """Checks the events of a transcript: OpenAI's by their type, vLLM's (`transcription.chunk`) by their choices."""

    __slots__ = ("_choices", "_typed")

    next_number: Final = 0
    hears_runs: Final = False

    def __init__(self, tokens_of: Callable[[JsonObject], dict[str, int] | None]) -> None:
        content = (_TEXT_DELTA, "transcript.text.segment", "transcript.text.done")
        self._typed = TypedJudge(content, "transcript.text.done", tokens_of)
        self._choices = ChoicesJudge(lambda choice: bool(_content(choice)), _has_delta, one_choice=True)

    def see(self, data: JsonObject) -> None:
        """Check the next event. Raises UpstreamError if it is an error or malformed."""
        if "choices" in data:
            self._choices.see(data)
        else:
            self._typed.see(data)

    def skip(self, run: bytes) -> None:
        """Do nothing: a run ends nothing."""

    @property
    def has_content(self) -> bool:
        """There was a text."""
        return self._typed.has_content or self._choices.has_content

    @property
    def tokens(self) -> dict[str, int] | None:
        """The newest token counts."""
        return self._typed.tokens or self._choices.tokens

    @property
    def is_whole(self) -> bool:
        """The transcript has ended, in either of the ways."""
        return self._typed.is_whole or self._choices.is_whole


class Translations(Transcriptions):
    """Translations: a sound in, its text in English out."""

    name = "translations"
    path = "/audio/translations"


def _tokens(data: JsonObject) -> dict[str, int] | None:
    usage = data.get("usage")
    if not isinstance(usage, dict) or "input_tokens" not in usage:
        return None
    return counts(prompt=usage.get("input_tokens"), completion=usage.get("output_tokens"))


def _content(choice: JsonObject) -> Json:
    """Return the text in the delta of a choice; None without one."""
    delta = choice.get("delta")
    return delta.get("content") if isinstance(delta, dict) else None


def _has_delta(choice: JsonObject) -> bool:
    return isinstance(choice.get("delta"), dict)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _wav(samples: int) -> bytes:
    """Return a WAV file of eight bits and one channel."""
    sound = bytes(128 + (12 if index // 20 % 2 else -12) for index in range(samples))
    head = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, _RATE, _RATE, 1, 8, b"data", len(sound))
    return struct.pack("<4sI4s", b"RIFF", 4 + len(head) + len(sound), b"WAVE") + head + sound
