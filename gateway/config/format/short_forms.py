"""Rewrite a YAML text without changing its meaning: short forms, keys in the documented order, names unquoted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, TypeAlias

import yaml

from gateway.config.document.yaml_tree import resolve
from gateway.config.format.text import Edit, Piece, Written
from gateway.config.model.limit_texts import COUNTED, WINDOWS
from gateway.config.model.schema_faults import NAME
from gateway.wire.json import Json, JsonObject

Place: TypeAlias = tuple[Piece | None, Piece, JsonObject]
"""A key, or None in a list; its value; the value's part of the inlined schema."""

_ONLY: Final = {"step": "target", "member": "target", "hook": "path", "cache": "ttl"}
"""The only key of a mapping that has a short form, by definition of the schema."""
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,11}|[0-9]{1,9}(?:\.[0-9]{1,6})?[kM]")
"""Amounts that a limit's short form can have, as they are written in its long form."""
_BARE: Final = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./@+-]*[A-Za-z0-9_])?")
_QUOTED_WORDS: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""Words that some YAML parsers do not read as text."""
_BETWEEN_LINES: Final = re.compile(r"\n *")
_BETWEEN_COMMAS: Final = re.compile(r"(?<!\s)\s*+,\s*")


def meaning(value: Json, rule: JsonObject) -> Json:
    """Return a value in its short form; a mapping as its pairs, sorted if the schema names its keys."""
    if isinstance(value, list):
        items = [meaning(item, _rule(rule, "items")) for item in value]
        if rule.get(NAME) == "alias" and len(items) == 1 and isinstance(items[0], str):
            return items[0]
        return items
    if not isinstance(value, dict):
        return value
    (key, only), *more = value.items() if value else (("", None),)
    if not more and rule.get(NAME) == "alias" and key == "chain" and isinstance(only, list):
        return meaning(only, rule)
    if not more and _ONLY.get(rule.get(NAME, "")) == key and isinstance(only, str):
        return only
    if rule.get(NAME) == "limit" and (limit := _limit({name: str(item) for name, item in value.items()})):
        return limit
    pairs: list[Json] = [[name, meaning(item, _member(rule, name))] for name, item in value.items()]
    return {"pairs": sorted(pairs, key=lambda pair: pair[0]) if _is_ordered(rule) else pairs}


def short_forms(written: Written, rule: JsonObject) -> str:
    """Return the text with short forms wherever no comment prevents one."""
    edits: list[Edit] = []
    for key, piece, part in _places(written.root, rule):
        name = part.get(NAME, "")
        if name == "alias":
            edits += _shorter_alias(written, key, piece)
        elif name == "limit":
            edits += _shorter_limit(written, piece)
        elif (only := _only(piece, _ONLY.get(name))) is not None and _is_text(written, only):
            edits += _unwrapped(written, None, piece, only)
    # Edits inside an edited value, such as a shortened alias' steps, wait for the next round.
    done: list[Edit] = []
    for edit in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if not done or edit[0] >= done[-1][1]:
            done.append(edit)
    return written.edit(done)


def in_order(written: Written, rule: JsonObject) -> str:
    """Return the text with keys in the schema's order, wherever a comment surely stays with its key."""
    edits: list[Edit] = []
    done = 0
    for _, piece, part in _places(written.root, rule):
        # Mappings inside an ordered mapping wait for the next round.
        if piece.kind == "map" and _is_ordered(part) and piece.start >= done:
            ordered = _ordered(written, piece, list(part["properties"]))
            edits += ordered
            done = piece.end if ordered else done
    return written.replace(edits)


def bare_names(written: Written) -> str:
    """Return the text without quotes around names that every YAML parser reads as text."""
    edits: list[Edit] = []
    for token in written.tokens:
        if token.kind is yaml.ScalarToken and token.style in ("'", '"'):
            name = written.text[token.start + 1 : token.end - 1]
            if _BARE.fullmatch(name) and name.lower() not in _QUOTED_WORDS:
                edits.append((token.start, token.end, name))
    return written.edit(edits)


def _rule(rule: JsonObject, name: str) -> JsonObject:
    found = rule.get(name)
    return found if isinstance(found, dict) else {}


def _member(rule: JsonObject, name: str) -> JsonObject:
    return _rule(_rule(rule, "properties"), name) or _rule(rule, "additionalProperties")


def _is_ordered(rule: JsonObject) -> bool:
    """Tell whether keys have a documented order. At the top of the file they have none."""
    return "properties" in rule and NAME in rule


def _places(piece: Piece | None, rule: JsonObject, key: Piece | None = None) -> Iterator[Place]:
    """Yield the values that the schema describes, outer ones first. Skips anchors, which may be used elsewhere."""
    if piece is None or piece.anchored or not rule:
        return
    yield key, piece, rule
    if piece.kind == "seq":
        for item in piece.children:
            yield from _places(item, _rule(rule, "items"))
    elif piece.kind == "map":
        for name, value in piece.entries:
            yield from _places(value, _member(rule, name.value), name)


def _only(piece: Piece, name: str | None) -> Piece | None:
    """Return the value of a mapping's only key if the key is `name`, else None."""
    if piece.kind != "map" or len(piece.children) != 2 or piece.anchored or piece.children[0].anchored:
        return None
    return piece.children[1] if piece.children[0].value == name else None


def _is_text(written: Written, piece: Piece) -> bool:
    """Tell whether a value is text on one line, without an anchor."""
    if piece.kind != "scalar" or piece.anchored or "\n" in written.text[piece.start : piece.end]:
        return False
    return bool(piece.value) and (bool(piece.style) or isinstance(resolve(piece.value), str))


def _limit(entries: dict[str, str]) -> str | None:
    """Return a limit's short form, or None for one that has none; `entries` is its long form."""
    (unit, amount), *rest = [entry for entry in entries.items() if entry[0] != "per"] or [("", "")]
    if rest or not _AMOUNT.fullmatch(amount):
        return None
    if "per" not in entries:
        return f"{amount} {unit}" if unit == "concurrent" else None
    return f"{amount} {unit}/{entries['per']}" if unit in COUNTED and entries["per"] in WINDOWS else None


def _shorter_limit(written: Written, piece: Piece) -> list[Edit]:
    if piece.kind != "map" or piece.shared or any(value.kind != "scalar" for _, value in piece.entries):
        return []
    limit = _limit({key.value: value.value for key, value in piece.entries})
    if limit is None or written.comment_in(piece.start, piece.end) is not None:
        return []
    if not piece.flow and any(hung >= written.column(piece.start) for hung in written.hanging(piece.end)):
        return []
    return [(piece.start, piece.end, limit)]


def _shorter_alias(written: Written, key: Piece | None, piece: Piece) -> list[Edit]:
    chain = piece if piece.kind == "seq" else _only(piece, "chain")
    if chain is None or chain.kind != "seq" or chain.anchored or not chain.children:
        return []
    first = chain.children[0]
    only = first if first.kind == "scalar" else _only(first, "target")
    edits: list[Edit] = []
    if len(chain.children) == 1 and only is not None and _is_text(written, only):
        edits = _unwrapped(written, key, piece, only)
    return edits or ([] if chain is piece else _unwrapped(written, key, piece, chain))


def _unwrapped(written: Written, key: Piece | None, outer: Piece, inner: Piece) -> list[Edit]:
    """Return the edits that replace the outer value with the inner one; none if a comment prevents it."""
    if written.comment_in(outer.start, inner.start) is not None or written.comment_in(inner.end, outer.end) is not None:
        return []
    rest: Edit = (inner.end, outer.end, "")
    if outer.flow:
        return [(outer.start, inner.start, ""), rest]
    column, inner_column = written.column(outer.start), written.column(inner.start)
    stays = inner_column if not inner.flow and inner_column > column else None
    if any(hung >= column and (stays is None or hung < stays) for hung in written.hanging(outer.end)):
        return []
    above = None if key is None else written.comment_in(key.end, outer.start)
    if not inner.flow:
        if not written.begins_line(outer.start) or (above is not None and written.comment_in(above + 1, outer.start)):
            return []
        if above is not None and written.begins_line(above):
            return []
        return [(outer.start, inner.start, " " * (inner_column - column)), rest]
    if key is None:
        return [(outer.start, inner.start, ""), rest]
    return [] if above is not None else [(written.text.index(":", key.end) + 1, inner.start, " "), rest]


def _ordered(written: Written, piece: Piece, names: list[str]) -> list[Edit]:
    """Return the edits that put a mapping's entries in order; none if they are, or if it is not safe."""
    text, entries = written.text, piece.entries
    wanted = sorted(entries, key=lambda entry: names.index(entry[0].value) if entry[0].value in names else -1)
    if wanted == entries or piece.shared or any(key.value not in names for key, _ in entries):
        return []

    def slot(entry: tuple[Piece, Piece]) -> tuple[int, int]:
        return entry[0].start, entry[1].end if piece.flow else written.line_end(entry[1].end)

    slots = [slot(entry) for entry in entries]
    separator = _BETWEEN_COMMAS if piece.flow else _BETWEEN_LINES
    if not all(separator.fullmatch(text[end:start]) for (_, end), (start, _) in pairwise(slots)) or any(
        value.start == value.end or _keeps_breaks(text, value) for _, value in entries
    ):
        return []
    if not piece.flow:
        column, line = written.column(piece.start), written.line_start(piece.start)
        above = written.comment_in(written.line_start(max(0, line - 1)), line)
        if any(hung >= column for hung in written.hanging(piece.end)) or (
            written.begins_line(piece.start) and above is not None and written.begins_line(above)
        ):
            return []
    return [(start, end, text[slice(*slot(entry))]) for (start, end), entry in zip(slots, wanted, strict=True)]


def _keeps_breaks(text: str, value: Piece) -> bool:
    """Tell whether a block text keeps the empty lines behind it, or ends the file without a line break."""
    if value.children:
        return any(_keeps_breaks(text, child) for child in value.children)
    return value.block_text and ("+" in text[value.start :].split("\n")[0] or value.end == len(text))
