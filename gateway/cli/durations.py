"""Durations as a person writes them in the config file."""

from __future__ import annotations


def shown(duration_s: float) -> str:
    """Return `0s`, `250ms`, `1.5s`, `2m`, `1m30s`, `1h`: to the millisecond."""
    milliseconds = round(duration_s * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    whole, rest = divmod(milliseconds, 1000)
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m")]
    text = "".join(f"{number}{unit}" for number, unit in parts if number)
    return f"{text}{left + rest / 1000:g}s" if left or rest else text
