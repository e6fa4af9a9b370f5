"""Chat by LiteLLM's classes and by its call function: the same request leaves, the same answer comes back.

Where the two differ, and ours is the more honest, DIFFERENCES says how.
"""

from __future__ import annotations

import importlib
import json
import threading
import warnings
from dataclasses import replace
from typing import Any, Final

import litellm  # noqa: F401 - here, where its warnings are no errors
import pytest

from gateway.adapters.base import Call, NotSupported
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.policy.failures import UpstreamError
from gateway.wire.json import Json, JsonObject
from tests.litellm_calls import QUIET
from tests.litellm_recorded import BEDROCK, GEMINI, REQUESTS, VENDORS, VERTEX, VERTEX_CLAUDE, Vendor
from tests.litellm_upstreams import WEATHER, chunks_of, make_call
from tests.litellm_ways import Upstream, telling

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]

DIFFERENCES: Final = {
    "model": "the upstream's name of the model, where LiteLLM's function adds the provider's",
    "user-agent": "ours; OpenAI's SDK adds its own headers",
    "reasoning tokens": "LiteLLM's function adds a zero that Google did not tell",
    "cohere streams": "LiteLLM's function fails on each of them; its parser misses finish reason and usage",
}


def call_of(upstream: Upstream, vendor: Vendor, **params: Any) -> Call:
    return make_call(upstream.base_url, vendor.kind, vendor.model, overrides=vendor.overrides, **params)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("vendor", VENDORS, ids=str)
async def test_the_same_request_leaves(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, vendor: Vendor, name: str, streaming: bool
) -> None:
    upstream.body = vendor.streams["text"] if streaming else json.dumps(vendor.answers["text"]).encode()
    upstream.content_type = vendor.content_type if streaming else "application/json"
    sent: list[Json] = []
    for adapter in ways:
        upstream.got.clear()
        call = call_of(upstream, vendor, **REQUESTS[name])
        try:
            if streaming:
                await (await adapter.stream(call)).aclose()
            else:
                await adapter.complete(call)
        except (NotSupported, UpstreamError) as error:
            sent.append(str(error))
        if upstream.got:
            path, body, headers = upstream.got[-1]
            sent.append([len(upstream.got), path, body, telling(headers)])
    assert sent
    assert sent[: len(sent) // 2] == sent[len(sent) // 2 :]


def _whole(chunks: list[JsonObject]) -> JsonObject:
    """Return what the chunks of a stream say together."""
    text, reasoning, arguments = "", "", dict[int, str]()
    calls: dict[int, JsonObject] = {}
    reasons, usage, models = [], None, set()
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        models.add(chunk["model"])
        for choice in chunk["choices"]:
            delta = choice["delta"]
            text += delta.get("content") or ""
            reasoning += delta.get("reasoning_content") or ""
            reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
            for call in delta.get("tool_calls") or ():
                index = call["index"]
                told = {"id": call.get("id"), "name": call["function"].get("name")}
                calls.setdefault(index, {}).update({key: value for key, value in told.items() if value})
                arguments[index] = arguments.get(index, "") + (call["function"].get("arguments") or "")
    return {
        "text": text, "reasoning": reasoning, "calls": calls, "arguments": arguments, "reasons": reasons,
        "usage": usage, "models": models,
    }  # fmt: skip


EXPECTED: Final = {
    "text": ("one two three four", "stop"),
    "tools": (None, "tool_calls"),
    "length": ("one", "length"),
}


@pytest.mark.parametrize("name", ["text", "tools", "length"])
@pytest.mark.parametrize("vendor", VENDORS, ids=str)
async def test_a_stream_says_the_same(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, vendor: Vendor, name: str
) -> None:
    upstream.body, upstream.content_type = vendor.streams[name], vendor.content_type
    call = call_of(upstream, vendor, stream_options={"include_usage": True}, tools=[WEATHER])
    by_classes, by_functions = ways
    ours = _whole(await chunks_of(await by_classes.stream(call)))
    text, reason = EXPECTED[name]
    assert (ours["text"] if text is not None else None, ours["reasons"]) == (text, [reason])
    assert (ours["usage"]["prompt_tokens"], ours["usage"]["completion_tokens"]) == (7, 3)
    if name == "tools":
        assert [call["name"] for call in ours["calls"].values()] == ["weather"]
        assert [json.loads(arguments) for arguments in ours["arguments"].values()] == [{"city": "Berlin"}]
    if not vendor.readable_by_functions:
        with pytest.raises(UpstreamError):
            await chunks_of(await by_functions.stream(call))
        return
    theirs = _whole(await chunks_of(await by_functions.stream(call)))
    if vendor is GEMINI:  # LiteLLM makes up an id for each of Google's calls
        for found in (*ours["calls"].values(), *theirs["calls"].values()):
            found.pop("id")
        assert theirs["usage"]["completion_tokens_details"].pop("reasoning_tokens", 0) == 0
    assert ours == theirs


@pytest.mark.parametrize("name", ["text", "tools", "length", "filter", "cached"])
@pytest.mark.parametrize("vendor", VENDORS, ids=str)
async def test_an_answer_is_the_same(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter], upstream: Upstream, vendor: Vendor, name: str
) -> None:
    if name not in vendor.answers:
        pytest.skip("this vendor has no such answer")
    upstream.body, upstream.content_type = json.dumps(vendor.answers[name]).encode(), "application/json"
    answers = [(await adapter.complete(call_of(upstream, vendor, tools=[WEATHER]))).data for adapter in ways]
    for data in answers:
        for made_up in ("id", "created"):
            data.pop(made_up)
        data["model"] = data["model"].removeprefix(f"{vendor.kind}/")
        for choice in data["choices"]:
            for call in choice["message"].get("tool_calls") or ():
                call.pop("id")
    assert answers[0] == answers[1]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_signature_for_amazon_holds_for_what_our_client_sends(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter],
    upstream: Upstream,
    streaming: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Path, host, body and signed headers arrive as they were signed, with the account of the environment."""
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    upstream.got.clear()
    overrides = {"aws_region_name": "us-east-1", "aws_bedrock_runtime_endpoint": upstream.base_url}
    call = make_call(upstream.base_url, BEDROCK.kind, BEDROCK.model, overrides=overrides, key=None)
    known = replace(call.target.endpoint, base_url=None, own_base_url=False, hosts=(upstream.base_url,))
    call = replace(call, target=replace(call.target, endpoint=known))
    assert await ways[0].goes_by_classes(call, stream=streaming)
    upstream.body = BEDROCK.streams["text"] if streaming else json.dumps(BEDROCK.answers["text"]).encode()
    upstream.content_type = BEDROCK.content_type if streaming else "application/json"
    if streaming:
        assert _whole(await chunks_of(await ways[0].stream(call)))["text"] == "one two three four"
    else:
        assert (await ways[0].complete(call)).data["choices"][0]["message"]["content"] == "good day"
    [(path, _, headers)] = upstream.got
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auth = importlib.import_module("botocore.auth")
        request_of = importlib.import_module("botocore.awsrequest").AWSRequest
        credentials = importlib.import_module("botocore.credentials").Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI")
    signed_names = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    signed = {name: headers[name] for name in signed_names}
    url = f"{upstream.base_url}{path}"
    again = request_of(method="POST", url=url, data=upstream.raw, headers=signed)
    again.context["timestamp"] = headers["x-amz-date"]
    signer = auth.SigV4Auth(credentials, "bedrock", "us-east-1")
    expected = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    assert headers["authorization"].endswith(f"Signature={expected}")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("vendor", [VERTEX, VERTEX_CLAUDE], ids=["gemini", "claude"])
async def test_vertex_signs_in_off_the_loop_and_is_asked_with_our_client(
    ways: tuple[LiteLLMAdapter, LiteLLMAdapter],
    upstream: Upstream,
    vendor: Vendor,
    streaming: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Google's package is not installed here, so LiteLLM's two functions that use it are replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from litellm.llms.vertex_ai import vertex_llm_base

    threads = []

    def token(*_: object, **__: object) -> tuple[str, str]:
        threads.append(threading.current_thread())
        return "token", "p"

    async def token_async(*_: object, **__: object) -> tuple[str, str]:
        return "token", "p"

    monkeypatch.setattr(vertex_llm_base.VertexBase, "_ensure_access_token", token)
    monkeypatch.setattr(vertex_llm_base.VertexBase, "_ensure_access_token_async", token_async)
    upstream.got.clear()
    call = call_of(upstream, vendor, stream_options={"include_usage": True})
    adapter = LiteLLMAdapter(own_process=True)
    await adapter.prepare()
    if streaming:
        upstream.body, upstream.content_type = vendor.streams["text"], vendor.content_type
        said = _whole(await chunks_of(await adapter.stream(call)))
        assert (said["text"], said["reasons"]) == ("one two three four", ["stop"])
    else:
        upstream.body, upstream.content_type = json.dumps(vendor.answers["text"]).encode(), "application/json"
        answer = (await adapter.complete(call)).data
        assert answer["choices"][0]["message"]["content"] == "good day"
    [(_, _, headers)] = upstream.got
    assert headers["authorization"] == "Bearer token"
    assert headers["user-agent"].startswith("routes-gateway/")
    assert all(thread.name != "MainThread" for thread in threads)
    await adapter.close()
