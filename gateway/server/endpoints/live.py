"""What operators look at: `/-/state`, `/-/requests`, and the page `/-/` that shows both."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from gateway.errors import BadRequest
from gateway.server.access import Forbidden
from gateway.server.endpoints.page.page import HTML_TYPE, headers, render
from gateway.server.exchange import Exchange
from gateway.server.live.state import State
from gateway.server.live.view import View
from gateway.server.paths import PathHandlers
from gateway.server.response import EVENTS_TYPE, JSON_TYPE

POLL_S: Final = 25.0
"""Longest wait for the next request: proxies give up on silent answers after 30 seconds or more."""
BATCH_S: Final = 0.1
"""Pause between two parts of a stream of requests: many requests come together, and none wakes the loop for itself."""
_MAX_DIGITS: Final = 18

_PRIVATE: Final = {"cache-control": "no-cache, private", "x-content-type-options": "nosniff"}


class Live:
    """Answers what is looked at. `Guards` has admitted who asks. Nothing here changes anything."""

    def __init__(self, *, state: State, view: View) -> None:
        self._state = state
        self._view = view

    def paths(self) -> dict[str, PathHandlers]:
        """Return the endpoints by path."""
        return {
            "/-/": PathHandlers("admin", {"GET": self.page}),
            "/-/state": PathHandlers("admin", {"GET": self.state}),
            "/-/requests": PathHandlers("admin", {"GET": self.requests}),
        }

    async def page(self, exchange: Exchange) -> None:
        """`GET /-/`: the page, whole without JavaScript."""
        tag = await self._state.tag()
        if _is_known(exchange, tag):
            exchange.send(b"", {**headers(), "etag": tag}, status=304, content_type=None)
            return
        state = await self._state.make(tag)
        requests = await self._view.requests(None)
        html = await asyncio.to_thread(render, state, requests.rows)
        if not exchange.send(html, {**headers(), "etag": tag}, content_type=HTML_TYPE):
            await exchange.response.catch_up()

    async def state(self, exchange: Exchange) -> None:
        """`GET /-/state`: config, targets, aliases and reloads, with a weak ETag; 304 where nothing changed."""
        _refuse_cross_site(exchange.request.headers)
        tag = await self._state.tag()
        fields = {**_PRIVATE, "etag": tag}
        if _is_known(exchange, tag):
            exchange.send(b"", fields, status=304, content_type=None)
            return
        exchange.send(orjson.dumps(await self._state.make(tag), default=dict), fields, content_type=JSON_TYPE)

    async def requests(self, exchange: Exchange) -> None:
        """`GET /-/requests?after=N`: the last requests after serial number N; waits for one up to POLL_S.

        With `accept: text/event-stream` a stream of them, which goes on after a `last-event-id`. Without `after`: all
        that are remembered, at once.
        """
        _refuse_cross_site(exchange.request.headers)
        request = exchange.request
        is_stream = EVENTS_TYPE in request.headers.get("accept", "")
        number = _number(request.first("after") or (is_stream and request.headers.get("last-event-id", "")) or "")
        if is_stream:
            await self._stream(exchange, number or 0)
            return
        told = await self._view.requests(number, within_s=POLL_S)
        exchange.send_json({"process": told.process, "last": told.last, "requests": told.rows}, _PRIVATE)

    async def _stream(self, exchange: Exchange, number: int) -> None:
        """Send requests as events until the client leaves or the gateway stops."""
        response = exchange.begin_stream(_PRIVATE)
        await response.send(b": requests\n\n")
        told = await self._view.requests(number)
        while True:
            events = [b"id: %d\ndata: %b\n\n" % (row["n"], orjson.dumps(row)) for row in told.rows]
            await response.send(b"".join(events) or b": \n\n")  # which tells whether the client is still there
            await asyncio.sleep(BATCH_S)
            told = await self._view.requests(told.last, within_s=POLL_S)


def _is_known(exchange: Exchange, tag: str) -> bool:
    """Tell whether the client has this version (RFC 9110, 13.1.2: by weak comparison; `*` is any)."""
    known: Sequence[str] = exchange.request.headers.get("if-none-match", "").split(",")
    return any(each.strip().removeprefix("W/") in {tag.removeprefix("W/"), "*"} for each in known)


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise BadRequest("after takes the serial number of a request, as `n` in /-/requests gives it", param="after")
    return int(text)


def _refuse_cross_site(fields: Mapping[str, str]) -> None:
    """Refuse what another site's page loads: it could not read it, but learn from how long it takes."""
    if fields.get("sec-fetch-site") == "cross-site":
        raise Forbidden("pages of other sites may not use the operators' paths")
