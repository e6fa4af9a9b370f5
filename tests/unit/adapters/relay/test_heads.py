"""What the relay prepares once for each endpoint, and what it must not keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.base import Call
from gateway.adapters.relay import adapter as relay
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.adapters.routes import route_to
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.keys import KeySource
from tests.relay_calls import a_call
from tests.scripted_openai import ScriptedOpenAI


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


@pytest.fixture
async def adapter() -> AsyncIterator[RelayAdapter]:
    adapter = RelayAdapter()
    yield adapter
    await adapter.close()


def with_key(call: Call, key: KeySource) -> Call:
    return replace(call, target=replace(call.target, endpoint=replace(call.target.endpoint, api_key=key)))


async def test_a_changed_key_file_counts_from_the_next_call_on(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    call = with_key(a_call(upstream.base_url), KeySource(name="k", file=file))
    for key in ("k1", "k1", "k22", ""):
        file.write_text(key)
        await adapter.complete(call)
    assert [request.headers.get("authorization") for request in upstream.requests] == [
        "Bearer k1", "Bearer k1", "Bearer k22", "Bearer k22"
    ]  # fmt: skip
    assert upstream.connections == 1


async def test_a_call_s_headers_are_its_own_and_win(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    call = a_call(upstream.base_url, endpoint_headers={"x-request-id": "file", "X-Team": "t"})
    for headers in ({"x-request-id": "r1"}, {}, {"traceparent": "t1"}):
        await adapter.complete(replace(call, headers=headers))
    seen = [request.headers for request in upstream.requests]
    assert [headers["x-request-id"] for headers in seen] == ["r1", "file", "file"]
    assert [headers.get("traceparent") for headers in seen] == [None, None, "t1"]
    assert {headers["x-team"] for headers in seen} == {"t"}


async def test_what_is_prepared_is_bounded(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_MAX_HEADS", 3)
    for _ in range(5):
        await adapter.complete(a_call(upstream.base_url))
    assert len(adapter._heads) <= 3
    assert upstream.connections == 1


@pytest.mark.parametrize("name", ["Upgrade", "TE", "Expect", "Keep-Alive", "Proxy-Connection", "Trailer"])
async def test_the_file_s_headers_cannot_speak_of_the_connection(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, name: str
) -> None:
    await adapter.complete(a_call(upstream.base_url, endpoint_headers={name: "x"}))
    assert name.lower() not in upstream.requests[0].headers


async def test_a_header_that_would_split_the_request_is_never_sent(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    call = a_call(upstream.base_url, endpoint_headers={"x": "a\r\nhost: evil"})
    with pytest.raises(ValueError, match="control characters"):
        await adapter.complete(call)
    assert upstream.connections == 0


@pytest.mark.parametrize(
    ("base_url", "target", "host"),
    [
        ("http://h.test/v1", "/v1/chat/completions", "h.test"),
        ("http://h.test:80/v1", "/v1/chat/completions", "h.test"),
        ("https://h.test:8443/a b/é", "/a%20b/%C3%A9/chat/completions", "h.test:8443"),
        ("http://[::1]:5/v1", "/v1/chat/completions", "[::1]:5"),
        ("http://bücher.test", "/chat/completions", "xn--bcher-kva.test"),
        ("http://me:pass@127.0.0.1/v1#x", "/v1/chat/completions", "127.0.0.1"),
    ],
)
def test_a_base_url_becomes_a_host_and_a_path(base_url: str, target: str, host: str) -> None:
    route = route_to(base_url)
    assert (route.target("/chat/completions"), route.headers["host"]) == (target, host)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_in_an_unknown_content_coding_keeps_its_status(
    adapter: RelayAdapter, upstream: ScriptedOpenAI, status: int
) -> None:
    upstream.script("a", status=status, body=b"??", headers={"content-encoding": "br"}, retry_after=7)
    with pytest.raises(UpstreamError) as caught:
        await adapter.complete(a_call(upstream.base_url))
    assert caught.value.kind is {429: Kind.RATE_LIMIT, 503: Kind.OVERLOADED}[status]
    assert (caught.value.retry_after_s, caught.value.body) == (7, None)


async def test_a_stream_that_the_reader_leaves_alone_is_held_back(
    adapter: RelayAdapter, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["x" * 100_000] * 200)
    opened = await adapter.stream(a_call(upstream.base_url))
    client = adapter._clients.current()
    (connection,) = client._all
    while not connection._paused:  # noqa: ASYNC110 - nobody tells when it has had enough
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert connection._response is not None
    assert connection._response.waiting_bytes < 1_000_000
    await opened.aclose()
    await upstream.wait_for_disconnect()
