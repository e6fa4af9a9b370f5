"""Reads what an upstream said of its failure: the error object in any shape of body, its kind, its code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import orjson

from gateway.policy.failures.kinds import CLIENT_FAULTS, Kind
from gateway.policy.failures.phrases import is_parameter_fault
from gateway.policy.failures.vendor_words import (
    FILE_PHRASE,
    KIND_OF_CODE,
    OVERLOADED_PHRASE,
    PHRASES,
    QUOTA_PHRASE,
    is_failed_finish,
)
from gateway.policy.secrets import mask_upstream_text
from gateway.wire.json import Json, JsonObject, json_in

MAX_MESSAGE_CHARS: Final = 16_384
MAX_TEXT_BODY_CHARS: Final = 500
"""A longer body that is not JSON is taken for a web page and not repeated."""

_KIND_OF_STATUS: Final[Mapping[int, Kind]] = MappingProxyType(
    {
        401: Kind.AUTH,
        402: Kind.BILLING,
        403: Kind.AUTH,
        404: Kind.NOT_FOUND,
        408: Kind.TIMEOUT,
        409: Kind.SERVER_ERROR,
        410: Kind.NOT_FOUND,
        424: Kind.SERVER_ERROR,
        425: Kind.SERVER_ERROR,
        429: Kind.RATE_LIMIT,
        498: Kind.SERVER_ERROR,
        499: Kind.SERVER_ERROR,
        503: Kind.OVERLOADED,
        504: Kind.TIMEOUT,
        529: Kind.OVERLOADED,
    }
)
"""Status → kind. Others are `server_error` from 500 on, else `bad_request`."""

_REFINED: Final[Mapping[Kind, frozenset[Kind]]] = MappingProxyType(
    {
        Kind.BAD_REQUEST: frozenset(Kind) - {Kind.CONNECTION, Kind.TIMEOUT, Kind.SERVER_ERROR, Kind.BAD_REQUEST},
        Kind.AUTH: frozenset({Kind.BILLING, Kind.CONTENT_FILTER, Kind.RATE_LIMIT}),
        Kind.NOT_FOUND: frozenset({Kind.AUTH, Kind.BILLING}),
        Kind.RATE_LIMIT: frozenset({Kind.BILLING}),
        Kind.SERVER_ERROR: frozenset(
            {
                Kind.OVERLOADED,
                Kind.CONTEXT_WINDOW,
                Kind.CONTENT_FILTER,
                Kind.RATE_LIMIT,
                Kind.BILLING,
                Kind.BAD_RESPONSE,
            }
        ),
    }
)
"""Kind by status → kinds that the body's words may refine it to. Other words leave the status' kind."""

_MESSAGE_FIELDS: Final = ("message", "detail", "msg", "title")
_NO_WORDS: Final = "the upstream answered with an error"
"""Message of an error object that has none."""
_MAX_DEPTH: Final = 8
"""Objects within objects in which an error is looked for."""
_FINISH_FIELDS: Final = ("finish_reason", "finishReason", "stopReason", "stop_reason")

OPENAI_CODES: Final[Mapping[Kind, tuple[str, ...]]] = MappingProxyType(
    {
        Kind.CONTEXT_WINDOW: ("context_length_exceeded",),
        Kind.NOT_FOUND: ("model_not_found",),
        Kind.CONTENT_FILTER: ("content_policy_violation", "content_filter"),
    }
)
"""Kind → OpenAI's codes for it. Clients look for these; the first is given where the upstream said none of them."""


def error_object(body: Json) -> JsonObject | None:
    """Return the `error` object of a decoded body; None if the body is not an error.

    A string under `error`, as some OpenAI-wire servers send, becomes `{"message": …}`. Older vLLM releases send the
    error object itself, with `"object": "error"`. Google wraps the body in a list.
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        return None
    error = body.get("error") or (body if body.get("object") == "error" else None)
    return error if isinstance(error, dict | None) else {"message": _text_in(error) or _text_in(body) or _NO_WORDS}


def refusal(body: Json, text: str, status: int) -> JsonObject:
    """Return the error object of a response with an error status, from a body in any shape.

    `body` is the decoded `text`, or None. Shapes: `{"error": …}`, `{"errors": […]}`, `{"detail": …}` (FastAPI, RFC
    9457), `{"message": …}` (Cohere, AWS, Cerebras), plain text. The fields beside an error's own are kept in it.
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    found = _error_in(body) if isinstance(body, dict) else None
    if found is None:
        plain = ("" if isinstance(body, dict | list) else body if isinstance(body, str) else text).strip()
        found = {"message": plain if len(plain) <= MAX_TEXT_BODY_CHARS and "<" not in plain else ""}
    return {**found, "message": _text_in(found) or f"the upstream answered with status {status}"}


def _error_in(body: JsonObject, depth: int = _MAX_DEPTH) -> JsonObject | None:
    beside = {name: value for name, value in body.items() if name not in {"error", "errors", "detail", "status"}}
    said = body.get("error") or body.get("errors")
    if isinstance(said, list) and said:
        said = said[0]
    if isinstance(said, dict):
        return {**beside, **said} if body.get("type") != "error" else said
    if isinstance(said, str):
        more = _text_in({**beside, "title": None})
        return {**beside, "message": f"{said}: {more}" if more not in {"", said} else said}
    for name in _MESSAGE_FIELDS:
        words = body.get(name)
        found = _error_in(words, depth - 1) if isinstance(words, dict) and depth else None
        if found is not None:
            return found
        if text := _text_in(words):
            return {"param": _first_place(words), **beside, "message": text}
    return None


def _text_in(said: Json) -> str:
    """Return the message that part of an error body holds; empty if none.

    Of a list of faults (FastAPI, NestJS) it is their messages and places. Other values are not repeated: they may be
    parts of the request.
    """
    if isinstance(said, str):
        return said
    if isinstance(said, dict):
        found = (_text_in(words) for name in _MESSAGE_FIELDS if not isinstance(words := said.get(name), dict))
        return next(filter(None, found), "")
    return "; ".join(filter(None, map(_fault, said))) if isinstance(said, list) else ""


def _fault(entry: Json) -> str:
    texts = (entry, *map(entry.get, _MESSAGE_FIELDS)) if isinstance(entry, dict) else (entry,)
    words = next((text for text in texts if isinstance(text, str) and text), "")
    place = _place(entry)
    return f"{place}: {words}" if place and words else words


def _place(entry: Json) -> str:
    place = entry.get("loc") if isinstance(entry, dict) else None
    return ".".join(str(part) for part in place if isinstance(part, str | int)) if isinstance(place, list) else ""


def _first_place(faults: Json) -> str | None:
    return (_place(faults[0]) if isinstance(faults, list) and faults else "") or None


def error_code(error: JsonObject | None) -> str | None:
    """Return an error object's `code` if that is text, else its `type`; None if it has neither."""
    for key in ("code", "type"):
        value = error.get(key) if error else None
        if isinstance(value, str) and value:
            return _cut(value, 64)
    return None


def _cut(text: str, limit: int) -> str:
    """Return a text without the word that exceeds the limit: the first half of a secret is not found by masking."""
    return text if len(text) <= limit else "".join(re.split(r"(\s)", text[: limit + 1])[:-1])


def classify(status: int | None, body: Json = None) -> Kind:
    """Return the kind of a failure: by status first, then the body's codes, message text last.

    For a `status` of None or below 400, an error inside a good response, the body alone decides; unknown errors are
    `server_error`. A status of 400 and above makes an error of any body.
    """
    if status is None or status < 400:
        return _embedded_kind(error_object(body))
    error = refusal(body, body if isinstance(body, str) else "", status)
    kind = _KIND_OF_STATUS.get(status) or (Kind.SERVER_ERROR if status >= 500 else Kind.BAD_REQUEST)
    if status == 403 and _is_moderated(error):
        return Kind.CONTENT_FILTER
    if status == 403 and FILE_PHRASE.tells(_message(error)):
        return Kind.BAD_REQUEST
    allowed = _REFINED.get(kind, frozenset()) if status != 401 else frozenset({Kind.BILLING})
    named = next((word for word in _kinds_named(error) if word in allowed), None)
    return named or by_text(kind, _message(error), _without_blame(kind, error, allowed))


def _embedded_kind(error: JsonObject | None) -> Kind:
    for name in ("code", "status_code", "status"):
        embedded = error.get(name) if error else None
        if isinstance(embedded, str) and embedded.isdecimal() and len(embedded) == 3:
            embedded = int(embedded)
        if type(embedded) is int and 400 <= embedded <= 599:
            return classify(embedded, {"error": error})
    named = list(_kinds_named(error))
    kind = next((kind for kind in named if kind is not Kind.BAD_REQUEST), None)
    if kind is not None:
        return kind
    message = _message(error or {})
    plain = Kind.BAD_REQUEST if named else Kind.SERVER_ERROR
    return by_text(plain, message, _without_blame(plain, error or {}, _REFINED[Kind.BAD_REQUEST]))


def _without_blame(kind: Kind, error: JsonObject, allowed: frozenset[Kind]) -> frozenset[Kind]:
    """Return the kinds that an error's message may tell: not those that rest a target if a parameter is at fault."""
    return allowed & CLIENT_FAULTS if kind is Kind.BAD_REQUEST and is_parameter_fault(error) else allowed


def by_text(kind: Kind, message: str, allowed: frozenset[Kind] | None = None) -> Kind:
    """Return `kind` as the error's message refines it, to one of `allowed`: of those the kind by status may become."""
    if allowed is None:
        allowed = _REFINED.get(kind, frozenset())
    if kind is Kind.SERVER_ERROR and OVERLOADED_PHRASE.tells(message):
        return Kind.OVERLOADED
    if kind is Kind.BAD_REQUEST and Kind.BILLING in allowed and QUOTA_PHRASE.tells(message):
        return Kind.BILLING
    if kind is Kind.SERVER_ERROR and allowed is _REFINED[kind]:
        return kind  # servers put anything into the text of a 500
    return next((one.kind for one in PHRASES if one.kind in allowed and one.tells(message)), kind)


def _message(error: JsonObject) -> str:
    """Return the text to search: the message, or that of the provider behind it."""
    words = _raw(error) or error.get("message") or error.get("detail")
    return words if isinstance(words, str) else ""


def _raw(error: JsonObject) -> str | None:
    """Return the message of the provider behind OpenRouter, which is in `metadata.raw`; None if there is none.

    Source: https://openrouter.ai/docs/api/reference/errors-and-debugging
    """
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    decoded = json_in(raw.encode("utf-8", "replace")) if isinstance(raw, str) else raw
    inner = _error_in(decoded) if isinstance(decoded, dict) else None
    words = inner.get("message") if inner is not None else raw
    return words if isinstance(words, str) else None


def _is_moderated(error: JsonObject) -> bool:
    """Tell whether OpenRouter says that its moderation flagged the input (the same source)."""
    metadata = error.get("metadata")
    return isinstance(metadata, dict) and ("flagged_input" in metadata or bool(metadata.get("reasons")))


def _kinds_named(error: JsonObject | None) -> Iterator[Kind]:
    """Yield the kinds that the words of an error object stand for, the most specific word first."""
    for word in _words_of(error or {}):
        if isinstance(word, str) and (kind := KIND_OF_CODE.get(word[:64].rpartition("#")[2].lower())) is not None:
            yield kind


def _words_of(error: JsonObject) -> Iterator[Json]:
    """Yield the values of all fields where vendors put codes."""
    details, inner = error.get("details"), error.get("innererror")
    if isinstance(details, dict):
        yield details.get("error_code")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield detail.get("reason")
    yield error.get("code")
    if isinstance(inner, dict):
        yield inner.get("code")
    for name in ("type", "error_type", "__type", "status"):
        yield error.get(name)


def choice_error(choice: JsonObject) -> JsonObject | None:
    """Return the error object of a choice that failed: its own, or one for its finish reason. None if it did not fail.

    Choices with their own error: https://openrouter.ai/docs/api/reference/overview
    """
    error = choice.get("error")
    if error:
        return error if isinstance(error, dict) else {"message": _text_in(error) or _NO_WORDS}
    # LiteLLM calls most failures `stop` and keeps the upstream's word beside it, in plain answers.
    kept = choice.get("provider_specific_fields")
    native = kept.get("native_finish_reason") if isinstance(kept, dict) else None
    reason = native or next((choice[name] for name in _FINISH_FIELDS if choice.get(name)), None)
    if isinstance(reason, dict):
        reason = reason.get("type")  # SGLang's own wire
    if not is_failed_finish(reason):
        return None
    return {"message": f"the answer ended with {str(reason)[:64]}", "type": "failed_finish"}


def answer_error(data: JsonObject) -> JsonObject | None:
    """Return the error object of a failed choice of an answer or event, on any vendor's wire; None if none failed.

    Looks at OpenAI's `choices`, Gemini's `candidates`, Bedrock's `stopReason`, Cohere's `finish_reason` and `delta`.
    """
    for name in ("choices", "candidates"):
        found = data.get(name)
        for choice in found if isinstance(found, list) else ():
            if isinstance(choice, dict) and (error := choice_error(choice)) is not None:
                return error
    delta = data.get("delta")
    return choice_error({name: data[name] for name in _FINISH_FIELDS if name in data}) or (
        choice_error({name: delta[name] for name in _FINISH_FIELDS if name in delta})
        if isinstance(delta, dict)
        else None
    )


def client_code(kind: Kind, error: JsonObject) -> Json:
    """Return the `code` that a client gets: OpenAI's word for the kind where it has one, else the upstream's."""
    code = error.get("code")
    known = OPENAI_CODES.get(kind, ())
    return known[0] if known and code not in known else code


def envelope(error: JsonObject, kind: Kind) -> bytes:
    """Return OpenAI's envelope around an upstream's error object, with any text like a key masked."""

    def masked(text: str) -> str:
        # A lone surrogate, which JSON's escapes can spell, cannot be encoded in UTF-8.
        return mask_upstream_text(text).encode("utf-8", "replace").decode()

    fields: JsonObject = {"message": _cut(masked(_text_in(error) or _NO_WORDS), MAX_MESSAGE_CHARS)}
    for name, value in (("type", error.get("type")), ("param", error.get("param")), ("code", client_code(kind, error))):
        fields[name] = _cut(masked(value), 256) if isinstance(value, str) else value if type(value) is int else None
    return orjson.dumps({"error": fields})
