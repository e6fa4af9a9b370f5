"""`gateway diff`: show how two versions of a policy differ in behaviour, and for which clients."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Final

from gateway.cli.groups import add_client_keys, groups_by_client
from gateway.cli.progress import Progress, progress
from gateway.cli.settings import Commands, add_command, config_path
from gateway.config.compare.policies import compare
from gateway.config.compare.revisions import Source, read_both
from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.engine.arrange import shares
from gateway.policy.problem import Problem
from gateway.policy.table import RoutingTable
from gateway.reports.diff_json import as_json
from gateway.reports.diff_text import Difference, code, markdown_lines, text_lines
from gateway.reports.problems import Painter, problem_lines, tally
from gateway.simulation.cases.compare import CaseChanges, compare_cases
from gateway.simulation.cases.file import read
from gateway.simulation.cases.play import GroupByClient
from gateway.wire.json import EMPTY

_TEXT = """\
Show what a change of the config file changes in behaviour, and for whose clients: chains, limits, parameters, hooks,
providers, clients, and the test cases beside the file whose results differ. A different spelling is not a difference.
Nothing is called and no key is needed. Secrets are never shown.
"""

_EPILOG = """\
OLD and NEW are each a file, - for standard input, REV:path, or REV alone, which means the same file at that revision:
what --config names, else the file or the REV:path that the other side names, else the config file. An existing file
goes before a revision of that name. `:path` is what is staged. Symbolic links are followed at the revision.
Without NEW the config file is compared with OLD, without either with HEAD. The test cases are those
beside NEW, of the same revision.
Hooks and key files are the work tree's for every revision, and the code of hooks is not compared, only their paths.

examples:
  gateway diff                                      HEAD against ./routes.yaml
  gateway diff origin/main --format markdown        for a comment on a pull request
  gateway diff old.yaml new.yaml
  gateway diff v1.2:routes.yaml v1.3:routes.yaml
  gateway diff HEAD :routes.yaml --exit-code        what would be committed

--format json prints one object:
  {"ok": true, "changed": bool, "old": name, "new": name,
   "added" | "removed": [{"alias", "chain", "wildcard": the one that took or takes the name, or null}],
   "changes": [{"field", "kind": "changed" | "added" | "removed" | "replaced" | "swapped" | "moved" | "reordered",
                "old", "new", "providers": [name], "group": of clients | null, "text",
                "aliases": [{"alias", "targets": [name] | null for all, "place": from 1 | null}]}],
   "chains": {alias: {"old": [target], "new": [target]}},
   "providers": {"added" | "removed": [{"provider", "kind", "adapter", "base_url", "api_key", "headers": [name]}]},
   "cases": null | {"file", "played", "changed": [{"name", "line", "request", "old", "new",
                    "verdict": "newly fails" | "newly passes" | "passes" | "fails"}]},
   "notes": [text], "problems": []}
  Fields are named as in the config file (chain, retries, params.NAME, hooks.pre, providers.base_url); durations are
  in seconds. `shares` is {target: the share of requests that go there first, from 0 to 1}, `shares.CONDITION` the same
  of requests that meet it, `providers.shares` {key: share of the calls}, `clients.limits` and `providers.limits`
  {unit and window: {"amount", "then"}}.
  When a side has problems: {"ok": false, "changed": null, "problems": [as validate prints them]}.
  Fields may be added; these stay.

exit codes:
  0  compared; with --exit-code: and nothing differs
  1  a side has problems; with --exit-code: or something differs
  2  wrong usage, or a file or a revision cannot be read
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, run, "diff", "show what a change of a policy changes, and for whom", _TEXT, _EPILOG)
    parser.add_argument("old", metavar="OLD", nargs="?", help="a file or a git revision (default: HEAD)")
    parser.add_argument("new", metavar="NEW", nargs="?", help="the same (default: the config file)")
    parser.add_argument("--config", metavar="FILE", help="the config file [GATEWAY_CONFIG] (default: ./routes.yaml)")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="default: text")
    parser.add_argument("-v", "--verbose", action="store_true", help="name every alias and every test case")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 when anything differs")
    add_client_keys(parser)
    parser.add_argument("--skip-hooks", action="store_true", help="do not import hooks; cases are played without them")


def run(args: argparse.Namespace) -> int:
    """Print what differs between two policies; return the exit code. Raises UsageError."""
    sides = read_both(args.old, args.new, config=config_path(args, os.environ), explicit=args.config is not None)
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # a hook's failure is in its case's report
    with progress(sys.stderr, os.environ) as now, redirect_stdout(sys.stderr):  # hooks may print
        found = _Comparison(
            os.environ, now, skip_hooks=args.skip_hooks, groups=groups_by_client(args, os.environ)
        ).compare(*sides)
    painter = Painter.of(sys.stdout, os.environ)
    if not isinstance(found, Difference):
        if args.format == "json":
            output = {"ok": False, "changed": None, "problems": [problem.as_json() for problem in found]}
            print(json.dumps(output, indent=2))
        elif args.format == "markdown":
            print(f"### Routing policy: {tally(found)}\n")
            print("\n".join(f"- {code(str(problem))}" for problem in found))
        else:
            print("\n".join(problem_lines(found, painter)))
        return 1
    if args.format == "json":
        print(json.dumps(as_json(found), indent=2, default=repr))
    elif args.format == "markdown":
        print("\n".join(markdown_lines(found)))
    else:
        print("\n".join(text_lines(found, painter, verbose=args.verbose)))
    return 1 if args.exit_code and found else 0


class _Comparison:
    """Compiles both sides in the same environment, and plays the test cases against them."""

    def __init__(
        self, environ: Mapping[str, str], now: Progress, *, skip_hooks: bool, groups: GroupByClient | None
    ) -> None:
        self._environ = environ
        self._now = now
        self._skip_hooks = skip_hooks
        self._groups = groups
        self._notes: list[str] = []

    def compare(self, old: Source, new: Source) -> Difference | tuple[Problem, ...]:
        """Return what differs, or the problems of both sides when one has an error.

        Raises UsageError when the environment is malformed.
        """
        compiled = self._compile((old, new), EMPTY)
        before, after = (one.table for one in compiled)
        if before is None or after is None:
            return tuple(dict.fromkeys(problem for one in compiled if one.table is None for problem in one.problems))
        cases = self._cases(old, new, (before, after))
        self._now.say("comparing")
        changes = compare(before, after, shares)
        return Difference(old=old.name, new=new.name, changes=changes, cases=cases, notes=tuple(self._notes))

    def _compile(self, sides: Sequence[Source], env: Mapping[str, str]) -> list[Compiled]:
        """Compile both sides, without hooks when the work tree lacks hooks of a revision."""
        compiler = Compiler(environ={**self._environ, **env}, skip_hooks=self._skip_hooks)
        compiled = []
        for side in sides:
            self._now.say(f"compiling {side.name}")
            compiled.append(compiler.compile(side.data, source=side.name, folder=side.folder, include=side.include))
        failed = [(side, one) for side, one in zip(sides, compiled, strict=True) if one.table is None]
        if not failed or not all(_lacks_hooks_alone(side, one) for side, one in failed):
            return compiled
        lacking = ", ".join(side.name for side, _ in failed)
        self._skip_hooks = True
        self._notes.append(f"hooks are left out: the work tree lacks some of {lacking}")
        return self._compile(sides, env)

    def _cases(self, old: Source, new: Source, tables: tuple[RoutingTable, RoutingTable]) -> CaseChanges | None:
        """Play the cases beside the new side, else those beside the old side; return None without playable cases."""
        beside = new.beside() or old.beside()
        if beside is None:
            return None
        name, data = beside
        file, problems = read(data, name=name)
        if file is None:
            self._notes.append(f"{name} has {tally(problems)}, so its cases are not played; gateway test tells more")
            return None
        before, after = (one.table for one in self._compile((old, new), file.env)) if file.env else tables
        if before is None or after is None:
            self._notes.append(f"with the `env` of {name} a side has problems, so its cases are not played")
            return None
        many = len(file.cases)
        return compare_cases(
            before,
            after,
            file.cases,
            file=name,
            on_case=lambda number: self._now.say(f"{name}: case {number} of {many}"),
            groups=self._groups,
        )


_OF_HOOKS: Final = frozenset(
    {"capability-failed", "hook-arity", "hook-import", "hook-missing", "hook-not-callable", "hook-timeout-sync"}
)
"""Codes of problems that a revision may have because its hooks are imported from the work tree."""


def _lacks_hooks_alone(side: Source, compiled: Compiled) -> bool:
    """Tell whether a revision fails only because the work tree's hooks are missing or different."""
    errors = [problem.code for problem in compiled.problems if problem.severity == "error"]
    return side.revision is not None and _OF_HOOKS.issuperset(errors)
