"""Calls by LiteLLM's provider classes: they write requests and read answers, and our HTTP client carries both.

1. A dry run with a tiny request shows, once for each model, that its handler uses the client that it is given.
2. The prelude of LiteLLM's call function finds the handler and its arguments, once for each request shape.
3. The handler writes the request and hands it to our client, which sends it and judges the response.
4. The handler reads a plain answer. Of a stream it only makes the parser, which reads event by event.

What goes wrong before anything was sent leaves the call to LiteLLM's own function, as does what has no such classes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from gateway.adapters.base import Call, Reply
from gateway.adapters.events import Event, GeneratedStream, Stream
from gateway.adapters.litellm.azure import CannotSignIn
from gateway.adapters.litellm.call import OurCall
from gateway.adapters.litellm.carrying import Exchange, Probed
from gateway.adapters.litellm.errors import map_error
from gateway.adapters.litellm.parts import part
from gateway.adapters.litellm.preludes import Prelude, Preludes, capture_handlers, is_long
from gateway.adapters.litellm.reading import Reader, parser_of
from gateway.adapters.litellm.remembering import remember_models
from gateway.adapters.litellm.signing import sign_in_place
from gateway.adapters.litellm.translate import FUNCTIONS, answer_data
from gateway.adapters.routes import Clients
from gateway.adapters.translated import TranslatedStream
from gateway.wire import sse
from gateway.wire.json import Json, JsonObject, encode_json

log = logging.getLogger(__name__)

MAX_VERDICTS: Final = 1024
"""Models whose dry run is remembered."""

UNFIT_S: Final = 60.0
"""Seconds after which a dry run that went wrong is made again: credentials may have been missing."""

_LEFT: Final = frozenset({"functions", "function_call"})
"""Parameters whose answers LiteLLM's wrapper around a stream puts into other words."""
_ACCOUNTS: Final = ("azure", "bedrock", "sagemaker", "vertex_ai")
"""Beginnings of kinds that sign in with an account of the machine, which may take a request of their own."""


class Unfit(Exception):
    """This call cannot go by LiteLLM's classes. Nothing was sent."""


class Classes:
    """Calls by LiteLLM's provider classes, where that can be."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._preludes = Preludes()
        self._verdicts: dict[tuple[str, str, str, bool], tuple[bool, float]] = {}
        """(operation, kind, model, streaming) → whether its dry run went well, and the loop's time to make it again."""
        self._quiet: dict[str, bool] = {}
        """Kind → whether its first request went without another one beside it, so that it may run in the loop."""
        self._turn: asyncio.Lock | None = None
        self._main: Any = None
        """LiteLLM's module with its call functions, once its handlers can be captured."""

    async def complete(self, litellm: Any, call: Call, kwargs: dict[str, Any], ours: OurCall) -> Reply:
        """Return the plain answer. Raises Unfit before anything was sent, UpstreamError for the upstream's failures."""
        exchange = Exchange(ours, self._clients, headers=_own_headers(call))
        handled = sys.exception()
        try:
            answer = await self._asked(litellm, exchange, call, kwargs, ours, stream=False)
        except Exception as error:
            raise _mapped(error, exchange, handled) from error
        data = answer_data(answer, usage_told=ours.usage_told)
        return Reply(data=data, headers=exchange.headers)

    async def stream(self, litellm: Any, call: Call, kwargs: dict[str, Any], ours: OurCall) -> Stream:
        """Return the stream once its response headers are there. Raises as `complete` does."""
        exchange = Exchange(ours, self._clients, headers=_own_headers(call))
        handled = sys.exception()
        opened: Stream | None = None
        try:
            answer, model = await self._asked_stream(litellm, exchange, call, kwargs, ours)
            opened = await self._opened(answer, exchange, call, kwargs, ours, model)
        except Exception as error:
            raise _mapped(error, exchange, handled) from error
        finally:
            if opened is None:
                exchange.close()
        return opened

    async def is_fit(self, litellm: Any, call: Call, kwargs: dict[str, Any], ours: OurCall, *, stream: bool) -> bool:
        """Tell, with a dry run at first, whether a call's model has classes that use our client."""
        name = (call.operation.name, call.target.endpoint.kind, call.target.model, stream)
        now = asyncio.get_running_loop().time()
        is_fit, until = self._verdicts.get(name, (False, -math.inf))
        if now < until:
            return is_fit
        if self._main is None:
            main = part("main")
            capture_handlers(main)
            self._main = main
        is_fit = await self._probed(litellm, call, kwargs, ours, stream=stream)
        if len(self._verdicts) >= MAX_VERDICTS:
            self._verdicts.clear()
        self._verdicts[name] = is_fit, math.inf if is_fit else now + UNFIT_S
        return is_fit

    async def _asked(
        self, litellm: Any, exchange: Exchange, call: Call, kwargs: dict[str, Any], ours: OurCall, *, stream: bool
    ) -> Any:
        prelude = await self._prepared(litellm, call, kwargs, ours, stream=stream)
        return await self._ran(litellm, prelude, exchange, kwargs, ours, stream=stream)

    async def _asked_stream(
        self, litellm: Any, exchange: Exchange, call: Call, kwargs: dict[str, Any], ours: OurCall
    ) -> tuple[Any, str]:
        prelude = await self._prepared(litellm, call, kwargs, ours, stream=True)
        return await self._ran(litellm, prelude, exchange, kwargs, ours, stream=True), prelude.model

    async def _prepared(
        self, litellm: Any, call: Call, kwargs: dict[str, Any], ours: OurCall, *, stream: bool
    ) -> Prelude:
        """Return the prelude of a call that goes by classes. Raises Unfit for others."""
        if not _LEFT.isdisjoint(kwargs) or not call.target.endpoint.kind:
            raise Unfit
        if not await self.is_fit(litellm, call, kwargs, ours, stream=stream):
            raise Unfit
        return await self._prelude(call, kwargs, ours)

    async def _prelude(self, call: Call, kwargs: dict[str, Any], ours: OurCall) -> Prelude:
        function = FUNCTIONS[call.operation.name]
        shape, known = self._preludes.find(function, kwargs)
        if known is not None:
            return known
        with ours:
            prelude = await asyncio.to_thread(self._preludes.run, self._main, function, kwargs, shape)
        if prelude is None:
            raise Unfit
        return prelude

    async def _probed(self, litellm: Any, call: Call, kwargs: dict[str, Any], ours: OurCall, *, stream: bool) -> bool:
        """Write a tiny request to the call's model without sending it; tell whether our client would have got it.

        For a stream a parser that we know has to come of it as well.
        """
        own = call.operation.params
        tiny = {**{name: value for name, value in kwargs.items() if name not in own}, **call.operation.example}
        exchange = Exchange(ours, self._clients, probe=True)
        ours.is_dry = True
        try:
            prelude = await self._prelude(call, tiny, ours)
            answer = await self._ran(litellm, prelude, exchange, tiny, ours, stream=stream)
        except CannotSignIn:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, LiteLLM's own function tells it better
            return _was_probed(error)
        finally:
            ours.is_dry = False
            await asyncio.to_thread(remember_models)  # the kind's modules are imported by now
            sign_in_place()
        return stream and parser_of(answer) is not None

    async def _ran(
        self, litellm: Any, prelude: Prelude, exchange: Exchange, kwargs: dict[str, Any], ours: OurCall, *, stream: bool
    ) -> Any:
        """Run the handler; return its answer, or what is under LiteLLM's wrapper around a stream."""
        function = prelude.function
        given = prelude.given if prelude.given is not None else kwargs[function.given]
        client = exchange.client()
        response = None if stream else getattr(litellm, function.answer)()
        kind = ours.endpoint.kind if ours.endpoint is not None else ""
        ours.carried = True
        with ours:
            if self._quiet.get(kind, False) and not is_long(given):
                answer = prelude.call(given, client, model_response=response)
            else:
                answer = await asyncio.to_thread(prelude.call, given, client, model_response=response)
                self._quiet[kind] = not ours.beside and not _signs_in(kind, prelude.arguments)
            if inspect.isawaitable(answer):
                answer = await answer
            if not stream:
                return answer
            if (make := getattr(answer, "make_call", None)) is not None:
                return await make(client=client)  # Google's is asked at the first read
        return getattr(answer, "completion_stream", answer)

    async def _opened(
        self, answer: Any, exchange: Exchange, call: Call, kwargs: dict[str, Any], ours: OurCall, model: str
    ) -> Stream:
        options = kwargs.get("stream_options")
        wanted = isinstance(options, dict) and bool(options.get("include_usage"))
        parse = parser_of(answer)
        if not exchange.is_open:  # the provider has no streams: LiteLLM makes one of its answer
            reader = Reader(_unread, model=model, usage_wanted=wanted, one_choice=ours.one_choice)
            chunks = [chunk for item in [item async for item in answer] for chunk in reader.take(item)]
            return GeneratedStream(_events([*chunks, *reader.end()]), exchange.headers)
        if parse is None:
            raise TypeError(f"LiteLLM made {type(answer).__name__} of a stream, which has no parser")
        reader = Reader(parse, model=model, usage_wanted=wanted, one_choice=ours.one_choice)
        if self._turn is None:
            self._turn = asyncio.Lock()
        return TranslatedStream(exchange.events(), reader, reader, None, turn=self._turn)


def _mapped(error: Exception, exchange: Exchange, handled: BaseException | None) -> Exception:
    """Return the exception to raise for one of LiteLLM's."""
    if exchange.failure is not None:
        return exchange.failure
    if isinstance(error, Unfit | CannotSignIn):
        return error
    if not exchange.is_sent:
        return Unfit()
    return map_error(error, opened=False, handled=handled)


def _was_probed(error: BaseException) -> bool:
    """Tell whether a dry run came as far as our client. LiteLLM's handlers wrap exceptions."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if isinstance(link, Probed):
            return True
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return False


def _signs_in(kind: str, arguments: Mapping[str, Any]) -> bool:
    """Tell whether a handler may ask for credentials over the network. Keys of Bedrock's and Azure's need none."""
    return kind.startswith(_ACCOUNTS) and not (kind.startswith(("azure", "bedrock")) and arguments.get("api_key"))


def _own_headers(call: Call) -> Mapping[str, str]:
    """Return the headers that our client adds: the request's, and the file's where LiteLLM's handlers may drop them."""
    return call.headers if call.operation.name == "chat" else {**call.target.endpoint.headers, **call.headers}


def _unread(data: JsonObject) -> Json:
    raise TypeError("no event is parsed")


async def _events(chunks: list[JsonObject]) -> AsyncGenerator[Event, None]:
    for chunk in chunks:
        yield Event(chunk, sse.encode(encode_json(chunk)))
