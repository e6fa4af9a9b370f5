"""Token counts both ways. Anthropic's input leaves out what was read from or written to the cache, OpenAI's does not.

Sources: https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance,
https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from gateway.adapters.counts import count, token_counts
from gateway.adapters.fields import fields_of
from gateway.wire.json import Json, JsonObject


def chat_usage(usage: JsonObject) -> JsonObject | None:
    """Return chat's token counts from those of Messages; None if there are none."""
    given, output = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if given is None and output is None:
        return None
    read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    prompt, completion = (given or 0) + (read or 0) + (written or 0), output or 0
    counts: JsonObject = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read or 0, "cache_write_tokens": written or 0},
    }
    thinking = count(fields_of(usage.get("output_tokens_details")).get("thinking_tokens"))
    if thinking is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": min(thinking, completion)}
    return counts


def messages_usage(usage: Json) -> JsonObject:
    """Return the token counts of Messages from chat's; zeros for counts that are missing, as clients need both."""
    if not isinstance(usage, dict):
        return {"input_tokens": 0, "output_tokens": 0}
    details = fields_of(usage.get("prompt_tokens_details"))
    read, written = count(details.get("cached_tokens")), count(details.get("cache_write_tokens"))
    if read is None:
        read = count(usage.get("prompt_cache_hit_tokens"))  # DeepSeek
    told = token_counts(usage)
    counts: JsonObject = {
        "input_tokens": max(told.get("prompt", 0) - (read or 0) - (written or 0), 0),
        "output_tokens": told.get("completion", 0),
    }
    if written:
        counts["cache_creation_input_tokens"] = written
    if read:
        counts["cache_read_input_tokens"] = read
    reasoning = count(fields_of(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    if reasoning:
        counts["output_tokens_details"] = {"thinking_tokens": reasoning}
    return counts
