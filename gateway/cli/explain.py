"""`gateway explain`: show an alias with everything merged, and what a call of it does when targets fail."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import orjson

from gateway.adapters.mock import MockAdapter
from gateway.cli import files
from gateway.cli.groups import add_client_keys, groups_by_client
from gateway.cli.settings import Commands, add_command, config_path
from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.engine.limits.admission import has_group
from gateway.errors import UsageError
from gateway.policy.failures import Kind
from gateway.policy.limits import DEFAULT_GROUP
from gateway.policy.table import Route, RoutingTable
from gateway.policy.target import ScriptedOutcome
from gateway.reports import explanation as explaintext
from gateway.reports import problems as render
from gateway.reports.problems import Painter
from gateway.simulation import clock as virtual
from gateway.simulation.circumstances import Circumstances, read_circumstances
from gateway.simulation.client_limits import unused_limits
from gateway.simulation.explain import (
    PreHooks,
    Sent,
    as_json,
    explain,
    look_up,
    nothing_called,
    send,
    sent_to_each,
)
from gateway.simulation.simulator import OPERATION_NAMES, Observed, Simulator
from gateway.simulation.upstreams import ANSWERED, Script, named, read_failure
from gateway.wire.json import EMPTY, JsonObject
from gateway.words import count, did_you_mean

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
  gateway explain smart --stream --fail 'openai/*=timeout'   with a stream's limits
  gateway explain smart --operation messages             what Claude Code gets
  gateway explain smart --request body.json                as sent, after hooks and params
  gateway explain smart --header x-tier=paid --client shop --at 2026-11-29T09:00Z   which steps of pools and conditions
  gateway explain smart --client ann --group search        may they ask for it, and what it takes of their limits
  gateway explain faq --header cache-control=no-store     whether its answer is kept, and for whom
  gateway explain smart --seed 1                           with other draws in its pools

A failure is a kind (rate_limit, overloaded, timeout, auth, ...) or an HTTP status. It is every call's of that target,
or of every target that begins with what stands before the *.

exit codes:
  0  explained
  1  the config file has problems, or has no such alias
  2  wrong usage, or a file cannot be read
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, run, "explain", "show what an alias means and what a call of it does", _TEXT, _EPILOG
    )
    parser.add_argument("alias", metavar="ALIAS", help="a name as clients ask for it, or a wildcard's pattern")
    parser.add_argument("--config", metavar="FILE", help="the config file [GATEWAY_CONFIG] (default: ./routes.yaml)")
    parser.add_argument("--request", metavar="FILE", help="a request's JSON body, run through the hooks; - is stdin")
    parser.add_argument(
        "--operation",
        choices=OPERATION_NAMES,
        help="what is asked for (default: as the request's fields tell it, chat)",
    )
    parser.add_argument("--stream", action="store_true", help="ask for a stream, as `stream: true` in the request does")
    text = "a header field of the request, for conditions and sticky pools; may be repeated"
    parser.add_argument("--header", metavar="NAME=VALUE", action="append", default=[], help=text)
    parser.add_argument("--client", metavar="CLIENT", help="the client that asks, by its name in the client keys file")
    text = "the group of that client, or of a client without a name"
    parser.add_argument("--group", metavar="GROUP", help=text)
    add_client_keys(parser)
    parser.add_argument("--at", metavar="TIME", help="when the request arrives, as 2026-11-29T09:00Z (default: now)")
    text = "of the draws in pools: another number, another order, as `seed` of a test case (default: 0)"
    parser.add_argument("--seed", metavar="N", help=text)
    text = "let a target fail; may be repeated"
    parser.add_argument("--fail", metavar="TARGET=KIND", action="append", default=[], help=text)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")
    parser.add_argument("--skip-hooks", action="store_true", help="do not import hooks")


def run(args: argparse.Namespace) -> int:
    """Print the explanation of one alias; return the exit code. Raises UsageError."""
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # the explanation reports a failing hook
    config = config_path(args, os.environ)
    data = files.read(str(config))
    compiled = Compiler(environ=os.environ, skip_hooks=args.skip_hooks).compile(data, source=str(config))
    if compiled.table is None:
        render.report(compiled.problems)
        return 1
    route = look_up(compiled.table, args.alias)
    if route is None:
        names = [*compiled.table.routes, *(one.alias for one in compiled.table.wildcards.values())]
        hint = did_you_mean(args.alias, names) or f"; there are {', '.join(names[:8])}{', …' if names[8:] else ''}"
        render.complain(f"{config} has no alias {args.alias!r}{hint}")
        return 1
    if args.request is not None and compiled.table.find(args.alias) is None:
        raise UsageError(f"--request is for a name that {args.alias} takes, such as {args.alias[:-1]}model")
    fails = dict(read_failure(text, route, option="--fail") for text in args.fail)
    circumstances = read_circumstances(
        args.header, args.client, args.at, args.seed, group=_group(args, compiled.table), dashes="--"
    )
    body = None if args.request is None else _body(args.request, args.alias)
    wish: JsonObject = {"stream": True} if args.stream else {}
    body = None if body is None else body | wish
    asked: str | None = args.operation
    sent, left, pre_hooks = None, None, _skipped_hooks(compiled, route)
    if body is not None:
        with redirect_stdout(sys.stderr):  # hooks may print
            sent = send(compiled.table, route, body, partial(_send, body, asked, circumstances))
            if route.pre and (route.parts is not None or circumstances.caller is not None or route.cache is not None):
                left = _left(body, asked, compiled.table)
                pre_hooks = "ended" if left is None else "run"
    client, limits = circumstances.caller, None
    if client is not None and has_group(compiled.table, client):
        limits = unused_limits(compiled.table, route, client, left or body or wish, asked)
    explanation = explain(
        args.alias,
        route,
        fails,
        operation=asked,
        request=body or wish,
        mock=MockAdapter(),
        circumstances=circumstances,
        left=left,
        pre_hooks=pre_hooks,
        limits=limits,
        price_of=compiled.table.price_of,
    )
    if args.format == "json":
        output = as_json(explanation)
        if sent is not None:
            output |= {"walk": _walk_as_sent(output["walk"], sent.whole), "request": _request_as_json(route, sent)}
        print(json.dumps(output, indent=2, default=repr))
        return 0
    assert compiled.document is not None, "a table has a document"
    where = ("models", route.alias)
    file, line = compiled.document.home(where).name, compiled.document.key_position(where)[0]
    failing = [f"{target} fails with {_word(failure)}" for target, failure in fails.items()]
    painter = Painter.of(sys.stdout, os.environ)
    text = explaintext.lines(explanation, place=f"{file}:{line}", failing=failing, sent=sent, painter=painter)
    print("\n".join(text).rstrip("\n"))
    if compiled.skipped_hooks:
        print(f"\n{count(compiled.skipped_hooks, 'hook')} skipped")
    return 0


def _group(args: argparse.Namespace, table: RoutingTable) -> str | None:
    """Return the group of the client that asks, by its flag or the client keys file. Raises UsageError."""
    group: str | None = args.group
    if group:
        if group not in table.clients:
            hint = did_you_mean(group, table.clients) if table.clients else "; the file has no `clients`"
            raise UsageError(f"--group is {group[:128]!r}, which `clients` of the file does not have{hint}")
        return group
    groups = groups_by_client(args, os.environ) if args.client and group is None else None
    if groups is None:
        if args.client and group is None and len(table.clients) > 1:
            print(
                f"note: {args.client[:128]!r} is taken for a client of {DEFAULT_GROUP!r}; --group or --client-keys-file"
                " tells of another group",
                file=sys.stderr,
            )
        return group
    if args.client not in groups:
        hint = did_you_mean(args.client, groups)
        raise UsageError(f"--client is {args.client[:128]!r}, who has no key in the client keys file{hint}")
    return groups[args.client]


def _send(body: JsonObject, operation: str | None, supposed: Circumstances, table: RoutingTable) -> Observed:
    """Send a request through its hooks to upstreams that all answer. Without a client nobody's limits count."""
    if supposed.caller is None:
        table = replace(table, clients=EMPTY)

    async def ask() -> Observed:
        begin = supposed.at or datetime.now(UTC)
        simulator = Simulator(table, Script({"*": (ANSWERED,)}), seed=supposed.seed, begin=begin)
        return await simulator.ask(body, operation, headers=supposed.headers, client=supposed.caller)

    try:
        return virtual.run(ask())
    except virtual.Stuck as exc:
        return Observed(fault=f"the request never ends: {exc}; does a hook wait without a limit?")


def _left(body: JsonObject, operation: str | None, table: RoutingTable) -> JsonObject | None:
    """Return a request as its alias' pre hooks leave it; None if they end it, or never do."""

    async def run_hooks() -> JsonObject | None:
        return await Simulator(table, Script({})).left_by_pre_hooks(body, operation)

    try:
        return virtual.run(run_hooks())
    except virtual.Stuck:
        return None


def _skipped_hooks(compiled: Compiled, route: Route) -> PreHooks | None:
    """Return that pre hooks were not run, if the file names some for a route, and none was imported."""
    assert compiled.table is not None, "the caller has its route"
    models = compiled.table.config.get("models", {})
    entries = (compiled.table.config, models.get(route.alias))
    named = [entry.get("hooks") for entry in entries if isinstance(entry, Mapping)]
    has_pre = any(isinstance(hooks, Mapping) and hooks.get("pre") for hooks in named)
    return "not run" if compiled.skipped_hooks and has_pre else None


def _request_as_json(route: Route, sent: Sent) -> JsonObject:
    """Return the request as each target would get it; `refused` is the reason when none does."""
    whole = sent.whole
    if not whole.attempts:
        return {"refused": explaintext.ended_by(whole), "status": whole.status, "sent": []}
    return {"refused": None, "status": whole.status, "sent": sent_to_each(route, sent)}


def _walk_as_sent(walk: JsonObject, sent: Observed) -> JsonObject:
    """Return the walk with this request's outcome: a hook may refuse the request or end its answer."""
    if not sent.attempts:
        return nothing_called(walk, sent.status if sent.error else None, sent.error)
    if sent.error and walk["error"] is None:
        return walk | {"status": sent.status, "error": sent.error}
    return walk


def _word(failure: ScriptedOutcome) -> str:
    """Return the kind of a supposed failure, or its status where that differs from the kind's own."""
    kind = failure.kind or Kind.TIMEOUT
    return kind.value if failure.status == named(kind).status else str(failure.status)


def _body(name: str, alias: str) -> JsonObject:
    try:
        body = orjson.loads(files.read(name))
    except orjson.JSONDecodeError as exc:
        raise UsageError(f"{name} is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}") from None
    if not isinstance(body, dict):
        raise UsageError(f"{name} holds no JSON object")
    return {**body, "model": alias}
