"""What binds a request to one account: ids of what that account keeps, and content that only it can decrypt.

Sources: https://platform.openai.com/docs/api-reference/responses/create (`previous_response_id`, `conversation`,
`prompt`, item references, `file_id`, `vector_store_ids`, containers, `encrypted_content`) and
https://platform.claude.com/docs/en/api/messages (`container`, sources of type `file`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Final

from gateway.adapters.base import Bond, Bonds
from gateway.adapters.responses.compaction import holds_summary
from gateway.wire.json import Json, JsonObject, RawJson, json_in
from gateway.wire.raw_search import find_names, object_around, text_behind

_REFERENCE: Final = "item_reference"
_ENCRYPTED: Final = "encrypted_content"
_NEWEST: Final = 16
"""Encrypted contents of a request that are looked up, the newest ones: each has to be hashed."""
_OWN_TOOLS: Final = frozenset({"function", "custom", "namespace"})
"""Tools that the client runs. Their schemas may have any names."""
_IN_TOOLS: Final = ("vector_store_ids", "file_ids", "file_id", "container_id", "container")
_IN_INPUT: Final = ("file_id", "container_id", _REFERENCE, _ENCRYPTED)
_DEEPEST: Final = 4
"""Levels of a tool that are looked at."""


def response_bonds(params: Mapping[str, Json]) -> Bonds:
    """Return what binds a request for a Response, the most telling first."""
    found = [*_of("previous_response_id", params.get("previous_response_id"))]
    found += _of("conversation", _id_of(params.get("conversation")))
    given, tools = params.get("input"), params.get("tools")
    if isinstance(given, RawJson):
        found += yield from _long_bonds(given, _IN_INPUT)
    elif isinstance(given, list):
        found += _input_bonds(given)
    if isinstance(tools, RawJson):
        found += yield from _long_bonds(tools, _IN_TOOLS)
    elif isinstance(tools, list):
        for tool in tools:
            if isinstance(tool, dict) and tool.get("type") not in _OWN_TOOLS:
                found += _tool_bonds(tool, _DEEPEST)
    prompt = params.get("prompt")
    if isinstance(prompt, RawJson):
        found += [Bond("prompt.id", bond.id) for bond in (yield from _long_bonds(prompt, ("id",)))]
    else:
        found += _of("prompt.id", prompt.get("id") if isinstance(prompt, dict) else None)
    return _sorted(found)


def message_bonds(params: Mapping[str, Json]) -> Bonds:
    """Return what binds a Messages request. Thinking and its signatures do not."""
    found = [*_of("container", _id_of(params.get("container")))]
    messages = params.get("messages")
    if isinstance(messages, RawJson):
        found += yield from _long_bonds(messages, ("file_id",))
    elif isinstance(messages, list):
        for message in messages:
            blocks = message.get("content") if isinstance(message, dict) else None
            if isinstance(blocks, list):
                found += _block_bonds(blocks)
    return found


def image_bonds(params: Mapping[str, Json]) -> Bonds:
    """Return the files that a request for images names, in JSON."""
    found: list[Bond] = []
    for name in ("images", "mask"):
        value = params.get(name)
        if isinstance(value, RawJson):
            found += yield from _long_bonds(value, ("file_id",))
        else:
            for each in value if isinstance(value, list) else (value,):
                if isinstance(each, dict):
                    found += _of("file_id", each.get("file_id"))
    return found


def made_by_response(data: JsonObject) -> Iterator[str]:
    """Yield the ids of what an upstream keeps with a Response: its own, its conversation's, its items' and containers'.

    One that says `store: false` is not kept; its encrypted contents and containers are.
    """
    is_kept = data.get("store") is not False
    if is_kept and isinstance(data.get("id"), str):
        yield data["id"]
    yield from _text(_id_of(data.get("conversation")))
    output = data.get("output")
    for item in output if isinstance(output, list) else ():
        yield from made_by_item(item, is_kept=is_kept)


def made_by_item(item: Json, *, is_kept: bool = True) -> Iterator[str]:
    """Yield the ids of what an upstream keeps with an item of a Response's output."""
    if not isinstance(item, dict):
        return
    if is_kept:
        yield from _text(item.get("id"))
    yield from _text(item.get("container_id"))
    if isinstance(encrypted := item.get(_ENCRYPTED), str) and encrypted:
        yield _hashed(encrypted)


def made_by_message(data: JsonObject) -> Iterator[str]:
    """Yield the container's id of a message, or of an event that has one."""
    for holder in (data, data.get("message"), data.get("delta")):
        if isinstance(holder, dict):
            yield from _text(_id_of(holder.get("container")))


def _input_bonds(items: list[Json]) -> list[Bond]:
    found: list[Bond] = []
    encrypted: list[str] = []
    for item in items:
        if not isinstance(item, dict):
            continue
        if item.get("type") == _REFERENCE or item.keys() == {"id"}:
            found += _of(_REFERENCE, item.get("id"))
        if "container_id" in item:
            found += _of("container_id", item["container_id"])
        if _ENCRYPTED in item:
            encrypted += _text(item[_ENCRYPTED])
        for name in ("content", "output"):
            parts = item.get(name)
            for part in parts if isinstance(parts, list) else (parts,):
                if not isinstance(part, dict):
                    continue
                if "file_id" in part:
                    found += _of("file_id", part["file_id"])
                if _ENCRYPTED in part:
                    encrypted += _text(part[_ENCRYPTED])
    return found + _encrypted_bonds(encrypted)


def _tool_bonds(value: JsonObject, levels: int) -> Iterator[Bond]:
    for name, inner in value.items():
        if name in _IN_TOOLS:
            for each in inner if isinstance(inner, list) else (inner,):
                yield from _of(name, each)
        if levels:
            for each in inner if isinstance(inner, list) else (inner,):
                if isinstance(each, dict):
                    yield from _tool_bonds(each, levels - 1)


def _block_bonds(blocks: list[Json], *, in_result: bool = False) -> list[Bond]:
    """Return the files that blocks name: a source's, one to put into the container, those in results of tools."""
    found: list[Bond] = []
    for block in blocks:
        if not isinstance(block, dict):
            continue
        if "file_id" in block:
            found += _of("file_id", block["file_id"])
        if isinstance(source := block.get("source"), dict):
            found += _of("file_id", source.get("file_id"))
        if not in_result and isinstance(inner := block.get("content"), list):
            found += _block_bonds(inner, in_result=True)
    return found


def _long_bonds(value: RawJson, names: tuple[str, ...]) -> Bonds:
    """Return what binds a request in a long value of its body. The value is searched, not decoded."""
    if value.is_text:
        return []
    found: list[Bond] = []
    encrypted: list[str] = []
    for one in (yield from find_names(value, names)):
        if one.name == _REFERENCE:
            item = json_in(object_around(value, one))
            if isinstance(item, dict) and item.get("type") == _REFERENCE:
                found += _of(_REFERENCE, item.get("id"))
        elif (text := text_behind(value, one)) is None:
            continue
        elif one.name == _ENCRYPTED:
            encrypted.append(text)
        else:
            found += _of(one.name, text)
    return found + _encrypted_bonds(encrypted)


def _encrypted_bonds(texts: list[str]) -> list[Bond]:
    """Return the bonds of encrypted contents, the newest first.

    What a chat target made in their place is none: a summary, or words with blanks in what one agent tells another.
    """
    sealed = [text for text in texts if text and " " not in text and not holds_summary(text)]
    return [Bond(_ENCRYPTED, _hashed(text)) for text in reversed(sealed[-_NEWEST:])]


def _sorted(found: list[Bond]) -> list[Bond]:
    """Return the bonds with encrypted contents last: any other says more precisely what is missing elsewhere."""
    return sorted(found, key=lambda bond: bond.by == _ENCRYPTED) if len(found) > 1 else found


def _hashed(encrypted: str) -> str:
    """Return what stands for an encrypted content: it may have megabytes."""
    return f"encrypted:{blake2b(encrypted.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _id_of(value: Json) -> Json:
    """Return the id of a reference, which is a text or an object with an `id`."""
    return value.get("id") if isinstance(value, dict) else value


def _of(by: str, value: Json) -> list[Bond]:
    return [Bond(by, value)] if isinstance(value, str) and value else []


def _text(value: Json) -> list[str]:
    return [value] if isinstance(value, str) and value else []
