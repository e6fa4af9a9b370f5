"""Rerank: `POST /v1/rerank` and `/v2/rerank`, which Cohere's, Jina's and Voyage's clients send.

Sources: https://docs.cohere.com/reference/rerank, https://jina.ai/reranker/, https://docs.voyageai.com/reference/reranker-api
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.counts import counts
from gateway.errors import BadRequest
from gateway.operations.base import OpenAIOperation, is_long_list, is_long_text, raise_error, words_in
from gateway.policy.failures import no_answer
from gateway.wire.json import Json, JsonObject


class Rerank(OpenAIOperation):
    """Rerank: documents in, their relevance to a query out.

    Upstream it is `/rerank` below the base URL, whatever version the client asked for: the requests and answers of all
    versions are alike in what both sides read.
    """

    name: Final = "rerank"
    wire: Final = "rerank"
    path: Final = "/rerank"
    other_paths = ("/v2/rerank",)
    example = MappingProxyType({"query": "hello", "documents": ["hello"]})
    field: Final = None
    read_fields = ("query", "documents")
    params: Final = frozenset(
        {
            "documents", "max_chunks_per_doc", "max_tokens_per_doc", "priority", "query", "rank_fields",
            "return_documents", "top_k", "top_n", "truncate_prompt_tokens", "truncation", "user",
        }
    )  # fmt: skip

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        query, documents = body.get("query"), body.get("documents")
        if not isinstance(query, str | dict) and not is_long_text(query):
            raise BadRequest("query must be a string", param="query")
        if not isinstance(documents, list) and not is_long_list(documents):
            raise BadRequest("documents must be a list", param="documents")

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there are results, each with its place and its relevance.

        There may be fewer than documents. Voyage calls them `data`.
        """
        if "error" in data:
            raise_error(data)
        results = data.get("results", data.get("data"))
        if not isinstance(results, list) or not all(map(_is_result, results)):
            raise no_answer()

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the token counts: `usage.total_tokens`, or Cohere's `meta.tokens`; None if there are none."""
        usage, meta = data.get("usage"), data.get("meta")
        if isinstance(usage, dict) and usage:
            return counts(prompt=usage.get("total_tokens", usage.get("prompt_tokens")))
        told = meta.get("tokens") if isinstance(meta, dict) else None
        if not isinstance(told, dict) or not told:
            return None
        return counts(prompt=told.get("input_tokens"), completion=told.get("output_tokens"))

    # For the mock and the simulation

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a result for each document: the more words of the query it has, the more relevant."""
        documents = params.get("documents")
        texts = [_text(document) for document in documents] if isinstance(documents, list) else []
        wanted = set(_text(params.get("query")).lower().split())
        scores = [len(wanted & set(text.lower().split())) / (len(wanted) or 1) for text in texts]
        best = sorted(range(len(texts)), key=lambda index: (-scores[index], index))
        most = params.get("top_n")
        results = [{"index": index, "relevance_score": scores[index]} for index in best]
        return {"results": results[:most] if type(most) is int else results, "usage": self.usage(text, params)}

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return rough token counts."""
        documents = params.get("documents")
        texts = [_text(document) for document in documents] if isinstance(documents, list) else []
        return {"total_tokens": words_in([_text(params.get("query")), *texts])}


def _is_result(result: Json) -> bool:
    return (
        isinstance(result, dict)
        and type(result.get("index")) is int
        and isinstance(result.get("relevance_score"), int | float)
    )


def _text(document: Json) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    return text if isinstance(text, str) else ""
