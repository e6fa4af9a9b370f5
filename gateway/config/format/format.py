"""Put a config file or a test file in its normal form, without changing its values or losing a comment."""

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
from gateway.config.include import CASE_SUFFIXES
from gateway.config.model.read import schema
from gateway.config.model.schema_faults import inline
from gateway.errors import UsageError
from gateway.policy.problem import Problem, listed
from gateway.wire.json import JsonObject

_ROUNDS: Final = 20
_ODD_BREAKS: Final = re.compile("[\x85\u2028\u2029]")


class FormattingError(Exception):
    """Formatting would change the file's values or comments: a bug. The caller must not write the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formatted:
    """Result of formatting one text."""

    data: bytes
    """In normal form; unchanged if there are problems."""
    problems: tuple[Problem, ...] = ()


def format_bytes(data: bytes, *, name: str) -> Formatted:
    """Put a file in normal form; for a file of test cases only its layout. Raises UsageError and FormattingError."""
    document = parse(data, name=name)
    if document.problems:
        return Formatted(data=data, problems=listed(document.problems))
    text = data.removeprefix(codecs.BOM_UTF8).decode()
    if odd := _ODD_BREAKS.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise UsageError(f"{name}:{line}: the line break U+{ord(odd[0]):04X} cannot be kept; write it as an escape")
    first = text.find("\n")
    line_break = "\r\n" if text[max(0, first - 1) : first] == "\r" else "\n"
    before = text.replace("\r\n", "\n").replace("\r", "\n")
    rules = _rules() if is_policy(name, document.value or {}) else {}
    after = _settled(before, rules)
    if _meaning(before, rules) != _meaning(after, rules):
        raise FormattingError("the values would change")
    if _comments(before) != _comments(after):
        raise FormattingError("a comment would be lost")
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return Formatted(data=bom + after.replace("\n", line_break).encode())


def is_policy(name: str, value: JsonObject) -> bool:
    """Tell whether a file is a config file, not a file of test cases."""
    return not name.endswith(CASE_SUFFIXES) and ("models" in value or "cases" not in value)


@cache
def _rules() -> JsonObject:
    whole = schema()
    rules: JsonObject = inline(whole, whole)
    return rules


def _settled(text: str, rules: JsonObject) -> str:
    """Apply all steps until none changes the text. Raises FormattingError after _ROUNDS rounds."""
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


def _meaning(text: str, rules: JsonObject) -> str:
    return repr(short_forms.meaning(parse(text.encode(), name="").value, rules))


def _comments(text: str) -> list[str]:
    written = Written(text)
    return sorted(text[start:end].rstrip() for start, end in written.comments)
