"""Merge the limits of a step, its alias, the defaults and the environment into those of one target."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from gateway.config.model.specs import CooldownSpec, StreamSpec, TimeoutSpec
from gateway.errors import UsageError
from gateway.policy.table import StreamPolicy
from gateway.policy.target import Cooldown, Limits

TIMEOUT_VARIABLE: Final = "LITELLM_TIMEOUT"
RETRIES_VARIABLE: Final = "LITELLM_MAX_RETRIES"
MAX_RETRIES: Final = 100
"""Upper bound of LITELLM_MAX_RETRIES."""

DEADLINE_S: Final = 120.0
"""Default seconds from a request's arrival to commit; longer if a target may take longer."""

MAX_ATTEMPTS: Final = 8

_MAX_CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Environment:
    """Limits from the environment, for what the file leaves out."""

    timeout_s: float
    retries: int


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Read LITELLM_TIMEOUT (seconds) and LITELLM_MAX_RETRIES, by default 30 and 3. Raises UsageError if malformed."""
    text = environ.get(TIMEOUT_VARIABLE, "").strip() or "30"
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = math.nan
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise UsageError(f"{TIMEOUT_VARIABLE} is {text!r}; it must be a number of seconds above zero")
    text = environ.get(RETRIES_VARIABLE, "").strip() or "3"
    digits = text.lstrip("0") or "0"
    if not (digits.isascii() and digits.isdigit() and int(digits[:4]) <= MAX_RETRIES):
        raise UsageError(f"{RETRIES_VARIABLE} is {text!r}; it must be a whole number from 0 to {MAX_RETRIES}")
    return Environment(timeout_s, int(digits))


@functools.lru_cache(maxsize=4096)
def merge_timeouts(layers: tuple[TimeoutSpec | None, ...], environment_s: float) -> Limits:
    """Merge timeouts key by key, the most specific layer first. A stream has a total only if `total` is set."""
    connect_s = min(_MAX_CONNECT_S, environment_s)
    first_token_s = idle_s = total_s = environment_s
    stream_total_s: float | None = None
    for spec in reversed(layers):
        if spec is None:
            continue
        if spec.bare_s is not None:
            connect_s = min(_MAX_CONNECT_S, spec.bare_s)
            first_token_s = idle_s = total_s = spec.bare_s
        connect_s = spec.connect_s or connect_s
        first_token_s = spec.first_token_s or first_token_s
        idle_s = spec.idle_s or idle_s
        total_s = spec.total_s or total_s
        stream_total_s = spec.total_s or stream_total_s
    return Limits(
        connect_s=connect_s, first_token_s=first_token_s, idle_s=idle_s, total_s=total_s, stream_total_s=stream_total_s
    )


@functools.lru_cache(maxsize=256)
def merge_cooldowns(*layers: CooldownSpec | None) -> Cooldown:
    """Merge cooldowns key by key, the most specific layer first."""
    return Cooldown(**_merged(layers))


@functools.lru_cache(maxsize=256)
def merge_streams(*layers: StreamSpec | None) -> StreamPolicy:
    """Merge `stream` blocks key by key, the most specific layer first."""
    merged = _merged(layers)
    return StreamPolicy(**{**merged, "keepalive_s": merged.get("keepalive_s") or None})  # 0: off


def _merged(layers: Sequence[CooldownSpec | StreamSpec | None]) -> dict[str, Any]:
    """Return for each field the value of the first layer that sets it."""
    values = [asdict(layer) for layer in reversed(layers) if layer is not None]
    return {name: value for layer in values for name, value in layer.items() if value is not None}
