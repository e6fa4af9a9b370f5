"""Test fast whether a value is valid under its part of the schema. jsonschema is used only to explain invalid ones.

Nearly every value is valid, importing jsonschema takes longer than compiling most files, and validating ten thousand
aliases with it takes a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from gateway.wire.json import Json, JsonObject

Fits: TypeAlias = Callable[[Json], bool]

_TYPES: Final[Mapping[str, Fits]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def fitting(rule: Json) -> Fits:
    """Return a validity test for one part of the inlined schema. Raises ValueError for an unsupported keyword."""
    if isinstance(rule, bool):
        return lambda _: rule
    checks: list[Fits] = []
    done = {"else", "then"}
    for keyword, argument in rule.items():
        if keyword.startswith("x-"):
            continue
        if keyword in _MAKERS:
            checks.append(_MAKERS[keyword](argument))
        elif keyword in _MEMBERS:
            done.add(keyword)
        elif keyword == "if":
            checks.append(_choice(fitting(argument), fitting(rule.get("then", True)), fitting(rule.get("else", True))))
        elif keyword not in done:
            raise ValueError(f"the keyword {keyword!r} is not known here")
    if rule.keys() & _MEMBERS:
        checks.append(_members(rule))
    return checks[0] if len(checks) == 1 else lambda value: all(check(value) for check in checks)


def _type(names: str | list[str]) -> Fits:
    if isinstance(names, str):
        return _TYPES[names]
    tests = [_TYPES[name] for name in names]
    return lambda value: any(test(value) for test in tests)


def _enum(values: list[Json]) -> Fits:
    texts = frozenset(value for value in values if isinstance(value, str))
    if len(texts) != len(values):
        raise ValueError("only texts can be chosen from here")
    return lambda value: isinstance(value, str) and value in texts


def _pattern(pattern: str) -> Fits:
    search = re.compile(pattern).search
    return lambda value: not isinstance(value, str) or search(value) is not None


def _bound(is_beyond: Callable[[Any], bool]) -> Fits:
    is_number = _TYPES["number"]
    return lambda value: not (is_number(value) and is_beyond(value))


def _items(rule: Json) -> Fits:
    fits = fitting(rule)
    return lambda value: not isinstance(value, list) or all(map(fits, value))


def _unique(wanted: bool) -> Fits:
    """Return a test that also refuses a list with a mapping or a list in it: jsonschema then decides."""
    return lambda value: (
        not wanted
        or not isinstance(value, list)
        or (
            all(isinstance(item, str | int | float) for item in value)
            and len({(isinstance(item, bool), item) for item in value}) == len(value)  # true is not 1
        )
    )


def _names(rule: Json) -> Fits:
    fits = fitting(rule)
    return lambda value: not isinstance(value, dict) or all(map(fits, value))


def _not(rule: Json) -> Fits:
    fits = fitting(rule)
    return lambda value: not fits(value)


def _choice(condition: Fits, then: Fits, otherwise: Fits) -> Fits:
    return lambda value: (then if condition(value) else otherwise)(value)


def _required(names: list[str]) -> Fits:
    return lambda value: not isinstance(value, dict) or all(name in value for name in names)


_MAKERS: Final[Mapping[str, Callable[[Any], Fits]]] = {
    "enum": _enum,
    "exclusiveMinimum": lambda least: _bound(lambda value: value <= least),
    "items": _items,
    "maxLength": lambda most: lambda value: not isinstance(value, str) or len(value) <= most,
    "maxProperties": lambda most: lambda value: not isinstance(value, dict) or len(value) <= most,
    "maximum": lambda most: _bound(lambda value: value > most),
    "minItems": lambda least: lambda value: not isinstance(value, list) or len(value) >= least,
    "minProperties": lambda least: lambda value: not isinstance(value, dict) or len(value) >= least,
    "minimum": lambda least: _bound(lambda value: value < least),
    "not": _not,
    "pattern": _pattern,
    "propertyNames": _names,
    "required": _required,
    "type": _type,
    "uniqueItems": _unique,
}

_MEMBERS: Final = frozenset({"additionalProperties", "patternProperties", "properties"})
"""Keywords that together describe the members of a mapping."""


def _members(rule: JsonObject) -> Fits:
    known = {name: fitting(inner) for name, inner in rule.get("properties", {}).items()}
    shaped = [(re.compile(name).search, fitting(inner)) for name, inner in rule.get("patternProperties", {}).items()]
    other = fitting(rule.get("additionalProperties", True))

    def fits(value: Json) -> bool:
        if not isinstance(value, dict):
            return True
        for name, inner in value.items():
            fit = known.get(name)
            tests = [fit] if fit is not None else []
            tests += [test for search, test in shaped if search(name)]
            if not all(test(inner) for test in tests or (other,)):
                return False
        return True

    return fits
