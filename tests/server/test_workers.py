"""`--workers N`: one table, one generation and one sum for all; who ends is replaced, and restarts lose nothing."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.cli import main
from gateway.server.live.recent import KEPT
from tests.asking import asked
from tests.gateway_process import GatewayProcess, gateway_process
from tests.keeping_responses import KeepingResponses
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, save, until

pytestmark = pytest.mark.timeout(60)

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 10s, cooldown: {failures: 1, for: 60s}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  fast: {chain: [up/a, up/b]}
  echo: mock/echo
"""


LIMITS = "clients: {default: {limits: [1000 requests/hour]}}\n"
USED = 'gateway_limit_used_ratio{limit="1k requests/hour",name="",owner="client"}'


def limit_clients(config: Path) -> None:
    config.write_text(config.read_text() + LIMITS)


class Workers:
    """A gateway of several workers."""

    def __init__(self, started: GatewayProcess, session: aiohttp.ClientSession) -> None:
        self.started = started
        self.url = started.url
        self.session = session
        """It makes a connection for each request, so that all workers get some."""

    def events(self) -> list[dict[str, Any]]:
        lines = self.started.log.read_bytes().splitlines()
        return [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events() if line.get("event") == event]

    def pids(self) -> dict[int, int]:
        """Return worker's number → id of the process that was started for it last."""
        return {line["worker"]: line["pid"] for line in self.named("a worker starts")}

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as answer:
            body = await answer.read()
            return orjson.loads(body) if answer.content_type == "application/json" else body.decode()

    async def post(self, path: str, body: Any = None, **options: Any) -> tuple[int, Any, dict[str, str]]:
        async with self.session.post(self.url + path, json=body, **options) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, orjson.loads(await answer.read()), headers

    async def chat(self, model: str = "echo") -> tuple[int, Any, dict[str, str]]:
        return await self.post("/v1/chat/completions", {"model": model, "messages": HELLO})

    async def open_streams(self, stack: AsyncExitStack, count: int) -> list[aiohttp.ClientResponse]:
        """Ask for streams of `fast`, and return them once each has brought its first event."""
        streams = []
        for _ in range(count):
            body = {"model": "fast", "messages": HELLO, "stream": True}
            asked = self.session.post(f"{self.url}/v1/chat/completions", json=body)
            streams.append(await stack.enter_async_context(asked))
            await streams[-1].content.readuntil(b"\n\n")
        return streams

    async def metric(self, sample: str) -> float:
        for line in (await self.get("/metrics")).splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0


Start = Callable[..., AbstractAsyncContextManager[Workers]]


@pytest.fixture
async def config(tmp_path: Path, upstream: ScriptedOpenAI) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES.replace("BASE_URL", upstream.base_url))
    return path


def add(config: Path, alias: str) -> str:
    """Add an alias to the file and return what it holds then."""
    text = config.read_text() + f"  {alias}: mock/echo\n"
    save(config, text)
    return text


def config_text(config: Path) -> str:
    """Return what the file holds."""
    return config.read_text()


@asynccontextmanager
async def running(config: Path, *flags: str, workers: int = 2) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        log = config.with_name("gateway.log")
        flags = ("--workers", str(workers), *flags)
        started = await stack.enter_async_context(gateway_process(config, log=log, flags=flags))
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Workers(started, session)


async def test_what_operators_see_is_that_of_all(config: Path, upstream: ScriptedOpenAI) -> None:
    limit_clients(config)
    async with running(config) as workers:
        for _ in range(30):
            assert (await workers.chat("fast"))[0] == 200
        counted = 'gateway_requests_total{alias="fast",operation="chat",status="200"}'
        assert {await workers.metric(counted) for _ in range(6)} == {30}
        assert await workers.metric("gateway_workers") == 2
        assert await workers.metric("gateway_config_generation") == 1
        assert await workers.metric("gateway_config_last_reload_successful") == 1
        rows = (await workers.get("/-/targets"))["targets"]
        assert [(row["target"], row["attempts"]) for row in rows][:2] == [("up/a", {"ok": 30}), ("up/b", {})]
        for _ in range(6):
            state = await workers.get("/-/state")
            assert [(one["worker"], one["answers"]) for one in state["workers"]] == [(0, True), (1, True)]
            assert (state["last_request"], sum(one["requests"] for one in state["workers"])) == (30, 30)
            worst = next(row for row in state["targets"] if row["target"] == "up/a")
            assert (worst["last_minute"]["calls"], worst["last_minute"]["success_share"]) == (30, 1.0)
            fast = next(row for row in state["aliases"] if row["alias"] == "fast")
            assert fast["last_quarter"] == {"requests": 30, "fell_over": 0}
            [limit] = state["limits"]
            assert (limit["owner"], limit["name"], limit["limit"]) == ("client", None, "1k requests/hour")
            assert 10 < limit["used"] <= 30
        assert 0.01 < await workers.metric(USED) <= 0.03
        lines = workers.named("listening")
        assert sorted(line["worker"] for line in lines if "worker" in line) == [0, 1]


async def test_the_commands_that_ask_tell_of_all(
    config: Path, capsys: pytest.CaptureFixture[str], upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=500)
    async with running(config) as workers:
        for _ in range(12):
            await workers.chat("fast")
        code, out, _ = await asked(capsys, "top", "--once", "--url", workers.url)
        lines = [" ".join(line.split()) for line in out.splitlines()]
        assert (code, " · 2 workers · " in lines[0]) == (0, True)
        assert any(line.startswith("fast up/b 100% of 12 ") for line in lines)
        assert len([line for line in lines if "> up/b ok " in line]) == 12
        code, out, _ = await asked(capsys, "status", "--url", workers.url)
        assert (code, "at rest: up/a, for " in out) == (0, True)


class TestRequests:
    async def test_they_have_one_order_whichever_worker_tells_them(self, config: Path) -> None:
        async with running(config) as workers:
            for _ in range(40):
                await workers.chat()
            told = [await workers.get("/-/requests") for _ in range(6)]
            assert all(one == told[0] for one in told)
            rows = told[0]["requests"]
            assert [row["n"] for row in rows] == list(range(1, 41))
            assert {row["worker"] for row in rows} == {0, 1}
            assert sorted(row["ended_at"] for row in rows) == [row["ended_at"] for row in rows]
            for _ in range(20):
                await workers.chat("nobody")
            later = [await workers.get("/-/requests?after=40") for _ in range(4)]
            assert [[row["n"] for row in one["requests"]] for one in later] == [list(range(41, 61))] * 4
            assert later[0]["process"] == told[0]["process"]
            assert len((await workers.get("/-/requests?after=999"))["requests"]) == 60

    async def test_numbers_count_those_that_nobody_remembers(self, config: Path) -> None:
        async with running(config) as workers:
            for _ in range(3):
                await workers.chat()
            assert (await workers.get("/-/requests"))["last"] == 3
            connector = aiohttp.TCPConnector(limit=1)
            async with aiohttp.ClientSession(connector=connector) as session:  # one connection: one worker
                for _ in range(KEPT + 9):
                    async with session.get(f"{workers.url}/nothing-here") as answer:
                        await answer.read()
            told = await workers.get("/-/requests?after=3")
            assert (told["last"], len(told["requests"])) == (KEPT + 12, KEPT)
            assert (told["requests"][0]["n"], told["requests"][-1]["n"]) == (13, KEPT + 12)

    async def test_who_waits_hears_of_the_next_one_of_any_worker(self, config: Path) -> None:
        async with running(config) as workers:
            seen: set[int] = set()
            for number in range(1, 13):
                waiting = asyncio.ensure_future(workers.get(f"/-/requests?after={number - 1}"))  # noqa: TID251 - a client beside the test
                await workers.get("/-/state")
                assert not waiting.done()
                await workers.chat()
                [row] = (await waiting)["requests"]
                assert row["n"] == number
                seen.add(row["worker"])
            assert seen == {0, 1}

    async def test_they_come_as_events_too(self, config: Path) -> None:
        async with running(config) as workers:
            await workers.chat()
            fields = {"accept": "text/event-stream"}
            async with workers.session.get(f"{workers.url}/-/requests", headers=fields) as response:
                rows: list[Any] = []

                async def read(count: int) -> None:
                    async for line in response.content:
                        if line.startswith(b"data: "):
                            rows.append(orjson.loads(line[6:]))
                            if len(rows) == count:
                                return

                await read(1)
                for _ in range(30):
                    await workers.chat()
                await read(31)
            assert [row["n"] for row in rows] == list(range(1, 32))
            assert {row["worker"] for row in rows} == {0, 1}

    async def test_the_etag_is_that_of_all(self, config: Path) -> None:
        async with running(config) as workers:

            async def tag(known: str = "") -> tuple[int, str]:
                async with workers.session.get(f"{workers.url}/-/state", headers={"if-none-match": known}) as answer:
                    return answer.status, answer.headers["etag"]

            async def unchanged() -> str | None:
                """Return a tag that each worker knows: not one at the end of a slot of ten seconds."""
                first = (await tag())[1]
                return first if {await tag(first) for _ in range(8)} == {(304, first)} else None

            for _ in range(3):
                known: str = await until(unchanged)
                await workers.chat()
                assert {(await tag(known))[0] for _ in range(8)} == {200}

    async def test_those_of_a_worker_that_was_replaced_stay(self, config: Path) -> None:
        async with running(config) as workers:
            for _ in range(12):
                await workers.chat()
            workers.started.process.send_signal(signal.SIGUSR2)
            await until(lambda: workers.named("all workers were replaced"), within_s=30)

            async def have_ended() -> bool:
                return len(workers.named("a worker has ended")) == 2

            await until(have_ended, within_s=20)
            await workers.chat()
            told = await workers.get("/-/requests")
            assert [row["n"] for row in told["requests"]] == list(range(1, 14))
            assert (await workers.get("/-/state"))["last_request"] == 13

    async def test_a_worker_that_is_killed_begins_anew(self, config: Path) -> None:
        async with running(config) as workers:
            for _ in range(12):
                await workers.chat()
            assert (await workers.get("/-/requests"))["last"] == 12
            os.kill(workers.pids()[1], signal.SIGKILL)
            await until(lambda: len([one for one in workers.named("listening") if "worker" in one]) == 3, within_s=20)
            for _ in range(12):
                await workers.chat()
            told = await workers.get("/-/requests")
            assert [row["n"] for row in told["requests"]] == list(range(1, 25))

    async def test_one_that_hangs_is_named_and_left_out(self, config: Path) -> None:
        async with running(config) as workers:
            os.kill(workers.pids()[1], signal.SIGSTOP)

            async def is_named() -> bool:
                told = (await workers.get("/-/state"))["workers"]
                return [(one["worker"], one["answers"]) for one in told] == [(0, True), (1, False)]

            async def is_named_by_the_first_to_answer() -> bool:
                """Ask over eight connections, some of which are the hanging one's."""
                async with asyncio.TaskGroup() as group:
                    asks = [group.create_task(is_named()) for _ in range(8)]
                    done, _ = await asyncio.wait(asks, timeout=15, return_when=asyncio.FIRST_COMPLETED)
                    for ask in asks:
                        ask.cancel()
                return any(ask.result() for ask in done)

            try:
                await until(is_named_by_the_first_to_answer, within_s=50)
            finally:
                os.kill(workers.pids()[1], signal.SIGCONT)

    async def test_a_stop_does_not_wait_for_those_who_watch(self, config: Path) -> None:
        async with running(config) as workers:

            async def watch(fields: dict[str, str]) -> None:
                with suppress(aiohttp.ClientError):
                    async with workers.session.get(f"{workers.url}/-/requests?after=0", headers=fields) as answer:
                        await answer.read()

            async with asyncio.TaskGroup() as group:
                for fields in ({}, {"accept": "text/event-stream"}) * 4:
                    group.create_task(watch(fields))
                for _ in range(4):
                    await workers.get("/-/state")
                began_s = time.monotonic()
                workers.started.process.terminate()
                await workers.started.process.wait()
            assert time.monotonic() - began_s < 15  # who watches does so for 25 s, and draining takes up to 30 s


class TestReloads:
    async def test_an_edit_is_live_in_all_once_it_is_reported(self, config: Path) -> None:
        async with running(config) as workers:
            for generation in range(2, 6):
                add(config, f"new-{generation}")
                status, report, _ = await workers.post("/-/reload")
                assert status == 200, report
                answers = [await workers.chat(f"new-{generation}") for _ in range(12)]
                assert {(status, headers["x-gateway-generation"]) for status, _, headers in answers} == {
                    (200, str(generation))
                }
            shown = [await workers.get("/-/config?config=0") for _ in range(8)]
            assert {(one["generation"], one["in_sync"], len(one["history"])) for one in shown} == {(5, True, 5)}
            assert "+ new-5: new, goes to mock/echo" in shown[0]["history"][0]["changes"]

    async def test_a_save_is_followed_by_all(self, config: Path) -> None:
        async with running(config) as workers:
            add(config, "saved")

            async def is_live() -> bool:
                return {(await workers.chat("saved"))[0] for _ in range(8)} == {200}

            await until(is_live)

    async def test_a_bad_edit_is_refused_for_all(self, config: Path) -> None:
        async with running(config) as workers:
            good = add(config, "later")
            save(config, "version: 1\nmodels: {fast: up}\n")
            status, report, _ = await workers.post("/-/reload")
            assert (status, [one["code"] for one in report["problems"]]) == (422, ["no-provider"])
            shown = [await workers.get("/-/config?config=0") for _ in range(8)]
            assert {(one["generation"], one["in_sync"], one["last_reload"]["ok"]) for one in shown} == {
                (1, False, False)
            }
            assert {(await workers.chat())[0] for _ in range(8)} == {200}
            assert await workers.metric("gateway_config_last_reload_successful") == 0
            save(config, good)
            assert (await workers.post("/-/reload"))[0] == 200

    async def test_what_another_expects_to_run_is_asked_of_the_supervisor(self, config: Path) -> None:
        async with running(config) as workers:
            digest = (await workers.get("/-/config?config=0"))["digest"]
            add(config, "new")
            headers = {"if-match": f'"{digest}"'}
            assert (await workers.post("/-/reload", headers=headers))[0] == 200
            assert {(await workers.post("/-/reload", headers=headers))[0] for _ in range(4)} == {412}

    async def test_a_signal_reloads_too(self, config: Path) -> None:
        async with running(config) as workers:
            add(config, "new")
            workers.started.process.send_signal(signal.SIGHUP)

            async def is_live() -> bool:
                return {(await workers.chat("new"))[0] for _ in range(8)} == {200}

            await until(is_live, within_s=10)
            assert workers.named("reloaded at a signal")

    async def test_a_dry_run_never_goes_live(self, config: Path) -> None:
        async with running(config) as workers:
            over = asyncio.Event()

            async def try_out() -> None:
                while not over.is_set():
                    await workers.post("/-/reload?dry_run=1")

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(try_out()) for _ in range(2)]
                for number in range(12):
                    add(config, f"new-{number}")
                    await workers.post("/-/reload")
                over.set()
            assert all(task.done() for task in tasks)
            digests: dict[int, set[str]] = {}
            for line in workers.named("routes loaded"):
                digests.setdefault(line["generation"], set()).add(line["digest"])
            assert {len(found) for found in digests.values()} == {1}

    async def test_an_edit_that_ends_a_worker_is_refused(self, config: Path) -> None:
        code = "import os\n\nif os.getpgrp() == os.getpid():\n    os._exit(7)\n\n\ndef pre(body):\n    return body\n"
        save(config.with_name("fatal_hooks.py"), code)
        async with running(config) as workers:
            save(config, config_text(config) + "hooks: {pre: [fatal_hooks.pre]}\n")
            with suppress(aiohttp.ClientError):  # the worker that is asked may be the one that ends
                await workers.post("/-/reload")
            await until(lambda: len([one for one in workers.named("listening") if "worker" in one]) >= 3, within_s=20)
            shown = await workers.get("/-/config?config=0")
            assert (shown["generation"], shown["last_reload"]["ok"]) == (1, False)
            assert [one["code"] for one in shown["last_reload"]["problems"]] == ["internal-error"]
            assert (await workers.chat())[2]["x-gateway-generation"] == "1"


class TestKnownToAll:
    async def test_a_target_that_rests_for_one_rests_for_all(self, config: Path, upstream: ScriptedOpenAI) -> None:
        upstream.script("a", status=500)
        async with running(config) as workers:
            await workers.chat("fast")

            async def rests() -> bool:
                return "cooldown" in {row["state"] for row in (await workers.get("/-/targets"))["targets"]}

            await until(rests)
            for _ in range(20):
                assert (await workers.chat("fast"))[2]["x-gateway-target"] == "up/b"
            assert upstream.calls.count("a") == 1
            await workers.post("/-/targets/reset?target=up/a")
            upstream.reset_script("a")
            for _ in range(20):
                await workers.chat("fast")
            assert upstream.calls.count("a") > 10

    async def test_a_new_worker_hears_of_rests(self, config: Path, upstream: ScriptedOpenAI) -> None:
        upstream.script("a", status=500)
        async with running(config) as workers:
            await workers.chat("fast")
            workers.started.process.send_signal(signal.SIGUSR2)
            await until(lambda: workers.named("all workers were replaced"), within_s=30)
            for _ in range(10):
                assert (await workers.chat("fast"))[2]["x-gateway-target"] == "up/b"
            assert upstream.calls.count("a") == 1

    async def test_who_made_an_id(self, tmp_path: Path) -> None:
        async with KeepingResponses() as kept:
            path = tmp_path / "routes.yaml"
            path.write_text(
                "version: 1\nproviders:\n"
                f"  one: {{kind: openai, base_url: '{kept.url}/one/v1', api_key: sk-one}}\n"
                f"  two: {{kind: openai, base_url: '{kept.url}/two/v1', api_key: sk-two}}\n"
                "models: {smart: [{pool: [one/m, two/m]}]}\n"
            )
            async with running(path) as workers:
                for _ in range(12):
                    _, made, headers = await workers.post("/v1/responses", {"model": "smart", "input": "hi"})
                    maker = headers["x-gateway-target"]
                    again = {"model": "smart", "input": "and", "previous_response_id": made["id"]}
                    status, body, headers = await workers.post("/v1/responses", again)
                    assert (status, headers["x-gateway-target"]) == (200, maker), body
                    assert (await workers.get(f"/v1/responses/{made['id']}"))["id"] == made["id"]


class TestProcesses:
    async def test_one_that_is_killed_is_replaced_and_counted(self, config: Path) -> None:
        async with running(config) as workers:
            for _ in range(10):
                await workers.chat()
            counted = 'gateway_requests_total{alias="echo",operation="chat",status="200"}'
            assert await workers.metric(counted) == 10
            add(config, "new")
            await workers.post("/-/reload")
            before = workers.pids()
            os.kill(before[1], signal.SIGKILL)
            await until(lambda: workers.pids()[1] != before[1], within_s=20)
            await until(lambda: len([one for one in workers.named("listening") if "worker" in one]) == 3, within_s=20)
            answers = [await workers.chat("new") for _ in range(20)]
            assert {(status, headers["x-gateway-generation"]) for status, _, headers in answers} == {(200, "2")}
            assert await workers.metric("gateway_worker_restarts_total") == 1
            assert await workers.metric(counted) == 10  # what it had counted goes on
            (line,) = workers.named("a worker ended: it is replaced")
            assert (line["worker"], line["code"]) == (1, -9)

    @pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
    async def test_all_are_replaced_without_losing_a_request_or_a_stream(
        self, config: Path, upstream: ScriptedOpenAI, count: int
    ) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 4 * count:
            resource.setrlimit(resource.RLIMIT_NOFILE, (4 * count, hard))
        gate = asyncio.Event()
        upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate)
        async with running(config, "--drain", "60s") as workers, AsyncExitStack() as stack:
            streams = await workers.open_streams(stack, count)
            over, statuses = asyncio.Event(), Counter[int]()

            async def ask() -> None:
                async with aiohttp.ClientSession() as session:  # which keeps its connection
                    while not over.is_set():
                        body = {"model": "echo", "messages": HELLO}
                        async with session.post(f"{workers.url}/v1/chat/completions", json=body) as answer:
                            await answer.read()
                            statuses[answer.status] += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(ask())
                before = workers.pids()
                workers.started.process.send_signal(signal.SIGUSR2)
                await until(lambda: workers.named("all workers were replaced"), within_s=40)
                gate.set()
                for stream in streams:
                    assert (await stream.read()).endswith(b"data: [DONE]\n\n")
                await until(lambda: len(workers.named("a worker has ended")) == 2, within_s=20)
                over.set()
            assert set(statuses) == {200}
            assert not set(before.values()) & set(workers.pids().values())
            assert await workers.metric("gateway_worker_restarts_total") == 0
            counted = 'gateway_requests_total{alias="echo",operation="chat",status="200"}'
            assert await workers.metric(counted) == statuses[200]

    async def test_a_stop_signal_drains_all_and_ends_with_0(self, config: Path, upstream: ScriptedOpenAI) -> None:
        gate = asyncio.Event()
        upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate)
        async with running(config) as workers, AsyncExitStack() as stack:
            streams = await workers.open_streams(stack, 10)
            workers.started.process.send_signal(signal.SIGTERM)
            await until(lambda: len(workers.named("draining")) == 2, within_s=10)
            gate.set()
            for stream in streams:
                assert (await stream.read()).endswith(b"data: [DONE]\n\n")
            assert await workers.started.process.wait() == 0

    @pytest.mark.parametrize("first", ["supervisor", "workers", "any"])
    async def test_a_signal_to_the_whole_group_is_one_signal(
        self, config: Path, upstream: ScriptedOpenAI, first: str
    ) -> None:
        gate = asyncio.Event()
        upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate)
        async with running(config) as workers, AsyncExitStack() as stack:
            streams = await workers.open_streams(stack, 10)  # so that each worker has some
            supervisor, pids = [workers.started.process.pid], list(workers.pids().values())
            orders = {"supervisor": (supervisor, pids), "workers": (pids, supervisor), "any": (supervisor + pids, ())}
            earlier, later = orders[first]
            for pid in earlier:
                os.kill(pid, signal.SIGTERM)
            await until(lambda: len(workers.named("draining")) == 2, within_s=10)
            for pid in later:
                os.kill(pid, signal.SIGTERM)
            await asyncio.sleep(0.3)  # what a second signal would cut off is cut off by then
            gate.set()
            for stream in streams:
                assert (await stream.read()).endswith(b"data: [DONE]\n\n")
            assert await workers.started.process.wait() == 0
            assert not workers.named("requests are cut off")

    async def test_a_second_one_to_the_whole_group_cuts_off(self, config: Path, upstream: ScriptedOpenAI) -> None:
        upstream.script("a", chunks=["one ", "two"], stall_after=1)
        async with running(config) as workers, AsyncExitStack() as stack:
            streams = await workers.open_streams(stack, 10)
            async with asyncio.TaskGroup() as group:
                rests = [group.create_task(_until_broken(stream)) for stream in streams]
                for count in (1, 2):
                    for pid in (workers.started.process.pid, *workers.pids().values()):
                        os.kill(pid, signal.SIGTERM)
                    if count == 1:
                        await until(lambda: len(workers.named("draining")) == 2, within_s=10)
            assert all(b'"error"' in rest.result() for rest in rests)
            assert await workers.started.process.wait() == 0
            assert not workers.named("event loop fault")

    async def test_a_second_stop_signal_cuts_off(self, config: Path, upstream: ScriptedOpenAI) -> None:
        upstream.script("a", chunks=["one ", "two"], stall_after=1)
        async with running(config) as workers:
            body = {"model": "fast", "messages": HELLO, "stream": True}
            async with workers.session.post(f"{workers.url}/v1/chat/completions", json=body) as stream:
                await stream.content.readuntil(b"\n\n")
                workers.started.process.send_signal(signal.SIGTERM)
                await until(lambda: len(workers.named("draining")) == 2, within_s=10)
                workers.started.process.send_signal(signal.SIGTERM)
                rest = await _until_broken(stream)
            assert b'"error"' in rest
            assert b"[DONE]" not in rest
            assert await workers.started.process.wait() == 0

    async def test_workers_end_when_their_supervisor_is_killed(self, config: Path) -> None:
        async with running(config) as workers:
            pids = list(workers.pids().values())
            workers.started.process.kill()
            await workers.started.process.wait()
            await until(lambda: not any(_is_alive(pid) for pid in pids), within_s=10)

    async def test_one_port_for_all(self, config: Path, tmp_path: Path) -> None:
        port_file = tmp_path / "port"
        async with running(config, "--port-file", str(port_file)) as workers:
            assert port_file.read_text() == f"{workers.started.port}\n"
            assert (await workers.chat())[0] == 200
        assert not port_file.exists()

    async def test_a_unix_socket_for_all(self, config: Path, tmp_path: Path) -> None:
        path = tmp_path / "gateway.sock"
        async with running(config, "--unix-socket", str(path)):
            connector = aiohttp.UnixConnector(str(path), force_close=True)
            async with aiohttp.ClientSession(connector=connector) as session:
                for _ in range(6):
                    body = {"model": "echo", "messages": HELLO}
                    async with session.post("http://localhost/v1/chat/completions", json=body) as answer:
                        assert answer.status == 200
        assert not path.exists()

    async def test_a_port_of_its_own_for_operators(self, config: Path) -> None:
        async with running(config, "--admin-port", "0") as workers:
            (urls,) = ({line["url"] for line in workers.named("listening for operators")},)
            (url,) = urls
            await workers.chat()
            async with workers.session.get(f"{url}/metrics") as answer:
                assert re.search(r'gateway_requests_total\{alias="echo",.*\} 1\.0', await answer.text())
            async with workers.session.get(f"{workers.url}/metrics") as answer:
                assert answer.status == 404


async def _until_broken(stream: aiohttp.ClientResponse) -> bytes:
    data = b""
    try:
        async for part in stream.content.iter_any():
            data += part
    except aiohttp.ClientPayloadError:
        return data
    raise AssertionError("the stream came to a clean end")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"


def test_their_number_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--workers", "1000"]) == 2
    assert "--workers is '1000'; it must be a whole number from 1 to 64" in capsys.readouterr().err
