"""`gateway top` shows on a terminal what a running gateway does."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.asking import asked
from tests.asking import no_settings as no_settings
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


async def test_on_a_terminal_it_is_drawn_anew_until_ctrl_c(gateway: RunningGateway) -> None:
    ours, its = pty.openpty()
    os.set_blocking(ours, False)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "top", "--url", gateway.url, cwd=ROOT, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    seen = b""

    def shows(text: bytes) -> bool:
        nonlocal seen
        with suppress(BlockingIOError, OSError):
            seen += os.read(ours, 65536)
        return text in seen

    try:
        await until(lambda: shows(b"no target was asked") or shows(b"last requests"), within_s=8.0)
        await gateway.chat("echo")
        await until(lambda: shows(b"mock/echo ok"), within_s=8.0)
        process.send_signal(signal.SIGINT)
        await until(lambda: shows(b"\x1b[?1049l"), within_s=5.0)
        assert await process.wait() == 0
        assert seen.startswith(b"\x1b[?1049h")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
