"""Limits with `--workers N`: a limit of 100 is 100, whichever worker is asked, and whichever of them is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tests.server.conftest import HELLO, until
from tests.server.test_workers import Workers, running

pytestmark = pytest.mark.timeout(60)

ROUTES = """\
version: 1
clients:
  default: {limits: [LIMITS]}
models:
  echo: mock/echo
  slow: snail/any
  late: late/any
providers:
  late: {kind: mock, script: [{text: words that come late, delay: 4s}]}
  snail: {kind: mock, script: [{text: words that take their time, delay: 20s}]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "routes.yaml"


def write(config: Path, *limits: str) -> None:
    config.write_text(ROUTES.replace("LIMITS", ", ".join(limits)))


async def ask(workers: Workers, count: int, *, tokens: int = 100, model: str = "echo") -> Counter[int]:
    """Ask so often at once, with this output limit, and return how often which status came."""
    body = {"model": model, "messages": HELLO, "max_tokens": tokens}

    async def one() -> int:
        async with workers.session.post(f"{workers.url}/v1/chat/completions", json=body) as answer:
            await answer.read()
            return answer.status

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def test_two_hundred_at_once_get_what_a_budget_for_a_hundred_has(config: Path) -> None:
    write(config, "100 requests/day")
    async with running(config) as workers:
        assert await ask(workers, 200) == {200: 100, 429: 100}
        served = [row for row in (await workers.get("/-/state"))["workers"] if row["requests"]]
        assert len(served) == 2, "both were asked"
        assert await workers.metric("gateway_limits_counted_alone") == 0


async def test_no_more_is_admitted_than_the_estimates_of_all_workers_allow_and_what_is_not_used_comes_back(
    config: Path,
) -> None:
    write(config, "10k tokens/day")
    async with running(config) as workers:
        found = await ask(workers, 200, tokens=98, model="late")  # with its input, each is expected to use 99 or 100
        assert found == {200: found[200], 429: 200 - found[200]}
        assert 100 <= found[200] <= 101
        used = found[200] * 10  # at most: two tokens of input, six of output
        assert await ask(workers, 1, tokens=10_000 - used) == {200: 1}, "all but what was used is free again"


async def test_the_end_of_a_worker_frees_what_it_had_at_once_and_no_count(config: Path) -> None:
    write(config, "4 concurrent", "50 requests/day")
    async with running(config) as workers:
        body = {"model": "slow", "messages": HELLO}
        slow = [
            asyncio.ensure_future(workers.session.post(f"{workers.url}/v1/chat/completions", json=body))  # noqa: TID251 - gathered below
            for _ in range(4)
        ]

        async def are_full() -> bool:
            await asyncio.sleep(0.25)  # each that is let in takes from the day
            return await ask(workers, 1) == {429: 1}

        await until(are_full, within_s=5)
        for pid in workers.pids().values():
            os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*slow, return_exceptions=True)
        await until(lambda: len(workers.named("a worker starts")) == 4, within_s=10)

        async def are_free() -> bool:
            return (await ask(workers, 1))[200] == 1

        await until(are_free, within_s=10)
        counted = Counter[int]()
        for _ in range(60):
            counted += await ask(workers, 1)
        assert counted[200] <= 50 - 4
        assert counted[429] >= 60 - (50 - 4)


async def test_a_worker_that_is_killed_in_mid_load_and_replaced_ones_go_on_with_the_counts(config: Path) -> None:
    write(config, "100 requests/day")
    async with running(config) as workers:
        assert await ask(workers, 40) == {200: 40}
        victim = workers.pids()[0]
        load = [asyncio.ensure_future(ask(workers, 1)) for _ in range(20)]  # noqa: TID251 - gathered below
        os.kill(victim, signal.SIGKILL)
        ended = await asyncio.gather(*load, return_exceptions=True)
        good = sum(one[200] for one in ended if isinstance(one, Counter))
        await until(lambda: len(workers.named("a worker starts")) == 3, within_s=10)
        await until(lambda: len(workers.named("listening")) == 4, within_s=10)
        workers.started.process.send_signal(signal.SIGUSR2)
        await until(lambda: workers.named("all workers were replaced"), within_s=20)
        rest = await ask(workers, 100)
        assert 100 - 40 - 20 <= rest[200] <= 100 - 40 - good
        assert await ask(workers, 10) == {429: 10}


async def test_with_a_state_folder_the_supervisor_keeps_the_counts(config: Path, tmp_path: Path) -> None:
    write(config, "5 requests/day")
    folder = tmp_path / "state"
    async with running(config, "--state-dir", str(folder)) as workers:
        assert await ask(workers, 3) == {200: 3}
        assert not [line for line in workers.events() if "forgotten" in line["event"]]
    (path,) = folder.glob("counts-*.json")
    assert [row[::2] for row in orjson.loads(path.read_bytes())["counts"]] == [["client/ requests/day", 3.0]]
    async with running(config, "--state-dir", str(folder)) as workers:
        assert await ask(workers, 10) == {200: 2, 429: 8}
    async with running(config) as workers:
        assert len([line for line in workers.events() if "forgotten" in line["event"]]) == 1
