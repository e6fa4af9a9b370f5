"""The operators' page in a real browser.

Screenshots are left in `build/page/`: light, dark and narrow.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.browser import browser as browser
from tests.browser import needs_chromium, opened
from tests.gateway_process import gateway_process
from tests.paths import ROOT
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start, save
from tests.server.test_live import BAD, HOSTILE
from tests.server.test_workers import config as config
from tests.server.test_workers import config_text, running

pytestmark = [needs_chromium, pytest.mark.timeout(60)]
SHOTS = ROOT / "build" / "page"
ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  openai: {base_url: "BASE_URL", api_key: sk-upstream}
  anthropic: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  vllm: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  smart: {description: the best that answers, chain: [openai/gpt-5.5, anthropic/claude-sonnet-4-5]}
  fast: vllm/llama-3.1-8b
  canary: [{pool: {openai/gpt-5.4-mini: 9, vllm/llama-4: 1}}]
  "team/*": "vllm/*"
"""


async def busy(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    """Make requests of every kind: answered, fallen over, failed, unknown, streamed, broken."""
    for _ in range(3):
        await gateway.chat("fast")
        await gateway.chat("canary")
    await gateway.chat("fast", stream=True)
    upstream.script("gpt-5.5", status=503, delay_s=0.15)
    upstream.script("claude-sonnet-4-5", reply="hello", delay_s=0.3)
    for _ in range(5):
        await gateway.chat("smart")
    upstream.script("nothing", status=400)
    await gateway.chat("team/nothing")
    await gateway.chat("nobody")


async def test_every_block_is_filled_and_an_edit_is_broken_and_mended_while_it_is_open(
    start: Start, upstream: ScriptedOpenAI, browser: Any
) -> None:
    gateway = await start(ROUTES)
    await busy(gateway, upstream)
    tab = await opened(browser, gateway.url)
    assert "✓ the file is what runs" in await tab.text("#truth")
    assert (await tab.text("#targets tbody tr")).startswith("openai/gpt-5.5")
    assert "left" in await tab.text("#targets tbody tr")
    assert "(at rest)" in await tab.text("#aliases tbody tr")
    assert await tab.page.locator("#requests tbody tr").count() == 14
    assert await tab.page.locator("#requests svg").count() >= 3
    assert "loaded" in await tab.text("#reloads")

    good = gateway.config.read_text()
    save(gateway.config, good.replace("vllm/llama-3.1-8b", "llama"))
    await tab.until("document.querySelector('#refused')")
    assert f"{gateway.config}:" in await tab.text("#refused pre")
    assert "no-provider: models.fast" in await tab.text("#refused pre")
    assert "Generation 1 of" in await tab.text("#refused")
    SHOTS.mkdir(parents=True, exist_ok=True)
    await tab.page.screenshot(path=SHOTS / "light.png", full_page=True)
    save(gateway.config, good.replace("vllm/llama-3.1-8b", "vllm/llama-3.3-70b"))
    await tab.until("!document.querySelector('#refused') && document.querySelector('#truth').innerText.includes('2')")
    assert "replaced by vllm/llama-3.3-70b" in await tab.text("#reloads")
    assert tab.complaints == []
    assert {url.split("/-/")[0] for url in tab.asked} == {gateway.url}


async def test_new_requests_appear_and_the_filters_stay(start: Start, upstream: ScriptedOpenAI, browser: Any) -> None:
    gateway = await start(ROUTES)
    await busy(gateway, upstream)
    tab = await opened(browser, gateway.url)
    visible = "[...document.querySelectorAll('#requests tbody tr')].filter(row => !row.hidden)"
    await tab.page.select_option("#only", "fell")
    assert await tab.page.evaluate(f"{visible}.length") == 5
    await tab.page.select_option("#only", "failed")
    await tab.page.fill("#having", "NOTHING")
    assert await tab.text("#shown") == "1 of 14"
    await gateway.chat("fast")
    await gateway.chat("team/nothing")
    await tab.until(f"{visible}.length === 2")
    assert await tab.page.evaluate("document.activeElement.id") == "having"
    assert tab.complaints == []


async def test_an_alias_is_explained_by_keyboard_with_supposed_failures(start: Start, browser: Any) -> None:
    gateway = await start(ROUTES)
    tab = await opened(browser, gateway.url)
    await tab.page.focus("a[data-alias=smart]")
    await tab.page.keyboard.press("Enter")
    await tab.until("document.querySelector('#verdict').innerText === 'Answered by openai/gpt-5.5 after 1 call.'")
    await tab.page.focus("#fails-0")
    await tab.page.keyboard.press("Space")
    await tab.until("document.querySelector('#verdict').innerText.startsWith('Answered by anthropic/')")
    await tab.page.select_option("#kind-0", "bad_request")
    await tab.until("document.querySelector('#verdict').innerText.startsWith('The client gets 400')")
    assert "not called" in await tab.text("#walk")
    await tab.page.keyboard.press("Escape")
    assert await tab.page.evaluate("document.activeElement.dataset.alias") == "smart"
    assert tab.complaints == []


async def test_an_alias_with_a_cache_says_how_long_its_answers_are_kept(start: Start, browser: Any) -> None:
    cached = "  faq: {chain: [vllm/llama-4], cache: {ttl: 2h, scope: shared}}\n"
    stored = "  stored: {chain: [{target: vllm/llama-4, params: {store: true}}], cache: 2h}\n"
    gateway = await start(ROUTES + cached + stored)
    tab = await opened(browser, gateway.url)
    for alias, said in (
        ("faq", "The answer is kept for 2 h, for all clients."),
        ("stored", "Nothing is kept: it has `store: true`, so the upstream keeps it."),
    ):
        await tab.page.click(f"a[data-alias={alias}]")
        await tab.until("document.querySelector('#walk table')")
        assert (await tab.text("#verdict")).endswith(said)
        await tab.page.click("#close")
    assert "Kept answers, 15 min" in await tab.text("#aliases")
    assert "0 kept answers, 0 bytes of 64MiB" in await tab.text("#aliases")
    assert tab.complaints == []


async def test_hostile_names_stay_texts(start: Start, upstream: ScriptedOpenAI, browser: Any) -> None:
    gateway = await start(HOSTILE)
    upstream.script("a", status=500)
    names = ("<script>alert(1)</script>", '"onmouseover="x', "{{requests}}")
    for name in (*names, "<img src=x onerror=alert(3)>"):
        await gateway.chat(name)
    tab = await opened(browser, gateway.url)
    links = tab.page.locator("#aliases a")
    assert await links.all_inner_texts() == list(names)
    for place, name in enumerate(names):
        await links.nth(place).click()
        await tab.until("document.querySelector('#walk table')")
        assert await tab.text("#explain-name") == name
        await tab.page.click("#close")
    save(gateway.config, HOSTILE + '  "<img src=x onerror=alert(4)>": ["<img src=x onerror=alert(5)>"]\n')
    await tab.until("document.querySelector('#refused')")
    assert "<img src=x onerror=alert(5)>" in await tab.text("#refused pre")
    assert await tab.page.locator("main img, main script, #explain img, #explain script").count() == 0
    assert tab.complaints == []


@pytest.mark.parametrize(("name", "width", "scheme"), [("dark", 1280, "dark"), ("narrow", 400, "light")])
async def test_it_is_readable_dark_and_narrow(
    start: Start, upstream: ScriptedOpenAI, browser: Any, name: str, width: int, scheme: str
) -> None:
    gateway = await start(ROUTES)
    await busy(gateway, upstream)
    save(gateway.config, BAD)
    await gateway.request("POST", "/-/reload")
    tab = await opened(browser, gateway.url, width=width, color_scheme=scheme)
    assert await tab.page.evaluate("document.documentElement.scrollWidth") == width
    assert await tab.page.evaluate(
        "(pre => pre.scrollWidth <= pre.clientWidth)(document.querySelector('#refused pre'))"
    )
    SHOTS.mkdir(parents=True, exist_ok=True)
    await tab.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
    light = await tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light is (scheme == "light")
    assert tab.complaints == []


async def test_it_says_when_the_gateway_does_not_answer_any_more(start: Start, browser: Any) -> None:
    gateway = await start(ROUTES)
    tab = await opened(browser, gateway.url)
    await tab.page.context.set_offline(True)
    await tab.until("!document.querySelector('#stale').hidden")
    assert "No answer from the gateway since" in await tab.text("#stale")
    await tab.page.context.set_offline(False)
    await tab.until("document.querySelector('#stale').hidden")


async def test_an_explanation_that_does_not_come_is_told(start: Start, browser: Any) -> None:
    gateway = await start(ROUTES)
    tab = await opened(browser, gateway.url)
    await tab.page.context.set_offline(True)
    await tab.page.click("a[data-alias=smart]")
    await tab.until("document.querySelector('#verdict').innerText.startsWith('No answer from the gateway')")
    await tab.page.context.set_offline(False)
    await tab.page.click("#close")
    await tab.page.click("a[data-alias=smart]")
    await tab.until("document.querySelector('#verdict').innerText.startsWith('Answered by')")


@pytest.mark.slow
async def test_it_says_so_when_the_gateway_hangs(start: Start, browser: Any) -> None:
    gateway = await start(ROUTES)
    tab = await opened(browser, gateway.url)
    await tab.page.route("**/-/", lambda _: None)  # nobody answers
    await tab.until("!document.querySelector('#stale').hidden")
    await tab.page.unroute_all()
    await tab.until("document.querySelector('#stale').hidden")


async def test_without_javascript_it_is_whole_and_loads_itself_anew(start: Start, browser: Any) -> None:
    gateway = await start(ROUTES)
    await gateway.chat("fast")
    tab = await opened(browser, gateway.url, java_script_enabled=False)
    assert "vllm/llama-3.1-8b" in await tab.text("#requests")
    assert not await tab.page.is_visible("#filters")
    assert await tab.page.locator("noscript").count() == 2


async def test_with_workers_it_tells_of_all(config: Path, browser: Any) -> None:
    async with running(config) as workers:
        for _ in range(30):
            await workers.chat("fast")
        tab = await opened(browser, workers.url)
        assert "2 workers" in await tab.text("#truth")
        assert await tab.page.locator("#requests tbody tr").count() == 30
        assert "0% of 30" in await tab.text("#aliases tbody tr")
        await workers.chat()
        await tab.until("document.querySelector('#requests tbody tr').innerText.includes('mock/echo')")
        assert await tab.page.locator("#requests tbody tr").count() == 31
        good = config_text(config)
        save(config, good.replace("mock/echo", "echo"))
        await tab.until("document.querySelector('#refused')")
        assert "no-provider: models.echo" in await tab.text("#refused pre")
        save(config, good + "  more: mock/echo\n")
        await tab.until(
            "!document.querySelector('#refused') && document.querySelector('#truth').innerText.includes('2')"
        )
        assert "+ more: new, goes to mock/echo" in await tab.text("#reloads")
        assert tab.complaints == []


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_thousand_requests_a_second_leave_it_usable_and_right(
    tmp_path: Path, browser: Any, workers: int
) -> None:
    """The load has a second for a thousand requests, and as long as it takes where the machine is slower."""
    count, connections = 3000, 8
    config = tmp_path / "routes.yaml"
    config.write_text("version: 1\nmodels: {echo: mock/echo, pair: [mock/status-503, mock/one]}\n")
    flags = ("--workers", str(workers)) if workers > 1 else ()
    async with (
        gateway_process(config, log=tmp_path / "log", flags=flags) as gateway,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        tab = await opened(browser, gateway.url)
        began_s = time.monotonic()

        async def ask(first: int) -> None:
            for number in range(first, count, connections):
                await asyncio.sleep(max(0.0, began_s + number / 1000 - time.monotonic()))
                body = {"model": "echo", "messages": HELLO}
                async with session.post(f"{gateway.url}/v1/chat/completions", json=body) as answer:
                    await answer.read()
                    assert answer.status == 200

        async with asyncio.TaskGroup() as group:
            load = [group.create_task(ask(first)) for first in range(connections)]
            await tab.page.click("a[data-alias=pair]")
            await tab.until("document.querySelector('#verdict').innerText.startsWith('Answered by mock/one')")
            await tab.page.click("#close")
            await tab.page.fill("#having", "nothing has this")
            await tab.until("document.querySelector('#shown').innerText.startsWith('0 of ')")
            await tab.page.fill("#having", "")
            assert not all(each.done() for each in load)
        await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # to be asked at once
        await tab.until(f"document.querySelector('[data-last]').dataset.last === '{count}'")
        cells = [" ".join(row.split()) for row in await tab.page.locator("#aliases tbody tr").all_inner_texts()]
        assert f"0% of {count}" in cells[0]
        echo = tab.page.locator("#targets tbody tr", has_text="mock/echo")
        assert await echo.locator("td[data-head='Calls/min']").inner_text() == str(count)
        assert await echo.locator("td[data-head=Success]").inner_text() == "100%"
        ids = await tab.page.evaluate("[...document.querySelectorAll('#requests tbody tr')].map(row => row.id)")
        assert ids == [f"request-{number}" for number in range(count, count - 200, -1)]
        assert tab.complaints == []
