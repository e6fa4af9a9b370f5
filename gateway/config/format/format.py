"""A config file's or a test file's text in its normal form. Never another meaning, never a comment less."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from gateway.config.document.document import parse
from gateway.config.format import layout, short_forms
from gateway.config.format.text import Written
from gateway.config.model.read import schema
from gateway.config.model.schema_faults import inline
from gateway.errors import UsageError
from gateway.policy.problem import Problem
from gateway.wire.json import Json, JsonObject

_ROUNDS: Final = 20
_ODD_BREAKS: Final = re.compile("[\x85\u2028\u2029]")


class FormattingError(Exception):
    """Formatting would have changed what the file says: a fault of ours. Nothing may be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formatted:
    """What came of one text."""

    data: bytes
    """In normal form; as it was when there are problems."""
    problems: tuple[Problem, ...] = ()


def format_bytes(data: bytes, *, name: str) -> Formatted:
    """Put a file in normal form; of a file of test cases the layout alone. Raises UsageError and FormattingError."""
    document = parse(data, name=name)
    if document.problems:
        return Formatted(data=data, problems=document.problems)
    text = data.removeprefix(codecs.BOM_UTF8).decode()
    if odd := _ODD_BREAKS.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise UsageError(f"{name}:{line}: the line break U+{ord(odd[0]):04X} cannot be kept; write it as an escape")
    first = text.find("\n")
    line_break = "\r\n" if text[max(0, first - 1) : first] == "\r" else "\n"
    before = text.replace("\r\n", "\n").replace("\r", "\n")
    rules = _rules() if is_policy(name, document.value or {}) else {}
    after = _settled(before, rules)
    _compare(before, after, rules)
    marked = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return Formatted(data=marked + after.replace("\n", line_break).encode())


def is_policy(name: str, value: JsonObject) -> bool:
    """Tell a config file from a file of test cases."""
    return not name.endswith((".test.yaml", ".test.yml")) and ("models" in value or "cases" not in value)


@cache
def _rules() -> JsonObject:
    whole = schema()
    rules: JsonObject = inline(whole, whole)
    return rules


def _settled(text: str, rules: JsonObject) -> str:
    """Return the text after as many rounds as change something."""
    steps: list[Callable[[Written], str]] = [layout.tidy, layout.space]
    if rules:
        steps += [
            lambda written: short_forms.short_forms(written, rules),
            lambda written: short_forms.in_order(written, rules),
            short_forms.bare_names,
        ]
    steps.append(layout.indent)
    written = Written(text)
    for _ in range(_ROUNDS):
        before = written
        for step in steps:
            text = step(written)
            written = written if text == written.text else Written(text)
        if written is before:
            return text
    raise FormattingError("it does not settle")


def _compare(before: str, after: str, rules: JsonObject) -> None:
    """Raise FormattingError unless two texts say the same with the same comments."""
    if _said(before, rules) != _said(after, rules):
        raise FormattingError("the values would change")
    if _comments(before) != _comments(after):
        raise FormattingError("a comment would be lost")


def _said(text: str, rules: JsonObject) -> str:
    value: Json = parse(text.encode(), name="").value
    return repr(short_forms.meaning(value, rules))


def _comments(text: str) -> list[str]:
    written = Written(text)
    return sorted(text[start:end].rstrip() for start, end in written.comments)
