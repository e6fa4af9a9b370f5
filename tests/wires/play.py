"""What a scripted upstream is told to do, what it was asked, and what it answers: the same for every wire."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from gateway.wire.json import EMPTY

EVENT_STREAM: Final = "text/event-stream; charset=utf-8"
JSON_TYPE: Final = "application/json"
_IN_PATH: Final = re.compile(r".*/models/([^/:]+):\w+")
TEXT: Final = "one two three"
"""What is said unless a script says otherwise."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model calls."""

    name: str
    arguments: Mapping[str, Any]
    id: str = "call_1"

    @property
    def text(self) -> str:
        """The arguments as JSON."""
        return json.dumps(self.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What happens on one call. Places in an answer count its parts: events of a stream, pieces of bytes."""

    text: str = TEXT
    """What is said; a stream says it word by word."""
    thinking: str | None = None
    """A block of thinking or reasoning before the text."""
    refusal: str | None = None
    """Said instead of the text, where the wire has refusals."""
    tools: Sequence[Tool] = ()
    """Called after the text; the text is then empty unless it was given."""
    stop: str | None = None
    """The wire's own word for why the answer ends; for Responses its status."""
    usage: Mapping[str, Any] | None = None
    status: int = 200
    error: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the wire's error object, for a status of 400 and above, `error_after` and a failed response."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of an answer."""
    parts: Sequence[bytes] | None = None
    """Sent instead of the stream's events."""
    content_type: str | None = None
    """As the answer is unless said otherwise."""
    cut_after: int | None = None
    """The connection is closed after so many parts, the body unfinished."""
    cut_inside: int | None = None
    """The connection is closed in the middle of the part with this index."""
    end_after: int | None = None
    """The response ends cleanly after so many parts."""
    error_after: int | None = None
    """After so many parts comes the wire's error event, and a clean end."""
    stall_after: int | None = None
    """Silence after so many parts, until `go_on` is set or the client leaves."""
    go_on: threading.Event | None = None

    @property
    def words(self) -> list[str]:
        """The text in the pieces of a stream."""
        return re.findall(r"\S+\s*|\s+", self.text)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart form."""

    name: str
    value: bytes
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """One request as it arrived."""

    method: str
    path: str
    """Without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Lower-case names; what came twice is joined by commas."""
    raw: bytes
    body: Any
    """The parsed JSON; None if it is none."""
    form: Sequence[Part]
    """The parts of a multipart body in the order they came."""

    @property
    def model(self) -> str:
        """The model asked for, in the path or in the body; empty if none."""
        if in_path := _IN_PATH.fullmatch(self.path):
            return unquote(in_path[1])
        named = self.field("model")
        return named if isinstance(named, str) else ""

    @property
    def stream(self) -> bool:
        return self.field("stream") in (True, "true")

    def field(self, name: str) -> Any:
        """Return a field of the JSON body, or the text of a form's part; None if there is none."""
        if isinstance(self.body, dict):
            return self.body.get(name)
        return next((part.value.decode() for part in self.form if part.name == name and part.filename is None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back: in one piece with its length, or in parts, chunked."""

    body: bytes = b""
    parts: Sequence[bytes] | None = None
    content_type: str = JSON_TYPE
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error_part: bytes = b""
    """How this stream's wire tells an error in band."""


def in_json(content: Any, *, status: int = 200, headers: Mapping[str, str] = EMPTY) -> Answer:
    """Return an answer of JSON."""
    return Answer(body=json.dumps(content).encode(), status=status, headers=headers)


def named_event(data: Mapping[str, Any]) -> bytes:
    """Return an event that is named as its `type`."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def data_event(data: Mapping[str, Any]) -> bytes:
    """Return an event without a name."""
    return f"data: {json.dumps(data)}\n\n".encode()


def openai_error(play: Play, *, status: int = 400) -> dict[str, Any]:
    """Return OpenAI's error body."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"error": {"message": "scripted error", "type": kind, "param": None, "code": None, **play.error}}


def read_form(raw: bytes, content_type: str) -> list[Part]:
    """Return the parts of a multipart body (RFC 7578); none if it is no such body."""
    if not content_type.lower().startswith("multipart/form-data") or not (
        boundary := re.search(r'boundary="?([^";]+)"?', content_type)
    ):
        return []
    parts = []
    for piece in (b"\r\n" + raw).split(b"\r\n--" + boundary[1].encode())[1:-1]:
        head, _, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = {
            name.strip().lower(): text.strip()
            for name, _, text in (line.partition(":") for line in head.decode().split("\r\n"))
        }
        words = dict(re.findall(r'(\w+)="([^"]*)"', fields["content-disposition"]))
        parts.append(Part(words["name"], value, words.get("filename"), fields.get("content-type")))
    return parts
