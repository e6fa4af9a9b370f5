"""Puts requests of other wires into chat, for endpoints that speak only that, and the answers back."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from gateway.adapters.anthropic.to_messages.messages import SYSTEM_ROLES
from gateway.adapters.base import (
    MAX_REPLY_BYTES,
    Adapter,
    Adapters,
    Call,
    NotSupported,
    Reply,
    Translated,
    Translation,
    Translator,
    whole,
)
from gateway.adapters.events import Event, Stream, typed_event
from gateway.policy.echoes import Echoes
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.params import NO_PARAMS, merged, upstream_params
from gateway.policy.target import CARRIED
from gateway.wire.json import JsonObject

SLICE_BYTES: Final = 16 * 1024
"""Bytes of events that are translated before other tasks run."""
_LITELLM_KNOWS: Final = frozenset({"anthropic", "gemini"})
"""Adapters of endpoints that LiteLLM can call instead."""
MIN_BYTES: Final = 1024
"""What an event counts at least."""


def with_translation(carriers: Adapters) -> Adapters:
    """Return the adapters with the one that translates for endpoints that they carry."""
    translated = TranslatedAdapter(carriers)
    return {**carriers, "anthropic": translated, "gemini": translated, "translated": translated}


class TranslatedAdapter:
    """Calls an endpoint in the words of another operation, by the adapter that carries that one."""

    def __init__(self, carriers: Adapters, *, max_stream_bytes: int = MAX_REPLY_BYTES) -> None:
        """`carriers` are the adapters by name, with another one for what has to be translated twice, if any.

        A stream that is longer is a `bad_response`.
        """
        self._max_stream_bytes = max_stream_bytes
        self._turn = asyncio.Lock()
        self._carriers = {"translated": self, **carriers}

    async def prepare(self) -> None:
        """Do nothing: the engine prepares the carrier."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer, translated back."""
        translation = _translation(call)
        try:
            asked, translated = _translated(call, translation, stream=False)
        except NotSupported as error:
            return await (await self._stand_in(call, error)).complete(call)
        reply = await self._carrier(asked).complete(asked)
        translation.operation.check_reply(reply.data)
        echoes, data = call.target.endpoint.echoes, reply.whole()
        if echoes.is_in(data, reply.raw):
            data = echoes.mask_object(data)  # a translation may encode a text, where nobody finds a secret
        return Reply(translated.answer(data), headers=reply.headers)

    async def stream(self, call: Call) -> Stream:
        """Return the stream, translated back, once its response headers are there."""
        translation = _translation(call)
        try:
            asked, translated = _translated(call, translation, stream=True)
        except NotSupported as error:
            return await (await self._stand_in(call, error)).stream(call)
        source = await self._carrier(asked).stream(asked)
        judge = translation.operation.judge(one_choice=True)
        echoes, limit_bytes = call.target.endpoint.echoes, self._max_stream_bytes
        return TranslatedStream(source, judge, translated.events(), echoes, max_bytes=limit_bytes, turn=self._turn)

    async def close(self) -> None:
        """Do nothing: the carriers are closed by their owner."""

    async def _stand_in(self, call: Call, error: NotSupported) -> Adapter:
        """Return LiteLLM's adapter for what we cannot put into a vendor's words. Raises `error` if it cannot help.

        It cannot with system messages only: LiteLLM refuses these with advice on its own settings.
        """
        litellm = self._carriers.get("litellm") if call.target.endpoint.adapter in _LITELLM_KNOWS else None
        if litellm is None or call.operation.name not in CARRIED["litellm"] or _is_system_only(call):
            raise error
        try:
            await litellm.prepare()
        except NotSupported:
            raise error from None
        return litellm

    def _carrier(self, asked: Call) -> Adapter:
        return self._carriers[asked.target.endpoint.adapters[asked.operation.name]]


class SourceJudge(Protocol):
    """Checks the events that are translated."""

    def see(self, data: JsonObject) -> None:
        """Check the next event. Raises UpstreamError if it is an error or malformed."""

    def skip(self, run: bytes) -> None:
        """Take note of a run, which needs no check."""

    @property
    def is_whole(self) -> bool:
        """The stream may end here."""


class TranslatedStream:
    """A stream's events as those of another operation. What ends it comes only once the source is whole."""

    def __init__(
        self,
        source: Stream,
        judge: SourceJudge,
        translator: Translator,
        echoes: Echoes | None,
        *,
        max_bytes: int = MAX_REPLY_BYTES,
        turn: asyncio.Lock,
    ) -> None:
        """`turn` is shared by all streams: while many have much to translate, one does a slice at a time.

        `echoes` masks secrets before a translation that may encode texts; with None it hands them on as they are.
        """
        self.headers = source.headers
        self._source = source
        self._judge = judge
        self._feed = translator.feed
        self._end = translator.end
        self._run = translator.run
        self._echoes = echoes
        self._left_bytes = max_bytes
        """What may still come: the translator may keep it all for its last event."""
        self._error: UpstreamError | None = None
        """The failure to raise after the events of the last `read`."""
        self._ended = False
        self._turn = turn
        self._waiting: deque[Event] = deque()
        """Events of the source that were not translated yet."""

    async def read(self) -> list[Event]:
        """Return the next events; an empty list at the end. Raises UpstreamError, after all earlier events."""
        while not self._ended:
            if self._error is not None:
                raise self._error
            passed = list[Event]()
            waiting = self._waiting
            if waiting:
                async with self._turn:  # fair: the next slice is of the stream that waits longest
                    await asyncio.sleep(0)
            else:
                events = await self._source.read()
                if len(events) == 1 and events[0].is_run:  # the usual read
                    if passed := self._translated(events[0]):
                        return passed
                    continue
                waiting.extend(events)
            try:
                if not waiting:
                    passed = self._last()
                size = 0
                while waiting and size < SLICE_BYTES:
                    event = waiting.popleft()
                    size += MIN_BYTES if event.raw is None else MIN_BYTES + len(event.raw)
                    if event.is_end:
                        passed += self._last()
                    else:
                        passed += self._translated(event)
            except UpstreamError as error:
                if not passed:
                    raise
                self._error = error
            if passed:
                return passed
        return []

    async def aclose(self) -> None:
        """Close the source."""
        self._ended = True
        await self._source.aclose()

    def _translated(self, event: Event) -> list[Event]:
        self._left_bytes -= len(event.raw) if event.raw is not None else len(str(event.data))
        if self._left_bytes < 0:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        shape, raw = event.shape, event.raw
        if shape is not None and raw is not None and (self._echoes is None or not self._echoes.in_answer(raw)):
            run = self._run(raw, shape)
            if run is not None:
                self._judge.skip(raw)
                return [Event(None, run, is_run=True)] if run else []
        passed: list[Event] = []
        for one in event.singly():
            if (data := one.data) is not None:
                self._judge.see(data)
                if self._echoes is not None and self._echoes.is_in(data, one.raw):
                    data = self._echoes.mask_object(data)
                passed += [typed_event(told) for told in self._feed(data)] or _signs_of_life(data)
            elif one.raw is not None and one.raw.startswith(b":"):
                passed.append(one)  # a comment keeps the client's connection alive as well
        return passed

    def _last(self) -> list[Event]:
        if not self._judge.is_whole:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        self._ended = True
        return [typed_event(told) for told in self._end()]


def _signs_of_life(data: JsonObject) -> list[Event]:
    """Return a comment for a ping, named as that: Anthropic's servers send pings while a model is silent."""
    return [Event(None, b": ping\n\n", name=b"ping")] if data.get("type") == "ping" else []


def _is_system_only(call: Call) -> bool:
    """Return whether a chat has no message but system messages."""
    messages = call.params.get("messages")
    return isinstance(messages, list) and all(
        isinstance(message, dict) and message.get("role") in SYSTEM_ROLES for message in messages
    )


def _translation(call: Call) -> Translation:
    """Return the operation's translation. Raises NotSupported if it has none."""
    translation = call.operation.translation_for(call.target.endpoint)
    if translation is None:
        raise NotSupported(f"does not speak {call.operation.name}")
    return translation


def _translated(call: Call, translation: Translation, *, stream: bool) -> tuple[Call, Translated]:
    """Return the call in the other operation's words, and its request. Raises NotSupported for what they cannot say."""
    params, overrides = whole(call.params), call.overrides
    if translation.params_are_own:
        params, overrides = merged(params, overrides.sent, call.target.model), NO_PARAMS
    translated = translation.request(params, call.target, stream=stream)
    own = call.operation.request_headers
    headers = {name: value for name, value in call.headers.items() if name not in own}
    sent = upstream_params({**translated.params})
    return Call(translation.operation, call.target, sent, call.limits, overrides, headers), translated
