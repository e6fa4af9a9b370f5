"""Counts of days and months in `--state-dir`: over restarts and kills, and whatever the file holds."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from pathlib import Path

import aiohttp
import orjson
import pytest

from gateway.engine.limits.kept import Count
from gateway.server import kept_counts
from gateway.server.kept_counts import KeptCounts
from tests.gateway_process import GatewayProcess, gateway_process
from tests.server.conftest import HELLO, save, until

ROUTES = """\
version: 1
clients:
  default: {limits: [100 requests/minute, 3 requests/day]}
models:
  echo: mock/echo
"""
KEY = "client/ requests/day"
TODAY_S = time.time() // 86400 * 86400


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


async def chat(process: GatewayProcess) -> int:
    async with aiohttp.ClientSession() as session:
        body = {"model": "echo", "messages": HELLO}
        async with session.post(f"{process.url}/v1/chat/completions", json=body) as response:
            await response.read()
            return response.status


def the_file(folder: Path) -> Path | None:
    return next(folder.glob("counts-*.json"), None)


@pytest.mark.timeout(30)
async def test_what_a_day_has_used_outlives_an_end_in_order_and_a_kill(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    flags, log = ["--state-dir", str(folder)], tmp_path / "log"
    async with gateway_process(config, log=log, flags=flags) as process:
        assert await chat(process) == 200
    assert "is forgotten" not in log.read_text()
    path = the_file(folder)
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [row[::2] for row in orjson.loads(path.read_bytes())["counts"]] == [[KEY, 1.0]]
    async with gateway_process(config, log=log, flags=flags) as process:
        assert await chat(process) == 200
        written = path.read_bytes()
        await until(lambda: path.read_bytes() != written, within_s=kept_counts.WRITE_S + 3)
        process.process.kill()
        await process.process.wait()
    async with gateway_process(config, log=log, flags=flags) as process:
        assert [await chat(process) for _ in range(2)] == [200, 429]


async def test_without_a_place_for_them_one_line_says_that_counts_are_forgotten(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with gateway_process(config, log=log) as process:
        assert await chat(process) == 200
    lines = [line for line in log.read_text().splitlines() if "is forgotten when the process ends" in line]
    assert [orjson.loads(line)["limit"] for line in lines] == ["3 requests/day"]
    save(config, ROUTES.replace(", 3 requests/day", ""))
    async with gateway_process(config, log=log) as process:
        assert await chat(process) == 200
    assert "is forgotten" not in log.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"version":1,"counts":[["a requests/day",', "it is no JSON"),
        ("[]", "another version"),
        ('{"version":2,"counts":[]}', "another version"),
        ('{"version":1,"counts":[["a requests/day",0,-1]]}', "a count is not"),
        ('{"version":1,"counts":[["a requests/day",1e300,1]]}', "a count is not"),
        ('{"version":1,"counts":[[7,0,1]]}', "a count is not"),
        ('{"version":1,"counts":[["a requests/day",true,"1"]]}', "a count is not"),
    ],
)
def test_a_damaged_file_is_a_warning_and_no_more(
    config: Path, folder: Path, caplog: pytest.LogCaptureFixture, text: str, reason: str
) -> None:
    counts = KeptCounts(folder, config)
    counts.path.write_text(text)
    assert list(counts.read()) == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.__dict__["reason"]
    counts.write([Count(KEY, TODAY_S, 2.0)])
    assert list(KeptCounts(folder, config).read()) == [Count(KEY, TODAY_S, 2.0)]


def test_windows_that_are_over_and_empty_buckets_leave_the_file(config: Path, folder: Path) -> None:
    counts = KeptCounts(folder, config)
    rows = [Count(f"client/{name} requests/day", TODAY_S, 1.0) for name in "abc"]
    counts.write(rows)
    counts.write([rows[0]._replace(used=0.0), rows[1]._replace(begin_s=TODAY_S - 86400)])
    assert list(KeptCounts(folder, config).read()) == [rows[2]]
    tomorrow = KeptCounts(folder, config, wall_clock=lambda: TODAY_S + 86400 + 60)
    assert list(tomorrow.read()) == []


def test_nothing_is_written_while_nothing_changes_and_a_failure_is_told_once_and_made_good(
    config: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = KeptCounts(folder, config)
    counts.write()
    assert not counts.path.exists()
    counts.path.mkdir()
    for _ in range(2):
        counts.write([Count(KEY, TODAY_S, 2.0)])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    counts.path.rmdir()
    counts.write()
    assert list(KeptCounts(folder, config).read()) == [Count(KEY, TODAY_S, 2.0)]
    assert os.listdir(folder) == [counts.path.name]


async def test_the_loop_goes_on_while_a_hundred_thousand_counts_are_written(config: Path, folder: Path) -> None:
    rows = [Count(f"client/{number} requests/day", TODAY_S, 1.0) for number in range(100_000)]

    class Source:
        def changes(self) -> object:
            return lambda: rows

    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counts = KeptCounts(folder, config)
    turning = asyncio.create_task(turn())  # noqa: TID251 - it is cancelled here
    await counts.close(Source())  # type: ignore[arg-type]  # no more of a source is asked for
    turning.cancel()
    assert turns > 10, "the thread gives way"
    assert len(list(KeptCounts(folder, config).read())) == 100_000
