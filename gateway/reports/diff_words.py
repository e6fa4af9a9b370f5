"""Changes of a policy in words, the same for every format: the audience and what changes for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gateway.config.compare.changes import Change, Changes, Reach, Service
from gateway.config.compare.shares import NO_CONDITION
from gateway.policy.secrets import STARS
from gateway.reports import limit_words
from gateway.simulation.cases.compare import CaseChange, Outcome
from gateway.wire.json import Json
from gateway.words import as_share, count, cut, shown, with_repeats

Mark: TypeAlias = Literal["+", "-", "~"]
Quote: TypeAlias = Callable[[str], str]
"""Escapes a name or value of the user for the output format."""

MAX_NAMES: Final = 4
"""Longest list that is shown in full; of a longer list one name less is shown."""
MAX_VALUE: Final = 80
"""Characters of one parameter's value that are shown."""

_DURATIONS: Final = frozenset({"connect", "first_token", "idle", "total", "stream_total", "within", "for", "timeout"})
_WORDS: Final = {"stream_total": "total of a stream", "base_url": "base URL", "api_key": "key"}


@dataclass(frozen=True, slots=True)
class Row:
    """The changes that one audience sees."""

    mark: Mark
    audience: str
    changes: tuple[str, ...]


def rows(changes: Changes, quote: Quote, *, every_name: bool) -> list[Row]:
    """Return one row for each audience."""
    by_text: dict[tuple[Mark, str], list[str]] = {}
    for one in changes.removed:
        text = f"gone, {quote(one.wildcard)} takes it now" if one.wildcard else "gone, asking for it is a 404 now"
        by_text.setdefault(("-", text), []).append(quote(one.alias))
    for one in changes.added:
        origin = f", taken out of {quote(one.wildcard)}" if one.wildcard else ""
        by_text.setdefault(("+", f"new{origin}, goes to {', '.join(map(quote, one.chain))}"), []).append(
            quote(one.alias)
        )
    found = [Row(mark, _listed(names, "aliases", every_name), (text,)) for (mark, text), names in by_text.items()]
    by_audience: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for change in changes.changes:
        if change.reach:
            place, audience = _audience(change, quote)
            by_audience.setdefault(audience, []).append(change_text(change, place, quote))
    for audience, texts in by_audience.items():
        if len(audience) > MAX_NAMES and {*audience} == {(alias, "") for alias in changes.common}:
            audience_text = f"all {len(audience)} aliases"
        else:
            names = [f"{quote(alias)}{f' ({note})' if note else ''}" for alias, note in audience]
            audience_text = _listed(names, "aliases", every_name)
        found.append(Row("~", audience_text, tuple(texts)))
    found += [_service("+", one, quote) for one in changes.providers_added]
    found += [_service("-", one, quote) for one in changes.providers_removed]
    found += _groups(changes.changes, quote)
    found += [_capability(change, quote) for change in changes.changes if change.field.startswith("capabilities.")]
    return found


def _listed(names: Sequence[str], noun: str, every_name: bool = False) -> str:
    """Return the names if they are few, else their number and the first of them. `noun` is in the plural."""
    if len(names) <= MAX_NAMES or every_name:
        return ", ".join(names)
    return f"{len(names)} {noun} ({', '.join(names[: MAX_NAMES - 1])}, …)"


def _audience(change: Change, quote: Quote) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    """Return the place in the list that all aliases share, or None, and each alias with a note on its own case."""
    places = {reach.place for reach in change.reach}
    place = places.pop() if len(places) == 1 else None
    notes = [(reach.alias, _note(reach, change, quote, with_place=place is None)) for reach in change.reach]
    only = change.kind == "replaced" and all(reach.steps == 1 for reach in change.reach)
    return None if only else place, tuple(notes)


def _note(reach: Reach, change: Change, quote: Quote, *, with_place: bool) -> str:
    notes = [_nth(reach.place)] if reach.place is not None and with_place else []
    if len(reach.targets) == 1:
        notes.append(quote(reach.targets[0]))
    elif reach.targets:
        notes.append(count(len(reach.targets), "target"))
    if _is_last_removed(change, reach) and not _all_alone(change):
        notes.append("no fallback is left")
    return ", ".join(notes)


def _is_last_removed(change: Change, reach: Reach) -> bool:
    return change.field == "chain" and change.kind == "removed" and reach.steps == 1


def _all_alone(change: Change) -> bool:
    """Tell whether no alias that lost a target has a fallback now."""
    return all(_is_last_removed(change, reach) for reach in change.reach)


def _service(mark: Mark, one: Service, quote: Quote) -> Row:
    where = quote(one.base_url) if one.base_url else f"through {'LiteLLM' if one.adapter == 'litellm' else one.adapter}"
    headers = f", headers {', '.join(map(quote, one.headers))}" if one.headers else ""
    head = "called from now on" if mark == "+" else "called no more"
    text = f"{head}: {quote(one.kind)} {where}, key {quote(one.api_key)}{headers}"
    return Row(mark, f"provider {quote(one.provider)}", (text,))


def _groups(changes: Sequence[Change], quote: Quote) -> list[Row]:
    """Return one row for each group of clients."""
    by_group: dict[tuple[Mark, str], list[str]] = {}
    for change in changes:
        if change.group is not None:
            mark: Mark = "+" if change.kind == "added" else "-" if change.kind == "removed" else "~"
            by_group.setdefault((mark, change.group), []).append(change_text(change, None, quote))
    return [Row(mark, f"clients of {quote(name)}", tuple(texts)) for (mark, name), texts in by_group.items()]


def _group_text(change: Change, field: str, quote: Quote) -> str:
    match field:
        case "limits":
            return limit_words.limits_text(change.old, change.new, quote)
        case "models":
            return limit_words.models_text(change.old, change.new, quote)
        case "share":
            return "share one set of limits now" if change.new else "each has limits of its own now"
    if change.kind == "removed":
        return "gone, requests of its clients are refused with 403 now"
    return f"new, {limit_words.group_text(change.new, quote)}"


def _capability(change: Change, quote: Quote) -> Row:
    name = quote(change.field.partition(".")[2])
    mark: Mark = "+" if change.kind == "added" else "-" if change.kind == "removed" else "~"
    paths = " → ".join(quote(path) for path in (change.old, change.new) if path is not None)
    return Row(mark, f"capability {name} (Python)", (paths,))


def change_text(change: Change, place: int | None, quote: Quote) -> str:
    """Return one change in words. `place` is its position in the list, from 1, if that is the same for all aliases."""
    block, _, rest = change.field.partition(".")
    if block == "chain":
        return _list_text(change, place, quote)
    if block == "hooks":
        kind, _, path = rest.partition(".")
        if path:
            return f"{kind} hook {quote(path)}: {_limits_text(change, quote)}"
        return f"{kind} hook{'s' if change.kind in ('swapped', 'reordered') else ''} {_list_text(change, None, quote)}"
    if block == "params":
        return _param_text(change, rest, quote)
    if block == "shares":
        return f"{_with(rest, quote)}{_moved(change, 'requests', quote)}"
    if block == "moves":
        return f"with another key, up to {_percent(change.new)} of the pool's requests move to another member"
    if block in ("retry_on", "fallback_on"):
        return f"{block} {_set_text(change.old, change.new)}"
    of = f" of {_listed(list(map(quote, change.providers)), 'providers')}" if change.providers else ""
    if block == "providers":
        return _provider_text(change, rest, of, quote)
    if block in ("timeout", "cooldown"):
        return f"{block}{of} {_limits_text(change, quote)}"
    if block == "clients":
        return _group_text(change, rest, quote)
    if block == "price":
        return f"price {limit_words.price_text(change.old)} → {limit_words.price_text(change.new)}"
    if block == "cache":
        return limit_words.cache_text(change.old, change.new)
    if block == "shadow":
        shadows = ["none" if value is None else quote(str(value)) for value in (change.old, change.new)]
        return f"shadow {shadows[0]} → {shadows[1]}"
    values = [_value_text(change.field, value, quote) for value in (change.old, change.new)]
    return f"{change.field} {values[0]} → {values[1]}"


def _value_text(field: str, value: Json, quote: Quote) -> str:
    if value is None:
        return "none"
    if field == "pools":
        return quote(value)
    is_duration = field in ("deadline", "hedge", "stream.keepalive") and value != "p95"
    return shown(value) if is_duration else str(value)


def _list_text(change: Change, place: int | None, quote: Quote) -> str:
    """Return the change of an ordered list; for a chain also its new first target, or that it has no fallback left."""
    old, new = ([quote(name) for name in names or ()] for names in (change.old, change.new))
    is_chain = change.field == "chain"
    first = f"; {new[0]} is first now" if is_chain and place == 1 and new else ""
    match change.kind:
        case "added":
            return f"{new[0]} added" + (f" as {_nth(place)}" if place else "")
        case "removed":
            left = "; no fallback is left" if _all_alone(change) else ""
            return f"{old[0]} removed" + (f" (was {_nth(place)})" if place else "") + left
        case "replaced":
            return f"{old[0]} replaced by {new[0]}" + (f" ({_nth(place)})" if place else "")
        case "swapped":
            return f"{old[0]} and {old[1]} swap places{first}"
        case "moved":
            return f"{old[0]} moved" + (f" to {_nth(place)}" if place else "")
        case _:
            return f"reordered: {', '.join(old)} → {', '.join(new)}{first}"


def _param_text(change: Change, name: str, quote: Quote) -> str:
    field = f"params.{quote(name)}"
    if change.kind == "removed":
        return f"{field} no longer set (was {_value(change.old, quote)})"
    if change.kind == "added":
        return f"{field} removed from requests" if change.new is None else f"{field} set to {_value(change.new, quote)}"
    if json.dumps(change.old) == json.dumps(change.new):
        return f"{field} set to another value"
    return f"{field} {_value(change.old, quote)} → {_value(change.new, quote)}"


def _provider_text(change: Change, field: str, of: str, quote: Quote) -> str:
    block, _, name = field.partition(".")
    if block == "shares":
        return _moved(change, f"calls{of}", quote)
    if block == "headers":
        return f"header {quote(name)}{of} {change.kind if change.kind in ('added', 'removed') else 'has another value'}"
    if block == "limits":
        return f"calls{of}: {limit_words.limits_text(change.old, change.new, quote)}"
    if block == "script":
        return f"script{of} is another"
    what = _WORDS.get(block, block)
    if block in ("wires", "api_version"):
        said = [_listed_or(value, quote) for value in (change.old, change.new)]
        return f"{what}{of} {said[0]} → {said[1]}"
    if change.old == change.new:
        return f"{what}{of}: another is {change.new}"
    values = [quote(value) if value is not None else "LiteLLM's own" for value in (change.old, change.new)]
    return f"{what}{of} {values[0]} → {values[1]}"


def _with(condition: str, quote: Quote) -> str:
    """Return the requests that a change of shares is about; nothing for all of them."""
    if not condition:
        return ""
    return "where no condition holds, " if condition == NO_CONDITION else f"where only {quote(condition)} holds, "


def _moved(change: Change, what: str, quote: Quote) -> str:
    """Return other shares as moves; as two lists where it is not certain what moves where."""
    gains = {
        name: round(change.new.get(name, 0.0) - change.old.get(name, 0.0), 9)
        for name in dict.fromkeys((*change.old, *change.new))
    }
    losers, winners = ([name for name, gain in gains.items() if gain * sign > 0] for sign in (-1, 1))
    if len(losers) > 1 and len(winners) > 1:
        before, after = (
            ", ".join(f"{quote(name)} {_percent(shares[name])}" for name in shares)
            for shares in (change.old, change.new)
        )
        return f"shares of {what} {before} → {after}"
    moves = [(one, other, min(-gains[one], gains[other])) for one in losers for other in winners]
    first, *rest = [
        (f"{_percent(share)} of {what} move", f"from {quote(one)} to {quote(other)}", _percent(share))
        for one, other, share in moves
    ]
    return ", ".join([f"{first[0]} {first[1]}", *(f"{share} {way}" for _, way, share in rest)])


def _percent(share: float) -> str:
    """Return a share with two digits after the point at most: `10%`, `33.33%`."""
    return as_share(round(share, 4))


def _set_text(old: Sequence[str], new: Sequence[str]) -> str:
    """Return the change of a list whose order does not count: `adds a, b and drops c`."""
    more, less = (", ".join(name for name in one if name not in other) for one, other in ((new, old), (old, new)))
    return " and ".join([f"adds {more}"] * bool(more) + [f"drops {less}"] * bool(less))


def _listed_or(value: Json, quote: Quote) -> str:
    return "none named" if value is None else quote(", ".join(value) if isinstance(value, list) else str(value))


def _limits_text(change: Change, quote: Quote) -> str:
    """Return the changed values of a limit; names with the same values share them: `first_token/idle 5s → 10s`."""
    by_values: dict[tuple[str, str], list[str]] = {}
    for name in change.new:
        if name == "operations":
            continue
        values = _limit(name, change.old[name], quote), _limit(name, change.new[name], quote)
        by_values.setdefault(values, []).append(_WORDS.get(name, name))
    texts = [f"{'/'.join(names)} {old} → {new}" for (old, new), names in by_values.items()]
    if "operations" in change.new:
        texts.append(f"operations {quote(_set_text(change.old['operations'], change.new['operations']))}")
    return ", ".join(texts)


def _limit(name: str, value: Json, quote: Quote) -> str:
    if value is None:
        return "none"
    if name == "share":
        return as_share(value)
    if name in _DURATIONS and not isinstance(value, str):
        return shown(value)
    return quote(str(value))


def _value(value: Json, quote: Quote) -> str:
    if value is None:
        return "removed from requests"
    text = STARS if value == STARS else json.dumps(value, ensure_ascii=False, default=repr)
    return quote(cut(text, MAX_VALUE))


def _nth(place: int) -> str:
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def outcome_texts(case: CaseChange, quote: Quote) -> tuple[str, str]:
    """Return a case's old and new ending; the calls where the endings are equal; empty texts if no outcome changed."""
    if case.old is None or case.new is None:
        return "", ""
    before, after = _ending(case.old, quote), _ending(case.new, quote)
    return (before, after) if before != after else (_calls(case.old, quote), _calls(case.new, quote))


def _ending(outcome: Outcome, quote: Quote) -> str:
    if outcome.target is not None and not outcome.error:
        answers = f"{quote(outcome.target)} answers"
        return answers if outcome.kept is None else f"{answers}, by a kept answer ({outcome.kept})"
    broken = f"{quote(outcome.target or '')} breaks off: " if outcome.broken else ""
    return f"{broken}{outcome.status} {outcome.error or ''}".rstrip()


def _calls(outcome: Outcome, quote: Quote) -> str:
    texts = (quote(target) + (f" {kind}" if kind else "") for target, kind in outcome.attempts)
    return ", ".join(with_repeats(texts)) or "no call"


def by_verdict(cases: Sequence[CaseChange]) -> Iterator[tuple[str, list[CaseChange]]]:
    """Yield the cases of each verdict, newly failing ones first, with the verdict in words."""
    for verdict, words in _VERDICTS.items():
        if group := [case for case in cases if case.verdict == verdict]:
            yield words[len(group) > 1], group


_VERDICTS: Final[Mapping[str, tuple[str, str]]] = {
    "newly fails": ("newly fails", "newly fail"),
    "newly passes": ("newly passes", "newly pass"),
    "passes": ("ends otherwise and passes", "end otherwise and pass"),
    "fails": ("ends otherwise and fails as before", "end otherwise and fail as before"),
}
