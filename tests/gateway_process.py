"""Our gateway as a process of its own, without keys or settings of the environment, ended by its id."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.paths import ROOT

STOP_S: Final = 10.0
_KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV")
"""What the gateway gets of the environment."""


class DidNotStartError(Exception):
    """The gateway ended before it listened; the text is its log."""


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A gateway that listens."""

    url: str
    process: asyncio.subprocess.Process
    log: Path
    """What it writes to stderr."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def has_ended(self) -> bool:
        return self.process.returncode is not None

    def memory_bytes(self) -> int:
        """Return its resident memory; 0 when it has ended."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def gateway_process(
    config: Path,
    *,
    log: Path,
    flags: Sequence[str] = (),
    command: Sequence[str] = ("-m", "gateway", "serve"),
    python: Path = Path(sys.executable),
    environ: Mapping[str, str] = MappingProxyType({}),
    prefix: Sequence[str] = (),
) -> AsyncIterator[GatewayProcess]:
    """Run `python COMMAND CONFIG --port 0 FLAGS` until the block ends. Raises DidNotStartError.

    A `command` other than the default prints the address it listens at as the last word of its first line, too.
    `python` may be that of another environment, `environ` has further variables, and the command `prefix` runs it.
    """
    given = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(environ)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *prefix, str(python), *command, str(config), "--port", "0", *flags,
            cwd=ROOT, env=given, stdout=PIPE, stderr=output,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        first = (await process.stdout.readline()).decode().split()
        if not first:
            await process.wait()
            raise DidNotStartError(f"the gateway did not start:\n{_text(log)}")
        yield GatewayProcess(first[-1], process, log)
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(STOP_S):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def _text(path: Path) -> str:
    return path.read_text(errors="replace")
