"""A whole gateway on a free port of the loopback, in front of a scripted upstream."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import openai
import orjson
import pytest

from gateway.server.listen import listening
from gateway.server.wiring import Gateway, ServeOptions
from gateway.wire.json import EMPTY, JsonObject
from tests.scripted_openai import ScriptedOpenAI

_SERIAL = count()
"""Python imports a module of one name once, so every test's has its own."""

HELLO = [{"role": "user", "content": "hello"}]

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  fast: up/a
  pair: [up/a, up/b]
  "team/*": "up/*"
  echo: mock/echo
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def text(self) -> str:
        """What the assistant said."""
        content: str = self.json["choices"][0]["message"]["content"]
        return content

    @property
    def error(self) -> JsonObject:
        error: JsonObject = self.json["error"]
        return error

    @property
    def events(self) -> list[Any]:
        """The data of each event of a stream; `[DONE]` as text."""
        datas = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [data if data == "[DONE]" else orjson.loads(data) for data in datas]


class RunningGateway:
    """A gateway that listens, and a client for it."""

    def __init__(self, parts: Gateway, url: str, config: Path, session: aiohttp.ClientSession) -> None:
        self.parts = parts
        self.url = url
        self.config = config
        self.session = session

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, self.url + path, **options) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def chat(self, model: str, *, headers: dict[str, str] | None = None, **body: Any) -> Answer:
        body = {"model": model, "messages": HELLO, **body}
        return await self.request("POST", "/v1/chat/completions", json=body, headers=headers)

    async def metric(self, sample: str) -> float | None:
        """Return the value of one sample, written as Prometheus writes it; None while there is none."""
        for line in (await self.get("/metrics")).body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return None


async def read_until_broken(
    gateway: RunningGateway, path: str, request: JsonObject | None = None, *, method: str = "POST", **options: Any
) -> bytes:
    """Return what comes of a stream until its connection breaks, as it has to."""
    body = b""
    async with gateway.session.request(method, gateway.url + path, json=request, **options) as response:
        try:
            async for data in response.content.iter_any():
                body += data
        except aiohttp.ClientPayloadError:
            return body
    raise AssertionError("the stream came to a clean end")


Start: TypeAlias = Callable[..., Any]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


@pytest.fixture
async def start(tmp_path: Path, upstream: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start gateways: `await start(routes, **options of ServeOptions)`.

    In `routes`, `BASE_URL` is the upstream's and `HOOKS` the module that holds the code given as `hooks`.
    """
    monkeypatch.setattr(sys, "path", sys.path[:])
    async with AsyncExitStack() as stack:

        async def start_one(
            routes: str = ROUTES, *, hooks: str = "", environ: Mapping[str, str] = EMPTY, **options: Any
        ) -> RunningGateway:
            config, module = tmp_path / "routes.yaml", f"hooks_{next(_SERIAL)}"
            (tmp_path / f"{module}.py").write_text(hooks)
            config.write_text(routes.replace("BASE_URL", upstream.base_url).replace("HOOKS", module))
            chosen = ServeOptions(**{"config": config, "port": 0, **options})
            parts = Gateway(chosen, environ=environ)
            runner = parts.runner()
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            url = await stack.enter_async_context(listening(runner, chosen))
            connector = None if chosen.unix_socket is None else aiohttp.UnixConnector(str(chosen.unix_socket))
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            return RunningGateway(parts, "http://localhost" if connector else url, config, session)

        yield start_one


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    """The gateway most tests need."""
    started: RunningGateway = await start()
    return started


def save(path: Path, text: str | None) -> None:
    """Write a file, or remove it."""
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


async def until(reached: Callable[[], Any], *, within_s: float = 3.0) -> Any:
    """Return the first true value of `reached`, sync or async, asked every few milliseconds."""
    async with asyncio.timeout(within_s):
        while True:
            value = reached()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.005)


Client = Callable[[str], openai.AsyncOpenAI]


@pytest.fixture
async def client_of(gateway: RunningGateway) -> AsyncIterator[Client]:
    """Make OpenAI's clients, each with the key of a name, for the test's `gateway`."""
    clients: list[openai.AsyncOpenAI] = []

    def made(name: str) -> openai.AsyncOpenAI:
        clients.append(openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=f"sk-{name}", max_retries=0))
        return clients[-1]

    yield made
    for client in clients:
        await client.close()
