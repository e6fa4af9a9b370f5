"""Redis' protocol, RESP 2: commands as bytes, and answers out of bytes as they come.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/. redis-py packs and reads, too, at seven times the
cost, which each request would bear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

Argument: TypeAlias = str | bytes | float
Command: TypeAlias = tuple[Argument, ...]

_TEXT, _FAILURE, _NUMBER, _BULK, _LIST = b"+-:$*"
_END: Final = b"\r\n"
MAX_DEPTH: Final = 8
"""Of lists in lists."""


class Failure(NamedTuple):
    """What Redis refused a command with."""

    text: str
    """Begins with a code in capitals, such as `NOSCRIPT`."""


Answer: TypeAlias = "bytes | int | Failure | list[Answer] | None"


class _Incomplete(Exception):
    """The rest of an answer is still to come."""


def packed(command: Sequence[Argument]) -> bytes:
    """Return the bytes of a command."""
    return b"*%d\r\n%b" % (len(command), arguments(command))


def arguments(given: Sequence[Argument]) -> bytes:
    """Return the bytes of some arguments of a command."""
    parts = []
    for one in given:
        data = one if isinstance(one, bytes) else (one if isinstance(one, str) else repr(one)).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class Reader:
    """Finds the answers in what comes over one connection."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()
        """The beginning of an answer."""

    def feed(self, data: bytes) -> list[Answer]:
        """Return the answers that are whole with this. Raises ValueError for what is no answer of Redis."""
        rest = self._rest
        came: bytes | bytearray = data
        if rest:
            rest += data
            came = rest
        answers: list[Answer] = []
        done = 0
        try:
            while done < len(came):
                answer, done = _answer(came, done)
                answers.append(answer)
        except _Incomplete:
            pass
        if came is rest:
            del rest[:done]
        elif done < len(came):
            rest += came[done:]
        return answers


def _answer(data: bytes | bytearray, at: int, depth: int = 0) -> tuple[Answer, int]:
    """Return the answer at a place, and where it ends."""
    end = data.find(_END, at)
    if end < 0:
        raise _Incomplete
    kind, line = data[at], data[at + 1 : end]
    end += len(_END)
    if kind == _BULK:
        size = int(line)
        if size < 0:
            return None, end
        if len(data) < end + size + len(_END):
            raise _Incomplete
        return bytes(data[end : end + size]), end + size + len(_END)
    if kind == _NUMBER:
        return int(line), end
    if kind == _TEXT:
        return bytes(line), end
    if kind == _FAILURE:
        return Failure(line.decode("utf-8", "replace")), end
    if kind != _LIST or depth == MAX_DEPTH:
        raise ValueError("that is no answer of Redis")
    count = int(line)
    if count < 0:
        return None, end
    found: list[Answer] = []
    for _ in range(count):
        one, end = _answer(data, end, depth + 1)
        found.append(one)
    return found, end
