"""Ids of tool calls that carry Gemini's thought signatures.

Gemini 3 refuses a history with tool calls whose `thoughtSignature` is missing. All clients send the ids of calls back,
and few keep other fields, so the signature is a part of the id, behind the same mark that LiteLLM uses. The signature
is written with the letters that all vendors take in an id. It is taken off before an id goes to another vendor: OpenAI
refuses ids that long.

Source: https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

import re
from typing import Final

from gateway.wire.json import Json, JsonObject, Spliced

MARK: Final = "__thought__"
_MARK_BYTES: Final = MARK.encode()
_SIGNED: Final = re.compile(rb'"([A-Za-z0-9_.:-]{1,128}?)__thought__(?:[A-Za-z0-9+/=_-]|\\/)+"')
"""A JSON string that is a signed id, of ours or of LiteLLM's."""
_TO_ID: Final = str.maketrans("+/", "-_", "=")
_FROM_ID: Final = str.maketrans("-_", "+/")

PLACEHOLDER: Final = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
"""`skip_thought_signature_validator` in base64: Google's stand-in for the signature of a call that has none."""


def signed_id(call_id: str, signature: Json) -> str:
    """Return a call's id with its signature, which is base64; the id alone for a call without one."""
    return f"{call_id}{MARK}{signature.translate(_TO_ID)}" if signature and isinstance(signature, str) else call_id


def plain_id(call_id: str) -> str:
    """Return an id without its signature."""
    return call_id.partition(MARK)[0] if MARK in call_id else call_id


def signature_of(call: JsonObject) -> str | None:
    """Return the signature of a call of the history; None if it has none.

    Beside our ids it may be where LiteLLM or Google's OpenAI-compatible servers put it.
    """
    call_id = call.get("id")
    if isinstance(call_id, str) and MARK in call_id:
        letters = call_id.partition(MARK)[2].translate(_FROM_ID).rstrip("=")
        if letters:
            return letters + "=" * (-len(letters) % 4)
    extra, function = call.get("extra_content"), call.get("function")
    beside = (
        extra.get("google") if isinstance(extra, dict) else None,
        call.get("provider_specific_fields"),
        function.get("provider_specific_fields") if isinstance(function, dict) else None,
    )
    found = (fields.get("thought_signature") for fields in beside if isinstance(fields, dict))
    return next((signature for signature in found if isinstance(signature, str) and signature), None)


def may_be_signed(body: bytes | Spliced) -> bool:
    """Tell whether an encoded body may have ids with signatures."""
    return body.has(_MARK_BYTES) if isinstance(body, Spliced) else body.find(_MARK_BYTES) >= 0


def without_signatures(body: bytes) -> bytes:
    """Return an encoded body, its ids without their signatures."""
    return _SIGNED.sub(rb'"\1"', body)
