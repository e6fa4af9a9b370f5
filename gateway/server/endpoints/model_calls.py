"""OpenAI's part of the HTTP surface, the probes and the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from aiohttp import web

from gateway.adapters.base import Event, Operation
from gateway.engine.pipeline import Pipeline
from gateway.errors import BadRequest, GatewayError, HookFailed
from gateway.operations import OPERATIONS
from gateway.server.body import _object, _read
from gateway.server.connection import FastRequest
from gateway.server.exchange import AnyRequest, Exchange
from gateway.server.front import Endpoint, unexpected
from gateway.server.lifecycle import Draining, Lifecycle
from gateway.server.response import ClientGone, PlainAnswer, StreamAnswer
from gateway.telemetry.ids import traceparent
from gateway.telemetry.metrics import Metrics
from gateway.wire.json import JsonObject, encode_json

_STREAM_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_NOT_JSON: Final = "a post hook left something in the answer that JSON cannot hold"
_MODELS: Final = "/v1/models/"


class Endpoints:
    """Answers model requests, model lists and probes."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        metrics: Metrics,
        lifecycle: Lifecycle,
        client_s: float,
        before_scrape: Callable[[], None],
    ) -> None:
        """`client_s` is how long a client may take to send its body, or to read what waits for it.

        `before_scrape` brings the metrics about the config file up to date.
        """
        self._pipeline = pipeline
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._client_s = client_s
        self._before_scrape = before_scrape

    def paths(self) -> dict[str, Endpoint]:
        """Return what answers where."""
        models: dict[str, Endpoint] = {}
        for operation in OPERATIONS.values():
            answer = partial(self.model_request, operation=operation)
            models[f"/v1{operation.path}"] = Endpoint(operation.name, {"POST": answer}, answer)
        return {
            **models,
            "/v1/models": Endpoint("models", {"GET": self.models}),
            "/healthz": Endpoint("probe", {"GET": self.healthz}),
            "/readyz": Endpoint("probe", {"GET": self.readyz}),
            "/metrics": Endpoint("probe", {"GET": self.scrape}),
        }

    def below(self) -> dict[str, Endpoint]:
        """Return what answers for everything below a path."""
        return {_MODELS: Endpoint("models", {"GET": self.model})}

    async def model_request(
        self, request: AnyRequest, exchange: Exchange, *, operation: Operation
    ) -> web.StreamResponse:
        """A POST of any operation, streaming when its body asks for that."""
        task = self._lifecycle.begin()
        try:
            data = request.body if isinstance(request, FastRequest) else None
            body = _object(await _read(request, self._client_s) if data is None else data)
            if not isinstance(body.get("model"), str) or not body["model"]:
                raise BadRequest("model must be a non-empty string", param="model")
            operation.check(body)
            headers = {"x-request-id": exchange.report.request_id}
            trace = request.headers.get("traceparent")
            if trace is not None and traceparent(trace) is not None:
                headers["traceparent"] = trace
            if operation.wants_stream(body):
                exchange.stream = True
                return await self._stream(operation, body, headers, request, exchange)
            reply = await self._pipeline.answer(operation, body, report=exchange.report, headers=headers)
            raw = reply.raw if reply.raw is not None else _encoded(reply.data)
            answer = exchange.reply(request, raw, reply.headers, client_s=self._client_s)
            return answer if answer.send() else await self._seen_off(answer, exchange)
        except asyncio.CancelledError:
            if self._lifecycle.cut_off:
                raise Draining from None
            raise
        finally:
            self._lifecycle.end(task)

    async def models(self, request: web.BaseRequest, exchange: Exchange) -> web.Response:
        """`GET /v1/models`: every alias but the wildcards."""
        table = self._pipeline.tables.current
        entries = [_model(name, route.steps[0].target.name, table.loaded_at) for name, route in table.routes.items()]
        return exchange.answer({"object": "list", "data": entries})

    async def model(self, request: web.BaseRequest, exchange: Exchange) -> web.Response:
        """`GET /v1/models/{name}`: one alias, or a name that a wildcard takes."""
        name = request.path.removeprefix(_MODELS)
        target = self._pipeline.route(name).steps[0].target.name
        return exchange.answer(_model(name, target, self._pipeline.tables.current.loaded_at))

    async def healthz(self, request: web.BaseRequest, exchange: Exchange) -> web.Response:
        """`GET /healthz`: the process is alive, also while it drains."""
        return exchange.answer({"status": "ok"})

    async def readyz(self, request: web.BaseRequest, exchange: Exchange) -> web.Response:
        """`GET /readyz`: a table is loaded and the process is not draining."""
        generation = self._pipeline.tables.current.generation
        if self._lifecycle.draining or not generation:
            word = "draining" if self._lifecycle.draining else "loading"
            return exchange.answer({"status": word}, status=503)
        return exchange.answer({"status": "ready", "generation": generation})

    async def scrape(self, request: web.BaseRequest, exchange: Exchange) -> web.Response:
        """`GET /metrics` in Prometheus' format."""
        self._before_scrape()
        text, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=text, headers=exchange.headers(content_type=content_type))

    async def _seen_off(self, answer: PlainAnswer, exchange: Exchange) -> PlainAnswer:
        """Return a long answer once the client has taken nearly all of it. Raises ClientGone."""
        try:
            await answer.catch_up()
        except asyncio.CancelledError:
            if not self._lifecycle.cut_off:
                raise
            answer.hang_up(at_once=True)
            exchange.status, exchange.error = Draining.status, Draining.code
        return answer

    async def _stream(
        self,
        operation: Operation,
        body: JsonObject,
        upstream_headers: Mapping[str, str],
        request: AnyRequest,
        exchange: Exchange,
    ) -> web.StreamResponse:
        """Pass the events on and end as the wire says, or with an error event and a connection that breaks off."""
        stream = await self._pipeline.open_stream(operation, body, report=exchange.report, headers=upstream_headers)
        headers = {**stream.headers, **_STREAM_HEADERS}
        try:
            answer = exchange.stream_answer(request, headers, client_s=self._client_s)
        except BaseException:
            await stream.aclose()
            raise
        try:
            try:
                while events := await stream.read():
                    if not answer.push(_encoded_events(events)):
                        await answer.catch_up()
            finally:
                await stream.aclose()
        except ClientGone:
            raise
        except asyncio.CancelledError:
            if not (self._lifecycle.cut_off and answer.begun):
                raise
            await _break_off(operation, answer, exchange, Draining())
        except Exception as exc:
            if not answer.begun:
                raise
            error = exc if isinstance(exc, GatewayError) else unexpected(exc, exchange)
            await _break_off(operation, answer, exchange, error)
        else:
            await answer.finish(operation.stream_end)
        return answer


async def _break_off(operation: Operation, answer: StreamAnswer, exchange: Exchange, exc: GatewayError) -> None:
    """Tell the error within the stream, then close the connection before the body's end mark.

    So no client can take it for a whole answer, whether it looks at the events or at HTTP only.
    """
    exchange.status, exchange.error = exc.status, exc.code
    exc.attempts = exc.attempts or tuple(exchange.report.attempts)
    await answer.send(operation.break_event(exc.envelope()))
    answer.hang_up()


def _model(name: str, first_target: str, loaded_at: float) -> JsonObject:
    owner = first_target.partition("/")[0]
    return {"id": name, "object": "model", "created": int(loaded_at), "owned_by": owner}


def _encoded_events(events: list[Event]) -> bytes:
    try:
        return b"".join([event.raw if event.raw is not None else event.encoded() for event in events])
    except TypeError as exc:  # only a hook can have put such a thing there
        raise HookFailed(_NOT_JSON) from exc


def _encoded(data: JsonObject) -> bytes:
    try:
        return encode_json(data)
    except TypeError as exc:  # only a hook can have put such a thing there
        raise HookFailed(_NOT_JSON) from exc
