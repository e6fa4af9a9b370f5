"""`gateway diff`: what a change of a policy changes in behaviour, and for whom."""

from __future__ import annotations

import argparse

_TEXT = """\
Tell what a change of the config file changes in behaviour, and for whose clients: chains, limits, parameters, hooks,
providers, and the test cases beside the file that end otherwise. What only looks different is no difference.
Nothing is called and no key is needed. Secrets are never shown.
"""

_EPILOG = """\
OLD and NEW are each a file, - for standard input, REV:path, or REV alone, which means the same file at that revision:
what --config names, else the file that the other side names, else the config file. An existing file goes before a
revision of that name. `:path` is what is staged. Without NEW the config file is compared with OLD, without either with
HEAD. The test cases are those beside NEW, of the same revision.
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
                "old", "new", "providers": [name], "text",
                "aliases": [{"alias", "targets": [name] | null for all, "place": from 1 | null}]}],
   "chains": {alias: {"old": [target], "new": [target]}},
   "providers": {"added" | "removed": [{"provider", "kind", "adapter", "base_url", "api_key", "headers": [name]}]},
   "cases": null | {"file", "played", "changed": [{"name", "line", "request", "old", "new",
                    "verdict": "newly fails" | "newly passes" | "passes" | "fails"}]},
   "notes": [text], "problems": []}
  Fields are named as in the config file (chain, retries, params.NAME, hooks.pre, providers.base_url); durations are
  in seconds. When a side has problems: {"ok": false, "changed": null, "problems": [as validate prints them]}.
  Fields may be added; these stay.

exit codes:
  0  compared; with --exit-code: and nothing differs
  1  a side has problems; with --exit-code: or something differs
  2  wrong usage, or a file or a revision cannot be read
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diff",
        help="show what a change of a policy changes, and for whom",
        description=_TEXT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("old", metavar="OLD", nargs="?", help="a file or a git revision (default: HEAD)")
    parser.add_argument("new", metavar="NEW", nargs="?", help="the same (default: the config file)")
    parser.add_argument("--config", metavar="FILE", help="the config file [GATEWAY_CONFIG] (default: ./routes.yaml)")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="default: text")
    parser.add_argument("-v", "--verbose", action="store_true", help="name every alias and every test case")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 when anything differs")
    parser.add_argument("--skip-hooks", action="store_true", help="do not import hooks; cases are played without them")
    parser.set_defaults(run=run, file=None)


def run(args: argparse.Namespace) -> int:
    """Compare two policies."""
    # The engine and asyncio come with it, and `validate` starts faster without.
    from gateway.cli.diffing import run_diff

    return run_diff(args)
