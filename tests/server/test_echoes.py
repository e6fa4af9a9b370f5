"""Upstreams that send back the secrets they were sent: no client gets to see them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import litellm  # noqa: F401 - imported here, as its warnings are errors in the thread that loads it
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Start

KEY: Final = "qv7+Zr/2mKd9_4TbW-8xLsN"
HEADER: Final = "hunter2-of-the-proxy"
PASSWORD: Final = "pw!4711-of-the-user"
SECRETS: Final = (KEY, HEADER, PASSWORD)
ROUTES: Final = f"""\
version: 1
defaults: {{retries: 0, timeout: 5s, fallback_on: []}}
providers:
  up:
    kind: openai
    base_url: "BASE_URL"
    api_key_file: "KEY_FILE"
    ADAPTER
    headers: {{x-proxy-password: {HEADER}, x-basic: "Basic {base64.b64encode(f"user:{PASSWORD}".encode()).decode()}"}}
models:
  fast: up/a
"""


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(one):04x}" for one in text)


SPELLINGS: Final[dict[str, Callable[[str], str]]] = {
    "plain": str,
    "url": lambda text: quote(text, safe=""),
    "url-twice": lambda text: quote(quote(text, safe=""), safe=""),
    "escaped": _escaped,
    "html": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64-inside": lambda text: base64.urlsafe_b64encode(f"Bearer {text}\n".encode()).decode(),
    "hex": lambda text: text.encode().hex(),
}


@pytest.fixture(params=["", "adapter: litellm"], ids=["relay", "litellm"])
def routes(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The config, with the key in a file."""
    (tmp_path / "key").write_text(KEY)
    return ROUTES.replace("KEY_FILE", str(tmp_path / "key")).replace("ADAPTER", request.param)


def _leaks(*texts: object) -> list[str]:
    """Return the secrets that a client can read from texts, also after decoding them."""
    seen = "".join(text.decode() if isinstance(text, bytes) else str(text) for text in texts)
    found = [f"{name} {spell}" for name in SECRETS for spell, of in SPELLINGS.items() if of(name) in seen]
    return found + [name for name in SECRETS if name in json.dumps(json.loads(texts[0]))]  # type: ignore[arg-type]


@pytest.mark.parametrize("spelt", SPELLINGS)
@pytest.mark.parametrize("status", [400, 200])
async def test_an_error_body(start: Start, upstream: ScriptedOpenAI, routes: str, spelt: str, status: int) -> None:
    gateway = await start(routes)
    for secret in SECRETS:
        said = SPELLINGS[spelt](secret)
        error = {"message": f"why: {said}", "type": "invalid_request_error", "param": said, "code": "bad"}
        upstream.script("a", status=status, body=json.dumps({"error": error | {"more": {said: [said]}}}).encode())
        answer = await gateway.chat("fast")
        assert answer.status == 400, answer.body
        assert "***" in answer.error["message"]
        assert _leaks(answer.body, answer.headers) == []


def _error(**fields: Any) -> bytes:
    return json.dumps({"error": {"message": "m", "type": "t", "code": None} | fields}).encode()


OTHER_SHAPES: Final[dict[str, Callable[[str], bytes]]] = {
    "text": lambda key: f"no such key: {key}".encode(),
    "fastapi": lambda key: json.dumps({"detail": [{"loc": [key], "msg": key}]}).encode(),
    "twice": lambda key: b'{"error": {"message": "%b", "message": "m", "code": null}}' % key.encode(),
    "escaped": lambda key: b'{"error": {"message": "%b", "code": null}}' % _escaped(key).encode(),
    "json-in-json": lambda key: _error(metadata={"raw": json.dumps({"key": key})}),
    "cut": lambda key: _error(message="x" * 16_370 + key, code="c" * 50 + key, type="d" * 250 + key),
    "cut, no envelope": lambda key: json.dumps({"message": "x " * 8185 + key, "code": "c" * 50 + key}).encode(),
    "google": lambda key: json.dumps([{"error": {"message": key}}]).encode(),
    "deep": lambda key: b'{"error": {"message": "m", "more": %b}}' % (b"[" * 300 + f'"{key}"'.encode() + b"]" * 300),
    "name": lambda key: _error(**{key: 1}),
}


@pytest.mark.parametrize("body", OTHER_SHAPES.values(), ids=OTHER_SHAPES.keys())
async def test_an_error_body_of_another_shape(
    start: Start, upstream: ScriptedOpenAI, routes: str, body: Callable[[str], bytes]
) -> None:
    gateway = await start(routes)
    upstream.script("a", status=400, body=body(KEY))
    answer = await gateway.chat("fast")
    assert answer.status == 400
    assert _leaks(answer.body, answer.headers) == []
    assert KEY[:8].encode() not in answer.body


@pytest.mark.parametrize("event", [
    b'data: {"error": {"message": "why: %b", "type": "invalid_request_error", "code": 400}}\n\n',
    b'event: error\ndata: {"message": "why: %b", "type": "invalid_request_error", "code": 400}\n\n',
    b'{"error": {"message": "why: %b", "type": "invalid_request_error", "code": 400}}\n\n',
])  # fmt: skip
async def test_an_error_in_a_stream(start: Start, upstream: ScriptedOpenAI, routes: str, event: bytes) -> None:
    gateway = await start(routes)
    upstream.script("a", body=event.replace(b"%b", _escaped(KEY).encode()), content_type="text/event-stream")
    answer = await gateway.chat("fast", stream=True)
    assert answer.status == 400, answer.body
    assert _leaks(answer.body, answer.headers) == []


async def test_headers_that_are_passed_back(start: Start, upstream: ScriptedOpenAI, routes: str) -> None:
    gateway = await start(routes)
    headers = {
        "x-ratelimit-limit-requests": f"9; {KEY}",
        "openai-organization": quote(KEY, safe=""),
        "openai-version": "1",
        "x-ratelimit-reset": base64.b64encode(HEADER.encode()).decode(),
        f"x-ratelimit-{HEADER}": "1",
    }
    for stream in (False, True):
        upstream.script("a", reply="hello", headers=headers)
        answer = await gateway.chat("fast", stream=stream)
        assert answer.status == 200
        assert answer.headers["openai-version"] == "1"
        assert answer.headers["x-ratelimit-limit-requests"] == "9; ***"
        assert _leaks(b"{}", answer.headers, answer.body) == []
    upstream.script("a", status=400, headers=headers)
    answer = await gateway.chat("fast")
    assert answer.headers["x-ratelimit-reset"] == "***"
    assert _leaks(answer.body, answer.headers) == []


def _chunk(text: str, *, finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "a", "choices": [choice], **more}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


async def test_a_streams_comments_and_other_fields(start: Start, upstream: ScriptedOpenAI, routes: str) -> None:
    gateway = await start(routes)
    comment = f": proxied with {KEY}\n\n: and {quote(KEY, safe='')}\n\nid: {KEY}\n\n".encode()
    odd = f"id: {KEY}\n: {HEADER}\n".encode() + _chunk("two ")
    end = _chunk("", finish_reason="stop")
    body = comment + _chunk("one ") + odd + b"".join(_chunk("three ", debug=f"Bearer {KEY}") for _ in range(3))
    upstream.script("a", body=body + end + comment + b"data: [DONE]\n\n", content_type="text/event-stream")
    answer = await gateway.chat("fast", stream=True)
    assert answer.status == 200
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in answer.events[:-1])
    assert text == "one two three three three "
    assert answer.events[-1] == "[DONE]"
    assert _leaks(b"{}", answer.body) == []


async def test_an_answer_that_repeats_the_request(start: Start, upstream: ScriptedOpenAI, routes: str) -> None:
    gateway = await start(routes)
    choice = {"index": 0, "message": {"role": "assistant", "content": f"hi {KEY}"}, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "a", "choices": [choice], "sent": {"x": KEY}}
    upstream.script("a", body=json.dumps(body).encode())
    answer = await gateway.chat("fast")
    assert answer.text == "hi ***"
    assert _leaks(answer.body) == []


async def test_a_key_file_that_changed_during_the_call(
    start: Start, upstream: ScriptedOpenAI, routes: str, tmp_path: Path
) -> None:
    gateway = await start(routes)
    await gateway.chat("fast")
    (tmp_path / "key").write_text("another-key-altogether")
    for said in (KEY, "another-key-altogether"):
        upstream.script("a", status=400, body=json.dumps({"error": {"message": said, "code": None}}).encode())
        answer = await gateway.chat("fast")
        assert answer.error["message"] == "***"


@pytest.mark.parametrize("key", ["x", "context", "context_length_exceeded"])
async def test_a_failure_is_classified_before_it_is_masked(
    start: Start, upstream: ScriptedOpenAI, routes: str, tmp_path: Path, key: str
) -> None:
    (tmp_path / "key").write_text(key)
    gateway = await start(routes.replace("fallback_on: []", "") + "  pair: [up/a, up/b]\n")
    error = {"message": f"the key {key} fits, but 8192 tokens exceed the rest", "code": "context_length_exceeded"}
    upstream.script("a", status=400, body=json.dumps({"error": error}).encode())
    assert (await gateway.chat("pair")).status == 200
    assert upstream.calls[-1:] == ["b"]
    if len(key) < 8:
        upstream.script("a", status=400, body=json.dumps({"error": error}).encode())
        said = (await gateway.chat("fast")).error
        assert said["code"] == "context_length_exceeded"
        assert said["message"] == "the key *** fits, but 8192 tokens exceed the rest"


async def test_an_ordinary_answer_passes_byte_for_byte(start: Start, upstream: ScriptedOpenAI, routes: str) -> None:
    """Also one that has the word which a local server has for a key."""
    gateway = await start(ROUTES.replace('api_key_file: "KEY_FILE"', "api_key: lm-studio").replace("ADAPTER", ""))
    said = b'{"role": "assistant", "content": "lm-studio is, sk-not-ours-1234567890123456789"}'
    raw = b'{"id": "c", "choices" : [{"index": 0, "message": %b, "finish_reason": "stop"}], "more": 1.0}' % said
    upstream.script("a", body=raw)
    assert (await gateway.chat("fast")).body == raw


KNOWN: Final = ROUTES.replace('api_key_file: "KEY_FILE"', f"api_key: {KEY}")
ODD: Final[dict[str, tuple[bytes, bytes]]] = {
    "half a surrogate pair": (b"cut \\ud83d", b"1"),
    "deep": (b"deep", b'{"a":' * 300 + b"1" + b"}" * 300),
    "not finite, and great": (b"odd", b"[NaN, %b]" % (b"9" * 30)),
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("adapter", "path"), [
    ("", "chat/completions"), ("", "messages"),
    ("adapter: litellm", "chat/completions"), ("adapter: litellm", "messages"), ("adapter: litellm", "responses"),
])  # fmt: skip
@pytest.mark.parametrize(("text", "more"), ODD.values(), ids=ODD.keys())
async def test_an_answer_that_is_encoded_anew_and_that_orjson_refuses(
    start: Start, upstream: ScriptedOpenAI, adapter: str, path: str, stream: bool, text: bytes, more: bytes
) -> None:
    """Translated, or read by LiteLLM: it is searched as it is sent, whatever it holds."""
    gateway = await start(KNOWN.replace("ADAPTER", adapter))
    said = b'"content": "%b %b"' % (KEY.encode(), text)
    if stream:
        choice = b'{"index": 0, "delta": {%b}, "finish_reason": null}' % said
        event = b'data: {"id": "c", "model": "a", "created": 1, "choices": [%b], "more": %b}\n\n' % (choice, more)
        upstream.script("a", body=event + _chunk("", finish_reason="stop"), content_type="text/event-stream")
    else:
        choice = b'{"index": 0, "message": {"role": "assistant", %b}, "finish_reason": "stop"}' % said
        upstream.script("a", body=b'{"id": "c", "model": "a", "choices": [%b], "more": %b}' % (choice, more))
    asked = {"input": "x"} if path == "responses" else {"messages": [{"role": "user", "content": "x"}]}
    answer = await gateway.request(
        "POST", f"/v1/{path}", json={"model": "fast", "stream": stream, "max_tokens": 5, **asked}
    )
    assert answer.status == 200, answer.body
    assert _leaks(b"{}", answer.body, answer.headers) == []
    assert b"***" in answer.body


@pytest.mark.parametrize("spelt", [
    KEY.replace("+", "\\u002B"), KEY.replace("/", "\\/"), _escaped(KEY), _escaped(KEY).upper().replace("\\U", "\\u"),
])  # fmt: skip
async def test_an_answer_with_a_secret_escaped_as_json(start: Start, upstream: ScriptedOpenAI, spelt: str) -> None:
    """.NET and PHP write any `+` and `/` so."""
    gateway = await start(KNOWN.replace("ADAPTER", ""))
    said = f'"content": "hi {spelt}"'
    upstream.script("a", body=f'{{"choices": [{{"message": {{{said}}}, "finish_reason": "stop"}}]}}'.encode())
    assert (await gateway.chat("fast")).text == "hi ***"
    event = f'data: {{"choices": [{{"index": 0, "delta": {{{said}}}}}]}}\n\n'.encode()
    end = _chunk("", finish_reason="stop") + b"data: [DONE]\n\n"
    upstream.script("a", body=event + end, content_type="text/event-stream")
    answer = await gateway.chat("fast", stream=True)
    assert answer.events[0]["choices"][0]["delta"]["content"] == "hi ***"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_summary_that_is_encoded(start: Start, upstream: ScriptedOpenAI, stream: bool) -> None:
    """A compaction holds the answer's text in base64."""
    gateway = await start(KNOWN.replace("ADAPTER", "adapter: litellm"))
    choice = {"index": 0, "message": {"role": "assistant", "content": f"sum {KEY}"}, "finish_reason": "stop"}
    body = json.dumps({"id": "c", "created": 1, "model": "a", "choices": [choice]}).encode()
    if stream:
        body = _chunk(f"sum {KEY}", x=1) + _chunk("", finish_reason="stop") + b"data: [DONE]\n\n"
    upstream.script("a", body=body, content_type="text/event-stream" if stream else "application/json")
    asked = [{"role": "user", "content": "x"}, {"type": "compaction_trigger"}]
    answer = await gateway.request("POST", "/v1/responses", json={"model": "fast", "stream": stream, "input": asked})
    assert answer.status == 200, answer.body
    [summary] = set(re.findall(rb"chat-summary\.([\w=-]+)", answer.body))
    assert base64.urlsafe_b64decode(summary).decode() == "sum ***"
