"""The relay against a real server on the loopback: what it sends, what it hands on, what it calls each failure."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from gateway import __version__
from gateway.adapters.anthropic.thinking import our_thinking
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.adapters.routes import route_to
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.target import FRAMING_HEADERS
from tests.relay_calls import MESSAGES, a_call, failure_of
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.wires.upstream import WireUpstream

BASIC = "Basic bWU6cGFzcw=="
"""The user `me` with the password `pass`."""
EVENT_STREAM = "text/event-stream"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


@pytest.fixture
async def adapter() -> AsyncIterator[RelayAdapter]:
    adapter = RelayAdapter()
    await adapter.prepare()
    yield adapter
    await adapter.close()


# What is sent


async def test_thinking_that_another_target_wrote_is_not_sent_to_one_that_checks_signatures(
    adapter: RelayAdapter,
) -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    text = {"type": "text", "text": "a"}
    messages = [*MESSAGES, {"role": "assistant", "content": [our_thinking("so"), signed, text]}, *MESSAGES]
    async with ScriptedAnthropic() as claude:
        claude.script("a", reply="hello")
        await adapter.complete(a_call(claude.base_url, operation="messages", params={"messages": messages}))
        assert claude.requests[0].body["messages"][1]["content"] == [signed, text]


@pytest.mark.parametrize("operation", ["chat", "messages", "responses"])
@pytest.mark.parametrize("own", [True, False])
async def test_ids_go_to_vendors_without_gemini_s_signatures(adapter: RelayAdapter, operation: str, own: bool) -> None:
    """An own server may be a gateway in front of Gemini, which wants them back."""
    call_id, said = "call_1__thought__c2lnbmVk", "it says call_1__thought__c2lnbmVk"
    params = {"input": [{"call_id": call_id, "text": said}], "messages": [{"role": "user", "content": [call_id, said]}]}
    async with WireUpstream() as upstream:
        call = a_call(f"{upstream.root_url}/v1", operation=operation, params=params, key="k")
        endpoint = replace(call.target.endpoint, own_base_url=own)
        call.target = replace(call.target, endpoint=endpoint)
        call.headers = {"anthropic-version": "2023-06-01"}
        with suppress(UpstreamError):
            await adapter.complete(call)
        (request,) = upstream.requests
    found = [request.body["input"][0][field] for field in ("call_id", "text")]
    assert found == request.body["messages"][0]["content"] == [call_id if own else "call_1", said]


async def test_the_request_is_the_params_with_the_target_s_model(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    call = a_call(
        upstream.base_url,
        params={"messages": MESSAGES, "temperature": 1, "top_p": 1, "seed": None},
        overrides={"temperature": 0, "top_p": None, "user": None, "extra": MappingProxyType({"x": (1, math.inf)})},
    )
    await adapter.complete(call)
    (request,) = upstream.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.raw == (
        b'{"model":"a","messages":[{"role":"user","content":"hi"}],"temperature":0,"seed":null,"extra":{"x":[1,null]}}'
    )


async def test_a_stream_is_asked_for_as_one(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    opened = await adapter.stream(a_call(upstream.base_url))
    await opened.aclose()
    assert upstream.requests[0].body == {"model": "a", "messages": MESSAGES, "stream": True}
    assert upstream.requests[0].headers["accept"] == EVENT_STREAM


async def test_embeddings_go_to_their_own_path(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    call = a_call(upstream.base_url, operation="embeddings", params={"input": ["x", "y"]})
    reply = await adapter.complete(call)
    assert upstream.requests[0].path == "/v1/embeddings"
    assert [item["index"] for item in reply.data["data"]] == [0, 1]


async def test_only_known_headers_go_upstream(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    await adapter.complete(a_call(upstream.base_url, headers={"x-request-id": "r1"}))
    headers = dict(upstream.requests[0].headers)
    assert headers.pop("host") == f"127.0.0.1:{upstream.port}"
    assert headers.pop("content-length") == str(len(upstream.requests[0].raw))
    assert headers == {
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "content-type": "application/json",
        "user-agent": f"routes-gateway/{__version__}",
        "x-request-id": "r1",
    }


async def test_the_endpoint_s_key_goes_as_a_bearer_token(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    await adapter.complete(a_call(upstream.base_url, key="k1", key_required=True))
    assert upstream.requests[0].headers["authorization"] == "Bearer k1"


async def test_the_file_s_headers_win_but_never_over_the_framing(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    own = {"Authorization": "Basic abc", "User-Agent": "mine", "X-Team": "t", **dict.fromkeys(FRAMING_HEADERS, "x")}
    await adapter.complete(a_call(upstream.base_url, key="k1", endpoint_headers=own))
    headers = upstream.requests[0].headers
    assert (headers["authorization"], headers["user-agent"], headers["x-team"]) == ("Basic abc", "mine", "t")
    assert headers["host"] == f"127.0.0.1:{upstream.port}"
    assert "x" not in headers.values()
    assert upstream.requests[0].body["model"] == "a"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_vendor_that_needs_a_key_is_not_called_without(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, stream: bool
) -> None:
    failure = await failure_of(adapter, a_call(upstream.base_url, key_required=True), stream=stream)
    assert (failure.kind, failure.status, upstream.calls) == (Kind.AUTH, None, [])


async def test_credentials_of_a_netrc_file_are_not_sent(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    await adapter.complete(a_call(upstream.base_url))
    assert "authorization" not in upstream.requests[0].headers


async def test_cookies_are_not_kept(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", headers={"set-cookie": "a=b; Path=/"})
    for _ in range(2):
        await adapter.complete(a_call(upstream.base_url))
    assert "cookie" not in upstream.requests[1].headers


async def test_a_large_request_is_sent_whole(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    params = {"messages": [{"role": "user", "content": "x" * 3_000_000}]}
    await adapter.complete(a_call(upstream.base_url, params=params))
    assert upstream.requests[0].body == {"model": "a", **params}
    assert "transfer-encoding" not in upstream.requests[0].headers


@pytest.mark.parametrize("value", [object(), {1, 2}])
async def test_what_json_cannot_hold_is_the_caller_s_bug(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, value: object
) -> None:
    with pytest.raises(TypeError):
        await adapter.complete(a_call(upstream.base_url, params={"messages": [value]}))
    assert upstream.calls == []


async def test_an_endpoint_without_a_base_url_is_our_bug(adapter: RelayAdapter) -> None:
    with pytest.raises(TypeError, match="base URL"):
        await adapter.complete(a_call(None))


async def test_credentials_in_the_base_url_go_as_basic_unless_there_is_a_key(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    base_url = upstream.base_url.replace("127.", "me:pass@127.")
    await adapter.complete(a_call(base_url))
    await adapter.complete(a_call(base_url, key="k1"))
    assert [request.headers["authorization"] for request in upstream.requests] == [BASIC, "Bearer k1"]
    assert "me" not in upstream.requests[0].headers["host"]


async def test_the_environment_s_proxy_is_used(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:pass@127.0.0.1:{upstream.port}")
    monkeypatch.setenv("no_proxy", "bypassed.test")
    failure = await failure_of(adapter, a_call("http://upstream.test/v1"))
    assert (failure.status, upstream.requests[0].path) == (404, "http://upstream.test/v1/chat/completions")
    assert upstream.requests[0].headers["proxy-authorization"] == BASIC
    assert route_to("http://bypassed.test/v1").proxy is None


async def test_a_proxy_that_cannot_be_used_is_a_connection_failure(
    adapter: RelayAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://me:pass@127.0.0.1:1")
    for _ in range(2):
        failure = await failure_of(adapter, a_call("http://behind-socks.test/v1"))
        assert (failure.kind, failure.status) == (Kind.CONNECTION, None)


async def test_tls_goes_through_a_proxy_s_tunnel(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://me:pass@127.0.0.1:{upstream.port}")
    failure = await failure_of(adapter, a_call("https://refused.test/v1", key="k1"))
    assert (failure.kind, failure.status) == (Kind.CONNECTION, None)
    (request,) = upstream.requests
    assert (request.method, request.path) == ("CONNECT", "refused.test:443")
    assert request.headers["proxy-authorization"] == BASIC
    assert "authorization" not in request.headers


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "[::1]"])
def test_the_loopback_is_never_reached_through_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert route_to(f"http://{host}:5/v1").proxy is None


async def test_a_proxy_that_wants_credentials_is_a_connection_failure(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=407)
    assert (await failure_of(adapter, a_call(upstream.base_url))).kind is Kind.CONNECTION


# Plain answers


@pytest.mark.parametrize("how", [{}, {"gzip": True}, {"split_bytes": 7}, {"gzip": True, "split_bytes": 1}])
async def test_a_plain_answer_comes_parsed_and_as_it_came(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, how: dict[str, Any]
) -> None:
    body = b'{"choices": [ {"message": {"content": "\xc3\xa9"}, "finish_reason": "stop"} ]}\n'
    upstream.script("a", body=body, **how)
    reply = await adapter.complete(a_call(upstream.base_url))
    assert (reply.raw, reply.data) == (body, json.loads(body))


async def test_only_known_headers_come_back(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    sent = {
        "X-RateLimit-Remaining": "7",
        "OpenAI-Version": "1",
        "Retry-After": "3",
        "Set-Cookie": "a=b",
        "Retry-After-Ms": "2500",
        "X-Other": "1",
    }
    upstream.script("a", headers=sent)
    passed = {"x-ratelimit-remaining": "7", "openai-version": "1", "retry-after": "3", "retry-after-ms": "2500"}
    reply = await adapter.complete(a_call(upstream.base_url))
    assert reply.headers == passed
    opened = await adapter.stream(a_call(upstream.base_url))
    await opened.aclose()
    assert opened.headers == passed


async def test_a_good_status_with_an_error_inside_is_handed_on(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    """The engine judges answers; the adapter only decodes them."""
    upstream.script("a", body={"error": {"message": "no", "code": 429}})
    reply = await adapter.complete(a_call(upstream.base_url))
    assert reply.data["error"]["code"] == 429


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ({"html": True}, 200),
        ({"empty": True}, 200),
        ({"body": b'{"choices": ['}, 200),
        ({"body": []}, 200),
        ({"body": b"null"}, 200),
        ({"body": b"\xff\xfe"}, 200),
        ({"short_body": True}, 200),
        ({"cut_after": 0}, 200),
        ({"cut_after": 20}, 200),
        ({"cut_after": 20, "reset": True}, 200),
        ({"body": b"not gzip at all", "headers": {"content-encoding": "gzip"}}, 200),
        ({"body": b"{}", "headers": {"content-encoding": "br"}}, None),
        ({"status": 204}, 204),
        ({"status": 205, "body": {}}, 205),
        ({"status": 302, "headers": {"location": "/v1/chat/completions"}}, 302),
        ({"status": 307, "headers": {"location": "/v1/chat/completions"}}, 307),
        ({"wire": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"}, 101),
        ({"wire": b"this is not HTTP\r\n\r\n"}, None),
        ({"wire": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"}, None),
    ],
)
async def test_a_good_status_without_an_answer_is_a_bad_response(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, outcome: dict[str, Any], status: int | None
) -> None:
    upstream.script("a", **outcome)
    failure = await failure_of(adapter, a_call(upstream.base_url))
    assert (failure.kind, failure.status, failure.body) == (Kind.BAD_RESPONSE, status, None)
    assert upstream.calls == ["a"], "no redirect is followed, nothing is tried again"


async def test_an_endless_answer_is_cut_off(upstream: ScriptedOpenAI) -> None:
    adapter = RelayAdapter(max_reply_bytes=100)
    upstream.script("a", reply="x" * 200, stall_after=150)
    failure = await failure_of(adapter, a_call(upstream.base_url))
    assert failure.kind is Kind.BAD_RESPONSE
    await upstream.wait_for_disconnect()
    await adapter.close()


# Refusals


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "error", "kind", "code"),
    [
        (400, {}, Kind.BAD_REQUEST, "scripted_error"),
        (400, {"code": "context_length_exceeded"}, Kind.CONTEXT_WINDOW, "context_length_exceeded"),
        (401, {"type": "authentication_error"}, Kind.AUTH, "authentication_error"),
        (404, {}, Kind.NOT_FOUND, "scripted_error"),
        (429, {}, Kind.RATE_LIMIT, "scripted_error"),
        (429, {"code": "insufficient_quota"}, Kind.BILLING, "insufficient_quota"),
        (500, {}, Kind.SERVER_ERROR, "scripted_error"),
        (503, {}, Kind.OVERLOADED, "scripted_error"),
        (529, {}, Kind.OVERLOADED, "scripted_error"),
    ],
)
async def test_a_refusal_has_its_kind_and_keeps_its_body(
    adapter: RelayAdapter,
    upstream: ScriptedOpenAI,
    stream: bool,
    status: int,
    error: dict[str, Any],
    kind: Kind,
    code: str,
) -> None:
    upstream.script("a", status=status, error=error, retry_after=2.5, headers={"x-ratelimit-limit": "9"})
    failure = await failure_of(adapter, a_call(upstream.base_url), stream=stream)
    assert (failure.kind, failure.status, failure.code) == (kind, status, code)
    assert failure.retry_after_s == (2.5 if kind in {Kind.RATE_LIMIT, Kind.OVERLOADED} else None)
    assert failure.headers == {"retry-after": "2.5", "x-ratelimit-limit": "9"}
    assert failure.body is not None
    assert json.loads(failure.body)["error"]["message"] == "scripted error"
    assert "scripted error" not in str(failure)


@pytest.mark.parametrize(
    "outcome",
    [
        {"short_body": True},
        {"cut_after": 3},
        {"cut_after": 3, "reset": True},
        {"body": {"error": {"message": "x" * 70_000}}},
        {"body": b"not gzip at all", "headers": {"content-encoding": "gzip"}},
    ],
)
async def test_a_refusal_whose_body_cannot_be_read_has_no_body(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, outcome: dict[str, Any]
) -> None:
    upstream.script("a", status=503, retry_after=1, **outcome)
    failure = await failure_of(adapter, a_call(upstream.base_url))
    assert (failure.kind, failure.status, failure.code, failure.body) == (Kind.OVERLOADED, 503, None, None)
    assert failure.retry_after_s == 1


async def test_an_error_in_a_list_of_one_is_unwrapped(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=400, body=[{"error": {"message": "m", "code": "content_filter"}}])
    failure = await failure_of(adapter, a_call(upstream.base_url))
    assert failure.kind is Kind.CONTENT_FILTER
    assert failure.body == b'{"error":{"message":"m","code":"content_filter"}}'


async def test_the_connection_of_a_refusal_is_used_again(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=500).script("a")
    await failure_of(adapter, a_call(upstream.base_url))
    await adapter.complete(a_call(upstream.base_url))
    assert upstream.connections == 1


# Connections


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("outcome", [{"reset": True}, {"wire": b""}, {"wire": b"HTTP/1.1 200 OK\r\ncontent-"}])
async def test_a_break_before_the_response_headers_is_a_connection_failure(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, outcome: dict[str, Any], stream: bool
) -> None:
    upstream.script("a", **outcome)
    failure = await failure_of(adapter, a_call(upstream.base_url), stream=stream)
    assert (failure.kind, failure.status, failure.reused_connection) == (Kind.CONNECTION, None, False)
    assert upstream.calls == ["a"]


@pytest.mark.parametrize("outcome", [{"reset": True}, {"wire": b""}])
async def test_a_pooled_connection_that_dies_unanswered_is_told_apart(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, outcome: dict[str, Any]
) -> None:
    upstream.script("a").script("a", **outcome)
    await adapter.complete(a_call(upstream.base_url))
    failure = await failure_of(adapter, a_call(upstream.base_url))
    assert (failure.kind, failure.reused_connection, upstream.connections) == (Kind.CONNECTION, True, 1)


async def test_a_refused_connection_is_a_connection_failure(adapter: RelayAdapter) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        failure = await failure_of(adapter, a_call(f"http://127.0.0.1:{port}/v1"))
    assert (failure.kind, failure.reused_connection) == (Kind.CONNECTION, False)


async def test_a_failed_tls_handshake_is_a_connection_failure(adapter: RelayAdapter) -> None:
    def speak_no_tls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_no_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        failure = await failure_of(adapter, a_call(f"https://127.0.0.1:{port}/v1"))
    assert failure.kind is Kind.CONNECTION


async def test_connecting_has_its_own_limit_tls_included(adapter: RelayAdapter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base_url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        failure = await failure_of(adapter, a_call(base_url, connect_s=0.05))
    assert (failure.kind, failure.status) == (Kind.TIMEOUT, None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "outcome",
    [{"delay_s": 60}, {"slow_headers": 60}, {"status": 500, "stall_after": 5}, {"body": {}, "stall_after": 1}],
)
async def test_cancelling_closes_the_upstream(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, outcome: dict[str, Any], stream: bool
) -> None:
    upstream.script("a", **outcome)
    call = a_call(upstream.base_url)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(adapter.stream(call) if stream else adapter.complete(call))
        await upstream.wait_for_calls(1)
        running.cancel()
    assert running.cancelled()
    await upstream.wait_for_disconnect()


def test_one_adapter_serves_one_event_loop_after_the_other() -> None:
    adapter = RelayAdapter()

    async def run(*, last: bool) -> None:
        async with ScriptedOpenAI() as upstream:
            upstream.script("a", close=True)
            await adapter.complete(a_call(upstream.base_url))
        if last:
            await adapter.close()

    asyncio.run(run(last=False))
    asyncio.run(run(last=True))
