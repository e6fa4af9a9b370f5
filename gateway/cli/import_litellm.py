"""`gateway import litellm`: a config of the LiteLLM proxy written anew as a routes.yaml."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import UsageError
from gateway.reports.problems import as_text as problem_text

if TYPE_CHECKING:
    from gateway.importers.litellm.convert import Imported

STDIN: Final = "-"

_TEXT = """\
Write a config.yaml of the LiteLLM proxy anew as a routes.yaml, on standard output, and say on standard error what
became of each item of it: carried over exactly, approximately (how), or left out (why). Nothing is called. Keys that
are written out in the config are not copied: variables stand for them, and the report says which to set.
"""

_EPILOG = """\
examples:
  gateway import litellm config.yaml > routes.yaml && gateway validate routes.yaml
  gateway import litellm config.yaml --report import.txt > routes.yaml
  gateway import litellm - --format json --report - < config.yaml

exit codes:
  0  imported; the report says what is not exact
  1  this is no config of LiteLLM, or it is no YAML; with --strict also when anything is not exact
  2  wrong usage, or a file cannot be read or written

--format json prints one object:
  {"source", "ok", "counts": {"exactly", "approximately", "left out"}, "variables": [{"name", "line"}],
   "items": [{"line", "path", "verdict", "message"}], "problems": [...as in validate...]}
  "variables" are those to be set to what was written out in the line. Fields may be added; these stay.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "import",
        help="write a LiteLLM proxy's config anew as a routes.yaml",
        description=_TEXT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("gateway", choices=("litellm",), help="whose config it is")
    parser.add_argument("source", metavar="FILE", help="the config; - is standard input")
    parser.add_argument("--report", metavar="FILE", help="where the report goes (default: standard error); - is stdout")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of the report (default: text)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when anything is not carried over exactly")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert one file. Raises UsageError when it cannot be read, or the report not be written."""
    # The compiler comes with it, and other commands start faster without.
    from gateway.importers.litellm.convert import convert
    from gateway.importers.litellm.report import Verdict

    try:
        data = sys.stdin.buffer.read() if args.source == STDIN else Path(args.source).read_bytes()
    except (OSError, ValueError) as exc:
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        raise UsageError(f"cannot read {args.source}: {reason}") from None
    imported = convert(data, source="<stdin>" if args.source == STDIN else args.source)
    report = _as_json(imported, args.source) if args.format == "json" else as_text(imported, args.source)
    if imported.routes is not None and args.report != STDIN:
        print(imported.routes, end="", flush=True)
    _write(report, args.report)
    exact = all(item.verdict is Verdict.EXACT for item in imported.items)
    return 1 if imported.routes is None or (args.strict and not exact) else 0


def _write(report: str, where: str | None) -> None:
    if where is None or where == STDIN:
        print(report, end="", file=sys.stderr if where is None else sys.stdout, flush=True)
        return
    try:
        Path(where).write_text(report, encoding="utf-8")
    except (OSError, ValueError) as exc:
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        raise UsageError(f"cannot write {where}: {reason}") from None


def as_text(imported: Imported, source: str) -> str:
    """Return the report as a person reads it."""
    from gateway.importers.litellm.report import as_text as items_text

    if imported.routes is None:
        return "".join(f"{problem_text(problem)}\n" for problem in imported.problems)
    text = items_text(imported.items, source="<stdin>" if source == STDIN else source)
    return text + "".join(f"set {name} to what stands in line {line}\n" for name, line in imported.variables)


def _as_json(imported: Imported, source: str) -> str:
    from gateway.importers.litellm.report import Verdict

    verdicts = [item.verdict for item in imported.items]
    found = {
        "source": source,
        "ok": imported.routes is not None,
        "counts": {verdict.value: verdicts.count(verdict) for verdict in Verdict},
        "variables": [{"name": name, "line": line} for name, line in imported.variables],
        "items": [item.as_json() for item in imported.items],
        "problems": [problem.as_json() for problem in imported.problems],
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
