"""What a deployment's model is for, and whether the gateway serves that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.config.compiler.known_providers import find
from gateway.config.model_data import read_entries
from gateway.wire.json import Json, JsonObject

RESPONSES: Final = "responses"
PREFIX: Final = "responses/"
"""Begins the name of a model that LiteLLM asks through the Responses API."""
_SERVED: Final = frozenset({"chat", "completion", "embedding", RESPONSES})

_RELAYED: Final = frozenset(
    {"audio_speech", "audio_transcription", "image_edit", "image_generation", "moderation", "rerank"}
)
"""Modes that are served where the provider has OpenAI's wire."""

_BY_NAME: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        mode: re.compile(rf"(?:^|[/ ._-])(?:{words})(?:[/ ._:-]|$)", re.IGNORECASE)
        for mode, words in {
            "rerank": "rerank(?:er)?",
            "audio_transcription": "whisper|transcribe|parakeet|canary|asr",
            "audio_speech": "tts|kokoro|speech",
            "image_generation": "dall-e|gpt-image|imagen|flux|sdxl|stable-diffusion|ideogram|recraft",
            "video_generation": "sora|veo|kling",
            "realtime": "realtime",
            "moderation": "omni-moderation|text-moderation",
        }.items()
    }
)
"""Mode → words of the names of such models, for those that LiteLLM's data does not have."""


def mode_of(kind: str, model: str, info: JsonObject) -> str | None:
    """Return a model's mode in LiteLLM's words: by `model_info`, by LiteLLM's data, by its name; None if unknown."""
    told = info.get("mode")
    if isinstance(told, str) and told:
        return told
    if model.startswith(PREFIX):
        return RESPONSES
    if "*" in model:
        return None
    known = _listed(info.get("base_model"), kind) or _listed(f"{kind}/{model}", kind) or _listed(model, kind)
    if known is not None:
        return known
    name = f"{info.get('base_model') or ''} {model}"
    return next((mode for mode, words in _BY_NAME.items() if words.search(name)), None)


def not_served(mode: str | None, info: JsonObject, kind: str) -> str | None:
    """Return why a mode of a provider of this kind is left out; None if it is served."""
    if mode is None or mode in _SERVED:
        return None
    if mode in _RELAYED:
        known = find(kind)
        if known is not None and known.wire == "openai":
            return None
        message = f"chat and embeddings are all that is served through LiteLLM, not {mode}"
    else:
        message = f"there is no operation for it here, not {mode if len(mode) <= 60 else 'this mode'}"
    if info.get("mode"):
        return message
    return f"{message}, which this model is for; if it is not, say `mode: chat` in its model_info"


def _listed(name: Json, kind: str) -> str | None:
    """Return the mode of a model in LiteLLM's data, if it is that provider's."""
    entry = (read_entries() or {}).get(name) if isinstance(name, str) else None
    if not isinstance(entry, dict):
        return None
    mode, provider, endpoints = entry.get("mode"), entry.get("litellm_provider"), entry.get("supported_endpoints")
    if not isinstance(mode, str) or not isinstance(provider, str):
        return None
    if mode not in _SERVED and isinstance(endpoints, list) and "/v1/chat/completions" in endpoints:
        mode = "chat"
    return mode if provider.startswith(kind) or kind.startswith(provider) else None
