"""`gateway top`: what a running gateway does, on a terminal."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from gateway.cli.asking import Address, Unreachable, address
from gateway.cli.settings import Commands, add_command, add_flag
from gateway.reports.problems import Painter
from gateway.reports.top import Size, top_lines
from gateway.wire.json import JsonObject

_TEXT = """\
Show what a running gateway does, every two seconds until Ctrl-C: which generation runs, the edit that was refused, the
targets with the worst first, what each alias would take now, and the last requests with their attempts. It is what the
page http://127.0.0.1:8080/-/ shows. Without --url and --unix-socket it asks where GATEWAY_ADMIN_PORT,
GATEWAY_UNIX_SOCKET, or GATEWAY_HOST and GATEWAY_PORT say that `gateway serve` listens.
"""

_EPILOG = """\
examples:
  gateway top
  gateway top --unix-socket /run/gateway/gateway.sock
  gateway top --url http://10.0.0.7:8080 --token-file admin.token
  gateway top --once                              print it once, as without a terminal

exit codes:
  0  it was shown
  2  wrong usage, or no gateway answers
"""

EVERY_S: Final = 2.0
LOOK_S: Final = 0.2
"""Seconds until a changed size of the terminal is seen."""

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_HOME: Final = "\x1b[H"
_LINE_END: Final = "\x1b[K\n"
_BELOW: Final = "\x1b[J"
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Sequences of ECMA-48 and xterm: the other screen, with neither a cursor nor wrapped lines; its begin; the rest of a
line; what is below."""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "show what a running gateway does: targets, aliases, the last requests"
    parser = add_command(commands, run, "top", text, _TEXT, _EPILOG)
    add_flag(parser, "url", "URL", "where it listens (default: http://127.0.0.1:8080)")
    add_flag(parser, "unix-socket", "PATH", "the Unix socket that it listens on")
    add_flag(parser, "token-file", "FILE", "an operator's token or key, where the gateway wants one")
    parser.add_argument("--once", action="store_true", help="print it once")


def run(args: argparse.Namespace) -> int:
    """Ask and show; return the exit code. Raises UsageError."""
    asked = address(args, os.environ)
    painter = Painter.of(sys.stdout, os.environ)
    screen = _screen(asked, painter)
    if args.once or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        print("\n".join(screen(None)))
        return 0
    fault: list[str] = []
    with _other_screen():
        while True:
            _show_for(screen, fault, EVERY_S)
            try:
                screen, fault = _screen(asked, painter), []
            except Unreachable as exc:
                fault = [painter.error(str(exc)), "what is below is from before"]
    return 0


@contextmanager
def _other_screen() -> Iterator[None]:
    """Draw beside what the terminal shows, until Ctrl-C or SIGTERM. Ctrl-Z gives the terminal back for a while."""

    def suspend(number: int, _: object) -> None:
        _put(_LEAVE)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # returns once the shell lets us go on
        signal.signal(number, suspend)
        _put(_ENTER)

    before = [
        (signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler)),
        (signal.SIGTSTP, signal.signal(signal.SIGTSTP, suspend)),
    ]
    _put(_ENTER)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        _put(_LEAVE)
        for number, handler in before:
            signal.signal(number, handler)


_Screen: TypeAlias = Callable[[Size | None], list[str]]
"""Size of the terminal → lines; all of them without one."""


def _screen(asked: Address, painter: Painter) -> _Screen:
    """Ask, and return the screen of what was answered."""
    state: JsonObject = asked.ask_json("/-/state")
    requests: JsonObject = asked.ask_json("/-/requests")
    now = time.time()

    def lines(size: Size | None) -> list[str]:
        return list(top_lines(state, requests, painter, url=asked.url, now=now, size=size))

    try:
        lines(None)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Unreachable(f"{asked.url} answers in a way that this version does not know") from None
    return lines


def _show_for(screen: _Screen, fault: list[str], seconds: float) -> None:
    """Draw the fault and the screen over the last ones; anew when the terminal's size changes meanwhile."""
    shown, ends_at = None, time.monotonic() + seconds
    while (left := ends_at - time.monotonic()) > 0:
        size = _size()
        if size != shown:
            shown, (columns, rows) = size, size
            below = screen(size._replace(rows=rows - len(fault)))
            lines = [_cut(line, columns) for line in [*fault, *below][: rows - 1]]
            _put(_HOME + "".join(f"{line}{_LINE_END}" for line in lines) + _BELOW)
        time.sleep(min(LOOK_S, left))


def _size() -> Size:
    """Return the terminal's size. Not `shutil`'s: it believes COLUMNS and LINES, which are those of the start."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return Size(columns or 80, rows or 24)


def _cut(line: str, columns: int) -> str:
    """Cut a line to the width of the terminal, which cuts one with colours itself."""
    return line if "\x1b" in line else line[:columns]


def _put(text: str) -> None:
    """Write to the terminal at once: a handler of a signal may not use a buffer."""
    data = text.encode(errors="backslashreplace")
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
