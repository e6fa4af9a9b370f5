"""Translate jsonschema's errors into our codes and messages. jsonschema's own text is never shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.config.document.yaml_tree import Where, resolve
from gateway.config.model.limit_texts import HOW, UNITS, WINDOWS, why_no_limit
from gateway.policy.conditions import DAYS
from gateway.policy.secrets import is_secret_name, mask_key
from gateway.wire.json import Json, JsonObject
from gateway.words import as_number, cut, did_you_mean, meant

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError


NAME: Final = "x-name"
"""Key under which `inline` notes the definition that a part of the schema came from."""

_ANNOTATIONS: Final = frozenset(
    {"$defs", "$id", "$schema", "default", "defaultSnippets", "description", "examples", "title"}
)
_TYPES: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "a mapping",
    "boolean": "true or false",
    "null": "null",
}
_NO_ZONE: Final = re.compile(rf"\s*(?:[0-9]|(?:{'|'.join(DAYS)})\b)\S*\s*", re.IGNORECASE)
"""A time of the week that is days or hours only."""
_DURATION: Final = "a duration such as 250ms, 10s, 2m or 1h, or a number of seconds"
_OLD: Final = "a duration such as 30s, 10m, 1h or 7d, or a number of seconds"
_TARGET: Final = ("bad-target", "is no target; write provider/model, without spaces and control characters")
_PATH: Final = ("hook-path", "is no dotted path; write package.module.name, without spaces")
_LENGTH: Final = ("bad-duration", "is no duration above zero; write 250ms, 10s, 2m, 1h, or a number of seconds")
_AGE: Final = ("bad-duration", "is no duration above zero; write 30s, 10m, 1h, 7d, or a number of seconds")
_AMOUNT: Final = "a whole number above zero, such as 60, 400k or 5M"
_KEY: Final = ("bad-sticky-key", "is no key; write {header: NAME}, {metadata: NAME} or client")
_API_KEY: Final = ("bad-api-key", "is no key; a key is one word of visible ASCII characters")
_FORMS: Final = {
    "age": _AGE,
    "alias": _TARGET,
    "aliasName": (
        "bad-name",
        "is no name for an alias; it has at most 256 characters, no spaces and no control characters",
    ),
    "amount": ("bad-limit", f"is no amount; write {_AMOUNT}"),
    "apiKey": _API_KEY,
    "apiKeys": _API_KEY,
    "cache": _AGE,
    "capabilityName": ("bad-name", "is no name for a capability; it is made of letters, digits and _, no digit first"),
    "dottedPath": _PATH,
    "dollars": ("bad-limit", "is no amount of dollars; write a number above zero, such as 50"),
    "duration": _LENGTH,
    "groupName": ("bad-name", "is no name for a group; it is made of letters, digits and . _ @ -, at most 64"),
    "hedge": (
        "bad-duration",
        "is neither p95 nor a duration above zero; write 250ms, 3s, 1m, a number of seconds, or p95",
    ),
    "includePattern": (
        "bad-include",
        "names no files; write a path such as teams/*.yaml, from this file's folder; a URL is not read",
    ),
    "feature": ("wrong-type", "is neither true nor false"),
    "hook": _PATH,
    "member": _TARGET,
    "memberName": (
        "bad-target",
        "is no target; write provider/model, without spaces; a key holds no variables, an entry of a list may",
    ),
    "pause": ("bad-duration", "is no duration; write 0, 250ms, 10s, 2m, 1h, or a number of seconds"),
    "limit": ("bad-limit", f"is no limit; {HOW}"),
    "price": ("bad-price", "is no price; write dollars per million tokens, a number from 0 to 1000000"),
    "providerName": ("bad-name", "is no name for a provider; it holds no slash, no spaces and no control characters"),
    "rate": ("bad-price", "is no price; write dollars per million tokens, a number from 0 to 1000000"),
    "during": ("bad-during", "is no time of the week; write it like 'mon-fri 08:00-18:00 Europe/Berlin'"),
    "retryAfter": ("bad-duration", "is no duration; write 30s, 2m, 1h, a number of seconds, or null for none"),
    "share": ("bad-share", "is no share; write a percentage such as 5%, or a number from 0 to 1"),
    "span": ("bad-duration", "is no duration; write 0, 250ms, 10s, 2m, 1h, or a number of seconds"),
    "step": _TARGET,
    "stickyKey": _KEY,
    "target": _TARGET,
    "threshold": ("bad-threshold", "is no comparison; write >, >=, < or <= and a whole number, such as '> 100k'"),
    "timeout": _LENGTH,
    "weight": ("bad-weight", "is no weight; write a number from 0 to 1000000000, such as 9"),
}
"""Code and message by definition, for text that does not match the definition's pattern or is too long."""

_WANTED: Final = {
    "age": _OLD,
    "alias": "a target, a list of steps, or a mapping",
    "amount": _AMOUNT,
    "apiKeys": "a key, or a list of keys",
    "cache": f"{_OLD}, or a mapping",
    "dollars": "a number",
    "duration": _DURATION,
    "hedge": f"{_DURATION}, or p95",
    "during": "a text such as 'mon-fri 08:00-18:00 Europe/Berlin'",
    "expectedAttempt": "a target, or a mapping",
    "feature": "true or false",
    "hook": "a dotted path, or a mapping",
    "limit": "a limit such as 60 requests/minute, or a mapping",
    "keyFiles": "a path, or a list of paths",
    "member": "a target, or a mapping",
    "outcomes": "a kind of failure, a status, a mapping, or a list of these",
    "pause": _DURATION,
    "price": "a number, or a mapping",
    "pool": "a mapping of targets to weights, or a list of members",
    "rate": "a number",
    "scripted": "a kind of failure, a status, or a mapping",
    "retryAfter": "a duration such as 30s, a number of seconds, a mapping, or null for none",
    "share": "a percentage such as 5%, or a number from 0 to 1",
    "span": f"{_DURATION}, or a mapping",
    "step": "a target, or a mapping",
    "stickyKey": "{header: NAME}, {metadata: NAME} or client",
    "texts": "text, or a list of texts",
    "threshold": "a comparison in quotes, such as '> 100k'",
    "timeout": f"{_DURATION}, or a mapping",
    "values": "text, a number, true or false, or a list of these",
    "weight": "a number",
}
"""Accepted values by definition, where the names of its types would say too little."""

WORDING: Final = frozenset(
    text for text in (*(message for _, message in _FORMS.values()), *_WANTED.values()) if len(text) > 20
)
"""Parts of messages that are the same whatever the value is, but for those that a value could well hold."""

_ELSEWHERE: Final = {
    **dict.fromkeys(("algorithm", "routing_strategy", "strategy"), "pick"),
    **dict.fromkeys(("api_base", "endpoint", "url"), "base_url"),
    **dict.fromkeys(("condition", "conditions", "if"), "when"),
    **dict.fromkeys(("fallback", "fallbacks", "models", "targets"), "chain"),
    **dict.fromkeys(("provider", "type"), "kind"),
    **dict.fromkeys(("hours", "schedule", "time"), "during"),
    **dict.fromkeys(("max_retries", "num_retries"), "retries"),
    "members": "pool",
    "model": "target",
    "vision": "images",
}
"""Our keys by the names that other tools give them."""

_PHRASES: Final = frozenset({"limit", "threshold"})
"""Definitions of texts that a number in quotes is none of."""

_NOT_OF_MEMBERS: Final = {
    "when": "put it beside the pool, or on a step of an alias that is the member",
    "pool": "give that pool to an alias, and make {alias: …} the member",
    "pick": "it stands beside 'pool'",
    "key": "it stands beside 'pool'",
}
"""Keys of steps that members of pools do not have, and what to do instead."""

_STEP_NEEDS: Final = "a step needs 'target', 'alias' or 'pool'"

_SHOWN: Final = 60
"""Maximum characters of a value in a message."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """One fault found by the schema."""

    where: Where
    """Relative to the validated value."""
    code: str
    message: str
    at_key: bool = False


def inline(part: Json, root: JsonObject, name: str = "") -> Json:
    """Return a part of the schema with its references resolved and without annotations such as descriptions."""
    if isinstance(part, list):
        return [inline(item, root) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].removeprefix("#/$defs/")
        return inline(root["$defs"][name], root, name)
    plain: JsonObject = {NAME: name} if name else {}
    for key, value in part.items():
        if key == "properties":
            plain[key] = {inner: inline(schema, root) for inner, schema in value.items()}
        elif key not in _ANNOTATIONS:
            plain[key] = inline(value, root)
    return plain


def misfits(validator: Draft202012Validator, value: Json, written: Json, at: Where = ()) -> tuple[Misfit, ...]:
    """Return all faults that the schema finds in a value.

    Messages show `written`, the value before variable expansion, unless `at`, its place in the file, makes it secret.
    """
    found: dict[tuple[Where, str, bool], Misfit] = {}
    for error in validator.iter_errors(value):
        for misfit in _translate(error, written, at):
            found.setdefault((misfit.where, misfit.code, misfit.at_key), misfit)
    return tuple(found.values())


def misnamed(where: Where, form: str) -> Misfit:
    """Return the fault of a key that does not fit definition `form`."""
    code, message = _FORMS[form]
    return Misfit(where, code, f"{_quoted(mask_key(str(where[-1])))} {message}", at_key=True)


def _translate(error: ValidationError, written: Json, at: Where) -> Iterator[Misfit]:
    where: Where = tuple(error.absolute_path)
    rule: JsonObject = error.schema if isinstance(error.schema, dict) else {}
    form = rule.get(NAME, "")
    keyword = str(error.validator)
    value: Json = error.instance
    limit = _at(written, where) if _is_limit(where) else None
    if isinstance(limit, dict):
        yield from _limit_faults(where, limit)
    elif "propertyNames" in error.absolute_schema_path:
        place = (*where, str(value))
        yield misnamed(place, form) if form else Misfit(place, "bad-step", _beside(place, written), at_key=True)
    elif keyword == "additionalProperties":
        known = rule.get("properties", {})
        for key in value:
            if key not in known and not any(re.search(pattern, key) for pattern in rule.get("patternProperties", ())):
                yield _unknown(form, (*where, key), known)
    elif keyword == "required":
        if "else" in error.absolute_schema_path and where:
            needed = "a member needs 'target' or 'alias'" if _is_member(where) else _STEP_NEEDS
            yield Misfit(where, "missing-key", needed)
            return
        for key in rule["required"]:
            if key not in value:
                hint = "; write 'version: 1'" if key == "version" else ""
                yield Misfit(where, "missing-key", f"the key {key!r} is missing{hint}")
    elif where == ("version",) and len(at) == 0:
        yield Misfit(where, "bad-version", "the version must be the number 1")
    elif form == "stickyKey" and keyword in ("maxProperties", "minProperties"):
        yield Misfit(where, "bad-sticky-key", "a key is one of {header: NAME}, {metadata: NAME} and client")
    elif form == "pool" and keyword in ("minItems", "minProperties"):
        yield Misfit(where, "empty-pool", "a pool needs at least one member")
    elif keyword == "minProperties":
        yield Misfit(where, "bad-when", "this is empty; name a condition, or leave the key out")
    elif keyword == "minItems" and "when" in where:
        yield Misfit(where, "bad-when", "the list is empty; name a value, or leave the key out")
    elif keyword == "minItems" and form == "operations":
        yield Misfit(where, "bad-value", "expected at least one operation; without the key it is [chat, embeddings]")
    elif keyword == "minItems" and where[-1:] == ("wires",):
        yield Misfit(where, "bad-wires", "a server speaks at least one wire; name it, or leave `wires` out")
    elif keyword == "minItems" and form in ("apiKeys", "keyFiles"):
        yield Misfit(where, "bad-value", 'expected at least one entry; `api_key: ""` means no key')
    elif keyword == "minItems":
        yield Misfit(where, "empty-chain", "a chain needs at least one step")
    elif keyword == "uniqueItems":
        seen = set[str]()  # of JSON: items may be mappings
        for index, item in enumerate(value):
            text = json.dumps(item, sort_keys=True)
            if text in seen:
                yield Misfit((*where, index), "duplicate-item", f"{_shown(written, where, index)} stands here twice")
            seen.add(text)
    elif keyword == "type" and form == "weight" and isinstance(value, dict):
        message = "a weight is a number; a member with more than that is an entry of a list: {target: …, weight: 9}"
        yield Misfit(where, "bad-weight", message)
    elif keyword == "type":
        yield Misfit(where, "wrong-type", f"expected {_expected(rule)}, found {_found(value, rule)}")
    else:
        secret = any(isinstance(part, str) and is_secret_name(part) for part in (*at, *where))
        yield _bad_value(keyword, rule, where, _shown(written, where, secret=secret))


def _bad_value(keyword: str, rule: JsonObject, where: Where, shown: str) -> Misfit:
    form = rule.get(NAME, "")
    found = f", found {shown}" if shown else ""
    if keyword == "enum":
        names: list[str] = rule["enum"]
        hint = did_you_mean(shown.strip("'\""), names)
        return Misfit(where, "bad-value", f"expected one of {', '.join(names)}{found}{hint}")
    if form in _FORMS:
        code, message = _FORMS[form]
        if keyword == "maximum" and code == "bad-duration":
            message = f"is too long; at most {rule['maximum']} seconds are possible"
        elif keyword == "maximum" and code in ("bad-limit", "bad-price"):
            message = f"is too much; at most {rule['maximum']:,} is possible"
        elif "number" in rules_types(rule) and _is_quoted_number(shown, rule):
            message = "is text, not a number; leave the quotes out"
        elif form == "limit":
            message = why_no_limit(shown[1:-1])
        elif form == "during" and _NO_ZONE.fullmatch(shown[1:-1]):
            message = "has no time zone; write one at its end, such as Europe/Berlin or UTC"
        return Misfit(where, code, f"{shown or 'this'} {message}")
    if keyword == "pattern" and "integer" in rule.get("type", ()):
        quotes = "; leave the quotes out" if re.fullmatch(r"'[0-9]+'", shown) else ""
        return Misfit(where, "wrong-type", f"expected {_expected(rule)}{found}{quotes}")
    bounds = {"minimum": "at least", "maximum": "at most"}
    if keyword in bounds:
        return Misfit(where, "bad-value", f"expected {_expected(rule)} of {bounds[keyword]} {rule[keyword]}{found}")
    return Misfit(where, "bad-value", f"spaces and control characters cannot stand here{found}")


def _is_quoted_number(shown: str, rule: JsonObject) -> bool:
    """Tell whether a text would be right without its quotes."""
    value = resolve(shown[1:-1]) if shown[:1] in ("'", '"') else None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return bool(rule.get("minimum", value) <= value <= rule.get("maximum", value))


def _unknown(form: str, where: Where, known: Iterable[str]) -> Misfit:
    """Return the fault of a key that definition `form` does not have."""
    key = str(where[-1])
    if form == "member" and key in _NOT_OF_MEMBERS:
        message = f"a member of a pool has no {key!r}: {_NOT_OF_MEMBERS[key]}"
        return Misfit(where, "bad-member", message, at_key=True)
    if form == "step" and key == "weight":
        message = "'weight' is for members of a pool; write pool: {…: 9, …: 1}"
        return Misfit(where, "bad-step", message, at_key=True)
    if form == "inverse" and key == "not":
        message = "a 'not' has no 'not' inside; write its content beside the outer 'not'"
        return Misfit(where, "bad-when", message, at_key=True)
    return Misfit(where, "unknown-key", unknown_key(key, known), at_key=True)


def _is_limit(where: Where) -> bool:
    """Tell whether a place is an entry of a list of `limits`."""
    return where[-2:-1] == ("limits",) and isinstance(where[-1], int)


def _limit_faults(where: Where, limit: JsonObject) -> Iterator[Misfit]:
    """Yield all faults in the keys of a limit that is a mapping."""
    for key in limit:
        if key not in (*UNITS, "per", "then"):
            yield Misfit((*where, key), "unknown-key", unknown_key(key, (*UNITS, "per", "then")), at_key=True)
    units = [key for key in limit if key in UNITS]
    if not units:
        yield Misfit(where, "missing-key", f"a limit needs one of {', '.join(UNITS)}")
    for other in units[1:]:
        message = f"a limit has one unit, and this one has {units[0]!r}; write a limit for each"
        yield Misfit((*where, other), "bad-limit", message, at_key=True)
    if units[:1] == ["concurrent"]:
        for key in limit.keys() & {"per", "then"}:
            message = f"{key!r} is for windows, and requests at once have none; leave it out"
            yield Misfit((*where, key), "bad-limit", message, at_key=True)
    elif units and "per" not in limit:
        message = f"the key 'per' is missing; the windows are {', '.join(WINDOWS)}"
        yield Misfit(where, "missing-key", message)


def _at(value: Json, where: Where) -> Json:
    """Return the value at a place."""
    for part in where:
        value = value[part]
    return value


def _is_member(where: Where) -> bool:
    """Tell whether a place is a member of a pool's list."""
    return where[-2:-1] == ("pool",)


def _beside(where: Where, written: Json) -> str:
    """Return why a key cannot be where it is in a step or a member."""
    key, step = str(where[-1]), written
    for part in where[:-1]:
        step = step[part]
    if "alias" in step:
        beside = "weight" if _is_member(where[:-1]) else "when"
        return f"an alias brings its own steps; beside 'alias' only {beside!r} is possible, not {key!r}"
    if "pool" in step:
        return f"a step is either a pool or a target, not both; {key!r} may be a member"
    return f"{key!r} needs a pool, and this step has one target"


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the message for a key that is not among the known ones."""
    names = list(known)
    other = _ELSEWHERE.get(key.lower().replace("-", "_"))
    hint = meant(other) if other in names else did_you_mean(key, names) or f"; the keys here are {', '.join(names)}"
    return f"unknown key {_quoted(mask_key(key))}{hint}"


def _expected(rule: JsonObject) -> str:
    types = rules_types(rule)
    if rule.get(NAME) in _WANTED:
        return _WANTED[rule[NAME]]
    if "enum" in rule.get("then", {}):
        return f"one of {', '.join(rule['then']['enum'])}"
    if "integer" in types:
        return _TYPES["integer"]
    return " or ".join(_TYPES[name] for name in sorted(types))


def _found(value: Json, rule: JsonObject) -> str:
    """Return the name of a wrong type. Never the value: it may be a secret in the wrong place."""
    types = rules_types(rule)
    if value is None:
        return "nothing" + ("; write {} for an empty one" if types == {"object"} else "")
    if isinstance(value, (bool, int, float)):
        name = "a boolean" if isinstance(value, bool) else "a number"
        is_text = "string" in types and not types & {"boolean", "integer", "number"} and rule.get(NAME) not in _PHRASES
        wants_text = is_text and "enum" not in rule.get("then", {})
        return f"{name}; put quotes around it if it is text" if wants_text else name
    if isinstance(value, str):
        return "text" + ("; put it in brackets" if types == {"array"} else "")
    return "a list" if isinstance(value, list) else "a mapping"


def _shown(written: Json, where: Where, index: int | None = None, *, secret: bool = False) -> str:
    """Return the value at a place as the file writes it, quoted and cut; empty for a secret, a mapping or a list."""
    value = _at(written, where if index is None else (*where, index))
    if secret or isinstance(value, (dict, list)):
        return ""
    return _quoted(mask_key(value)) if isinstance(value, str) else _as_written(value)


def _as_written(value: Json) -> str:
    return as_number(value)[:_SHOWN] if isinstance(value, float) else str(value)[:_SHOWN]


def _quoted(text: str) -> str:
    return repr(cut(text, _SHOWN))


def rules_types(rule: Any) -> frozenset[str]:
    """Return the types that a part of the inlined schema accepts; empty when it accepts any."""
    types = rule.get("type", ()) if isinstance(rule, dict) else ()
    return frozenset({types} if isinstance(types, str) else types)
