"""The registry of operations by name.

A new operation is a file beside this one and a line in `OPERATIONS`. It implements `adapters.base.Operation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.base import Operation
from gateway.errors import BadRequest
from gateway.operations.audio import Speech, Transcriptions, Translations
from gateway.operations.chat import Chat
from gateway.operations.completions import Completions
from gateway.operations.embeddings import Embeddings
from gateway.operations.generate import BatchEmbed, CountContents, GenerateContent
from gateway.operations.images import ImageEdits, Images, ImageVariations
from gateway.operations.messages import CountTokens, Messages
from gateway.operations.moderations import Moderations
from gateway.operations.rerank import Rerank
from gateway.operations.responses import Compact, InputTokens, Responses
from gateway.operations.translations import (
    ChatToGemini,
    ChatToMessages,
    CountToGemini,
    EmbeddingsToGemini,
    MessagesToChat,
    ResponsesToChat,
)
from gateway.policy.params import Params
from gateway.wire.json import Json, JsonObject

CHAT: Final = Chat()
"""The operation of `complete_chat` and `stream_chat`."""

_MESSAGES, _COUNT_TOKENS, _RESPONSES, _EMBEDDINGS = Messages(), CountTokens(), Responses(), Embeddings()
CHAT.translation = ChatToMessages(_MESSAGES)
CHAT.translations = MappingProxyType({"gemini": ChatToGemini(GenerateContent())})
_EMBEDDINGS.translations = MappingProxyType({"gemini": EmbeddingsToGemini(BatchEmbed())})
_MESSAGES.translation = MessagesToChat(CHAT)
_COUNT_TOKENS.translations = MappingProxyType({"gemini": CountToGemini(CountContents())})
_RESPONSES.translation = ResponsesToChat(CHAT)

_ALL: Final[tuple[Operation, ...]] = (
    CHAT, Completions(), _RESPONSES, InputTokens(), Compact(), _MESSAGES, _COUNT_TOKENS, _EMBEDDINGS,
    Rerank(), Moderations(), Images(), ImageEdits(), ImageVariations(), Speech(), Transcriptions(), Translations(),
)  # fmt: skip
OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType({operation.name: operation for operation in _ALL})

_TOLD_BY_FIELD: Final = tuple(operation for operation in _ALL if operation.field is not None)
_ALL_PARAMS: Final = frozenset().union(*(operation.params for operation in OPERATIONS.values()))
_FOREIGN: Final = {name: _ALL_PARAMS - operation.params for name, operation in OPERATIONS.items()}


def params_for(operation: Operation, params: Params) -> Params:
    """Return the file's `params` without those that only other operations have."""
    return params.without(_FOREIGN[operation.name])


def operation_of(body: Mapping[str, Json]) -> Operation:
    """Return the operation whose own field the request body has; chat if it has none."""
    return next(
        (operation for operation in OPERATIONS.values() if operation.field is not None and operation.field in body),
        CHAT,
    )


def check_request(operation: Operation, body: JsonObject) -> None:
    """Raise BadRequest for a request body without a model, or one that no upstream could accept."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        if operation.model_is_optional and body.get("model") is None:
            raise BadRequest("the request names no model, and this gateway has no --default-model", param="model")
        raise BadRequest("model must be a non-empty string", param="model")
    operation.check(body)
