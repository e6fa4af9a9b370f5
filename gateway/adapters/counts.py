"""Token counts that upstreams report."""

from __future__ import annotations

from typing import Final

from gateway.wire.json import Json, JsonObject

MAX_TOKENS: Final = 2**53
"""Larger token counts are ignored as invalid."""


def count(value: Json) -> int | None:
    """Return a valid count as it is, None for anything else."""
    return value if type(value) is int and 0 <= value < MAX_TOKENS else None


def counts(**told: Json) -> dict[str, int]:
    """Return the valid counts by name; others, None among them, are left out."""
    return {name: value for name, value in told.items() if type(value) is int and 0 <= value < MAX_TOKENS}


def token_counts(usage: JsonObject, *, is_text: bool = True) -> dict[str, int]:
    """Return the `prompt`, `completion` and `cached` counts of chat's usage; invalid counts are left out.

    `is_text`: of what a model wrote, so that `with_total` holds.
    """
    # Written out, unlike `counts`: every answer passes here. Most texts tell all three, which subscripts read quicker.
    if is_text:
        try:
            prompt, completion, total = usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]
        except KeyError:
            prompt, completion, total = map(usage.get, ("prompt_tokens", "completion_tokens", "total_tokens"))
    else:
        prompt, completion, total = usage.get("prompt_tokens"), usage.get("completion_tokens"), None
    if (
        type(prompt) is int
        and type(completion) is int
        and prompt >= 0 <= completion
        and prompt + completion == total
        and total < MAX_TOKENS
    ):
        found = {"prompt": prompt, "completion": completion}
    else:
        found = {}
        if type(prompt) is int and 0 <= prompt < MAX_TOKENS:
            found["prompt"] = prompt
        if type(completion) is int and 0 <= completion < MAX_TOKENS:
            found["completion"] = completion
        if is_text:
            with_total(found, total)
    if "prompt_tokens_details" in usage:
        details = usage["prompt_tokens_details"]
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        if cached and type(cached) is int and 0 < cached < MAX_TOKENS:
            found["cached"] = cached
    return found


def with_total(found: dict[str, int], total: Json) -> dict[str, int]:
    """Return the `prompt` and `completion` counts with what only their total tells, which is changed in place.

    1. A total of more than both: the output has the rest, such as reasoning that is told beside it
       (https://docs.x.ai/docs/key-information/consumption-and-rate-limits).
    2. Where no input is told, or 0 of it, the input has the rest.
    3. Where neither is told, the `total` stays as it is.
    """
    if type(total) is int and total < MAX_TOKENS:
        prompt, completion = found.get("prompt", 0), found.get("completion", 0)
        if total > prompt + completion:
            if prompt:
                found["completion"] = total - prompt
            elif completion:
                found["prompt"] = total - completion
            else:
                found["total"] = total
    return found
