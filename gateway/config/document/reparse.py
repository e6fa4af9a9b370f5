"""The entries of `models` that a text shares with the one before it: known by their text, not parsed again.

Parsing is most of what reading a large file costs, and an edit changes a few entries of thousands. So entries that were
read before give way to a stand-in of one line, which the parser must meet exactly where they began. Then it would have
met them there too, and what they were before is what they are now.
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
"""What ends a block: text that is not indented."""
_FIRST: Final = re.compile(r"\n( +)[^\s#]")
_RARE_BREAK: Final = re.compile("[\x85\u2028\u2029]")
"""Ends of lines that are not counted here; a text that has them is read as a whole."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of `models`, as it was read."""

    name: str
    node: Node
    line: int
    """Where it stood, from 1."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """A text cut at the entries of `models`."""

    head: str
    """What stands before the first entry."""
    chunks: list[str]
    """Each entry with what follows it, up to the end of line before the next one."""
    tail: str
    block_line: int
    """Of `models` itself, from 1."""
    lines: list[int]
    """Where each chunk begins."""
    indent: str


class Entries:
    """Reads texts one after the other. Remembers the entries of the last one that was sound."""

    def __init__(self) -> None:
        self._known: dict[str, _Entry] = {}

    def read(self, text: str) -> tuple[Node | None, list[Fault], Mapping[str, int]]:
        """Return what `read_tree` does, and by how many lines entries stand below where their nodes say."""
        layout = _cut(text)
        if layout is not None and self._known:
            # Nothing says where the last one ends but what comes behind it, so it is always read.
            known = [*map(self._known.get, layout.chunks[:-1]), None]
            shortened, met = _stand_in(layout, known)
            reader = TreeReader()
            root = reader.read(shortened)
            if root is not None and _is_sound(root, reader, layout, met):
                entries = _joined(root, layout, known)
                if _put(entries, root, layout):
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
    return _Layout(
        head=text[:start],
        chunks=chunks,
        tail=text[end:],
        block_line=text.count("\n", 0, block.start()) + 1,
        lines=list(
            accumulate([chunk.count("\n") + 1 for chunk in paced(chunks[:-1])], initial=text.count("\n", 0, start) + 1)
        ),
        indent=first[1],
    )


def _stand_in(layout: _Layout, known: list[_Entry | None]) -> tuple[str, list[int]]:
    """Return the text with a stand-in for each run of known entries, and the lines where the parser must meet keys."""
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
    """Tell whether the parser saw the text as it was cut: keys where they should be, each entry on its own."""
    models = _inside(root).get("models")
    if models is None or not isinstance(models.children, dict) or reader.faults or reader.has_anchors:
        return False
    column = len(layout.indent) + 1
    return root.keys["models"] == (layout.block_line, 1) and list(models.keys.values()) == [
        (line, column) for line in met
    ]


def _joined(root: Node, layout: _Layout, known: list[_Entry | None]) -> list[_Entry]:
    """Return all entries in file order: those that were read, and those that others stood in for."""
    read = iter(_inside(_inside(root)["models"]).items())
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


def _put(entries: list[_Entry], root: Node, layout: _Layout) -> bool:
    """Make them the entries of `models`. False when a name stands there twice."""
    models = _inside(root)["models"]
    models.children = {entry.name: entry.node for entry in paced(entries)}
    if len(models.children) < len(entries):
        return False
    column = len(layout.indent) + 1
    models.keys = {entry.name: (line, column) for entry, line in paced(zip(entries, layout.lines, strict=True))}
    models.value = root.value["models"] = {entry.name: entry.node.value for entry in paced(entries)}
    models.variables = any(entry.node.variables for entry in entries)
    root.variables = any(child.variables for child in _inside(root).values())
    return True


def _moved(entries: list[_Entry], layout: _Layout) -> Mapping[str, int]:
    both = paced(zip(entries, layout.lines, strict=True))
    return {entry.name: line - entry.line for entry, line in both if line != entry.line}


def _inside(node: Node) -> dict[str, Node]:
    return node.children if isinstance(node.children, dict) else {}
