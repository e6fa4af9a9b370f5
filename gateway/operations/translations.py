"""Puts Messages and Responses into chat."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Final

from gateway.adapters.anthropic import to_chat
from gateway.adapters.anthropic.sent import Sent
from gateway.adapters.base import Operation, Translated, Translator
from gateway.adapters.responses import Asked, Events, answer, request
from gateway.operations.chat import Chat
from gateway.policy.target import Target
from gateway.wire.json import Json, JsonObject

CHAT: Final = Chat()
"""The operation of `complete_chat` and `stream_chat`."""

_OPENAIS: Final = frozenset({"azure", "openai"})


class _MessagesRequest:
    """One Messages request in chat."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self.params: Mapping[str, Json] = sent.body

    def answer(self, data: JsonObject) -> JsonObject:
        return to_chat.answer(data, self._sent)

    def events(self) -> Translator:
        return to_chat.Events(self._sent)


class MessagesToChat:
    """Puts Messages into chat."""

    operation: Operation = CHAT

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return the request in chat. Raises NotSupported for what that cannot say."""
        endpoint = target.endpoint
        is_openai = endpoint.kind in _OPENAIS and not endpoint.own_base_url
        body = {**params, "model": target.model}
        return _MessagesRequest(to_chat.request(body | {"stream": True} if stream else body, is_openai=is_openai))


class _ResponsesRequest:
    """One Responses request in chat."""

    def __init__(self, params: JsonObject, asked: Asked) -> None:
        self._asked = asked
        self.params: Mapping[str, Json] = params

    def answer(self, data: JsonObject) -> JsonObject:
        return answer(data, self._asked, serial=uuid.uuid4().hex, now=int(time.time()))

    def events(self) -> Translator:
        return _ResponsesEvents(self._asked)


class _ResponsesEvents:
    """The events of one response, with the clock's time at its end."""

    def __init__(self, asked: Asked) -> None:
        self._events = Events(asked, serial=uuid.uuid4().hex, now=int(time.time()))

    def feed(self, data: JsonObject) -> list[JsonObject]:
        return self._events.feed(data)

    def end(self) -> list[JsonObject]:
        return self._events.end(now=int(time.time()))


class ResponsesToChat:
    """Puts Responses into chat."""

    operation: Operation = CHAT

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return the request in chat. Raises NotSupported for what that cannot say."""
        return _ResponsesRequest(*request(params, stream=stream))
