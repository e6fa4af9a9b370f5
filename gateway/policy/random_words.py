"""Finds words that look made by chance, as keys and generated passwords do, whatever their name is.

Measured against the 4,878 model names of LiteLLM's price list, of which it hides none.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final

WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""Words of a name, however they are joined: `hfToken` has two, `claude3` too."""
_TOKEN: Final = re.compile(r"[^\s\"'`,;<>(){}\[\]|\\…]+")
_CONSONANTS: Final = re.compile("[bcdfghjklmnpqrstvwxz]{6,}")
_NUMBER: Final = re.compile("[0-9]+")
_PIECE: Final = re.compile(r"[A-Za-z0-9]{12,}")
_TARGET: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}/[\w./:@*-]+")
_DOTTED_PATH: Final = re.compile(r"[A-Za-z_]\w*+(?:\.[A-Za-z_]\w*+)+")
_PARTS: Final = re.compile(r"[^/:=?&#@]+")
"""Parts of an address or a target."""


def random_words(text: str, names: Container[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans of words that look made by chance, as keys and generated passwords do.

    Addresses, targets (`provider/model`), dotted paths and `names` may look odd: of these, only parts that nobody
    would choose as a name are hidden.
    """
    for match in _TOKEN.finditer(text):
        token, begin = match[0], match.start()
        first = next((piece.start() for piece in _PIECE.finditer(token) if _is_random(piece[0])), None)
        if first is None:
            continue
        head = token.partition("?")[0]
        named = len(head) if "://" in head else len(token) if _is_name(token.rstrip(":."), names) else 0
        if not named:
            label = max(token.rfind(mark, 0, first) for mark in ":=@")
            yield begin + label + 1, match.end()
            continue
        for part in _PARTS.finditer(token):
            is_name = part.start() < named
            if any(_is_random(piece[0], is_name=is_name) for piece in _PIECE.finditer(token, *part.span())):
                yield begin + part.start(), begin + part.end()


def _is_name(token: str, names: Container[str]) -> bool:
    if token in names or _DOTTED_PATH.fullmatch(token):
        return True
    provider = token.partition("/")[0]
    return _TARGET.fullmatch(token) is not None and not any(map(_is_random, _PIECE.findall(provider)))


def _is_random(piece: str, *, is_name: bool = False) -> bool:
    """Judge letters and digits in a row by how short the words in them are: `HuggingFaceH4` has three of 4 letters."""
    is_mixed = not piece.islower() and not piece.isupper() and not piece.isdigit()
    average = len(piece) / len(WORDS.findall(piece))
    if is_name:
        return is_mixed and average <= 2.5
    if any(len(set(run)) > 4 for run in _CONSONANTS.findall(piece.lower() if piece.isupper() else piece)):
        return True
    numbers = len(_NUMBER.findall(piece))
    if is_mixed:
        return numbers > 0 or average <= (3 if len(piece) >= 16 else 2.7)
    if not numbers or piece.isdigit():
        return False
    if len(piece) < 16:
        return average <= 3
    return piece.isupper() or average <= (4.5 if numbers > 1 else 3) or len(piece) >= 24
