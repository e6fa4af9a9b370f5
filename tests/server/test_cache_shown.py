"""What operators see of kept answers: `/-/state`, the page, the last requests, and `gateway top`."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from gateway.reports.problems import PLAIN
from gateway.reports.top import top_lines
from gateway.words import rough_size
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start

ROUTES = """\
version: 1
defaults: {retries: 0}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  faq: {chain: [up/a], cache: 1h}
  brief: {chain: [up/a], cache: {ttl: 1ms, stale_if_error: 1h}}
  plain: up/a
"""


async def state(gateway: RunningGateway) -> Any:
    return (await gateway.get("/-/state")).json


async def page(gateway: RunningGateway) -> str:
    return (await gateway.get("/-/")).body.decode()


async def top(gateway: RunningGateway) -> str:
    requests = (await gateway.get("/-/requests")).json
    return "\n".join(top_lines(await state(gateway), requests, PLAIN, url="http://gw", now=time.time()))


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES)
    return started


async def test_the_state_counts_hits_of_aliases_with_a_cache(gateway: RunningGateway) -> None:
    faq, _, plain = (await state(gateway))["aliases"]
    assert faq["cache"] == {"hits": 0, "misses": 0, "bypassed": 0, "hit_share": None}
    assert "cache" not in plain
    for _ in range(4):
        await gateway.chat("faq")
    await gateway.chat("faq", headers={"cache-control": "no-store"})
    await gateway.chat("plain")
    told = await state(gateway)
    assert told["aliases"][0]["cache"] == {"hits": 3, "misses": 1, "bypassed": 1, "hit_share": 0.75}
    assert told["aliases"][0]["last_quarter"] == {"requests": 5, "fell_over": 0}
    assert told["aliases"][2]["last_quarter"] == {"requests": 1, "fell_over": 0}
    assert told["cache"]["entries"] == 1
    assert 512 < told["cache"]["bytes"] < 4096
    assert told["cache"]["max_bytes"] == 64 * 1024 * 1024


async def test_the_page_and_top_show_them(gateway: RunningGateway) -> None:
    for _ in range(4):
        await gateway.chat("faq")
    shown = await page(gateway)
    assert "Kept answers, 15 min" in shown
    assert re.search(r"1 kept answer, [\d.]+(KiB| bytes) of 64MiB", shown)
    assert re.search(r"<span>75% of 4</span>", shown)
    assert '<span class="dim">a kept answer of up/a</span>' in shown
    assert "no target was asked" not in shown
    text = await top(gateway)
    assert re.search(r"faq +up/a +0% of 4 +75% of 4 +up/a\n", text)
    assert re.search(r"plain +up/a +- +- +up/a\n", text)
    assert re.search(r"in flight · 1 kept answer, \S+ (bytes )?of 64MiB", text)
    assert len(re.findall("a kept answer of up/a", text)) == 3


async def test_an_answer_that_is_too_old_is_told_behind_the_attempts(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    await gateway.chat("brief")
    upstream.script("a", status=500)
    await asyncio.sleep(0.002)
    assert (await gateway.chat("brief")).status == 200
    told = (await gateway.get("/-/requests")).json["requests"]
    assert [one["cache"] for one in told] == ["miss", "stale"]
    assert "up/a server_error 500" in (text := await top(gateway))
    assert " > a kept answer that is too old of up/a" in text
    shown = await page(gateway)
    assert "a kept answer that is too old of up/a" in shown
    assert 'data-outcome="fell"' in shown


async def test_without_an_alias_with_a_cache_nothing_is_shown(start: Start) -> None:
    gateway = await start("version: 1\nmodels: {plain: mock/a}\n")
    assert "Kept answers" not in await page(gateway)
    assert "kept answer" not in await top(gateway)
    assert (await state(gateway))["cache"]["entries"] == 0


async def test_a_gateway_without_room_says_so(start: Start) -> None:
    gateway = await start(ROUTES, cache_bytes=0)
    assert "no kept answers: --cache-size is 0" in await page(gateway)
    assert "no kept answers: --cache-size is 0" in await top(gateway)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1536, "1.5KiB"), (35_000, "34.2KiB"), (1 << 26, "64MiB")],
)
def test_sizes_are_told_roughly(size_bytes: int, text: str) -> None:
    assert rough_size(size_bytes) == text
