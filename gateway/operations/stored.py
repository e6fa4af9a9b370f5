"""Requests about a response that an upstream keeps: get it, delete it, cancel it, list its input.

Each is a request of the Responses wire without a body, at a path of its own.
Source: https://platform.openai.com/docs/api-reference/responses/get and the pages beside it
"""

from __future__ import annotations

from typing import ClassVar, Final
from urllib.parse import quote

from gateway.operations.base import raise_error
from gateway.operations.responses import Responses, ResponsesJudge
from gateway.wire.json import Json, JsonObject

_INCLUDES: Final = ("include", "include[]")
_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})
"""The last events of a stream, whatever became of the response."""


class StoredResponse(Responses):
    """Getting a response, also as the events that it was made of."""

    method = "GET"
    has_body = False
    suffix: ClassVar[str] = ""
    """The end of the path, behind the id."""
    query_names: ClassVar[tuple[str, ...]] = (*_INCLUDES, "include_obfuscation", "starting_after", "stream")
    """Fields of the client's query that go upstream."""
    is_response: ClassVar[bool] = True
    """Whether its answer is the response, so that post hooks see it."""
    can_bind = False

    def __init__(self, response_id: str) -> None:
        self.path = f"/responses/{quote(response_id, safe='')}{self.suffix}"

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError for an error with a good status. A response that failed is an answer to this."""
        if data.get("error") and "id" not in data:
            raise_error(data)

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return None: they were used and counted when the response was made."""
        return None

    def judge(self, *, one_choice: bool = False) -> StoredJudge:
        """Return a judge of events that happened already."""
        return StoredJudge()


class DeletedResponse(StoredResponse):
    """Deleting a response."""

    method = "DELETE"
    query_names = ()
    is_response = False


class CancelledResponse(StoredResponse):
    """Cancelling a response that is made in the background."""

    method = "POST"
    suffix = "/cancel"
    query_names = ()


class InputItems(StoredResponse):
    """Listing what a response was asked with."""

    suffix = "/input_items"
    query_names = (*_INCLUDES, "after", "before", "limit", "order")
    is_response = False


class StoredJudge(ResponsesJudge):
    """Checks that a response's events come to their end, be it a failure."""

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        super().__init__()
        self._ended = False

    def see(self, data: JsonObject) -> None:
        """Take note of the next event. Each is passed on at once: the next one may take minutes."""
        self.has_content = True
        kind: Json = data.get("type")
        if kind in _LAST:
            self._ended = True
        if kind not in _LAST or kind in {"response.completed", "response.incomplete"}:
            super().see(data)

    @property
    def tokens(self) -> dict[str, int] | None:
        """None, as of a plain answer."""
        return None

    @property
    def is_whole(self) -> bool:
        """The last event has come."""
        return self._ended
