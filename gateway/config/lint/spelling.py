"""Recognizes model names that are misspelt."""

from __future__ import annotations

import re
from typing import Final

from gateway.config.model_data import LISTED, ModelData, is_listed
from gateway.policy.target import Target

_TOKENS: Final = re.compile(r"[a-z]+|[0-9]+")
_LONGEST_NAME: Final = 128

_Words = tuple[str, ...]


class Spelling:
    """The names of a vendor's models, to compare others with."""

    def __init__(self, data: ModelData) -> None:
        self._data = data
        self._spelt: dict[str, dict[_Words, list[tuple[_Words, str]]]] = {}
        """Words and name of each model, by vendor and figures. Filled in as vendors are asked for."""

    def meant(self, target: Target) -> str | None:
        """Return the model that a misspelt name means; None when it is right, or may be a new model's."""
        if not is_listed(target) or self._data.find(target) is not None:
            return None
        figures, words = _spelt(target.model)
        for vendor in LISTED[target.endpoint.kind]:
            for known, name in self._names(vendor).get(figures, ()):
                if _are_misspelt(words, known):
                    return name
        return None

    def _names(self, vendor: str) -> dict[_Words, list[tuple[_Words, str]]]:
        found = self._spelt.get(vendor)
        if found is None:
            found = self._spelt[vendor] = {}
            for name in self._data.names(vendor):
                figures, words = _spelt(name)
                found.setdefault(figures, []).append((words, name))
        return found


def _spelt(name: str) -> tuple[_Words, _Words]:
    """Return the figures and the words of a name, in lower case."""
    tokens = _TOKENS.findall(name[:_LONGEST_NAME].lower())
    return tuple(token for token in tokens if token.isdigit()), tuple(token for token in tokens if not token.isdigit())


def _are_misspelt(words: _Words, known: _Words) -> bool:
    """Tell whether words are a slip of known ones: other separators, order, or one word with one typing error.

    An entirely different word is no slip: it may be the vendor's next model.
    """
    if len(words) != len(known):
        return "".join(words) == "".join(known)
    different = [pair for pair in zip(words, known, strict=True) if pair[0] != pair[1]]
    return sorted(words) == sorted(known) or (len(different) == 1 and _is_slip(*different[0]))


def _is_slip(word: str, known: str) -> bool:
    """Tell whether one letter is missing, extra or wrong, or two adjacent letters are swapped."""
    if len(word) != len(known):
        short, long = sorted((word, known), key=len)
        return len(long) > 3 and any(long[:at] + long[at + 1 :] == short for at in range(len(long)))
    wrong = [at for at in range(len(word)) if word[at] != known[at]]
    if len(wrong) == 1:
        return len(word) > 4
    swapped = len(wrong) == 2 and wrong[1] == wrong[0] + 1
    return swapped and word[wrong[0]] == known[wrong[1]] and word[wrong[1]] == known[wrong[0]]
