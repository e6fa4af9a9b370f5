"""The command line. Each command has a module, loaded only when the command is given. Only this package prints."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final

from gateway._version import __version__
from gateway.cli.settings import FORMATTED
from gateway.errors import UsageError
from gateway.reports.problems import complain, silence

USAGE: Final = 2
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{
            name: name
            for name in (
                "init",
                "serve",
                "run",
                "status",
                "top",
                "validate",
                "explain",
                "test",
                "diff",
                "fmt",
                "schema",
            )
        },
        "import": "import_litellm",
        "keys": "keys",
        "completion": "completion",
    }
)
"""The module of each command, in the order of the help."""

_TEXT = """\
A declarative LLM routing gateway: one YAML file is the whole routing policy; edit it and it is live.
"""

_EPILOG = """\
examples:
  gateway init                           write a ./routes.yaml to start from
  gateway validate                       check it
  gateway serve                          serve it on http://127.0.0.1:8080, reloading it at each save
  gateway serve routes.yaml --port 9000
  gateway run -- python agent.py         serve it while a command runs, which finds it by OPENAI_BASE_URL
  gateway status                         tell what a running gateway serves, and whether the file says the same
  gateway top                            show its targets, aliases and last requests as they change
  gateway validate --format json a.yaml b.yaml
  gateway explain smart --fail openai/gpt-4o=rate_limit
  gateway test                           play ./routes.test.yaml in virtual time
  gateway diff origin/main               show what a change changes, and for whom
  gateway import litellm config.yaml     convert a LiteLLM proxy's config to a routes.yaml
  gateway keys new search-ci             make a key for a client
  gateway fmt --check                    check that ./routes.yaml is in its normal form
  source <(gateway completion bash)      let TAB complete all of this

The config file is the argument, else --config, else GATEWAY_CONFIG, else ./routes.yaml.

environment variables:
  GATEWAY_CONFIG        the config file
  GATEWAY_PORT, ...     each flag of serve has one; see gateway serve --help
  LITELLM_TIMEOUT       seconds per attempt, unless the file sets a limit (30)
  LITELLM_MAX_RETRIES   retries per target, unless the file sets them (3)
  NO_COLOR              no colours on a terminal
  FORCE_COLOR           colours elsewhere too

exit codes: 0 good, 1 problems in the config file or a failed test case, 2 wrong usage or an unreadable file
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _reopen_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    # Loading the modules of the other commands takes longer than most commands take to run.
    args = build_parser([argv[0]] if argv and argv[0] in COMMANDS else COMMANDS).parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except UsageError as exc:
        complain(str(exc))
        return USAGE
    except BrokenPipeError:
        silence(sys.stdout)
        return BROKEN_PIPE
    except OSError as exc:
        why = _unforeseen(exc)
        if why is None:
            raise
        silence(sys.stdout)
        complain(why)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


_OF_OUTPUT: Final = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})
"""Failures to write to an open stream."""


def _unforeseen(exc: OSError) -> str | None:
    """Return why a command could not go on, None for a fault of ours.

    A command itself tells of each file that it cannot read or write.
    """
    why = (exc.strerror or str(exc)).lower()
    if exc.filename is not None:
        return f"{os.fsdecode(exc.filename) if isinstance(exc.filename, bytes) else exc.filename}: {why}"
    try:
        os.getcwd()
    except OSError:
        return "the current folder does not exist any more"
    is_output = exc.errno in _OF_OUTPUT or isinstance(exc, io.UnsupportedOperation)
    return f"cannot write the output: {why}" if is_output else None


def _reopen_closed() -> None:
    """Open the null device in place of each standard stream that the caller closed, which Python sets to None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process lives


def build_parser(names: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of the command line with these commands; each sets `run` to its function."""
    parser = argparse.ArgumentParser(prog="gateway", description=_TEXT, epilog=_EPILOG, **FORMATTED)
    parser.add_argument("--version", action="version", version=f"gateway {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in names:
        import_module(f"{__name__}.{COMMANDS[name]}").add(commands)
    return parser
