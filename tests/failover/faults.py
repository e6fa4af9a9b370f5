"""What a scripted upstream does on one call, and what it says when it says everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.scripted_openai import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Outcome):
    """One outcome of the scripted upstream, with the faults that need a clock of their own. No fault is an answer."""

    drip: Literal["head", "body", "hints"] | None = None
    """That part of the response comes byte by byte, too slowly to be waited for; `hints` are 103s without end."""
    only_comments_after: int | None = None
    """Streams: after so many content chunks nothing but comments comes, until the client leaves."""
    retry_after_date_s: float | None = None
    """Retry-After is the HTTP date so many seconds from now."""

    unread: bool = False
    """A long body is not read: the response is sent at its beginning, and the connection reset."""
    is_broken: bool = False
    """The `body` is no answer, whatever it looks like."""

    @property
    def is_whole(self) -> bool:
        """This is an answer, from its beginning to its end."""
        return (
            self.status == 200
            and not self.is_broken
            and not self.no_finish
            and not self.breaks_after
            and self.finishes is None
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
        return text + "".join(spoken(self.tool_calls or ()))


def spoken(tool_calls: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the names and arguments of tool calls, or of the deltas of one."""
    for call in tool_calls:
        function = call.get("function") or {}
        yield (function.get("name") or "") + (function.get("arguments") or "")


def error_body(message: str, code: str | None, type_: str) -> str:
    """Return an error body in OpenAI's shape."""
    return json.dumps({"error": {"message": message, "type": type_, "param": None, "code": code}})
