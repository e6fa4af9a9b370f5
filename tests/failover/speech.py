"""What a scripted upstream says on the wires beside chat: its answers, its events, its errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.failover.faults import Fault
from tests.scripted_openai import RecordedRequest
from tests.wires import gemini, messages, responses
from tests.wires.play import TEXT, Play, Tool, WireRequest, read_form

Event = dict[str, Any]
GEMINI_PLAIN: Final = "/v1/models/MODEL:generateContent"
GEMINI_STREAM: Final = "/v1/models/MODEL:streamGenerateContent?alt=sse"


@dataclass(frozen=True, slots=True)
class Saying:
    """One answer to be told."""

    request: RecordedRequest
    fault: Fault
    texts: Sequence[str]
    error: Mapping[str, Any]
    """Message, type, param and code, as on OpenAI's wire."""

    @property
    def play(self) -> Play:
        """The whole answer in the words of the upstreams that never fail in the middle."""
        calls = enumerate(self.fault.calls, 1)
        tools = [Tool(name, json.loads(arguments), f"call_{place}") for place, (name, arguments) in calls]
        text = TEXT if tools and not self.texts else "".join(self.texts)
        error = {name: self.error[name] for name in ("message", "code") if self.error[name] is not None}
        return Play(text=text, tools=tools, stop=self.fault.stop, error=error)

    @property
    def asked(self) -> WireRequest:
        """The request as those upstreams take it."""
        request = self.request
        return WireRequest(
            method=request.method, path=request.path, query={}, headers=request.headers, raw=request.raw,
            body=request.body, form=(),
        )  # fmt: skip


class Speech(Protocol):
    """How a wire says it."""

    @property
    def malformed(self) -> str:
        """An event whose JSON is broken."""
        ...

    def is_streamed(self, request: RecordedRequest) -> bool:
        """Tell whether a request asks for events."""
        ...

    def answer(self, saying: Saying) -> Event | bytes:
        """Return the plain answer; bytes are a sound."""
        ...

    def events(self, saying: Saying) -> list[Event]:
        """Return the events of a stream."""
        ...

    def is_content(self, event: Event) -> bool:
        """Tell whether an event counts as content."""
        ...

    def error(self, saying: Saying, status: int) -> Event:
        """Return an error's body."""
        ...

    def error_event(self, saying: Saying, number: int) -> Event:
        """Return the error as the event with this number, named as its `type`."""
        ...


class _JsonSpeech:
    def is_streamed(self, request: RecordedRequest) -> bool:
        """Look at `stream`."""
        return isinstance(request.body, dict) and request.body.get("stream") is True


class ResponsesSpeech(_JsonSpeech):
    """OpenAI's Responses."""

    malformed: Final = 'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", "delta\n\n'

    def answer(self, saying: Saying) -> Event:
        """Return a response."""
        made = responses.response(saying.asked, saying.play)
        if saying.fault.no_finish:
            made["status"] = "in_progress"
        return made

    def events(self, saying: Saying) -> list[Event]:
        """Return the events of a response."""
        told = responses.events(responses.response(saying.asked, saying.play))
        at: Event = {"output_index": 0, "content_index": 0, "item_id": told[2]["item"]["id"] if len(told) > 3 else ""}
        deltas = [{"type": "response.output_text.delta", **at, "delta": text, "logprobs": []} for text in saying.texts]
        told = _with_deltas(told, deltas, before="response.output_text.done")
        if saying.fault.no_finish:
            del told[-1]
        return [{**event, "sequence_number": number} for number, event in enumerate(told)]

    def is_content(self, event: Event) -> bool:
        """Tell whether it is a delta."""
        return bool(event["type"].endswith(".delta"))

    def error(self, saying: Saying, status: int) -> Event:
        """Return OpenAI's error body."""
        return {"error": dict(saying.error)}

    def error_event(self, saying: Saying, number: int) -> Event:
        """Return `error`, whose fields stand at the top, or what `error_form` says."""
        error = {name: saying.error[name] for name in ("code", "message", "param")}
        if saying.fault.error_form == "failed":
            made = responses.response(saying.asked, Play(stop="failed", error=error))
            return {"type": "response.failed", "response": made, "sequence_number": number}
        if saying.fault.error_form == "nested":
            return {"type": "error", "error": dict(saying.error), "sequence_number": number}
        if saying.fault.error_form == "bare":
            return {"error": dict(saying.error)}
        return {"type": "error", **error, "sequence_number": number}


class MessagesSpeech(_JsonSpeech):
    """Anthropic's Messages."""

    malformed: Final = 'event: content_block_delta\ndata: {"type": "content_block_delta", "index\n\n'

    def answer(self, saying: Saying) -> Event:
        """Return a message."""
        made = messages.message(saying.asked, saying.play)
        if saying.fault.no_finish:
            made["stop_reason"] = None
        return made

    def events(self, saying: Saying) -> list[Event]:
        """Return the events of a message."""
        told = messages.events(messages.message(saying.asked, saying.play))
        told = _with_deltas(told, [_text_delta(text) for text in saying.texts], before="content_block_stop")
        left_out = {"message_delta"} if saying.fault.no_finish else set()
        left_out |= {"message_stop"} if saying.fault.no_done else set()
        return [event for event in told if event["type"] not in left_out]

    def is_content(self, event: Event) -> bool:
        """Tell whether it is a delta."""
        return bool(event["type"] == "content_block_delta")

    def error(self, saying: Saying, status: int) -> Event:
        """Return Anthropic's error body."""
        return messages.error_body(Play(error={"message": saying.error["message"]}), status)

    def error_event(self, saying: Saying, number: int) -> Event:
        """Return `error`, or OpenAI's error if that is the form."""
        if saying.fault.error_form == "nested":
            return {"type": "error", "error": dict(saying.error)}
        return messages.error_body(Play(error={"message": saying.error["message"]}), 529)


class GeminiSpeech:
    """Gemini's own API. Its events have neither names nor types, and none says that it is the last."""

    malformed: Final = 'data: {"candidates": [{"content": {"par\r\n\r\n'

    def is_streamed(self, request: RecordedRequest) -> bool:
        """Look at the path."""
        return request.path == GEMINI_STREAM

    def answer(self, saying: Saying) -> Event:
        """Return an answer."""
        return self._finished(saying, gemini.answer(saying.asked, saying.play))

    def events(self, saying: Saying) -> list[Event]:
        """Return the events of an answer."""
        told = gemini.events(saying.asked, saying.play)
        own = [event for event in told if not _gemini_text(event)]
        said = [gemini.said(saying.asked, text) for text in saying.texts]
        return [*said, *own[:-1], self._finished(saying, own[-1])]

    def is_content(self, event: Event) -> bool:
        """Tell whether it has more than a finish reason."""
        return "error" not in event and "finishReason" not in event["candidates"][0]

    def error(self, saying: Saying, status: int) -> Event:
        """Return Google's error body."""
        return gemini.error_body(Play(error={"message": saying.error["message"]}), status)

    def error_event(self, saying: Saying, number: int) -> Event:
        """Return the error body, as a server that is overloaded."""
        return self.error(saying, 503)

    @staticmethod
    def _finished(saying: Saying, event: Event) -> Event:
        if saying.fault.no_finish:
            del event["candidates"][0]["finishReason"]
        return event


def _gemini_text(event: Event) -> bool:
    [part] = event["candidates"][0]["content"]["parts"]
    return bool(part.get("text"))


class _MediaSpeech:
    def error(self, saying: Saying, status: int) -> Event:
        """Return OpenAI's error body."""
        return {"error": dict(saying.error)}

    def error_event(self, saying: Saying, number: int) -> Event:
        """Return `error`."""
        return {"type": "error", "error": dict(saying.error)}

    def is_content(self, event: Event) -> bool:
        """Tell whether it is a delta."""
        return bool(event["type"].endswith(".delta"))


class SoundSpeech(_MediaSpeech):
    """OpenAI's speech: the bytes of the sound are those of what is said, so that each can be told from others."""

    malformed: Final = 'event: speech.audio.delta\ndata: {"type": "speech.audio.delta", "aud\n\n'

    def is_streamed(self, request: RecordedRequest) -> bool:
        """Look at `stream_format`."""
        return isinstance(request.body, dict) and request.body.get("stream_format") == "sse"

    def answer(self, saying: Saying) -> bytes:
        """Return the sound."""
        return "".join(saying.texts).encode()

    def events(self, saying: Saying) -> list[Event]:
        """Return the events of a sound."""
        pieces = (base64.b64encode(text.encode()).decode() for text in saying.texts)
        told = [{"type": "speech.audio.delta", "audio": piece} for piece in pieces]
        done = {"type": "speech.audio.done", "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}
        return told if saying.fault.no_finish else [*told, done]


class TranscriptSpeech(_MediaSpeech):
    """OpenAI's transcriptions."""

    malformed: Final = 'event: transcript.text.delta\ndata: {"type": "transcript.text.delta", "del\n\n'

    def is_streamed(self, request: RecordedRequest) -> bool:
        """Look at the part `stream`."""
        form = read_form(request.raw, request.headers.get("content-type", ""))
        return any((part.name, part.value) == ("stream", b"true") for part in form)

    def answer(self, saying: Saying) -> Event:
        """Return the text."""
        return {"text": "".join(saying.texts), "usage": {"type": "duration", "seconds": 1}}

    def events(self, saying: Saying) -> list[Event]:
        """Return the events of a text."""
        told = [{"type": "transcript.text.delta", "delta": text} for text in saying.texts]
        usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        done = {"type": "transcript.text.done", "text": "".join(saying.texts), "usage": usage}
        return told if saying.fault.no_finish else [*told, done]


def _text_delta(text: str) -> Event:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def _with_deltas(told: list[Event], deltas: list[Event], *, before: str) -> list[Event]:
    """Return the events of a text with these deltas instead of their own, which leave out empty ones."""
    own = {_kind_of(delta) for delta in deltas}
    left = [event for event in told if _kind_of(event) not in own]
    place = next((place for place, event in enumerate(left) if event["type"] == before), len(left))
    return [*left[:place], *deltas, *left[place:]]


def _kind_of(event: Event) -> Any:
    """Return the type of an event, or of the delta in it."""
    delta = event.get("delta")
    return delta.get("type", event["type"]) if isinstance(delta, dict) else event["type"]


SPEECHES: Final[Mapping[str, Speech]] = {
    "/v1/responses": ResponsesSpeech(),
    "/v1/messages": MessagesSpeech(),
    GEMINI_PLAIN: GeminiSpeech(),
    GEMINI_STREAM: GeminiSpeech(),
    "/v1/audio/speech": SoundSpeech(),
    "/v1/audio/transcriptions": TranscriptSpeech(),
}
"""By path; chat is what the scripted upstream speaks without it."""
