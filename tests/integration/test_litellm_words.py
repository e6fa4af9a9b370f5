"""Vendors' words through the real LiteLLM: the same table as over the relay, and failures on other vendors' wires."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any, Final

import pytest

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.policy.failures import Kind
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import body_of, complete, failure, make_call, open_stream, text_of
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of
from tests.vendor_failures import FAILED, REFUSALS, WHOLE_ANSWERS, Failed, Refusal

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]


@pytest.mark.parametrize("case", REFUSALS, ids=str)
@pytest.mark.parametrize("kind", ["openai", "hosted_vllm", "groq"])
async def test_a_refusal(adapter: LiteLLMAdapter, openai: ScriptedOpenAI, case: Refusal, kind: str) -> None:
    openai.script("m", status=case.status, body=case.raw, headers=case.headers)
    failed = await failure(adapter, make_call(openai, kind, "m"), stream=kind == "groq")
    assert (failed.kind, failed.status, failed.retry_after_s) == (case.kind, case.status, case.wait_s)
    if failed.kind in {Kind.AUTH, Kind.BILLING}:
        return  # neither passes through
    error = body_of(failed)
    assert error["code"] == case.code
    assert case.says is None or case.says in error["message"]
    if case.wait_s is not None:
        assert "retry-after" in failed.headers
    elif not case.headers.get("retry-after", "1").isdecimal():
        assert "retry-after" not in failed.headers


@pytest.mark.parametrize("case", FAILED, ids=str)
@pytest.mark.parametrize("kind", ["openai", "hosted_vllm"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_choice(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, case: Failed, kind: str, stream: bool
) -> None:
    content_type = "text/event-stream" if stream else "application/json"
    openai.script("m", body=case.body(stream=stream), content_type=content_type)
    failed = await failure(adapter, make_call(openai, kind, "m"), stream=stream)
    assert (failed.kind, failed.status) == (case.kind, 200)


@pytest.mark.parametrize("reason", WHOLE_ANSWERS)
async def test_an_answer(adapter: LiteLLMAdapter, openai: ScriptedOpenAI, reason: str) -> None:
    openai.script("m", reply="hello", finish_reason=reason)
    call = make_call(openai, "hosted_vllm", "m")
    call.operation.check_reply((await complete(adapter, call)).data)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
async def test_geminis_own_wire(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, reason: str, stream: bool
) -> None:
    data = {"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": reason, "index": 0}]}
    raw = f"data: {json.dumps(data)}\r\n\r\n" if stream else json.dumps(data)
    content_type = "text/event-stream" if stream else "application/json"
    anthropic.script("", body=raw.encode(), content_type=content_type)
    failed = await failure(adapter, make_call(anthropic, "gemini", "gemini-2.5-flash"), stream=stream)
    assert (failed.kind, failed.status) == (Kind.BAD_RESPONSE, 200)


BEDROCK: Final = "anthropic.claude-3-haiku-20240307-v1:0"


def frame(name: str, payload: Any) -> bytes:
    """Return one frame of AWS' event streams (https://smithy.io/2.0/aws/amazon-eventstream.html)."""
    body = json.dumps(payload).encode()
    headers = b""
    for key, value in ((":event-type", name), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output"])
@pytest.mark.parametrize("stream", [False, True])
async def test_bedrocks_own_wire(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, reason: str, stream: bool
) -> None:
    said = 'half of it, and a quoted "stopReason": "malformed_tool_use"'
    if stream:
        text = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": said}})
        raw, content_type = text + frame("messageStop", {"stopReason": reason}), "application/vnd.amazon.eventstream"
        whole = text + frame("messageStop", {"stopReason": "end_turn"})
    else:
        message = {"role": "assistant", "content": [{"text": said}]}
        usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
        answer = {"output": {"message": message}, "usage": usage, "metrics": {"latencyMs": 1}}
        raw, content_type = json.dumps({**answer, "stopReason": reason}).encode(), "application/json"
        whole = json.dumps({**answer, "stopReason": "end_turn"}).encode()
    anthropic.script("", body=raw, content_type=content_type).script("", body=whole, content_type=content_type)
    call = make_call(anthropic, "bedrock", BEDROCK, overrides={"aws_region_name": "us-east-1"})
    failed = await failure(adapter, call, stream=stream)
    assert (failed.kind, failed.status) == (Kind.BAD_RESPONSE, 200)
    if stream:
        assert said in text_of(await data_of(await open_stream(adapter, call)))
    else:
        assert (await complete(adapter, call)).data["choices"][0]["message"]["content"] == said


async def test_coheres_own_wire(adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic) -> None:
    data = {
        "id": "x",
        "finish_reason": "ERROR",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "half"}]},
        "usage": {"tokens": {"input_tokens": 1, "output_tokens": 1}},
    }
    anthropic.script("command-a", body=json.dumps(data).encode())
    failed = await failure(adapter, make_call(anthropic, "cohere_chat", "command-a"))
    assert failed.kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize(
    ("kind", "status", "body", "headers", "expected", "wait_s"),
    [
        ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error",
         "message": "You have reached your specified API usage limits."}}, {}, Kind.BILLING, None),
        ("anthropic", 429, {"type": "error", "error": {"type": "rate_limit_error", "message": "x"}},
         {"anthropic-ratelimit-requests-reset": "2024-01-01T00:00:00Z"}, Kind.RATE_LIMIT, 0.0),
        ("gemini", 429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x", "details": [
         {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]}}], {}, Kind.RATE_LIMIT, 7.0),
        ("gemini", 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "API key expired. Renew."}},
         {}, Kind.AUTH, None),
        ("azure", 410, {"error": {"code": "ModelDeprecated", "message": "gone"}}, {}, Kind.NOT_FOUND, None),
    ],
)  # fmt: skip
async def test_refusals_on_other_wires(
    adapter: LiteLLMAdapter,
    anthropic: ScriptedAnthropic,
    kind: str,
    status: int,
    body: Any,
    headers: dict[str, str],
    expected: Kind,
    wait_s: float | None,
) -> None:
    for model in ("m", ""):
        anthropic.script(model, status=status, body=json.dumps(body).encode(), headers=headers)
    failed = await failure(adapter, make_call(anthropic, kind, "m"))
    assert (failed.kind, failed.status, failed.retry_after_s) == (expected, status, wait_s)
