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
    """Return the variable that `os.environ/NAME` names, or None when the value is something else."""
    if not isinstance(value, str) or not value.strip().startswith(_REFERENCE):
        return None
    name = value.strip().removeprefix(_REFERENCE)
    return name if _NAME.fullmatch(name) else None


def is_reference(value: Json) -> bool:
    """Tell whether a value names a variable, valid or not."""
    return isinstance(value, str) and value.strip().startswith(_REFERENCE)


def expandable(value: Json) -> Json:
    """Return a value with each `os.environ/NAME` as `${NAME:-}` and every other dollar doubled.

    With the empty default a file is valid on a machine that does not have the variable; in `params` it then stands
    for null, which is what LiteLLM makes of it.
    """
    if name := reference(value):
        return f"${{{name}:-}}"
    if isinstance(value, list):
        return [expandable(item) for item in value]
    if isinstance(value, dict):
        return {key: expandable(item) for key, item in value.items()}
    return dollars(value)


def duration(value: Json) -> str | None:
    """Return a number of seconds as the file writes durations; None when it is no such number above zero."""
    if name := reference(value):
        return f"${{{name}:-10m}}"
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value <= _MAX_SECONDS or not math.isfinite(value):
        return None
    return as_duration(value) if value * 1000 >= 0.5 else None


def number(value: Json) -> float | None:
    """Return a number, written as one or as text; None when it is none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def whole(value: Json, *, at_most: int) -> int | None:
    """Return a count from 0 to `at_most`, a larger one cut down to it; None when it is no whole number."""
    found = number(value)
    if found is None or found < 0 or found != int(found):
        return None
    return min(int(found), at_most)


def label(value: Json) -> str | None:
    """Return a name; numbers and booleans are names too, as they are to LiteLLM's clients."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return repr(value)
    return value if isinstance(value, str) and value.strip() else None


def shown(text: str) -> str:
    """Return a name for a message, cut down when it is long."""
    return text if len(text) <= 60 else f"{text[:60]}…"
