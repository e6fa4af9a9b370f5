"""`gateway run`: the command beside the gateway, its environment, its signals, and its exit code.

The command shares our process group, so that a terminal's keys reach it as if it had been started alone. Neither is
left behind: the command gets SIGTERM when this process ends in whatever way (Linux; elsewhere, unless it is killed),
and the gateway drains and ends once the command has ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

from gateway.server.systemd import VARIABLES

log = logging.getLogger(__name__)

PLACEHOLDER: Final = "placeholder"
"""The key of a client that needs none: SDKs refuse to start without one."""
FORWARDED: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
END_S: Final = 5.0
"""Seconds that the command has after our SIGTERM, when the gateway has to end before it."""

_OF_THE_TERMINAL: Final = frozenset({signal.SIGINT, signal.SIGQUIT})
"""Signals that a terminal sends to all processes of the group in front, the command among them."""
_PROXIES: Final = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_LAUNCHER: Final = """\
import os, resource, signal, sys
parent, soft, *command = sys.argv[1:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
    if os.getppid() != int(parent):
        os.kill(os.getpid(), 15)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    os.execvp(command[0], command)
except OSError as error:
    print(f"gateway: cannot run {command[0]}: {error.strerror.lower()}", file=sys.stderr, flush=True)
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)
"""
"""Becomes the command by exec. Not `preexec_fn`: what runs between fork and exec must not wait for our threads."""


class Command:
    """A command that runs for as long as the gateway serves it."""

    def __init__(self, words: Sequence[str], *, open_files: int) -> None:
        """`open_files`: the limit of descriptors that the command shall have, as our own was raised."""
        self._words = words
        self._open_files = open_files
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped_by: int | None = None
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in FORWARDED:
            if signal.getsignal(number) is signal.SIG_IGN:  # nohup's, which the command inherits
                continue
            self._loop.add_signal_handler(number, _nothing)  # wakes the loop up, so that Python calls the handler
            # Not the loop's own callback: a hook may block the loop.
            signal.signal(number, self._forward)

    async def wait_for(self, ready: asyncio.Event) -> int | None:
        """Wait until the gateway is ready; return the exit code if a signal ends it before."""
        waiting = [self._loop.create_task(event.wait()) for event in (ready, self._stopped)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return None if self._stopped_by is None else 128 + self._stopped_by

    async def run(self, environ: Mapping[str, str], *, on_end: Callable[[int], None]) -> int:
        """Run the command and return its exit code; 128 + n for a signal n.

        `on_end` gets it in another thread as well, since a hook may block the event loop.
        """
        launcher = (sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(self._open_files))
        process = self._process = _start((*launcher, *self._words), environ)
        ended: asyncio.Future[int] = self._loop.create_future()
        # A thread of its own: hooks may use up those of the executor.
        threading.Thread(target=self._wait, args=(process, ended, on_end), name="command", daemon=True).start()
        try:
            code = await ended
        finally:
            await self._end(process, ended)
        log.info("the command ended", extra={"exit_code": code})
        return code

    def _forward(self, number: int, _: FrameType | None) -> None:
        process = self._process
        if process is None:
            self._stopped_by = self._stopped_by or number
            self._loop.call_soon_threadsafe(self._stopped.set)
        elif not (number in _OF_THE_TERMINAL and is_in_front()):  # else it has got the signal already
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def _wait(
        self, process: subprocess.Popen[bytes], ended: asyncio.Future[int], on_end: Callable[[int], None]
    ) -> None:
        number = process.wait()
        code = number if number >= 0 else 128 - number
        on_end(code)

        def tell() -> None:
            if not ended.done():
                ended.set_result(code)

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(tell)

    async def _end(self, process: subprocess.Popen[bytes], ended: asyncio.Future[int]) -> None:
        """End the command if it still runs: the gateway cannot go on."""
        if process.poll() is not None:
            return
        process.terminate()
        if not ended.done():
            await asyncio.wait([ended], timeout=END_S)
        if process.poll() is None:
            process.kill()


def environment(environ: Mapping[str, str], url: str, key: str = PLACEHOLDER) -> dict[str, str]:
    """Return `environ` with what leads clients to the gateway at `url`, without the vendors' own keys.

    OpenAI's base URLs end in `/v1`, Anthropic's do not.
    """
    found = {name: value for name, value in environ.items() if name not in {*VARIABLES, "ANTHROPIC_AUTH_TOKEN"}}
    found |= {
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_BASE_URL": url,
        "OPENAI_API_KEY": key,
        "ANTHROPIC_API_KEY": key,
    }
    if any(found.get(name) for name in _PROXIES):
        host = urlsplit(url).hostname or ""
        for name in ("no_proxy", "NO_PROXY"):
            others = found.get(name, "")
            if host not in others.split(","):
                found[name] = f"{others},{host}" if others else host
    return found


def url_for_clients(url: str) -> str:
    """Return an address that clients on this machine can connect to, of one that may listen on all."""
    parts = urlsplit(url)
    near = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(parts.hostname or "")  # noqa: S104 - only compared
    return url if near is None else f"http://{near}:{parts.port}"


def is_in_front() -> bool:
    """Tell whether our process group is the one that gets the signals of our terminal's keys."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def raise_descriptor_limit() -> int:
    """Raise the limit of open descriptors to the highest that is allowed; return what it was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def _start(words: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process with our standard streams. In the main thread: the command would end with any other."""
    return subprocess.Popen(words, env=dict(environ))  # noqa: S603 - it is what the user wants to run


def _nothing() -> None:
    pass
