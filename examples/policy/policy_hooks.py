"""The hooks of the example policy. They lie beside its config file, so they are found without being installed."""

from __future__ import annotations

import re
from typing import Any

HOUSE_STYLE = "Answer in the customer's language, in plain words, and never promise a date."

_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")


async def redact(request: dict[str, Any]) -> dict[str, Any]:
    """Pre hook: blank out card numbers and e-mail addresses in what users wrote."""
    for message in request.get("messages") or []:
        if message.get("role") == "user" and isinstance(message.get("content"), str):
            message["content"] = _EMAIL.sub("[email]", _CARD.sub("[card]", message["content"]))
    return request


async def house_style(request: dict[str, Any]) -> dict[str, Any]:
    """Pre hook: put the house style before the conversation."""
    if "messages" in request:
        request["messages"] = [{"role": "system", "content": HOUSE_STYLE}, *request["messages"]]
    return request


async def stamp(response: dict[str, Any]) -> dict[str, Any]:
    """Post hook: note which policy the answer went through."""
    response["policy"] = "company"
    return response
