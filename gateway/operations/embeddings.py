"""Embeddings: `POST /v1/embeddings` (https://platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.errors import BadRequest
from gateway.operations.base import OpenAIOperation, is_long_list, is_long_text, raise_error, words_in
from gateway.policy.failures import no_answer
from gateway.wire.json import Json, JsonObject, encode_json

MOCK_LENGTH: Final = 8
"""Numbers in a mock's embedding unless the request has `dimensions`."""

_MAX_DIMENSIONS: Final = 4096


class Embeddings(OpenAIOperation):
    """Embeddings."""

    name: Final = "embeddings"
    wire: Final = "embeddings"
    path: Final = "/embeddings"
    field: Final = "input"
    same_model_only = True
    read_fields = ("input",)
    example = MappingProxyType({"input": "hello"})
    params: Final = frozenset({"dimensions", "encoding_format", "input", "user"})

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        given = body.get("input")
        if not isinstance(given, str | list) and not is_long_text(given) and not is_long_list(given):
            raise BadRequest("input must be a string or a list", param="input")

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there are embeddings, none of them empty."""
        if "error" in data:
            raise_error(data)
        found = data.get("data")
        if not isinstance(found, list) or not found or not all(map(_is_embedding, found)):
            raise no_answer()

    def check_count(self, data: JsonObject, params: Mapping[str, Json]) -> None:
        """Raise UpstreamError unless there are as many embeddings as inputs. Those of a large body are not counted."""
        given = params.get("input")
        if isinstance(given, str | list) and len(data["data"]) != len(_items(given)):
            raise no_answer()

    # For the mock and the simulation

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return an empty text."""
        return ""

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return an embedding of length 1 for each input, computed from the input alone."""
        wanted = params.get("dimensions")
        length = wanted if isinstance(wanted, int) and 0 < wanted <= _MAX_DIMENSIONS else MOCK_LENGTH
        data: list[JsonObject] = []
        for index, item in enumerate(_items(params.get("input"))):
            vector: Json = _unit_vector(encode_json(item), length)
            if params.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack(f"<{length}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        return {"object": "list", "data": data, "usage": self.usage(text, params)}

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return rough token counts."""
        words = sum(map(words_in, _items(params.get("input"))))
        return {"prompt_tokens": words, "total_tokens": words}

    def text(self, data: JsonObject) -> str | None:
        """Return None: an embedding is no text."""
        return None


def _is_embedding(found: Json) -> bool:
    """Tell whether an entry has an embedding: numbers, base64, or what else a server makes of it."""
    return isinstance(found, dict) and bool(found.get("embedding"))


def _items(given: Json) -> list[Json]:
    """Return the list of inputs. A list of numbers is a single input, given as tokens."""
    is_list = isinstance(given, list) and not all(isinstance(item, int) for item in given)
    return given if is_list else [given]


def _unit_vector(seed: bytes, length: int) -> list[float]:
    digest = hashlib.shake_256(seed).digest(2 * length)
    raw = [value / 32768 + 1e-6 for value in struct.unpack(f"<{length}h", digest)]
    norm = math.hypot(*raw)
    return [value / norm for value in raw]
