"""Secrets rotate under a running server process: the next attempt uses the new key, and no request is dropped."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.gateway_process import GatewayProcess, gateway_process
from tests.saving import linux
from tests.scripted_openai import ScriptedOpenAI

HELLO: Final = {"model": "fast", "messages": [{"role": "user", "content": "hello"}]}
CLIENTS: Final = 4
KEPT: Final = "key not read again: the last one stays"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


class Live:
    """A gateway process, and what its clients send."""

    def __init__(self, process: GatewayProcess, upstream: ScriptedOpenAI, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.upstream = upstream
        self.client_key = "client-0"
        self.sent = 0
        self._session = session

    async def ask(self, **body: Any) -> str:
        """Make one request, which must go well; return the key that the upstream got last."""
        headers = {"authorization": f"Bearer {self.client_key}"}
        async with self._session.post(
            f"{self.process.url}/v1/chat/completions", json={**HELLO, **body}, headers=headers
        ) as response:
            text = await response.text()
            assert response.status == 200, text
            assert not body.get("stream") or text.endswith("data: [DONE]\n\n"), text
        self.sent += 1
        return self.upstream.keys[-1]

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Let clients ask one request after the other, plain and streams; none may fail."""

        async def client(number: int) -> None:
            while not stopping:
                await self.ask(stream=number % 2 == 0)

        stopping = False
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(client(number))
            yield
            stopping = True

    def logged(self, event: str) -> list[Any]:
        """Return the log's lines of an event so far."""
        lines = self.process.log.read_text().splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        return [record for record in records if record["event"] == event]


@asynccontextmanager
async def running(folder: Path, upstream: ScriptedOpenAI, provider: str) -> AsyncIterator[Live]:
    """Run a gateway with the provider `up`; its client keys are in `folder/clients`."""
    config, clients = folder / "routes.yaml", folder / "clients"
    config.write_text(
        "version: 1\ndefaults: {retries: 0}\n"
        f'providers:\n  up: {{kind: openai, base_url: "{upstream.base_url}", {provider}}}\nmodels:\n  fast: up/a\n'
    )
    if not clients.exists():
        clients.write_text("app client-0\n")
    async with (
        gateway_process(config, log=folder / "log", flags=["--client-keys-file", str(clients)]) as process,
        aiohttp.ClientSession() as session,
    ):
        yield Live(process, upstream, session)


def by_rename(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_swap(path: Path, text: str) -> None:
    """As the kubelet replaces a Secret: a new folder, and the link `..data` renamed over the old one."""
    volume = path.parent
    fresh = volume / f"..{time.monotonic_ns()}"
    fresh.mkdir()
    (fresh / path.name).write_text(text)
    (volume / "..data_tmp").symlink_to(fresh.name)
    os.replace(volume / "..data_tmp", volume / "..data")
    if not path.is_symlink():
        path.symlink_to(f"..data/{path.name}")


WAYS: Final = [by_rename, by_swap, pytest.param(in_place, marks=linux)]


@pytest.mark.parametrize("save", WAYS)
async def test_a_new_upstream_key_is_used_by_the_next_attempt(
    tmp_path: Path, upstream: ScriptedOpenAI, save: Callable[[Path, str], None]
) -> None:
    key = tmp_path / "secret" / "up.key"
    key.parent.mkdir()
    save(key, "sk-key-0")
    async with running(tmp_path, upstream, "api_key_file: secret/up.key") as live:
        async with live.traffic():
            for number in range(1, 21):
                save(key, f"sk-key-{number}\n")
                begun = len(upstream.keys)
                await live.ask()
                # Requests that were under way may come behind it, with the old key.
                assert f"sk-key-{number}" in upstream.keys[begun:]
                await asyncio.sleep(0.01)
        assert await live.ask() == "sk-key-20"
        assert set(upstream.keys) <= {f"sk-key-{number}" for number in range(21)}
        assert len(live.logged("key read again")) == 20
        assert save is in_place or not live.logged(KEPT)
        assert "sk-key" not in live.process.log.read_text()


async def test_the_keys_of_a_list_rotate_one_by_one(tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    one, two = tmp_path / "one.key", tmp_path / "two.key"
    one.write_text("sk-one-0")
    two.write_text("sk-two-0")
    async with running(tmp_path, upstream, "api_key_file: [one.key, two.key]") as live:
        async with live.traffic():
            for number in range(1, 11):
                by_rename((one, two)[number % 2], f"sk-{('one', 'two')[number % 2]}-{number}")
                await live.ask()
        upstream.requests.clear()
        for _ in range(4):
            await live.ask()
        assert set(upstream.keys) == {"sk-one-10", "sk-two-9"}


@pytest.mark.parametrize("text", ["", "\n", "two words", "ключ", "x" * 70_000, None])
async def test_a_file_without_a_key_keeps_the_old_one_with_one_log_line(
    tmp_path: Path, upstream: ScriptedOpenAI, text: str | None
) -> None:
    key = tmp_path / "up.key"
    key.write_text("sk-key-0")
    async with running(tmp_path, upstream, "api_key_file: up.key") as live:
        async with live.traffic():
            await live.ask()
            key.unlink() if text is None else by_rename(key, text)
            for _ in range(20):
                assert await live.ask() == "sk-key-0"
        [told] = live.logged(KEPT)
        assert (told["level"], told["file"]) == ("warning", str(key))
        by_rename(key, "sk-key-1")
        assert await live.ask() == "sk-key-1"


@linux
async def test_a_half_written_key_is_not_used(tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    key = tmp_path / "up.key"
    key.write_text("sk-key-0")
    async with running(tmp_path, upstream, "api_key_file: up.key") as live:
        async with live.traffic():
            await live.ask()
            with key.open("w") as file:
                file.write("sk-key")
                file.flush()
                for _ in range(20):
                    assert await live.ask() == "sk-key-0"
                file.write("-1")
            assert "sk-key-1" in {await live.ask() for _ in range(CLIENTS + 1)}
        assert set(upstream.keys) == {"sk-key-0", "sk-key-1"}
        assert [record["reason"] for record in live.logged(KEPT)] == ["it is being written"]


@pytest.mark.parametrize("save", WAYS)
async def test_client_keys_are_exchanged_without_a_refusal(
    tmp_path: Path, upstream: ScriptedOpenAI, save: Callable[[Path, str], None]
) -> None:
    """As an operator does it: the new key beside the old one, then the clients change, then the old one goes."""
    clients = tmp_path / "clients"
    if save is by_swap:
        by_swap(clients, "app client-0\n")
    async with running(tmp_path, upstream, "api_key: sk-up") as live:
        async with live.traffic():
            for number in range(1, 11):
                save(clients, f"app client-{number - 1}\napp client-{number}\n")
                if save is in_place:  # a request in the middle of the write put the next look off
                    await asyncio.sleep(0.1)
                live.client_key = f"client-{number}"
                await live.ask()
                await asyncio.sleep(0.02)  # those under way with the old key end
                save(clients, f"app client-{number}\n")
                await live.ask()
        assert live.sent > 40


@linux
async def test_half_a_file_of_client_keys_shuts_nobody_out(tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    clients = tmp_path / "clients"
    async with running(tmp_path, upstream, "api_key: sk-up") as live:
        async with live.traffic():
            with clients.open("w") as file:
                file.write("other other-key\n")
                file.flush()
                for _ in range(20):
                    await live.ask()
                await asyncio.sleep(0.2)
                file.write("app client-0\n")
            for _ in range(20):
                await live.ask()
        kept = live.logged("client keys not read again: the old ones stay")
        assert [record["reason"] for record in kept] == ["it is being written"]
        live.client_key = "other-key"
        await asyncio.sleep(0.1)
        await live.ask()
