"""`gateway status`: ask a running gateway what it serves, and whether that is what its config file says."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Final

from gateway.cli.asking import Address, Unreachable, address
from gateway.cli.settings import Commands, add_command, add_flag
from gateway.errors import UsageError
from gateway.reports.problems import Painter, complain
from gateway.reports.status import at_rest, status_lines
from gateway.wire.json import JsonObject

_TEXT = """\
Ask a running gateway: which generation it serves and since when, whether that is what the config file says now, the
problems of the edit that it refused, and the targets at rest. Without --url and --unix-socket it asks where
GATEWAY_ADMIN_PORT, GATEWAY_UNIX_SOCKET, or GATEWAY_HOST and GATEWAY_PORT say that `gateway serve` listens.
"""

_EPILOG = """\
examples:
  gateway status
  gateway status --unix-socket /run/gateway/gateway.sock
  gateway status --url http://10.0.0.7:8080 --token-file admin.token
  gateway status --json | jq .history             the last 20 reloads with what changed
  gateway status --live                           is the process alive? for a container's health check

--json prints what /-/config answers, without the config itself, and two fields more:
  {"url", "targets_at_rest": [as /-/targets has them], "generation", "digest", "loaded_at", "in_sync", "files",
   "last_reload", "history", ...}. Fields may be added; these stay.

exit codes:
  0  what runs is what the file says; with --live: the process is alive
  1  the file was refused, or not read yet; with --live: it does not answer
  2  wrong usage, or no gateway answers
"""

_NOT_ALIVE: Final = 1
"""Docker keeps 2 for itself: a health check exits with 0 or 1."""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "tell what a running gateway serves, and whether its file says the same"
    parser = add_command(commands, run, "status", text, _TEXT, _EPILOG)
    add_flag(parser, "url", "URL", "where it listens (default: http://127.0.0.1:8080)")
    add_flag(parser, "unix-socket", "PATH", "the Unix socket that it listens on")
    add_flag(parser, "token-file", "FILE", "an operator's token or key, where the gateway wants one")
    parser.add_argument("--live", action="store_true", help="ask /healthz only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Ask and print; return the exit code. Raises UsageError."""
    asked = address(args, os.environ)
    if args.live:
        if args.json:
            raise UsageError("--live prints nothing; leave out --json")
        return _live(asked)
    status: JsonObject = {"url": asked.url, **asked.ask_json("/-/config?config=0")}
    status["targets_at_rest"] = at_rest(asked.ask_json("/-/targets"))
    try:
        lines = list(status_lines(status, Painter.of(sys.stdout, os.environ), now=time.time()))
    except (AttributeError, KeyError, TypeError):
        raise Unreachable(f"{asked.url} answers in a way that this version does not know") from None
    print(json.dumps(status, indent=2) if args.json else "\n".join(lines))
    return 0 if status.get("in_sync") is True else 1


def _live(asked: Address) -> int:
    try:
        status, _ = asked.ask("/healthz")
    except Unreachable as exc:
        complain(str(exc))
        return _NOT_ALIVE
    if status != 200:
        complain(f"{asked.url}/healthz answers {status}")
        return _NOT_ALIVE
    return 0
