"""What binds a request to one account of the Gemini API: a file of its Files API, or content that it caches.

Sources: https://ai.google.dev/gemini-api/docs/files (a file's `uri`, for 48 hours, for the project of the key that sent
it) and https://ai.google.dev/gemini-api/docs/caching (`cachedContent`, the name of a cache).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.adapters.base import Bond, Bonds
from gateway.wire.json import Json, RawJson
from gateway.wire.raw_search import find_names, text_behind

_FILE: Final = re.compile(r"https://generativelanguage\.googleapis\.com/(?:\w+/)?files/[\w-]+", re.IGNORECASE)
_CACHED: Final = ("cachedContent", "cached_content")
_URLS: Final = ("url", "image_url", "video_url", "file_url", "file_data", "file_id", "fileUri", "file_uri")
"""Fields of parts of chat, Messages, Responses and Gemini's contents that may have a URL."""
_PARTS: Final = ("content", "parts", "output")
_DEEPEST: Final = 4
"""Levels of a message that are looked at: a part in the result of a tool has three."""
_AT_ONCE: Final = 512
"""Objects that a step looks at."""
_END: Final = object()
_URL_CHARS: Final = 256
"""Of a text that are looked at: data URLs may have megabytes."""


def google_bonds(params: Mapping[str, Json], field: str) -> Bonds:
    """Return what binds a request to an account of Gemini's. `field` has the messages, or the contents."""
    found = [bond for name in _CACHED for bond in _cached(params.get(name))]
    given = params.get(field)
    if isinstance(given, RawJson):
        if not given.is_text:
            for one in (yield from find_names(given, _URLS)):
                found += _file(one.name, text_behind(given, one, most=_URL_CHARS))
    elif isinstance(given, list):
        found += yield from _in_messages(given)
    return found


def _in_messages(messages: list[Json]) -> Bonds:
    """Return the bonds of messages' parts, and of objects in these. Texts are no bonds, whatever they say."""
    found: list[Bond] = []
    left: list[tuple[Iterator[Json], int]] = [(iter(messages), _DEEPEST)]
    seen = 0
    while left:
        objects, levels = left[-1]
        value = next(objects, _END)
        if value is _END:
            left.pop()
            continue
        seen += 1
        if seen % _AT_ONCE == 0:
            yield
        for name, inner in value.items() if isinstance(value, dict) else ():
            if isinstance(inner, str):
                if name in _URLS:
                    found += _file(name, inner[:_URL_CHARS])
            elif levels and isinstance(inner, dict):
                left.append((iter((inner,)), levels - 1))
            elif levels and name in _PARTS and isinstance(inner, list):
                left.append((iter(inner), levels - 1))
    return found


def _file(by: str, text: str | None) -> list[Bond]:
    return [Bond(by, text, is_kept=True)] if text is not None and _FILE.match(text) else []


def _cached(value: Json) -> list[Bond]:
    return [Bond("cachedContent", value[:_URL_CHARS], is_kept=True)] if isinstance(value, str) and value else []
