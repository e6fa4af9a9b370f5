"""An explanation of an alias as aligned text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final, Literal

from gateway.policy.failures import Kind, names_of
from gateway.policy.packages import LITELLM, is_installed
from gateway.policy.pools import positions
from gateway.policy.table import Hook, Route, Step
from gateway.policy.target import Limits
from gateway.policy.wires import HOOK_OPERATIONS, OPERATIONS_OF, as_list
from gateway.reports.aligned import table
from gateway.reports.problems import Painter
from gateway.simulation.explain import Explanation, Sent, has_key, sent_to_each, verdicts
from gateway.simulation.simulator import Observed
from gateway.simulation.walk import Event, Walk
from gateway.wire.json import Json
from gateway.words import as_share, count, cut, printable, shown

MAX_VALUE: Final = 96
"""Characters of one value that are shown."""

_CONNECT_S: Final = 5.0
"""Longest time to connect that a bare `timeout` means."""


def lines(
    explanation: Explanation, *, place: str, failing: Sequence[str], sent: Sent | None, painter: Painter
) -> Iterator[str]:
    """Yield the whole text. `failing` describes the `--fail` arguments; `sent` is the outcome of `--request`."""
    route = explanation.route
    alias = "" if route.alias == explanation.name else f"  by {printable(route.alias)}"
    yield f"{painter.place(printable(explanation.name))}{alias}  {printable(place)}"
    if route.description:
        yield f"  {printable(route.description)}"
    yield ""
    yield painter.place("chain")
    yield from table(_chain(route))
    if rows := [*_pools(explanation), *_conditions(explanation), *_unhooked(explanation)]:
        yield painter.place("pools and conditions")
        yield from table(rows)
    yield painter.place("limits")
    yield from table([*_limits(route), *_bound(explanation)])
    if rows := [*_cache(explanation)]:
        yield painter.place("cache")
        yield from table(rows)
    if rows := [*_client(explanation)]:
        yield painter.place("client")
        yield from table(rows)
    if sent is None:
        yield from _parameters("params", [step.params.shown for step in route.steps], painter)
    if rows := [*_hooks("pre", explanation), *_hooks("post", explanation)]:
        yield painter.place("hooks")
        yield from table([*_without_repeats(rows), *_taken(explanation)])
    if sent is not None:
        yield from _as_sent(route, sent, painter)
    called = "a stream" if explanation.stream else "a call"
    yield painter.place(called + (f" when {printable(' and '.join(failing))}" if failing else ""))
    yield from _walk(explanation, None if sent is None else sent.whole, painter)
    if explanation.refused is None or explanation.refused.status != HTTPStatus.FORBIDDEN:
        yield painter.place("worst case")
        yield from table(_worst(explanation))


def _chain(route: Route) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for number, step in enumerate(route.steps, start=1):
        retries = {0: "no retry", 1: "1 retry"}.get(step.retries, f"{step.retries} retries")
        endpoint = step.target.endpoint
        notes = [f"{len(step.by_key)} keys in turn"] if step.by_key else []
        notes += ["no key here"] if has_key(step) is False else []
        notes += (
            ["LiteLLM is not installed here"] if endpoint.adapter == "litellm" and not is_installed(LITELLM) else []
        )
        adapter = (
            f"{endpoint.adapter}, {endpoint.library_adapter} in Python"
            if endpoint.library_adapter
            else endpoint.adapter
        )
        rows.append((str(number), step.target.name, adapter, retries, ", ".join(notes)))
    return rows


def _pools(explanation: Explanation) -> Iterator[Sequence[str]]:
    """Yield rows for each pool: its members' shares, and their order for this request."""
    for one in explanation.pools:
        pool = one.picked.pool
        steps = ", ".join([str(step + 1) for step in positions([pool])])
        members = zip(pool.members, one.shares, strict=True)
        key = f", by {one.picked.source}" if one.picked.source else ""
        shares = ", ".join([f"{member.name} {as_share(share)}" for member, share in members])
        yield f"step {steps}", f"{pool.pick}{key}", shares
        yield "", "", f"this request: {', '.join(one.names())}"


def _conditions(explanation: Explanation) -> Iterator[Sequence[str]]:
    """Yield a row for each condition: whether this request meets it."""
    for one in explanation.conditions:
        steps = ", ".join([str(step + 1) for step in one.steps])
        yield f"step {steps}", "when", "holds" if one.unmet is None else f"does not hold: {one.unmet}"


def _unhooked(explanation: Explanation) -> Iterator[Sequence[str]]:
    """Yield a row if the request was read as it came, and pre hooks can change what pools and conditions read."""
    if explanation.pre_hooks == "not run":
        yield "hooks", "", "not run here; a pre hook may change what holds"
    elif explanation.pre_hooks == "ended":
        yield "hooks", "", "a pre hook ends the request; this is the request as it came"


def timeout(limits: Limits) -> str:
    """Return a step's limits in the file's shortest form: `10s`, or each limit with its name."""
    total_s = limits.total_s
    if limits.first_token_s == limits.idle_s == total_s and limits.connect_s == min(_CONNECT_S, total_s):
        return f"{shown(total_s)}" + (", of a whole stream too" if limits.stream_total_s else "")
    parts = {"connect": limits.connect_s, "first token": limits.first_token_s, "idle": limits.idle_s, "total": total_s}
    text = ", ".join(f"{name} {shown(value_s)}" for name, value_s in parts.items())
    return text + (" (streams: none)" if limits.stream_total_s is None else "")


def _limits(route: Route) -> list[Sequence[str]]:
    steps = route.steps
    hold = {"first_token": "sent from the first content on", "full": "held back until the whole answer is there"}
    rows: list[Sequence[str]] = [
        ("deadline", f"{shown(route.deadline_s)} until the first content, over all calls"),
        ("calls", f"at most {route.max_attempts}"),
    ]
    rows += _relayed(steps)
    rows += _by_step("timeout", [timeout(step.limits) for step in steps])
    rows += _by_step("tried again on", [_kinds(step.retry_on) for step in steps])
    rows += _by_step("goes on after", [_kinds(step.fallback_on) for step in steps])
    rows += _by_step("cooldown", [_cooldown(step) for step in steps])
    rows.append(("stream", hold[route.stream.hold]))
    if route.stream.keepalive_s is not None:
        rows.append(
            ("", f"a comment after each {shown(route.stream.keepalive_s)} of silence; the first brings the status")
        )
    if route.hedge is not None:
        after_s = route.hedge.after_s
        after = "the 95th percentile of its times, at least 1s" if after_s is None else shown(after_s)
        rows.append(("hedge", f"a target without content after {after} gets the next one called beside it"))
    if route.shadow is not None:
        target, share = route.shadow.step.target.name, as_share(route.shadow.share)
        rows.append(("shadow", f"{share} of the requests once more to {target}, whose answers are dropped"))
        if has_key(route.shadow.step) is False:
            rows.append(("", f"no key here for {target}"))
    return rows


def _cache(explanation: Explanation) -> Iterator[Sequence[str]]:
    """Yield whether a kept answer is given, and whether this request's is kept, for how long and for whom."""
    cache = explanation.cache
    if cache is None:
        return
    policy = cache.policy
    if cache.why_not is not None:
        yield "looked up", f"no: {cache.why_not}"
        yield "kept", "no"
        return
    whose = "any client" if policy.scope == "shared" else cache.client or "the same client"
    max_age_s = cache.control.max_age_s
    age_s = policy.ttl_s if max_age_s is None else min(policy.ttl_s, max_age_s)
    looked_up = f"yes: the answer to an equal request of {whose} is given again for {shown(age_s)}"
    yield "looked up", looked_up if cache.is_looked_up else "no: its `Cache-Control` wants a new answer"
    stale_s = policy.stale_if_error_s
    stale = "" if stale_s is None else f"; {shown(stale_s)} more when all targets fail"
    kept = f"{shown(policy.ttl_s)}{stale}"
    if cache.is_sent_on:
        kept = "no: a budget sends it to another alias"
    yield "kept", kept if cache.is_kept or cache.is_sent_on else "no: nothing is called"
    if explanation.pre_hooks == "not run":
        yield "hooks", "not run here; a pre hook may change that"


def _client(explanation: Explanation) -> Iterator[Sequence[str]]:
    """Yield who asks, what they may ask for, and a row for each limit."""
    limits = explanation.limits
    if limits is None:
        return
    group, client = limits.group, limits.client
    name = "no client key" if client is None else client.name
    if group is None:
        yield "name", name
        return
    yield "name", f"{name}, of the group {group.name}"
    if group.models is not None:
        yield "may ask for", ", ".join(sorted(group.models)) or "nothing"
    if not group.limits:
        yield "limits", "none"
    for number, one in enumerate(limits.shares):
        then = "" if one.limit.then is None else f", then {one.limit.then}"
        takes = f"this request takes {_amount(one.limit.unit, one.takes)}{then}"
        yield "" if number else "limits", f"{one.limit.text}: {takes}"
    if limits.shares and group.is_shared:
        yield "", "one count for all clients of the group"
    if any(one.limit.unit in ("tokens", "spend") for one in limits.shares):
        given, output = limits.expected
        yield "reserved", f"{given:,} tokens of input and {output:,} of output, until the answer tells"


def _amount(unit: str, amount: float) -> str:
    """Return what is taken of a limit, such as `1,020 tokens`."""
    if unit == "spend":
        return f"${amount:.6f}".rstrip("0").rstrip(".")
    return f"{amount:,.0f} tokens" if unit == "tokens" else f"{amount:,.0f}"


def _relayed(steps: Sequence[Step]) -> Iterator[Sequence[str]]:
    """Yield what is relayed to the steps whose adapter does not tell: those that name wires, or LiteLLM carries."""
    found: dict[str, list[str]] = {}
    for number, step in enumerate(steps, start=1):
        endpoint = step.target.endpoint
        wires = ", ".join(wire for wire in OPERATIONS_OF if wire in (endpoint.wires or ()))
        if wires and (endpoint.wires_written or endpoint.adapter != "relay"):
            found.setdefault(wires, []).append(str(number))
    for number, (wires, numbers) in enumerate(found.items()):
        yield "" if number else "relayed", f"step {', '.join(numbers)}: {wires}"


def _by_step(name: str, values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield one row if all steps have the same value, else one row for each value with its steps."""
    if len(set(values)) == 1:
        yield (name, values[0])
        return
    for value in dict.fromkeys(values):
        steps = ", ".join(str(number) for number, other in enumerate(values, start=1) if other == value)
        yield (name, f"step {steps}: {value}")
        name = ""


def _kinds(kinds: frozenset[Kind]) -> str:
    missing = names_of(frozenset(Kind) - kinds)
    if not kinds:
        return "nothing"
    if not missing:
        return "every failure"
    if len(missing) < len(kinds):
        return f"every failure but {', '.join(missing)}"
    return ", ".join(names_of(kinds))


def _cooldown(step: Step) -> str:
    cooldown = step.target.endpoint.cooldown
    failures = f"{count(cooldown.failures, 'failed request')} and {as_share(cooldown.share)}"
    return f"after {failures} within {shown(cooldown.within_s)}, for {shown(cooldown.for_s)}"


def _hooks(when: Literal["pre", "post"], explanation: Explanation) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each hook; for those of nested aliases with the steps that they belong to."""
    route = explanation.route
    for hook in getattr(route, when):
        yield (when, *_hook(hook, explanation.operation, when))
    nested = {own.alias: own for step in route.steps for own in step.nested}
    for alias, own in nested.items():
        steps = [str(number) for number, step in enumerate(route.steps, start=1) if own in step.nested]
        for hook in getattr(own, when):
            yield (f"{when} of {alias}, step {', '.join(steps)}", *_hook(hook, explanation.operation, when))


def _taken(explanation: Explanation) -> Iterator[Sequence[str]]:
    """Yield a row with the operations that no pre hook refuses, if one refuses any."""
    if explanation.refuses:
        taken = ", ".join(as_list({*explanation.takes})) or "nothing"
        yield ("takes", f"{taken}; any other request gets 400, as a pre hook does not know it")


def _bound(explanation: Explanation) -> Iterator[Sequence[str]]:
    """Yield a row with the target of bound requests, if the chain has others."""
    if explanation.bound is not None:
        yield ("bound", f"a request with an id goes to its maker in this chain, else to {explanation.bound} only")


def _hook(hook: Hook, operation: str, when: Literal["pre", "post"]) -> tuple[str, str]:
    notes = ["async"] if hook.is_async else []
    if hook.timeout_s is not None:
        notes.append(f"at most {shown(hook.timeout_s)}")
    if hook.on_error == "skip":
        notes.append("skipped when it fails")
    if hook.events != "all":
        notes.append(f"{hook.events} events of a stream")
    if hook.operations != HOOK_OPERATIONS:
        names = as_list(hook.operations)
        notes.append(f"knows {'all operations' if names == [*OPERATIONS_OF] else ', '.join(names)}")
    if operation not in hook.operations:
        refuses = when == "pre" and hook.on_error != "skip"
        notes.append(f"refuses {operation}" if refuses else f"not run for {operation}")
    return hook.path, ", ".join(notes)


def _parameters(
    title: str, by_step: Sequence[Mapping[str, Json]], painter: Painter, *, null: str = "removed"
) -> Iterator[str]:
    """Yield parameters with the steps that have them, those of all steps first. `null` is shown for a null."""
    steps_of: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for number, params in enumerate(by_step, start=1):
        for name, value in params.items():
            steps_of.setdefault((name, tuple(_value(value, null))), []).append(number)
    all_steps = list(range(1, len(by_step) + 1))
    rows: list[tuple[str, str, str]] = []
    for (name, texts), steps in sorted(steps_of.items(), key=lambda item: (item[1] != all_steps, item[1])):
        label = ", ".join(map(str, steps)) if steps != all_steps else "all" if len(by_step) > 1 else ""
        rows += [(label, name, text) for text in texts]
    if rows:
        yield painter.place(title)
        yield from table(_without_repeats(rows))


def _without_repeats(rows: Sequence[tuple[str, str, str]]) -> list[Sequence[str]]:
    """Return rows without the leading cells that are equal in the row before."""
    blanked: list[Sequence[str]] = []
    for before, (label, name, value) in zip([("", "", ""), *rows], rows, strict=False):
        same_label, same_name = label == before[0], (label, name) == before[:2]
        blanked.append(("" if same_label else label, "" if same_name else name, value))
    return blanked


def _value(value: Json, null: str) -> Iterator[str]:
    if isinstance(value, list) and value and all(isinstance(item, dict) and "role" in item for item in value):
        for message in value:
            content = message.get("content")
            text = content if isinstance(content, str) else json.dumps(content, default=repr)
            yield cut(f"{message['role']}: {text}", MAX_VALUE)
    else:
        yield null if value is None else cut(json.dumps(value, ensure_ascii=False, default=repr), MAX_VALUE)


def _as_sent(route: Route, sent: Sent, painter: Painter) -> Iterator[str]:
    """Yield the request as each target would get it after the hooks, or why it does not."""
    if not sent.whole.attempts:
        yield painter.place("as sent")
        yield f"  {painter.error('nothing is sent')}: {printable(ended_by(sent.whole))}"
        yield ""
        return
    each = sent_to_each(route, sent)
    bodies = [{name: value for name, value in (one or {}).items() if name != "model"} for one in each]
    yield from _parameters("as sent", bodies, painter, null="null")
    refused = [number for number, one in enumerate(each) if one is None]
    for number in refused:
        reason = printable(ended_by(sent.by_step[number]))
        yield f"  {painter.error(f'nothing is sent to step {number + 1}')}: {reason}"
    if refused:
        yield ""


def ended_by(sent: Observed) -> str:
    """Return the fault that ended a request or its answer: a hook's, with its place, or the error for the client."""
    if sent.fault is not None or sent.error is None:
        return sent.fault or "the request is refused"
    body = sent.body if isinstance(sent.body, dict) else {}
    return f"{sent.error}: {body['error']['message']}" if "error" in body else sent.error


def _walk(explanation: Explanation, sent: Observed | None, painter: Painter) -> Iterator[str]:
    route, walk, refused = explanation.route, explanation.walk, explanation.refused
    if sent is None and refused is not None:
        yield f"  nothing is called; the client gets {painter.error(f'{refused.status} {refused.code}')}:"
        yield f"  {printable(str(refused))}"
        yield ""
        return
    if sent is not None and not sent.attempts:
        given = f"; the client gets {painter.error(f'{sent.status} {sent.error}')}" if sent.error else ""
        yield f"  nothing is called{given}"
        yield ""
        return
    rows: list[Sequence[str]] = []
    unreached = verdicts(route, walk, explanation.operation)
    events = list(walk.events)
    for step, target in enumerate(route.steps):
        while events and events[0].step <= step:
            rows.append(_event(route, events.pop(0)))
        if step in unreached:
            rows.append(("", str(step + 1), target.target.name, unreached[step]))
    rows += [_event(route, event) for event in events]
    end = shown(walk.ended_s)
    stamps = max(len(end), *(len(row[0]) for row in rows))
    yield from list(table([(row[0].rjust(stamps), *row[1:]) for row in rows]))[:-1]
    error = walk.error
    given = painter.good("200") if error is None else painter.error(f"{error.status} {error.code}")
    reason = ""
    if walk.events and error is not None and error.code == "upstream_refused":
        reason = ", with the upstream's own body"
    elif walk.events:
        reason = {"exhausted": ": no target is left", "deadline": ": the deadline has passed"}.get(walk.reason, "")
    if sent is not None and sent.error and error is None:
        given = "200, and a stream that breaks off" if sent.broken else f"{sent.status} {sent.error}"
        given, reason = painter.error(given), f": {printable(ended_by(sent))}"
    yield f"  {end:>{stamps}}  the client gets {given}{reason}"
    yield ""


def _event(route: Route, event: Event) -> Sequence[str]:
    status = f" {event.status}" if event.status and event.kind else ""
    took_s = event.ended_s - event.started_s
    lasted = f" after {shown(took_s)}" if took_s else ""
    resort = " (in cooldown, the last resort)" if event.last_resort else ""
    beside = " (called beside the other)" if event.hedge else ""
    outcome = "closed" if event.then == "closed" else str(event.kind or "answers")
    outcome += f"{status}{lasted}{resort}{beside}"
    decided = {
        "answers": "",
        "closed": "another call answers first",
        "key": "another key at once",
        "retry": f"tried again in {shown(event.wait_s)}" if event.wait_s else "tried again at once",
        "next": f"next target: {event.why}" if event.why else "",
        "stop": f"stops: {event.why}",
        "give up": f"gives up: {event.why}",
    }[event.then]
    row = (shown(event.started_s), str(event.step + 1), route.steps[event.step].target.name, outcome)
    return (*row, decided) if decided else row


def _worst(explanation: Explanation) -> list[Sequence[str]]:
    route, bad = explanation.route, explanation.worst
    is_held = route.stream.hold == "full"
    by_step = Counter(event.step for event in bad.busiest.events)
    calls = " + ".join(str(by_step[step]) for step in sorted(by_step))
    rows: list[Sequence[str]] = [("calls", f"{calls} = {bad.calls}" if len(by_step) > 1 else calls)]
    if route.hedge is not None:
        most = min(route.max_attempts, sum(1 + step.retries for step in route.steps))
        rows[0] = ("calls", f"at most {most}, those that the hedge begins among them")
    rows += [
        ("plain answer", f"fails after {shown(bad.plain_s)}{_cause(bad.plain)}"),
        ("stream", f"fails to begin after {shown(bad.stream_s)}{_cause(bad.stream, is_held=is_held)}"),
    ]
    if bad.untried and route.hedge is None:
        names = ", ".join(route.steps[step].target.name for step in bad.untried)
        order = "" if route.parts is None else " (all steps, in the file's order)"
        rows.append(("never tried", f"{names}, once slow failures before have used up the deadline{order}"))
    return rows


def _cause(walk: Walk, *, is_held: bool = False) -> str:
    if walk.reason != "deadline":
        return ""
    return ", the most for a stream that is held back" if is_held else ", the deadline"
