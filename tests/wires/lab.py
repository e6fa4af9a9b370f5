"""Two scripted upstreams, our gateway as a process in front of them, and the vendors' clients for either place."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final, Self, TypeVar

import aiohttp
import anthropic
import openai

from tests.gateway_process import gateway_process
from tests.wires.upstream import WireUpstream

T = TypeVar("T")

CLIENT_KEY: Final = "sk-client"
UPSTREAM_KEY: Final = "sk-upstream"
SECOND_TEXT: Final = "seven eight nine"
"""What the second upstream says."""

READY_S: Final = 60.0

ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 1000, within: 1s, for: 1s}}
providers:
  first: {kind: openai, base_url: "FIRST/v1", api_key: sk-upstream}
  second: {kind: openai, base_url: "SECOND/v1", api_key: sk-upstream}
  claude-first: {kind: anthropic, base_url: "FIRST", api_key: sk-upstream}
  claude-second: {kind: anthropic, base_url: "SECOND", api_key: sk-upstream}
  chat-first: {kind: openai, base_url: "FIRST/v1", api_key: sk-upstream, wires: [chat]}
  chat-second: {kind: openai, base_url: "SECOND/v1", api_key: sk-upstream, wires: [chat]}
  gemini-first: {kind: gemini, base_url: "FIRST", api_key: sk-upstream}
  gemini-second: {kind: gemini, base_url: "SECOND/v1beta", api_key: sk-upstream}
models:
  echo: mock/echo
  "one-*": "first/*"
  "pair-*": ["first/*", "second/*"]
  "claude-one-*": "claude-first/*"
  "claude-pair-*": ["claude-first/*", "claude-second/*"]
  "chat-one-*": "chat-first/*"
  "chat-pair-*": ["chat-first/*", "chat-second/*"]
  "claude-to-gpt-*": ["claude-first/*", "second/*"]
  "gpt-to-claude-*": ["first/*", "claude-second/*"]
  "gemini-one-*": "gemini-first/*"
  "gemini-pair-*": ["gemini-first/*", "gemini-second/*"]
  "gemini-to-gpt-*": ["gemini-first/*", "second/*"]
  "claude-to-gemini-*": ["claude-first/*", "gemini-second/*"]
"""


@dataclass(frozen=True, slots=True)
class Lab:
    """What is running."""

    first: WireUpstream
    second: WireUpstream
    gateway_url: str
    gateway_log: Path


@asynccontextmanager
async def _lab(routes: str) -> AsyncIterator[Lab]:
    with tempfile.TemporaryDirectory() as name:
        config, log = Path(name) / "routes.yaml", Path(name) / "gateway.log"
        async with WireUpstream() as first, WireUpstream(text=SECOND_TEXT) as second:
            config.write_text(routes.replace("FIRST", first.root_url).replace("SECOND", second.root_url))
            async with gateway_process(config, log=log, flags=("--log-level", "warning")) as gateway:
                yield Lab(first, second, gateway.url, log)
                await _until_ready(gateway.url)  # LiteLLM that is still loading would hold the stop up


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
        while (await session.get(f"{url}/readyz")).status != 200:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)


@contextmanager
def running_lab(routes: str = ROUTES) -> Iterator[Lab]:
    """Run a lab in a thread of its own, so that clients of any kind can be tried in front of it."""
    with _in_background(_lab(routes)) as lab:
        yield lab


@contextmanager
def _in_background(manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        value = asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result()
        try:
            yield value
        finally:
            asyncio.run_coroutine_threadsafe(_leave(manager), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _leave(manager: AbstractAsyncContextManager[Any]) -> None:
    await manager.__aexit__(None, None, None)


class Place:
    """Where the clients are pointed: at the first upstream itself, or at the gateway in front of it."""

    def __init__(self, lab: Lab, *, direct: bool) -> None:
        self.lab = lab
        self.direct = direct
        self.upstream = lab.first
        self.root_url = lab.first.root_url if direct else lab.gateway_url
        self.openai = openai.OpenAI(base_url=f"{self.root_url}/v1", api_key=CLIENT_KEY)
        self.anthropic = anthropic.Anthropic(base_url=self.root_url, api_key=CLIENT_KEY)

    def model(self, name: str, *, alias: str = "one") -> str:
        """Return what to ask for so that the first upstream is asked for this model."""
        return name if self.direct else f"{alias}-{name}"

    def claude(self, name: str) -> str:
        """Return the same, to be reached on Anthropic's wire."""
        return self.model(name, alias="claude-one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.openai.close()
        self.anthropic.close()
