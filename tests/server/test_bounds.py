"""Whatever a client chooses is bounded, in length and in number (docs/bounds.md): each is tried."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import litellm  # noqa: F401 - its warnings must not come in a thread of the gateway
import orjson
import pytest

from gateway import Provider
from gateway.engine.health import Health
from gateway.errors import UnknownModel
from gateway.policy.table import MAX_NAME, MAX_USED
from gateway.server.access import MAX_ORIGIN, MAX_WANTED, Guards
from gateway.server.request import Request
from gateway.server.request_head import MAX_KEPT, Heads
from gateway.wire.json import EMPTY
from tests.log_lines import logging_to
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, ROUTES, RunningGateway, Start

LONG: Final = "x" * 7000
"""Fits into a line of a head."""
HUGE: Final = "x" * 900_000
CHAT: Final = "/v1/chat/completions"
MAX_LOGGED: Final = 2048
MAX_ANSWERED: Final = 4096


def bodies(name: str) -> dict[str, bytes]:
    """Return path → a body that asks for the model `name`."""
    own: dict[str, Any] = {
        "chat/completions": {"messages": HELLO},
        "completions": {"prompt": "a"},
        "embeddings": {"input": "a"},
    }
    return {f"/v1/{path}": orjson.dumps({"model": name, **fields}) for path, fields in own.items()}


async def exchange(
    gateway: RunningGateway, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, bytes]:
    """Send one request as it is written; return the status and the whole answer."""
    fields = {"host": "localhost", "connection": "close", **headers}
    if body:
        fields = {"content-type": "application/json", **fields, "content-length": str(len(body))}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head.encode() + b"\r\n" + body)
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1]), answer


LENGTHS: Final[dict[str, tuple[str, str, dict[str, str], bytes, int]]] = {
    **{f"model of {path}": ("POST", path, {}, body, 404) for path, body in bodies("team/" + HUGE).items()},
    "model of a large body": ("POST", CHAT, {}, bodies("team/" + HUGE * 2)[CHAT], 404),
    "model of /v1/models": ("GET", f"/v1/models/team/{LONG}", {}, b"", 404),
    "model of /-/explain": ("GET", f"/-/explain?model=team/{LONG}", {}, b"", 404),
    "failure of /-/explain": ("GET", f"/-/explain?model=fast&fail={LONG}", {}, b"", 400),
    "failure's kind of /-/explain": ("GET", f"/-/explain?model=fast&fail=up/a={LONG}", {}, b"", 400),
    "target of /-/targets/reset": ("POST", f"/-/targets/reset?target={LONG}", {}, b"", 400),
    "flag of /-/reload": ("POST", f"/-/reload?dry_run={LONG}", {}, b"", 400),
    "request id": ("POST", CHAT, {"x-request-id": LONG}, bodies("fast")[CHAT], 200),
    "traceparent": ("POST", CHAT, {"traceparent": LONG}, bodies("fast")[CHAT], 200),
    "host": ("GET", "/v1/models", {"host": LONG}, b"", 403),
    "origin": ("POST", CHAT, {"origin": f"http://{LONG}"}, bodies("fast")[CHAT], 403),
    "expectation": ("POST", CHAT, {"expect": LONG}, bodies("fast")[CHAT], 200),
    "media type": ("POST", CHAT, {"content-type": LONG}, bodies("fast")[CHAT], 415),
    "content coding": ("POST", CHAT, {"content-encoding": f"br, {LONG}"}, bodies("fast")[CHAT], 415),
    "key": ("POST", CHAT, {"authorization": f"Bearer {LONG}"}, bodies("fast")[CHAT], 200),
    "key of Anthropic's wire": ("POST", CHAT, {"x-api-key": LONG}, bodies("fast")[CHAT], 200),
    "password": ("GET", "/-/targets", {"authorization": f"Basic {LONG}"}, b"", 200),
    "forwarding": ("GET", "/-/targets", {f"x-forwarded-{LONG}": "1"}, b"", 403),
    "trace state": ("POST", CHAT, {"tracestate": LONG}, bodies("fast")[CHAT], 200),
    "user agent": ("POST", CHAT, {"user-agent": LONG}, bodies("fast")[CHAT], 200),
    "cookie": ("POST", CHAT, {"cookie": LONG}, bodies("fast")[CHAT], 200),
    "accepted codings": ("POST", CHAT, {"accept-encoding": LONG}, bodies("fast")[CHAT], 200),
    "accepted types": ("POST", CHAT, {"accept": LONG}, bodies("fast")[CHAT], 200),
    "length": ("POST", CHAT, {"content-length": "9" * 7000}, b"", 400),
    "transfer coding": ("POST", CHAT, {"transfer-encoding": LONG}, b"", 400),
    "upgrade": ("GET", "/v1/models", {"connection": f"close, upgrade, {LONG}", "upgrade": LONG}, b"", 200),
    "metadata": ("POST", CHAT, {}, orjson.dumps({"model": "fast", "messages": HELLO, "user": HUGE}), 200),
    "path": ("POST", f"/v1/{LONG}", {}, b"", 404),
    "method": (LONG.upper(), CHAT, {}, b"", 400),
    "query": ("GET", f"/v1/models?a={LONG}", {}, b"", 200),
    "line": ("GET", f"/{LONG}{LONG}", {}, b"", 400),
    "field": ("GET", "/v1/models", {"x-field": LONG * 2}, b"", 400),
    "number of fields": ("GET", "/v1/models", {f"x-{number}": "1" for number in range(1000)}, b"", 400),
    "role": ("POST", CHAT, {}, orjson.dumps({"model": "fast", "messages": [{HUGE: 1}]}), 400),
    "stream": ("POST", CHAT, {}, orjson.dumps({"model": "fast", "messages": HELLO, "stream": HUGE}), 400),
    "text that is no JSON": ("POST", CHAT, {}, HUGE.encode(), 400),
}
"""What a client chooses → a request that makes it very long, and the status of the answer."""


@pytest.mark.parametrize("chosen", LENGTHS)
async def test_neither_answer_nor_log_grow_with_what_a_client_chooses(
    chosen: str, gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    method, path, headers, body, wanted = LENGTHS[chosen]
    log = io.StringIO()
    with logging_to(log):
        status, answer = await exchange(gateway, method, path, headers, body)
        await gateway.get("/healthz")
    assert status == wanted, answer[:500]
    assert len(answer) < MAX_ANSWERED
    assert 0 < len(log.getvalue()) < MAX_LOGGED
    for request in upstream.requests:
        assert max(len(value) for value in request.headers.values()) < 256


async def test_a_model_name_has_at_most_256_characters_everywhere(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    longest = "team/" + "x" * (MAX_NAME - 5)
    for name, status in ((longest, 200), (longest + "x", 404)):
        for path, body in bodies(name).items():
            answer = await gateway.request("POST", path, data=body, headers={"content-type": "application/json"})
            assert answer.status == status
            if status == 404:
                assert (answer.error["code"], answer.error["param"]) == ("model_not_found", "model")
                assert "at most 256 characters" in answer.error["message"]
        assert (await gateway.get(f"/v1/models/{name}")).status == status
        assert (await gateway.get(f"/-/explain?model={name}")).status == status
    assert {len(request.model) for request in upstream.requests} == {MAX_NAME - 5}


async def test_a_model_name_has_at_most_256_characters_in_the_library(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text("version: 1\nmodels: {'team/*': 'mock/*'}\n")
    provider = Provider.from_file(tmp_path / "routes.yaml")
    message = [{"role": "user", "content": "hello"}]
    longest = "team/" + "x" * (MAX_NAME - 5)
    assert (await provider.complete_chat(longest, message))["choices"]
    with pytest.raises(UnknownModel, match="at most 256 characters"):
        await provider.complete_chat(longest + "x", message)
    with pytest.raises(UnknownModel, match="at most 256 characters"):
        await Provider().complete_chat("x" * (MAX_NAME + 1), message)
    await provider.close()


async def test_what_is_kept_by_what_clients_choose_is_bounded_in_number(gateway: RunningGateway) -> None:
    table = gateway.parts.reloader.current
    for number in range(3 * MAX_USED):
        assert table.find(f"team/{number}") is not None
    assert len(table._used) <= MAX_USED

    heads = Heads()
    guards = Guards(loopback=True, allow_origins=(), keys=None)
    fields = b"host: localhost\r\ncontent-type: application/json"
    nowhere: Any = None
    for number in range(3 * MAX_KEPT):
        found = heads.find(b"POST /v1 HTTP/1.1\r\n%b\r\nx-a: %d\r\ncontent-length: 1\r\n\r\n1" % (fields, number))
        assert found is not None
        assert guards.check(Request(nowhere, nowhere, "POST", found[0].path, EMPTY, found[0].headers)) is None
    assert len(heads._kept) <= MAX_KEPT
    assert 0 < len(guards._admitted) <= MAX_KEPT

    health = Health(max_targets=10)
    for number in range(100):
        route = table.find(f"team/{number}")
        assert route is not None
        health.begin(route.steps[0], now_s=float(number)).done()
    assert len(health._targets) <= 10


async def test_labels_of_metrics_never_come_from_a_client(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    async def labels() -> int:
        lines = (await gateway.get("/metrics")).body.decode().splitlines()
        return sum(line.startswith("gateway_") for line in lines)

    async def ask(name: str) -> None:
        for path, body in bodies(name).items():
            await gateway.request("POST", path, data=body, headers={"content-type": "application/json"})
        await gateway.get(f"/v1/models/{name}")
        await gateway.get(f"/{name}")
        await gateway.request(name.replace("/", "-").upper(), f"/v1/{name}")

    for name in ("team/first", "nobody-first"):
        await ask(name)
    await labels()  # counts itself the next time
    before = await labels()
    for number in range(20):
        await ask(f"team/secret{number}")
        await ask(f"secret{number}")
    assert await labels() == before
    assert b"secret" not in (await gateway.get("/metrics")).body


PAGE: Final = "https://a.example"


@pytest.mark.parametrize(
    ("origin", "wanted", "status"),
    [
        ("http://" + "x" * (MAX_ORIGIN - 7), "x" * MAX_WANTED, 204),
        ("http://" + "x" * (MAX_ORIGIN - 6), "authorization", 403),
        (PAGE, "x" * (MAX_WANTED + 1), 400),
        (PAGE, ", ".join(f"x-{number}" for number in range(1_000)), 400),
        (PAGE, None, 204),
    ],
)
async def test_an_origin_and_the_names_that_a_preflight_asks_for_are_told_back_up_to_a_bound(
    origin: str, wanted: str | None, status: int, start: Start
) -> None:
    gateway = await start(ROUTES, allow_origins=("*",))
    headers = {"origin": origin, "access-control-request-method": "POST"}
    if wanted is not None:
        headers["access-control-request-headers"] = wanted
    found, answer = await exchange(gateway, "OPTIONS", CHAT, headers, b"")
    assert found == status
    assert len(answer) < MAX_ORIGIN + MAX_WANTED + 500
    if status == 204:
        assert f"access-control-allow-origin: {origin}\r\n".encode() in answer.lower()
