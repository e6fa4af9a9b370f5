"""Which parts of a config file's text are secrets, so that excerpts and messages never show one.

Works on the text, not on the parsed values: a file that does not parse may hold keys too. In doubt it hides more.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any, Final

import yaml

from gateway.config.document.yaml_tree import LINE_BREAK, events

STARS: Final = "***"
EXCERPT_LENGTH: Final = 200
"""Characters of a line that an excerpt shows at most, around the fault."""

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_ONLY_VARIABLES: Final = re.compile(rf"(?:\$\{{{_NAME}(?::-)?\}})+")
_ONLY_VARIABLES_QUOTED: Final = re.compile(rf"""["']?{_ONLY_VARIABLES.pattern}["']?""")
_VARIABLE: Final = re.compile(rf"\$\{{({_NAME})(:-(?:[^}}$]|\$(?!\{{))*)?\}}")
_KEY_SHAPED: Final = re.compile(r"\bsk-[A-Za-z0-9_-]{16,}|\b(?:gsk|xai|pplx|hf|AIza)[-_]?[A-Za-z0-9]{20,}")
_ENTRY_LISTS: Final = frozenset({"models", "providers", "capabilities"})
"""Blocks whose keys are names that the user chose."""

_ALWAYS_SECRET: Final = frozenset({"apikey", "headers"})
_SECRET_WORD: Final = re.compile(
    r"apikey(?!file)|(?:access|private)key(?:id)?$|^key$|secret|passw|authorization|credential|headers|header$"
    r"|(?:^|auth|access|session|bearer|api|ad|refresh)token$"
)
_SECRET_TEXT: Final = re.compile(
    r"(?:api|access|private)[-_ ]?key(?![-_ ]?file)|api[-_]?k\w{0,2}y\b|headers?|haeders|authorization|secret"
    r"|passw(?:or)?d|credential|(?:auth|access|session|bearer|api)[-_]?token|(?<![\w.-])(?:key|token)[\"']?\s*:",
    re.IGNORECASE,
)
_ADDRESS_WORD: Final = re.compile(r"ur[il]|endpoint|apibase|address|^host|host$|proxy")
_ADDRESS_TEXT: Final = re.compile(
    r"(?:ur[il]|ulr|endpoint|api[-_]?base|address|host|proxy)[\w-]*[\"']?\s*:", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"://|https?[:/]+", re.IGNORECASE)
_HTTP: Final = re.compile("https?://", re.IGNORECASE)
_GLUED: Final = re.compile(
    r"((?:api[-_]?key|password|secret|token|authorization)\w*[\"']?[:=])(?=\S)\S+", re.IGNORECASE
)
_COMMENT: Final = re.compile(r"(?:^|\s)#")
_KEY_LINE: Final = re.compile(r"""(\s*)(?:"[^"]+"|'[^']+'|[\w./@-]*\w[\w./*@-]*)\s*:(?:\s|$)""")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_ALIAS: Final = re.compile(r"\*([^\s,\[\]{}]+)")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_Point = tuple[int, int]
_Span = tuple[_Point, _Point]


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Say whether the value of a key of this name is hidden: `api_key`, `headers`, and what looks like them."""
    squashed = re.sub(r"[^a-z0-9]", "", key.lower())
    if _SECRET_WORD.search(squashed):
        return True
    return 4 <= len(squashed) <= 9 and any(
        SequenceMatcher(None, squashed, word).ratio() >= 0.8 for word in _ALWAYS_SECRET
    )


@lru_cache(maxsize=4096)
def is_address_key(key: str) -> bool:
    """Say whether a key of this name wants an address: whatever stands before an `@` in its value is hidden."""
    squashed = re.sub(r"[^a-z0-9]", "", key.lower())
    if _ADDRESS_WORD.search(squashed):
        return True
    return 4 <= len(squashed) <= 9 and SequenceMatcher(None, squashed, "baseurl").ratio() >= 0.8


def hides(parent: str, key: str) -> bool:
    """Say whether the value of a key is hidden, given the key around it: an alias may be called `secret-model`."""
    if parent in _ENTRY_LISTS:
        return re.sub(r"[^a-z0-9]", "", key.lower()) in _ALWAYS_SECRET
    return is_secret_key(key)


def wants_address(parent: str, key: str) -> bool:
    """Say whether a value is an address, given the key around its own: an alias may be called `curl-model`."""
    return parent not in _ENTRY_LISTS and is_address_key(key)


def mask_text(text: str) -> str:
    """Return a message or a value with URL user-info and what is shaped like a key replaced by stars."""
    for start, end in reversed(_user_info(text)):
        text = text[:start] + STARS + text[end:]
    return _KEY_SHAPED.sub(STARS, _GLUED.sub(rf"\1{STARS}", text))


def mask_address(text: str) -> str:
    """Return the value of an address key without its user-info, however malformed the address is."""
    at = text.rfind("@")
    return mask_text(text) if at < 0 else text[: _start_of(text, 0)] + STARS + text[at:]


def shows_key(parent: str, key: str) -> bool:
    """Say whether a key below a secret one may be shown: the names of headers may."""
    return parent == "headers" and _HEADER_NAME.fullmatch(key) is not None


def mask_key(key: str) -> str:
    """Return a key as it may be shown: `api_key:sk-1`, or the same over two lines, is one long key to YAML."""
    told = _SECRET_TEXT.search(key)
    if told and re.match(r"[^\w.-]", key[told.end() :]):
        key = key[: told.end()] + STARS
    return mask_text(key)


def mask_written(text: str) -> str:
    """Return a secret as written: its `${NAME}` stay, literal parts and literal defaults become stars."""
    parts: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        if match.start() > end:
            parts.append(STARS)
        default = match[2] or ""
        parts.append("${" + match[1] + (f":-{STARS}" if len(default) > 2 else default) + "}")
        end = match.end()
    if end < len(text):
        parts.append(STARS)
    return "".join(parts)


def _user_info(text: str) -> list[tuple[int, int]]:
    """Return where user-info stands: in a word, from the first `://` to the last `@`, whatever is between them.

    `http:/` and `http//` are as good as `http://`: who mistypes an address shows no password for it.
    """
    if "@" not in text:
        return []
    spans = []
    for word in re.finditer(r"\S+", text):
        scheme, at = _SCHEME.search(text, *word.span()), text.rfind("@", *word.span())
        if scheme and scheme.end() <= at:
            spans.append((scheme.end(), at))
    return spans


def is_made_of_variables(text: str) -> bool:
    """Say whether nothing but `${NAME}` stands in a text, so that showing it gives nothing away."""
    return _ONLY_VARIABLES.fullmatch(text) is not None


class Mask:
    """Shows lines of one text with their secrets hidden. Looks for secrets when the first line is asked for."""

    __slots__ = ("_lines", "_spans", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: tuple[str, ...] | None = None
        self._spans: dict[int, list[tuple[int, int]]] | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        if self._lines is None:
            self._lines = tuple(LINE_BREAK.split(self._text))
        return self._lines

    def excerpt(self, line: int, column: int) -> tuple[str, int] | None:
        """Return the line as it may be shown and the column in it where `column` now stands; None past the end."""
        lines = self.lines
        if not 1 <= line <= len(lines):
            return None
        if self._spans is None:
            self._spans = _find_spans(self._text, lines)
        shown, caret = _cover(lines[line - 1], self._spans.get(line - 1, []), column - 1)
        start = max(0, caret - EXCERPT_LENGTH // 2) if len(shown) > EXCERPT_LENGTH else 0
        cut = _UNPRINTABLE.sub("\ufffd", shown[start : start + EXCERPT_LENGTH])
        if start:
            cut = "…" + cut[1:]
        if start + EXCERPT_LENGTH < len(shown):
            cut = cut[:-1] + "…"
        return cut, caret - start + 1


def _cover(line: str, spans: list[tuple[int, int]], caret: int) -> tuple[str, int]:
    """Replace the spans of one line by stars and move the caret along."""
    spans = list(spans)
    if spans:
        last = max(end for _, end in spans)
        behind = _COMMENT.search(line, max(0, last - 1))
        if behind:
            spans.append((behind.end(), len(line)))
    comment = _COMMENT.search(line)
    told = comment and _SECRET_TEXT.search(line, comment.end())
    if told:
        spans.append((told.end(), len(line)))
    spans += _user_info(line)
    spans += [match.span() for match in _KEY_SHAPED.finditer(line)]
    spans += [(match.end(1), match.end()) for match in _GLUED.finditer(line)]
    shown, moved, done = "", caret, 0
    for start, end in _merged(spans):
        if not _ONLY_VARIABLES_QUOTED.fullmatch(line, start, end):
            shown += line[done:start] + STARS
            if caret >= end:
                moved += len(STARS) - (end - start)
            elif caret > start:
                moved = len(shown) - len(STARS)
            done = end
    return shown + line[done:], moved


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def _find_spans(text: str, lines: tuple[str, ...]) -> dict[int, list[tuple[int, int]]]:
    found, addresses, whole = _parsed_spans(text)
    if not whole:
        found += _raw_spans(lines)
        addresses += _joined(_spans_after(lines, _ADDRESS_TEXT))
    found += [part for span in addresses for part in _up_to_at(lines, span)]
    spans: dict[int, list[tuple[int, int]]] = {}
    for (first, start), (last, end) in found:
        for number in range(first, min(last, len(lines) - 1) + 1):
            here = spans.setdefault(number, [])
            line = lines[number]
            here.append(
                (start if number == first else len(line) - len(line.lstrip()), end if number == last else len(line))
            )
    return spans


def _start_of(line: str, start: int) -> int:
    """Return where the part of an address begins that may be user-info: behind a quotation mark and `http://`."""
    start += line.startswith(("'", '"'), start)
    begins = _HTTP.match(line, start)
    return begins.end() if begins else start


def _up_to_at(lines: tuple[str, ...], span: _Span) -> list[_Span]:
    """Return the part of an address up to its last `@`; nothing when it has none."""
    (first, start), (last, end) = span
    start = _start_of(lines[first], start)
    for number in range(min(last, len(lines) - 1), first - 1, -1):
        at = lines[number].rfind("@", start if number == first else 0, end if number == last else None)
        if at >= 0:
            return [((first, start), (number, at))]
    return []


class _Frame:
    """One open collection of the text."""

    __slots__ = ("address", "begin", "hidden", "is_map", "key", "name")

    def __init__(
        self, *, is_map: bool, name: str, hidden: bool, address: bool, begin: tuple[str | None, _Point]
    ) -> None:
        self.is_map = is_map
        self.name = name
        """The key it stands under."""
        self.hidden = hidden
        self.address = address
        self.begin = begin
        self.key: str | None = None
        """The key whose value comes next; None while a key comes next."""


def _parsed_spans(text: str) -> tuple[list[_Span], list[_Span], bool]:
    """Return the secret scalars that the YAML parser sees, the addresses, and whether it saw the whole text."""
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
                hidden, address, name = _next_value(stack)
                point = (event.start_mark.line, event.start_mark.column)
                is_map = kind is yaml.MappingStartEvent
                begin = (event.anchor, point)
                stack.append(_Frame(is_map=is_map, name=name, hidden=hidden, address=address, begin=begin))
            elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
                anchor, point = stack.pop().begin
                if anchor is not None:
                    anchors[anchor] = (point, (event.end_mark.line, event.end_mark.column))
                _value_done(stack, "")
            elif kind in (yaml.ScalarEvent, yaml.AliasEvent):
                span = (
                    (event.start_mark.line, event.start_mark.column),
                    (event.end_mark.line, event.end_mark.column),
                )
                value = event.value if kind is yaml.ScalarEvent else ""
                is_key = bool(stack) and stack[-1].is_map and stack[-1].key is None
                hidden, address, _ = _next_value(stack)
                if kind is yaml.AliasEvent:
                    meant = [anchors[event.anchor]] if event.anchor in anchors else []
                    spans += [span, *meant] if hidden else []
                    addresses += [span, *meant] if address else []
                else:
                    if event.anchor is not None:
                        anchors[event.anchor] = span
                    tells = mask_key(value) != value if is_key else _hard_to_mask(text, event)
                    if tells or (hidden and not (is_key and shows_key(stack[-1].name, value))):
                        spans.append(_without_anchor(event, span))
                    elif address:
                        addresses.append(_without_anchor(event, span))
                _value_done(stack, value)
    except yaml.YAMLError:
        return spans, addresses, False
    return spans, addresses, True


def _next_value(stack: list[_Frame]) -> tuple[bool, bool, str]:
    """Say whether the node that comes next is secret, whether it is an address, and the key it stands under."""
    if not stack:
        return False, False, ""
    frame = stack[-1]
    if not frame.is_map or frame.key is None:
        return frame.hidden, frame.address, frame.name
    parent = frame.name if len(stack) == 2 else ""
    address = frame.address or wants_address(parent, frame.key)
    return frame.hidden or hides(parent, frame.key), address, frame.key


def _value_done(stack: list[_Frame], scalar: str) -> None:
    if stack and stack[-1].is_map:
        stack[-1].key = scalar if stack[-1].key is None else None


def _hard_to_mask(text: str, event: Any) -> bool:
    """Say whether a scalar holds a secret that its lines, looked at one by one, would not show as one."""
    written = text[event.start_mark.index : event.end_mark.index]
    return ("\n" in written or "\r" in written or "\\" in written) and mask_key(event.value) != event.value


def _without_anchor(event: Any, span: _Span) -> _Span:
    (line, column), end = span
    if event.anchor is not None and event.value and event.start_mark.line == event.end_mark.line:
        column += len(event.anchor) + 2
    return ((line, column), end)


def _raw_spans(lines: tuple[str, ...]) -> list[_Span]:
    """Return what may be secret going by the look of the lines alone."""
    spans = _spans_after(lines, _SECRET_TEXT)
    anchors = {name for (number, start), _ in spans for name in _ALIAS.findall(lines[number], start)}
    if anchors:
        names = "|".join(map(re.escape, anchors))
        spans += _spans_after(lines, re.compile(rf"&(?:{names})(?=\s|$)"))
    return spans


def _spans_after(lines: tuple[str, ...], tell: re.Pattern[str]) -> list[_Span]:
    """Return what follows a telling word, up to a line that clearly starts another key, no deeper than the word's."""
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
        match = tell.search(line)
        if match:
            hiding, depth = True, len(line) - len(line.lstrip())
            start = match.end()
            while start < len(line) and line[start] in "\"': \t":
                start += 1
            if line[start - 1] in "\"'" and ":" in line[match.end() : start]:
                start -= 1
            spans.append(((number, start), (number, len(line))))
            quote = _open_quote(line[start:], "")
    return spans


def _joined(spans: list[_Span]) -> list[_Span]:
    """Put the lines that follow a telling word together again."""
    joined: list[_Span] = []
    for begin, end in spans:
        follows = joined and begin[1] == 0
        joined.append((joined.pop()[0] if follows else begin, end))
    return joined


def _open_quote(text: str, quote: str) -> str:
    """Return the quotation mark that is still open after the text, given the one that was open before it."""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
    return quote
