"""Finds what LiteLLM would drop from a request without a word: parameters, their values, and parts of messages.

Dropped sampling parameters change how an answer is chosen. Those here change what it is, so the target is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from gateway.adapters.base import Call, lacks
from gateway.adapters.litellm.call import OurCall
from gateway.wire.json import Json, JsonObject
from gateway.words import cut

MAX_REMEMBERED: Final = 1024
"""Size of each cache, in models."""
_MAX_KIND_CHARS: Final = 64
"""Of a client's word that is remembered, and named in an error."""

_ASKED_BY: Final = frozenset(
    {
        "audio", "dimensions", "function_call", "functions", "logprobs", "modalities", "n", "response_format", "stop",
        "store", "tool_choice", "tools", "top_logprobs", "web_search_options",
    }
)  # fmt: skip
"""Parameters that change what the answer is."""

_NEUTRAL: Final[Mapping[str, tuple[Json, ...]]] = MappingProxyType(
    {"n": (1,), "tool_choice": ("auto",), "function_call": ("auto", "none"), "modalities": (["text"],)}
)
"""Values that ask for nothing special, besides null, false, zero and what is empty."""

_NEEDS: Final[Mapping[str, str]] = MappingProxyType(
    {"audio": "modalities", "function_call": "functions", "tool_choice": "tools", "top_logprobs": "logprobs"}
)
"""Parameter → the one without which it has no effect."""

_MAPPED_BY_VALUE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dimensions": "get_optional_params_embeddings",
        "response_format": "get_optional_params",
        "tool_choice": "get_optional_params",
    }
)
"""Parameter that LiteLLM's lists do not tell enough about → the function that writes it in the provider's words."""

_LOST_LATER: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"tool_choice": frozenset({"cohere", "cohere_chat"})}
)
"""Parameter → the providers for which LiteLLM claims to support it and then does not send it."""

_NOTE_TO_ITSELF: Final = "json_mode"
"""LiteLLM's reminder to itself that JSON was asked for. It is not sent."""

_FLATTENS: Final = frozenset({"deepseek", "sambanova"})
"""Providers for which LiteLLM joins the text parts of a message and drops the others."""
_DROPS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "input_audio": frozenset({"anthropic", "bedrock", "mistral", "ollama", "ollama_chat"}) | _FLATTENS,
        "file": frozenset({"azure_ai", "ollama", "ollama_chat"}) | _FLATTENS,
        "image_url": _FLATTENS,
        "custom": frozenset({"anthropic", "bedrock", "deepseek"}),
    }
)
"""Type of a part of a message, or of a tool → the providers for which LiteLLM drops it or fails on it."""
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"input_audio": "audio", "file": "files", "image_url": "images", "custom": "custom tools"}
)
"""The same types as an error names them."""


class Support:
    """Asks LiteLLM once per model what it passes on, and remembers the answers."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], frozenset[str] | None] = {}
        self._values: dict[tuple[str, str, str], bool] = {}

    def refuse(self, litellm: Any, call: Call, kwargs: Mapping[str, Any]) -> None:
        """Raise NotSupported if LiteLLM would drop something of the call's arguments that changes the answer.

        `allowed_openai_params` in the file's `params` are sent as they are.
        """
        kind = call.target.endpoint.kind
        lacking = list(_dropped_parts(kind, kwargs))
        asked = [name for name in kwargs.keys() & _ASKED_BY if _asks(kwargs, name)]
        if asked:
            allowed = kwargs.get("allowed_openai_params") or ()
            supported = self._supported(litellm, call) if call.operation.name == "chat" else None
            for name in sorted(asked):
                if name in allowed:
                    continue
                if (supported is not None and name not in supported) or kind in _LOST_LATER.get(name, ()):
                    lacking.append(name)
                elif name in _MAPPED_BY_VALUE and not self._passes(litellm, call, kwargs, name):
                    lacking.append(_shape(name, kwargs[name]))
        if lacking:
            raise lacks(lacking)

    def _supported(self, litellm: Any, call: Call) -> frozenset[str] | None:
        """Return the parameters that LiteLLM supports for the call's model; None if it does not know the model."""
        kind, model = key = (call.target.endpoint.kind, call.target.model)
        if key not in self._names:
            if len(self._names) >= MAX_REMEMBERED:
                self._names.clear()
            with OurCall(call.limits.connect_s):
                names = litellm.get_supported_openai_params(model=model, custom_llm_provider=kind or None)
            self._names[key] = None if names is None else frozenset(names)
        return self._names[key]

    def _passes(self, litellm: Any, call: Call, kwargs: Mapping[str, Any], name: str) -> bool:
        """Tell whether LiteLLM's parameters for the provider differ with the value and without it."""
        kind, model = call.target.endpoint.kind, call.target.model
        mapped = getattr(litellm.utils, _MAPPED_BY_VALUE[name], None)
        if mapped is None or not kind:
            return True
        key = (kind, model, _shape(name, kwargs[name]))
        if key not in self._values:
            if len(self._values) >= MAX_REMEMBERED:
                self._values.clear()
            needed = _NEEDS.get(name)
            base = {needed: kwargs[needed]} if needed else {}
            try:
                with OurCall(call.limits.connect_s):
                    without, with_it = [
                        mapped(model=model, custom_llm_provider=kind, drop_params=True, **given)
                        for given in (base, {**base, name: kwargs[name]})
                    ]
            except Exception:  # noqa: BLE001 - the call itself tells what is wrong with the value
                return True
            with_it.pop(_NOTE_TO_ITSELF, None)
            self._values[key] = with_it != without
        return self._values[key]


def _asks(kwargs: Mapping[str, Any], name: str) -> bool:
    """Tell whether a parameter asks for something that a model may not be able to do."""
    value, needed = kwargs[name], _NEEDS.get(name)
    if name == "web_search_options":
        return True
    if not value or value in _NEUTRAL.get(name, ()):
        return False
    if name == "response_format" and isinstance(value, dict) and value.get("type") == "text":
        return False
    return needed is None or (needed in kwargs and _asks(kwargs, needed))


def _shape(name: str, value: Json) -> str:
    """Return what LiteLLM's support of a value depends on, in the words of an error."""
    kind = value.get("type") if isinstance(value, dict) else value
    return f"{name} {cut(kind, _MAX_KIND_CHARS)}" if isinstance(kind, str) else name


def _dropped_parts(kind: str, kwargs: Mapping[str, Any]) -> Iterator[str]:
    """Yield names of what the provider's part of LiteLLM drops from messages and tools."""
    if not any(kind in kinds for kinds in _DROPS.values()):
        return
    parts = (*_parts(kwargs.get("messages")), *_dicts(kwargs.get("tools")))
    found = {type_ for type_ in (part.get("type") for part in parts) if isinstance(type_, str)}
    for type_, kinds in _DROPS.items():
        if kind in kinds and type_ in found:
            yield _NAMES[type_]


def _parts(messages: Json) -> Iterator[JsonObject]:
    for message in _dicts(messages):
        yield from _dicts(message.get("content"))


def _dicts(value: Json) -> Iterator[JsonObject]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
