"""Moderations: `POST /v1/moderations` (https://platform.openai.com/docs/api-reference/moderations)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.errors import BadRequest
from gateway.operations.base import OpenAIOperation, is_long_list, is_long_text, raise_error
from gateway.policy.failures import no_answer
from gateway.wire.json import Json, JsonObject


class Moderations(OpenAIOperation):
    """Moderations: texts and images in, whether each is harmful out. A request may leave the model out."""

    name: Final = "moderations"
    wire: Final = "moderations"
    path: Final = "/moderations"
    field: Final = None
    model_is_optional = True
    read_fields = ("input",)
    part_kinds = MappingProxyType({"image_url": "images"})
    example = MappingProxyType({"input": "hello"})
    params: Final = frozenset({"input"})

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        given = body.get("input")
        if not isinstance(given, str | list) and not is_long_text(given) and not is_long_list(given):
            raise BadRequest("input must be a string or a list", param="input")

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there are results, each with a verdict."""
        if "error" in data:
            raise_error(data)
        results = data.get("results")
        if not isinstance(results, list) or not results:
            raise no_answer()
        if not all(isinstance(result, dict) and isinstance(result.get("flagged"), bool) for result in results):
            raise no_answer()

    def check_count(self, data: JsonObject, params: Mapping[str, Json]) -> None:
        """Raise UpstreamError unless there are as many results as inputs. Parts of one input have one together."""
        given = params.get("input")
        if isinstance(given, str | list) and len(data["results"]) != len(_items(given)):
            raise no_answer()

    # For the mock and the simulation

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return that nothing is harmful."""
        results = [{"flagged": False, "categories": {}, "category_scores": {}} for _ in _items(params.get("input"))]
        return {"id": "modr-mock", "results": results}


def _items(given: Json) -> list[Json]:
    is_list = isinstance(given, list) and not any(isinstance(item, dict) for item in given)
    return given if is_list else [given]
