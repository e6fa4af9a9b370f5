"""Tell what one condition says about another: whether it implies it, or whether one of the two always holds.

All answers are certain: False also means that nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from gateway.policy.conditions import During, Threshold, When
from gateway.wire.json import EMPTY, Json

ALWAYS: Final = When()
_WEEK_MIN: Final = 7 * 24 * 60


def implies(one: When, other: When) -> bool:
    """Tell whether every request that meets `one` meets `other`."""
    features = _features(one)
    return (
        all(features.get(name) is wanted for name, wanted in other.features.items())
        and _is_narrower(one.tokens, other.tokens)
        and _is_narrower(one.max_tokens, other.max_tokens)
        and _is_among(one.operations, other.operations)
        and _is_among(one.clients, other.clients)
        and _have(one.headers, other.headers, _is_header_among)
        and _have(one.metadata, other.metadata, _is_value_among)
        and _have(one.params, other.params, _is_value_among)
        and (other.during is None or (one.during is not None and _lies_in(one.during, other.during)))
        and (other.inverse is None or _excludes(one, other.inverse))
    )


def _features(when: When) -> Mapping[str, bool]:
    """Return what a condition says of features, also by a `not` of one alone."""
    inverse = when.inverse
    if inverse is None or len(inverse.features) != 1 or replace(inverse, features=EMPTY) != ALWAYS:
        return when.features
    return {**{name: not wanted for name, wanted in inverse.features.items()}, **when.features}


def are_exhaustive(one: When, other: When) -> bool:
    """Tell whether every request meets at least one of the two conditions."""
    return any(implies(inverse, other) for inverse in _inverses(one)) or any(
        implies(inverse, one) for inverse in _inverses(other)
    )


def _inverses(when: When) -> list[When]:
    """Return the conditions met by exactly the requests that do not meet this one; none if it has several parts."""
    if when.inverse is not None:
        return [when.inverse] if replace(when, inverse=None) == ALWAYS else []
    parts = sum(len(value) if isinstance(value, Mapping) else 1 for value in _parts(when).values())
    found = [When(inverse=when)]
    if parts == 1:
        found += [When(features={name: not wanted}) for name, wanted in when.features.items()]
        if when.tokens is not None:
            found.append(When(tokens=_opposite(when.tokens)))
    return found


def _parts(when: When) -> dict[str, Any]:
    """Return the fields of a condition that ask for something."""
    return {field.name: value for field in fields(when) if (value := getattr(when, field.name))}


def _opposite(threshold: Threshold) -> Threshold:
    match threshold.sign:
        case ">":
            return Threshold("<=", threshold.number)
        case ">=":
            return Threshold("<", threshold.number)
        case "<":
            return Threshold(">=", threshold.number)
        case "<=":
            return Threshold(">", threshold.number)


def _excludes(one: When, other: When) -> bool:
    """Tell whether no request meets both conditions."""
    if one.inverse is not None and implies(other, one.inverse):
        return True
    features = _features(one)
    return any(features.get(name, wanted) is not wanted for name, wanted in other.features.items()) or any(
        _is_narrower(threshold, _opposite(against))
        for threshold, against in ((one.tokens, other.tokens), (one.max_tokens, other.max_tokens))
        if threshold is not None and against is not None
    )


def _is_narrower(one: Threshold | None, other: Threshold | None) -> bool:
    if other is None or one is None:
        return other is None
    (one_down, one_bound), (other_down, other_bound) = _bound(one), _bound(other)
    if one_down != other_down:
        return False
    return one_bound <= other_bound if one_down else one_bound >= other_bound


def _bound(threshold: Threshold) -> tuple[bool, int]:
    """Return whether a comparison bounds whole numbers from above, and the last or first number that it takes."""
    match threshold.sign:
        case ">":
            return False, threshold.number + 1
        case ">=":
            return False, threshold.number
        case "<":
            return True, threshold.number - 1
        case "<=":
            return True, threshold.number


def _is_among(one: frozenset[str], other: frozenset[str]) -> bool:
    return not other or (bool(one) and one <= other)


def _have(
    one: Mapping[str, tuple[Any, ...]],
    other: Mapping[str, tuple[Any, ...]],
    is_among: Callable[[Any, tuple[Any, ...]], bool],
) -> bool:
    """Tell whether `one` asks for every name of `other`, and only for values that are among the other's."""
    return all(name in one and all(is_among(value, values) for value in one[name]) for name, values in other.items())


def _is_header_among(value: str, wanted: tuple[str, ...]) -> bool:
    return any(value.startswith(text[:-1]) if text.endswith("*") else value == text for text in wanted)


def _is_value_among(value: Json, wanted: tuple[Json, ...]) -> bool:
    return any(type(value) is type(one) and value == one for one in wanted)


def _lies_in(one: During, other: During) -> bool:
    return one.zone == other.zone and _minutes(one) <= _minutes(other)


def is_always(during: During) -> bool:
    """Tell whether a time of the week is the whole week."""
    return len(_minutes(during)) == _WEEK_MIN


def _minutes(during: During) -> frozenset[int]:
    """Return the minutes of a week, from Monday's midnight."""
    length = (during.end_min - during.begin_min - 1) % (24 * 60) + 1
    starts = [day * 24 * 60 + during.begin_min for day in during.days]
    return frozenset((start + minute) % _WEEK_MIN for start in starts for minute in range(length))
