"""Errors that no endpoint should raise: the client gets the envelope all the same, and no second response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.server.access import Guards
from gateway.server.aiohttp_server import Runner
from gateway.server.body import BodiesInFlight
from gateway.server.exchange import Exchange
from gateway.server.front import Front
from gateway.server.listen import listening
from gateway.server.paths import PathHandlers, Paths
from gateway.server.wiring import ServeOptions
from gateway.telemetry.logs import log_ended
from gateway.telemetry.observer import Observer
from tests.server.conftest import RunningGateway

FORMS = {"ours": "", "aiohttp": "TE: trailers\r\n"}


async def fail(exchange: Exchange) -> None:
    raise ValueError("a prompt")


async def recurse(exchange: Exchange) -> None:
    await recurse(exchange)


async def fail_late(exchange: Exchange) -> None:
    exchange.send(b"{}")
    raise ValueError("a prompt")


@asynccontextmanager
async def nothing_beside() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/fail", b"500", "gateway_error"), ("/recurse", b"400", "bad_request"), ("/fail-late", b"200", None)],
)
async def test_an_unexpected_error_is_answered_once_and_logged(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture, path: str, status: bytes, code: str | None, form: str
) -> None:
    handlers = {"/fail": fail, "/recurse": recurse, "/fail-late": fail_late}
    front = Front(
        guards=Guards(loopback=True, allow_origins=(), keys=None),
        observer=Observer(log_ended),
        tables=gateway.parts.reloader,
        paths=Paths({path: PathHandlers("other", {"POST": handler}) for path, handler in handlers.items()}, {}),
        client_s=1.0,
    )
    runner = Runner(front, nothing_beside, max_body_bytes=100, in_flight=BodiesInFlight())
    await runner.setup()
    try:
        async with listening(runner, ServeOptions(config=gateway.config, port=0)) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{form}"
            writer.write(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
            data = await reader.readuntil(b"}}" if code else b"{}")
            if not code:
                data += await reader.read()
            writer.close()
            await writer.wait_closed()
    finally:
        await runner.cleanup()
    assert data.split(b" ")[1] == status
    assert data.count(b"HTTP/1.1 ") == 1
    if code:
        assert orjson.loads(data.partition(b"\r\n\r\n")[2])["error"]["code"] == code
    assert b"a prompt" not in data
    faults = [record for record in caplog.records if record.message == "request failed unexpectedly"]
    assert len(faults) == (code != "bad_request")
