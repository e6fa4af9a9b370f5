"""The line of progress: on a terminal alone, after a while, never in the report, and gone at the end."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from gateway.cli.progress import AFTER_S, is_watched, progress
from tests.command_line import write

CLEARED = b"\r\x1b[K"

SLOW = """\
import time
def slow(params):
    time.sleep(0.8)
    return params
"""
CONFIG = "version: 1\nmodels: {a: {chain: [mock/echo], hooks: {pre: [slow_hook_of_progress.slow]}}}\n"
CASES = "cases: [{name: one, request: {model: a, messages: [{role: user, content: hi}]}, expect: {status: 200}}]\n"


class Terminal:
    """A terminal that a test reads."""

    def __init__(self, ours: int, its: TextIO) -> None:
        self._ours = ours
        self.its = its
        self.seen = b""

    def read_until(self, text: bytes) -> None:
        while text not in self.seen:
            self.seen += os.read(self._ours, 65536)

    def rest(self) -> bytes:
        """Return all that was written, once nobody can write any more."""
        self.its.close()
        try:
            while part := os.read(self._ours, 65536):
                self.seen += part
        except OSError:  # how Linux tells the end
            pass
        return self.seen


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    ours, its = pty.openpty()
    with os.fdopen(its, "w") as file:
        yield Terminal(ours, file)
    os.close(ours)


@pytest.mark.parametrize("environ", [{"CI": "true"}, {"TERM": "dumb"}])
def test_in_ci_and_on_a_dumb_terminal_nobody_looks(terminal: Terminal, environ: dict[str, str]) -> None:
    assert is_watched(terminal.its, {})
    assert not is_watched(terminal.its, environ)
    assert not is_watched(io.StringIO(), {})


def test_what_is_done_is_shown_and_taken_away(terminal: Terminal) -> None:
    with progress(terminal.its, {}) as now:
        now.say("case 1 of 2\x1b[31m")
        terminal.read_until(rb"case 1 of 2\x1b[31m (")
        now.say("case 2 of 2")
        terminal.read_until(b"case 2 of 2")
        with now.aside():
            terminal.read_until(b"case 2 of 2")
            terminal.its.write("a report\n")
    seen = terminal.rest()
    assert seen.startswith(CLEARED)
    assert CLEARED + b"a report\r\n" in seen
    assert seen.endswith((CLEARED, b"a report\r\n"))


def test_what_does_not_take_long_shows_nothing(terminal: Terminal) -> None:
    began_s = time.monotonic()
    with progress(terminal.its, {}) as now:
        now.say("case 1 of 1")
    took_s = time.monotonic() - began_s
    assert terminal.rest() == b"" or took_s > AFTER_S


@pytest.mark.usefixtures("clean_environment")
def test_the_report_of_a_long_test_has_none_of_it(terminal: Terminal, tmp_path: Path) -> None:
    write("slow_hook_of_progress.py", SLOW)
    write("routes.yaml", CONFIG)
    write("routes.test.yaml", CASES)
    environ = {name: value for name, value in os.environ.items() if name != "CI"} | {"TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "test"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal.its, env=environ, timeout=20, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.decode().isascii(), b"\x1b" in done.stdout) == (0, True, False)
    assert b"1 passed" in done.stdout
    seen = terminal.rest()
    assert b"routes.test.yaml: case 1 of 1 (" in seen
    assert seen.endswith(CLEARED)
