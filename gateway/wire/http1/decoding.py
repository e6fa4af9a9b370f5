"""Decodes a body's content coding in steps of limited output."""

from __future__ import annotations

import zlib
from typing import Final

from gateway.wire.http1.errors import ReadError

MAX_STEP_BYTES: Final = 256 * 1024
"""Most bytes that one step returns, so that a few bytes cannot become a gigabyte."""

_MAX_MEMBERS: Final = 64
_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_DEFLATE_METHOD: Final = 8
_COMPRESSIONS: Final = frozenset(
    {"aes128gcm", "br", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip", "zstd"}
)
"""Registered codings that are not decoded (https://www.iana.org/assignments/http-parameters)."""


def decoder_for(coding: str) -> Decoder | Undecodable | None:
    """Return the decoder for a `content-encoding`; None if there is no coding.

    Words that name no coding, such as `none` and `utf-8`, say nothing about the body: HTTP clients ignore them.
    """
    match coding.lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Decoder(gzip=True)
        case "deflate":
            return Decoder(gzip=False)
        case lower if lower in _COMPRESSIONS:
            return Undecodable()
        case lower if "," in lower:
            return _decoder_for_list(lower)
        case _:
            return None


def _decoder_for_list(codings: str) -> Decoder | Undecodable | None:
    """Return the decoder for a list of codings, of which at most one may be a compression."""
    decoders = [decoder for name in codings.split(",") if (decoder := decoder_for(name.strip())) is not None]
    return Undecodable() if len(decoders) > 1 else decoders[0] if decoders else None


class Undecodable:
    """The decoder of an unknown content coding: it raises."""

    __slots__ = ()
    pending: Final = False

    def decode(self, data: bytes) -> bytes:
        """Raise ReadError."""
        raise ReadError("the body has a content coding that was not asked for")

    def finish(self) -> None:
        """Accept an empty body."""


class Decoder:
    """Decodes gzip, with one or several members, or deflate, with or without zlib's frame (RFC 9110, 8.4.1.2)."""

    __slots__ = ("_gzip", "_inflate", "_members", "_rest", "pending")

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflate: zlib._Decompress | None = None
        self._members = 0
        self._rest = b""
        self.pending = False
        """More output may be available without new input."""

    def decode(self, data: bytes) -> bytes:
        """Return the next step of output after adding `data`; empty if more input is needed. Raises ReadError."""
        data = self._rest + data if self._rest else data
        if self._inflate is None or (self._inflate.eof and data):
            if not data:
                return b""
            self._inflate = self._start(data)
        try:
            out = self._inflate.decompress(data, MAX_STEP_BYTES)
        except zlib.error as error:
            raise ReadError("the body's content coding is broken") from error
        self._rest = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        self.pending = bool(self._rest) or len(out) == MAX_STEP_BYTES
        return out

    def finish(self) -> None:
        """Check the end of the body. Raises ReadError if its coding has not ended; an empty body is valid."""
        if self._inflate is not None and not self._inflate.eof:
            raise ReadError("the body ends before its content coding does")

    def _start(self, data: bytes) -> zlib._Decompress:
        self._members += 1
        if self._gzip and self._members <= _MAX_MEMBERS:
            return zlib.decompressobj(_GZIP)
        if self._members > 1:
            raise ReadError("there is more behind the end of the body's content coding")
        return zlib.decompressobj(_ZLIB if data[0] & 0x0F == _DEFLATE_METHOD else _RAW)
