"""`gateway validate`: compile config files as the server does, offline."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gateway.cli.checked import check, expand, ignored, without_included
from gateway.cli.settings import Commands, Settings, add_command, add_flag, config_path
from gateway.errors import UsageError
from gateway.reports import github, junit, sarif
from gateway.reports.code_pages import ALL, explain
from gateway.reports.problems import Checked, Painter, as_text, tallies, tally
from gateway.words import count, printable

if TYPE_CHECKING:
    from gateway.cli.client_keys import ClientKeysFile

FORMATS: Final = ("text", "json", "github", "sarif", "junit")

_TEXT = """\
Check config files as the server would load them: every problem of every file, with line and column.
Nothing is called and no key is needed: an unset variable in an api_key is a warning unless --strict-env is given.
Files that a file includes are checked with it, and not once more if they are named as well.
Hooks are imported, which runs their modules' code; --skip-hooks leaves that out.
What is valid but probably a mistake is a warning. A comment silences it, for a line or for the entry below:
  # gateway: ignore[CODE]        and at the top, for the whole file: # gateway: ignore-file[CODE]
"""

_EPILOG = """\
examples:
  gateway validate                                  check ./routes.yaml
  gateway validate 'deploy/**/*.yaml'               every file below deploy, without *.test.yaml
  jsonnet routes.jsonnet | gateway validate -       what another program writes
  gateway validate --strict --format github         in GitHub Actions: annotations at the lines
  gateway validate --format sarif > routes.sarif    for code scanning; --format junit > report.xml for GitLab and others
  gateway validate --client-keys-file keys.txt      the client keys too: malformed lines, groups that nobody has
  gateway validate --explain unknown-provider       what a code means, with a bad and a good example

exit codes:
  0  every file is good; warnings may have been printed, but not with --strict
  1  a file has problems
  2  wrong usage, or a file cannot be read

--format json prints one object:
  {"ok": bool, "files": [{"file", "ok", "readable", "digest", "aliases", "targets", "hooks_skipped", "included",
                          "client_keys", "problems", "not_listed"}]}
  and each of problems is
  {"line", "column", "code", "severity": "error" | "warning", "path", "message", "source", "excerpt", "text"}
  Line 0 means that the problem has no place in the file. Fields may be added; these stay.

Of a file, 1000 problems are listed in every format, errors before warnings. A last one, more-problems, tells how many
more there are; in JSON not_listed has the number.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "check config files: all problems at once, with positions"
    parser = add_command(commands, run, "validate", text, _TEXT, _EPILOG)
    text = "config files, or patterns such as 'routes/*.yaml'; - is standard input"
    parser.add_argument("files", metavar="FILE", nargs="*", help=text)
    parser.add_argument("--config", metavar="FILE", help="the config file when none is named [GATEWAY_CONFIG]")
    parser.add_argument("--format", choices=FORMATS, default="text", help="how to print (default: text)")
    parser.add_argument("--strict", action="store_true", help="a file with warnings fails")
    parser.add_argument("--skip-hooks", action="store_true", help="do not import hooks and capabilities")
    parser.add_argument("--strict-env", action="store_true", help="missing keys are problems, as they are in serve")
    add_flag(parser, "client-keys-file", "FILE", "check this file of client keys too, and the groups that it names")
    text = "leave out the warnings of this code; several with commas between, or the flag again"
    parser.add_argument("--ignore", metavar="CODE", action="append", default=[], help=text)
    text = "explain a problem code, with examples, and check no file; without CODE list all codes"
    parser.add_argument("--explain", metavar="CODE", nargs="?", const=ALL, help=text)


def run(args: argparse.Namespace) -> int:
    """Check every file and print the problems; return the exit code. Raises UsageError."""
    painter = Painter.of(sys.stdout, os.environ)
    if args.explain is not None:
        if args.files:
            raise UsageError(f"--explain tells of one code and checks no file; leave out {args.files[0]}")
        if args.format != "text":
            raise UsageError(f"--explain prints text; leave out --format {args.format}")
        print(explain(args.explain, painter))
        return 0
    names = without_included(expand(args.files)) if args.files else [str(config_path(args, os.environ))]
    keys = _client_keys(args)
    flags = {"skip_hooks": args.skip_hooks, "strict_env": args.strict_env, "strict": args.strict}
    ignore = ignored(args.ignore)
    files: list[Checked] = []
    for name in names:
        files.append(check(name, **flags, ignore=ignore, keys=keys))
        if args.format == "text":
            print("\n".join(_lines(files[-1], painter)), flush=True)
    if keys is not None:
        files.append(keys.checked(strict=args.strict, ignore=ignore))
        if args.format == "text":
            print("\n".join(_lines(files[-1], painter)), flush=True)
    if args.format != "text":
        print(_report(files, args.format, strict=args.strict))
    if not all(file.readable for file in files):
        return 2
    return 0 if all(file.ok for file in files) else 1


def _client_keys(args: argparse.Namespace) -> ClientKeysFile | None:
    """Return the file of client keys that is to be checked too. Raises UsageError."""
    name = Settings(args, os.environ).get("client-keys-file", str, None)
    if name is None:
        return None
    from gateway.cli.client_keys import ClientKeysFile  # loads the server's part

    return ClientKeysFile(name)


def _report(files: Sequence[Checked], form: str, *, strict: bool) -> str:
    """Return the report of all files in a format for programs."""
    if form == "github":
        return "\n".join(github.as_commands(files))
    if form == "sarif":
        return json.dumps(sarif.as_log(files), indent=2)
    if form == "junit":
        return junit.checks_as_xml(files, strict=strict)
    ok = all(file.ok for file in files)
    return json.dumps({"ok": ok, "files": [file.as_json() for file in files]}, indent=2)


def _lines(result: Checked, painter: Painter) -> list[str]:
    lines = [as_text(problem, painter) for problem in result.problems]
    name, tallied = printable(result.file), tally(result.problems)
    skipped = f"{count(result.hooks_skipped, 'hook')} skipped" if result.hooks_skipped else ""
    if result.ok:
        size = [count(result.aliases, "alias"), count(result.targets, "target")]
        size = size if result.client_keys is None else [count(result.client_keys, "client key")]
        size += [count(len(result.included), "included file")] if result.included else []
        lines.append(", ".join(filter(None, (f"{name}: {painter.good('ok')} ({', '.join(size)})", tallied, skipped))))
    elif any(problem.source in result.included for problem in result.problems):
        lines += [*tallies(result.problems, painter), *filter(None, [skipped])]
    else:
        lines.append(", ".join(filter(None, (f"{painter.error(tallied)} in {name}", skipped))))
    return lines
