"""Parse only the entries of `models` that an edit changed, and keep the nodes of all others.

Parsing is most of the cost of reading a large file, and an edit changes a few entries of thousands:

1. Cut the text at the entries of `models`. An entry is known when the text before had the very same one.
2. Replace each run of known entries with a stand-in, a key on one line, and parse this shorter text.
3. Check that the parser met every key and stand-in at its line and column: then it would have met the known entries
   there too, so their earlier nodes are right. If not, parse the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from gateway.concurrency.pacing import paced
from gateway.config.document.yaml_tree import Fault, Node, TreeReader
from gateway.wire.json import EMPTY

_BLOCK: Final = re.compile(r"^models:[ \t]*(?:#.*)?\n", re.MULTILINE)
_BEHIND: Final = re.compile(r"\n[^\s#]")
"""End of a block: text that is not indented."""
_FIRST: Final = re.compile(r"\n( +)[^\s#]")
_RARE_BREAK: Final = re.compile("[\x85\u2028\u2029]")
"""Line breaks that are not counted here; a text with one of them is parsed as a whole."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of `models` as parsed."""

    name: str
    node: Node
    line: int
    """Its line in the text that it was parsed from, from 1."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """A text cut at the entries of `models`."""

    head: str
    """The text before the first entry."""
    chunks: list[str]
    """Each entry up to the line break before the next one."""
    tail: str
    block_line: int
    """Line of the key `models`, from 1."""
    lines: list[int]
    """First line of each chunk, from 1."""
    indent: str


class Entries:
    """Parses the successive texts of one file. Remembers the entries of the last text without faults."""

    def __init__(self) -> None:
        self._known: dict[str, _Entry] = {}

    def read(self, text: str) -> tuple[Node | None, list[Fault], Mapping[str, int]]:
        """Return the root and the faults as `read_tree` does, and the lines to add to the nodes of kept entries."""
        layout = _cut(text)
        if layout is not None and self._known:
            # The end of the last entry depends on the text after it, so it is always parsed.
            known = [*map(self._known.get, layout.chunks[:-1]), None]
            shortened, met = _stand_in(layout, known)
            reader = TreeReader()
            root = reader.read(shortened)
            if root is not None and _is_sound(root, reader, layout, met):
                entries = _joined(root, layout, known)
                if _insert(entries, root, layout):
                    self._remember(layout, entries)
                    return root, [], _moved(entries, layout)
        reader = TreeReader()
        root = reader.read(text)
        if root is not None and layout is not None and _is_sound(root, reader, layout, layout.lines):
            self._remember(layout, _joined(root, layout, [None] * len(layout.chunks)))
        return root, reader.faults, EMPTY

    def _remember(self, layout: _Layout, entries: list[_Entry]) -> None:
        self._known = dict(zip(layout.chunks[:-1], entries, strict=False))


def _cut(text: str) -> _Layout | None:
    """Return a text's layout; None when `models` is not written as a block."""
    block = _BLOCK.search(text)
    if block is None or "\r" in text or not (text.isascii() or _RARE_BREAK.search(text) is None):
        return None
    behind = _BEHIND.search(text, block.end() - 1)
    end = behind.start() + 1 if behind else len(text)
    first = _FIRST.search(text, block.end() - 1, end)
    if first is None:
        return None
    start = first.start(1)
    chunks = re.split(rf"\n(?={first[1]}[^\s#])", text[start:end])
    line_counts = [chunk.count("\n") + 1 for chunk in paced(chunks[:-1])]
    lines = list(accumulate(line_counts, initial=text.count("\n", 0, start) + 1))
    return _Layout(text[:start], chunks, text[end:], text.count("\n", 0, block.start()) + 1, lines, first[1])


def _stand_in(layout: _Layout, known: list[_Entry | None]) -> tuple[str, list[int]]:
    """Return the text with a stand-in for each run of known entries, and the lines where keys must be parsed."""
    chunks: list[str] = []
    met: list[int] = []
    before: _Entry | None = None
    for chunk, entry, line in paced(zip(layout.chunks, known, layout.lines, strict=True)):
        if entry is None:
            chunks.append(chunk)
            met.append(line)
        elif before is None:
            chunks.append(f"{layout.indent}~{line}: 0" + "\n" * chunk.count("\n"))
            met.append(line)
        else:
            chunks.append("\n" * chunk.count("\n"))
        before = entry
    return layout.head + "\n".join(chunks) + layout.tail, met


def _is_sound(root: Node, reader: TreeReader, layout: _Layout, met: list[int]) -> bool:
    """Tell whether the parser found the keys where the text was cut, and no fault or anchor."""
    models = root.members.get("models")
    if models is None or not isinstance(models.children, dict) or reader.faults or reader.has_anchors:
        return False
    places = [(line, len(layout.indent) + 1) for line in met]
    return root.keys["models"] == (layout.block_line, 1) and list(models.keys.values()) == places


def _joined(root: Node, layout: _Layout, known: list[_Entry | None]) -> list[_Entry]:
    """Return all entries in file order: the parsed ones, and the known ones that were replaced by stand-ins."""
    read = iter(root.members["models"].members.items())
    entries: list[_Entry] = []
    before: _Entry | None = None
    for entry, line in paced(zip(known, layout.lines, strict=True)):
        if entry is None:
            entries.append(_Entry(*next(read), line))
        else:
            if before is None:
                next(read)
            entries.append(entry)
        before = entry
    return entries


def _insert(entries: list[_Entry], root: Node, layout: _Layout) -> bool:
    """Make `entries` the children of `models`. False when two of them have the same name."""
    models = root.members["models"]
    models.children = {entry.name: entry.node for entry in paced(entries)}
    if len(models.children) < len(entries):
        return False
    column = len(layout.indent) + 1
    models.keys = {entry.name: (line, column) for entry, line in paced(zip(entries, layout.lines, strict=True))}
    models.value = root.value["models"] = {entry.name: entry.node.value for entry in paced(entries)}
    models.variables = any(entry.node.variables for entry in entries)
    root.variables = any(child.variables for child in root.members.values())
    return True


def _moved(entries: list[_Entry], layout: _Layout) -> Mapping[str, int]:
    both = paced(zip(entries, layout.lines, strict=True))
    return {entry.name: line - entry.line for entry, line in both if line != entry.line}
