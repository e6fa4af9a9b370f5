"""Amazon's event-stream framing, `application/vnd.amazon.eventstream`: splits bytes into checked messages.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html describes it, Smithy's specification too:

1. four bytes of total length, four of the headers' length, and a CRC-32 of these eight;
2. headers: name with one byte of length, one byte of type, value;
3. payload;
4. CRC-32 of all before it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple
from zlib import crc32

MAX_FRAME_BYTES: Final = 24 * 1024 * 1024
"""The longest message that the format allows: 16 MiB of payload, with room for its headers."""
MAX_HEADER_BYTES: Final = 128 * 1024

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_LEAST: Final = _PRELUDE.size + _CRC.size
_FIXED: Final[Mapping[int, int]] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Type of a header's value → its length; those that are not listed begin with two bytes of length."""
_BYTES: Final = 6
_TEXT: Final = 7


class BrokenFrame(ValueError):
    """The bytes are no message: a checksum or a length is wrong."""


class Frame(NamedTuple):
    """One message."""

    headers: Mapping[str, str]
    """Those with a text, such as `:message-type` and `:event-type`."""
    payload: bytes


class FrameSplitter:
    """Splits a stream, fed in any pieces, into messages."""

    __slots__ = ("_data", "_place")

    def __init__(self) -> None:
        self._data = bytearray()
        self._place = 0

    def feed(self, data: bytes) -> None:
        """Add `data`."""
        if self._place:
            del self._data[: self._place]
            self._place = 0
        self._data += data

    @property
    def is_torn(self) -> bool:
        """Whether part of a message is left: the stream may not end here."""
        return self._place < len(self._data)

    def cut(self) -> Frame | None:
        """Return the next whole message; None until more is fed. Raises BrokenFrame."""
        data, start = self._data, self._place
        left = len(data) - start
        if left < _PRELUDE.size:
            return None
        total, header_size, checksum = _PRELUDE.unpack_from(data, start)
        view = memoryview(data)
        try:
            if crc32(view[start : start + 8]) != checksum:
                raise BrokenFrame("the checksum of a message's prelude is wrong")
            if not _LEAST + header_size <= total <= MAX_FRAME_BYTES or header_size > MAX_HEADER_BYTES:
                raise BrokenFrame("the length of a message is wrong")
            if left < total:
                return None
            end = start + total - _CRC.size
            if crc32(view[start:end]) != _CRC.unpack_from(data, end)[0]:
                raise BrokenFrame("the checksum of a message is wrong")
            begin = start + _PRELUDE.size
            headers = _headers(bytes(view[begin : begin + header_size]))
            payload = bytes(view[begin + header_size : end])
        finally:
            view.release()
        self._place = start + total
        return Frame(headers, payload)


def _headers(data: bytes) -> Mapping[str, str]:
    """Return the headers with a text. Raises BrokenFrame."""
    found: dict[str, str] = {}
    place = 0
    try:
        while place < len(data):
            size = data[place]
            name = data[place + 1 : place + 1 + size].decode()
            place += 1 + size
            kind = data[place]
            place += 1
            if kind in (_BYTES, _TEXT):
                length = _LENGTH.unpack_from(data, place)[0]
                place += _LENGTH.size
                if kind == _TEXT:
                    found[name] = data[place : place + length].decode()
            else:
                length = _FIXED[kind]
            place += length
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise BrokenFrame("the headers of a message are malformed") from error
    if place != len(data):
        raise BrokenFrame("the headers of a message are malformed")
    return found
