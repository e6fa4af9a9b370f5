"""The log of requests: a line for every operation, in the form and of the requests that the flags say."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path

import aiohttp
import orjson
import pytest

from gateway.adapters.base import Operation
from gateway.adapters.content_types import FORM
from gateway.operations import OPERATIONS
from gateway.telemetry.access_log import NOTEWORTHY
from tests.gateway_process import gateway_process
from tests.log_lines import logging_to
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, save, until

LEFT_OUT = "gateway_access_log_left_out_total"


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
async def test_every_operation_has_its_line(gateway: RunningGateway, operation: Operation) -> None:
    log = io.StringIO()
    with logging_to(log):
        body = aiohttp.FormData({"model": "nobody"}, default_to_multipart=True)
        options = {"data": body} if set(operation.media_types) == {FORM} else {"json": {"model": "nobody"}}
        answer = await gateway.request("POST", f"/v1{operation.path}", headers={"x-request-id": "mine"}, **options)
        await until(log.getvalue)
    [line] = map(orjson.loads, log.getvalue().splitlines())
    assert (line["event"], line["operation"], line["request_id"]) == ("request", operation.name, "mine")
    assert (line["status"], line["error"]) == (
        answer.status,
        "model_not_found" if answer.status == 404 else line["error"],
    )


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/v1/models", "models"),
        ("GET", "/v1/models/fast", "models"),
        ("GET", "/v1/responses/resp_1", "stored_responses"),
        ("DELETE", "/v1/responses/resp_1", "stored_responses"),
        ("POST", "/v1/responses/resp_1/cancel", "stored_responses"),
        ("GET", "/v1/responses/resp_1/input_items", "stored_responses"),
        ("GET", "/-/config", "admin"),
        ("GET", "/-/", "admin"),
        ("GET", "/healthz", "probe"),
        ("GET", "/metrics", "probe"),
        ("GET", "/", "probe"),
        ("GET", "/v1/nowhere", "other"),
    ],
)
async def test_so_has_what_is_no_model_s(gateway: RunningGateway, method: str, path: str, operation: str) -> None:
    log = io.StringIO()
    with logging_to(log, "debug"):
        answer = await gateway.request(method, path, headers={"x-request-id": "mine"})
        await until(lambda: "mine" in log.getvalue())
    [line] = [line for line in map(orjson.loads, log.getvalue().splitlines()) if line["event"] == "request"]
    assert (line["operation"], line["status"]) == (operation, answer.status)


async def test_only_what_went_wrong_is_in_the_log_and_the_rest_is_counted(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503)
    log = io.StringIO()
    with logging_to(log, access=NOTEWORTHY):
        for model in ("echo", "echo", "pair", "nobody"):
            await gateway.chat(model)
        assert await gateway.metric(LEFT_OUT) == 2.0
    lines = map(orjson.loads, log.getvalue().splitlines())
    assert [(line["alias"], line["status"]) for line in lines] == [("pair", 200), (None, 404)]


async def test_text_is_for_people_and_a_refused_edit_is_shown_as_validate_shows_it(tmp_path: Path) -> None:
    config, log = tmp_path / "routes.yaml", tmp_path / "log"
    config.write_text("version: 1\ndefaults: {retries: 0}\nmodels:\n  demo: [mock/status-503, mock/echo]\n")
    environ = {"GATEWAY_LOG_FORMAT": "text", "FORCE_COLOR": "0"}
    async with (
        gateway_process(config, log=log, environ=environ, flags=("--workers", "2")) as started,
        aiohttp.ClientSession() as session,
    ):
        body = {"model": "demo", "messages": HELLO}
        async with session.post(f"{started.url}/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
        async with session.get(f"{started.url}/v1/%0a%1b%5b31mred") as answer:
            assert answer.status == 404
        save(config, "version: 1\nmodels:\n  demo: nowhere\n")
        await until(lambda: "routes refused" in log.read_text(), within_s=8.0)
        await asyncio.sleep(0)
    text = log.read_text()
    assert text.replace("\n", "").isprintable()
    asked = r"^\S+Z 200 chat demo: mock/status-503 overloaded 503 \S+ms > mock/echo ok \S+ms"
    assert re.search(rf"{asked} · \S+ms · 1\+1 tokens · req_\w+$", text, re.MULTILINE)
    assert ' 404 GET "/v1/\\n\\u001b[31mred" · not_found · ' in text
    assert f"  {config}:3:9: no-provider: models.demo: " in text
    assert "    3 |   demo: nowhere\n      |         ^\n" in text
