"""The report of an import: whether each item of the config is carried over exactly, approximately or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from gateway.config.document.document import Document, written
from gateway.config.document.yaml_tree import Node, Where
from gateway.importers.litellm.values import MAX_RETRIES, duration, in_variable, is_reference, whole
from gateway.policy.problem import Problem
from gateway.policy.secrets import mask_text
from gateway.wire.json import Json, JsonObject
from gateway.words import count, printable

_UNDERSCORED: Final = re.compile(r"[-+]?[0-9]+_[0-9_]*")
_BOOLEANS: Final = {"yes": True, "on": True, "no": False, "off": False}

_TEXT_NOTES: Final = {
    "duplicate-key": "this key stands there twice; the last one counts, as it does for LiteLLM",
    "yaml-tag": "the tag is dropped and the value read without it",
}


class Verdict(StrEnum):
    """How well one item is carried over."""

    EXACT = "exactly"
    APPROXIMATE = "approximately"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of the config and its verdict."""

    line: int
    path: str
    """The place as `model_list[0].litellm_params.model`; empty for the whole file."""
    verdict: Verdict
    message: str

    def as_json(self) -> JsonObject:
        """Return the item as JSON."""
        return asdict(self)


class Report:
    """Collects the items; `sweep` reports the places of the config that have none."""

    def __init__(self, document: Document, *, base: Where = ()) -> None:
        """`base` is the place of the config in the document; all other places are below it."""
        self._document = document
        self._base = base
        self._items: list[tuple[int, int, Item]] = []
        self._covered: set[Where] = set()

    @property
    def items(self) -> tuple[Item, ...]:
        """All items in the order of the file."""
        return tuple(item for *_, item in sorted(self._items, key=lambda entry: entry[:2]))

    def exact(self, where: Where, message: str) -> None:
        """Report a place as carried over exactly. Entries of a mapping or list need items of their own."""
        self._note(where, Verdict.EXACT, message)
        if not isinstance(self._at(where), dict | list):
            self.cover(where)

    def approximate(self, where: Where, message: str, *, below: bool = True) -> None:
        """Report a place as carried over approximately; with `below`, also everything below it."""
        self._note(where, Verdict.APPROXIMATE, message)
        if below:
            self.cover(where)

    def left_out(self, where: Where, message: str) -> None:
        """Report a place as left out, with everything below it."""
        self._note(where, Verdict.LEFT_OUT, message)
        if where:
            self.cover(where)

    def left_out_keys(self, where: Where, entry: JsonObject, reason: Callable[[str], str | None]) -> None:
        """Report the keys of a mapping for which there is a reason as left out."""
        for key, value in entry.items():
            if value is None:
                self.cover((*where, key))
            elif (message := reason(key)) is not None:
                self.left_out((*where, key), message)

    def duration(self, where: Where, value: Json) -> str | None:
        """Return a duration as the file writes it; report any other value as left out and return None."""
        found = duration(value)
        if found is None:
            self.left_out(where, in_variable(value) or "it must be a number of seconds above zero")
        return found

    def retries(self, where: Where, value: Json) -> int | None:
        """Return a number of retries; report any other value as left out and return None."""
        found = whole(value, at_most=MAX_RETRIES)
        if found is None:
            self.left_out(where, in_variable(value) or "it must be a whole number of retries")
        return found

    def of_text(self, problem: Problem) -> None:
        """Report a problem of the YAML text. LiteLLM may accept such a text."""
        message = _TEXT_NOTES.get(problem.code, problem.message)
        verdict = Verdict.EXACT if problem.code == "duplicate-key" else Verdict.LEFT_OUT
        item = Item(line=problem.line, path=problem.path, verdict=verdict, message=message)
        self._items.append((problem.line, problem.column, item))

    def cover(self, where: Where) -> None:
        """Mark a place, and everything below it, as reported by another item."""
        self._covered.add(where)

    def sweep(self) -> None:
        """Report every place without an item as left out."""
        pending: list[Where] = [()]
        while pending:
            where = pending.pop()
            if where in self._covered:
                continue
            value = self._at(where)
            if isinstance(value, dict) and value:
                pending.extend((*where, key) for key in value)
            elif isinstance(value, list) and value:
                pending.extend((*where, index) for index in range(len(value)))
            elif value is None or value in ({}, []):
                self.exact(where, "has no value")
            else:
                self.left_out(where, "unknown key")

    def has(self, where: Where) -> bool:
        """Tell whether the config has a place."""
        return self._document.node((*self._base, *where)) is not None

    def is_reference(self, where: Where) -> bool:
        """Tell whether the value of a place is `os.environ/NAME`."""
        return is_reference(self._at(where))

    def line(self, where: Where) -> int:
        """Return the line of a place's key, or of its value if it has no key."""
        return self._document.key_position((*self._base, *where))[0]

    def _at(self, where: Where) -> Json:
        node = self._document.node((*self._base, *where))
        return None if node is None else node.value

    def _note(self, where: Where, verdict: Verdict, message: str) -> None:
        place = (*self._base, *where) if where else ()
        line, column = self._document.key_position(place)
        item = Item(line=line, path=written(place), verdict=verdict, message=mask_text(message))
        self._items.append((line, column, item))


def plain_value(node: Node | None) -> Json:
    """Return a node's value as PyYAML reads it for LiteLLM: `yes` and `off` are booleans, `20_000` is a number."""
    if node is None:
        return None
    if isinstance(node.children, dict):
        return {key: plain_value(child) for key, child in node.children.items()}
    if isinstance(node.children, list):
        return [plain_value(child) for child in node.children]
    text = node.value
    if not node.plain or not isinstance(text, str):
        return text
    if text.lower() in _BOOLEANS and text in (text.lower(), text.upper(), text.capitalize()):
        return _BOOLEANS[text.lower()]
    if _UNDERSCORED.fullmatch(text) and len(text) < 20:
        return int(text.replace("_", ""))
    return text


def as_text(items: Sequence[Item], *, source: str) -> str:
    """Return one line for each item, and the summary."""
    lines = []
    for item in items:
        where = f"{source}:{item.line}" if item.line else source
        path = f"{item.path}: " if item.path else ""
        lines.append(printable(f"{where}: {item.verdict}: {path}{item.message}") + "\n")
    return "".join(lines) + summary(items) + "\n"


def summary(items: Sequence[Item]) -> str:
    """Return the number of items, and of those with each verdict."""
    counts = (f"{sum(item.verdict is verdict for item in items)} {verdict}" for verdict in Verdict)
    return f"{count(len(items), 'item')}: {', '.join(counts)}"
