"""Calls every provider that LiteLLM knows.

LiteLLM translates requests and answers and holds the connections. Its own decisions are switched off: retries and
fallbacks, dropped tools, invented finish reasons, keys from the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import orjson

from gateway.adapters.base import Call, NotInstalled, NotSupported, Reply
from gateway.adapters.events import Stream
from gateway.adapters.litellm.call import OurCall
from gateway.adapters.litellm.classes import Classes, Unfit
from gateway.adapters.litellm.errors import map_error, missing_package
from gateway.adapters.litellm.loading import is_listened_to, load
from gateway.adapters.litellm.stream import LiteLLMStream
from gateway.adapters.litellm.support import MAX_REMEMBERED, Support
from gateway.adapters.litellm.translate import (
    FUNCTIONS,
    answer_data,
    headers_of,
    is_fit,
    request_kwargs,
    unsent_headers,
)
from gateway.adapters.routes import Clients
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.packages import LITELLM

GRACE_S: Final = 5.0
"""LiteLLM's timeouts are this much longer than the engine's limits, so the engine's always act first."""


class LiteLLMUnavailable(NotSupported):
    """LiteLLM cannot be imported; the cause tells why. Targets behind other adapters can still be called."""


class LiteLLMAdapter:
    """Calls upstreams through LiteLLM, which it loads at first use."""

    def __init__(self, own_process: bool, *, by_classes: bool = True) -> None:
        """`own_process` allows changes to LiteLLM's settings; in a host's process none is changed.

        `by_classes`: calls go by LiteLLM's classes where they can, in a process of our own.
        """
        self._own_process = own_process
        self._loading: Future[Any] | None = None
        self._loaded: Any = None
        self._support = Support()
        self._clients = Clients() if own_process else None
        self._classes = Classes(self._clients) if self._clients is not None and by_classes else None

    async def prepare(self) -> None:
        """Load LiteLLM in a thread. Concurrent calls share one load; cancelling a call does not stop the load.

        Raises NotInstalled where it is not there, LiteLLMUnavailable when it cannot be imported; also on every later
        call.
        """
        await self._litellm()

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer. Raises UpstreamError for the upstream's failures; anything else is a bug."""
        if self._classes is not None and (litellm := await self._by_classes(call)) is not None:
            with contextlib.suppress(Unfit):
                kwargs, ours = self._request(litellm, call, stream=False, by_classes=True)
                return await self._classes.complete(litellm, call, kwargs, ours)
        answer, _, ours = await self._ask(call, stream=False)
        if answer is None:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        return Reply(data=answer_data(answer, usage_told=ours.usage_told), headers=headers_of(answer))

    async def stream(self, call: Call) -> Stream:
        """Return the stream once LiteLLM has opened it. Cancelling, or closing the stream, closes the upstream."""
        if self._classes is not None and (litellm := await self._by_classes(call)) is not None:
            with contextlib.suppress(Unfit):
                kwargs, ours = self._request(litellm, call, stream=True, by_classes=True)
                return await self._classes.stream(litellm, call, kwargs, ours)
        stream, kwargs, ours = await self._ask(call, stream=True)
        if not (hasattr(stream, "__aiter__") or hasattr(stream, "__anext__")):
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        choices, options = kwargs.get("n"), kwargs.get("stream_options")
        return LiteLLMStream(
            stream,
            headers=headers_of(stream),
            call=ours,
            choices=choices if isinstance(choices, int) else 1,
            usage_wanted=isinstance(options, dict) and bool(options.get("include_usage")),
        )

    async def goes_by_classes(self, call: Call, *, stream: bool) -> bool:
        """Tell, without sending anything, whether a call would go by LiteLLM's classes and our own HTTP client."""
        litellm = await self._by_classes(call)
        if self._classes is None or litellm is None:
            return False
        kwargs, ours = self._request(litellm, call, stream=stream, by_classes=True)
        return await self._classes.is_fit(litellm, call, kwargs, ours, stream=stream)

    async def close(self) -> None:
        """Close LiteLLM's connections in a process of our own; a host's stay open."""
        if self._clients is not None:
            await self._clients.close()
        loading, self._loading, self._loaded = self._loading, None, None
        if loading is None or not loading.done() or loading.exception() is not None or not self._own_process:
            return
        litellm = loading.result()
        await litellm.close_litellm_async_clients()
        client = vars(litellm).get("module_level_aclient")
        if client is not None:
            await client.close()

    async def _litellm(self) -> Any:
        if self._loaded is not None:
            return self._loaded
        loading = self._loading
        if loading is None:
            executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="litellm-load")
            loading = self._loading = executor.submit(load, own_process=self._own_process)
            executor.shutdown(wait=False)
        if not loading.done():
            with contextlib.suppress(Exception):
                await asyncio.shield(asyncio.wrap_future(loading))
        error = loading.exception()
        if isinstance(error, ModuleNotFoundError) and error.name == LITELLM.module:
            raise NotInstalled("needs LiteLLM, which is not installed here")
        if error is not None:
            raise LiteLLMUnavailable("needs LiteLLM, which cannot be imported here") from error
        self._loaded = loading.result()
        return self._loaded

    async def _by_classes(self, call: Call) -> Any:
        """Return LiteLLM if its classes may be used for a call; None where its functions are needed."""
        litellm = await self._litellm()
        # Callbacks are told by its functions only, and programs replace these in their tests.
        function = getattr(litellm, FUNCTIONS[call.operation.name].function)
        is_own = getattr(function, "__module__", "").startswith("litellm.")
        return litellm if is_own and not is_listened_to() else None

    def _request(
        self, litellm: Any, call: Call, *, stream: bool, by_classes: bool = False
    ) -> tuple[dict[str, Any], OurCall]:
        """Return the arguments of LiteLLM's function, and the call as `OurCall`. Raises NotSupported, UpstreamError."""
        key = self._key(call)
        unsent = unsent_headers(call)
        kwargs = request_kwargs(call, key=key, stream=stream, unsent=unsent, by_classes=by_classes)
        self._support.refuse(litellm, call, kwargs)
        kwargs["timeout"] = _timeout(call, stream=kwargs.get("stream") is True)
        ours = OurCall(
            call.limits.connect_s, endpoint=call.target.endpoint, operation=call.operation, streaming=stream,
            unsent=unsent, clients=self._clients,
            one_choice=call.operation.one_choice_asked(call.params, call.overrides.sent),
        )  # fmt: skip
        return kwargs, ours

    def _key(self, call: Call) -> str | None:
        """Return the endpoint's key. Raises UpstreamError for a call that must not be made."""
        target = call.target
        if not is_fit(target.model):
            raise UpstreamError(Kind.NOT_FOUND, body=_envelope(f"no model named {target.model!r}"))
        secret = target.endpoint.api_key.read()
        if secret is None and target.endpoint.key_required:
            raise UpstreamError(Kind.AUTH)
        return secret.reveal() if secret is not None else None

    async def _ask(self, call: Call, *, stream: bool) -> tuple[Any, dict[str, Any], OurCall]:
        """Call LiteLLM's function; return its answer, its arguments and the call as `OurCall`."""
        litellm = await self._litellm()
        kwargs, ours = self._request(litellm, call, stream=stream)
        handled = sys.exception()
        answer: Any = None
        try:
            with ours:
                answer = await getattr(litellm, FUNCTIONS[call.operation.name].function)(**kwargs)
                if stream and isinstance(answer, litellm.CustomStreamWrapper) and answer.make_call is not None:
                    # For some providers LiteLLM would not ask before the first event is read.
                    await answer.fetch_stream()
        except Exception as error:
            if missing := missing_package(error, call.target.endpoint.kind, handled=handled):
                raise NotSupported(missing) from error
            mapped = map_error(error, opened=False, handled=handled)
            if mapped is error:
                raise
            raise mapped from (error if isinstance(mapped, UpstreamError) else None)
        finally:
            # Some streams, Gemini's among them, send their request at the first read.
            ours.asking = getattr(answer, "completion_stream", answer) is None and answer is not None
        return answer, kwargs, ours


def _timeout(call: Call, *, stream: bool) -> Any:
    """Return LiteLLM's timeout: constant for a step, and longer than the engine's limits.

    The request's remaining time is not used: LiteLLM opens a client and connection pool for each new timeout.
    """
    limits = call.limits
    read_s = (max(limits.first_token_s, limits.idle_s) if stream else limits.total_s) + GRACE_S
    kinds = FUNCTIONS[call.operation.name].httpx_timeouts
    if kinds is not None and call.target.endpoint.kind not in kinds:
        return read_s
    return _httpx_timeout(read_s, limits.connect_s)


@functools.lru_cache(maxsize=MAX_REMEMBERED)
def _httpx_timeout(read_s: float, connect_s: float) -> Any:
    return importlib.import_module("httpx").Timeout(read_s, connect=connect_s, pool=connect_s)


def _envelope(message: str) -> bytes:
    # A model's name may hold a lone surrogate, which UTF-8 cannot encode.
    plain = message.encode("utf-8", "replace").decode()
    error = {"message": plain, "type": "invalid_request_error", "param": None, "code": None}
    return orjson.dumps({"error": error})
