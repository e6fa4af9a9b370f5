"""Read a YAML file into plain values, each with its line and column, and report its faults as Problems."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from gateway.config.document.as_written import AsWritten
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
    """A parsed config file: plain values with their places, and the problems of the text itself."""

    name: str
    digest: str
    """SHA-256 of the bytes, in hex."""
    root: Node | None
    """None when the text holds no mapping; `problems` then says why."""
    problems: tuple[Problem, ...]
    faulty: tuple[Where, ...] = ()
    """The places of those problems."""
    mask: Mask = field(repr=False, compare=False)
    as_written: AsWritten = field(repr=False, compare=False)
    moved: Mapping[str, int] = field(default_factory=lambda: EMPTY)
    """By alias: the lines to add to its nodes' positions when those were parsed from an earlier text."""
    included: tuple[Document, ...] = ()
    """The included files, in order. `root` then has their `models` and `providers` too."""
    homes: Mapping[Where, Document] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """The included file of each entry that is in one, such as `("models", "fast")`."""

    @property
    def files(self) -> tuple[Document, ...]:
        """The main file and the included ones, in order."""
        return (self, *self.included)

    @property
    def is_whole(self) -> bool:
        """Whether every file could be read: then a name that is nowhere does not exist."""
        return all(file.root is not None for file in self.files)

    def home(self, where: Where) -> Document:
        """Return the file that a place is in: an included one, or this one."""
        return self.homes.get(where[:2], self) if self.homes else self

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        return self.mask.lines

    @property
    def value(self) -> JsonObject | None:
        """The whole file as plain values, variables not expanded; None without a root. Read only."""
        return None if self.root is None else self.root.value

    def node(self, where: Where) -> Node | None:
        """Return the node at a place, or None when the document has no such place."""
        node = self.root
        for part in where:
            if node is None:
                return None
            if isinstance(part, str):
                node = node.members.get(part)
            else:
                items = node.children if isinstance(node.children, list) else []
                node = items[part] if 0 <= part < len(items) else None
        return node

    def position(self, where: Where) -> Position:
        """Return where a value, or its closest parent in the file, starts; under a YAML alias, at the anchor's
        value."""
        home = self.home(where)
        if home is not self:
            return home.position(where)
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
        home = self.home(where)
        if home is not self:
            return home.key_position(where)
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
        home = self.home(where)
        if home is not self:
            return home.problem(code, where, message, key=key, severity=severity)
        at = self.key_position(where) if key else self.position(where)
        return self.problem_at(at, code, message, where=where, severity=severity)

    def problem_in_full(
        self, code: str, place: Where, message: str, *, key: bool = False, severity: Severity = "error"
    ) -> Problem:
        """Make a Problem at a place that may include keys which the file's short forms leave out."""
        where: Where = ()
        for part in place:
            where = (*where, part) if self.node((*where, part)) is not None else where
        return self.problem(code, where, message, key=key and where[-1:] == place[-1:], severity=severity)

    def problem_at(
        self, position: Position, code: str, message: str, *, where: Where = (), severity: Severity = "error"
    ) -> Problem:
        """Make a Problem at a line and a column of this very file, with a masked excerpt of that line.

        Variables' values in the message are replaced by the variables as written.
        """
        excerpt, caret = self.mask.excerpt(*position) or (None, None)
        return Problem(
            line=position[0],
            column=position[1],
            code=code,
            path=written(where, self.mask.names),
            message=mask_text(self.as_written.message(message, where), self.mask.names),
            severity=severity,
            source=self.name,
            excerpt=excerpt,
            caret=caret,
        )


def parse(
    data: bytes,
    *,
    name: str,
    last_key_wins: bool = False,
    entries: Entries | None = None,
    environ: Mapping[str, str] = EMPTY,
    wording: Collection[str] = (),
) -> Document:
    """Parse YAML. Never raises for bad input: the faults of the text are in `problems` of the result.

    A repeated key keeps its first value, or its last with `last_key_wins`, as most YAML readers do.
    With `entries`, aliases whose text is the same as in the text before keep their Node objects and are not parsed.
    The document's problems do not show the values of variables in `environ`. `wording` are parts of their messages that
    are never values.
    """
    text, fault = _decode(data)
    root: Node | None = None
    moved: Mapping[str, int] = EMPTY
    if fault is not None:
        faults = [fault]
    elif entries is None:
        root, faults = read_tree(text, last_key_wins=last_key_wins)
    else:
        root, faults, moved = entries.read(text)
    digest = hashlib.sha256(data).hexdigest()
    document = Document(
        name=name,
        digest=digest,
        root=root,
        problems=(),
        mask=Mask(text, root),
        as_written=AsWritten(root, environ, wording),
        moved=moved,
    )
    problems = [document.problem_at(at, code, message, where=where) for at, code, where, message in faults]
    return replace(document, problems=tuple(problems), faulty=tuple(where for _, _, where, _ in faults))


def in_file_order(problems: list[Problem], included: Sequence[Document] = ()) -> list[Problem]:
    """Return the problems by line and column, those of the `included` files behind the main file's.

    A fault below an anchor is listed once, not once per YAML alias.
    """
    first: dict[tuple[str, int, int, str, str, str], Problem] = {}
    for problem in problems:
        path = "" if problem.line else problem.path
        key = (problem.source, problem.line, problem.column, problem.code, problem.message, path)
        first.setdefault(key, problem)
    order = {file.name: number for number, file in enumerate(included, start=1)}
    return sorted(first.values(), key=lambda one: (order.get(one.source, 0), one.line, one.column))


def written(where: Where, names: Container[str] = ()) -> str:
    """Return a place as text, such as `models["team-a/*"].chain[1]`; secrets are masked, `names` are none."""
    text = ""
    secret = ""
    for key in where[:_DEEPEST]:
        part = key if isinstance(key, int) else mask_key(key, names)
        if isinstance(part, int):
            text += f"[{part}]"
        elif secret and not shows_key(secret, part):
            text += f".{STARS}"
        elif _PLAIN_NAME.fullmatch(part) and len(part) <= _LONGEST_KEY:
            text += f".{part}" if text else part
        else:
            quoted = json.dumps(part[:_LONGEST_KEY], ensure_ascii=False)
            text += f"[{quoted if quoted.isprintable() else json.dumps(part[:_LONGEST_KEY])}]"
        if part in ("api_key", "headers"):
            secret = secret or str(part)
    return mask_text(text + ("…" if len(where) > _DEEPEST else ""), names)


def mask_values(document: Document, *, only: Container[str] | None = None) -> JsonObject:
    """Return the document's values without `x-` keys: `${NAME}` as written, secrets as stars.

    With `only`, of the models those with these names.
    """
    values = document.value or {}
    found: set[str] = set()
    _collect_secrets(values, "", found, hidden=False)
    secrets, names = frozenset(found), document.mask.names
    return {
        key: {
            mask_key(name, names): shown(entry, hidden=hides(key, name), secrets=secrets, names=names)
            for name, entry in value.items()
            if only is None or key != "models" or name in only
        }
        if key in ENTRY_LISTS and isinstance(value, dict)
        else shown(value, key, secrets=secrets)
        for key, value in values.items()
        if not key.startswith("x-")
    }


def _collect_secrets(value: Json, key: str, secrets: set[str], *, hidden: bool) -> None:
    """Add all secret texts to `secrets`: YAML aliases may repeat them where nothing looks secret."""
    if isinstance(value, dict):
        for name, item in value.items():
            _collect_secrets(item, name, secrets, hidden=hidden or hides(key, name, item))
    elif isinstance(value, list):
        for item in value:
            _collect_secrets(item, key, secrets, hidden=hidden)
    elif hidden and isinstance(value, str) and not is_made_of_variables(value):
        secrets.add(value)


def _decode(data: bytes) -> tuple[str, Fault | None]:
    """Return the text, and the fault of bytes that cannot be YAML: too many, not UTF-8, control characters."""
    if len(data) > MAX_BYTES:
        return "", ((1, 1), "file-too-large", (), f"the file has {len(data)} bytes; at most {MAX_BYTES} are read")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "", ((1, 1), "not-utf8", (), "the file is UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        text = data.decode(errors="replace")
        position = _position_after(data[: exc.start].decode())
        return text, (position, "not-utf8", (), f"byte 0x{data[exc.start]:02x} is not UTF-8")
    if match := _CONTROL.search(text):
        position = _position_after(text[: match.start()])
        if match[0] == "\0":
            return text, (position, "not-utf8", (), "a NUL byte; the file must be UTF-8 text")
        return text, (position, "yaml-syntax", (), f"the control character U+{ord(match[0]):04X} cannot stand in YAML")
    return text, None


def _position_after(text: str) -> Position:
    lines = LINE_BREAK.split(text)
    return len(lines), len(lines[-1]) + 1
