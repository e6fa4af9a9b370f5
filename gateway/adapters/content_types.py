"""What a content type tells of a response body, and what its first bytes tell where the type says nothing."""

from __future__ import annotations

from typing import Final

JSON: Final = "application/json"
JSON_TYPES: Final = frozenset({JSON, "application/problem+json"})
FORM: Final = "multipart/form-data"
EVENTS: Final = "text/event-stream"
SAYS_NOTHING: Final = frozenset({"", *JSON_TYPES, "text/plain", "text/html"})
"""Content types of plain bodies that some servers give to their streams too."""

_PLAIN: Final = (b"{", b"[", b"<")


def content_type(header: str) -> str:
    """Return the value of a `content-type` header in lower case, without its parameters."""
    return header.partition(";")[0].strip().lower()


def is_plain(begun: bytes | bytearray) -> bool:
    """Tell whether a body that begins so, without blanks, is JSON or HTML: no event of a stream begins so."""
    return begun.startswith(_PLAIN)
