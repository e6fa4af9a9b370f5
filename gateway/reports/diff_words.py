"""Changes of a policy in words: who is concerned, and what is different for them. The same words for every format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, TypeAlias

from gateway.config.compare.policies import Change, Changes, Presence, Reach, Service
from gateway.policy.secrets import STARS
from gateway.simulation.cases.compare import CaseChange, Outcome
from gateway.wire.json import Json
from gateway.words import count, cut, shown

Mark: TypeAlias = Literal["+", "-", "~"]
Quote: TypeAlias = Callable[[str], str]
"""Makes a name or a value of the user's fit for the format; our own words need none of it."""

NAMES: Final = 4
"""So many aliases are listed in full; of more, one less."""
LONGEST: Final = 80
"""Characters of one parameter's value that are shown."""

_DURATIONS: Final = frozenset({"connect", "first_token", "idle", "total", "stream_total", "within", "for", "timeout"})
_WORDS: Final = {"stream_total": "total of a stream", "base_url": "base URL", "api_key": "key"}


@dataclass(frozen=True, slots=True)
class Row:
    """What is different for some."""

    mark: Mark
    whom: str
    says: tuple[str, ...]


def rows(changes: Changes, quote: Quote, *, every_name: bool) -> list[Row]:
    """Return what there is to say, for each audience once."""
    by_words: dict[tuple[Mark, str], list[str]] = {}
    for one in changes.removed:
        by_words.setdefault(("-", _gone(one, quote)), []).append(quote(one.alias))
    for one in changes.added:
        by_words.setdefault(("+", _come(one, quote)), []).append(quote(one.alias))
    told = [Row(mark, listed(names, every_name=every_name), (words,)) for (mark, words), names in by_words.items()]
    by_audience: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for change in changes.changes:
        if change.reach:
            place, audience = _audience(change, quote)
            by_audience.setdefault(audience, []).append(say(change, place, quote))
    for audience, says in by_audience.items():
        if len(audience) > NAMES and {*audience} == {(alias, "") for alias in changes.common}:
            whom = f"all {len(audience)} aliases"
        else:
            names = [f"{quote(alias)}{f' ({note})' if note else ''}" for alias, note in audience]
            whom = listed(names, every_name=every_name)
        told.append(Row("~", whom, tuple(says)))
    told += [_service("+", one, quote) for one in changes.providers_added]
    told += [_service("-", one, quote) for one in changes.providers_removed]
    told += [_capability(change, quote) for change in changes.changes if not change.reach]
    return told


def listed(names: Sequence[str], *, every_name: bool) -> str:
    """Return a few names in full, of many how many there are and the first of them."""
    if len(names) <= NAMES or every_name:
        return ", ".join(names)
    return f"{len(names)} aliases ({', '.join(names[: NAMES - 1])}, …)"


def _audience(change: Change, quote: Quote) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    """Return the place that all aliases share, if it tells anything, and each alias with what is special about it."""
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


def _gone(one: Presence, quote: Quote) -> str:
    return f"gone, {quote(one.wildcard)} takes it now" if one.wildcard else "gone, asking for it is a 404 now"


def _come(one: Presence, quote: Quote) -> str:
    taken = f", taken out of {quote(one.wildcard)}" if one.wildcard else ""
    return f"new{taken}, goes to {', '.join(map(quote, one.chain))}"


def _service(mark: Mark, one: Service, quote: Quote) -> Row:
    where = quote(one.base_url) if one.base_url else f"through {'LiteLLM' if one.adapter == 'litellm' else one.adapter}"
    headers = f", headers {', '.join(map(quote, one.headers))}" if one.headers else ""
    facts = f"{quote(one.kind)} {where}, key {quote(one.api_key)}{headers}"
    says = f"called from now on: {facts}" if mark == "+" else f"called no more: {facts}"
    return Row(mark, f"provider {quote(one.provider)}", (says,))


def _capability(change: Change, quote: Quote) -> Row:
    name = quote(change.field.partition(".")[2])
    mark: Mark = "+" if change.kind == "added" else "-" if change.kind == "removed" else "~"
    paths = " → ".join(quote(path) for path in (change.old, change.new) if path is not None)
    return Row(mark, f"capability {name} (Python)", (paths,))


def say(change: Change, place: int | None, quote: Quote) -> str:
    """Return one change in words. `place` is where in its list it stands, if that is the same for all."""
    block, _, rest = change.field.partition(".")
    if block == "chain":
        return _say_listed(change, place, quote)
    if block == "hooks":
        kind, _, path = rest.partition(".")
        if path:
            return f"{kind} hook {quote(path)}: {_parts(change, quote)}"
        return f"{kind} hook{'s' if change.kind in ('swapped', 'reordered') else ''} {_say_listed(change, None, quote)}"
    if block == "params":
        return _say_param(change, rest, quote)
    if block in ("retry_on", "fallback_on"):
        return f"{block} {_kinds(change)}"
    of = f" of {_providers(change.providers, quote)}" if change.providers else ""
    if block == "providers":
        return _say_provider(change, rest, of, quote)
    if block in ("timeout", "cooldown"):
        return f"{block}{of} {_parts(change, quote)}"
    values = [shown(value) if block == "deadline" else str(value) for value in (change.old, change.new)]
    return f"{change.field} {values[0]} → {values[1]}"


def _say_listed(change: Change, place: int | None, quote: Quote) -> str:
    """Say what was done to an ordered list; for a chain also what is asked first now, and that nothing is left."""
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


def _say_param(change: Change, name: str, quote: Quote) -> str:
    field = f"params.{quote(name)}"
    if change.kind == "removed":
        return f"{field} no longer set (was {_value(change.old, quote)})"
    if change.kind == "added":
        return f"{field} removed from requests" if change.new is None else f"{field} set to {_value(change.new, quote)}"
    if json.dumps(change.old) == json.dumps(change.new):
        return f"{field} set to another value"
    return f"{field} {_value(change.old, quote)} → {_value(change.new, quote)}"


def _say_provider(change: Change, field: str, of: str, quote: Quote) -> str:
    block, _, name = field.partition(".")
    if block == "headers":
        did = {"added": "added", "removed": "removed"}.get(change.kind, "has another value")
        return f"header {quote(name)}{of} {did}"
    if block == "script":
        return f"script{of} is another"
    what = _WORDS.get(block, block)
    if change.old == change.new:
        return f"{what}{of}: another is {change.new}"
    values = [quote(value) if value is not None else "LiteLLM's own" for value in (change.old, change.new)]
    return f"{what}{of} {values[0]} → {values[1]}"


def _providers(names: Sequence[str], quote: Quote) -> str:
    if len(names) <= NAMES:
        return ", ".join(map(quote, names))
    return f"{len(names)} providers ({', '.join(map(quote, names[: NAMES - 1]))}, …)"


def _parts(change: Change, quote: Quote) -> str:
    """Return the parts of a limit that differ, those that differ alike together."""
    names: dict[tuple[str, str], list[str]] = {}
    for name in change.new:
        told = tuple(_part(name, value[name], quote) for value in (change.old, change.new))
        names.setdefault((told[0], told[1]), []).append(_WORDS.get(name, name))
    return ", ".join(f"{'/'.join(who)} {old} → {new}" for (old, new), who in names.items())


def _part(name: str, value: Json, quote: Quote) -> str:
    if value is None:
        return "none"
    if name in _DURATIONS and not isinstance(value, str):
        return shown(value)
    return quote(str(value))


def _kinds(change: Change) -> str:
    more = [kind for kind in change.new if kind not in change.old]
    less = [kind for kind in change.old if kind not in change.new]
    parts = [f"{verb} {', '.join(kinds)}" for verb, kinds in (("adds", more), ("drops", less)) if kinds]
    return " and ".join(parts)


def _value(value: Json, quote: Quote) -> str:
    if value is None:
        return "removed from requests"
    text = STARS if value == STARS else json.dumps(value, ensure_ascii=False, default=repr)
    return quote(cut(text, LONGEST))


def _nth(place: int) -> str:
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def differs(case: CaseChange, quote: Quote) -> tuple[str, str]:
    """Return how a case ended before and how it ends now; empty where clients see the same."""
    if case.old is None or case.new is None:
        return "", ""
    ends = _ending(case.old, quote), _ending(case.new, quote)
    if ends[0] != ends[1]:
        return ends
    return f"{_calls(case.old, quote)}", f"{_calls(case.new, quote)}"


def _ending(outcome: Outcome, quote: Quote) -> str:
    if outcome.target is not None and not outcome.error:
        return f"{quote(outcome.target)} answers"
    broken = f"{quote(outcome.target or '')} breaks off: " if outcome.broken else ""
    return f"{broken}{outcome.status} {outcome.error or ''}".rstrip()


def _calls(outcome: Outcome, quote: Quote) -> str:
    """Return the calls of a request, repeats counted."""
    said = [quote(target) + (f" {kind}" if kind else "") for target, kind in outcome.attempts]
    runs = [(words, len(list(run))) for words, run in groupby(said)]
    return ", ".join(words if times == 1 else f"{words} ×{times}" for words, times in runs) or "no call"


def verdicts(cases: Sequence[CaseChange]) -> Iterator[tuple[str, list[CaseChange]]]:
    """Yield the cases that change, the failing ones first, with what to say of each lot."""
    for verdict, words in _VERDICTS.items():
        lot = [case for case in cases if case.verdict == verdict]
        if lot:
            yield words[len(lot) > 1], lot


_VERDICTS: Final[Mapping[str, tuple[str, str]]] = {
    "newly fails": ("newly fails", "newly fail"),
    "newly passes": ("newly passes", "newly pass"),
    "passes": ("ends otherwise and passes", "end otherwise and pass"),
    "fails": ("ends otherwise and fails as before", "end otherwise and fail as before"),
}
