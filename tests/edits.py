"""Single wrong edits of a routes.yaml, as people make them: a number off, an entry lost, two swapped, one negated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import combinations
from typing import Any, Final, NamedTuple, get_args

from gateway.policy.failures import Kind, names_of
from gateway.policy.pools import Pick
from gateway.words import as_duration, seconds

DROPPED: Final = object()
Path = tuple[str | int, ...]
Change = tuple[str, Any]
"""(what is done, the new value); DROPPED to remove the entry."""


class Edit(NamedTuple):
    """One edit."""

    path: Path
    """The place of the edited value."""
    what: str
    value: Any
    """The new value; DROPPED to remove the entry."""

    @property
    def text(self) -> str:
        """The edit in words, such as `models.suggest.chain[0].pool.a/b: 5 is 10`."""
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return f"{place.removeprefix('.')}: {self.what}"

    def applied(self, config: Any) -> Any:
        """Return a copy of the config with this edit."""
        copy = deepcopy(config)
        holder = copy
        for part in self.path[:-1]:
            holder = holder[part]
        if self.value is DROPPED:
            del holder[self.path[-1]]
        else:
            holder[self.path[-1]] = self.value
        return copy


def edits(config: Mapping[str, Any]) -> Iterator[Edit]:
    """Yield every edit of a whole file, in its order. Addresses, single keys and descriptions are left as they are."""
    yield from _inside(config.get("defaults", {}), ("defaults",))
    yield from _inside(config.get("providers", {}), ("providers",))
    yield from _inside(config.get("hooks", {}), ("hooks",))
    for group, value in config.get("clients", {}).items():
        yield Edit(("clients", group), "dropped", DROPPED)
        yield from _of(("clients", group, "share"), _share(value.get("share")))
        yield from _inside(value, ("clients", group))
    for alias, value in config["models"].items():
        path = ("models", alias)
        yield Edit(path, "dropped", DROPPED)
        if isinstance(value, str):
            yield from _of(path, _target(value))
        elif isinstance(value, list):
            yield from _list(value, path)
        yield from _inside(value, path)


def _inside(value: Any, path: Path) -> Iterator[Edit]:
    """Yield the edits of the entries of a value, at any depth."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        place = (*path, key)
        change = _CHANGES.get(key) if isinstance(key, str) else None
        if path[-1:] == ("pool",) and isinstance(entry, int):
            yield from _of(place, _weight(entry))
        elif path[-1:] == ("params",):
            yield from _of(place, [("dropped", DROPPED), *_other(entry)])
        elif change is not None:
            yield from _of(place, change(entry))
        if key in _LISTS and isinstance(entry, list):
            yield from _list(entry, place, has_order=key in ("chain", "pre", "post"))
        elif isinstance(entry, str) and isinstance(key, int) and path[-1] in ("chain", "pool"):
            yield from _of(place, _target(entry))
        elif path[-1:] == ("limits",):
            yield from _of(place, _limit(entry))
        if key == "pool" and isinstance(entry, dict):
            yield from _swapped_weights(entry, place)
        if key != "when":
            yield from _inside(entry, place)


def _of(path: Path, changes: Sequence[Change]) -> Iterator[Edit]:
    for what, value in changes:
        yield Edit(path, what, value)


def _list(value: list[Any], path: Path, *, has_order: bool = True) -> Iterator[Edit]:
    """Yield the list without each of its entries, and with each two swapped if the order of entries says something.

    It does in a chain and among hooks; keys are used in turn, whichever is first.
    """
    for index in range(len(value)):
        yield Edit((*path, index), "dropped", DROPPED)
    for one, other in combinations(range(len(value) if has_order else 0), 2):
        swapped = [*value]
        swapped[one], swapped[other] = value[other], value[one]
        yield Edit(path, f"{one} and {other} swapped", swapped)


def _swapped_weights(pool: dict[str, int], path: Path) -> Iterator[Edit]:
    for one, other in combinations(pool, 2):
        yield Edit(path, f"weights of {one} and {other} swapped", {**pool, one: pool[other], other: pool[one]})


def _target(value: str) -> list[Change]:
    return [("another model", f"{value.removesuffix('*')}-old{'*' if value.endswith('*') else ''}")]


def _weight(value: int) -> list[Change]:
    return [(f"{value} is {new}", new) for new in (value * 2, value / 2, 0)] + [("dropped", DROPPED)]


def _duration(value: Any) -> list[Change]:
    changes: list[Change] = [("dropped", DROPPED)]
    if isinstance(value, str):
        changes += [(f"{value} is {new}", new) for by in (2, 0.5) for new in (as_duration(seconds(value) * by),)]
    return changes


def _share(value: Any) -> list[Change]:
    return [("for the whole group", True)] if value is None else [("dropped", DROPPED), ("turned", not value)]


def _limit(value: Any) -> list[Change]:
    """Return a limit with other amounts, another unit, another window, and another place to go on, or none."""
    if isinstance(value, dict):
        changes: list[Change] = [("no then", _without(value, "then"))] if "then" in value else []
        for key, entry in value.items():
            if key in ("tokens", "requests"):
                new = [f"{number}{entry[-1]}" for number in (int(entry[:-1]) + 1, int(entry[:-1]) * 2)]
                changes += [(f"{entry} is {one}", {**value, key: one}) for one in new]
            elif key == "per":
                changes += [(f"per {one}", {**value, key: one}) for one in _WINDOWS if one != entry]
        return changes
    amount, _, unit = value.partition(" ")
    number, sign = int(amount.rstrip("kM")), amount[-1] if amount[-1] in "kM" else ""
    texts = [f"{new}{sign} {unit}" for new in (number - 1, number + 1, number * 2)]
    kind, slash, window = unit.partition("/")
    texts += [f"{amount} {kind}/{one}" for one in _WINDOWS if slash and one != window]
    texts += [f"{amount} {'requests' if kind == 'tokens' else 'tokens'}/{window}"] if slash else []
    return [(f"{value} is {text}", text) for text in texts]


_WINDOWS: Final = ("minute", "hour", "day", "month")


def _number(value: int) -> list[Change]:
    return [("dropped", DROPPED), *((f"{value} is {new}", new) for new in (value + 1, value - 1) if new >= 0)]


def _kinds(value: list[str]) -> list[Change]:
    missing = [kind for kind in names_of(tuple(Kind)) if kind not in value]
    return [("dropped", DROPPED), *((f"with {kind}", [*value, kind]) for kind in missing)]


def _hold(value: str) -> list[Change]:
    return [("dropped", DROPPED), ("the other", "full" if value == "first_token" else "first_token")]


def _pick(value: str) -> list[Change]:
    return [("dropped", DROPPED), *((f"{value} is {new}", new) for new in get_args(Pick) if new != value)]


def _key(value: Any) -> list[Change]:
    others = [{"header": "x-other"}, {"metadata": "run"}, "client"]
    return [("dropped", DROPPED), *((f"{value} is {new}", new) for new in others if new != value)]


def _on_error(value: str) -> list[Change]:
    return [("dropped", DROPPED), ("the other", "fail" if value == "skip" else "skip")]


def _path(value: str) -> list[Change]:
    module, _, name = value.rpartition(".")
    other = "redact" if name != "redact" else "house_style"
    return [(f"{name} is {other}", f"{module}.{other}")]


def _dropped(_: Any) -> list[Change]:
    return [("dropped", DROPPED)]


def _other(value: Any) -> list[Change]:
    """Return a value of the same type that is another."""
    match value:
        case bool():
            return [("turned", not value)]
        case int() | float():
            return [(f"{value} is {new}", new) for new in (value + 1, value * 2) if new != value]
        case str():
            return [(f"{value} is {value}-x", f"{value}-x")]
        case dict():
            return [
                (f"{key}: {what}", {**value, key: new} if new is not DROPPED else _without(value, key))
                for key, entry in value.items()
                for what, new in _other(entry)
            ]
        case _:
            return []


def _without(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: entry for name, entry in value.items() if name != key}


def _when(value: dict[str, Any]) -> list[Change]:
    """Return a condition without each of its parts, with each part negated, and with each value changed."""
    changes: list[Change] = [("dropped", DROPPED)]
    for key, entry in value.items():
        rest = _without(value, key)
        if key == "not":
            changes.append(("`not` taken away", {**rest, **entry}))
            changes += [(f"not: {what}", {**rest, "not": new}) for what, new in _when(entry) if new is not DROPPED]
            continue
        changes.append((f"{key} negated", {**rest, "not": {key: entry}}))
        if rest:
            changes.append((f"{key} dropped", rest))
        changes += [(f"{key}: {what}", {**value, key: new}) for what, new in _leaf(entry)]
    return changes


def _leaf(value: Any) -> list[Change]:
    """Return a part of a condition with other values: a prefix is shortened, lengthened and made a whole word."""
    match value:
        case {**fields} if fields:
            named = [
                (f"{name} is x-other", {("x-other" if one == name else one): entry for one, entry in fields.items()})
                for name in fields
            ]
            return named + [
                (f"{name}: {what}", {**fields, name: new})
                for name, entry in fields.items()
                for what, new in _leaf(entry)
            ]
        case str() if value.endswith("*"):
            others = (value[:-2] + "*", value[:-1], value[:-1] + "x*", "*", "us-*")
            return [(f"{value} is {new}", new) for new in others if new != value]
        case str() if value[:1] in "<>":
            sign, number = value.split(" ")
            turned = sign.translate(str.maketrans("<>", "><"))
            return [("turned", f"{turned} {number}"), ("another number", f"{sign} 1{number}")]
        case list():
            return [(f"without {entry}", [one for one in value if one != entry]) for entry in value if len(value) > 1]
        case _:
            return _other(value)


_LISTS: Final = frozenset(
    {
        *("chain", "pool", "pre", "post", "operations", "fallback_on", "retry_on", "api_key", "api_key_file"),
        *("models", "limits"),
    }
)
_CHANGES: Final[Mapping[str, Callable[[Any], Sequence[Change]]]] = {
    **dict.fromkeys(
        ("timeout", "connect", "first_token", "idle", "total", "deadline", "within", "for", "keepalive"), _duration
    ),
    **dict.fromkeys(("retries", "max_attempts", "failures", "weight"), _number),
    **dict.fromkeys(("cooldown", "params", "stream", "hooks", "pre", "post", "operations"), _dropped),
    **dict.fromkeys(("fallback_on", "retry_on"), _kinds),
    "hold": _hold,
    "pick": _pick,
    "key": _key,
    "when": _when,
    "on_error": _on_error,
    "path": _path,
    "status": _other,
    "target": _target,
    "alias": _other,
}
"""By key: what may go wrong with its value."""
