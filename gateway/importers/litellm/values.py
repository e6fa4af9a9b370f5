"""Read single values of a LiteLLM config: variables, durations, counts, names."""

from __future__ import annotations

import math
import re
from typing import Final

from gateway.importers.litellm.draft import dollars
from gateway.wire.json import Json
from gateway.words import as_duration

MAX_RETRIES: Final = 100
_REFERENCE: Final = "os.environ/"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_MAX_SECONDS: Final = 1e9


def reference(value: Json) -> str | None:
    """Return NAME of `os.environ/NAME`; None for any other value."""
    if not isinstance(value, str) or not value.strip().startswith(_REFERENCE):
        return None
    name = value.strip().removeprefix(_REFERENCE)
    return name if _NAME.fullmatch(name) else None


def is_reference(value: Json) -> bool:
    """Tell whether a value begins with `os.environ/`, even without a valid name."""
    return isinstance(value, str) and value.strip().startswith(_REFERENCE)


def expandable(value: Json) -> Json:
    """Return a value with each `os.environ/NAME` as `${NAME:-}` and every other dollar doubled.

    The empty default keeps the file valid on a machine without the variable; in `params` it means null, as in LiteLLM.
    """
    if name := reference(value):
        return f"${{{name}:-}}"
    if isinstance(value, list):
        return [expandable(item) for item in value]
    if isinstance(value, dict):
        return {key: expandable(item) for key, item in value.items()}
    return dollars(value)


def in_variable(value: Json) -> str | None:
    """Return why a value that a variable holds cannot be used; None if it is in the config itself."""
    name = reference(value)
    return f"its value is in the variable {name}; write the value itself into the config" if name else None


def duration(value: Json) -> str | None:
    """Return a number of seconds as a duration of the file; None unless it is 0.5 ms to 1e9 s."""
    if name := reference(value):
        return f"${{{name}:-10m}}"
    found_s = number(value)
    return None if found_s is None or not 0.0005 <= found_s <= _MAX_SECONDS else as_duration(found_s)


def number(value: Json) -> float | None:
    """Return a number, given as one or as text; None for any other value."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def whole(value: Json, *, at_most: int) -> int | None:
    """Return a whole number from 0 on, at most `at_most`; None for any other value."""
    found = number(value)
    if found is None or found < 0 or found != int(found):
        return None
    return min(int(found), at_most)


def label(value: Json) -> str | None:
    """Return a name; None for any other value. Numbers and booleans are names, as for LiteLLM's clients."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return repr(value)
    return value if isinstance(value, str) and value.strip() else None


def shown(text: str) -> str:
    """Return a name for a message, shortened to 60 characters."""
    return text if len(text) <= 60 else f"{text[:60]}…"
