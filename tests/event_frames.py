"""Writes Amazon's event-stream framing, as `gateway/wire/event_frames.py` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message with headers of text."""
    written = b"".join(_sized(name, 1) + b"\x07" + _sized(value, 2) for name, value in headers.items())
    return with_checksums(16 + len(written) + len(payload), len(written), written + payload)


def with_checksums(total: int, headers: int, rest: bytes) -> bytes:
    """Return a message that says these lengths, be they true or not."""
    lengths = total.to_bytes(4, "big") + headers.to_bytes(4, "big")
    message = lengths + crc32(lengths).to_bytes(4, "big") + rest
    return message + crc32(message).to_bytes(4, "big")


def _sized(text: str, bytes_of_length: int) -> bytes:
    data = text.encode()
    return len(data).to_bytes(bytes_of_length, "big") + data
