"""How operations are put into others, for endpoints that do not speak the client's wire."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Final

from gateway.adapters import gemini
from gateway.adapters.anthropic import to_chat, to_messages
from gateway.adapters.base import Operation, Translated, Translator
from gateway.adapters.gemini import embeddings
from gateway.adapters.responses import Asked, Events, answer, request
from gateway.adapters.sent import Sent
from gateway.adapters.text_runs import Shape
from gateway.policy.target import Target
from gateway.wire.json import Json, JsonObject

_WANT_REASONING: Final = frozenset({"deepseek", "moonshot"})
"""Kinds that refuse a history with tool calls of a model that thinks, unless its reasoning is there.

Sources: https://api-docs.deepseek.com/guides/thinking_mode, https://github.com/openai/codex/issues/24500,
https://github.com/can1357/oh-my-pi/issues/1484 (Kimi).
"""


class MessagesToChat:
    """Puts Messages into chat."""

    params_are_own: Final = False
    tells_usage: Final = False

    def __init__(self, chat: Operation) -> None:
        self.operation = chat

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return the request in chat. Raises NotSupported for what that cannot say."""
        endpoint = target.endpoint
        is_openai = endpoint.kind == "azure" or (endpoint.kind == "openai" and not endpoint.own_base_url)
        body = {**params, "model": target.model}
        is_mistral = endpoint.kind == "mistral"
        asked = body | {"stream": True} if stream else body
        sent = to_chat.request(asked, is_openai=is_openai, is_mistral=is_mistral)
        return _MessagesInChat(sent)


class _MessagesInChat:
    """One Messages request in chat."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self.params: Mapping[str, Json] = sent.body

    def answer(self, data: JsonObject) -> JsonObject:
        return to_chat.answer(data, self._sent)

    def events(self) -> Translator:
        return to_chat.Events(self._sent)


class ChatToMessages:
    """Puts chat into Anthropic's Messages."""

    params_are_own: Final = True
    tells_usage: Final = True

    def __init__(self, messages: Operation) -> None:
        self.operation = messages

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return the request in Messages. Raises NotSupported for what that cannot say."""
        body = {**params, "model": target.model}
        return _ChatInMessages(to_messages.request(body | {"stream": True} if stream else body))


class _ChatInMessages:
    """One chat request in Messages."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self.params: Mapping[str, Json] = sent.body

    def answer(self, data: JsonObject) -> JsonObject:
        return to_messages.answer(data, self._sent, created=int(time.time()))

    def events(self) -> Translator:
        return to_messages.Events(self._sent, created=int(time.time()))


class ChatToGemini:
    """Puts chat into Gemini's `generateContent`."""

    params_are_own: Final = True
    tells_usage: Final = True

    def __init__(self, generate: Operation) -> None:
        self.operation = generate

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return the request in Gemini's words. Raises NotSupported for what they cannot say."""
        return _ChatInGemini(gemini.request({**params, "model": target.model}), target.model)


class _ChatInGemini:
    """One chat request in Gemini's words."""

    def __init__(self, sent: Sent, model: str) -> None:
        self._sent = sent
        self._model = model
        self.params: Mapping[str, Json] = sent.body

    def answer(self, data: JsonObject) -> JsonObject:
        return gemini.answer(data, self._sent, model=self._model, created=int(time.time()), new_id=_new_id)

    def events(self) -> Translator:
        return gemini.Events(self._sent, model=self._model, created=int(time.time()), new_id=_new_id)


def _new_id() -> str:
    return uuid.uuid4().hex


class CountToGemini:
    """Puts the counting of a Messages request's tokens into Gemini's `countTokens`, by way of chat."""

    params_are_own: Final = True
    tells_usage: Final = False

    def __init__(self, count: Operation) -> None:
        self.operation = count

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return the request in Gemini's words. Raises NotSupported for what they cannot say."""
        chat = to_chat.request({**params, "model": target.model}).body
        return _CountInGemini(gemini.request({**chat, "model": target.model}), target.model)


class _CountInGemini:
    """One count in Gemini's words."""

    def __init__(self, sent: Sent, model: str) -> None:
        whole = {"model": gemini.path_of(model), **sent.body}
        self.params: Mapping[str, Json] = {"generateContentRequest": whole}

    def answer(self, data: JsonObject) -> JsonObject:
        return {"input_tokens": data["totalTokens"]}

    def events(self) -> Translator:
        raise TypeError("a count has no events")


class EmbeddingsToGemini:
    """Puts embeddings into Gemini's `batchEmbedContents`."""

    params_are_own: Final = True
    tells_usage: Final = False

    def __init__(self, batch_embed: Operation) -> None:
        self.operation = batch_embed

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return the request in Gemini's words. Raises NotSupported for what they cannot say."""
        return _EmbeddingsInGemini(params, target.model)


class _EmbeddingsInGemini:
    """One request for embeddings in Gemini's words."""

    def __init__(self, params: Mapping[str, Json], model: str) -> None:
        self._model = model
        self._is_base64 = params.get("encoding_format") == "base64"
        self.params: Mapping[str, Json] = embeddings.request({**params, "model": model})

    def answer(self, data: JsonObject) -> JsonObject:
        return embeddings.answer(data, model=self._model, base64=self._is_base64)

    def events(self) -> Translator:
        raise TypeError("embeddings have no events")


class ResponsesToChat:
    """Puts Responses into chat."""

    params_are_own: Final = False
    tells_usage: Final = False

    def __init__(self, chat: Operation) -> None:
        self.operation = chat

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return the request in chat. Raises NotSupported for what that cannot say."""
        keep_reasoning = target.endpoint.kind in _WANT_REASONING
        return _ResponsesInChat(*request(params, stream=stream, keep_reasoning=keep_reasoning))


class _ResponsesInChat:
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

    def run(self, raw: bytes, shape: Shape) -> bytes | None:
        return self._events.run(raw, shape)

    def end(self) -> list[JsonObject]:
        return self._events.end(now=int(time.time()))
