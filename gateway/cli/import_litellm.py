"""`gateway import litellm`: convert a config of the LiteLLM proxy to a routes.yaml."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from gateway.cli import files
from gateway.cli.progress import progress
from gateway.cli.settings import Commands, add_command
from gateway.errors import UsageError
from gateway.importers.litellm.convert import convert
from gateway.reports.problems import STDIN, shown_name

_TEXT = """\
Convert a config.yaml of the LiteLLM proxy to a routes.yaml on standard output, and report each item of it on standard
error: carried over exactly, approximately (how), or left out (why). Nothing is called. Keys that are written out in the
config are not copied: the routes.yaml names a variable instead, and the report says which ones to set.
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
  "variables" are those to set, to the value in that line of the config. Fields may be added; these stay.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, run, "import", "convert a LiteLLM proxy's config to a routes.yaml", _TEXT, _EPILOG)
    parser.add_argument("gateway", choices=("litellm",), help="whose config it is")
    parser.add_argument("source", metavar="FILE", help="the config; - is standard input")
    parser.add_argument("--report", metavar="FILE", help="where the report goes (default: standard error); - is stdout")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of the report (default: text)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when anything is not carried over exactly")


def run(args: argparse.Namespace) -> int:
    """Convert one file; return the exit code. Raises UsageError when a file cannot be read or written."""
    source = shown_name(args.source)
    data = files.read(args.source)
    with progress(sys.stderr, os.environ) as now:
        now.say(f"converting {source}")
        imported = convert(data, source=source)
    if args.format == "json":
        report = json.dumps(imported.as_json(args.source), indent=2, ensure_ascii=False) + "\n"
    else:
        report = imported.as_text(source)
    if imported.routes is not None and args.report != STDIN:
        print(imported.routes, end="", flush=True)
    if args.report is None or args.report == STDIN:
        print(report, end="", file=sys.stderr if args.report is None else sys.stdout, flush=True)
    else:
        try:
            Path(args.report).write_text(report, encoding="utf-8")
        except (OSError, ValueError) as exc:
            raise UsageError(f"cannot write {args.report}: {files.reason(exc)}") from None
    return 1 if imported.routes is None or (args.strict and not imported.is_exact) else 0
