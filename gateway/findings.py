"""Where the semantic rules put what they find wrong, and how they ask for the closest name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Protocol

from gateway.config.document.yaml_tree import Where
from gateway.types import Severity

_MANY: Final = 1000
_FAR: Final = 4
"""Among very many names only those that begin alike and are about as long are compared: it is slow work."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value, whatever place it stands at."""

    code: str
    message: str


class Report(Protocol):
    """Takes one problem. The place is written in full: short forms of the file are seen through."""

    def __call__(
        self, place: Where, code: str, message: str, *, severity: Severity = "error", at_key: bool = False
    ) -> None:
        """`at_key` points at the key of the place instead of its value."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean '…'?` when one of `known` looks like `name`, else nothing."""
    names = list(known)
    if len(names) > _MANY:
        names = [other for other in names if other[:1] == name[:1] and abs(len(other) - len(name)) < _FAR]
    close = get_close_matches(name[:128], names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
