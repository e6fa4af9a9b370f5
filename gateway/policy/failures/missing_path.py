"""Tells a path that a server does not have from a model that it does not have: both are 404 on most servers.

A path is told by its status (405), by a body that no handler of models wrote (empty, a web page, a router's bare
words), or by words of its own. Whatever names a model is the model's. What is neither is taken for the model's too.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.policy.failures.classify import refusal
from gateway.wire.json import Json, json_in

_MAX_CHARS: Final = 2_000
"""Characters of a message that are looked at."""

_PATH_CODES: Final = frozenset({"unknown_url", "not_supported_error"})
"""Codes and types for a path: Groq's, and llama.cpp's (501) for one that its flags switch off.

Sources: https://console.groq.com/docs/errors and
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

_MODEL_CODES: Final = frozenset({"model_not_found", "deploymentnotfound", "modelnotfound", "model_not_available"})

_BARE: Final = re.compile(
    r"(?:error:? )?(?:404:? )?(?:(?:page|file|resource|route|path|endpoint|url) )?not found|"
    r"(?:405:? )?method not allowed|(?:404:? )?route not found|no such (?:path|route|endpoint|url)",
    re.IGNORECASE,
)
"""The whole message of a router: Starlette (vLLM, SGLang, LiteLLM), cpp-httplib (llama.cpp), gin (Ollama), Azure."""

_OF_PATHS: Final = re.compile(
    r"\binvalid url \(|"  # OpenAI, one-api
    r"\bunknown request url\b|"  # Groq
    r"\bunexpected endpoint or method\b|"  # LM Studio
    r"\bno route matched\b|"  # Kong (Mistral)
    r"\bcannot post /|"  # Express, NestJS
    r"\bunknown (?:endpoint|path|url|route)\b|"  # this gateway
    r"\bno such (?:path|route|endpoint|url)\b|"
    r"\b(?:route|path|url|endpoint) (?:'?/\S* )?(?:was )?not found\b",
    re.IGNORECASE,
)

_OF_MODELS: Final = re.compile(r"\b(?:models?|deployments?|engines?)\b", re.IGNORECASE)

LM_STUDIO: Final = "Unexpected endpoint or method."
"""LM Studio answers a path that it does not have with 200 and an `error` that begins so.

Source: https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/618
"""


def is_missing_path(status: int, raw: bytes, *, path: str, model: str) -> bool:
    """Tell whether an answer with an error status says that the server has no such path.

    `raw` is the body, `path` the path below the base URL, `model` the upstream's name of the model.
    """
    if status == 405:
        return True
    if status not in {404, 501}:
        return False
    body = json_in(raw)
    text = raw.decode("utf-8", "replace")
    error = refusal(body, text, status)
    words = {str(word).lower() for word in (error.get("code"), error.get("type")) if isinstance(word, str)}
    if words & _MODEL_CODES:
        return False
    if words & _PATH_CODES:
        return True
    if status == 501:
        return False
    message = _message(body, text)
    if message is None or _BARE.fullmatch(message) or _OF_PATHS.search(message):
        return True
    if _OF_MODELS.search(message) or _names(message, model):
        return False
    return path in message


def is_missing_in(data: Json) -> bool:
    """Tell whether a body with a good status is LM Studio's for a path that it does not have."""
    said = data.get("error") if isinstance(data, dict) else None
    return isinstance(said, str) and said.startswith(LM_STUDIO)


def _message(body: Json, text: str) -> str | None:
    """Return what a body says, without a full stop; None for an empty one and a web page."""
    if isinstance(body, dict) and len(body) == 1 and isinstance(said := next(iter(body.values())), str):
        message = said  # such as APISIX's `error_msg`
    elif isinstance(body, dict | list):
        message = refusal(body, "", 404)["message"] if body else ""
    else:
        message = body if isinstance(body, str) else text
    message = message.strip()[:_MAX_CHARS].rstrip(".!")
    return None if not message or message.startswith("<") else message


def _names(message: str, model: str) -> bool:
    return bool(model) and re.search(rf"(?<![\w./-]){re.escape(model)}(?![\w/-])", message, re.IGNORECASE) is not None
