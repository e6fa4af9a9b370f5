"""The provider for programs: chat calls, and mappings, hooks and capabilities added in code."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.mock import MockAdapter
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.adapters.translated import with_translation
from gateway.engine.health import Health
from gateway.engine.hooks import hook_of
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.limits.reservations import Reservations
from gateway.engine.pipeline import Pipeline
from gateway.errors import GatewayError
from gateway.library.messages import normalise
from gateway.library.tables import FileTables, FirstUse
from gateway.operations import CHAT
from gateway.policy.overlay import NO_OVERLAY, Tables
from gateway.policy.params import FORBIDDEN_PARAMS
from gateway.policy.problem import Problems
from gateway.policy.table import HookEvents
from gateway.policy.wires import HOOK_OPERATIONS
from gateway.telemetry.ids import request_id
from gateway.telemetry.logs import log_ended
from gateway.telemetry.report import CLIENT_GONE, CallReport
from gateway.wire.json import Json, JsonObject

log = logging.getLogger(__name__)

_HookCallable = TypeVar("_HookCallable", bound=Callable[[JsonObject], Any])


class Provider:
    """A provider with the built-in mapping, or with the file that GATEWAY_CONFIG names.

    The file is read at first use and again when it changes. Names that are not mapped go to LiteLLM as they are. One
    provider per process is enough; use it on one event loop at a time.
    """

    def __init__(self) -> None:
        self._init(FirstUse())

    @classmethod
    def from_file(cls, path: str | Path) -> Provider:
        """Return a provider that serves only what the file declares. Raises ConfigError or UsageError at once."""
        made = cls.__new__(cls)
        made._init(FileTables(Path(path), bare_names=False))
        return made

    def _init(self, tables: Tables) -> None:
        litellm = LiteLLMAdapter(own_process=False)
        adapters = with_translation({"litellm": litellm, "relay": RelayAdapter(), "mock": MockAdapter()})
        self._tables = tables
        limits = ProviderLimits(Reservations(MemoryStore()))
        self._pipeline = Pipeline(tables=tables, adapters=adapters, health=Health(), provider_limits=limits)
        self._overlay = NO_OVERLAY

    @property
    def tables(self) -> Tables:
        """Owns the live table."""
        return self._tables

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
        with _logged(stream=False) as report:
            params = _chat_params(model, messages, temperature, top_p, n, max_tokens, user_id, kwargs)
            return (await self._pipeline.answer(CHAT, params, report=report)).whole()

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
        with _logged(stream=True) as report:
            params = _chat_params(model, messages, temperature, top_p, n, max_tokens, user_id, kwargs)
            stream = await self._pipeline.open_stream(CHAT, {**params, "stream": True}, report=report)
            async with aclosing(stream):
                while events := await stream.read():
                    for arrived in events:
                        for event in arrived.singly():
                            if event.data is not None:
                                yield event.data

    def map_model_name(self, name: str) -> str:
        """Return the first target of alias `name`, such as `openai/gpt-4o`. Raises UnknownModel."""
        return self._pipeline.route(name).steps[0].target.name

    def add_model_mapping(self, name: str, target: str) -> None:
        """Make `target` the first target of alias `name`. Survives reloads and wins over the file."""
        self._add(mappings={**self._overlay.mappings, name: target})

    def add_model_fallback(self, name: str, targets: Iterable[str]) -> None:
        """Make `targets` follow the first target of alias `name`; repeats are left out. Wins over the file."""
        if isinstance(targets, str):
            raise TypeError(f"the fallbacks of {name!r} must be a list of targets, not a string")
        self._add(fallbacks={**self._overlay.fallbacks, name: tuple(targets)})

    def add_pre_process_hook(
        self, hook: _HookCallable, *, operations: Collection[str] = HOOK_OPERATIONS
    ) -> _HookCallable:
        """Run `hook`, sync or async, on a copy of each request's parameters; it returns the dict to go on with.

        A request of an operation that is not in `operations` is refused. Raises ValueError for an unknown name there.
        """
        self._add(pre=(*self._overlay.pre, hook_of(hook, operations=operations)))
        return hook

    def add_post_process_hook(
        self,
        hook: _HookCallable,
        *,
        operations: Collection[str] = HOOK_OPERATIONS,
        events: HookEvents = "all",
    ) -> _HookCallable:
        """Run `hook`, sync or async, on each response or stream chunk; it returns the dict to go on with.

        It is not run for operations that are not in `operations`. `events` says which chunks of a stream it gets.
        """
        self._add(post=(*self._overlay.post, hook_of(hook, operations=operations, events=events)))
        return hook

    def register_capability(self, name: str, capability: object) -> None:
        """Make `capability` an attribute of this provider. Raises ValueError for a name that cannot be one."""
        if not name.isidentifier() or name.startswith("_") or hasattr(type(self), name):
            raise ValueError(f"{name!r} cannot name a capability: it is no identifier or already means something here")
        self._add(capabilities={**self._overlay.capabilities, name: capability})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        capabilities = self._tables.current.capabilities
        if name in capabilities:
            return capabilities[name]
        known = ", ".join(sorted(capabilities)) or "none"
        raise AttributeError(f"no capability named {name!r} is registered; there are: {known}")

    def reload(self) -> Problems:
        """Read the file again now and return its problems. If one is an error, nothing changes."""
        return self._tables.reload().problems

    async def close(self) -> None:
        """Close all connections. Nothing may be called afterwards."""
        await self._pipeline.close()

    def _add(self, **changes: Any) -> None:
        """Change fields of the overlay and compile a new table. Raises ConfigError."""
        overlay = replace(self._overlay, **changes)
        self._tables.set_overlay(overlay)
        self._overlay = overlay


@contextmanager
def _logged(*, stream: bool) -> Iterator[CallReport]:
    """Give the report of one call, and log it when the call ends, as the server logs a request."""
    report, started_s = CallReport(request_id=request_id(None)), time.perf_counter()
    status, error = CLIENT_GONE, None
    try:
        yield report
        status = 200
    except GatewayError as exc:
        status, error = exc.status, exc.code
        raise
    except Exception:
        status, error = GatewayError.status, GatewayError.code
        raise
    finally:
        seconds = time.perf_counter() - started_s
        log_ended([(report, CHAT.name, status, stream, None, error, None, seconds, time.time())])


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
    defaults: JsonObject = {"temperature": 1, "top_p": 1, "n": 1, "max_tokens": None, "user": None}
    given = zip(defaults.items(), (temperature, top_p, n, max_tokens, user_id), strict=True)
    params |= {name: value for (name, default), value in given if value != default}
    if not FORBIDDEN_PARAMS.isdisjoint(kwargs):
        dropped = sorted(FORBIDDEN_PARAMS & kwargs.keys())
        log.warning("parameters that choose a host, a key or a retry policy are dropped", extra={"params": dropped})
    return params
