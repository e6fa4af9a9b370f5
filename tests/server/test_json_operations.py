"""Rerank, moderations, images and embeddings through real HTTP: JSON in, JSON out, fallback before an answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start

RANKED: Any = {"results": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 12}}
JUDGED: Any = {"id": "modr-1", "model": "m", "results": [{"flagged": False}, {"flagged": True}]}
MADE: Any = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 3, "output_tokens": 7}}

ASKED: dict[str, Any] = {
    "/v1/rerank": {"query": "q", "documents": ["a", "b"]},
    "/v2/rerank": {"query": "q", "documents": ["a", "b"]},
    "/rerank": {"query": "q", "documents": ["a", "b"]},
    "/v1/moderations": {"input": ["a", "b"]},
    "/v1/images/generations": {"prompt": "a cat"},
}
ANSWERS = {"rerank": RANKED, "moderations": JUDGED, "generations": MADE}
PATHS = pytest.mark.parametrize("path", ASKED)


def answer_at(path: str) -> Any:
    return ANSWERS[path.rpartition("/")[2]]


@PATHS
async def test_it_is_relayed_below_the_base_url(gateway: RunningGateway, upstream: ScriptedOpenAI, path: str) -> None:
    upstream.script("a", body=answer_at(path))
    answer = await gateway.request("POST", path, json={"model": "fast", **ASKED[path]})
    assert (answer.status, answer.json) == (200, answer_at(path))
    asked = upstream.requests[0]
    assert asked.path == ("/v1/rerank" if path.endswith("rerank") else path)
    assert asked.body == {"model": "a", **ASKED[path]}


@PATHS
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"results": [{"no": "result"}], "data": [{}]}, "bad_response"),
        ({"results": "none", "data": []}, "bad_response"),
        ({"error": {"message": "busy", "type": "overloaded_error"}}, "overloaded"),
    ],
)
async def test_what_is_no_answer_falls_over(
    gateway: RunningGateway, upstream: ScriptedOpenAI, path: str, body: Any, kind: str
) -> None:
    upstream.script("a", body=body).script("b", body=answer_at(path))
    answer = await gateway.request("POST", path, json={"model": "pair", **ASKED[path]})
    assert (answer.status, answer.json) == (200, answer_at(path))
    assert answer.headers["x-gateway-target"] == "up/b"
    upstream.reset_script("b").script("b", status=500, body={})
    failed = await gateway.request("POST", path, json={"model": "pair", **ASKED[path]})
    assert [attempt["kind"] for attempt in failed.error["attempts"]] == [kind, "server_error"]


FAMILY = """\
version: 1
defaults: {retries: 0}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: k}
  other: {kind: openai, base_url: "BASE_URL", api_key: k}
models:
  pair: {chain: [up/a, up/b], params: {model_family: f}}
  others: [up/a, up/b]
  same: [up/a, up/b, other/a]
  said: {chain: [up/a, up/b], fallback_on: [server_error]}
  "wild/*": ["up/*", "other/*"]
"""


async def test_moderations_and_embeddings_have_a_result_for_each_input(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(FAMILY)
    vector = {"embedding": [0.5], "index": 0}
    upstream.script("a", body={"results": [{"flagged": True}], "data": [vector]})
    upstream.script("b", body={"results": [{"flagged": True}] * 2, "data": [vector] * 2})
    for path in ("/v1/moderations", "/v1/embeddings"):
        answer = await gateway.request("POST", path, json={"model": "pair", "input": ["one", "two"]})
        assert (answer.status, answer.headers["x-gateway-attempts"]) == (200, "2")
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    answer = await gateway.request("POST", "/v1/moderations", json={"model": "pair", "input": parts})
    assert (answer.status, answer.headers["x-gateway-attempts"]) == (200, "1")
    tokens = await gateway.request("POST", "/v1/embeddings", json={"model": "pair", "input": [1, 2, 3]})
    assert tokens.headers["x-gateway-attempts"] == "1"


@pytest.mark.parametrize(
    ("alias", "status", "calls"),
    [
        ("others", 502, ["a"]), ("same", 200, ["a", "a"]), ("pair", 200, ["a", "b"]), ("said", 200, ["a", "b"]),
        ("wild/a", 200, ["a", "a"]),
    ],
)  # fmt: skip
async def test_embeddings_fall_over_to_the_same_model_only(
    start: Start, upstream: ScriptedOpenAI, alias: str, status: int, calls: list[str]
) -> None:
    upstream.script("a", status=500).script("a", reply="")
    gateway = await start(FAMILY)
    answer = await gateway.request("POST", "/v1/embeddings", json={"model": alias, "input": "one"})
    assert (answer.status, upstream.calls) == (status, calls)
    assert all("model_family" not in request.body for request in upstream.requests)
    if status != 200:
        assert [(one["target"], one["kind"]) for one in answer.error["attempts"]] == [
            ("up/a", "server_error"), ("up/b", "unsupported")
        ]  # fmt: skip


async def test_other_operations_fall_over_to_any_model(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=500)
    gateway = await start(FAMILY)
    assert (await gateway.chat("others")).headers["x-gateway-target"] == "up/b"


async def test_an_empty_embedding_is_no_answer(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body={"data": [{"embedding": [], "index": 0}]})
    answer = await gateway.request("POST", "/v1/embeddings", json={"model": "fast", "input": "one"})
    assert answer.status == 502


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/images/generations"])
async def test_a_model_that_is_left_out_is_the_default_one(start: Start, upstream: ScriptedOpenAI, path: str) -> None:
    upstream.script("a", body=answer_at(path))
    gateway = await start(default_model="fast")
    for given in ({}, {"model": None}):
        answer = await gateway.request("POST", path, json={**given, **ASKED[path]})
        assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/a")
    named = await gateway.request("POST", path, json={"model": "echo", **ASKED[path]})
    assert named.headers["x-gateway-target"] == "mock/echo"
    chat = await gateway.request("POST", "/v1/chat/completions", json={"messages": []})
    assert (chat.status, chat.error["message"]) == (400, "model must be a non-empty string")


async def test_without_a_default_model_the_flag_is_named(gateway: RunningGateway) -> None:
    answer = await gateway.request("POST", "/v1/moderations", json={"input": "a"})
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert "--default-model" in answer.error["message"]


async def test_token_counts_are_read(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    cohere = {"results": [], "meta": {"tokens": {"input_tokens": 5, "output_tokens": 0}}}
    upstream.script("a", body=RANKED).script("a", body=cohere).script("a", body={"results": []}).script("a", body=MADE)
    for path in ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/images/generations"):
        await gateway.request("POST", path, json={"model": "fast", **ASKED[path]})
    assert await gateway.metric('gateway_tokens_total{alias="fast",direction="prompt",target="up/a"}') == 20


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/rerank", {"documents": []}, "query"),
        ("/v1/rerank", {"query": "q"}, "documents"),
        ("/v1/moderations", {}, "input"),
        ("/v1/images/generations", {}, "prompt"),
    ],
)
async def test_what_no_upstream_could_answer_is_refused(
    gateway: RunningGateway, path: str, body: Any, param: str
) -> None:
    answer = await gateway.request("POST", path, json={"model": "fast", **body})
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_mocks_answer(gateway: RunningGateway) -> None:
    ranked = await gateway.request("POST", "/rerank", json={"model": "echo", "query": "b", "documents": ["a", "b"]})
    assert [result["index"] for result in ranked.json["results"]] == [1, 0]
    judged = await gateway.request("POST", "/v1/moderations", json={"model": "echo", "input": ["a", "b"]})
    assert [result["flagged"] for result in judged.json["results"]] == [False, False]
    made = await gateway.request("POST", "/v1/images/generations", json={"model": "echo", "prompt": "a", "n": 2})
    assert len(made.json["data"]) == 2
