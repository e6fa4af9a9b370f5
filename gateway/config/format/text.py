"""A YAML text with the positions of its tokens, values and comments, and edits of single parts of it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias

import yaml

from gateway.config.document.yaml_tree import LOADER, events

Edit: TypeAlias = tuple[int, int, str]
"""Start, end, and the new text between them."""

_COMMENT: Final = re.compile(r"#[^\n]*")
BLOCK_TEXTS: Final = frozenset("|>")
"""Styles of a block text."""
_NEAR: Final = 5
"""Most lines between two comments that are aligned on purpose."""
_STARTS: Final = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS: Final = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


@dataclass(slots=True, eq=False)
class Piece:
    """One value as written, including its anchor."""

    kind: str
    """`map`, `seq`, `scalar` or `alias`."""
    start: int
    end: int
    """End of its last character; for a block text, of its last line that is not empty."""
    anchored: bool
    flow: bool
    """Whether it has brackets or braces of its own, or is a scalar."""
    style: str = ""
    """Quotation mark of a scalar; `|` or `>` for a block text."""
    value: str = ""
    children: list[Piece] = field(default_factory=list)
    """Items of a list; keys and values of a mapping in turn."""

    @property
    def entries(self) -> list[tuple[Piece, Piece]]:
        """Pairs of key and value of a mapping."""
        return list(zip(self.children[::2], self.children[1::2], strict=True))

    @property
    def shared(self) -> bool:
        """Whether it or a value in it is an anchor, an alias or a merge key."""
        own = self.anchored or self.kind == "alias" or self.value == "<<"
        return own or any(child.shared for child in self.children)

    @property
    def block_text(self) -> bool:
        """Whether it is a text behind `|` or `>`."""
        return self.style in BLOCK_TEXTS


@dataclass(frozen=True, slots=True)
class Token:
    """One token; some have no width."""

    kind: type[Any]
    start: int
    end: int
    style: str = ""


class Written:
    """A text with its tokens and comments. Its lines must end with LF. Raises yaml.YAMLError on a syntax error."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.comments = list(_comments(text, self.tokens))
        """(start, end) of each."""

    @cached_property
    def root(self) -> Piece | None:
        """The first document's top value."""
        return _pieces(self.text)

    def breaks_in(self, token: Token) -> list[int]:
        """Return the positions of the line breaks inside a token."""
        return [match.start() for match in re.compile("\n").finditer(self.text, token.start, token.end)]

    def line_start(self, at: int) -> int:
        """Return the start of the line of a position."""
        return self.text.rfind("\n", 0, at) + 1

    def line_end(self, at: int) -> int:
        """Return the end of the line of a position, before its line break."""
        found = self.text.find("\n", at)
        return len(self.text) if found < 0 else found

    def column(self, at: int) -> int:
        """Return the column of a position, from 0."""
        return at - self.line_start(at)

    def begins_line(self, at: int) -> bool:
        """Tell whether only spaces precede a position on its line."""
        return not self.text[self.line_start(at) : at].strip(" ")

    def comment_in(self, start: int, end: int) -> int | None:
        """Return the start of the first comment between two positions, or None."""
        index = bisect_left(self.comments, (start, start))
        at = self.comments[index][0] if index < len(self.comments) else end
        return at if at < end else None

    def hanging(self, end: int) -> list[int]:
        """Return the columns of the comment lines between a position's line and the next value."""
        columns = []
        at = self.line_end(end) + 1
        while at <= len(self.text):
            line = self.text[at : self.line_end(at)]
            bare = line.lstrip(" \t")
            if bare and not bare.startswith("#"):
                break
            if bare:
                columns.append(len(line) - len(bare))
            at += len(line) + 1
        return columns

    def edit(self, edits: Iterable[Edit]) -> str:
        """Return the edited text. No edit may touch a comment; comments behind a value keep their column."""
        edits = sorted(edits)
        return _keep_columns(self, self.replace(edits), edits) if edits else self.text

    def replace(self, edits: Iterable[Edit]) -> str:
        """Return the edited text. Edits may touch comments, which keep no column."""
        parts: list[str] = []
        done = 0
        for start, end, new in sorted(edits):
            parts += self.text[done:start], new
            done = end
        return "".join([*parts, self.text[done:]])


def _keep_columns(before: Written, text: str, edits: list[Edit]) -> str:
    """Return `text`, the edited text, with aligned comments moved back to their column as far as there is room."""
    aligned = _aligned(before)
    parts: list[str] = []
    done = shift = count = 0
    for old, _ in before.comments:
        while count < len(edits) and edits[count][1] <= old:
            start, end, new = edits[count]
            shift += len(new) - (end - start)
            count += 1
        if not count or old not in aligned:
            continue
        at = old + shift
        line = text.rfind("\n", 0, at) + 1
        code = text[line:at].rstrip(" ")
        gap, wanted = at - line - len(code), before.column(old) - len(code)
        if wanted != gap:
            parts += text[done : at - gap], " " * (wanted if wanted > 0 else min(gap, 2))
            done = at
    return "".join([*parts, text[done:]])


def _aligned(written: Written) -> set[int]:
    """Return the comments behind values that share their column with another at most _NEAR lines away."""
    found: set[int] = set()
    last: dict[int, tuple[int, int]] = {}
    line = done = 0
    for at, _ in written.comments:
        line += written.text.count("\n", done, at)
        done = at
        column = written.column(at)
        near, other = last.get(column, (-_NEAR - 1, at))
        if line - near <= _NEAR:
            found |= {at, other}
        last[column] = (line, at)
    return {at for at in found if not written.begins_line(at)}


def _tokens(text: str) -> Iterator[Token]:
    loader = LOADER(text)
    try:
        while (token := loader.get_token()) is not None:
            start, end, style = token.start_mark.index, token.end_mark.index, getattr(token, "style", None) or ""
            if style in BLOCK_TEXTS:
                end = _block_end(text, start, end)
            yield Token(type(token), start, end, style)
    finally:
        loader.dispose()


def _block_end(text: str, start: int, end: int) -> int:
    """Return the end of a block text: of its last line that is not empty, or with `+` of all its empty lines."""
    header = text[start : text.find("\n", start)] if "\n" in text[start:end] else text[start:end]
    return end if "+" in header.split("#")[0] else start + len(text[start:end].rstrip("\n"))


def _comments(text: str, tokens: list[Token]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the comments between tokens and behind the `|` or `>` of a block text."""
    done = 0
    for token in tokens:
        for match in _COMMENT.finditer(text, done, max(done, token.start)):
            yield match.span()
        done = max(done, token.end)
        if token.style in BLOCK_TEXTS:
            header = text[token.start : token.end].split("\n")[0]
            for match in _COMMENT.finditer(header):
                yield token.start + match.start(), token.start + match.end()
    for match in _COMMENT.finditer(text, done):
        yield match.span()


def _pieces(text: str) -> Piece | None:
    """Return the first document's top value."""
    stack: list[Piece] = []
    for event in events(text):
        kind = type(event)
        if kind in _ENDS:
            piece = stack.pop()
            piece.end = event.end_mark.index if piece.flow else piece.children[-1].end if piece.children else piece.end
        elif kind in _STARTS:
            stack.append(_piece(text, event, "map" if kind is yaml.MappingStartEvent else "seq"))
            continue
        elif kind is yaml.ScalarEvent or kind is yaml.AliasEvent:
            piece = _piece(text, event, "scalar" if kind is yaml.ScalarEvent else "alias")
        else:
            continue
        if not stack:
            return piece
        stack[-1].children.append(piece)
    return None


def _piece(text: str, event: Any, kind: str) -> Piece:
    start, end = event.start_mark.index, event.end_mark.index
    anchored = kind != "alias" and event.anchor is not None
    if kind in ("map", "seq"):
        return Piece(kind, start, end, anchored=anchored, flow=bool(event.flow_style))
    piece = Piece(kind, start, end, anchored=anchored, flow=True, style=getattr(event, "style", None) or "")
    if piece.block_text:
        piece.end = _block_end(text, start, end)
    piece.value = event.value if kind == "scalar" else ""
    return piece
