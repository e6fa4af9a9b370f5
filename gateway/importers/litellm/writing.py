"""Write values as YAML: short ones on one line, text quoted where it must be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gateway.config.document.yaml_tree import resolve
from gateway.wire.json import Json

WIDTH: Final = 110
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+@-]*(?::[A-Za-z0-9_./+@-]+)*")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_UNSAFE_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"})
"""Words that some YAML parsers read as a boolean or null."""


def scalar(value: Json) -> str:
    """Return one value that is neither a list nor a mapping."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = repr(value)
        # YAML 1.2 reads 1e-05 as a number; PyYAML only with a dot.
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    return text_scalar(str(value))


def text_scalar(text: str) -> str:
    """Return a text, quoted unless every YAML parser reads it as that text."""
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _UNSAFE_WORDS
    if plain and resolve(text) == text and not re.fullmatch(r"[-+]?[0-9][0-9_.:eEx+-]*", text):
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def flow(value: Json) -> str:
    """Return a value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text_scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def entry(key: str, value: Json, *, indent: int, comment: str = "") -> list[str]:
    """Return the lines of `key: value`: one when it fits, else a block."""
    pad = " " * indent
    line = f"{pad}{text_scalar(key)}: {flow(value)}"
    beside = f"   # {comment}" if comment else ""
    nested = isinstance(value, dict) and any(isinstance(item, list) and len(item) > 1 for item in value.values())
    if not isinstance(value, dict | list) or not value or (len(line) <= WIDTH and not nested):
        if len(line) + len(beside) > WIDTH + 10:
            return [*comment_lines(comment, indent=indent), line]
        return [line + beside]
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return [*comment_lines(comment, indent=indent), *_wrapped(f"{pad}{text_scalar(key)}: [", value)]
    lines = [f"{pad}{text_scalar(key)}:{beside}"]
    if isinstance(value, dict):
        for name, item in value.items():
            lines += entry(name, item, indent=indent + 2)
    else:
        for item in value:
            lines += _item(item, indent=indent + 2)
    return lines


def _item(value: Json, *, indent: int) -> list[str]:
    pad = " " * indent
    line = f"{pad}- {flow(value)}"
    if len(line) <= WIDTH or not isinstance(value, dict) or not value:
        return [line]
    lines = [text for name, item in value.items() for text in entry(name, item, indent=indent + 2)]
    lines[0] = f"{pad}- {lines[0].lstrip()}"
    return lines


def _wrapped(head: str, items: list[Json]) -> list[str]:
    """Return a list of scalars in brackets, wrapped at WIDTH."""
    lines = [head]
    for position, item in enumerate(items):
        text = scalar(item) + ("," if position < len(items) - 1 else "]")
        if lines[-1].endswith(("[", " ")):
            lines[-1] += text
        elif len(lines[-1]) + 1 + len(text) <= WIDTH:
            lines[-1] += f" {text}"
        else:
            lines.append(" " * len(head) + text)
    return lines


def comment_lines(text: str, *, indent: int) -> list[str]:
    """Return a comment wrapped at WIDTH; only a longer word makes a longer line."""
    pad = " " * indent + "# "
    lines: list[str] = []
    words = "".join(char if char.isprintable() else "?" for char in text).split(" ")
    for word in words if text else ():
        if lines and len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(pad + word)
    return lines
