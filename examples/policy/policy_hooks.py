"""The hooks of the example policy. They lie beside its config file, so they are found without being installed."""

from __future__ import annotations

import re
from typing import Any

HOUSE_STYLE = "Answer in the customer's language, in plain words, and never promise a date."

_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_NO_TEXTS = frozenset({"call_id", "data", "encrypted_content", "id", "signature", "tool_use_id", "url"})
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")


async def redact(request: dict[str, Any]) -> dict[str, Any]:
    """Pre hook: blank out card numbers and e-mail addresses in all text of the operations that its entry names."""
    for name in ("messages", "system", "input", "instructions"):
        if name in request:
            request[name] = _redacted(request[name])
    return request


def _redacted(value: Any, kept: frozenset[str] = _NO_TEXTS) -> Any:
    if isinstance(value, str):
        return _EMAIL.sub("[email]", _CARD.sub("[card]", value))
    if isinstance(value, list):
        return [_redacted(item, kept) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "text":
        kept = kept - {"data"}  # a document in plain text
    if value.get("type") == "tool_use":
        return {**value, "input": _redacted(value.get("input"), frozenset())}  # its keys are the tool's own
    return {key: item if key in kept else _redacted(item, kept) for key, item in value.items()}


async def house_style(request: dict[str, Any]) -> dict[str, Any]:
    """Pre hook: put the house style before the conversation, once: an alias and one nested in it may both name this."""
    style = {"role": "system", "content": HOUSE_STYLE}
    if "messages" in request and request["messages"][:1] != [style]:
        request["messages"] = [style, *request["messages"]]
    return request


async def stamp(response: dict[str, Any]) -> dict[str, Any]:
    """Post hook: note which policy the answer went through."""
    response["policy"] = "company"
    return response
