"""Show lines of a config file with their secrets hidden, even when the file does not parse.

Works on the text, not on the parsed values. In doubt it hides too much.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any, Final

import yaml

from gateway.config.document.yaml_tree import LINE_BREAK, Node, events
from gateway.policy.secrets import (
    SECRET_TEXT,
    SOURCES,
    STARS,
    is_address_name,
    is_secret_name,
    mask_key,
    merged,
    names_no_secret,
    secret_spans,
    shows_key,
    start_of_host,
)
from gateway.policy.variables import ONLY_VARIABLES
from gateway.wire.json import Json

EXCERPT_LENGTH: Final = 200
"""Characters of a line that an excerpt shows at most, around the fault."""

MIN_REPEATED: Final = 8
"""Characters of a secret that is hidden wherever it stands again; a shorter one could be any word."""
MAX_REPEATED: Final = 200

_ONLY_VARIABLES_QUOTED: Final = re.compile(rf"""["']?{ONLY_VARIABLES.pattern}["']?""")
ENTRY_LISTS: Final = frozenset({"models", "providers", "clients", "capabilities"})
"""Blocks whose keys are names that the user chose."""
_ALWAYS_SECRET: Final = frozenset({"apikey", "headers"})
"""Keys that are secret even among the user's names: there they are most likely a slip of the indentation."""

_NAMED: Final = re.compile(r"""(?<![\w.-])([\w.-]++)["']?+\s*+[:=]""")
_ADDRESS_TEXT: Final = re.compile(
    r"(?<![\w-])(?=[\w-]*?(?:ur[il]|ulr|endpoint|api[-_]?base|address|host|proxy))[\w-]*+[\"']?+\s*+:", re.IGNORECASE
)
_COMMENT: Final = re.compile(r"(?:^|\s)#")
_KEY_LINE: Final = re.compile(r"""(\s*)(?:"[^"]+"|'[^']+'|[./@-]*+\w[\w./*@-]*+)\s*+:(?:\s|$)""")
_TARGET: Final = re.compile(r"[\w.-]+/[\w./:@*-]+")
_ALIAS: Final = re.compile(r"\*([^\s,\[\]{}]+)")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_Point = tuple[int, int]
_Span = tuple[_Point, _Point]


def hides(parent: str, key: str, value: Json = None) -> bool:
    """Say whether the value of a key is hidden, given the key around it: an alias may be called `secret-model`."""
    if parent in ENTRY_LISTS:
        return re.sub(r"[^a-z0-9]", "", key.lower()) in _ALWAYS_SECRET
    return is_secret_name(key) and not names_no_secret(parent, key, value)


def wants_address(parent: str, key: str) -> bool:
    """Say whether a value is an address, given the key around its own: an alias may be called `curl-model`."""
    return parent not in ENTRY_LISTS and is_address_name(key)


class Mask:
    """Shows lines of one text with their secrets hidden. Searches the text for secrets at the first excerpt."""

    def __init__(self, text: str, root: Node | None = None) -> None:
        self._text = text
        self._root = root

    def with_names_of(self, root: Node) -> Mask:
        """Return a mask of the same text that knows the names in another tree as well: of the files beside it."""
        return Mask(self._text, root)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of models, providers and capabilities that the file chose: they may look odd."""
        blocks = (self._root.members.get(name) for name in ENTRY_LISTS) if self._root is not None else ()
        return frozenset(key for block in blocks if block is not None for key in block.members)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        return tuple(LINE_BREAK.split(self._text))

    @cached_property
    def _covered(self) -> dict[int, _Covered]:
        """Lines that were shown: a line may have thousands of faults."""
        return {}

    @cached_property
    def _spans(self) -> dict[int, list[tuple[int, int]]]:
        return _find_spans(self._text, self.lines, self.names)

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        """The texts that are hidden somewhere: a slip of the editor may have copied one to another place."""
        texts = (
            self.lines[number][start:end].strip("\"' ") for number, spans in self._spans.items() for start, end in spans
        )
        return tuple(islice(dict.fromkeys(text for text in texts if len(text) >= MIN_REPEATED), MAX_REPEATED))

    def _repeated(self, line: str) -> Iterator[tuple[int, int]]:
        for secret in self._secrets:
            start = line.find(secret)
            while start >= 0:
                yield start, start + len(secret)
                start = line.find(secret, start + len(secret))

    def excerpt(self, line: int, column: int) -> tuple[str, int] | None:
        """Return the masked line and the position of `column` in it, from 1; None when there is no such line."""
        if not 1 <= line <= len(self.lines):
            return None
        covered = self._covered.get(line)
        if covered is None:
            covered = self._covered[line] = _cover(
                self.lines[line - 1],
                self._spans.get(line - 1, []),
                [*self._repeated(self.lines[line - 1])],
                self.names,
            )
        shown, caret = covered.shown, covered.moved(column - 1)
        start = max(0, caret - EXCERPT_LENGTH // 2) if len(shown) > EXCERPT_LENGTH else 0
        cut = _UNPRINTABLE.sub("\ufffd", shown[start : start + EXCERPT_LENGTH])
        if start:
            cut = "…" + cut[1:]
        if start + EXCERPT_LENGTH < len(shown):
            cut = cut[:-1] + "…"
        return cut, caret - start + 1


@dataclass(frozen=True, slots=True)
class _Covered:
    """One line with its secrets replaced by stars."""

    shown: str
    stars: tuple[tuple[int, int, int], ...]
    """By replaced part, in order: its start and end in the line, and the start of its stars in `shown`."""

    def moved(self, caret: int) -> int:
        """Return the place in `shown` of a place in the line."""
        before = bisect_right(self.stars, caret, key=lambda part: part[0] + 1) - 1
        if before < 0:
            return caret
        _, end, at = self.stars[before]
        return at if caret < end else at + len(STARS) + caret - end


def _cover(line: str, spans: list[tuple[int, int]], repeated: list[tuple[int, int]], names: frozenset[str]) -> _Covered:
    """Replace the spans of one line by stars, and secrets of other places that stand here again."""
    spans = list(spans)
    if spans:
        last = max(end for _, end in spans)
        if comment := _COMMENT.search(line, max(0, last - 1)):
            spans.append((comment.end(), len(line)))
    comment = _COMMENT.search(line)
    start = _end_of_secret_word(line, comment.end()) if comment else None
    if start is not None:
        spans.append((start, len(line)))
    spans += [*secret_spans(line, names), *repeated]
    parts: list[str] = []
    stars: list[tuple[int, int, int]] = []
    length = done = 0
    for start, end in merged(spans):
        if not _ONLY_VARIABLES_QUOTED.fullmatch(line, start, end):
            length += start - done
            parts += line[done:start], STARS
            stars.append((start, end, length))
            length += len(STARS)
            done = end
    return _Covered("".join([*parts, line[done:]]), tuple(stars))


def _find_spans(text: str, lines: tuple[str, ...], names: frozenset[str]) -> dict[int, list[tuple[int, int]]]:
    found, addresses, complete = _parsed_spans(text, names)
    if not complete:
        found += _raw_spans(lines)
        addresses += _joined(_spans_after(lines, partial(_end_of, _ADDRESS_TEXT)))
    found += [part for span in addresses for part in _user_info_of(lines, span)]
    spans: dict[int, list[tuple[int, int]]] = {}
    for (first, start), (last, end) in found:
        for number, line in enumerate(lines[first : last + 1], start=first):
            begin = start if number == first else len(line) - len(line.lstrip())
            spans.setdefault(number, []).append((begin, end if number == last else len(line)))
    return spans


def _user_info_of(lines: tuple[str, ...], span: _Span) -> list[_Span]:
    """Return the part of an address up to its last `@`; an empty list when it has none."""
    (first, start), (last, end) = span
    if first >= len(lines):  # a value that the text's end cuts off begins below its last line
        return []
    start = start_of_host(lines[first], start)
    for number in range(min(last, len(lines) - 1), first - 1, -1):
        at = lines[number].rfind("@", start if number == first else 0, end if number == last else None)
        if at >= 0:
            return [((first, start), (number, at))]
    return []


@dataclass(slots=True)
class _Frame:
    """One open collection of the text."""

    is_map: bool
    name: str
    """Key of the collection in its parent."""
    hidden: bool
    address: bool
    anchor: str | None
    start: _Point
    key: str | None = None
    """The key whose value comes next; None while a key comes next."""


def _parsed_spans(text: str, names: frozenset[str]) -> tuple[list[_Span], list[_Span], bool]:
    """Return the spans of secret scalars and of addresses, and whether the YAML parser reached the end of the text."""
    spans: list[_Span] = []
    addresses: list[_Span] = []
    anchors: dict[str, _Span] = {}
    stack: list[_Frame] = []
    try:
        for event in events(text):
            kind = type(event)
            if kind in (yaml.MappingStartEvent, yaml.SequenceStartEvent):
                if len(stack) > 200:
                    return spans, addresses, False
                hidden, address, name = _next_value(stack, _A_SOURCE if kind is yaml.MappingStartEvent else None)
                is_map = kind is yaml.MappingStartEvent
                start = (event.start_mark.line, event.start_mark.column)
                stack.append(_Frame(is_map, name, hidden, address, event.anchor, start))
            elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
                frame = stack.pop()
                if frame.anchor is not None:
                    anchors[frame.anchor] = (frame.start, (event.end_mark.line, event.end_mark.column))
                _value_done(stack, "")
            elif kind in (yaml.ScalarEvent, yaml.AliasEvent):
                span = ((event.start_mark.line, event.start_mark.column), (event.end_mark.line, event.end_mark.column))
                value = event.value if kind is yaml.ScalarEvent else ""
                is_key = bool(stack) and stack[-1].is_map and stack[-1].key is None
                hidden, address, _ = _next_value(stack, value)
                if kind is yaml.AliasEvent:
                    both = [span, anchors[event.anchor]] if event.anchor in anchors else [span]
                    spans += both if hidden else []
                    addresses += both if address else []
                else:
                    if event.anchor is not None:
                        anchors[event.anchor] = span
                    is_secret = mask_key(value, names) != value if is_key else _hard_to_mask(text, event)
                    is_secret = is_secret or (not is_key and _has_slipped(stack, value))
                    if is_secret or (hidden and not (is_key and shows_key(stack[-1].name, value))):
                        spans.append(_without_anchor(event, span))
                    elif address:
                        addresses.append(_without_anchor(event, span))
                _value_done(stack, value)
    except yaml.YAMLError:
        return spans, addresses, False
    return spans, addresses, True


_A_SOURCE: Final = {"header": ""}
"""Stands for a mapping that begins: only its members tell whether it is the key of a pool."""


def _next_value(stack: list[_Frame], value: Json) -> tuple[bool, bool, str]:
    """Return whether the next node is secret, whether it is an address, and the key that holds it."""
    if not stack:
        return False, False, ""
    frame = stack[-1]
    if not frame.is_map or frame.key is None:
        return frame.hidden, frame.address, frame.name
    parent = frame.name if len(stack) == 2 else ""
    address = frame.address or wants_address(parent, frame.key)
    if frame.name == "key" and frame.key not in SOURCES:
        return True, address, frame.key
    around = frame.name if frame.name in ("when", "not", "key") else parent
    return frame.hidden or hides(around, frame.key, value), address, frame.key


def _has_slipped(stack: list[_Frame], value: str) -> bool:
    """Tell whether a value is a secret whose indentation slipped to the entries. `secret-model: openai/x` is none."""
    if len(stack) != 2 or stack[1].name not in ENTRY_LISTS or not is_secret_name(stack[1].key or ""):
        return False
    return stack[1].name != "models" or _TARGET.fullmatch(value) is None


def _value_done(stack: list[_Frame], scalar: str) -> None:
    if stack and stack[-1].is_map:
        stack[-1].key = scalar if stack[-1].key is None else None


def _hard_to_mask(text: str, event: Any) -> bool:
    """Tell whether a scalar holds a secret that a search of its single lines would miss: it is folded or escaped."""
    written = text[event.start_mark.index : event.end_mark.index]
    return ("\n" in written or "\r" in written or "\\" in written) and mask_key(event.value) != event.value


def _without_anchor(event: Any, span: _Span) -> _Span:
    (line, column), end = span
    if event.anchor is not None and event.value and event.start_mark.line == event.end_mark.line:
        column += len(event.anchor) + 2
    return ((line, column), end)


def _raw_spans(lines: tuple[str, ...]) -> list[_Span]:
    """Return the spans that look secret, judged by the lines alone: for a text that does not parse."""
    spans = _spans_after(lines, _end_of_secret_word)
    anchors = {name for (number, start), _ in spans for name in _ALIAS.findall(lines[number], start)}
    if anchors:
        names = "|".join(map(re.escape, anchors))
        spans += _spans_after(lines, partial(_end_of, re.compile(rf"&(?:{names})(?=\s|$)")))
    return spans


def _end_of_secret_word(line: str, start: int = 0) -> int | None:
    """Return where the line's first word that announces a secret ends; None when there is none."""
    named = next((match for match in _NAMED.finditer(line, start) if is_secret_name(match[1])), None)
    word = SECRET_TEXT.search(line, start)
    if named is not None and (word is None or named.start() <= word.start()):
        return named.end(1)
    return word.end() if word is not None else None


def _end_of(pattern: re.Pattern[str], line: str) -> int | None:
    match = pattern.search(line)
    return match.end() if match else None


def _spans_after(lines: tuple[str, ...], end_of_word: Callable[[str], int | None]) -> list[_Span]:
    """Return the spans after each found word, up to a line that starts another key at the word's depth or above."""
    spans: list[_Span] = []
    hiding, depth, quote = False, 0, ""
    for number, line in enumerate(lines):
        if hiding:
            key_line = None if quote else _KEY_LINE.match(line)
            if key_line is None or len(key_line[1]) > depth:
                spans.append(((number, 0), (number, len(line))))
                quote = _open_quote(line, quote)
                continue
            hiding = False
        word_end = end_of_word(line)
        if word_end is not None:
            hiding, depth = True, len(line) - len(line.lstrip())
            start = len(line) - len(line[word_end:].lstrip("\"': \t"))
            if line[start - 1] in "\"'" and ":" in line[word_end:start]:
                start -= 1
            spans.append(((number, start), (number, len(line))))
            quote = _open_quote(line[start:], "")
    return spans


def _joined(spans: list[_Span]) -> list[_Span]:
    """Return the spans with those of adjacent lines joined into one."""
    joined: list[_Span] = []
    for begin, end in spans:
        follows = joined and begin[1] == 0
        joined.append((joined.pop()[0] if follows else begin, end))
    return joined


def _open_quote(text: str, quote: str) -> str:
    """Return the quotation mark that is open after the text; `quote` is the one open before it, or empty."""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
    return quote
