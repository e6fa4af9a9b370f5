"""`gateway top` shows on a terminal what a running gateway does."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.asking import asked
from tests.asking import no_settings as no_settings
from tests.gateway_process import gateway_process
from tests.paths import ROOT
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, save, until
from tests.server.test_live import BAD

pytestmark = pytest.mark.usefixtures("no_settings")


async def top(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    return await asked(capsys, "top", *flags)


async def test_it_answers_what_is_down_what_was_tried_and_whether_the_edit_is_live(
    gateway: RunningGateway, upstream: ScriptedOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.script("a", status=503)
    for _ in range(4):
        await gateway.chat("pair")
    await gateway.chat("nobody")
    await gateway.get("/v2/\x1b[31mred")
    save(gateway.config, BAD)
    await gateway.request("POST", "/-/reload")
    code, out, err = await top(capsys, "--url", gateway.url)
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith(f"{gateway.url}: ready · generation 1 since ")
    assert lines[0].endswith("the last edit was refused · 4 aliases · 0 in flight")
    assert "generation 1 is served instead" in lines[1]
    assert lines[2].startswith(f"{gateway.config}:3:9: no-provider: models.fast")
    text = "\n".join(lines)
    assert "up/a at rest 1" in text
    assert "pair up/b 100% of 4 up/a (at rest) > up/b" in text
    assert "up/a overloaded 503 " in text
    assert "up/a passed over: cooldown > up/b ok" in text
    assert "404 model_not_found" in text
    assert "\x1b" not in out


async def test_members_of_a_pool_are_told_apart_from_fallbacks(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = await start("version: 1\nmodels: {spread: [{pool: {mock/a: 3, mock/b: 1}}, mock/c]}\n")
    _, out, _ = await top(capsys, "--url", gateway.url)
    assert "  mock/a 75% | mock/b 25% > mock/c\n" in out


async def test_a_unix_socket_and_a_token_lead_there_too(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text("sk-the-token\n")
    await start(unix_socket=tmp_path / "s", admin_token_file=token)
    code, _, err = await top(capsys, "--unix-socket", str(tmp_path / "s"))
    assert (code, "401" in err) == (2, True)
    code, out, _ = await top(capsys, "--unix-socket", str(tmp_path / "s"), "--token-file", str(token))
    assert (code, out.startswith(f"unix:{tmp_path / 's'}: ready")) == (0, True)


async def test_where_nothing_answers_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = await top(capsys, "--url", "http://127.0.0.1:9")
    assert (code, out) == (2, "")
    assert err == "gateway: cannot reach a gateway at http://127.0.0.1:9: connection refused; is it running?\n"


async def test_a_token_leads_there_over_tcp_too(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text("sk-the-token\n")
    gateway = await start(admin_token_file=token)
    code, _, err = await top(capsys, "--url", gateway.url, "--once")
    assert (code, "--token-file names the file" in err) == (2, True)
    code, out, _ = await top(capsys, "--url", gateway.url, "--token-file", str(token), "--once")
    assert (code, out.startswith(f"{gateway.url}: ready")) == (0, True)


class Screen:
    """`gateway top` on a terminal of its own."""

    def __init__(self, ours: int, process: asyncio.subprocess.Process) -> None:
        self._ours = ours
        self.process = process
        self.seen = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def last(self) -> str:
        """What was drawn last, whole."""
        self._read()
        return self.seen.rpartition(b"\x1b[J")[0].rpartition(b"\x1b[H")[2].decode()

    async def shows(self, text: str) -> None:
        await until(lambda: text in self.last, within_s=8.0)

    async def leaves(self) -> int:
        """Wait for the end, and return the exit code."""
        code = await self.process.wait()
        self._read()
        assert self.seen.startswith(b"\x1b[?1049h")
        assert self.seen.endswith(b"\x1b[?1049l"), "the terminal is as it was"
        return code

    def _read(self) -> None:
        with suppress(BlockingIOError, OSError):
            while part := os.read(self._ours, 65536):
                self.seen += part


@asynccontextmanager
async def on_a_terminal(*flags: str) -> AsyncIterator[Screen]:
    ours, its = pty.openpty()
    os.set_blocking(ours, False)
    # As a shell exports them: they tell nothing of a later size.
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "300", "LINES": "300"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "top", *flags),
        cwd=ROOT,
        env=environ,
        stdin=its,
        stdout=its,
        stderr=its,
        process_group=0,  # as a shell does: in an orphaned group, such as a daemon's, SIGTSTP stops nobody
    )
    os.close(its)
    screen = Screen(ours, process)
    screen.resize(100, 40)
    try:
        yield screen
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)


async def test_on_a_terminal_it_is_drawn_anew_until_ctrl_c(gateway: RunningGateway) -> None:
    async with on_a_terminal("--url", gateway.url) as screen:
        await screen.shows("last requests")
        await gateway.chat("echo")
        await screen.shows("mock/echo ok")
        await gateway.chat("nobody")
        await screen.shows("no target was asked")
        screen.resize(30, 6)
        await until(lambda: screen.last.count("\n") == 5)
        assert all(len(line) <= 30 for line in screen.last.split("\x1b[K\r\n") if "\x1b" not in line)
        screen.process.send_signal(signal.SIGINT)
        assert await screen.leaves() == 0


MANY = """\
version: 1
defaults: {retries: 0, cooldown: {failures: 2, for: 5m}}
providers:
  main: {kind: mock, script: [{status: 503}]}
models:
"""


async def test_24_lines_of_80_characters_have_room_for_all_four_answers(start: Start) -> None:
    aliases = "".join(f"  alias-{number}: mock/model-{number}\n" for number in range(20))
    pair = "  assistant: [main/gpt-5.5-of-the-first-vendor, mock/claude-sonnet-4-5-of-another-one]\n"
    gateway = await start(MANY + aliases + pair)
    for _ in range(3):
        await gateway.chat("assistant")
    save(gateway.config, MANY + aliases + pair.replace("main/", "mian/"))
    await gateway.request("POST", "/-/reload")
    async with on_a_terminal("--url", gateway.url) as screen:
        screen.resize(80, 24)
        await until(lambda: screen.last.count("\n") == 23)
        shown = " ".join(screen.last.replace("\x1b[K\r\n", " ").split())
        assert "generation 1 is served instead" in shown
        assert "no provider named 'mian'" in shown
        assert re.search(r"main/gpt-5.5-of-the-first-vendor at rest [45]m", shown)
        assert "assistant mock/claude-sonnet-4-5-of-another-one 100% of 3" in shown
        assert (
            "main/gpt-5.5-of-the-first-vendor passed over: cooldown > mock/claude-sonnet-4-5-of-another-one ok "
            in shown
        )


async def test_it_goes_on_when_the_gateway_is_started_again_and_gives_the_terminal_back(tmp_path: Path) -> None:
    config, path = tmp_path / "routes.yaml", tmp_path / "socket"
    save(config, "version: 1\nmodels: {a: mock/echo}\n")
    flags = ("--unix-socket", str(path))
    async with AsyncExitStack() as stack:
        async with gateway_process(config, log=tmp_path / "log", flags=flags):
            screen = await stack.enter_async_context(on_a_terminal("--unix-socket", str(path)))
            await screen.shows("ready")
            screen.process.send_signal(signal.SIGTSTP)
            await until(lambda: screen.last is not None and screen.seen.endswith(b"\x1b[?1049l"))
            screen.process.send_signal(signal.SIGCONT)
        await screen.shows("cannot reach a gateway")
        assert "what is below is from before" in screen.last
        async with gateway_process(config, log=tmp_path / "log", flags=flags):
            await until(lambda: "ready" in screen.last and "cannot reach" not in screen.last, within_s=8.0)
        screen.process.send_signal(signal.SIGTERM)
        assert await screen.leaves() == 0
