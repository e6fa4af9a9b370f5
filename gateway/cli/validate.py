"""`gateway validate`: compile config files as the server would, without a network and without serving."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.cli.pages import ALL, explain
from gateway.cli.render import Painter, as_text, count, printable, tally
from gateway.cli.settings import config_path
from gateway.compiler import Compiler
from gateway.errors import UsageError
from gateway.types import JsonObject, Problem

STDIN: Final = "-"

_TEXT = """\
Check config files as the server would load them: every problem of every file, with line and column.
Nothing is called and no key is needed: an unset variable in an api_key is a warning unless --strict-env is given.
Hooks are imported, which runs their modules' code; --skip-hooks leaves that out.
"""

_EPILOG = """\
exit codes:
  0  every file is good; warnings may have been printed
  1  a file has problems
  2  wrong usage, or a file cannot be read

--format json prints one object:
  {"ok": bool, "files": [{"file", "ok", "readable", "digest", "aliases", "targets", "hooks_skipped", "problems"}]}
  and each of problems is
  {"line", "column", "code", "severity": "error" | "warning", "path", "message", "source", "excerpt", "text"}
  Line 0 means that the problem has no place in the file. Fields may be added; these stay.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of one file."""

    file: str
    readable: bool = True
    ok: bool = False
    problems: tuple[Problem, ...] = ()
    digest: str | None = None
    aliases: int = 0
    targets: int = 0
    hooks_skipped: int = 0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "validate",
        help="check config files: all problems at once, with positions",
        description=_TEXT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="config files; - is standard input")
    parser.add_argument("--config", metavar="FILE", help="the config file when none is named [GATEWAY_CONFIG]")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")
    parser.add_argument("--skip-hooks", action="store_true", help="do not import hooks and capabilities")
    parser.add_argument("--strict-env", action="store_true", help="missing keys are problems, as they are in serve")
    parser.add_argument(
        "--explain",
        metavar="CODE",
        nargs="?",
        const=ALL,
        help="check no file: tell what a problem code means, with examples; without CODE list all codes",
    )
    parser.set_defaults(run=run, file=None)


def run(args: argparse.Namespace) -> int:
    """Check every file and print what was found. Raises UsageError."""
    painter = Painter.of(sys.stdout, os.environ)
    if args.explain is not None:
        if args.files:
            raise UsageError(f"--explain tells of one code and checks no file; leave out {args.files[0]}")
        print(explain(args.explain, painter))
        return 0
    names: list[str] = args.files or [str(config_path(args, os.environ))]
    results = []
    for name in names:
        result = check(name, skip_hooks=args.skip_hooks, strict_env=args.strict_env)
        results.append(result)
        if args.format == "text":
            print("\n".join(_lines(result, painter)), flush=True)
    if args.format == "json":
        ok = all(result.ok for result in results)
        print(json.dumps({"ok": ok, "files": [_as_json(result) for result in results]}, indent=2))
    if not all(result.readable for result in results):
        return 2
    return 0 if all(result.ok for result in results) else 1


def check(name: str, *, skip_hooks: bool, strict_env: bool) -> Checked:
    """Compile one file and drop the table. Raises UsageError when the environment is malformed."""
    compiler = Compiler(environ=os.environ, skip_hooks=skip_hooks, strict_env=strict_env)
    try:
        data = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except (OSError, ValueError) as exc:
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        hint = "; name a file, or set GATEWAY_CONFIG" if name == "routes.yaml" else ""
        message = f"cannot read the file: {reason}{hint}"
        problem = Problem(line=0, column=0, code="unreadable-file", path="", message=message, source=name)
        return Checked(file=name, readable=False, problems=(problem,))
    compiled = compiler.compile(data, source="<stdin>" if name == STDIN else name)
    table = compiled.table
    return Checked(
        file=name,
        ok=table is not None,
        problems=compiled.problems,
        digest=compiled.digest,
        aliases=len(table.routes) + len(table.wildcards) if table else 0,
        targets=len(table.targets) if table else 0,
        hooks_skipped=compiled.skipped_hooks,
    )


def _lines(result: Checked, painter: Painter) -> list[str]:
    lines = [as_text(problem, painter) for problem in result.problems]
    name, tallied = printable(result.file), tally(result.problems)
    skipped = f"{count(result.hooks_skipped, 'hook')} skipped" if result.hooks_skipped else ""
    if result.ok:
        size = f"({count(result.aliases, 'alias')}, {count(result.targets, 'target')})"
        lines.append(", ".join(filter(None, (f"{name}: {painter.good('ok')} {size}", tallied, skipped))))
    else:
        lines.append(", ".join(filter(None, (f"{painter.error(tallied)} in {name}", skipped))))
    return lines


def _as_json(result: Checked) -> JsonObject:
    return {
        "file": result.file,
        "ok": result.ok,
        "readable": result.readable,
        "digest": result.digest,
        "aliases": result.aliases,
        "targets": result.targets,
        "hooks_skipped": result.hooks_skipped,
        "problems": [problem.as_json() for problem in result.problems],
    }
