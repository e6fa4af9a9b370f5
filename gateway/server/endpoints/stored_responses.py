"""Responses that upstreams keep: `GET` and `DELETE /v1/responses/{id}`, `POST …/cancel`, `GET …/input_items`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from gateway.engine.limits.admission import Limits, has_group
from gateway.engine.makers import MAX_ID
from gateway.engine.stored import StoredAnswers, UnknownResponse
from gateway.errors import BadRequest
from gateway.operations.stored import CancelledResponse, DeletedResponse, InputItems, StoredResponse
from gateway.policy.overlay import Tables
from gateway.server.endpoints.model_calls import ModelCalls, encoded, upstream_headers
from gateway.server.exchange import Exchange
from gateway.server.lifecycle import Draining, Lifecycle
from gateway.server.paths import PathHandlers
from gateway.words import cut, printable

_PREFIX: Final = "/v1/responses/"
_KINDS: Final[Mapping[tuple[str, str], type[StoredResponse]]] = {
    ("GET", ""): StoredResponse,
    ("DELETE", ""): DeletedResponse,
    ("POST", "cancel"): CancelledResponse,
    ("GET", "input_items"): InputItems,
}
"""(method, what follows the id) → what is asked for."""
_TOLD: Final = tuple(f"{method} {_PREFIX}ID{f'/{end}' if end else ''}" for method, end in _KINDS)
_MAX_VALUES: Final = 16
_MAX_VALUE: Final = 256
"""Number of a field's values in a query, and characters of one."""
_NO_IDS: Final = frozenset({"", ".", ".."})
"""In a path these mean folders."""
_TRUE: Final = frozenset({"true", "True", "1"})


class StoredResponses:
    """Answers what clients ask about responses, of which they have the id."""

    def __init__(
        self, *, stored: StoredAnswers, calls: ModelCalls, lifecycle: Lifecycle, tables: Tables, limits: Limits
    ) -> None:
        self._stored = stored
        self._calls = calls
        self._lifecycle = lifecycle
        self._tables = tables
        self._limits = limits

    def below(self) -> dict[str, PathHandlers]:
        """Return the endpoints for everything below a path."""
        methods = {method: self.answer for method, _ in _KINDS}
        return {_PREFIX: PathHandlers("stored_responses", methods, told=_TOLD)}

    async def answer(self, exchange: Exchange) -> None:
        """Pass the request on to the upstream that made the response, and its answer back."""
        request = exchange.request
        response_id, _, rest = request.path.removeprefix(_PREFIX).partition("/")
        method = "GET" if request.method == "HEAD" else request.method
        kind = _KINDS.get((method, rest))
        if kind is None:
            _refuse(exchange, method, rest)
            return
        if len(response_id) > MAX_ID or response_id in _NO_IDS:
            raise UnknownResponse(f"Response with id '{cut(printable(response_id), 64)}' not found.", param="id")
        table = self._tables.current
        if has_group(table, exchange.client):
            self._limits.group(table, exchange.client)  # it takes nothing from limits, but a client has to have a group
        operation = kind(response_id)
        task = self._lifecycle.begin()
        try:
            asked = await self._stored.request(
                operation,
                response_id,
                report=exchange.report,
                client=exchange.client_name,
                headers=upstream_headers(operation, exchange),
                query=_query(request.query, operation.query_names),
            )
            if kind is StoredResponse and request.first("stream") in _TRUE:
                exchange.stream = True
                await self._calls.pass_on(operation, self._stored.open_stream(asked), exchange)
                return
            reply = await self._stored.answer(asked, is_response=operation.is_response)
            if kind is DeletedResponse:
                self._stored.forget(response_id, client=exchange.client_name)
            if not exchange.send(reply.raw if reply.raw is not None else encoded(reply.data), reply.headers):
                await exchange.response.catch_up()
        except asyncio.CancelledError:
            if self._lifecycle.cut_off:
                raise Draining from None
            raise
        finally:
            self._lifecycle.end(task)
            del task  # as in ModelCalls.answer


def _refuse(exchange: Exchange, method: str, rest: str) -> None:
    """Refuse a path that is not there, or a method that it does not take."""
    allowed = [known for known, end in _KINDS if end == rest]
    shown = f"/v1/responses/ID{f'/{cut(printable(rest), 64)}' if rest else ''}"
    if allowed:
        message = f"wrong method: {method} {shown}; this endpoint takes {' and '.join(allowed)}"
        exchange.refuse(405, "method_not_allowed", message, {"allow": ",".join(allowed)})
        return
    exchange.refuse(404, "not_found", f"unknown endpoint: {method} {shown}; this gateway has {', '.join(_TOLD)}")


def _query(given: Mapping[str, Sequence[str]], names: tuple[str, ...]) -> str:
    """Return the part of a client's query that goes upstream. Raises BadRequest for one that is too long."""
    fields: list[str] = []
    for name in names:
        values = given.get(name, ())
        if len(values) > _MAX_VALUES or any(len(value) > _MAX_VALUE for value in values):
            raise BadRequest(f"{name} has too many values, or one that is too long", param=name)
        fields += [f"{quote(name, safe='')}={quote(value, safe='')}" for value in values]
    return "&".join(fields)
