"""What a scripted upstream does on one call, and what it says when it says everything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tests.scripted_openai import Outcome

ErrorForm: TypeAlias = Literal["bare", "unnamed", "nested", "failed"]
"""Text between the events; without the event's name; the error under `error`; as `response.failed`."""
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Outcome):
    """One outcome of the scripted upstream, with the faults that need a clock of their own. No fault is an answer."""

    drip: Literal["head", "body", "hints"] | None = None
    """That part of the response comes byte by byte, too slowly to be waited for; `hints` are 103s without end."""
    only_comments_after: int | None = None
    """Streams: after so many content chunks nothing but comments comes, until the client leaves."""
    pings_after: int | None = None
    """Messages: after so many content chunks nothing but pings comes, for longer than any limit; then it goes on."""
    retry_after_date_s: float | None = None
    """Retry-After is the HTTP date so many seconds from now."""

    limit_resets_s: float | None = None
    """Messages: the hit limit is full again so many seconds from now, as its headers tell."""

    unread: bool = False
    """A long body is not read: the response is sent at its beginning, and the connection reset."""
    is_broken: bool = False
    """The `body` is no answer, whatever it looks like."""
    plain: bool = False
    """A plain answer also where a stream was asked for."""
    mark: bool = False
    """A byte order mark before the first event."""
    stop: str | None = None
    """The wire's own word for why the answer ends; for Responses its status, `failed` with an `error` among them."""
    error_form: ErrorForm | None = None
    """How the event of `error_event_after` tells the error, where it is not how the wire documents it."""

    @property
    def is_whole(self) -> bool:
        """This is an answer, from its beginning to its end."""
        return (
            self.status == 200
            and not self.is_broken
            and not self.no_finish
            and not self.breaks_after
            and self.finishes is None
            and self.stop != FAILED
        )

    @property
    def breaks_after(self) -> frozenset[int]:
        """After how many content chunks it goes wrong; empty when it does not."""
        places = (
            self.cut_after,
            self.stall_after,
            self.malformed_after,
            self.error_event_after,
            self.only_comments_after,
        )
        return frozenset(place for place in places if place is not None)

    def says(self, model: str) -> str:
        """Return the whole answer: its text, then names and arguments of its tool calls."""
        if isinstance(self.chunks, int):
            text = "".join(f"chunk{n} " for n in range(self.chunks))
        elif self.chunks is not None:
            text = "".join(self.chunks)
        elif self.reply is not None:
            text = self.reply
        else:
            text = "" if self.tool_calls else f"hello from {model}"
        return text + "".join(name + as_written(arguments) for name, arguments in self.calls)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Name and arguments of each tool call."""
        joined: dict[int, tuple[str, str]] = {}
        for place, call in enumerate(self.tool_calls or ()):
            index, function = call.get("index", place), call["function"]
            name, arguments = joined.get(index, ("", ""))
            joined[index] = (name + function.get("name", ""), arguments + function.get("arguments", ""))
        return list(joined.values())


def as_written(arguments: str) -> str:
    """Return the arguments of a tool call as Python writes their JSON; what is no JSON as it is."""
    try:
        return json.dumps(json.loads(arguments))
    except ValueError:
        return arguments


def error_body(message: str, code: str | None, type_: str) -> str:
    """Return an error body in OpenAI's shape."""
    return json.dumps({"error": {"message": message, "type": type_, "param": None, "code": code}})
