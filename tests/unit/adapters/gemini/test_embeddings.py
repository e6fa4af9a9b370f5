"""Embeddings in Gemini's words, and its answers back."""

from __future__ import annotations

import base64
import struct

import pytest

from gateway.adapters.base import NotSupported
from gateway.adapters.gemini import embeddings
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import Json, JsonObject

ANSWER: JsonObject = {"embeddings": [{"values": [0.5, -1]}, {"values": [1.5, 2]}]}


def test_each_input_is_a_request_of_its_own() -> None:
    body = {"model": "gemini-embedding-001", "input": ["a", "b"], "dimensions": 8, "task_type": "CLUSTERING"}
    one = {"model": "models/gemini-embedding-001", "outputDimensionality": 8, "taskType": "CLUSTERING"}
    assert embeddings.request(body) == {
        "requests": [{**one, "content": {"parts": [{"text": text}]}} for text in ("a", "b")]
    }


@pytest.mark.parametrize(("model", "sent"), [("m", "models/m"), ("models/m", "models/m")])
def test_a_single_text_is_a_list_of_one(model: str, sent: str) -> None:
    made = embeddings.request({"model": model, "input": "a", "encoding_format": "float", "user": "u"})
    assert made == {"requests": [{"model": sent, "content": {"parts": [{"text": "a"}]}}]}


@pytest.mark.parametrize("given", [[1, 2], [[1], [2]], ["a", 1], [], None])
def test_tokens_are_not_supported(given: Json) -> None:
    with pytest.raises(NotSupported, match="an input that is no text"):
        embeddings.request({"model": "m", "input": given})


def test_an_answer_in_numbers_and_in_base64() -> None:
    found = embeddings.answer(ANSWER, model="m", base64=False)
    assert found == {
        "object": "list",
        "model": "m",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
            {"object": "embedding", "index": 1, "embedding": [1.5, 2]},
        ],
    }
    told = embeddings.answer(ANSWER, model="m", base64=True)["data"][1]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(told)) == (1.5, 2.0)


def test_counts_are_told_where_gemini_tells_them() -> None:
    data = {**ANSWER, "usageMetadata": {"promptTokenCount": 3}}
    assert embeddings.answer(data, model="m", base64=False)["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize("values", [["x"], [1e300], "xy"])
def test_what_is_no_vector_is_no_answer(values: Json) -> None:
    with pytest.raises(UpstreamError) as raised:
        embeddings.answer({"embeddings": [{"values": values}]}, model="m", base64=True)
    assert raised.value.kind is Kind.BAD_RESPONSE
