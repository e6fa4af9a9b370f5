"""The provider: look up the alias, run its hooks, let the engine find a target. For the server and for programs."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from gateway.concurrency.deadlines import until
from gateway.engine.attempts import Engine, Request
from gateway.engine.health import State
from gateway.errors import BadRequest, GatewayError, HookFailed, UnknownModel
from gateway.library.messages import normalise
from gateway.policy.table import NO_OVERLAY, Hook, Overlay, Route, RoutingTable, Tables
from gateway.types import (
    EMPTY,
    FORBIDDEN_PARAMS,
    Adapters,
    CallReport,
    Chunk,
    Chunks,
    ChunkStream,
    Json,
    JsonObject,
    Operation,
    Problems,
    Reply,
)
from gateway.wire import sse
from gateway.wire.json import decode_json

log = logging.getLogger(__name__)

_HookCallable = TypeVar("_HookCallable", bound=Callable[[JsonObject], Any])


class Provider:
    """Answers requests by the live routing table. One for a process is enough; use it on one event loop at a time."""

    def __init__(self, *, tables: Tables, adapters: Adapters, state: State) -> None:
        self._tables = tables
        self._state = state
        self._adapters = adapters
        self._engine = Engine(adapters=adapters, state=state)
        self._overlay = NO_OVERLAY

    @property
    def tables(self) -> Tables:
        """Whoever holds the live table."""
        return self._tables

    # What the server calls: OpenAI's request body in, a reply or an open stream out.

    def answer(
        self, operation: Operation, params: JsonObject, *, report: CallReport, headers: Mapping[str, str] = EMPTY
    ) -> Coroutine[None, None, Reply]:
        """Return the plain answer to an OpenAI request body; `params` itself is not changed.

        `headers` go upstream. `report` is filled in as things happen. Raises GatewayError, be it at once.
        """
        request = self._request(operation, params, report, headers)
        route = request.route
        return self._hooked(request, params) if route.pre or route.post else self._engine.complete(request)

    async def _hooked(self, request: Request, params: JsonObject) -> Reply:
        """Return the plain answer, with the hooks before and after it."""
        if request.route.pre:
            await _run_pre_hooks(request, params)
        reply = await self._engine.complete(request)
        if request.route.post:
            deadline_s = request.started_s + request.route.deadline_s
            data = _own(reply.data, reply.raw)
            reply.data = await _run_hooks(request.route.post, data, deadline_s=deadline_s)
            reply.raw = None
        return reply

    async def open_stream(
        self, params: JsonObject, *, report: CallReport, headers: Mapping[str, str] = EMPTY
    ) -> ChunkStream:
        """Return the stream that answers an OpenAI request body, once it is sure to begin. Raises GatewayError.

        Close what is returned; iterating it raises GatewayError when the stream breaks off.
        """
        request = self._request("chat", params, report, headers)
        if request.route.pre:
            await _run_pre_hooks(request, params)
        stream = await self._engine.open_stream(request)
        if request.route.post:
            return ChunkStream(chunks=_HookedChunks(stream.chunks, request.route), headers=stream.headers)
        return stream

    def _request(
        self, operation: Operation, params: JsonObject, report: CallReport, headers: Mapping[str, str]
    ) -> Request:
        started_s = asyncio.get_running_loop().time()
        table = self._tables.current
        report.generation = table.generation
        name = params.get("model")
        if not isinstance(name, str) or not name:
            raise BadRequest("the request names no model", param="model")
        route = table.find(name)
        if route is None:
            raise unknown_model(name, table)
        report.alias = route.alias
        return Request(operation, name, route, _targets_params(params), headers, started_s, report)

    # What programs call.

    async def complete_chat(
        self,
        model: str,
        messages: Iterable[JsonObject],
        temperature: float = 1.0,
        top_p: float = 1.0,
        n: int = 1,
        max_tokens: int | None = None,
        user_id: str | None = None,
        **kwargs: Json,
    ) -> JsonObject:
        """Return the chat completion as a plain dict in OpenAI's shape.

        Arguments left at their default are not sent; `kwargs` are further OpenAI parameters, such as `tools`.
        Content that is neither text nor a list of content parts is sent as a JSON string. Raises GatewayError.
        """
        params = _chat_params(model, messages, temperature, top_p, n, max_tokens, user_id, kwargs)
        return (await self.answer("chat", params, report=CallReport())).data

    async def stream_chat(
        self,
        model: str,
        messages: Iterable[JsonObject],
        temperature: float = 1.0,
        top_p: float = 1.0,
        n: int = 1,
        max_tokens: int | None = None,
        user_id: str | None = None,
        **kwargs: Json,
    ) -> AsyncGenerator[JsonObject, None]:
        """Yield the chat completion's chunks as plain dicts in OpenAI's shape; see `complete_chat`.

        Ends only when the answer is whole; raises StreamBroken when it broke off. Leaving it early with `aclose()`
        closes the upstream.
        """
        params = _chat_params(model, messages, temperature, top_p, n, max_tokens, user_id, kwargs)
        stream = await self.open_stream({**params, "stream": True}, report=CallReport())
        async with aclosing(stream.chunks) as chunks:
            async for chunk in chunks:
                if chunk.data is not None:
                    yield chunk.data

    def map_model_name(self, name: str) -> str:
        """Return the first target of alias `name`, such as `openai/gpt-4o`. Raises UnknownModel."""
        table = self._tables.current
        route = table.find(name)
        if route is None:
            raise unknown_model(name, table)
        return route.steps[0].target.name

    def add_model_mapping(self, name: str, target: str) -> None:
        """Make `target` the first target of alias `name`. Survives reloads and wins over the file."""
        self._lay(replace(self._overlay, mappings={**self._overlay.mappings, name: target}))

    def add_model_fallback(self, name: str, targets: Iterable[str]) -> None:
        """Make `targets` follow the first target of alias `name`; repeats are left out. Wins over the file."""
        if isinstance(targets, str):
            raise TypeError(f"the fallbacks of {name!r} must be a list of targets, not a string")
        self._lay(replace(self._overlay, fallbacks={**self._overlay.fallbacks, name: tuple(targets)}))

    def add_pre_process_hook(self, hook: _HookCallable) -> _HookCallable:
        """Run `hook`, sync or async, on a copy of each request's parameters; it returns the dict to go on with."""
        self._lay(replace(self._overlay, pre=(*self._overlay.pre, _hook(hook))))
        return hook

    def add_post_process_hook(self, hook: _HookCallable) -> _HookCallable:
        """Run `hook`, sync or async, on each response or stream chunk; it returns the dict to go on with."""
        self._lay(replace(self._overlay, post=(*self._overlay.post, _hook(hook))))
        return hook

    def register_capability(self, name: str, capability: object) -> None:
        """Make `capability` an attribute of this provider. Raises ValueError for a name that cannot be one."""
        if not name.isidentifier() or name.startswith("_") or hasattr(type(self), name):
            raise ValueError(f"{name!r} cannot name a capability: it is no identifier or already means something here")
        self._lay(replace(self._overlay, capabilities={**self._overlay.capabilities, name: capability}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        capabilities = self._tables.current.capabilities
        if name in capabilities:
            return capabilities[name]
        known = ", ".join(sorted(capabilities)) or "none"
        raise AttributeError(f"no capability named {name!r} is registered; there are: {known}")

    def reload(self) -> Problems:
        """Read the file again now and return its problems. Where one is an error, nothing changes."""
        return self._tables.reload().problems

    async def close(self) -> None:
        """Give back all connections. Nothing may be called afterwards."""
        for adapter in self._adapters.values():
            await adapter.close()

    def _lay(self, overlay: Overlay) -> None:
        self._tables.set_overlay(overlay)
        self._overlay = overlay


class _HookedChunks:
    """A stream whose chunks go through post hooks. Each may take as long as the route's deadline, and no longer."""

    def __init__(self, source: Chunks, route: Route) -> None:
        self._source = source
        self._route = route

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> Chunk:
        chunk = await anext(self._source)
        if chunk.data is None:
            return chunk
        deadline_s = asyncio.get_running_loop().time() + self._route.deadline_s
        data = _own(chunk.data, None if chunk.raw is None else sse.event_data(chunk.raw))
        return Chunk(await _run_hooks(self._route.post, data, deadline_s=deadline_s))

    async def aclose(self) -> None:
        await self._source.aclose()


def _own(data: JsonObject, raw: bytes | None) -> JsonObject:
    """Return an answer that hooks may change: from the bytes it came in, if there are any, so no number is rounded."""
    own: JsonObject = _copy(data) if raw is None else decode_json(raw, exact=True)
    return own


def _targets_params(params: JsonObject) -> JsonObject:
    """Return what a target gets of a request's fields: all but those that are ours to decide."""
    own = params.copy()
    own.pop("model", None)
    own.pop("stream", None)
    if not FORBIDDEN_PARAMS.isdisjoint(own):
        for name in FORBIDDEN_PARAMS & own.keys():
            del own[name]
    return own


async def _run_pre_hooks(request: Request, params: JsonObject) -> None:
    """Let the pre hooks change what the targets get; `params` itself is not changed."""
    route = request.route
    params = await _run_hooks(route.pre, _copy(params), deadline_s=request.started_s + route.deadline_s)
    if params.get("model") != request.model:
        raise HookFailed(f"a pre hook of {route.alias!r} changed the model; a hook may change anything but that")
    request.params = _targets_params(params)


async def _run_hooks(hooks: tuple[Hook, ...], value: JsonObject, *, deadline_s: float) -> JsonObject:
    """Return what the hooks make of `value`, one after the other. They may change it in place."""
    loop = asyncio.get_running_loop()
    for hook in hooks:
        before = _copy(value) if hook.on_error == "skip" else value
        limit_s = deadline_s if hook.timeout_s is None else min(deadline_s, loop.time() + hook.timeout_s)
        try:
            result = hook.call(value)
            if inspect.isawaitable(result):
                with until(limit_s):
                    result = await result
            if not isinstance(result, dict):
                raise _NotADict(f"it returned {type(result).__name__}, not a dict")  # noqa: TRY301
            value = result
        except GatewayError:
            raise
        except Exception as error:
            log.warning(
                "hook failed", extra={"hook": hook.path, "error": type(error).__name__, "on_error": hook.on_error}
            )
            if hook.on_error != "skip":
                raise HookFailed(f"hook {hook.path} failed: {_reason(error)}") from error
            value = before
    return value


class _NotADict(Exception):
    """A hook gave back something else."""


def _reason(error: Exception) -> str:
    """Say what a hook did wrong without a foreign exception's text, which may hold a prompt."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error) if isinstance(error, _NotADict) else type(error).__name__


def _copy(value: Json) -> Json:
    """Return a copy whose dicts and lists are new; other values are shared."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _hook(call: Callable[[JsonObject], Any]) -> Hook:
    if not callable(call):
        raise TypeError(f"a hook is a callable, not a {type(call).__name__}")
    name = getattr(call, "__qualname__", type(call).__qualname__)
    try:
        inspect.signature(call).bind(None)
    except TypeError as error:
        raise TypeError(f"{name} cannot be a hook: it must take exactly one argument, a dict") from error
    except ValueError:
        pass  # a builtin that does not tell its signature
    is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004
    return Hook(path=f"{getattr(call, '__module__', None) or '?'}.{name}", call=call, is_async=is_async)


def unknown_model(name: str, table: RoutingTable) -> UnknownModel:
    """Return the error for a name that the table does not have."""
    close = table.close_names(name)
    hint = f"; did you mean {' or '.join(repr(alias) for alias in close)}?" if close else ""
    return UnknownModel(f"the model {name[:128]!r} does not exist{hint}", param="model")


def _chat_params(
    model: str,
    messages: Iterable[JsonObject],
    temperature: float,
    top_p: float,
    n: int,
    max_tokens: int | None,
    user_id: str | None,
    kwargs: Mapping[str, Json],
) -> JsonObject:
    params: JsonObject = {"model": model, "messages": normalise(messages), **kwargs}
    if temperature != 1:
        params["temperature"] = temperature
    if top_p != 1:
        params["top_p"] = top_p
    if n != 1:
        params["n"] = n
    if max_tokens is not None:
        params["max_tokens"] = max_tokens
    if user_id is not None:
        params["user"] = user_id
    if not FORBIDDEN_PARAMS.isdisjoint(kwargs):
        dropped = sorted(FORBIDDEN_PARAMS & kwargs.keys())
        log.warning("parameters that choose a host, a key or a retry policy are dropped", extra={"params": dropped})
    return params
