"""The drill of docs/drill.md: its file, its commands, and what they print. `python -m tests.drill` writes that anew."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.docs import Block, blocks, transcript
from tests.paths import ROOT

PAGE: Final = ROOT / "docs" / "drill.md"
FILE: Final = "drill.yaml"
LOG: Final = "gateway.log"
_PORT: Final = ":8080"
"""As the page has it."""
_BREAKS: Final = f"sed -i 's|draft: backup/|draft: |' {FILE}"
_REACHED_S: Final = 10.0
"""The seconds that an answer may take, as the page says."""

_VARIES: Final = [
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>"),
        (r"\b\d\d:\d\d:\d\d\b", "<clock>"),
        (r"\breq_[0-9a-f]+\b", "<id>"),
        (r'("ms"|"for_s"):[\d.]+', r"\1:<number>"),
        (r"\b(?:\d+m)?\d+(?:\.\d+)?m?s\b|\b\d+m\b", "<duration>"),
        (r"(<clock> \w+ \d{3}) [\d.]+ ", r"\1 <number> "),
    )
]


def alike(text: str) -> list[str]:
    """Return a text's lines without what differs from one drill to the next, and without columns."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for pattern, word in _VARIES:
        lines = [pattern.sub(word, line) for line in lines]
    return [line for line in lines if line]


@dataclass(frozen=True, slots=True)
class Drill:
    """A gateway that is drilled in."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / LOG).read_text()

    async def run(self, command: str) -> str:
        """Run a command of the page, and return what it prints."""
        environ = {"PATH": f"{self.folder / '.bin'}:/usr/bin:/bin", "LANG": "C.UTF-8", "GATEWAY_PORT": str(self.port)}
        done = await asyncio.to_thread(
            subprocess.run,
            ("bash", "-c", command.replace(_PORT, f":{self.port}")),
            cwd=self.folder, env=environ, text=True, timeout=_REACHED_S, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout.replace(f":{self.port}", _PORT)

    async def logged(self, event: str) -> None:
        """Return once the log has an event."""
        async with asyncio.timeout(_REACHED_S):
            while f'"event":"{event}"' not in self.log:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)

    async def ready(self) -> None:
        """Return once `/readyz` says yes."""
        async with asyncio.timeout(_REACHED_S):
            while not await self.run(f"curl -sf {self.url}/readyz"):
                pass

    async def in_sync(self) -> None:
        """Return once the file says what runs."""
        async with asyncio.timeout(_REACHED_S):
            while ": in sync" not in await self.run("gateway status"):
                pass


@asynccontextmanager
async def drill(folder: Path, environ: Mapping[str, str] = MappingProxyType({})) -> AsyncIterator[Drill]:
    """Serve the page's file, with further variables."""
    for block in blocks(PAGE):
        if block.file == FILE:
            (folder / FILE).write_text(block.text)
    programs = folder / ".bin"
    programs.mkdir()
    (programs / "gateway").write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -P -m gateway "$@"\n')
    (programs / "gateway").chmod(0o755)
    (folder / LOG).touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "gateway", "serve", FILE, "--log-file", LOG, "--port", "0", "--port-file", "port",
        cwd=folder, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environ}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await Drill(folder, 0).logged("listening")
        made = Drill(folder, int((folder / "port").read_text()))
        await made.ready()
        yield made
    finally:
        process.terminate()
        await process.wait()


def steps() -> Iterator[tuple[Block, str, str | None]]:
    """Yield the commands of the page in order, each with what it prints where that is shown; without the server's."""
    for block in blocks(PAGE):
        if block.language == "console":
            for command, shown in transcript(block.text):
                yield block, command, shown
        elif block.language == "sh":
            for command in block.commands:
                if "gateway serve" not in command:
                    yield block, command, None


async def play(run: Drill, *, until: str | None = None) -> AsyncIterator[tuple[str, str, str]]:
    """Run the commands, up to the one that begins with `until`; yield each that shows what it prints.

    Yields command, what is shown, what was printed.
    """
    for _, command, shown in steps():
        if until is not None and command.startswith(until):
            return
        printed = await run.run(command)
        if shown is not None:
            yield command, shown, printed
        elif command == _BREAKS:
            await run.logged("routes refused")
        else:
            await run.in_sync()


async def _write_anew() -> None:
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        async with drill(Path(name)) as run:
            place = 0
            async for command, shown, printed in play(run):
                old, new = f"$ {command}\n{shown}", f"$ {command}\n{printed}"
                place = text.index(old, place)
                text = text[:place] + new + text[place + len(old) :]
                place += len(new)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_write_anew())
