"""A real llama.cpp server behind the gateway, asked by OpenAI's and Anthropic's clients on each of its wires."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import anthropic
import openai

from tests.clients.running import Installed
from tests.gateway_process import gateway_process
from tests.paths import ROOT
from tests.wires.lab import CLIENT_KEY

ROUTES: Final = """\
version: 1
providers:
  llama: {kind: openai, base_url: "ADDRESS/v1"}
  llama-messages: {kind: anthropic, base_url: "ADDRESS", api_key: none-needed}
models:
  tiny: llama/tiny
  tiny-claude: llama-messages/tiny
"""
HELLO: Final[Any] = [{"role": "user", "content": "hello"}]
WORDS: Final = 8


@contextmanager
def llama_server(installed: Installed, folder: Path) -> Iterator[str]:
    """Run llama.cpp's server and give its address."""
    command = [installed.python, ROOT / "tests/clients/programs/llama_server.py", folder]
    with (folder / "llama.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        if not (address := server.stdout.readline().strip()):
            raise RuntimeError(f"llama.cpp did not start: {(folder / 'llama.log').read_text()[-1000:]}")
        yield address
    finally:
        server.communicate("")


def faults(installed: Installed) -> list[str]:
    """Ask on every wire, plain and as a stream; return what went wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with llama_server(installed, folder) as address:
            (folder / "routes.yaml").write_text(ROUTES.replace("ADDRESS", address))
            return asyncio.run(_asked(folder))


async def _asked(folder: Path) -> list[str]:
    async with gateway_process(folder / "routes.yaml", log=folder / "gateway.log") as gateway:
        return await asyncio.to_thread(_ask_all, gateway.url)


def _ask_all(url: str) -> list[str]:
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key=CLIENT_KEY, max_retries=0) as one,
        anthropic.Anthropic(base_url=url, api_key=CLIENT_KEY, max_retries=0) as two,
    ):
        found = []
        for name, ask in _questions(one, two).items():
            try:
                said = ask()
            except Exception as error:  # noqa: BLE001 - each is a finding
                found.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
            else:
                if not said:
                    found.append(f"{name}: nothing was said")
        return found


def _questions(one: openai.OpenAI, two: anthropic.Anthropic) -> dict[str, Callable[[], object]]:
    chat: Any = {"model": "tiny", "messages": HELLO, "max_tokens": WORDS}
    text: Any = {"model": "tiny", "prompt": "hello", "max_tokens": WORDS}
    response: Any = {"model": "tiny", "input": "hello", "max_output_tokens": WORDS}
    message: Any = {"model": "tiny-claude", "messages": HELLO, "max_tokens": WORDS}

    def streamed_response() -> str:
        # Its events have no indices, without which the client's own helper puts nothing together.
        *_, last = one.responses.create(**response, stream=True)
        return str(last.response.output_text)

    def streamed_message() -> str:
        with two.messages.stream(**message) as stream:
            return "".join(stream.text_stream)

    def message_on_chat() -> bool:
        return bool(two.messages.create(**{**message, "model": "tiny"}).content)

    return {
        "chat": lambda: one.chat.completions.create(**chat).choices[0].message.content,
        "chat, stream": lambda: "".join(
            chunk.choices[0].delta.content or "" for chunk in one.chat.completions.create(**chat, stream=True)
        ),
        "completions": lambda: one.completions.create(**text).choices[0].text,
        "completions, stream": lambda: "".join(
            chunk.choices[0].text for chunk in one.completions.create(**text, stream=True)
        ),
        "responses": lambda: one.responses.create(**response).output_text,
        "responses, stream": streamed_response,
        "messages": lambda: two.messages.create(**message).content,
        "messages, stream": streamed_message,
        "count_tokens": lambda: two.messages.count_tokens(model="tiny-claude", messages=HELLO).input_tokens,
        "messages on chat": message_on_chat,
    }
