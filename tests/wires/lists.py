"""Operations that answer one JSON body with as many results as inputs: embeddings, moderations, rerank; and models.

https://platform.openai.com/docs/api-reference/embeddings, .../moderations, .../models; https://docs.cohere.com/reference/rerank
"""

from __future__ import annotations

import base64
import struct
from typing import Any, Final

from tests.wires.play import Answer, Play, WireRequest, in_json

VECTOR: Final = (0.5, 0.25, -1.0)
_CATEGORIES: Final = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


def embeddings(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /embeddings`, as floats or in base64."""
    vector: Any = list(VECTOR)
    if request.field("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    data = [{"object": "embedding", "index": n, "embedding": vector} for n in range(_count(request.field("input")))]
    usage = play.usage or {"prompt_tokens": len(data), "total_tokens": len(data)}
    return in_json({"object": "list", "data": data, "model": request.model, "usage": dict(usage)})


def moderations(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /moderations`; the model may be absent."""
    given = request.field("input")
    mixed = isinstance(given, list) and given and isinstance(given[0], dict)
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.001),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    results = [result] * (1 if mixed else _count(given))
    return in_json({"id": "modr-1", "model": request.model or "omni-moderation-latest", "results": results})


def rerank_v1(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /v1/rerank` as Jina, vLLM and others do: usage in tokens, documents on demand."""
    results = _ranked(request)
    if request.field("return_documents"):
        documents = request.body["documents"]
        results = [{**result, "document": {"text": documents[result["index"]]}} for result in results]
    usage = play.usage or {"total_tokens": 9}
    return in_json({"id": "rerank-1", "model": request.model, "usage": dict(usage), "results": results})


def rerank_v2(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /v2/rerank` as Cohere does: billed by the search."""
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return in_json({"id": "rerank-2", "results": _ranked(request), "meta": meta})


def models(request: WireRequest, play: Play) -> Answer:
    """Answer `GET /v1/models`."""
    model = {"id": "scripted", "object": "model", "created": 1_700_000_000, "owned_by": "tests"}
    return in_json({"object": "list", "data": [model]})


def _ranked(request: WireRequest) -> list[dict[str, Any]]:
    """Rank the last document first."""
    count = len(request.body["documents"])
    ranked = [{"index": n, "relevance_score": (n + 1) / (count + 1)} for n in reversed(range(count))]
    return ranked[: request.body.get("top_n") or count]


def _count(given: Any) -> int:
    """Return how many inputs these are: a text or the tokens of one is one."""
    return len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1
