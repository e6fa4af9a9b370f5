"""Embeddings, model lists, probes, metrics, and what wrong paths and methods get."""

from __future__ import annotations

import asyncio
from io import StringIO
from typing import Any

import orjson
import pytest

from tests.log_lines import logging_to
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start, until


async def embed(gateway: RunningGateway, **body: Any) -> Any:
    return await gateway.request("POST", "/v1/embeddings", json=body)


async def test_embeddings_are_relayed(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    answer = await embed(gateway, model="fast", input=["one", "two"])
    assert answer.status == 200
    assert [entry["index"] for entry in answer.json["data"]] == [0, 1]
    assert answer.headers["x-gateway-target"] == "up/a"
    assert upstream.requests[0].path == "/v1/embeddings"
    sample = 'gateway_requests_total{alias="fast",operation="embeddings",status="200"}'
    assert await gateway.metric(sample) == 1


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": 1}, {"input": {"a": 1}}])
async def test_embeddings_without_an_input_are_a_400(gateway: RunningGateway, body: dict[str, Any]) -> None:
    answer = await embed(gateway, model="fast", **body)
    assert (answer.status, answer.error["param"]) == (400, "input")


async def test_models_lists_the_aliases_but_no_wildcard(gateway: RunningGateway) -> None:
    answer = await gateway.get("/v1/models")
    assert (answer.status, answer.json["object"]) == (200, "list")
    assert [entry["id"] for entry in answer.json["data"]] == ["fast", "pair", "echo"]
    entry = answer.json["data"][0]
    assert entry == {"id": "fast", "object": "model", "created": entry["created"], "owned_by": "up"}
    assert entry["created"] > 1_700_000_000


@pytest.mark.parametrize("path", ["fast", "team/some/model", "team%2Fsome"])
async def test_one_model_is_found_by_its_name(gateway: RunningGateway, path: str) -> None:
    answer = await gateway.get(f"/v1/models/{path}")
    assert (answer.status, answer.json["id"]) == (200, path.replace("%2F", "/"))


@pytest.mark.parametrize("path", ["fost", "team/..%2fx", "team/"])
async def test_a_model_that_is_none_is_a_404(gateway: RunningGateway, path: str) -> None:
    answer = await gateway.get(f"/v1/models/{path}")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_probes_say_alive_and_ready(gateway: RunningGateway) -> None:
    assert ((await gateway.get("/healthz")).status, (await gateway.get("/readyz")).status) == (200, 200)


async def test_readiness_waits_for_the_adapters_of_the_table(gateway: RunningGateway) -> None:
    gateway.parts.jobs.waiting_for = ("litellm",)
    ready = await gateway.get("/readyz")
    assert (ready.status, ready.json) == (503, {"status": "loading", "waiting_for": ["litellm"]})
    assert (await gateway.get("/healthz")).status == 200
    gateway.parts.jobs.waiting_for = ()
    assert (await gateway.get("/readyz")).status == 200


async def test_while_draining_the_gateway_is_alive_but_not_ready_and_begins_nothing(gateway: RunningGateway) -> None:
    gateway.parts.lifecycle.draining = True
    assert (await gateway.get("/healthz")).status == 200
    ready = await gateway.get("/readyz")
    assert (ready.status, ready.json) == (503, {"status": "draining"})
    answer = await gateway.chat("fast")
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/v1/conversations", 404, None),
        ("GET", "/api/tags", 404, None),
        ("GET", "//-/config", 404, None),
        ("GET", "/v1/-/config", 404, None),
        ("GET", "/healthz/", 404, None),
        ("GET", "/v1/metrics", 404, None),
        ("GET", "/v1/chat/completions", 405, "OPTIONS,POST"),
        ("HEAD", "/v1/chat/completions", 405, "OPTIONS,POST"),
        ("GET", "/chat/completions/", 405, "OPTIONS,POST"),
        ("DELETE", "/v1/models/fast", 405, "GET,HEAD,OPTIONS"),
        ("POST", "/", 405, "GET,HEAD,OPTIONS"),
        ("POST", "/healthz", 405, "GET,HEAD,OPTIONS"),
        ("GET", "/-/reload", 405, "OPTIONS,POST"),
    ],
)
async def test_wrong_paths_and_methods_get_the_envelope(
    gateway: RunningGateway, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await gateway.request(method, path)
    assert (answer.status, answer.headers.get("allow")) == (status, allow)
    assert (answer.headers["x-should-retry"], answer.headers["content-type"]) == ("false", "application/json")
    assert answer.headers["x-request-id"]
    if method != "HEAD":
        assert answer.error["type"] == "invalid_request_error"
        assert f"{method} " in answer.error["message"]
        assert path.rstrip("/") in answer.error["message"]


SPELLINGS = ["/v1/NAME", "/NAME", "/v1/NAME/", "/NAME/", "//v1/NAME", "/v1//NAME", "/v1/v1/NAME", "//NAME"]


@pytest.mark.parametrize("form", ["ours", "aiohttp"])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["chat/completions", "completions", "embeddings"])
async def test_base_urls_with_and_without_v1_lead_to_every_operation(
    gateway: RunningGateway, name: str, spelling: str, form: str
) -> None:
    path = spelling.replace("NAME", name)
    headers = {"te": "trailers"} if form == "aiohttp" else {}
    body = {"model": "fast", "messages": HELLO, "input": "one", "prompt": "one"}
    answer = await gateway.request("POST", path, json=body, headers=headers)
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/a")
    operation = {"chat/completions": "chat"}.get(name, name)
    assert await gateway.metric(f'gateway_requests_total{{alias="fast",operation="{operation}",status="200"}}') == 1


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_base_urls_with_and_without_v1_lead_to_the_models(gateway: RunningGateway, spelling: str) -> None:
    everything = await gateway.get(spelling.replace("NAME", "models"))
    assert [entry["id"] for entry in everything.json["data"]] == ["fast", "pair", "echo"]
    for name in ("fast", "team/some/model", "team%2Fsome"):
        one = await gateway.get(spelling.replace("NAME", f"models/{name}"))
        assert (one.status, one.json["id"]) == (200, name.replace("%2F", "/"))


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "//", "/v1/v1"])
async def test_the_base_url_says_what_there_is(gateway: RunningGateway, path: str) -> None:
    """Claude Code asks with `HEAD /` whether anybody is there, people with a browser."""
    answer = await gateway.get(path)
    assert answer.status == 200
    assert {"POST /v1/chat/completions", "GET /v1/models/NAME", "GET /readyz"} <= set(answer.json["endpoints"])
    assert [path for path in answer.json["endpoints"] if "/responses/ID" in path or "/responses/NAME" in path] == [
        "GET /v1/responses/ID",
        "DELETE /v1/responses/ID",
        "POST /v1/responses/ID/cancel",
        "GET /v1/responses/ID/input_items",
    ]
    assert not [each for each in answer.json["endpoints"] if "/-/" in each]
    head = await gateway.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "allow"),
    [("/v1/chat/completions", "OPTIONS,POST"), ("/models", "GET,HEAD,OPTIONS"), ("/", "GET,HEAD,OPTIONS")],
)
async def test_options_says_which_methods_there_are(gateway: RunningGateway, path: str, allow: str) -> None:
    answer = await gateway.request("OPTIONS", path)
    assert (answer.status, answer.headers["allow"], answer.body) == (204, allow, b"")


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", "/v1/foo", "unknown endpoint: POST /v1/foo; this gateway has POST /v1/chat/completions, "),
        ("GET", "/v1/batches", "unknown endpoint: GET /v1/batches; this gateway has "),
        ("POST", "/v1/chat/completion", "; did you mean '/v1/chat/completions'? this gateway has "),
        ("POST", "/api/v1/chat/completions", "; did you mean '/v1/chat/completions'? this gateway has "),
        ("GET", "/v1/model", "; did you mean '/v1/models'? this gateway has "),
        ("GET", "/health", "; did you mean '/healthz'? this gateway has "),
        ("GET", "/-/explains", "; did you mean '/-/explain'? this gateway has GET /-/config, "),
    ],
)
async def test_an_unknown_path_is_told_by_name_with_those_that_are(
    gateway: RunningGateway, method: str, path: str, message: str
) -> None:
    error = (await gateway.request(method, path)).error
    assert (error["code"], error["param"]) == ("not_found", None)
    assert message in error["message"]
    assert ("/-/reload" in error["message"]) is path.startswith("/-/")


async def test_a_wrong_method_is_told_with_the_right_one(gateway: RunningGateway) -> None:
    error = (await gateway.get("/v1/embeddings")).error
    assert error["message"] == "wrong method: GET /v1/embeddings; this endpoint takes POST"


async def test_anthropic_s_clients_get_their_envelope(gateway: RunningGateway) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    answer = await gateway.request("POST", "/v1/messages/batches?beta=true", headers=headers, json={})
    assert (answer.status, answer.json["type"]) == (404, "error")
    assert answer.json["error"]["type"] == "not_found_error"
    assert "POST /v1/messages/batches" in answer.json["error"]["message"]
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    wrong = await gateway.get("/v1/embeddings", headers=headers)
    assert wrong.json["error"]["type"] == "invalid_request_error"


async def test_a_long_unknown_path_is_cut_and_made_printable(gateway: RunningGateway) -> None:
    message = (await gateway.get(f"/%1b%5b2J{'x' * 5000}")).error["message"]
    assert "/\\x1b[2Jxxx" in message
    assert len(message) < 1000


async def test_an_unknown_path_is_in_the_log_without_its_query_and_keys(start: Start) -> None:
    gateway = await start()
    lines = StringIO()
    with logging_to(lines):
        await gateway.get("/v1/nowhere?key=sk-1234567890abcdefghij")
        await gateway.request("DELETE", "/models/fast")
        await gateway.get("/sk-1234567890abcdefghij/x")
        await gateway.get("/v1/models")
        await asyncio.sleep(0)
    logged = [orjson.loads(line) for line in lines.getvalue().splitlines()]
    assert [
        (line.get("method"), line.get("path"), line["status"]) for line in logged if line["event"] == "request"
    ] == [
        ("GET", "/v1/nowhere", 404),
        ("DELETE", "/v1/models/fast", 405),
        ("GET", "/***", 404),
        (None, None, 200),
    ]
    assert "sk-1234567890" not in lines.getvalue()


async def test_metrics_tell_what_happened(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=503).script("b", usage={"prompt_tokens": 5, "completion_tokens": 3})
    await gateway.chat("pair")
    await gateway.chat("team/b", stream=True)
    await gateway.chat("unknown-model-of-a-client")
    text = (await gateway.get("/metrics")).body.decode()
    for sample in (
        'gateway_requests_total{alias="pair",operation="chat",status="200"} 1.0',
        'gateway_requests_total{alias="team/*",operation="chat",status="200"} 1.0',
        'gateway_requests_total{alias="",operation="chat",status="404"} 1.0',
        'gateway_attempts_total{kind="overloaded",target="up/a"} 1.0',
        'gateway_attempts_total{kind="ok",target="up/b"} 1.0',
        'gateway_attempts_total{kind="ok",target="up/*"} 1.0',
        'gateway_request_seconds_count{alias="pair"} 1.0',
        'gateway_first_content_seconds_count{alias="team/*"} 1.0',
        'gateway_tokens_total{alias="pair",direction="prompt",target="up/b"} 5.0',
        'gateway_tokens_total{alias="pair",direction="completion",target="up/b"} 3.0',
        "gateway_in_flight 0.0",
        "gateway_config_last_reload_successful 1.0",
        "gateway_config_generation 1.0",
        f'gateway_config_info{{digest="{gateway.parts.reloader.current.digest}"}} 1.0',
        "process_resident_memory_bytes",
    ):
        assert sample in text
    assert "unknown-model-of-a-client" not in text


async def test_metrics_show_a_refused_file_until_a_good_one_follows(gateway: RunningGateway) -> None:
    good = gateway.config.read_text()
    loaded_at = await gateway.metric("gateway_config_last_reload_success_timestamp_seconds")
    gateway.config.write_text("version: 1\nmodels: 1\n")
    gateway.parts.reloader.reload()
    assert await gateway.metric("gateway_config_last_reload_successful") == 0
    assert await gateway.metric("gateway_config_last_reload_success_timestamp_seconds") == loaded_at
    gateway.config.write_text(good)
    gateway.parts.reloader.reload(force=False)
    assert await gateway.metric("gateway_config_last_reload_successful") == 1
    assert await gateway.metric('gateway_config_reloads_total{result="refused"}') == 1
    assert await gateway.metric('gateway_config_reloads_total{result="ok"}') == 1


async def test_a_saved_file_is_live_without_being_asked(start: Start) -> None:
    gateway = await start()
    gateway.config.write_text("version: 1\nmodels: {new: mock/echo}\n")

    async def answers() -> bool:
        return bool((await gateway.chat("new")).status == 200)

    assert await until(answers)
    answer = await gateway.chat("new")
    assert (answer.text, answer.headers["x-gateway-generation"]) == ("hello", "2")


async def test_a_page_of_metrics_can_be_had_as_openmetrics(gateway: RunningGateway) -> None:
    answer = await gateway.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


MALFORMED = {
    "no http": (b"hello\r\n\r\n", "malformed"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "malformed"),
    "a bad version": (b"GET / HTTP/9\r\n\r\n", "malformed"),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost: x\r\nsk-secret\r\n\r\n", "malformed"),
    "two lengths": (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "malformed",
    ),
    "a length and chunks": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "malformed",
    ),
    "a long header": (b"GET / HTTP/1.1\r\nHost: x\r\nx-key: sk-secret" + b"k" * 20_000 + b"\r\n\r\n", "too long"),
    "a long line": (b"GET /" + b"k" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "too long"),
}


@pytest.mark.parametrize(("sent", "why"), MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http_gets_the_envelope_and_an_id_and_is_counted(
    gateway: RunningGateway, sent: bytes, why: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.split(b" ")[1] == b"400"
    fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    error = orjson.loads(body)["error"]
    assert (error["type"], error["code"], fields["content-type"]) == (
        "invalid_request_error",
        "malformed_request",
        "application/json",
    )
    assert why in error["message"]
    assert b"sk-secret" not in body
    assert fields["x-request-id"].startswith("req_")
    assert await gateway.metric('gateway_requests_total{alias="",operation="other",status="400"}') == 1


async def test_after_a_good_request_what_is_no_http_ends_the_connection(gateway: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    writer.write(b"nonsense\r\n\r\n")
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b'"code":"malformed_request"' in received
