"""Embeddings by LiteLLM's classes and by its call function: the same request leaves, the same answer comes back.

Where the two differ, and ours is the more honest, DIFFERENCES says how.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import litellm  # noqa: F401 - here, where its warnings are no errors
import pytest

from gateway.adapters.base import Call, NotSupported
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import EMPTY, Json, JsonObject
from tests.litellm_calls import QUIET
from tests.litellm_recorded import OPENAI_ANSWERS
from tests.litellm_upstreams import make_call
from tests.litellm_ways import Upstream, telling

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]

DIFFERENCES: Final = {
    "encoding_format": "OpenAI's SDK asks for base64 where the client names no format, and decodes it; we ask for none",
    "base64": "LiteLLM's function fails on an embedding in base64 where it uses OpenAI's SDK; ours hands it on",
    "headers": "Mistral's, Fireworks' and others' handlers drop the file's headers; ours sends them",
    "user-agent": "ours; OpenAI's SDK adds its own headers",
}

VECTOR: Final = [0.6, 0.8, 0.0]
OPENAI: Final[JsonObject] = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": VECTOR}],
    "model": "m-2026",
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


class Vendor(NamedTuple):
    """One target, and its upstream's answer to one text."""

    kind: str
    model: str
    answer: JsonObject = OPENAI
    overrides: Mapping[str, str] = EMPTY
    sdk: bool = False
    """LiteLLM's call function sends by OpenAI's SDK."""

    def __str__(self) -> str:
        return self.kind


VENDORS: Final = (
    Vendor("openai", "text-embedding-3-small", sdk=True),
    Vendor("mistral", "mistral-embed", sdk=True),
    Vendor("together_ai", "m", sdk=True),
    Vendor("fireworks_ai", "nomic-ai/nomic-embed-text-v1.5", sdk=True),
    Vendor("hosted_vllm", "m"),
    Vendor("lm_studio", "m"),
    Vendor("openrouter", "openai/text-embedding-3-small"),
    Vendor("voyage", "voyage-3", {**OPENAI, "usage": {"total_tokens": 7}}),
    Vendor("jina_ai", "jina-embeddings-v3"),
    Vendor(
        "cohere", "embed-v4.0",
        {"id": "x", "response_type": "embeddings_by_type", "embeddings": {"float": [VECTOR]}, "texts": ["hi"],
         "meta": {"billed_units": {"input_tokens": 7}}},
    ),
    Vendor(
        "bedrock", "amazon.titan-embed-text-v2:0", {"embedding": VECTOR, "inputTextTokenCount": 7},
        {"aws_region_name": "us-east-1"},
    ),
    Vendor("azure", "deployed", sdk=True),
)  # fmt: skip

REQUESTS: Final[dict[str, JsonObject]] = {
    "text": {"input": "hi"},
    "list": {"input": ["hi"]},
    "dimensions": {"input": ["hi"], "dimensions": 3},
    "floats": {"input": ["hi"], "encoding_format": "float"},
    "user": {"input": "hi", "user": "me"},
}


def call_of(upstream: Upstream, vendor: Vendor, **params: Any) -> Call:
    return make_call(
        upstream.base_url, vendor.kind, vendor.model, operation="embeddings", overrides=vendor.overrides, **params
    )


@pytest.mark.parametrize("vendor", VENDORS, ids=str)
async def test_they_go_by_classes(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, vendor: Vendor
) -> None:
    upstream.got.clear()
    assert await ways[0].goes_by_classes(call_of(upstream, vendor, input="hi"), stream=False)
    assert upstream.got == []


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("vendor", VENDORS, ids=str)
async def test_the_same_request_leaves_and_the_same_answer_comes_back(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, vendor: Vendor, name: str
) -> None:
    upstream.body = json.dumps(vendor.answer).encode()
    sent: list[Json] = []
    answers: list[Json] = []
    for adapter in ways:
        upstream.got.clear()
        try:
            answers.append((await adapter.complete(call_of(upstream, vendor, **REQUESTS[name]))).data)
        except (NotSupported, UpstreamError) as error:
            answers.append(str(error))
        for path, body, headers in upstream.got:
            if vendor.sdk and "encoding_format" not in REQUESTS[name]:
                body.pop("encoding_format", None)
            sent.append([path, body, telling(headers)])
    assert sent[: len(sent) // 2] == sent[len(sent) // 2 :]
    for answer in answers:
        if isinstance(answer, dict):
            assert answer["data"][0]["embedding"] == VECTOR
            assert answer["model"].removeprefix(f"{vendor.kind}/") in ("m-2026", vendor.model)
            answer["model"] = ""
    assert answers[0] == answers[1]


async def test_the_headers_of_the_file_are_sent(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream
) -> None:
    upstream.body = json.dumps(OPENAI).encode()
    upstream.got.clear()
    for kind in ("mistral", "voyage", "openai"):
        call = make_call(
            upstream.base_url, kind, "m", operation="embeddings", endpoint_headers={"x-team": "blue"},
            headers={"x-request-id": "r"}, input=["a"],
        )  # fmt: skip
        await ways[0].complete(call)
    assert [(headers["x-team"], headers["x-request-id"]) for _, _, headers in upstream.got] == [("blue", "r")] * 3


async def test_inputs_of_one_shape_are_not_mixed_up(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream
) -> None:
    upstream.body = json.dumps(OPENAI).encode()
    upstream.got.clear()
    vendor = Vendor("hosted_vllm", "m")
    inputs = [f"text {number}" for number in range(20)]
    inputs.append("long " * 50_000)
    await asyncio.gather(*[ways[0].complete(call_of(upstream, vendor, input=[text])) for text in inputs])
    assert sorted(body["input"][0] for _, body, _ in upstream.got) == sorted(inputs)


@pytest.mark.parametrize("kind", ["openai", "hosted_vllm", "cohere"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b"no json", "text/plain"),
        (b"", "application/json"),
        (b'{"object": "list", "data": 5}', "application/json"),
        (b'{"error": {"message": "oh no", "code": 500}}', "application/json"),
    ],
)
async def test_what_is_no_answer_is_the_upstreams_failure(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, kind: str, body: bytes, content_type: str
) -> None:
    upstream.body, upstream.content_type = body, content_type
    call = make_call(upstream.base_url, kind, "m", operation="embeddings", input=["a"])
    with pytest.raises(UpstreamError) as caught:
        call.operation.check_reply((await ways[0].complete(call)).data)
    assert caught.value.kind in (Kind.BAD_RESPONSE, Kind.SERVER_ERROR)
    upstream.content_type = "application/json"


async def test_numbers_of_tokens_are_an_input(ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream) -> None:
    upstream.body = json.dumps(OPENAI).encode()
    for given in ([1, 2, 3], [[1, 2], [3]]):
        upstream.got.clear()
        await ways[0].complete(call_of(upstream, Vendor("openai", "text-embedding-3-small"), input=given))
        assert upstream.got[0][1]["input"] == given


async def test_vertex_signs_in_off_the_loop_and_is_asked_with_our_client(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's package is not installed here, so LiteLLM's two functions that use it are replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from litellm.llms.vertex_ai import vertex_llm_base

    async def token_async(*_: object, **__: object) -> tuple[str, str]:
        return "token", "p"

    monkeypatch.setattr(vertex_llm_base.VertexBase, "_ensure_access_token", lambda *_, **__: ("token", "p"))
    monkeypatch.setattr(vertex_llm_base.VertexBase, "_ensure_access_token_async", token_async)
    found = {"values": VECTOR, "statistics": {"token_count": 7}}
    upstream.body = json.dumps({"predictions": [{"embeddings": found}]}).encode()
    upstream.got.clear()
    vendor = Vendor(
        "vertex_ai", "text-embedding-005", overrides={"vertex_project": "p", "vertex_location": "us-central1"}
    )
    call = call_of(upstream, vendor, input=["hi"])
    assert await ways[0].goes_by_classes(call, stream=False)
    answer = (await ways[0].complete(call)).data
    assert answer["data"][0]["embedding"] == VECTOR
    [(_, _, headers)] = upstream.got
    assert headers["authorization"] == "Bearer token"
    assert headers["user-agent"].startswith("routes-gateway/")


@pytest.mark.parametrize("operation", ["chat", "embeddings"])
async def test_azure_signs_in_where_the_file_names_an_account_and_no_key(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Azure's package is not installed here, so LiteLLM's function that uses it is replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from litellm.llms.azure import common_utils

    accounts: list[tuple[str, ...]] = []

    def signed_in(**account: str) -> Callable[[], str]:
        accounts.append((account["tenant_id"], account["client_id"], account["client_secret"]))
        return lambda: "token"

    account = {"tenant_id": "t", "client_id": "c"}
    given: JsonObject = {"input": ["hi"]} if operation == "embeddings" else {}
    answers = {"chat": OPENAI_ANSWERS["text"], "embeddings": OPENAI}

    def call(key: str | None) -> Call:
        return make_call(
            upstream.base_url, "azure", "deployed", operation=operation, overrides=account, key=key, **given
        )

    monkeypatch.setenv("AZURE_AD_TOKEN", "of-another-account")
    with pytest.raises(NotSupported, match="AZURE_CLIENT_SECRET in the environment"):
        await ways[0].complete(call(None))
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s-0123456789")
    with pytest.raises(NotSupported, match="needs the package azure-identity"):
        await ways[0].complete(call(None))
    monkeypatch.setattr(common_utils, "get_azure_ad_token_from_entra_id", signed_in)
    upstream.body = json.dumps(answers[operation]).encode()
    upstream.got.clear()
    for key in (None, "a-key-of-azures"):
        asked = call(key)
        await ways[0].complete(asked)
        asked.operation.check_reply((await ways[0].complete(asked)).data)
    path = {"chat": "chat/completions", "embeddings": "embeddings"}[operation]
    assert {path for path, _, _ in upstream.got} == {f"/openai/deployments/deployed/{path}?api-version=2024-10-21"}
    keys = [(headers.get("authorization"), headers.get("api-key")) for _, _, headers in upstream.got]
    assert keys == [("Bearer token", None)] * 2 + [(None, "a-key-of-azures")] * 2
    assert set(accounts) == {("t", "c", "s-0123456789")}
    assert all(not account.keys() & body.keys() for _, body, _ in upstream.got)


@pytest.mark.parametrize("kind", ["openai", "hosted_vllm", "azure"])
async def test_base64_is_handed_on_as_it_came(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, kind: str
) -> None:
    encoded = "mpkZP83MTD8AAAAA"
    upstream.body = json.dumps({**OPENAI, "data": [{**OPENAI["data"][0], "embedding": encoded}]}).encode()
    upstream.got.clear()
    call = make_call(upstream.base_url, kind, "m", operation="embeddings", input="hi", encoding_format="base64")
    assert (await ways[0].complete(call)).data["data"][0]["embedding"] == encoded
    assert [body["encoding_format"] for _, body, _ in upstream.got] == ["base64"]
