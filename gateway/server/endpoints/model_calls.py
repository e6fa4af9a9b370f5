"""Model requests: a `POST` of any operation, answered plainly or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from functools import partial
from typing import Final

from gateway.adapters.base import Operation
from gateway.adapters.content_types import FORM
from gateway.adapters.events import Event, Stream
from gateway.engine.pipeline import Pipeline
from gateway.errors import GatewayError, HookFailed, StreamBroken
from gateway.operations import OPERATIONS, check_request
from gateway.server.body import LARGE_BYTES, LargeBodies, json_object, read_body
from gateway.server.exchange import Exchange
from gateway.server.lifecycle import Draining, Lifecycle
from gateway.server.paths import PathHandlers
from gateway.server.request import Request
from gateway.server.response import ClientGone
from gateway.telemetry.ids import sampled_trace_id, traceparent
from gateway.wire.json import JsonObject, encode_json
from gateway.wire.multipart import Form

_NO_EVENTS: Final = "the answer is bytes, and a stream of events has begun"
_NOT_JSON: Final = "a post hook left something in the answer that JSON cannot hold"


class ModelCalls:
    """Answers model requests."""

    def __init__(
        self, *, pipeline: Pipeline, lifecycle: Lifecycle, large_bodies: LargeBodies, default_model: str | None = None
    ) -> None:
        """`default_model` is asked for where an operation's request may leave the model out and does."""
        self._pipeline = pipeline
        self._default_model = default_model
        self._large_bodies = large_bodies
        self._lifecycle = lifecycle

    def paths(self) -> dict[str, PathHandlers]:
        """Return the endpoints by path."""
        return {
            path: PathHandlers(
                operation.name,
                {"POST": partial(self.answer, operation)},
                operation.errors,
                media_types=operation.media_types,
            )
            for operation in OPERATIONS.values()
            for path in (f"/v1{operation.path}", *operation.other_paths)
        }

    async def answer(self, operation: Operation, exchange: Exchange) -> None:
        """Read the body, run the pipeline, and send the reply: plain, or as a stream if the body asks for one."""
        request = exchange.request
        task = self._lifecycle.begin()
        try:
            data = request.body
            if data is None:
                data = await read_body(request, exchange.client_s)
            form: Form | None = None
            if FORM in operation.media_types and request.content_type == FORM:
                form, body = await self._large_bodies.form(data, request.headers["content-type"])
            elif isinstance(data, bytes) and len(data) <= LARGE_BYTES:
                body = json_object(data)
            else:
                body = await self._large_bodies.json_object(data)
            if request.deployment is not None:
                body["model"] = request.deployment  # the path decides, as at Azure
            if operation.model_is_optional and self._default_model is not None and body.get("model") is None:
                body["model"] = self._default_model
            check_request(operation, body)
            headers = upstream_headers(operation, exchange)
            query = _passed_query(request, operation) if operation.queries and request.query else ""
            if operation.wants_stream(body):
                exchange.stream = True
                await self._stream(operation, body, headers, query, form, exchange)
                return
            reply = await self._pipeline.answer(
                operation,
                body,
                report=exchange.report,
                headers=headers,
                query=query,
                form=form,
                client=exchange.client,
                client_headers=request.headers,
            )
            if reply.body is not None:
                await self._send_body(operation, reply.body, exchange)
                return
            if not exchange.send(reply.raw if reply.raw is not None else encoded(reply.data), reply.headers):
                await exchange.response.catch_up()
        except asyncio.CancelledError:
            if self._lifecycle.cut_off:
                raise Draining from None
            raise
        finally:
            self._lifecycle.end(task)
            del task  # a cancelled task keeps its error, and that this frame with the body: they would keep each other

    def _stream(
        self,
        operation: Operation,
        body: JsonObject,
        headers: Mapping[str, str],
        query: str,
        form: Form | None,
        exchange: Exchange,
    ) -> Coroutine[None, None, None]:
        """Pass the events on, then the wire's end; after a break an error event and a closed connection.

        With the alias' `stream.keepalive` the head may be sent before the stream is open; a failure is a break then.
        """
        # Not a coroutine around the other one, which would take part in each event.
        opening = self._pipeline.open_stream(
            operation,
            body,
            report=exchange.report,
            headers=headers,
            query=query,
            form=form,
            client=exchange.client,
            client_headers=exchange.request.headers,
            on_keepalive=exchange.keep_alive,
        )
        return self.pass_on(operation, opening, exchange)

    async def _send_body(self, operation: Operation, body: Stream, exchange: Exchange) -> None:
        """Pass on a plain answer that is no JSON."""

        async def opened() -> Stream:
            return body

        await self.pass_on(operation, opened(), exchange)

    async def pass_on(self, operation: Operation, opening: Awaitable[Stream], exchange: Exchange) -> None:
        """Open a stream and pass it on to its end; after a break tell the client."""
        response = exchange.response
        last = operation.stream_end
        is_bytes = False
        try:
            try:
                stream = await opening
                try:
                    is_bytes = "content-type" in stream.headers
                    if is_bytes and response.begun:  # by `keepalive`, as a stream of events
                        is_bytes = False
                        raise StreamBroken(_NO_EVENTS, attempts=exchange.report.attempts)
                    last = b"" if is_bytes else last
                    exchange.begin_stream(stream.headers)
                    push = response.push if exchange.keepalive is None else exchange.keepalive.push
                    while events := await stream.read():
                        if events[-1].is_end:
                            last = _encoded_events(events)
                        elif not push(_encoded_events(events)):
                            await response.catch_up()
                finally:
                    await stream.aclose()
            finally:
                if exchange.keepalive is not None:
                    exchange.keepalive.stop()
        except ClientGone:
            raise
        except asyncio.CancelledError:
            if not (self._lifecycle.cut_off and response.begun):
                raise
            await _break_off(operation, exchange, Draining(), is_bytes=is_bytes)
        except Exception as exc:
            if not response.begun:
                raise
            error = exc if isinstance(exc, GatewayError) else exchange.unexpected(exc)
            await _break_off(operation, exchange, error, is_bytes=is_bytes)
        else:
            await response.finish(last)


async def _break_off(operation: Operation, exchange: Exchange, exc: GatewayError, *, is_bytes: bool) -> None:
    """Send an error event, then close the connection without the end of the body.

    So every client notices, whether it reads the events or only the HTTP framing. Bytes have no events: the connection
    is reset.
    """
    exchange.status, exchange.error = exc.status, exc.code
    if is_bytes:
        exchange.response.close(reset=True)
        return
    await exchange.response.send(operation.break_event(exchange.envelope(exc), exchange.report.next_number))
    exchange.response.close()


def upstream_headers(operation: Operation, exchange: Exchange) -> dict[str, str]:
    """Return the header fields of a request that go upstream."""
    given = exchange.request.headers
    headers = {"x-request-id": exchange.report.request_id}
    trace = given.get("traceparent")
    if exchange.unsampled is not None:
        headers["traceparent"] = exchange.unsampled.traceparent
        if exchange.unsampled.state is not None:
            headers["tracestate"] = exchange.unsampled.state
    elif trace is not None and exchange.report.trace is None and traceparent(trace) is not None:
        headers["traceparent"] = trace
        exchange.report.trace_id = sampled_trace_id(trace)
    for name in operation.request_headers:
        if name in given:
            headers[name] = given[name]
    return headers


def _passed_query(request: Request, operation: Operation) -> str:
    """Return the part of the client's query that goes upstream; empty if none does."""
    given = (f"{name}={value}" for name, values in request.query.items() for value in values)
    return next((query for query in given if query in operation.queries), "")


def _encoded_events(events: list[Event]) -> bytes:
    first = events[0]
    if len(events) == 1 and first.raw is not None:
        return first.raw
    try:
        return b"".join([event.raw if event.raw is not None else event.encoded() for event in events])
    except TypeError as exc:  # a hook has put it there
        raise HookFailed(_NOT_JSON) from exc


def encoded(data: JsonObject) -> bytes:
    """Return an answer as JSON. Raises HookFailed for what JSON cannot hold."""
    try:
        return encode_json(data)
    except TypeError as exc:  # a hook has put it there
        raise HookFailed(_NOT_JSON) from exc
