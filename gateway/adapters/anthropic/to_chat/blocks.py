"""Content blocks of Messages as content parts of chat messages: text, images, documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.base import NotSupported
from gateway.adapters.fields import fields_of, text_of
from gateway.wire.json import Json, JsonObject

_PDF: Final = "application/pdf"
MAX_DEPTH: Final = 8


def parts_of(content: Json, depth: int = 0) -> list[JsonObject]:
    """Return the parts for a text or a list of blocks. Blocks that nobody knows are left out."""
    if isinstance(content, str):
        return [_text(content)] if content else []
    parts: list[JsonObject] = []
    for block in content if isinstance(content, list) and depth < MAX_DEPTH else ():
        if isinstance(block, dict):
            kind = block.get("type")
            read = _READERS.get(kind) if isinstance(kind, str) else None
            if read is not None:
                parts += read(block, depth)
    return parts


def is_text(part: JsonObject) -> bool:
    """Tell whether a part is a text."""
    return bool(part["type"] == "text")


def _text(text: Json) -> JsonObject:
    return {"type": "text", "text": text}


def _text_block(block: JsonObject, depth: int) -> list[JsonObject]:
    text = text_of(block.get("text"))
    return [_text(text)] if text else []


def _image(block: JsonObject, depth: int) -> list[JsonObject]:
    return [{"type": "image_url", "image_url": {"url": _url(block.get("source"))}}]


def _url(source: Json) -> str:
    fields = fields_of(source)
    kind = fields.get("type")
    if kind == "url" and isinstance(fields.get("url"), str):
        return str(fields["url"])
    if kind == "base64" and isinstance(fields.get("data"), str):
        return f"data:{fields.get('media_type') or 'image/png'};base64,{fields['data']}"
    raise NotSupported("does not support file ids" if kind == "file" else "does not support images of this source")


def _document(block: JsonObject, depth: int) -> list[JsonObject]:
    source = fields_of(block.get("source"))
    kind, name, context = source.get("type"), text_of(block.get("title")), text_of(block.get("context"))
    head = [_text("\n".join(filter(None, (name, context))))] if name or context else []
    if kind == "text":
        return [*head, *parts_of(source.get("data"))]
    if kind == "content":
        return [*head, *parts_of(source.get("content"), depth + 1)]
    if kind == "base64" and isinstance(source.get("data"), str):
        data = f"data:{source.get('media_type') or _PDF};base64,{source['data']}"
        file: JsonObject = {"type": "file", "file": {"filename": name or "document.pdf", "file_data": data}}
        return [*(head if context else ()), file]
    if kind == "file":
        raise NotSupported("does not support file ids")
    raise NotSupported("does not support documents by URL" if kind == "url" else "does not support such documents")


def _search_result(block: JsonObject, depth: int) -> list[JsonObject]:
    head = "\n".join(filter(None, (text_of(block.get("title")), text_of(block.get("source")))))
    return [*([_text(head)] if head else ()), *parts_of(block.get("content"), depth + 1)]


def _tool_reference(block: JsonObject, depth: int) -> list[JsonObject]:
    return [_text(f"Tool: {block.get('tool_name')}")]


def _container(block: JsonObject, depth: int) -> list[JsonObject]:
    raise NotSupported("does not support containers")


_READERS: Final[Mapping[str, Callable[[JsonObject, int], list[JsonObject]]]] = MappingProxyType(
    {
        "text": _text_block,
        "image": _image,
        "document": _document,
        "search_result": _search_result,
        "tool_reference": _tool_reference,
        "container_upload": _container,
    }
)
