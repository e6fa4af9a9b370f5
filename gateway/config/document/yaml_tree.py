"""Build a tree of plain values with positions from YAML text, by the YAML 1.2 core schema over libyaml's events.

A hostile file costs no more than its size: nothing recurses, and the size of a YAML alias is known before it is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

import yaml

from gateway.concurrency.pacing import paced
from gateway.wire.json import Json

Where: TypeAlias = tuple[str | int, ...]
"""A place in a document: keys and list indexes from the top, such as `("models", "fast", "chain", 1)`."""

Position: TypeAlias = tuple[int, int]
"""Line and column, both from 1; the column counts characters."""

Fault: TypeAlias = tuple[Position, str, Where, str]
"""One fault of a text: position, code, place, message."""

MAX_DEPTH: Final = 100
LINE_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""The line breaks that libyaml counts."""

_SPARE_REPEATS: Final = 10_000
_REPEATS_PER_VALUE: Final = 100
_MAX_REPEATS: Final = 2_000_000
"""Limit of values that YAML aliases add: it grows with the file, from _SPARE_REPEATS to _MAX_REPEATS."""

LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser, where PyYAML was built with it; only its events are used."""

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_MAYBE_TYPED: Final = frozenset("~nNtTfF.+-0123456789")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_BASED: Final = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ENDLESS: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


_NO_KEYS: Final[dict[str, Position]] = {}
"""Shared by all scalars."""


class Node:
    """One value of the text with its position, from 1. Nodes below an anchor are shared by its YAML aliases."""

    __slots__ = ("children", "column", "height", "keys", "line", "plain", "size", "value", "variables")

    def __init__(self, line: int, column: int, value: Json, *, plain: bool = False) -> None:
        self.line = line
        self.column = column
        self.value = value
        """Variables are not expanded."""
        self.plain = plain
        """Whether it is a scalar without quotes."""
        self.variables = False
        """Whether it or a value below it contains a `$`."""
        self.children: dict[str, Node] | list[Node] | None = None
        self.keys = _NO_KEYS
        self.size = 1
        """Number of values in it, itself and expanded YAML aliases included; 0 for an unknown YAML alias."""
        self.height = 1

    @property
    def members(self) -> dict[str, Node]:
        """The children of a mapping by key; empty for any other value. Not a copy."""
        return self.children if isinstance(self.children, dict) else {}


def events(text: str) -> Iterator[Any]:
    """Yield PyYAML's events of a text. Raises yaml.YAMLError at the first syntax error."""
    loader = LOADER(text)
    try:
        while (event := loader.get_event()) is not None:
            yield event
    finally:
        loader.dispose()


def read_tree(text: str, *, last_key_wins: bool = False) -> tuple[Node | None, list[Fault]]:
    """Return the tree of the top mapping, or None without one, and the faults of the text in the order found."""
    reader = TreeReader(last_key_wins=last_key_wins)
    return reader.read(text), reader.faults


def resolve(text: str) -> Json:
    """Return the value of an unquoted scalar (YAML 1.2.2, section 10.3). Numbers beyond 64 bits become infinite."""
    if text and text[0] not in _MAYBE_TYPED:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-0") or "0"
        return _bounded(int(text[:1].strip("+0123456789") + digits)) if len(digits) <= 20 else math.inf
    if based := _BASED.fullmatch(text):
        return _bounded(int(based[1], 8) if based[1] else int(based[2], 16))
    if _FLOAT.fullmatch(text):
        return float(text)
    return math.inf if _ENDLESS.fullmatch(text) else text


def _bounded(number: int) -> int | float:
    return number if -(2**63) <= number < 2**64 else math.inf


_TOO_DEEP: Final = f"values are nested more than {MAX_DEPTH} levels deep"
_NO_TAGS: Final = "tags are not supported; write the value without one"
_WORDING: Final = (
    ("unexpected end of stream", "a quoted text is not closed"),
    ("unexpected document indicator", "a quoted text is not closed"),
    ("tab character", "a tab cannot indent; use spaces"),
    ("cannot start any token", "no value can start with this character; put quotes around the text"),
    ("mapping values are not allowed", "a ':' cannot stand here; check the indentation, or put quotes around the text"),
    ("unknown escape", "this escape sequence is unknown; write a backslash twice, or use single quotes"),
    ("escape code", "this escape sequence names no character"),
    ("hexdecimal", "this escape sequence wants hexadecimal digits"),
    ("'-' indicator", "an entry of this list does not start with '-'; check the indentation"),
    ("could not find expected ':'", "a ':' is missing after this key"),
    ("expected key", "a key is missing here; check the indentation and the quotes"),
    ("incompatible YAML", "only YAML 1.1 and 1.2 can be read"),
    ("directive", "this %-directive is unknown or malformed"),
    ("indentation indicator", "this block text's indentation is malformed"),
    ("comment or line break", "the line must end here"),
    ("<document start>", "a value is complete here, yet more follows; check the indentation"),
    ("block sequence entries", "a '-' cannot start a list here; put it on a line of its own"),
    ("mapping keys are not allowed", "a key cannot stand here; check the indentation"),
    ("unexpected ':'", "a ':' cannot stand inside this text; put quotes around it"),
    ("block mapping", "a key cannot stand here; check the indentation"),
    ("node content", "a value is missing here"),
)


def _syntax_fault(text: str, error: yaml.YAMLError) -> tuple[Position, str, str]:
    """Return position, code and message of a parser error, in our own words."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
    said = str(getattr(error, "problem", None) or "")
    if "nesting depth" in said:
        return position, "too-deep", _TOO_DEEP
    context = str(getattr(error, "context", None) or "")
    if "scanning an a" in context:
        start = text[mark.index - 1 : mark.index] if mark is not None else ""
        position = (position[0], max(1, position[1] - 1))
        return position, "yaml-syntax", f"'{start or '*'}' starts an alias or an anchor; put quotes around the text"
    opened = getattr(error, "context_mark", None)
    if mark is not None and text[mark.index - 1 : mark.index + 1] == "${":
        message = 'between brackets or braces a variable needs quotes around it: "${NAME}"'
        return (position[0], position[1] - 1), "yaml-syntax", message
    if opened is not None and mark is not None and "' or '" in said:
        opening, what = ("[", "list") if "]" in said else ("{", "mapping")
        where = f"still open in line {mark.line + 1}" if mark.index < len(text) else "never closed"
        message = f"the {what} that {opening!r} opens here is {where}; close it, or look for a missing ','"
        return (opened.line + 1, opened.column + 1), "yaml-syntax", message
    if opened is not None and "end of stream" in said:
        position = (opened.line + 1, opened.column + 1)
    if context.endswith("a tag") or "tag handle" in said:
        return position, "yaml-tag", _NO_TAGS
    if mark is not None and text[mark.index : mark.index + 1] == "\t" and "token" in said:
        return position, "yaml-syntax", "a tab cannot indent; use spaces"
    if opened is not None and "line break" in said and text[opened.index : opened.index + 1] == ">":
        return position, "yaml-syntax", "'>' begins a text of several lines; put quotes around a comparison: '> 100k'"
    message = next((ours for theirs, ours in _WORDING if theirs in said), "this is not valid YAML")
    return position, "yaml-syntax", message


class _Refused(Exception):
    """The rest of the text is not read; the fault is already noted."""


_DROPPED: Final = object()
"""As a key: read its value and drop it."""
_MERGE: Final = object()
"""As a key: `<<`."""


@dataclass(slots=True)
class _Frame:
    """One open collection."""

    node: Node
    anchor: str | None
    is_map: bool
    as_key: bool
    """Whether the collection is in the place of a key, which is a fault."""
    key: object = None
    """The key whose value comes next; None while a key comes next."""
    merges: list[Node] = field(default_factory=list)
    """The sources of `<<`."""


class TreeReader:
    """Builds the tree of one text from the YAML parser's events."""

    def __init__(self, *, last_key_wins: bool = False) -> None:
        self.faults: list[Fault] = []
        """In the order found."""
        self._last_key_wins = last_key_wins
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._root: Node | None = None
        self._nodes = 0
        self._repeated = 0

    @property
    def has_anchors(self) -> bool:
        """Whether the text has anchors: then its entries depend on each other."""
        return bool(self._anchors)

    def read(self, text: str) -> Node | None:
        """Return the top mapping; None, with a fault noted, when the text has none."""
        try:
            self._run(text)
        except yaml.YAMLError as exc:
            position, code, message = _syntax_fault(text, exc)
            self._note(position, code, message, where=())
            return None
        except _Refused:
            return None
        root = self._root
        if root is None or (root.value is None and root.plain and self._is_blank(text)):
            self._note((1, 1), "empty-file", "the file is empty; it wants at least 'version: 1' and 'models:'")
            return None
        if not isinstance(root.value, dict):
            self._note((root.line, root.column), "wrong-type", "the file must be a mapping of keys to values")
            return None
        return root

    @staticmethod
    def _is_blank(text: str) -> bool:
        return all(not line.split("#")[0].strip(" \t-.") for line in LINE_BREAK.split(text) if line[:1] != "%")

    def _run(self, text: str) -> None:
        documents = 0
        for event in paced(events(text)):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event, is_map=kind is yaml.MappingStartEvent)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._close()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    message = "a second document starts here; a config file holds one"
                    self._note(_start(event), "many-documents", message, where=())
                    return

    def _scalar(self, event: Any) -> None:
        self._nodes += 1
        line, column = position = _start(event)
        text = event.value
        plain = not event.style
        if event.tag is not None:
            self._note(position, "yaml-tag", _NO_TAGS)
        if (frame := self._frame_for_key()) is not None:
            if event.anchor is not None:
                self._anchors[event.anchor] = Node(line, column, text)
            self._key(frame, text, position, merge=plain and text == "<<")
            return
        value = resolve(text) if plain else text
        if isinstance(value, float) and not math.isfinite(value):
            message = "this number does not fit into 64 bits; put quotes around it if it is text"
            self._note(position, "bad-number", message)
            value = 1
        node = Node(line, column, value, plain=plain)
        node.variables = isinstance(value, str) and "$" in value
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._attach(node)

    def _open(self, event: Any, *, is_map: bool) -> None:
        self._nodes += 1
        line, column = position = _start(event)
        if len(self._stack) >= MAX_DEPTH:
            self._refuse(position, "too-deep", _TOO_DEEP)
        if event.tag is not None:
            self._note(position, "yaml-tag", _NO_TAGS)
        node = Node(line, column, {} if is_map else [])
        node.children = {} if is_map else []
        node.keys = {}
        as_key = self._frame_for_key() is not None
        if as_key:
            self._note(position, "bad-key", "a key must be text; put quotes around it if the braces belong to it")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Frame(node, event.anchor, is_map, as_key))

    def _close(self) -> None:
        frame = self._stack.pop()
        node = frame.node
        if frame.merges:
            self._merge(frame)
        for child in node.children if isinstance(node.children, list) else node.members.values():
            node.size += child.size
            node.variables = node.variables or child.variables
            if child.height >= node.height:
                node.height = child.height + 1
        if frame.anchor is not None:
            self._anchors[frame.anchor] = node
        if frame.as_key:
            self._stack[-1].key = _DROPPED
        else:
            self._attach(node)

    def _alias(self, event: Any) -> None:
        self._nodes += 1
        line, column = position = _start(event)
        if event.anchor not in self._anchors:
            # The name may be a secret key written without quotes, so the message does not repeat it.
            self._note(position, "unknown-anchor", "no anchor of this name stands before this alias")
            source = Node(line, column, None)
            source.size = 0
        else:
            message = f"the anchor '{event.anchor}' holds itself"
            source = self._anchors[event.anchor] or self._refuse(position, "alias-bomb", message)
        self._repeated += source.size
        if self._repeated > min(_SPARE_REPEATS + _REPEATS_PER_VALUE * self._nodes, _MAX_REPEATS):
            self._refuse(position, "alias-bomb", "the aliases up to here would grow the file out of all proportion")
        if len(self._stack) + source.height > MAX_DEPTH:
            self._refuse(position, "too-deep", _TOO_DEEP)
        if (frame := self._frame_for_key()) is not None:
            if isinstance(source.value, str):
                self._key(frame, source.value, position, merge=False)
            else:
                self._note(position, "bad-key", "a key must be text, and this alias does not stand for text")
                frame.key = _DROPPED
            return
        node = Node(line, column, source.value, plain=source.plain)
        node.children, node.keys = source.children, source.keys
        node.size, node.height, node.variables = source.size, source.height, source.variables
        self._attach(node)

    def _frame_for_key(self) -> _Frame | None:
        """Return the open mapping whose next node is a key; None when the next node is a value."""
        frame = self._stack[-1] if self._stack else None
        return frame if frame is not None and frame.is_map and frame.key is None else None

    def _key(self, frame: _Frame, text: str, position: Position, *, merge: bool) -> None:
        keys = frame.node.keys
        if text in keys:
            frame.key = _DROPPED
            first = keys[text][0]
            where = (*self._where(), text)
            self._note(position, "duplicate-key", f"this key stands in line {first} already", where=where)
            if not self._last_key_wins:
                return
        keys[text] = position
        frame.key = _MERGE if merge else text

    def _attach(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        frame = self._stack[-1]
        children = frame.node.children
        if isinstance(children, list):
            children.append(node)
            frame.node.value.append(node.value)
            return
        key, frame.key = frame.key, None
        if key is _MERGE:
            self._note_merge(frame, node)
        elif isinstance(key, str) and isinstance(children, dict):
            children[key] = node
            frame.node.value[key] = node.value

    def _note_merge(self, frame: _Frame, node: Node) -> None:
        sources = node.children if isinstance(node.children, list) else [node]
        for source in sources:
            if isinstance(source.children, dict):
                frame.merges.append(source)
            elif source.size:
                self._note((source.line, source.column), "bad-merge", "'<<' wants a mapping, or a list of mappings")

    def _merge(self, frame: _Frame) -> None:
        """Add the keys of the `<<` sources: the mapping's own keys win, then the earlier source."""
        node = frame.node
        children, keys = dict[str, Node](), dict[str, Position]()
        for source in (node, *frame.merges):
            for key, child in source.members.items():
                if key not in children:
                    children[key], keys[key] = child, source.keys[key]
        node.children, node.keys = children, keys
        node.value = {key: child.value for key, child in children.items()}

    def _where(self) -> Where:
        parts: list[str | int] = []
        for frame in self._stack:
            if not frame.is_map:
                parts.append(len(frame.node.value))
            elif isinstance(frame.key, str):
                parts.append(frame.key)
            elif frame.key is _MERGE:
                parts.append("<<")
        return tuple(parts)

    def _note(self, position: Position, code: str, message: str, *, where: Where | None = None) -> None:
        self.faults.append((position, code, self._where() if where is None else where, message))

    def _refuse(self, position: Position, code: str, message: str) -> NoReturn:
        self._note(position, code, message)
        raise _Refused


def _start(event: Any) -> Position:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
