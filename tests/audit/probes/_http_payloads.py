"""Odd HTTP/1.1 for the `http` probe: what RFC 9112 forbids or leaves open, and random faults in good requests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import orjson

_PATH: Final = "/v1/chat/completions"
_EOLS: Final = ("\n", "\r", "\r\r\n", "\n\r", "\r\n ", " \r\n", "\r\n\t", "\0\r\n", "\x0b\r\n")
_LENGTH_NAMES: Final = (
    "Content-Length", "content-length", "CONTENT-LENGTH", "Content-Length ", " Content-Length", "Content-Length\t",
    "Content_Length", "X-Content-Length", "Content-Length-X", "Content-Length\0", "Content\xadLength",
    "X\r\nContent-Length",
)  # fmt: skip
_CODINGS: Final = (
    "chunked", "Chunked", "CHUNKED", "chunked ", " chunked", "\tchunked", "\x0bchunked", "chunked\x0b", "chunked,",
    ",chunked", "chunked, chunked", "chunked,identity", "identity, chunked", "identity", "gzip, chunked",
    "chunked, gzip", "xchunked", "chunkedx", "chunked;q=1", '"chunked"', "chun\tked", "\r\n chunked", "chunked\r\n ,x",
    "cow", "", "chunked\0", "ch\xfcnked",
)  # fmt: skip
_CODING_NAMES: Final = (
    "Transfer-Encoding", "transfer-encoding", "Transfer-Encoding ", " Transfer-Encoding", "Transfer_Encoding",
    "X\nTransfer-Encoding", "X\rTransfer-Encoding", "Transfer-Encoding\t", "TE",
)  # fmt: skip
_METHODS: Final = (
    "POST", "post", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PRI", "P", "", "PO ST",
    "POST\0", "\0POST", "PÖST", "POST\r\nX: y\r\n", "!#$%&'*+-.^_`|~", "PO(ST", "A" * 300, "A" * 9000, "\r\nPOST",
    "\nPOST",
    "\r\n\r\nPOST", " POST", "\x16\x03\x01POST",
)  # fmt: skip
_TARGETS: Final = (
    _PATH, f"{_PATH}?a=b", f"{_PATH}#a", f"{_PATH}?", f"/{_PATH}", f"{_PATH}/", f"/.{_PATH}", f"/x/..{_PATH}",
    f"/%2e%2e{_PATH}", "/v1/chat%2fcompletions", "/v1/chat/completion%73", "/v1/chat/completions%00", "/healthz", "/",
    "/-/reload", "/-/config", "/%2d/config", "/-/../healthz", "*", "", "localhost:80", f"http://localhost{_PATH}",
    f"http://evil.example{_PATH}", f"HTTP://LOCALHOST{_PATH}", f"https://localhost{_PATH}", f"//localhost{_PATH}",
    f"http:{_PATH}", f"http://a@localhost{_PATH}", "http://", "http://[::1", f"file://{_PATH}", f"{_PATH} x",
    f"{_PATH}\tx",
    f"{_PATH}\x80", f"{_PATH}\xff", f"{_PATH}\0", f"{_PATH}\\", "\\v1\\chat\\completions", "/é", "/{}", '/"', "/<>",
    "/%",
    "/%zz", f"/{'a' * 4000}", f"/{'a' * 8200}", f"/{'a' * 20000}", f"{_PATH}?{'a=b&' * 500}", f"{_PATH};x=y",
)  # fmt: skip
_VERSIONS: Final = (
    "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/2", "HTTP/1", "HTTP/1.10",
    "HTTP/01.1",
    "HTTP/1.01", "http/1.1", "HTTP/ 1.1", "HTTP /1.1", "HTTP/1,1", "HTTP/-1.1", "HTTP/1.1 ", "HTTP/1.1 x", "HTTP/1.1\t",
    "HTTPS/1.1", "ICE/1.0", "", "HTTP/1.1\0", "HTTP/\u0661.1", "HTTP/1.1\x0b",
)  # fmt: skip
_GAPS: Final = (" ", "  ", "\t", "", "\x0b", "\x0c", "\xa0", "\0", " \t")
_CHUNKS: Final = (
    "{n:x}", "{n:X}", "0{n:x}", "0000000000000000{n:x}", "0x{n:x}", "+{n:x}", "-{n:x}", " {n:x}", "{n:x} ", "{n:x}\t",
    "{n:x};a", "{n:x};a=b", '{n:x};a="b"', '{n:x};a="\r\n"', "{n:x};a\n", "{n:x};\0", "{n:x} ; a", "{n:x};;", "{n:x},a",
    "{n:x}\0", "{n:x}g", "{n:x}_0", "{n}", "{n:x};" + "a" * 5000, "{n:x};" + "a" * 70000, "", "zz", "ffffffffffffffff",
    "10000000000000000", "fffffffffffffff0", "7fffffffffffffff", "1_0", "\uff11", "{n:x}\r", "{n:x}\n",
)  # fmt: skip
_AFTER_CHUNK: Final = ("\r\n", "\n", "\r", "", "\r\n\r\n", "x\r\n", " \r\n")
_TRAILERS: Final = (
    "", "X: y\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Host: evil.example\r\n", "no colon\r\n",
    " folded\r\n", "X: y\n", "X : y\r\n", "\0: y\r\n", f"X: {'y' * 9000}\r\n", "X: y\r\n" * 200,
)  # fmt: skip
_LAST_CHUNKS: Final = ("0", "00", "0000000000", "0;a", "-0", "+0", "0x0", " 0", "0 ", "")
_FIELDS: Final = (
    "Connection: close", "Connection: keep-alive", "Connection: Close, keep-alive", "Connection: upgrade",
    "Connection: content-length", "Connection:", "Connection: close\r\nConnection: keep-alive", "Expect: 100-continue",
    "Expect: 100-Continue", "Expect: x", "Expect:", "Upgrade: websocket\r\nConnection: upgrade", "Upgrade: h2c",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "Host: localhost",
    "Host: evil.example", "host:", "Host: a b", "Host: localhost, evil.example", "Host: localhost:99999", "Host: [::1",
    "Origin: null", "Origin: https://evil.example", "Origin:", "Content-Type: text/plain", "Content-Type:",
    "Content-Encoding: gzip", "Content-Encoding: identity", "Content-Encoding: x", "Trailer: Content-Length",
    "TE: trailers",
    "Keep-Alive: timeout=-1", "Range: bytes=0-1", "Cookie: a=b", "X: y\r\n folded", "X: y\r\n\tfolded", "X:\r\n y",
    "X", ":",
    ": y", " X: y", "X : y", "X\t: y", "X:: y", "X: y\0", "X: y\rZ: z", "X: y\nZ: z", "X: \r", "X:y", "X:\ty\t",
    "X: \x7f",
    "X-Forwarded-For: 127.0.0.1", "X-HTTP-Method-Override: GET", "(X): y", "X\xe9: y", "X: \xe9", "X: " + "y" * 4000,
    "X: " + "y" * 8100, "X: " + "y" * 8190, "X: " + "y" * 8300, "X: " + "y" * 20000, "X: " + "y" * 70000,
    "X" * 4000 + ": y", "X" * 9000 + ": y", "\r\n".join(f"X{n}: y" for n in range(100)),
    "\r\n".join(f"X{n}: y" for n in range(1000)), "\r\n".join(f"X{n}: y" for n in range(20000)),
    "\r\n".join("X: y" for n in range(500)), "X-Request-Id: a\r\nX-Request-Id: b",
    "Authorization: a\r\nAuthorization: b",
)  # fmt: skip
_BYTES: Final = (
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\r\n",
    b"\x80",
    b"\xff",
    b"\x0b",
    b",",
    b";",
    b"0",
    b"\r\n ",
    b"",
)


@dataclass(frozen=True, slots=True)
class Payload:
    """What is sent on a connection, after a request that decides who reads it."""

    sort: str
    data: bytes
    must_refuse: str = ""
    """If not empty: why nothing of it may be answered with 2xx (RFC 9112)."""
    pieces: int = 0
    """Sent in pieces of so many bytes; 0 for all at once."""


def body(text: str, model: str = "echo") -> bytes:
    """Return a body whose answer repeats `text`."""
    return orjson.dumps({"model": model, "messages": [{"role": "user", "content": text}]})


def post(text: str, fields: str = "", *, data: bytes | None = None, length: str | None = None) -> bytes:
    """Return a request; each of `fields` ends in CR LF. An empty `length` leaves that field out."""
    data = body(text) if data is None else data
    length = f"Content-Length: {len(data)}\r\n" if length is None else length
    return _bytes(_head(fields=fields + length)) + data


def payloads(scale: float) -> list[Payload]:
    """Return a share of all payloads, at least one of each sort, the same in each run."""
    every = [*_lines(), *_lengths(), *_codings(), *_chunked(), *_headers(), *_pipelines(), *_faults(1500)]
    step = max(1, round(1 / scale))
    chosen, seen = [], set()
    for number, payload in enumerate(every):
        if number % step == 0 or payload.sort not in seen:
            chosen.append(payload)
            seen.add(payload.sort)
    return chosen


def _head(
    method: str = "POST",
    target: str = _PATH,
    version: str = "HTTP/1.1",
    *,
    gap: str = " ",
    host: str = "Host: localhost\r\n",
    fields: str = "",
) -> str:
    return f"{method}{gap}{target}{gap}{version}\r\n{host}Content-Type: application/json\r\n{fields}\r\n"


def _bytes(text: str) -> bytes:
    """Return Latin-1 where that is possible, so that every byte can be written."""
    return text.encode("latin-1" if max(text) < "\u0100" else "utf-8")


def _lines() -> Iterator[Payload]:
    """Odd request lines, and line ends."""
    data = body("say:line")
    length = f"Content-Length: {len(data)}\r\n"
    for method in _METHODS:
        for version in ("HTTP/1.1", "HTTP/1.0"):
            for target in (_PATH, "*", "localhost:443", "http://evil.example/"):
                yield Payload("method", _bytes(_head(method, target, version, fields=length)) + data)
    for target in _TARGETS:
        for method in ("POST", "GET", "CONNECT", "OPTIONS"):
            yield Payload("target", _bytes(_head(method, target, fields=length)) + data)
    for version in _VERSIONS:
        for host in ("Host: localhost\r\n", ""):
            yield Payload("version", _bytes(_head(version=version, host=host, fields=length)) + data)
    for gap in _GAPS:
        for version in ("HTTP/1.1", "HTTP/1.0"):
            yield Payload("gap", _bytes(_head(version=version, gap=gap, fields=length)) + data)
    lines = _head(fields=length).split("\r\n")
    for eol in _EOLS:
        for number in range(len(lines) - 1):
            text = "\r\n".join(lines[: number + 1]) + eol + "\r\n".join(lines[number + 1 :])
            yield Payload("line end", _bytes(text) + data)
        yield Payload("line end", _bytes(eol.join(lines)) + data)
        yield Payload("line end", _bytes(eol + "\r\n".join(lines)) + data)


def _lengths() -> Iterator[Payload]:
    """Odd and repeated lengths; behind the body is a request that only a wrong length makes one."""
    data = body("say:length")
    size, hidden = len(data), post("say:hidden")
    for value in (
        "{n}", " {n}", "{n} ", "\t{n}\t", "+{n}", "-{n}", "0{n}", "00000000000000000000{n}", "0x{n:x}", "{n}.0",
        "{n}e0",
        "{n},{n}", "{n}, {n}", "{n} {n}", "{n};", "{n}\x0b", "\x0b{n}", "{n}\0", "", " ", "a", "-0", "0", "{less}",
        "{more}",
        "{all}", "99999999999999999999", "9223372036854775807", "18446744073709551616", "1e9", "\u0661\u0662", "1_00",
        "{n}\r\n ", "\r\n {n}", "\xb2",
    ):  # fmt: skip
        value = value.format(n=size, less=size - 1, more=size + 1, all=size + len(hidden))
        for name in _LENGTH_NAMES:
            yield Payload("length", post("", data=data, length=f"{name}: {value}\r\n") + hidden)
        why = "" if value.strip(" \t").isdecimal() and value.isascii() else "the length is no number"
        both = f"Content-Length: {size}\r\nContent-Length: {value}\r\n"
        why = why or ("" if int(value) == size else "two lengths differ")
        yield Payload("two lengths", post("", data=data, length=both) + hidden, why)
        swapped = f"Content-Length: {value}\r\nX: y\r\ncontent-length: {size}\r\n"
        yield Payload("two lengths", post("", data=data, length=swapped) + hidden, why)


def _codings() -> Iterator[Payload]:
    """Odd transfer codings, with and without a length beside them."""
    data, hidden = body("say:coding"), post("say:hidden")
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    zero = b"0\r\n\r\n"
    for coding in _CODINGS:
        for name in _CODING_NAMES:
            field = f"{name}: {coding}\r\n"
            yield Payload("coding", post("", field, data=chunks, length="") + hidden)
            length = f"Content-Length: {len(data)}\r\n"
            yield Payload("coding and length", post("", field, data=chunks) + hidden)
            yield Payload("coding and length", post("", field, data=data, length=length) + hidden)
        field = f"Transfer-Encoding: {coding}\r\n"
        yield Payload(
            "two codings", post("", field + "Transfer-Encoding: chunked\r\n", data=chunks, length="") + hidden
        )
        yield Payload(
            "two codings", post("", "Transfer-Encoding: chunked\r\n" + field, data=chunks, length="") + hidden
        )
        old = _bytes(_head(version="HTTP/1.0", fields=field + f"Content-Length: {len(chunks)}\r\n")) + chunks + hidden
        yield Payload("coding and HTTP/1.0", old)
    for first, second in (
        ("Content-Length: {n}", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: {n}"),
    ):
        for n, rest in (
            (len(zero), zero),
            (len(zero + hidden), zero + hidden),
            (0, chunks),
            (4, chunks),
            (len(chunks), chunks),
        ):
            both = f"{first}\r\n{second}\r\n".format(n=n)
            yield Payload("both", post("", both, data=rest, length="") + hidden, "it has a length and a coding")


def _chunked() -> Iterator[Payload]:
    """Odd chunks."""
    data, hidden = body("say:chunk"), post("say:hidden")
    coded = "Transfer-Encoding: chunked\r\n"
    for size in _CHUNKS:
        line = _bytes(size.format(n=len(data)) or "") if size else b""
        for eol in (b"\r\n", b"\n", b"\r"):
            yield Payload("chunk size", post("", coded, data=line + eol + data + b"\r\n0\r\n\r\n", length="") + hidden)
    for after in _AFTER_CHUNK:
        chunks = b"%x\r\n%b%b0\r\n\r\n" % (len(data), data, after.encode())
        yield Payload("chunk end", post("", coded, data=chunks, length="") + hidden)
    for last in _LAST_CHUNKS:
        for trailer in _TRAILERS:
            chunks = b"%x\r\n%b\r\n%b\r\n%b\r\n" % (len(data), data, last.encode(), trailer.encode())
            yield Payload("trailer", post("", coded, data=chunks, length="") + hidden)
    for by in (1, 2, 7):
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in _parts(data, by))
        yield Payload("small chunks", post("", coded, data=pieces + b"0\r\n\r\n", length="") + hidden)


def _headers() -> Iterator[Payload]:
    """Odd fields, and every byte in a field's name and value."""
    for field in _FIELDS:
        first, second = _bytes(_head(fields=f"{field}\r\nContent-Length: ")), body("say:field")
        yield Payload("field", first[:-2] + b"%d\r\n\r\n%b" % (len(second), second))
        yield Payload("field", post("say:field", f"{field}\r\n") + post("say:second"))
        yield Payload("field", post("say:field").replace(b"Host: localhost", _bytes(field), 1))
        yield Payload("field of a probe", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % _bytes(field))
    for byte in range(256):
        letter = chr(byte)
        yield Payload("byte in a name", post("say:byte", f"X{letter}Y: z\r\n"))
        yield Payload("byte in a value", post("say:byte", f"X: a{letter}b\r\n"))
        yield Payload("byte in a path", _bytes(_head(target=f"{_PATH}{letter}", fields="Content-Length: 0\r\n")))


def _pipelines() -> Iterator[Payload]:
    """Good and bad requests one behind the other, and in pieces."""
    good = [post(f"say:{number}") for number in range(20)]
    bad = (
        post("say:bad", "Transfer-Encoding: chunked\r\n"),
        b"hello\r\n\r\n",
        post("say:bad", data=b"{"),
        post("say:bad", length="Content-Length: -1\r\n"),
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /nowhere HTTP/1.0\r\n\r\n",
        post("say:bad", "Expect: 100-continue\r\n"),
        post("say:bad", "Connection: close\r\n"),
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\n\r\n",
        b"\0",
    )
    for count in (2, 3, 5, 10, 20):
        yield Payload("pipeline", b"".join(good[:count]))
        for each in bad:
            for place in {0, count // 2, count - 1}:
                yield Payload("pipeline", b"".join([*good[:place], each, *good[place:count]]))
    whole = good[0] + post("say:chunks", "Transfer-Encoding: chunked\r\n", data=b"0\r\n\r\n", length="") + good[1]
    for pieces in (1, 3, 17, 50, 100):
        yield Payload("pieces", whole, pieces=pieces)
        yield Payload("pieces", good[0] + good[1] + good[2], pieces=pieces)


def _faults(count: int) -> Iterator[Payload]:
    """Requests in a row with one to three random faults in the heads."""
    numbers = random.Random(20240501)
    for _ in range(count):
        data = bytearray(post("say:one") + post("say:two", "Connection: keep-alive\r\n"))
        end = data.index(b"\r\n\r\n") + 4
        for _ in range(numbers.randint(1, 3)):
            place = numbers.randrange(end)
            data[place : place + numbers.choice((0, 0, 1, 2))] = numbers.choice(_BYTES)
        yield Payload("random faults", bytes(data))


def _parts(data: bytes, by: int) -> Iterator[bytes]:
    for start in range(0, len(data), by):
        yield data[start : start + by]
