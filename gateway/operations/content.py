"""What a request holds: an estimate of its tokens, images, sound and files, and how it opens.

Long values of a large body (RawJson) are not decoded: their bytes are searched in short steps.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Final
from zlib import crc32

from gateway.wire.json import Json, RawJson, encode_json, json_in
from gateway.wire.raw_search import Found, find_names

BYTES_PER_TOKEN: Final = 4
"""Rough, for English text and code: no tokenizer runs on the way."""

OPENING_BYTES: Final = 4096
"""Bytes of each part of an opening."""
SEARCHED_BYTES: Final = 64 * 1024
"""Bytes of a long value in which its opening is looked for."""

_MAX_NODES: Final = 50_000
"""Values that are visited for their text; what has more is measured by its size as JSON."""
_BLOCK_BYTES: Final = 256
_STEP_BYTES: Final = 256 * 1024
_BASE64: Final = b"+/0123456789=ABCDEFGHIJKLMNOPQRSTUVWXYZ\\_abcdefghijklmnopqrstuvwxyz-"
"""Base64 in both alphabets; the backslash is of escapes in JSON, such as `\\n` and `\\/`."""
_DATA_URL: Final = re.compile(r"data:[^,]{0,128};base64,")
_NO_TEXT: Final = frozenset({"call_id", "id", "media_type", "role", "tool_call_id", "tool_use_id", "type"})
"""Fields whose values are words of the wire."""
DEFINED: Final = ("functions", "tools")
"""Fields with definitions of tools, which are read as JSON by the model too."""
_TYPE: Final = re.compile(rb'"type"[ \t\r\n]*:[ \t\r\n]*$')
_BEFORE_BYTES: Final = 32
_TEXT_STARTS: Final = re.compile(rb'"(?:content|text)"[ \t\r\n]*:[ \t\r\n]*"')
_ROLE: Final = re.compile(rb'"role"[ \t\r\n]*:[ \t\r\n]*"([a-z]{1,16})"')
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{}]', re.DOTALL)
"""A text, a bracket, or the quote of a text without an end."""
_END: Final = re.compile(rb'\\.|"', re.DOTALL)

SYSTEM_ROLES: Final = ("system", "developer")


def text_bytes(value: Json) -> int:
    """Return the bytes of all texts in a value, base64 left out. A list of numbers is one of tokens."""
    total = nodes = 0
    left: list[Json] = [value]
    for one in left:  # grows meanwhile
        if type(one) is dict:
            nodes += len(one)
            for name, inner in one.items():
                if name in _NO_TEXT:
                    continue
                if type(inner) is str:  # as most are
                    size = len(inner)
                    total += size if size < _BLOCK_BYTES and inner.isascii() else _text_size(inner)
                else:
                    left.append(inner)
        elif type(one) is list:
            if one and type(one[0]) is int:
                total += BYTES_PER_TOKEN * len(one)
            else:
                nodes += len(one)
                left += one
        elif type(one) is str:
            total += _text_size(one)
            continue
        if nodes > _MAX_NODES:
            return json_bytes(value)
    return total


def encoded_bytes(value: RawJson) -> Generator[None, None, int]:
    """Return the size of a long value, base64 left out, in steps."""
    data, total = value.encoded, 0
    for start in range(0, len(data), _STEP_BYTES):
        total += _size(data[start : start + _STEP_BYTES])
        yield
    return total


def _text_size(text: str) -> int:
    if len(text) < _BLOCK_BYTES:
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if text.startswith("data:") and _DATA_URL.match(text):
        return 0
    return _size(text.encode("utf-8", "surrogatepass"))


def _size(data: bytes | memoryview) -> int:
    """Return the size without the blocks that have nothing but characters of base64."""
    size = len(data)
    is_base64 = False
    for start in range(0, size - _BLOCK_BYTES + 1, _BLOCK_BYTES):
        block = bytes(data[start : start + _BLOCK_BYTES])
        is_base64 = not block.translate(None, _BASE64) and (is_base64 or _is_mixed(block))
        if is_base64:
            size -= _BLOCK_BYTES
    return size


def _is_mixed(block: bytes) -> bool:
    """Tell whether a block has capitals, small letters and digits, as that of a coded file and no long word has."""
    return block.lower() != block != block.upper() and len(block.translate(None, b"0123456789")) < len(block)


def json_bytes(value: Json) -> int:
    """Return the size of a value as JSON, base64 left out."""
    return _size(encode_json(value))


def with_encoded(total: int, values: Sequence[RawJson]) -> Generator[None, None, int]:
    """Return the sum of a total and the sizes of long values, base64 left out, in steps."""
    for value in values:
        total += yield from encoded_bytes(value)
    return total


def media_in(
    params: Mapping[str, Json], fields: Sequence[str], kinds: Mapping[str, str]
) -> Generator[None, None, frozenset[str]]:
    """Return `images`, `audio` and `files` as far as parts of these fields are such, in steps.

    `kinds`: type of a part → which of the three it is.
    """
    found: set[str] = set()
    for name in fields if kinds else ():
        value = params.get(name)
        if type(value) is RawJson:
            places = yield from find_names(value, tuple(kinds))
            found |= {kinds[place.name] for place in places if _is_type(value, place)}
        elif type(value) is list:
            found |= {kinds[kind] for kind in _types(value) if kind in kinds}
    return frozenset(found)


def _is_type(value: RawJson, place: Found) -> bool:
    before = bytes(value.encoded[max(0, place.place - _BEFORE_BYTES) : place.place])
    return _TYPE.search(before) is not None


def _types(items: list[Json]) -> Iterator[str]:
    """Yield the types of items and of the parts in them, those in results of tools too."""
    left: list[Json] = [items]
    while left:
        for one in left.pop():
            if not isinstance(one, dict):
                continue
            if isinstance(kind := one.get("type"), str):
                yield kind
            for name in ("content", "output"):
                inner = one.get(name)
                if isinstance(inner, list):
                    left.append(inner)
                elif isinstance(inner, dict):
                    left.append([inner])


def opening(*, messages: Json, system: Json = None, tools: Json = None) -> bytes:
    """Return a checksum of how a request begins: system prompt, tools and first user message; empty without them.

    A hash that withstands attacks takes five times as long, and nothing depends on it here. `system` is a text or
    blocks of text, None where `messages` have it. Each may be RawJson.
    """
    items = _items(messages)
    said = _first(items, SYSTEM_ROLES) if system is None else _text_in(system)
    asked = _text_in(messages) if items is None else _first(items, ("user",))
    defined = _tools_in(tools)
    if not (said or defined or asked):
        return b""
    return (crc32(said) << 64 | crc32(defined) << 32 | crc32(asked)).to_bytes(12)


def _cut(text: str) -> bytes:
    if text.isascii():
        return text[:OPENING_BYTES].encode()
    return text[:OPENING_BYTES].encode("utf-8", "surrogatepass")[:OPENING_BYTES]


def _items(value: Json) -> list[Json] | None:
    """Return the items of a list, the first ones of a long list; None for what is no list.

    The last item of a long list may be cut: it is then the bytes of its beginning.
    """
    if type(value) is RawJson:
        return _first_items(bytes(value.encoded[:SEARCHED_BYTES])) if value.is_array else None
    return value if isinstance(value, list) else None


def _first_items(data: bytes) -> list[Json]:
    items: list[Json] = []
    depth, start = 0, 1
    for token in _TOKEN.finditer(data):
        byte = token[0]
        if byte in (b"{", b"["):
            depth += 1
            if depth == 2:
                start = token.start()
        elif byte in (b"}", b"]"):
            depth -= 1
            if depth == 1:
                items.append(json_in(data[start : token.end()]))
                start = token.end()
            elif depth == 0:
                return items
        elif byte == b'"':
            break
    return [*items, data[start:]]


def _first(items: Sequence[Json] | None, roles: Sequence[str]) -> bytes:
    """Return the beginning of the first message of one of these roles."""
    for item in items or ():
        if isinstance(item, dict):
            if item.get("role") in roles:
                return _text_in(item.get("content"))
        elif isinstance(item, bytes):
            role = _ROLE.search(item, 0, OPENING_BYTES)
            if role is not None and role[1].decode() in roles:
                return _raw_text(item)
    return b""


def _text_in(value: Json) -> bytes:
    """Return the beginning of a text, or of the texts of a list of parts."""
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, list):
        return _joined(value)
    if type(value) is not RawJson:
        return b""
    data = bytes(value.encoded[:SEARCHED_BYTES])
    if value.is_text:
        return _decoded(data, 1)
    items = _first_items(data) if value.is_array else []
    whole = _joined(items)
    rest = b"".join([_raw_text(item) for item in items if isinstance(item, bytes)])
    return (whole + rest)[:OPENING_BYTES]


def _joined(parts: list[Json]) -> bytes:
    said = b""
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str):
            said += _cut(text)
            if len(said) >= OPENING_BYTES:
                break
    return said[:OPENING_BYTES]


def _raw_text(data: bytes) -> bytes:
    """Return the beginning of the first text of a message or part, of which `data` is the beginning."""
    begin = _TEXT_STARTS.search(data)
    return b"" if begin is None else _decoded(data, begin.end())


def _decoded(data: bytes, begin: int) -> bytes:
    """Return the beginning of the JSON text at `begin`, decoded."""
    window = data[begin : begin + 6 * OPENING_BYTES]  # an escape has six bytes at most
    end = next((found.start() for found in _END.finditer(window) if found[0] == b'"'), len(window))
    for cut in range(12):  # an escape or a character, cut in the middle
        text = json_in(b'"%b"' % window[: max(0, end - cut)])
        if isinstance(text, str):
            return _cut(text)
    return b""


def _tools_in(value: Json) -> bytes:
    """Return the beginning of the definitions of tools as JSON."""
    items = _items(value)
    if not items:
        return b""
    cut = b""
    if type(items[-1]) is bytes:
        items, cut = items[:-1], items[-1]
    said, done, count = b"", 0, 1
    while done < len(items) and len(said) < OPENING_BYTES:
        some = items[done : done + count]
        if _have_long(some):
            some = [_shortened(tool) for tool in some]
        said += encode_json(some)[1:-1] + b","
        done += count
        count = (OPENING_BYTES - len(said)) * done // len(said) + 1  # as many as are missing if all are as long
    return (said + cut)[:OPENING_BYTES]


def _have_long(tools: Sequence[Json]) -> bool:
    """Tell whether a tool may have a long description; quick for the usual ones, which have none."""
    try:
        for tool in tools:
            if len(tool.get("function", tool)["description"]) > OPENING_BYTES:
                return True
    except (AttributeError, KeyError, TypeError):
        return True
    return False


def _shortened(tool: Json) -> Json:
    """Return a tool without the end of a long description, so that it is not encoded."""
    function = tool.get("function") if type(tool) is dict else None
    owner = function if type(function) is dict else tool
    said = owner.get("description") if type(owner) is dict else None
    if type(said) is not str or len(said) <= OPENING_BYTES:
        return tool
    short = {**owner, "description": said[:OPENING_BYTES]}
    return short if owner is tool else {**tool, "function": short}
