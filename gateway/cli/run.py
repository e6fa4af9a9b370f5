"""`gateway run -- CMD`: serve while a command runs, and lead its clients here."""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import replace
from typing import Final

from gateway.cli.serve import add_flags, begin_logging, check_is_there, read_options
from gateway.cli.settings import Commands, add_command, add_flag
from gateway.errors import UsageError
from gateway.reports.problems import complain, report
from gateway.words import printable

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""The exit codes of shells for a command that is not there, or cannot be executed."""

_TEXT = """\
Serve the aliases of a config file while a command runs, on a free port of this machine.
The command finds the gateway by OPENAI_BASE_URL (ends in /v1) and ANTHROPIC_BASE_URL (does not). It sees placeholders
as OPENAI_API_KEY and ANTHROPIC_API_KEY, with --client-keys-file a fresh client key: the gateway keeps the real ones.
It starts once the gateway is ready, gets its signals, and its exit code is the gateway's.
"""

_EPILOG = """\
examples:
  gateway run -- python agent.py
  gateway run -- claude --model smart
  gateway run -- sh -c 'exec codex -c openai_base_url="\\"$OPENAI_BASE_URL\\"" -m smart'
  gateway run --config deploy/routes.yaml --log-file gateway.log -- make integration-tests

Standard output is the command's. Of the gateway's log only warnings go to standard error, unless --log-level or
--log-file say otherwise.

exit codes:
  the command's own; 128 + n if signal n ended it, 127 if it is not there, 126 if it cannot be executed
  1  the config file has problems
  2  wrong usage, an unreadable file, an address in use, or what a target needs cannot be loaded
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, run, "run", "serve a config file while a command runs", _TEXT, _EPILOG)
    parser.usage = "gateway run [-h] [flags of gateway serve] -- CMD [ARGUMENT ...]"
    parser.add_argument("command", metavar="CMD", nargs="+", help="the command and its arguments, after --")
    add_flag(parser, "config", "FILE", "the config file (default: ./routes.yaml)")
    add_flags(parser, any_port="any free one", any_level="info with --log-file, else warning")


def run(args: argparse.Namespace) -> int:
    """Serve until the command has ended; return the exit code. Raises UsageError."""
    name = args.command[0]
    if shutil.which(name) is None:
        is_there = os.sep in name and os.path.exists(name)
        complain(f"cannot run {printable(name)}: {'it cannot be executed' if is_there else 'there is no such command'}")
        return NOT_EXECUTABLE if is_there else NOT_FOUND
    from gateway.server.process import serve

    begin_logging(args, any_level="warning")
    options = read_options(args, any_port=0, quiet=True)
    if options.unix_socket is not None:
        raise UsageError("run listens on a port: a base URL cannot name the Unix socket of --unix-socket")
    if options.workers > 1:
        raise UsageError("run serves in one process: leave --workers out")
    check_is_there(options)
    return serve(replace(options, command=tuple(args.command)), report=report, complain=complain)
