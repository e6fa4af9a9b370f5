"""Read a file of test cases: from YAML text to frozen cases, or to all its problems."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.adapters.base import Operation
from gateway.config.document.document import Document, in_file_order, parse
from gateway.config.document.yaml_tree import Position, Where
from gateway.config.model.read import schema
from gateway.config.model.schema_faults import inline, misfits
from gateway.operations import OPERATIONS, operation_of
from gateway.policy.failures import Kind
from gateway.policy.problem import Problem, listed
from gateway.policy.target import ScriptedOutcome
from gateway.simulation.circumstances import header_fault, read_moment
from gateway.simulation.simulator import BEGIN
from gateway.simulation.upstreams import ANSWERED, named
from gateway.simulation.walk import SEED
from gateway.wire.json import EMPTY, Json, JsonObject
from gateway.words import as_share, seconds, share_of

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

REPEAT: Final = 1000
"""How often a request is sent whose shares are expected, unless told otherwise."""


MAX_REQUESTS: Final = 10_000
"""Requests that one turn may send, those beside others counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """The expected outcome of one request: `expect` as the file writes it."""

    values: Mapping[str, Json]
    position: Position
    positions: Mapping[str, Position]
    """Position of each key of `values`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request of a case."""

    request: JsonObject
    operation: Operation
    upstream: Mapping[str, tuple[ScriptedOutcome, ...]] | None
    """Target or pattern → its outcomes; None keeps the script of the request before."""
    upstream_positions: Mapping[str, Position] = field(default_factory=lambda: EMPTY)
    expect: Expect
    after_s: float = 0.0
    times: int = 1
    every_s: float = 0.0
    """Seconds between two of `times` requests."""
    beside: int = 0
    """Equal requests that are being answered when this one comes."""
    repeats: bool = False
    """Whether the answers are counted, for shares, instead of shown one by one."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """The client's header fields, names in lower case."""
    client: str | None = None
    group: str | None = None
    """The group of the client's keys; None: the one that the client keys file gives, else `default`."""
    position: Position = (0, 0)
    """Of the group's or the client's name, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case. Its requests share health, cooldowns and a clock."""

    name: str
    position: Position
    turns: tuple[Turn, ...]
    begin: datetime = BEGIN
    """The time of day when the first request arrives."""
    seed: int = SEED
    """Of the draws in pools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """A whole file of cases."""

    name: str
    """The file's name as it was given."""
    config: str | None
    """The config file, relative to this file's folder; None: the one that this file's name implies."""
    env: Mapping[str, str]
    cases: tuple[Case, ...]


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    whole = schema("routes.test")
    return Draft202012Validator(inline(whole, whole))


def read(data: bytes, *, name: str) -> tuple[CaseFile | None, tuple[Problem, ...]]:
    """Return a file's cases, or None and all its problems in file order."""
    document = parse(data, name=name)
    problems = list(document.problems)
    value = document.value
    if value is None:
        message = "the file is empty; it wants at least `cases:` with one case"
        return None, tuple(replace(one, message=message) if one.code == "empty-file" else one for one in problems)
    unread = {(problem.line, problem.column) for problem in problems}
    problems += [
        document.problem(misfit.code, misfit.where, misfit.message, key=misfit.at_key)
        for misfit in misfits(_validator(), value, value)
        if misfit.at_key or document.position(misfit.where) not in unread
    ]
    if not problems:
        problems += _semantic_problems(document, value)
    if problems:
        return None, listed(in_file_order(problems))
    cases = tuple(_case(document, case, index) for index, case in enumerate(value["cases"]))
    env = MappingProxyType(dict(value.get("env", {})))
    return CaseFile(name=name, config=value.get("config"), env=env, cases=cases), ()


def _semantic_problems(document: Document, value: JsonObject) -> list[Problem]:
    """Return the problems that the schema cannot find."""
    problems: list[Problem] = []
    first: dict[str, int] = {}
    if not value["cases"]:
        problems.append(document.problem("no-cases", ("cases",), "there is no case here; write at least one"))
    for index, case in enumerate(value["cases"]):
        where: Where = ("cases", index)
        before = first.setdefault(case["name"], index)
        if before != index:
            message = f"a case of this name stands in line {document.position(('cases', before, 'name'))[0]} already"
            problems.append(document.problem("duplicate-case", (*where, "name"), message))
        if "clock" in case and isinstance(fault := read_moment(case["clock"]), str):
            problems.append(document.problem("bad-clock", (*where, "clock"), f"{case['clock'][:128]!r}, {fault}"))
        for place, turn in [(where, case), *(((*where, "then", n), t) for n, t in enumerate(case.get("then", ())))]:
            if not turn["expect"]:
                message = "nothing is expected here, so nothing could fail; name a target, a status, attempts, …"
                problems.append(document.problem("empty-expect", (*place, "expect"), message))
            problems += [*_header_problems(document, turn, place), *_share_problems(document, turn, place)]
            for target, outcomes in turn.get("upstream", {}).items():
                at = (*place, "upstream", target)
                if outcomes == []:
                    problems.append(document.problem("no-outcome", at, "the list is empty; `{}` is a plain answer"))
                if "*" in target[:-1]:
                    message = f"{target!r} may have one `*`, at its end"
                    problems.append(document.problem("misplaced-star", at, message, key=True))
    return problems


def _header_problems(document: Document, turn: JsonObject, place: Where) -> Iterator[Problem]:
    seen: set[str] = set()
    for name, value in turn.get("headers", {}).items():
        fault = header_fault(name, str(value))
        if fault is None and name.lower() in seen:
            fault = f"there is {name.lower()!r} already; the case of letters does not count"
        seen.add(name.lower())
        if fault is not None:
            yield document.problem("bad-header", (*place, "headers", name), fault, key=True)


def _share_problems(document: Document, turn: JsonObject, place: Where) -> Iterator[Problem]:
    if "every" in turn and "times" not in turn and "share" not in turn["expect"]:
        message = "there is one request only, so it waits for none; say how often by `times`, or use `after` in `then`"
        yield document.problem("every-alone", (*place, "every"), message, key=True)
    wanted = turn["expect"].get("share")
    times = turn.get("repeat", REPEAT) if wanted is not None else turn.get("times", 1)
    if times * (turn.get("beside", 0) + 1) > MAX_REQUESTS:
        message = f"{times} times with {turn['beside']} beside each are over {MAX_REQUESTS:,}; ask for fewer"
        yield document.problem("too-many-requests", (*place, "beside"), message, key=True)
    if wanted is None:
        if "repeat" in turn:
            message = "no share is expected here, so nothing is counted; expect a `share`, or use `times` in `then`"
            yield document.problem("repeat-alone", (*place, "repeat"), message, key=True)
        return
    at: Where = (*place, "expect", "share")
    if "times" in turn:
        message = "`times` and `share` exclude each other; say how often by `repeat`"
        yield document.problem("times-and-share", (*place, "times"), message, key=True)
    if not wanted:
        yield document.problem("empty-share", at, "no share is expected here; write one, such as {openai/gpt-5.5: 90%}")
    for name in wanted:
        if "*" in name[:-1]:
            message = f"{name!r} may have one `*`, at its end"
            yield document.problem("misplaced-star", (*at, name), message, key=True)
    whole = math.fsum(map(share_of, wanted.values()))
    if whole > 1 + 1e-6:
        yield document.problem(
            "shares-over-all", at, f"the shares add up to {as_share(whole)}; they may be 100% at most"
        )


def _case(document: Document, value: JsonObject, index: int) -> Case:
    where: Where = ("cases", index)
    turns = [_turn(document, value, where, previous=None)]
    for number, following in enumerate(value.get("then", ())):
        turns.append(_turn(document, following, (*where, "then", number), previous=turns[-1]))
    begin = read_moment(value["clock"]) if "clock" in value else BEGIN
    assert isinstance(begin, datetime), "the problems tell of others"
    return Case(
        name=value["name"],
        position=document.position(where),
        turns=tuple(turns),
        begin=begin,
        seed=int(value.get("seed", SEED)),
    )


def _turn(document: Document, value: JsonObject, where: Where, *, previous: Turn | None) -> Turn:
    upstream = value.get("upstream", {} if "name" in value else None)
    script = {name: items if isinstance(items, list) else [items] for name, items in (upstream or {}).items()}
    place = (*where, "expect")
    expect = Expect(values=value["expect"], position=document.key_position(place), positions=_keys(document, place))
    operation = OPERATIONS[value["operation"]] if "operation" in value else None
    if "request" in value or previous is None:
        request = value["request"]
        body = {"model": request} if isinstance(request, str) else request
        operation = operation or operation_of(body)
        body = {**operation.example, **body}
    else:
        operation = operation or previous.operation
        body = {**operation.example, **previous.request}
    headers, client, group = (
        (EMPTY, None, None) if previous is None else (previous.headers, previous.client, previous.group)
    )
    if "group" in value or ("client" in value and value["client"] is None):
        group = value.get("group")
    who = next((key for key in ("group", "client") if key in value), None)
    if "headers" in value:
        headers = {name.lower(): str(text) for name, text in value["headers"].items()}
    repeats = "share" in value["expect"]
    return Turn(
        request=body,
        operation=operation,
        upstream=None if upstream is None else {name: tuple(map(scripted, items)) for name, items in script.items()},
        upstream_positions=_keys(document, (*where, "upstream")),
        expect=expect,
        after_s=seconds(value.get("after", 0)),
        times=int(value.get("repeat", REPEAT) if repeats else value.get("times", 1)),
        repeats=repeats,
        headers=headers,
        every_s=seconds(value.get("every", 0)),
        beside=int(value.get("beside", 0)),
        client=value.get("client", client),
        group=group,
        position=expect.position if who is None else document.position((*where, who)),
    )


def _keys(document: Document, where: Where) -> Mapping[str, Position]:
    """Return the positions of a mapping's keys."""
    node = document.node(where)
    return dict(node.keys) if node is not None else EMPTY


def _tokens(value: Json) -> tuple[int, int] | None:
    """Return the tokens of input and output that an outcome tells."""
    return None if value is None else (int(value.get("input", 0)), int(value.get("output", 0)))


def scripted(value: Json) -> ScriptedOutcome:
    """Return one outcome of a file, which writes it as a kind, a status or a mapping."""
    if isinstance(value, str):
        return named(Kind(value))
    if not isinstance(value, dict):
        return ScriptedOutcome(text=None, status=int(value))
    by_kind = named(Kind(value["kind"])) if "kind" in value else ANSWERED
    status = value.get("status", by_kind.status)
    after = value.get("retry_after")
    return ScriptedOutcome(
        kind=by_kind.kind,
        status=int(status),
        text=value.get("text"),
        code=value.get("code", by_kind.code),
        body=value.get("body"),
        tokens=_tokens(value.get("tokens")),
        headers={name.lower(): str(text) for name, text in value.get("headers", {}).items()},
        retry_after_s=None if after is None else seconds(after),
        delay_s=seconds(value.get("delay", 0)),
        pace_s=seconds(value.get("pace", 0)),
        cut=value.get("cut"),
        stall=value.get("stall", by_kind.stall),
    )
