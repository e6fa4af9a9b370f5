"""Plain chat completions through real HTTP: answers, headers, errors, and what a bad body gets."""

from __future__ import annotations

import io
import json
from typing import Any

import aiohttp
import orjson
import pytest

from tests.log_lines import logging_to
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, ROUTES, RunningGateway, Start


async def test_an_answer_is_relayed_with_who_answered_in_the_headers(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="hello there", headers={"x-ratelimit-remaining-requests": "9", "x-secret": "1"})
    answer = await gateway.chat("fast", temperature=0)
    assert (answer.status, answer.text) == (200, "hello there")
    assert answer.json["model"] == "a"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-gateway-target"] == "up/a"
    assert answer.headers["x-gateway-attempts"] == "1"
    assert answer.headers["x-gateway-generation"] == "1"
    assert answer.headers["x-ratelimit-remaining-requests"] == "9"
    assert "x-secret" not in answer.headers
    assert upstream.requests[0].body == {"model": "a", "messages": HELLO, "temperature": 0}


async def test_second_target_answers_after_a_500(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=500).script("b", reply="hello")
    answer = await gateway.chat("pair")
    assert (answer.status, answer.text, upstream.calls) == (200, "hello", ["a", "b"])
    assert (answer.headers["x-gateway-target"], answer.headers["x-gateway-attempts"]) == ("up/b", "2")


async def test_a_wildcard_carries_the_name_over(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    answer = await gateway.chat("team/x/y")
    assert (answer.status, upstream.calls) == (200, ["x/y"])
    assert answer.headers["x-gateway-target"] == "up/x/y"


async def test_a_target_s_name_outside_ascii_is_percent_encoded_in_the_header(start: Start) -> None:
    routes = 'version: 1\nproviders:\n  mück: {kind: mock, script: [{text: hi}]}\nmodels:\n  fast: "mück/a"\n'
    gateway = await start(routes)
    assert (await gateway.chat("fast")).headers["x-gateway-target"] == "m%C3%BCck/a"


async def test_the_client_s_request_id_goes_upstream_and_back(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {"x-request-id": "abc-1", "traceparent": trace, "cookie": "c=1", "authorization": "Bearer mine"}
    answer = await gateway.chat("fast", headers=sent)
    assert answer.headers["x-request-id"] == "abc-1"
    got = upstream.requests[0].headers
    assert (got["x-request-id"], got["traceparent"]) == ("abc-1", trace)
    assert got["authorization"] == "Bearer sk-upstream"
    assert "cookie" not in got


async def test_the_log_names_the_client_s_trace_if_it_is_sampled(gateway: RunningGateway) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    log = io.StringIO()
    with logging_to(log):
        for flags in ("01", "00"):
            await gateway.chat("fast", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-{flags}"})
        await gateway.chat("fast")
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    assert [line.get("trace_id") for line in lines if line["event"] == "request"] == [trace, None, None]


async def test_a_request_id_that_is_no_token_is_replaced(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    answer = await gateway.chat("fast", headers={"x-request-id": "two words", "traceparent": "nonsense"})
    assert answer.headers["x-request-id"].startswith("req_")
    assert upstream.requests[0].headers["x-request-id"] == answer.headers["x-request-id"]
    assert "traceparent" not in upstream.requests[0].headers


async def test_fields_that_choose_a_host_or_a_key_reach_no_upstream(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await gateway.chat("fast", api_base="http://evil", api_key="sk-mine", extra_headers={"a": "b"})
    assert answer.status == 200
    assert upstream.requests[0].body.keys() == {"model", "messages"}


async def test_an_unknown_alias_is_a_404_with_a_hint(gateway: RunningGateway) -> None:
    answer = await gateway.chat("fost")
    assert answer.status == 404
    assert answer.error["code"] == "model_not_found"
    assert answer.error["param"] == "model"
    assert "did you mean 'fast'" in answer.error["message"]
    assert answer.headers["x-gateway-generation"] == "1"
    assert answer.headers["x-gateway-attempts"] == "0"


async def test_when_nothing_answers_the_envelope_lists_the_attempts_and_no_upstream_text(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=500, error={"message": "secret text"}).script("b", status=401)
    answer = await gateway.chat("pair")
    assert answer.status == 502
    assert answer.error["type"] == "upstream_error"
    assert [(a["target"], a["kind"], a["status"]) for a in answer.error["attempts"]] == [
        ("up/a", "server_error", 500),
        ("up/b", "auth", 401),
    ]
    assert b"secret text" not in answer.body
    assert answer.headers["x-gateway-attempts"] == "2"
    assert "x-gateway-target" not in answer.headers


async def test_a_refusal_that_is_the_client_s_to_know_passes_through(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=400, error={"message": "temperature is too high", "param": "temperature"})
    answer = await gateway.chat("pair")
    assert (answer.status, upstream.calls) == (400, ["a"])
    assert answer.error["message"] == "temperature is too high"
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-gateway-attempts"] == "1"


async def test_rate_limits_come_back_with_retry_after(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=429, retry_after=7)
    answer = await gateway.chat("fast")
    assert answer.status == 429
    assert 7 <= int(answer.headers["retry-after"]) <= 8


BAD_BODIES: list[tuple[bytes, str | None]] = [
    (b"", None),
    (b"{", None),
    (b"[]", None),
    (b"null", None),
    (b'"text"', None),
    (b"\xff\xfe{}", None),
    (b'{"model": "\xff"}', None),
    (b'{"model": "fast", "temperature": NaN}', None),
    (b'{"model": "fast", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    (b'{"model": "a", "messages": [{"role": "user", "content": NaN}]}', None),
    (b'{"model": "a", "messages": [{"role": "user"}], "seed": 1e999}', None),
    (b"{}", "model"),
    (b'{"model": null}', "model"),
    (b'{"model": ""}', "model"),
    (b'{"model": 1}', "model"),
    (b'{"model": "fast"}', "messages"),
    (b'{"model": "fast", "messages": []}', "messages"),
    (b'{"model": "fast", "messages": {}}', "messages"),
    (b'{"model": "fast", "messages": ["hi"]}', "messages"),
    (b'{"model": "fast", "messages": [{"role": "user", "content": "a"}, {"content": "b"}]}', "messages"),
    (b'{"model": "fast", "messages": [{"role": 1}]}', "messages"),
    (b'{"model": "fast", "messages": [{"role": "user"}], "stream": 1}', "stream"),
    (b'{"model": "fast", "messages": [{"role": "user"}], "stream": "true"}', "stream"),
    (b'{"model": "fast", "messages": [{"role": "user"}], "stream_options": true}', "stream_options"),
]


@pytest.mark.parametrize(("body", "param"), BAD_BODIES, ids=[body[:60].decode("latin-1") for body, _ in BAD_BODIES])
async def test_a_bad_body_is_a_400_that_says_where(gateway: RunningGateway, body: bytes, param: str | None) -> None:
    headers = {"content-type": "application/json"}
    answer = await gateway.request("POST", "/v1/chat/completions", data=body, headers=headers)
    assert answer.status == 400
    assert (answer.error["type"], answer.error["param"]) == ("invalid_request_error", param)
    assert answer.headers["x-request-id"]


async def test_an_integer_of_any_size_reaches_the_upstream(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    assert (await gateway.chat("fast", seed=2**64 + 1, metadata={"n": [-(2**63) - 1]})).status == 200
    assert upstream.requests[0].body["seed"] == 2**64 + 1
    assert upstream.requests[0].body["metadata"] == {"n": [-(2**63) - 1]}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_integer_of_any_size_comes_back_through_hooks(
    start: Start, upstream: ScriptedOpenAI, stream: bool
) -> None:
    routes = ROUTES.replace("fast: up/a", "fast: {chain: [up/a], hooks: {post: [HOOKS.same]}}")
    gateway = await start(routes, hooks="def same(answer):\n    return answer\n")
    choice = {"index": 0, "finish_reason": "stop", ("delta" if stream else "message"): {"content": "hi"}}
    answered = json.dumps({"choices": [choice], "n": 2**64 + 1})
    body = f"data: {answered}\n\ndata: [DONE]\n\n" if stream else answered
    upstream.script("a", body=body, content_type="text/event-stream" if stream else "application/json")
    answer = await gateway.chat("fast", stream=stream)
    assert b'"n":18446744073709551617' in answer.body


async def test_of_a_key_that_stands_twice_the_last_one_counts(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    """Nothing of the client's bytes goes upstream, so no upstream can read the body another way."""
    body = b'{"model": "team/x", "model": "fast", "messages": [{"role": "user", "content": "hi"}]}'
    headers = {"content-type": "application/json"}
    answer = await gateway.request("POST", "/v1/chat/completions", data=body, headers=headers)
    assert (answer.status, upstream.calls) == (200, ["a"])
    assert upstream.requests[0].raw.count(b'"model"') == 1


@pytest.mark.parametrize("stream", [None, False])
async def test_stream_may_be_null_or_false(gateway: RunningGateway, stream: bool | None) -> None:
    answer = await gateway.chat("fast", stream=stream, stream_options=None)
    assert (answer.status, answer.text) == (200, "hello from a")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_parameters_of_the_content_type_do_not_count(gateway: RunningGateway, content_type: str) -> None:
    body = orjson.dumps({"model": "fast", "messages": HELLO})
    headers = {"content-type": content_type}
    assert (await gateway.request("POST", "/v1/chat/completions", data=body, headers=headers)).status == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "téxt/\x9b"]
)
async def test_another_content_type_is_a_415(gateway: RunningGateway, content_type: str) -> None:
    body = orjson.dumps({"model": "fast", "messages": HELLO})
    headers = {"content-type": content_type} if content_type else {}
    skip = () if content_type else ("content-type",)
    answer = await gateway.request("POST", "/v1/chat/completions", data=body, headers=headers, skip_auto_headers=skip)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert "the body must be application/json" in answer.error["message"]
    assert f"says {content_type or 'nothing'}".replace("\x9b", "\\x9b") in answer.error["message"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_a_413(start: Start, *, chunked: bool) -> None:
    gateway = await start(max_body_bytes=2000)
    body = orjson.dumps({"model": "fast", "messages": [{"role": "user", "content": "x" * 3000}]})

    async def pieces() -> Any:
        yield body[:1500]
        yield body[1500:]

    headers = {"content-type": "application/json"}
    data = pieces() if chunked else body
    answer = await gateway.request("POST", "/v1/chat/completions", data=data, headers=headers)
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert answer.headers["x-request-id"]


async def test_a_body_is_measured_after_decompression(start: Start) -> None:
    gateway = await start(max_body_bytes=20_000)
    body = orjson.dumps({"model": "fast", "messages": [{"role": "user", "content": "x" * 1_000_000}]})
    headers = {"content-type": "application/json"}
    answer = await gateway.request(
        "POST", "/v1/chat/completions", data=body, headers=headers, compress="gzip", chunked=True
    )
    assert answer.status == 413


async def test_a_body_that_is_not_what_its_encoding_says_is_a_400(gateway: RunningGateway) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await gateway.request("POST", "/v1/chat/completions", data=b"not gzip at all", headers=headers)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


async def test_a_fault_of_a_hook_is_a_500_without_its_text(start: Start) -> None:
    routes = "version: 1\nhooks: {pre: [HOOKS.fail]}\nmodels:\n  fast: mock/echo\n"
    gateway = await start(routes, hooks="def fail(params):\n    raise ValueError('the prompt')\n")
    answer = await gateway.chat("fast")
    assert (answer.status, answer.error["code"]) == (500, "hook_failed")
    assert b"the prompt" not in answer.body


async def test_an_answer_that_is_no_json_is_a_500_in_our_words(start: Start) -> None:
    routes = "version: 1\nhooks: {post: [HOOKS.spoil]}\nmodels:\n  fast: mock/echo\n"
    gateway = await start(routes, hooks="def spoil(reply):\n    return {**reply, 'x': object()}\n")
    answer = await gateway.chat("fast")
    assert (answer.status, answer.error["code"]) == (500, "hook_failed")
    assert "a post hook left something in the answer that JSON cannot hold" in answer.error["message"]
    assert [attempt["target"] for attempt in answer.error["attempts"]] == ["mock/echo"]


async def test_half_a_surrogate_pair_goes_through_and_comes_back(start: Start, upstream: ScriptedOpenAI) -> None:
    """JavaScript writes it for a cut emoji."""
    upstream.script("a", reply="cut \ud83d off")
    gateway = await start()
    body = b'{"model": "fast", "messages": [{"role": "user", "content": "x\\ud83d"}]}'
    headers = {"content-type": "application/json"}
    answer = await gateway.request("POST", "/v1/chat/completions", data=body, headers=headers)
    assert answer.status == 200
    assert b"\\ud83d" in upstream.requests[0].raw


async def test_a_body_that_is_nested_too_deeply_is_a_400(start: Start) -> None:
    gateway = await start(
        "version: 1\nhooks: {pre: [HOOKS.same]}\nmodels:\n  fast: mock/echo\n", hooks="def same(p):\n    return p\n"
    )
    deep = b"[" * 990 + b"]" * 990
    body = b'{"model": "fast", "messages": [{"role": "user", "content": ' + deep + b"}]}"
    headers = {"content-type": "application/json"}
    answer = await gateway.request("POST", "/v1/chat/completions", data=body, headers=headers)
    assert (answer.status, answer.error["code"]) == (400, "bad_request")


@pytest.mark.parametrize("model", ["up/a", "mock/echo"])
async def test_hooks_see_requests_and_answers_of_relay_and_mock(
    start: Start, upstream: ScriptedOpenAI, model: str
) -> None:
    hooks = """\
def shout(params):
    params["messages"][-1]["content"] = "changed"
    return params


async def sign(reply):
    return {**reply, "signed": True}
"""
    routes = """\
version: 1
providers:
  up: {kind: openai, base_url: "BASE_URL"}
models:
  fast: {chain: [MODEL], hooks: {pre: [HOOKS.shout], post: [HOOKS.sign]}}
"""
    gateway = await start(routes.replace("MODEL", model), hooks=hooks)
    answer = await gateway.chat("fast")
    assert answer.json["signed"] is True
    if model == "mock/echo":
        assert answer.text == "changed"
    else:
        assert upstream.requests[0].body["messages"] == [{"role": "user", "content": "changed"}]


async def test_the_connection_is_kept_for_the_next_request(gateway: RunningGateway) -> None:
    traces: list[str] = []
    config = aiohttp.TraceConfig()

    async def reused(*_: object) -> None:
        traces.append("reused")

    config.on_connection_reuseconn.append(reused)
    async with aiohttp.ClientSession(trace_configs=[config]) as session:
        for model in ("fast", "unknown", "fast"):
            async with session.post(
                gateway.url + "/v1/chat/completions", json={"model": model, "messages": HELLO}
            ) as response:
                await response.read()
    assert traces == ["reused", "reused"]
