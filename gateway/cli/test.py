"""`gateway test`: play a policy's test cases against it, offline and in virtual time."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

from gateway.cli.files import cases_beside, unreadable
from gateway.cli.groups import add_client_keys, groups_by_client
from gateway.cli.progress import Progress, progress
from gateway.cli.settings import Commands, add_command, config_path
from gateway.config.compiler.compiler import Compiler
from gateway.config.include import CASE_SUFFIXES
from gateway.errors import UsageError
from gateway.policy.problem import Problem
from gateway.policy.table import RoutingTable
from gateway.reports import junit
from gateway.reports.problems import Painter
from gateway.reports.test_report import FileResult, coverage_as_json, coverage_lines, file_as_json, file_lines, summary
from gateway.simulation.cases.coverage import Coverage, measure
from gateway.simulation.cases.file import CaseFile, read
from gateway.simulation.cases.play import GroupByClient, Result, asked_targets, play

_TEXT = """\
Play test cases against a policy: the real routing table, engine and hooks, with scripted upstreams in virtual time.
Nothing is called, no key is needed, and a stall of a minute takes no time. The config file is found beside the cases.
"""

_EPILOG = """\
a case:
  cases:
    - name: Claude answers when OpenAI is rate limited
      request: {model: smart, messages: [{role: user, content: hi}]}
      upstream:
        openai/gpt-4o: [{status: 429}, {status: 429}]
        anthropic/claude-sonnet-4-5: [{text: hello}]
      expect: {target: anthropic/claude-sonnet-4-5, status: 200}

  Targets that `upstream` does not name answer `hello from <target>`. The last outcome of a list repeats.
  `gateway schema test` prints every key with its meaning.

examples:
  gateway test                            play ./routes.test.yaml
  gateway test examples/ -v               every *.test.yaml below a folder, each case with its path
  gateway test -k 'rate limited'          only cases whose name contains this
  gateway test --min-coverage 90 --format junit > report.xml

exit codes:
  0  every case passed, and the coverage is high enough
  1  a case failed, a file has problems, or the coverage is too low
  2  wrong usage, or a file cannot be read
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, run, "test", "play a policy's test cases in virtual time", _TEXT, _EPILOG)
    parser.add_argument("files", metavar="FILE", nargs="*", help="files of cases, or folders that contain them")
    parser.add_argument("--config", metavar="FILE", help="the config file under test, in place of the one beside")
    parser.add_argument("--format", choices=("text", "json", "junit"), default="text", help="default: text")
    parser.add_argument("-k", metavar="TEXT", dest="only", help="play only cases whose name contains TEXT")
    parser.add_argument("-v", "--verbose", action="store_true", help="name the cases that passed as well")
    parser.add_argument("--min-coverage", metavar="PERCENT", type=_percent, help="fail when the coverage is lower")
    add_client_keys(parser)
    text = "do not import hooks; what they change goes unchecked"
    parser.add_argument("--skip-hooks", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Play every file's cases and print the results; return the exit code. Raises UsageError."""
    if args.only is not None and args.min_coverage is not None:
        raise UsageError("-k plays only some cases, so --min-coverage has nothing to measure; leave one out")
    painter = Painter.of(sys.stdout, os.environ)
    files: list[FileResult] = []
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # the report of its case has a hook's failure

    with progress(sys.stderr, os.environ) as now:
        session = Session(
            os.environ,
            now,
            config=args.config,
            only=args.only,
            skip_hooks=args.skip_hooks,
            groups=groups_by_client(args, os.environ),
        )
        for name in _find_files(args, os.environ):
            with redirect_stdout(sys.stderr):  # hooks may print
                files.append(session.play(name))
            if args.format == "text":
                with now.aside():
                    print("\n".join(file_lines(files[-1], painter, verbose=args.verbose)), flush=True)
    coverages = session.coverages() if args.only is None else {}
    least: int | None = args.min_coverage
    if args.format == "text":
        for config, coverage in coverages.items():
            print("\n".join(coverage_lines(config, coverage, least=least, painter=painter)))
        print(summary(files))
    elif args.format == "json":
        output = {
            "ok": _exit_code(files, coverages, least, selected=None) == 0,
            "summary": summary(files),
            "files": [file_as_json(file) for file in files],
            "coverage": [coverage_as_json(config, coverage) for config, coverage in coverages.items()],
        }
        print(json.dumps(output, indent=2))
    else:
        print(junit.tests_as_xml(files))
    return _exit_code(files, coverages, least, selected=args.only)


class Session:
    """Plays files of test cases, and collects the results of each config file for its coverage."""

    def __init__(
        self,
        environ: Mapping[str, str],
        now: Progress,
        *,
        config: str | None,
        only: str | None,
        skip_hooks: bool,
        groups: GroupByClient | None = None,
    ) -> None:
        self._environ = environ
        self._now = now
        self._config = config
        self._only = (only or "").casefold()
        self._skip_hooks = skip_hooks
        self._groups = groups
        self._compilers: dict[tuple[tuple[str, str], ...], Compiler] = {}
        self._reached: dict[str, tuple[RoutingTable, list[Result]]] = {}

    def play(self, name: str) -> FileResult:
        """Play one file. Raises UsageError when the environment is malformed."""
        self._now.say(name)
        data = _read(name)
        if isinstance(data, Problem):
            return FileResult(file=name, readable=False, problems=(data,))
        file, problems = read(data, name=name)
        if file is None:
            return FileResult(file=name, problems=problems)
        config = self._config or _config_of(file)
        text = _read(config)
        if isinstance(text, Problem):
            return FileResult(file=name, config=config, readable=False, problems=(text,), not_run=len(file.cases))
        chosen = [case for case in file.cases if self._only in case.name.casefold()]
        key = tuple(sorted(file.env.items()))
        if key not in self._compilers:
            self._compilers[key] = Compiler(environ={**self._environ, **file.env}, skip_hooks=self._skip_hooks)
        compiled = self._compilers[key].compile(text, source=config)
        table = compiled.table
        if table is None:
            return FileResult(file=name, config=config, problems=compiled.problems, not_run=len(chosen))
        asked = asked_targets(table, file.cases)
        played = []
        for number, case in enumerate(chosen, start=1):
            self._now.say(f"{name}: case {number} of {len(chosen)}")
            played.append(play(table, case, asked, groups=self._groups))
        results = tuple(played)
        self._reached.setdefault(config, (table, []))[1].extend(results)
        return FileResult(file=name, config=config, results=results, hooks_skipped=compiled.skipped_hooks)

    def coverages(self) -> dict[str, Coverage]:
        """Return the coverage of each config file."""
        return {config: measure(table, results) for config, (table, results) in self._reached.items()}


def _find_files(args: argparse.Namespace, environ: Mapping[str, str]) -> list[str]:
    """Return the test files: the given ones, those below given folders, or else the one beside the config file."""
    if not args.files:
        return [str(cases_beside(config_path(args, environ)))]
    names: list[str] = []
    for name in args.files:
        found = [name]
        if os.path.isdir(name):
            found = sorted(
                str(Path(folder, file))
                for folder, _, inside in os.walk(name)  # passes over a folder that cannot be read
                for file in inside
                if file.endswith(CASE_SUFFIXES)
            )
            if not found:
                raise UsageError(f"there is no *.test.yaml below {name}")
        names += found
    return list(dict.fromkeys(names))


def _config_of(file: CaseFile) -> str:
    """Return the config file under test: the one that the test file names, else the one of the same name beside it."""
    folder, name = os.path.split(file.name)
    if file.config is not None:
        return os.path.normpath(os.path.join(folder, file.config))
    for suffix in CASE_SUFFIXES:
        if name.endswith(suffix):
            stem = name.removesuffix(suffix)
            beside = [os.path.join(folder, stem + ending) for ending in (".yaml", ".yml")]
            return next((path for path in beside if os.path.exists(path)), beside[0])
    return os.path.join(folder, "routes.yaml")


def _percent(text: str) -> int:
    if not text.rstrip("%").isdigit() or int(text.rstrip("%")) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return int(text.rstrip("%"))


def _exit_code(
    files: list[FileResult], coverages: Mapping[str, Coverage], least: int | None, *, selected: str | None
) -> int:
    if not all(file.readable for file in files):
        return 2
    if selected is not None and not any(file.results for file in files) and all(file.ok for file in files):
        raise UsageError(f"no case's name holds {selected!r}")
    enough = least is None or all(coverage.percent >= least for coverage in coverages.values())
    return 0 if enough and all(file.ok for file in files) else 1


def _read(name: str) -> bytes | Problem:
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as exc:
        return unreadable(name, exc)
