"""OpenAI's part of the HTTP surface, the probes and the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import orjson
from aiohttp import web

from gateway.adapters.base import Chunk, ChunkStream
from gateway.engine.pipeline import Pipeline
from gateway.errors import BadRequest, GatewayError, HookFailed
from gateway.policy.target import Operation
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
_DONE: Final = b"data: [DONE]\n\n"
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
        chat = partial(self.model_request, operation="chat")
        embeddings = partial(self.model_request, operation="embeddings")
        return {
            "/v1/chat/completions": Endpoint("chat", {"POST": chat}, chat),
            "/v1/embeddings": Endpoint("embeddings", {"POST": embeddings}, embeddings),
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
        """`POST /v1/chat/completions`, streaming when the body says so, and `POST /v1/embeddings`."""
        task = self._lifecycle.begin()
        try:
            data = request.body if isinstance(request, FastRequest) else None
            body = _object(await _read(request, self._client_s) if data is None else data)
            check_body(operation, body)
            headers = {"x-request-id": exchange.report.request_id}
            trace = request.headers.get("traceparent")
            if trace is not None and traceparent(trace) is not None:
                headers["traceparent"] = trace
            if operation == "chat" and body.get("stream"):
                exchange.stream = True
                return await self._stream(body, headers, request, exchange)
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
        self, body: JsonObject, upstream_headers: Mapping[str, str], request: AnyRequest, exchange: Exchange
    ) -> web.StreamResponse:
        """Pass the chunks on and end with `[DONE]`, or with an error event and a connection that breaks off."""
        stream = await self._pipeline.open_stream(body, report=exchange.report, headers=upstream_headers)
        headers = {**stream.headers, **_STREAM_HEADERS}
        try:
            answer = exchange.stream_answer(request, headers, client_s=self._client_s)
        except BaseException:
            await stream.chunks.aclose()
            raise
        last = b""
        try:
            try:
                while chunks := stream.take() or await _next(stream):
                    if stream.ended():
                        last = _encode(chunks)
                        break
                    await answer.send(_encode(chunks))
                    await stream.flow(lambda chunks: answer.push(_encode(chunks)))
                    await answer.catch_up()
            finally:
                if not stream.ended():
                    await stream.chunks.aclose()
        except ClientGone:
            raise
        except asyncio.CancelledError:
            if not (self._lifecycle.cut_off and answer.begun):
                raise
            await _break_off(answer, exchange, Draining())
        except Exception as exc:
            if not answer.begun:
                raise
            await _break_off(answer, exchange, exc if isinstance(exc, GatewayError) else unexpected(exc, exchange))
        else:
            await answer.finish(last + _DONE)
        return answer


async def _break_off(answer: StreamAnswer, exchange: Exchange, exc: GatewayError) -> None:
    """Tell the error within the stream, then close the connection before the body's end mark.

    So no client can take it for a whole answer, whether it looks at the events or at HTTP only.
    """
    exchange.status, exchange.error = exc.status, exc.code
    exc.attempts = exc.attempts or tuple(exchange.report.attempts)
    await answer.send(b"data: " + orjson.dumps(exc.envelope()) + b"\n\n")
    answer.hang_up()


def check_body(operation: Operation, body: JsonObject) -> None:
    """Raise BadRequest for what no upstream could take; everything deeper is the upstream's to judge."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise BadRequest("model must be a non-empty string", param="model")
    if operation == "embeddings":
        if not isinstance(body.get("input"), str | list):
            raise BadRequest("input must be a string or a list", param="input")
        return
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a non-empty list", param="messages")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            position = messages.index(message)
            raise BadRequest(f"messages[{position}] must be an object with a role", param="messages")
    stream, options = body.get("stream"), body.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise BadRequest("stream must be true or false", param="stream")
    if options is not None and not isinstance(options, dict):
        raise BadRequest("stream_options must be an object", param="stream_options")


def _model(name: str, first_target: str, loaded_at: float) -> JsonObject:
    owner = first_target.partition("/")[0]
    return {"id": name, "object": "model", "created": int(loaded_at), "owned_by": owner}


async def _next(stream: ChunkStream) -> list[Chunk]:
    """Wait for the next chunk; return it with those that came with it, or nothing at the end."""
    async for chunk in stream.chunks:
        return [chunk, *stream.take()]
    return []


def _encode(chunks: list[Chunk]) -> bytes:
    return b"".join([chunk.raw if chunk.raw is not None else _event(chunk) for chunk in chunks])


def _event(chunk: Chunk) -> bytes:
    return b"data: " + _encoded(chunk.data) + b"\n\n" if chunk.data is not None else b""


def _encoded(data: JsonObject) -> bytes:
    try:
        return encode_json(data)
    except TypeError as exc:  # only a hook can have put such a thing there
        raise HookFailed("a post hook left something in the answer that JSON cannot hold") from exc
