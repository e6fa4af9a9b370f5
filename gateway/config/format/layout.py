"""Normalize the layout of a YAML text: indentation, spaces, empty lines. Values and comments do not change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import yaml

from gateway.config.format.text import BLOCK_TEXTS, Edit, Token, Written

STEP: Final = 2
"""Columns by which a block is indented from its parent."""

_FLOW_STARTS: Final = (yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken)
_FLOW_ENDS: Final = (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_BLOCK_STARTS: Final = (yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken)
_APART: Final = (yaml.AliasToken, yaml.AnchorToken, yaml.TagToken, yaml.ValueToken, yaml.KeyToken)
"""Tokens that may need a space behind them."""
_MARKS: Final = (yaml.DocumentStartToken, yaml.DocumentEndToken, yaml.DirectiveToken)
_GAP: Final = re.compile(r"[ \t]*")


def space(written: Written) -> str:
    """Normalize the spaces inside braces and brackets, around commas and before colons."""
    edits: list[Edit] = []
    solid = [token for token in written.tokens if token.start < token.end]
    depth = 0
    for token, following in pairwise(solid):
        depth += (token.kind in _FLOW_STARTS) - (token.kind in _FLOW_ENDS)
        gap = written.text[token.end : following.start]
        if not _GAP.fullmatch(gap):
            continue
        closes = following.kind in _FLOW_ENDS or following.kind is yaml.FlowEntryToken
        if token.kind in _FLOW_STARTS or (
            token.kind not in _APART
            and ((depth and closes and token.kind is not yaml.FlowEntryToken) or following.kind is yaml.ValueToken)
        ):
            edits.append((token.end, following.start, ""))
        elif depth and not gap and not closes and token.kind in (yaml.FlowEntryToken, yaml.ValueToken):
            edits.append((token.end, following.start, " "))
    return written.edit(edit for edit in edits if written.text[edit[0] : edit[1]] != edit[2])


@dataclass(slots=True)
class _Block:
    """One open block: the column of its entries as written and as wanted."""

    old: int
    new: int
    is_list: bool
    open_ended: bool = False
    """A list at the column of its key: no token ends it."""

    @property
    def shift(self) -> int:
        return self.new - self.old


class _UnusualError(Exception):
    """The text has a construct whose indentation is not changed."""


def indent(written: Written) -> str:
    """Indent every block by STEP columns. Returns the text unchanged if it has an unusual construct."""
    try:
        return written.edit(_Indenter(written).edits())
    except _UnusualError:
        return written.text


class _Indenter:
    def __init__(self, written: Written) -> None:
        self._written = written
        self._blocks: list[_Block] = []
        self._shifts: dict[int, int] = {}
        """Columns by which a line moves, by the line's start."""
        self._gaps: dict[int, Edit] = {}
        """Edits of the spaces behind dashes, by the dash's end."""
        self._continued: set[int] = set()
        """Comment lines that continue the comment behind a value."""
        self._waiting: list[tuple[int, list[_Block]]] = []
        """Comment lines not placed yet, each with the blocks around it."""

    def edits(self) -> list[Edit]:
        """Return the edits that correct the indentation."""
        self._read()
        text = self._written.text
        edits = [edit for edit in self._gaps.values() if text[edit[0] : edit[1]] != edit[2]]
        for start, shift in self._shifts.items():
            if shift > 0 and start < len(text) and text[start] != "\n":
                edits.append((start, start, " " * shift))
            elif shift < 0 and (width := _width(text, start)):
                edits.append((start, start + min(width, -shift), ""))
        return edits

    def _read(self) -> None:
        written = self._written
        comments = [written.line_start(at) for at, _ in written.comments if written.begins_line(at)]
        depth, shift, entry_at, done = 0, 0, -1, 0
        before: Token | None = None
        for token in written.tokens:
            while done < len(comments) and (comments[done] < token.start or token.kind is yaml.StreamEndToken):
                if depth:
                    self._shifts[comments[done]] = shift
                else:
                    self._waiting.append((comments[done], [*self._blocks]))
                done += 1
            if not depth:
                self._structure(token, before)
                if token.kind in (yaml.KeyToken, yaml.BlockEntryToken):
                    entry_at = token.start
                    shift = self._blocks[-1].shift if self._blocks else 0
            if token.start == token.end:
                continue
            if written.begins_line(token.start):
                line = written.line_start(token.start)
                if not depth:
                    is_entry = entry_at == token.start
                    column = 0 if token.kind in _MARKS else written.column(token.start)
                    if self._blocks and token.kind not in _MARKS:
                        column = self._blocks[-1].new + (0 if is_entry else STEP)
                    self._shifts[line] = column - written.column(token.start)
                    shift = shift if is_entry else self._shifts[line]
                    self._place_comments(line)
                self._shifts.setdefault(line, shift)
            depth += (token.kind in _FLOW_STARTS) - (token.kind in _FLOW_ENDS)
            self._carry(token, shift)
            before = token
        self._place_comments(None)

    def _structure(self, token: Token, before: Token | None) -> None:
        """Open and close blocks at a token. Raises _UnusualError."""
        written, blocks = self._written, self._blocks
        if token.kind in _BLOCK_STARTS:
            new = blocks[-1].new + STEP if blocks else 0
            if not written.begins_line(token.start) and (before is None or before.kind is not yaml.BlockEntryToken):
                raise _UnusualError
            if before is not None and before.kind is yaml.BlockEntryToken:
                self._close_up(before, token)
            blocks.append(_Block(written.column(token.start), new, token.kind is yaml.BlockSequenceStartToken))
        elif token.kind is yaml.BlockEntryToken and not (blocks and blocks[-1].is_list):
            if not blocks:
                raise _UnusualError
            blocks.append(_Block(written.column(token.start), blocks[-1].new + STEP, True, open_ended=True))
        elif token.kind in (yaml.KeyToken, yaml.BlockEndToken):
            if blocks and blocks[-1].open_ended:
                blocks.pop()
            if token.kind is yaml.BlockEndToken:
                blocks.pop()
            elif token.start < token.end:
                raise _UnusualError
        elif token.kind is yaml.ValueToken and written.begins_line(token.start):
            raise _UnusualError
        elif before is not None and before.kind is yaml.BlockEntryToken and token.start < token.end:
            self._close_up(before, token)
        if before is not None and before.kind in _MARKS and "\n" not in written.text[before.end : token.start]:
            raise _UnusualError

    def _close_up(self, dash: Token, token: Token) -> None:
        if "\n" not in self._written.text[dash.end : token.start] and token.start > dash.end:
            self._gaps[dash.end] = (dash.end, token.start, " ")

    def _carry(self, token: Token, shift: int) -> None:
        """Move a value's other lines with its first one, but keep a plain or quoted text indented."""
        text = self._written.text
        least = self._blocks[-1].new + STEP if self._blocks and token.style not in BLOCK_TEXTS else 0
        for at in self._written.breaks_in(token):
            self._shifts[at + 1] = max(shift, least - _width(text, at + 1)) if shift < 0 else shift

    def _place_comments(self, following: int | None) -> None:
        """Set the shifts of the waiting comment lines. `following` is the start of the next line with a value."""
        text = self._written.text
        for line, around in self._waiting:
            column = _width(text, line)
            if self._continues(line, column):
                continue
            if following is not None and column == _width(text, following):
                self._shifts[line] = self._shifts[following]
                continue
            outer = [block for block in around if block.old <= column]
            shift = outer[-1].shift if outer else 0
            # Further to the right it could become part of a block text above.
            inner = around[len(outer) :]
            self._shifts[line] = min(shift, inner[0].new - column) if inner else shift
        self._waiting.clear()

    def _continues(self, line: int, column: int) -> bool:
        """Tell whether a comment line continues the comment behind a value, directly below it."""
        written = self._written
        above = written.line_start(max(0, line - 1))
        comment = written.comment_in(above, line)
        if comment is None or written.column(comment) != column:
            return False
        if written.begins_line(comment) and above not in self._continued:
            return False
        self._continued.add(line)
        return True


def _width(text: str, start: int) -> int:
    """Return the number of spaces at the start of a line."""
    end = start
    while text.startswith(" ", end):
        end += 1
    return end - start


def tidy(written: Written) -> str:
    """Remove spaces at the ends of lines and repeated empty lines; end the text with a line break."""
    text, kept = written.text, _kept_ends(written)
    lines: list[str] = []
    at = 0
    for line in text.split("\n"):
        at += len(line)
        bare = line if at in kept else line.rstrip(" \t")
        # The text after the last line break is no line.
        if bare or at in kept or at == len(text) or (lines and lines[-1]):
            lines.append(bare)
        at += 1
    tidied = "\n".join(lines)
    return tidied if _ends_in_a_block_text(written) else tidied.rstrip("\n") + "\n"


def _kept_ends(written: Written) -> set[int]:
    """Return the line ends inside a value, and those at the end of a block text."""
    scalars = [token for token in written.tokens if token.kind is yaml.ScalarToken]
    inside = {at for token in scalars for at in written.breaks_in(token)}
    return inside | {token.end for token in scalars if token.style in BLOCK_TEXTS}


def _ends_in_a_block_text(written: Written) -> bool:
    """Tell whether line breaks at the end, or one added there, are part of the last value."""
    last = next((token for token in reversed(written.tokens) if token.start < token.end), None)
    if last is None or last.style not in BLOCK_TEXTS or written.text[last.end :].strip("\n"):
        return False
    header = written.text[last.start :].split("\n")[0].split("#")[0]
    return "+" in header or ("-" not in header and not written.text.endswith("\n"))
