"""The config file changes under a running server, in every way that files change, while requests come in."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from gateway.server.listen import listening
from gateway.server.wiring import Gateway, ServeOptions
from tests.scripted_openai import ScriptedOpenAI

HELLO = {"model": "fast", "messages": [{"role": "user", "content": "hello"}]}
CLIENTS = 4
Start: TypeAlias = Callable[..., Awaitable["Live"]]
BROKEN = ("version: 1\nmodels: {fast: [", "version: 1\nmodels: {fast: nowhere}\n", "", "version: 2\n", "\x00")


def routes(base_url: str, model: str) -> str:
    provider = f'{{kind: openai, base_url: "{base_url}", api_key: k}}'
    return f"version: 1\nproviders:\n  up: {provider}\nmodels:\n  fast: up/{model}\n"


class Live:
    """A running server, its config file, and what its clients got."""

    def __init__(self, parts: Gateway, url: str, path: Path, base_url: str, session: aiohttp.ClientSession) -> None:
        self.path = path
        self.reloader = parts.reloader
        self.answers: list[tuple[int, str]] = []
        """Generation and target of each answer."""
        self._url = url
        self._base_url = base_url
        self._session = session

    def text(self, model: str) -> str:
        """Return a config file whose one alias goes to `model`."""
        return routes(self._base_url, model)

    def target(self) -> str:
        """Return what the live table says."""
        return self.reloader.current.routes["fast"].steps[0].target.name

    async def shows(self, model: str) -> None:
        """Wait until the file as it was last saved is live and nothing is wrong with it."""
        await until(lambda: self.target() == f"up/{model}" and self.reloader.last.ok)

    async def refuses(self) -> None:
        """Wait until the file as it was last saved is known to be bad."""
        await until(lambda: not self.reloader.last.ok)

    async def ask(self) -> tuple[int, str]:
        """Make one request; it must go well, and be answered by the target that its generation names."""
        async with self.post("/v1/chat/completions", json=HELLO) as response:
            body = await response.json()
            assert response.status == 200, body
            target = response.headers["x-gateway-target"]
            assert body["choices"][0]["message"]["content"] == f"hello from {target.removeprefix('up/')}"
            return int(response.headers["x-gateway-generation"]), target

    def post(self, path: str, **options: Any) -> Any:
        return self._session.post(self._url + path, **options)

    async def get(self, path: str) -> Any:
        async with self._session.get(self._url + path) as response:
            return await response.json()

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Let clients ask one request after the other; none may fail, and none may see an older table again."""

        async def client() -> None:
            newest = 0
            while not stopping:
                generation, target = await self.ask()
                assert generation >= newest, "a generation went back"
                newest = generation
                self.answers.append((generation, target))

        stopping = False
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(client())
            yield
            stopping = True
        targets: defaultdict[int, set[str]] = defaultdict(set)
        for generation, target in self.answers:
            targets[generation].add(target)
        assert all(len(names) == 1 for names in targets.values()), "one generation, two policies"


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not reached():  # noqa: ASYNC110 - it happens to files
            await asyncio.sleep(0.002)


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    fresh = path.with_name(".fresh")
    fresh.write_text(text)
    fresh.replace(path)


def like_vim(path: Path, text: str) -> None:
    """With `backup`: the old file becomes `name~`, the new one is written under the name, the old one goes."""
    backup = path.with_name(f"{path.name}~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def delete_and_create(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def with_a_new_folder(path: Path, text: str) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    path.write_text(text)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


@pytest.fixture
async def start(tmp_path: Path, upstream: ScriptedOpenAI) -> AsyncIterator[Start]:
    """Start a gateway: `await start(path)` on a file that is there, `await start()` on one that goes to `one`."""
    async with AsyncExitStack() as stack:

        async def start_one(path: Path | None = None) -> Live:
            if path is None:
                path = tmp_path / "conf" / "routes.yaml"
                path.parent.mkdir()
                path.write_text(routes(upstream.base_url, "one"))
            options = ServeOptions(config=path, port=0)
            parts = Gateway(options, environ={})
            runner = parts.runner()
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            url = await stack.enter_async_context(listening(runner, options))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Live(parts, url, path, upstream.base_url, session)

        yield start_one


@pytest.fixture
async def live(start: Start) -> Live:
    return await start()


@pytest.mark.parametrize(
    ("save", "flips"), [(in_place, 5), (by_rename, 25), pytest.param(in_place, 25, marks=pytest.mark.slow)]
)
async def test_no_request_fails_while_the_file_flips(live: Live, save: Callable[[Path, str], None], flips: int) -> None:
    async with live.traffic():
        for number in range(flips):
            if number % 5 == 4:
                save(live.path, BROKEN[number // 5])
                await live.refuses()
            model = ("two", "one")[number % 2]
            save(live.path, live.text(model))
            await live.shows(model)
    assert live.reloader.current.generation == flips + 1
    assert len(live.answers) > 4 * flips
    assert {target for _, target in live.answers} == {"up/one", "up/two"}


@pytest.mark.parametrize("save", [in_place, by_rename])
async def test_saves_faster_than_they_can_be_followed_end_in_the_last_one(
    live: Live, save: Callable[[Path, str], None]
) -> None:
    async with live.traffic():
        for number in range(50):
            save(live.path, BROKEN[number % 5] if number % 3 == 2 else live.text(("one", "two")[number % 2]))
            await live.ask()
        save(live.path, live.text("last"))
        await live.shows("last")
        assert (await live.ask())[1] == "up/last"


@pytest.mark.parametrize("save", [like_vim, delete_and_create, with_a_new_folder])
async def test_a_file_that_goes_away_and_comes_back_is_followed(live: Live, save: Callable[[Path, str], None]) -> None:
    async with live.traffic():
        for model in ("two", "one", "two", "one"):
            save(live.path, live.text(model))
            await live.shows(model)
            assert (await live.ask())[1] == f"up/{model}"


async def test_a_file_that_is_replaced_again_and_again_is_followed_meanwhile(live: Live) -> None:
    """Each version is whole, so that none has to rest before it counts, as a save in place has to."""
    async with live.traffic():
        end_s, number = asyncio.get_running_loop().time() + 5, 0
        while asyncio.get_running_loop().time() < end_s and live.target() == "up/one":
            by_rename(live.path, live.text(f"v{number}"))
            number += 1
            await asyncio.sleep(0.02)
        assert live.target() != "up/one"
        await live.shows(f"v{number - 1}")


async def test_a_file_that_stays_away_changes_nothing_until_it_is_back(live: Live) -> None:
    async with live.traffic():
        live.path.unlink()
        await live.refuses()
        config = await live.get("/-/config")
        assert (config["disk"], config["last_reload"]["ok"]) == ({"digest": None, "in_sync": False}, False)
        assert config["last_reload"]["problems"][0]["code"] == "unreadable-file"
        assert (await live.ask())[1] == "up/one"
        in_place(live.path, live.text("two"))
        await live.shows("two")


async def test_a_config_map_is_followed(start: Start, tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    """Kubernetes: file -> ..data/file -> ..<timestamp>/file; an update is one rename of ..data."""

    def publish(number: int, model: str) -> None:
        version = tmp_path / f"..2026_01_01_{number}"
        version.mkdir()
        (version / "routes.yaml").write_text(routes(upstream.base_url, model))
        (tmp_path / "..data_tmp").symlink_to(version.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        shutil.rmtree(tmp_path / f"..2026_01_01_{number - 1}", ignore_errors=True)

    publish(0, "one")
    (tmp_path / "routes.yaml").symlink_to("..data/routes.yaml")
    live = await start(tmp_path / "routes.yaml")
    async with live.traffic():
        for number, model in enumerate(["two", "one", "two", "one"], start=1):
            publish(number, model)
            await live.shows(model)
            assert (await live.ask())[1] == f"up/{model}"


async def test_an_older_file_is_followed_too(live: Live) -> None:
    fresh = live.path.with_name("fresh")
    in_place(fresh, live.text("two"))
    os.utime(fresh, (1, 1))
    fresh.rename(live.path)
    await live.shows("two")


async def test_a_stream_in_flight_ends_whole_on_the_table_it_began_with(live: Live, upstream: ScriptedOpenAI) -> None:
    gate = asyncio.Event()
    upstream.script("one", chunks=["a", "b", "c"], stall_after=1, gate=gate)
    async with live.post("/v1/chat/completions", json={**HELLO, "stream": True}) as response:
        text = (await response.content.readuntil(b'"a"')).decode()
        in_place(live.path, live.text("two"))
        await live.shows("two")
        assert (await live.ask())[1] == "up/two"
        in_place(live.path, BROKEN[0])
        await live.refuses()
        gate.set()
        text += (await response.content.read()).decode()
        assert (response.status, response.headers["x-gateway-target"]) == (200, "up/one")
        assert response.headers["x-gateway-generation"] == "1"
    events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
    pieces = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    assert "".join(pieces) == "abc"
    assert text.rstrip().endswith("data: [DONE]")


async def test_good_bad_good_clears_the_error_everywhere(live: Live) -> None:
    in_place(live.path, BROKEN[1])
    await live.refuses()
    broken = await live.get("/-/config")
    assert (broken["generation"], broken["disk"]["in_sync"], broken["last_reload"]["ok"]) == (1, False, False)
    assert broken["last_reload"]["digest"] == broken["disk"]["digest"] != broken["digest"]
    in_place(live.path, live.text("one"))
    await live.shows("one")
    mended = await live.get("/-/config")
    assert (mended["generation"], mended["disk"]["in_sync"], mended["last_reload"]["ok"]) == (1, True, True)
    assert mended["last_reload"]["problems"] == []


async def test_a_posted_reload_says_what_happened(live: Live) -> None:
    in_place(live.path, BROKEN[1])
    async with live.post("/-/reload") as response:
        refused = await response.json()
        assert response.status == 422
    assert [problem["code"] for problem in refused["problems"]] == ["no-provider"]
    assert refused["generation"] == 1
    in_place(live.path, live.text("two"))
    async with live.post("/-/reload?dry_run=1") as response:
        assert (response.status, (await response.json())["changed"]) == (200, False)
    async with live.post("/-/reload") as response:
        done = await response.json()
        assert (response.status, done["ok"]) == (200, True)
    assert (await live.ask())[1] == "up/two"


async def test_a_signal_reloads_and_the_log_says_what_happened(tmp_path: Path) -> None:
    """SIGHUP compiles even a text that runs already, for what lies outside the file: keys and variables."""
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\nmodels: {fast: mock/echo}\n")
    command = [sys.executable, "-m", "gateway", "serve", str(path), "--port", "0"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert b" serves " in await process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        told: list[Any] = []
        while not told or told[-1]["event"] != "reloaded at a signal":
            told.append(json.loads(await process.stderr.readline()))
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    loads = [line["generation"] for line in told if line["event"] == "routes loaded"]
    assert (loads, told[-1]["ok"], process.returncode) == ([1, 2], True, 0)
