"""`gateway fmt`: put config files in their normal form, with comments and meaning unchanged."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.cli import files
from gateway.cli.settings import Commands, add_command, config_path
from gateway.errors import UsageError
from gateway.reports.problems import STDIN, Painter, complain, problem_lines, report, shown_name
from gateway.words import printable

_TEXT = """\
Put config files in their normal form:
  - short forms where they say the same: {chain: [a/b]} becomes a/b, {target: a/b} and {path: p} become a/b and p,
    unless a comment is in the way
  - the keys of aliases, steps, providers and hooks come in the documented order; yours stays at the top of the file
  - two columns of indentation, no blanks at the ends of lines, at most one empty line, no quotes around plain names
Comments stay, with their columns; so do anchors, ${NAME}s, block texts, long lines and the file's line breaks.
In test files only the layout changes. Nothing is written if the meaning would change.
"""

_EPILOG = """\
examples:
  gateway fmt                            rewrite ./routes.yaml
  gateway fmt --check a.yaml b.yaml      only say which would change
  gateway fmt --diff                     only show what would change
  gateway fmt - < routes.yaml            standard input to standard output, for editors

exit codes:
  0  every file is in its normal form now; with --diff alone, whatever it shows
  1  a file has problems and stays as it is; with --check, a file would change
  2  wrong usage, or a file cannot be read or written
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, run, "fmt", "put config files in their normal form, comments untouched", _TEXT, _EPILOG
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="config or test files; - is standard input")
    parser.add_argument("--config", metavar="FILE", help="the config file when none is named [GATEWAY_CONFIG]")
    parser.add_argument("--check", action="store_true", help="change nothing; name the files that would change")
    parser.add_argument("--diff", action="store_true", help="change nothing; show what would change")


def run(args: argparse.Namespace) -> int:
    """Format every file and print what was done; return the exit code."""
    names: list[str] = args.files or [str(config_path(args, os.environ))]
    codes = []
    for name in names:
        try:
            codes.append(_format_file(name, check=args.check, diff=args.diff))
        except UsageError as exc:
            complain(str(exc))
            codes.append(2)
    return max(codes)


def _format_file(name: str, *, check: bool, diff: bool) -> int:
    """Format one file and return its exit code. Raises UsageError."""
    # Not at the top: it loads the schema, which other commands may not need.
    from gateway.config.format.format import FormattingError, format_bytes

    piped = name == STDIN
    shown = shown_name(name)
    data = files.read(name)
    try:
        formatted = format_bytes(data, name=shown)
    except FormattingError as exc:
        return _stays(shown, str(exc))
    except UsageError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever a text does to the formatter, it is not written
        return _stays(shown, f"{type(exc).__name__} in the formatter")
    if formatted.problems:
        if piped:
            report(formatted.problems)
            return 1
        print("\n".join(problem_lines(formatted.problems, Painter.of(sys.stdout, os.environ))), flush=True)
        return 1
    changes = formatted.data != data
    if diff and changes:
        sys.stdout.writelines(_diff(data, formatted.data, shown))
    if check or diff:
        if not diff:
            print(f"{printable(shown)}: {'would be formatted' if changes else 'unchanged'}", flush=True)
        return 1 if check and changes else 0
    if piped:
        sys.stdout.flush()
        sys.stdout.buffer.write(formatted.data)
        return 0
    if changes:
        files.write(Path(name), formatted.data)
    print(f"{printable(name)}: {'formatted' if changes else 'unchanged'}", flush=True)
    return 0


def _stays(name: str, why: str) -> int:
    """Say that the formatter failed; return the exit code."""
    complain(f"{name} stays as it is: {why}. This is a fault of gateway fmt, not of the file; please report it")
    return 1


def _diff(before: bytes, after: bytes, name: str) -> Iterator[str]:
    """Yield the lines of a unified diff; on a terminal in colour and with control characters escaped."""
    painter = Painter.of(sys.stdout, os.environ)
    painted = {"-": painter.error, "+": painter.good, "@": painter.place}
    old, new = (data.decode().splitlines(keepends=True) for data in (before, after))
    for line in difflib.unified_diff(old, new, fromfile=name, tofile=name):
        text = line.rstrip("\r\n")
        ending = line[len(text) :] if line.endswith("\n") else "\n\\ No newline at end of file\n"
        if sys.stdout.isatty():
            text = printable(text.replace("\t", "    "))
        yield painted.get(text[:1], str)(text) + ending
