"""A real browser: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.server.conftest import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")


@dataclass
class Tab:
    """One page in a browser, and what it did."""

    page: Any
    asked: list[str] = field(default_factory=list)
    """The URLs that it asked for."""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of its console, and exceptions that nobody caught."""

    async def text(self, selector: str) -> str:
        return str(await self.page.inner_text(selector))

    async def until(self, script: str) -> None:
        """Return once an expression of JavaScript is true."""
        await until(lambda: self.page.evaluate(f"Boolean({script})"), within_s=15.0)


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with api.async_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = await driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        await chromium.close()


async def opened(browser: Any, url: str, *, width: int = 1280, **options: Any) -> Tab:
    """Open the page of the gateway at `url` in a tab of its own."""
    context = await browser.new_context(viewport={"width": width, "height": 900}, **options)
    tab = Tab(await context.new_page())
    tab.page.on("request", lambda request: tab.asked.append(request.url))
    tab.page.on("console", lambda line: tab.complaints.append(f"{line.type}: {line.text}"))
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.page.on("dialog", lambda dialog: tab.complaints.append(f"dialog: {dialog.message}"))
    await tab.page.goto(f"{url}/-/")
    return tab
