"""Content parts of chat messages as parts of Gemini's contents: text, images, audio, video, files.

Nothing is fetched: what a client names by URL is left to Google's servers, where the model takes that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from mimetypes import guess_type
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from gateway.adapters.anthropic.thinking import THINKING
from gateway.adapters.base import NotSupported
from gateway.adapters.fields import fields_of
from gateway.adapters.gemini.models import GeminiModel
from gateway.wire.json import JsonObject

_PDF_BASE64: Final = "JVBERi"
"""How a PDF begins in base64."""
_MEDIA_TYPES: Final = ("format", "mime_type", "content_type")
"""Fields in which clients of LiteLLM say the media type of a URL."""
_FETCHED: Final = ("https://", "gs://")
"""How URLs begin that Google's servers fetch. Source: https://ai.google.dev/gemini-api/docs/file-input-methods"""
_IMAGE: Final = "images"
_FILE: Final = "files"


def parts_of(message: JsonObject, model: GeminiModel) -> list[JsonObject]:
    """Return the content of a message as parts; empty texts are left out."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"text": content}] if content else []
    if content is None:
        return []
    if not isinstance(content, list):
        raise NotSupported(f"does not support a message with {type(content).__name__} as its content")
    parts = []
    for part in content:
        if isinstance(part, str):
            part = {"type": "text", "text": part}
        if not isinstance(part, dict):
            raise NotSupported("does not support content parts that are no objects")
        kind = part.get("type")
        if kind == "text":
            text = part.get("text")
            if text and isinstance(text, str):
                parts.append({"text": text})
        elif (read := _READERS.get(kind) if isinstance(kind, str) else None) is not None:
            if (found := read(part, model)) is not None:
                parts.append(found)
        elif kind not in THINKING:  # another vendor's, which is left out
            raise NotSupported(f"does not support content parts of type {str(kind)[:64]}")
    return parts


def text_parts_of(message: JsonObject, model: GeminiModel) -> list[JsonObject]:
    """Return the content of a message that can have texts only."""
    parts = parts_of(message, model)
    if any("text" not in part for part in parts):
        raise NotSupported(f"does not support media in {message.get('role')} messages")
    return parts


def _refusal(part: JsonObject, model: GeminiModel) -> JsonObject | None:
    text = part.get("refusal")
    return {"text": text} if text and isinstance(text, str) else None


def _image(part: JsonObject, model: GeminiModel) -> JsonObject:
    return _linked(part, "image_url", _IMAGE, model)


def _video(part: JsonObject, model: GeminiModel) -> JsonObject:
    return _linked(part, "video_url", "videos", model)


def _linked(part: JsonObject, field: str, what: str, model: GeminiModel) -> JsonObject:
    given = part.get(field)
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise NotSupported(f"does not support {what} without a URL")
    return _of_url(url, fields_of(given), what, model)


def _file(part: JsonObject, model: GeminiModel) -> JsonObject:
    file = part.get("file")
    if not isinstance(file, dict):
        raise NotSupported("does not support a file without data")
    data, file_id = file.get("file_data"), file.get("file_id")
    if isinstance(data, str) and data:
        if not data.startswith(("data:", "http:", *_FETCHED)):
            media_type = _media_type(file) or ("application/pdf" if data.startswith(_PDF_BASE64) else None)
            if media_type is None:
                raise NotSupported("does not support files without a media type")
            return {"inlineData": {"mimeType": media_type, "data": data}}
        return _of_url(data, file, _FILE, model)
    if isinstance(file_id, str) and file_id.startswith(_FETCHED):
        return _of_url(file_id, file, _FILE, model)
    raise NotSupported("does not support file ids" if file_id else "does not support a file without data")


def _audio(part: JsonObject, model: GeminiModel) -> JsonObject:
    audio = fields_of(part.get("input_audio"))
    data, form = audio.get("data"), audio.get("format")
    if not isinstance(data, str) or not isinstance(form, str):
        raise NotSupported("does not support audio without data and format")
    return {"inlineData": {"mimeType": form if form.startswith("audio/") else f"audio/{form}", "data": data}}


_READERS: Final[Mapping[str, Callable[[JsonObject, GeminiModel], JsonObject | None]]] = MappingProxyType(
    {"image_url": _image, "video_url": _video, "file": _file, "input_audio": _audio, "refusal": _refusal}
)


def _of_url(url: str, beside: JsonObject, what: str, model: GeminiModel) -> JsonObject:
    """Return the part for a data URL (RFC 2397), or for an https or gs URL that Google's servers fetch."""
    if not url.startswith("data:"):
        if not url.startswith(_FETCHED):
            raise NotSupported(f"does not support {what} by another URL than https")
        if not model.takes_urls:
            raise NotSupported(f"does not support {what} by URL")
        linked = {"fileUri": url}
        media_type = _media_type(beside) or _guessed(url)
        if media_type is not None:
            linked["mimeType"] = media_type
        return {"fileData": linked}
    head, comma, data = url[5:].partition(",")
    media_type, *options = head.split(";")
    if not comma or "base64" not in options:
        raise NotSupported("does not support data URLs without base64")
    return {"inlineData": {"mimeType": _usual(media_type) or "text/plain", "data": data}}


def _media_type(fields: JsonObject) -> str | None:
    said = (fields.get(name) for name in _MEDIA_TYPES)
    return next((_usual(one) for one in said if isinstance(one, str) and one), None)


def _guessed(url: str) -> str | None:
    """Return the media type that the path of a URL ends with, if any."""
    try:
        return guess_type(urlsplit(url).path)[0]
    except ValueError:
        return None


def _usual(media_type: str) -> str:
    plain = media_type.strip().lower()
    return "image/jpeg" if plain == "image/jpg" else plain
