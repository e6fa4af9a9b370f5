"""`gateway top`: what a running gateway does, on a terminal."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from typing import Final

from gateway.cli.asking import Address, Unreachable, address
from gateway.cli.settings import Commands, add_command, add_flag
from gateway.reports.problems import Painter
from gateway.reports.top import top_lines
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
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_HOME: Final = "\x1b[H"
_LINE_END: Final = "\x1b[K\n"
_BELOW: Final = "\x1b[J"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
"""Sequences of ECMA-48 and xterm: the other screen, without a cursor; its begin; the rest of a line; what is below."""


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
    if args.once or not sys.stdout.isatty():
        print("\n".join(screen))
        return 0
    sys.stdout.write(_ENTER)
    fault: list[str] = []
    try:
        while True:
            _show([*fault, *screen])
            time.sleep(EVERY_S)
            try:
                screen, fault = _screen(asked, painter), []
            except Unreachable as exc:
                fault = [painter.error(str(exc)), "what is below is from before"]
    except KeyboardInterrupt:
        return 0
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _screen(asked: Address, painter: Painter) -> list[str]:
    state: JsonObject = asked.ask_json("/-/state")
    requests: JsonObject = asked.ask_json("/-/requests")
    try:
        return list(top_lines(state, requests, painter, url=asked.url, now=time.time()))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Unreachable(f"{asked.url} answers in a way that this version does not know") from None


def _show(screen: list[str]) -> None:
    """Draw the screen over the last one, as far as the terminal has room."""
    columns, rows = shutil.get_terminal_size()
    lines = [_cut(line, columns) for line in screen[: rows - 1]]
    sys.stdout.write(_HOME + "".join(f"{line}{_LINE_END}" for line in lines) + _BELOW)
    sys.stdout.flush()


def _cut(line: str, columns: int) -> str:
    """Cut a line to the width of the terminal; one with colours is short, and left as it is."""
    return line if "\x1b" in line else line[:columns]
