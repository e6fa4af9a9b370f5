"""Content parts of chat messages as content blocks of Messages: text, images, files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.base import NotSupported
from gateway.wire.json import JsonObject

MAX_BREAKPOINTS: Final = 4
"""Blocks with `cache_control` that a request may have."""

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF: Final = "application/pdf"
_PDF_BASE64: Final = "JVBERi"
"""How a PDF begins in base64."""
_OWN_BLOCKS: Final = ("image", "document", "search_result", "container_upload")
"""Anthropic's own blocks, which some clients put into chat messages. They stay as they are."""


class Breakpoints:
    """Sets `cache_control` where the client did, or where it set OpenAI's `prompt_cache_breakpoint`."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_BREAKPOINTS

    def mark(self, block: JsonObject, source: JsonObject) -> JsonObject:
        """Return the block, marked as its `source` is."""
        control = source.get("cache_control")
        if isinstance(control, dict):
            self._left -= 1
            block["cache_control"] = control
            return block
        breakpoint_ = source.get("prompt_cache_breakpoint")
        if isinstance(breakpoint_, dict) and self._left > 0:
            self._left -= 1
            hours = breakpoint_.get("ttl") == "12h"
            block["cache_control"] = {"type": "ephemeral", "ttl": "1h"} if hours else {"type": "ephemeral"}
        return block


def blocks_of(message: JsonObject, breakpoints: Breakpoints) -> list[JsonObject]:
    """Return the content of a message as blocks; empty texts are left out, as Messages refuses them."""
    content = message.get("content")
    if isinstance(content, str):
        return [breakpoints.mark({"type": "text", "text": content}, message)] if content else []
    if content is None:
        return []
    if not isinstance(content, list):
        raise NotSupported(f"does not support a message with {type(content).__name__} as its content")
    blocks = []
    for part in content:
        if isinstance(part, str):
            part = {"type": "text", "text": part}
        if not isinstance(part, dict):
            raise NotSupported("does not support content parts that are no objects")
        block = _block(part)
        if block is not None:
            blocks.append(breakpoints.mark(block, part))
    return blocks


def text_blocks_of(message: JsonObject, breakpoints: Breakpoints) -> list[JsonObject]:
    """Return the content of a message that can have texts only."""
    blocks = blocks_of(message, breakpoints)
    for block in blocks:
        if block.get("type") != "text":
            raise NotSupported(f"does not support {block.get('type')} in {message.get('role')} messages")
    return blocks


def _block(part: JsonObject) -> JsonObject | None:
    kind = part.get("type")
    if kind == "text":
        text = part.get("text")
        return {"type": "text", "text": text} if text and isinstance(text, str) else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is not None:
        return read(part)
    if kind in _OWN_BLOCKS:
        return part.copy()
    raise NotSupported(f"does not support content parts of type {str(kind)[:64]}")


def _refusal(part: JsonObject) -> JsonObject | None:
    text = part.get("refusal")
    return {"type": "text", "text": text} if text and isinstance(text, str) else None


def _image(part: JsonObject) -> JsonObject:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise NotSupported("does not support an image without a URL")
    if not url.startswith("data:"):
        if not url.startswith("https://"):
            raise NotSupported("does not support images by another URL than https")
        return {"type": "image", "source": {"type": "url", "url": url}}
    return _of_data(url, None)


def _file(part: JsonObject) -> JsonObject:
    file = part.get("file")
    if not isinstance(file, dict):
        raise NotSupported("does not support a file without data")
    data, name = file.get("file_data"), file.get("filename")
    title = name if isinstance(name, str) and name else None
    if not isinstance(data, str):
        raise NotSupported(
            "does not support file ids" if file.get("file_id") else "does not support a file without data"
        )
    if not data.startswith("data:"):
        if not data.startswith(_PDF_BASE64):
            raise NotSupported("does not support files without a media type")
        data = f"data:{_PDF};base64,{data}"
    return _of_data(data, title)


def _audio(part: JsonObject) -> JsonObject:
    raise NotSupported("does not support audio")


_READERS: Final[Mapping[str, Callable[[JsonObject], JsonObject | None]]] = MappingProxyType(
    {"image_url": _image, "file": _file, "input_audio": _audio, "refusal": _refusal}
)


def _of_data(url: str, title: str | None) -> JsonObject:
    """Return the block for a data URL (RFC 2397)."""
    head, comma, data = url[5:].partition(",")
    media_type, *options = head.split(";")
    media_type = media_type.strip().lower()
    if not comma or "base64" not in options:
        raise NotSupported("does not support data URLs without base64")
    if media_type == "image/jpg":
        media_type = "image/jpeg"
    if media_type in _IMAGES:
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    if media_type == _PDF:
        source = {"type": "base64", "media_type": _PDF, "data": data}
    elif media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": _text(data)}
    else:
        kind = "images" if media_type.startswith("image/") else "audio" if media_type.startswith("audio/") else "files"
        raise NotSupported(f"does not support {kind} of type {media_type[:64]}")
    block: JsonObject = {"type": "document", "source": source}
    if title is not None:
        block["title"] = title
    return block


def _text(data: str) -> str:
    try:
        return base64.b64decode(data).decode()
    except (binascii.Error, ValueError):
        raise NotSupported("does not support text files that are not UTF-8 in base64") from None
