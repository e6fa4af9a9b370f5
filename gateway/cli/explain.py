"""`gateway explain`: what an alias means, and what a call of it does when targets fail."""

from __future__ import annotations

import argparse

_TEXT = """\
Explain an alias: its chain with every limit and parameter merged, its hooks, what a call does when targets fail, and
the worst that can come of it. The decisions are the running gateway's own; nothing is called and no key is needed.
"""

_EPILOG = """\
examples:
  gateway explain smart
  gateway explain team-a/gpt-4o                            a name that a wildcard takes
  gateway explain smart --fail openai/gpt-4o=rate_limit    what happens when this target is rate limited
  gateway explain smart --fail 'openai/*=503' --fail anthropic/claude-sonnet-4-5=timeout
  gateway explain smart --request body.json                as sent, after hooks and params

A failure is a kind (rate_limit, overloaded, timeout, auth, ...) or an HTTP status. It is every call's of that target,
or of every target that begins with what stands before the *.

exit codes:
  0  explained
  1  the config file has problems, or has no such alias
  2  wrong usage, or a file cannot be read
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        help="show what an alias means and what a call of it does",
        description=_TEXT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("alias", metavar="ALIAS", help="a name as clients ask for it, or a wildcard's pattern")
    parser.add_argument("--config", metavar="FILE", help="the config file [GATEWAY_CONFIG] (default: ./routes.yaml)")
    parser.add_argument("--request", metavar="FILE", help="a request's JSON body, run through the hooks; - is stdin")
    parser.add_argument(
        "--fail", metavar="TARGET=KIND", action="append", default=[], help="let a target fail; may be repeated"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")
    parser.add_argument("--skip-hooks", action="store_true", help="do not import hooks")
    parser.set_defaults(run=run, file=None)


def run(args: argparse.Namespace) -> int:
    """Explain one alias."""
    # The engine and asyncio come with it, and `validate` starts faster without.
    from gateway.cli.explanation import explain_alias

    return explain_alias(args)
