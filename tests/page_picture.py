"""Takes the picture of the operators' page in the docs: `python -m tests.page_picture`, with Debian's Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Final

import aiohttp
from playwright.async_api import async_playwright

from tests.paths import ROOT

PICTURE: Final = ROOT / "docs" / "page.png"
ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 10s, cooldown: {failures: 3, for: 90s}}
providers:
  openai: {kind: mock, script: [{status: 503, delay: 150ms}]}
  anthropic: {kind: mock, script: [{text: hello, delay: 310ms}]}
  vllm: {kind: mock, script: [{text: hello, delay: 40ms}]}
  azure-eu: {kind: mock, script: [{status: 429, retry_after: 120}]}
models:
  smart: {description: the best that answers, chain: [openai/gpt-5.5, azure-eu/gpt-5.5, anthropic/claude-sonnet-4-5]}
  fast: vllm/llama-3.1-8b
  canary: [{pool: {vllm/llama-3.1-8b: 9, vllm/llama-4: 1}}]
  "team/*": "vllm/*"
"""


async def take() -> None:
    """Serve a file, make requests, break the file, and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "routes.yaml"
        config.write_text(ROUTES)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", "routes.yaml", "--port", "0",
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=PIPE, stderr=DEVNULL,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().split()[-1]
            async with aiohttp.ClientSession() as session:
                for model in (
                    "fast",
                    "canary",
                    "nobody",
                    "team/llama-3.3",
                    "fast",
                    "smart",
                    "smart",
                    "smart",
                    "fast",
                    "smart",
                ):
                    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
                    await (await session.post(f"{url}/v1/chat/completions", json=body)).read()
                config.write_text(ROUTES.replace("fast: vllm/", "fast: ").replace("8b\n", "70b\n", 1))
                await (await session.post(f"{url}/-/reload")).read()
            await _picture(url)
        finally:
            process.terminate()
            await process.wait()


async def _picture(url: str) -> None:
    async with async_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = await browser.new_page(viewport={"width": 1200, "height": 1190})
        await page.goto(f"{url}/-/")
        await page.screenshot(path=PICTURE)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(take())
