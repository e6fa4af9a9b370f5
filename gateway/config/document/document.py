"""YAML text to plain values, each with its line and column.

The tree itself is `yaml_tree`'s; here bytes become text, faults become Problems, and places get names.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.config.document.excerpt import ENTRY_LISTS, Mask, hides
from gateway.config.document.reparse import Entries
from gateway.config.document.yaml_tree import LINE_BREAK, Fault, Node, Position, Where, read_tree
from gateway.policy.problem import Problem, Severity
from gateway.policy.secrets import STARS, mask_key, mask_text, shown, shows_key
from gateway.policy.variables import is_made_of_variables
from gateway.wire.json import EMPTY, Json, JsonObject

MAX_BYTES: Final = 16 * 1024 * 1024
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_DEEPEST: Final = 16
_LONGEST_KEY: Final = 200
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A config file as text understood: plain values with places, and what is wrong with the text itself."""

    name: str
    """The file's name as it was given."""
    digest: str
    """SHA-256 of the bytes, in hex."""
    root: Node | None
    """None when the text holds no mapping that could be judged further; `problems` then says why."""
    problems: tuple[Problem, ...]
    mask: Mask = field(repr=False, compare=False)
    moved: Mapping[str, int] = field(default_factory=lambda: EMPTY)
    """By how many lines aliases stand below where their nodes say: they were read with an earlier text."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        return self.mask.lines

    @property
    def value(self) -> JsonObject | None:
        """The whole file as plain values, variables not expanded; None when there is nothing to judge. Read only."""
        return None if self.root is None else self.root.value

    def node(self, where: Where) -> Node | None:
        """Return the node at a place, or None when the document has no such place."""
        node = self.root
        for part in where:
            if node is None:
                return None
            children = node.children
            if isinstance(children, dict):
                node = children.get(part) if isinstance(part, str) else None
            elif isinstance(children, list):
                node = children[part] if isinstance(part, int) and 0 <= part < len(children) else None
            else:
                return None
        return node

    def position(self, where: Where) -> Position:
        """Return where a value starts; for a place the file does not have, where the nearest one around it does.

        What an anchor brought in stands where the anchor's text is, except the alias itself.
        """
        found: Position = (1, 1)
        node = self.root
        for depth in range(len(where) + 1):
            if node is None:
                break
            found = (node.line + self._moved(where[:depth]), node.column)
            node = self.node(where[: depth + 1])
        return found

    def key_position(self, where: Where) -> Position:
        """Return where the key of a place starts, or the value's position when it has no key."""
        parent = self.node(where[:-1]) if where else None
        key = where[-1] if where else None
        if parent is not None and isinstance(key, str) and key in parent.keys:
            line, column = parent.keys[key]
            return line + self._moved(where[:-1]), column
        return self.position(where)

    def _moved(self, where: Where) -> int:
        return self.moved.get(str(where[1]), 0) if self.moved and len(where) > 1 and where[0] == "models" else 0

    def problem(
        self, code: str, where: Where, message: str, *, key: bool = False, severity: Severity = "error"
    ) -> Problem:
        """Make a Problem at a value, or with `key` at its key, with a masked excerpt of that line."""
        position = self.key_position(where) if key else self.position(where)
        return self.problem_at(position, code, message, where=where, severity=severity)

    def problem_in_full(
        self, code: str, place: Where, message: str, *, key: bool = False, severity: Severity = "error"
    ) -> Problem:
        """Make a Problem at a place that is written in full: a short form of the file has fewer keys on the way."""
        where: Where = ()
        for part in place:
            if self.node((*where, part)) is not None:
                where = (*where, part)
        return self.problem(code, where, message, key=key and where == place, severity=severity)

    def problem_at(
        self, position: Position, code: str, message: str, *, where: Where = (), severity: Severity = "error"
    ) -> Problem:
        """Make a Problem at a line and a column."""
        return _problem(self.name, self.mask, position, code, where, message, severity)


def parse(data: bytes, *, name: str, last_key_wins: bool = False, entries: Entries | None = None) -> Document:
    """Read YAML. Never raises for bad input: `problems` of the result holds what is wrong with the text.

    Of a key that is there twice the first one is kept, or with `last_key_wins` the last one, as most readers do.
    With `entries` the aliases that an earlier text had as well are not parsed again: their nodes are the same objects.
    """
    digest = hashlib.sha256(data).hexdigest()
    text, fault = _decode(data)
    mask = Mask(text)
    root: Node | None = None
    faults: list[Fault] = [fault] if fault is not None else []
    moved: Mapping[str, int] = EMPTY
    if fault is None and entries is None:
        root, faults = read_tree(text, last_key_wins=last_key_wins)
    elif fault is None and entries is not None:
        root, faults, moved = entries.read(text)
    problems = tuple(_problem(name, mask, *fault) for fault in faults)
    return Document(name=name, digest=digest, root=root, problems=problems, mask=mask, moved=moved)


def in_file_order(problems: list[Problem]) -> list[Problem]:
    """Return the problems by line and column, each fault of the text once however often an anchor repeats it."""
    first: dict[tuple[int, int, str, str, str], Problem] = {}
    for problem in problems:
        path = "" if problem.line else problem.path
        first.setdefault((problem.line, problem.column, problem.code, problem.message, path), problem)
    return sorted(first.values(), key=lambda problem: (problem.line, problem.column))


def written(where: Where) -> str:
    """Return a place as problems print it, such as `models["team-a/*"].chain[1]`."""
    text = ""
    secret = ""
    for key in where[:_DEEPEST]:
        part = key if isinstance(key, int) else mask_key(key)
        if isinstance(part, int):
            text += f"[{part}]"
        elif secret and not shows_key(secret, part):
            text += f".{STARS}"
        elif _PLAIN_NAME.fullmatch(part) and len(part) <= _LONGEST_KEY:
            text += f".{part}" if text else part
        else:
            text += f"[{_quoted(part[:_LONGEST_KEY])}]"
        if part in ("api_key", "headers"):
            secret = secret or str(part)
    return mask_text(text + ("…" if len(where) > _DEEPEST else ""))


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if quoted.isprintable() else json.dumps(text)


def mask_values(document: Document) -> JsonObject:
    """Return the document's values with `${NAME}` as written and secrets replaced by stars. `x-` keys are left out."""
    values = document.value or {}
    found: set[str] = set()
    _collect_secrets(values, "", found, hidden=False)
    secrets = frozenset(found)
    return {
        key: {mask_key(name): shown(entry, hidden=hides(key, name), secrets=secrets) for name, entry in value.items()}
        if key in ENTRY_LISTS and isinstance(value, dict)
        else shown(value, key, secrets=secrets)
        for key, value in values.items()
        if not key.startswith("x-")
    }


def _collect_secrets(value: Json, key: str, secrets: set[str], *, hidden: bool) -> None:
    """Note every secret text: an anchor may have brought it to a place that does not look secret."""
    if isinstance(value, dict):
        for name, item in value.items():
            _collect_secrets(item, name, secrets, hidden=hidden or hides(key, name))
    elif isinstance(value, list):
        for item in value:
            _collect_secrets(item, key, secrets, hidden=hidden)
    elif hidden and isinstance(value, str) and not is_made_of_variables(value):
        secrets.add(value)


def _problem(
    name: str,
    mask: Mask,
    position: Position,
    code: str,
    where: Where,
    message: str,
    severity: Severity = "error",
) -> Problem:
    line, column = position
    excerpt = mask.excerpt(line, column)
    return Problem(
        line=line,
        column=column,
        code=code,
        path=written(where),
        message=mask_text(message),
        severity=severity,
        source=name,
        excerpt=None if excerpt is None else excerpt[0],
        caret=None if excerpt is None else excerpt[1],
    )


def _decode(data: bytes) -> tuple[str, Fault | None]:
    """Return the text, and what keeps it from being YAML at all."""
    if len(data) > MAX_BYTES:
        return "", ((1, 1), "file-too-large", (), f"the file has {len(data)} bytes; at most {MAX_BYTES} are read")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "", ((1, 1), "not-utf8", (), "the file is UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        text = data.decode(errors="replace")
        before = data[: exc.start].decode()
        return text, (_position_after(before), "not-utf8", (), f"byte 0x{data[exc.start]:02x} is not UTF-8")
    if match := _CONTROL.search(text):
        position = _position_after(text[: match.start()])
        if match[0] == "\0":
            return text, (position, "not-utf8", (), "a NUL byte; the file must be UTF-8 text")
        return text, (position, "yaml-syntax", (), f"the control character U+{ord(match[0]):04X} cannot stand in YAML")
    return text, None


def _position_after(text: str) -> Position:
    lines = LINE_BREAK.split(text)
    return len(lines), len(lines[-1]) + 1
