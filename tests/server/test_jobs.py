"""What goes on beside requests: adapters are made ready for the live table, and nothing stops for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.adapters.base import Adapters, Call, NotInstalled, Reply
from gateway.adapters.events import Stream
from gateway.config.compiler.compiler import Compiler
from gateway.config.reload import Reloader
from gateway.policy.target import AdapterName
from gateway.server.jobs import Jobs
from tests.server.conftest import save, until


class Counting:
    """An adapter that counts how often it was made ready, and fails as often as it is told to.

    With `slow` it is ready only once `loaded` is set.
    """

    def __init__(self, *, failures: int = 0, slow: bool = False, installed: bool = True) -> None:
        self.prepared = 0
        self.loaded = asyncio.Event()
        self._failures = failures
        self._installed = installed
        if not slow:
            self.loaded.set()

    async def prepare(self) -> None:
        self.prepared += 1
        await self.loaded.wait()
        if not self._installed:
            raise NotInstalled("needs a package, which is not installed here")
        if self.prepared <= self._failures:
            raise RuntimeError("not installed")

    async def complete(self, call: Call) -> Reply:
        raise AssertionError

    async def stream(self, call: Call) -> Stream:
        raise AssertionError

    async def close(self) -> None:
        raise AssertionError


class Stumbling(Reloader):
    """A reloader whose watch breaks down the first time."""

    watches = 0

    async def watch(self) -> None:
        self.watches += 1
        if self.watches == 1:
            raise RuntimeError("watch broke")
        await asyncio.Event().wait()


MOCK = "version: 1\nmodels: {a: mock/echo}\n"
LITELLM = "version: 1\nmodels: {a: mistral/mistral-large-latest, b: mock/echo}\n"


@asynccontextmanager
async def working(
    config: Path, adapters: dict[AdapterName, Counting], kind: type[Reloader] = Reloader
) -> AsyncIterator[tuple[Jobs, Reloader]]:
    jobs = Jobs()
    compiler = Compiler(environ={"ANTHROPIC_API_KEY": "sk-x"}, openai_adapter="relay", strict_env=True)
    reloader = kind(config, compiler, before_swap=jobs.before_swap, on_swap=jobs.swapped)
    reloader.load()
    given: Adapters = {**adapters}
    async with asyncio.TaskGroup() as group:
        work = group.create_task(jobs.run(reloader, given))
        yield jobs, reloader
        work.cancel()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(MOCK)
    return path


async def test_what_comes_first_is_waited_for_by_its_name(config: Path) -> None:
    jobs, loaded = Jobs(), asyncio.Event()

    async def load() -> None:
        await loaded.wait()

    jobs.prepare_first = "collector", load
    reloader = Reloader(config, Compiler(environ={}, openai_adapter="relay", strict_env=True))
    reloader.load()
    adapters: dict[AdapterName, Counting] = {"mock": Counting()}
    async with asyncio.TaskGroup() as group:
        work = group.create_task(jobs.run(reloader, {**adapters}))
        await until(lambda: jobs.waiting_for == ("collector",))
        assert not jobs.settled.is_set()
        loaded.set()
        await jobs.settled.wait()
        assert jobs.waiting_for == ()
        work.cancel()


async def test_an_adapter_is_made_ready_when_a_table_comes_that_needs_it(config: Path) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(), "relay": Counting()}
    async with working(config, adapters) as (_, reloader):
        await until(lambda: adapters["mock"].prepared)
        assert adapters["litellm"].prepared == 0
        save(config, LITELLM)
        await asyncio.to_thread(reloader.reload)
        await until(lambda: adapters["litellm"].prepared)
    assert adapters["relay"].prepared == 0


async def test_an_adapter_that_cannot_be_made_ready_is_logged_and_tried_at_the_next_swap(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting(failures=1)}
    async with working(config, adapters) as (_, reloader):
        await until(lambda: adapters["mock"].prepared == 1)
        await asyncio.to_thread(reloader.reload)
        await until(lambda: adapters["mock"].prepared == 2)
    assert [record.message for record in caplog.records if record.exc_info] == ["an adapter could not be made ready"]


async def test_an_adapter_that_is_not_installed_is_waited_for_by_nobody_and_its_providers_are_told(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[list[str]]:
        return [vars(record)["providers"] for record in caplog.records if record.levelname == "WARNING"]

    save(config, LITELLM)
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(installed=False)}
    async with working(config, adapters) as (jobs, reloader):
        await until(lambda: told() == [["mistral"]])
        assert jobs.waiting_for == ()
        both = f"{LITELLM[:-2]}, c: bedrock/amazon.nova-pro-v1:0}}\n"
        for text, last in ((both, ["bedrock", "mistral"]), (f"{both}# the same\n", None), (LITELLM, ["mistral"])):
            save(config, text)
            assert (await asyncio.to_thread(reloader.reload)).ok
            await until(lambda: last in (None, told()[-1]))  # noqa: B023 - used at once
        assert told() == [["mistral"], ["bedrock", "mistral"], ["mistral"]]
    assert adapters["litellm"].prepared == 1
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_watch_that_breaks_down_is_begun_again(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting()}
    async with working(config, adapters, Stumbling) as (_, reloader):
        assert isinstance(reloader, Stumbling)
        await until(lambda: reloader.watches == 2)
    assert "a background job failed and begins again" in caplog.messages


async def test_a_reload_that_is_asked_for_compiles_an_unchanged_file(config: Path) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting()}
    async with working(config, adapters) as (jobs, reloader):
        jobs.ask_reload()
        await until(lambda: reloader.current.generation == 2)
        jobs.ask_reload()
        await until(lambda: reloader.current.generation == 3)


async def test_at_the_start_the_gateway_waits_for_what_the_table_needs(config: Path) -> None:
    save(config, LITELLM)
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(slow=True)}
    async with working(config, adapters) as (jobs, _):
        await until(lambda: "litellm" in jobs.waiting_for)
        adapters["litellm"].loaded.set()
        await until(lambda: jobs.waiting_for == ())


async def test_a_table_that_first_needs_an_adapter_goes_live_once_that_is_loaded(config: Path) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(slow=True)}
    async with working(config, adapters) as (jobs, reloader):
        await until(lambda: jobs.waiting_for == ())
        save(config, LITELLM)
        async with asyncio.TaskGroup() as group:
            reload = group.create_task(asyncio.to_thread(reloader.reload))
            await until(lambda: adapters["litellm"].prepared)
            await asyncio.sleep(0.05)
            assert (reloader.current.generation, reload.done(), jobs.waiting_for) == (1, False, ())
            adapters["litellm"].loaded.set()
        assert reload.result().changed
        assert (reloader.current.generation, jobs.waiting_for) == (2, ())


async def test_a_later_edit_replaces_one_that_waits_for_an_adapter(config: Path) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(slow=True)}
    async with working(config, adapters) as (jobs, reloader):
        await until(lambda: jobs.waiting_for == ())
        save(config, LITELLM)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(asyncio.to_thread(reloader.reload))
            await until(lambda: adapters["litellm"].prepared)
            assert (await asyncio.to_thread(reloader.reload, dry_run=True)).ok
            save(config, MOCK.replace("a:", "other:"))
            second = await asyncio.to_thread(reloader.reload)
        assert second.changed
        assert not first.result().changed or first.result() is second
        assert list(reloader.current.routes) == ["other"]
        adapters["litellm"].loaded.set()
        await asyncio.sleep(0.05)
        assert list(reloader.current.routes) == ["other"]


@pytest.mark.parametrize("then", ["as it runs", "bad"])
async def test_an_edit_that_waits_is_dropped_when_the_file_no_longer_says_it(config: Path, then: str) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(slow=True)}
    async with working(config, adapters) as (jobs, reloader):
        await until(lambda: jobs.waiting_for == ())
        save(config, LITELLM)
        await asyncio.to_thread(reloader.reload, force=False, wait=False)
        await until(lambda: adapters["litellm"].prepared)
        await asyncio.to_thread(reloader.reload, force=False, wait=False)
        assert adapters["litellm"].prepared == 1, "the same text is not compiled again"
        save(config, MOCK if then == "as it runs" else "version: 2\n")
        await asyncio.to_thread(reloader.reload, force=False, wait=False)
        adapters["litellm"].loaded.set()
        await asyncio.sleep(0.05)
        assert reloader.current.generation == 1


async def test_a_gateway_that_stops_waits_for_no_adapter(config: Path) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(slow=True)}
    async with working(config, adapters) as (jobs, reloader):
        await until(lambda: jobs.waiting_for == ())
        save(config, LITELLM)
        waits = asyncio.get_running_loop().run_in_executor(None, reloader.reload)
        await until(lambda: adapters["litellm"].prepared)
    assert (await waits).generation == 1


async def test_a_dry_run_loads_nothing(config: Path) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting()}
    async with working(config, adapters) as (jobs, reloader):
        await until(lambda: jobs.waiting_for == ())
        save(config, LITELLM)
        assert (await asyncio.to_thread(reloader.reload, dry_run=True)).ok
        assert adapters["litellm"].prepared == 0


async def test_a_table_goes_live_without_an_adapter_that_cannot_be_loaded(config: Path) -> None:
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(failures=100)}
    async with working(config, adapters) as (jobs, reloader):
        await until(lambda: jobs.waiting_for == ())
        save(config, LITELLM)
        assert (await asyncio.to_thread(reloader.reload)).generation == 2
        assert jobs.waiting_for == ()


async def test_a_gateway_that_starts_without_what_it_needs_is_ready_once_an_edit_needs_it_no_more(config: Path) -> None:
    save(config, LITELLM)
    adapters: dict[AdapterName, Counting] = {"mock": Counting(), "litellm": Counting(failures=100)}
    async with working(config, adapters) as (jobs, reloader):
        await until(lambda: jobs.waiting_for == ("litellm",))
        save(config, MOCK)
        await asyncio.to_thread(reloader.reload)
        await until(lambda: jobs.waiting_for == ())
