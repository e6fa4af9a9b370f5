"""Replaces variables' values in problems' messages by the variables as the file writes them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Final

from gateway.config.document.yaml_tree import Node, Where
from gateway.policy.secrets import STARS
from gateway.policy.variables import PART, VARIABLE, BadVariable, UnsetVariable, expand
from gateway.words import SUGGESTION

_PIECE: Final = re.compile(r"[\w-]+")
_MOST_PIECES: Final = 16
"""A text's first pieces whose runs are looked for; whole texts and whole values are looked for in any case."""
_SHORT: Final = 2
"""Texts of up to this many characters are replaced only between quotes or separators: elsewhere they may be words."""


class AsWritten:
    """Takes the values of one document's variables out of the messages about it."""

    def __init__(self, root: Node | None, environ: Mapping[str, str], wording: Collection[str] = ()) -> None:
        """`wording` has parts of messages that are our own words, whatever the variables hold."""
        self._root = root
        self._environ = environ
        self._wording = wording
        self._of_entry: dict[Where, _Texts] = {}

    def message(self, message: str, where: Where) -> str:
        """Return a place's message: variables as written, and no suggestion made from a variable's value.

        Of the place's own entry any part of an expanded text is replaced; of other entries only whole texts of
        several words, since a message may use a single word anyway.
        """
        if not self._environ or self._root is None or not self._root.variables:
            return message
        ours = max((text for text in self._wording if text in message), key=len, default="")
        before, _, after = message.rpartition(ours) if ours else ("", "", message)
        return f"{self._shown(before, where)}{ours}{self._shown(after, where)}"

    def _shown(self, message: str, where: Where) -> str:
        node = self._node(where)
        has_variable = node is not None and node.children is None and VARIABLE.search(str(node.value)) is not None
        shown = _Texts(self._parts(node)).replaced(message) if node is not None and has_variable else message
        entry = where[:2]
        if entry not in self._of_entry:
            self._of_entry[entry] = _Texts(self._parts(self._node(entry)) if entry else ())
        shown = self._everywhere.replaced(self._of_entry[entry].replaced(shown))
        return SUGGESTION.sub("", shown) if has_variable or shown != message else message

    @cached_property
    def _everywhere(self) -> _Texts:
        return _Texts(
            (text, written)
            for scalar in _scalars(self._root)
            for text, written in _wholes(scalar, self._environ)
            if len(_PIECE.findall(text)) > 1
        )

    def _node(self, where: Where) -> Node | None:
        node = self._root
        for part in where:
            children = node.children if node is not None else None
            if isinstance(children, list):
                node = children[part] if isinstance(part, int) and part < len(children) else None
            else:
                node = children.get(str(part)) if children else None
        return node

    def _parts(self, node: Node | None) -> Iterator[tuple[str, str]]:
        for text in _scalars(node):
            yield from _wholes(text, self._environ)
            yield from _runs(text, self._environ)


class _Texts:
    """Expanded texts and how the file writes each; the first of equal ones counts."""

    def __init__(self, texts: Iterator[tuple[str, str]] | tuple[()]) -> None:
        self._written: dict[str, str] = {}
        for text, written in texts:
            for form in (text, repr(text)[1:-1]):
                if form.strip():
                    self._written.setdefault(form.lower(), written)

    def replaced(self, message: str) -> str:
        if not self._written:
            return message
        return self._pattern.sub(
            lambda match: match[0] if match["variable"] else self._written.get(match[0].lower(), STARS), message
        )

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        forms = sorted(self._written, key=len, reverse=True)
        long = "|".join(re.escape(form) for form in forms if len(form) > _SHORT)
        short = "|".join(re.escape(form) for form in forms if len(form) <= _SHORT)
        return re.compile(
            rf"(?P<variable>{VARIABLE.pattern})"
            + (rf"|(?<![\w-])(?:{long})(?![\w-])" if long else "")
            + (rf"|(?:(?<=['\"`/.])|^)(?:{short})(?=['\"`/.:])" if short else ""),
            re.IGNORECASE,
        )


def _scalars(node: Node | None) -> Iterator[str]:
    """Yield a node's texts that have a variable, as written."""
    pending = [node] if node is not None else []
    while pending:
        one = pending.pop()
        if not one.variables:
            continue
        if one.children is None:
            yield str(one.value)
        else:
            pending += reversed([*(one.children.values() if isinstance(one.children, dict) else one.children)])


def _spans(text: str, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return a text's parts in order, each expanded and as written; none if it cannot be expanded."""
    spans: list[tuple[str, str]] = []
    end = 0
    try:
        for match in PART.finditer(text):
            spans += [(text[end : match.start()],) * 2, (expand(match[0], environ), match[0])]
            end = match.end()
    except (BadVariable, UnsetVariable):
        return []
    return [*spans, (text[end:],) * 2]


def _wholes(text: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the whole expanded text and each variable's whole value, with how the file writes them."""
    spans = _spans(text, environ)
    if any(VARIABLE.fullmatch(written) for _, written in spans):
        yield "".join(value for value, _ in spans), text
        yield from ((value, written) for value, written in spans if VARIABLE.fullmatch(written))


def _runs(text: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the expanded text's runs of words that hold a part of a variable's value.

    Messages name parts of a text: the provider of a target, the host of an address, the modules of a dotted path.
    """
    spans = _spans(text, environ)
    expanded = "".join(value for value, _ in spans)
    pieces = [match.span() for match in _PIECE.finditer(expanded)][:_MOST_PIECES]
    for first, (start, _) in enumerate(pieces):
        for _, end in pieces[first:]:
            written, at, holds_variable = "", 0, False
            for value, part in spans:
                low, high = max(start, at), min(end, at + len(value))
                if low < high:
                    is_variable = VARIABLE.fullmatch(part) is not None
                    holds_variable |= is_variable
                    written += part if is_variable else value[low - at : high - at]
                at += len(value)
            if holds_variable:
                yield expanded[start:end], written
