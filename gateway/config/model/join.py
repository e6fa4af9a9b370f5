"""Join the `models` and `providers` of included files with those of the main file, each with its place in its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.concurrency.pacing import paced
from gateway.config.document.as_written import AsWritten
from gateway.config.document.document import Document, parse
from gateway.config.document.excerpt import Mask
from gateway.config.document.reparse import Entries
from gateway.config.document.yaml_tree import Node, Where
from gateway.config.include import Include, IncludedFile, digest_of, unmatched
from gateway.config.model.read import top_rules
from gateway.config.model.schema_check import fitting
from gateway.config.model.schema_faults import WORDING, misfits, unknown_key
from gateway.config.model.variables import Expander
from gateway.config.problems import Fault
from gateway.policy.problem import Problem
from gateway.wire.json import EMPTY

BLOCKS: Final = ("models", "providers")
"""What an included file may have."""
_KEYS: Final = ("version", *BLOCKS)
_INCLUDE: Final[Where] = ("include",)
"""Place that stands for entries whose names are not known."""


def patterns_of(main: Document, environ: Mapping[str, str]) -> list[tuple[Where, str]]:
    """Return the patterns that can be used, each with its place. What is wrong with others the schema tells."""
    node = main.root.members.get("include") if main.root is not None else None
    if node is None or not isinstance(node.children, list):
        return []
    rule = top_rules()["include"]["items"]
    fits = fitting(rule)
    patterns: list[tuple[Where, str]] = []
    for number, child in enumerate(node.children):
        expander = Expander(main, environ, strict_env=True)
        text = expander.value(child, ("include", number), rule)
        if fits(text) and not expander.problems:
            patterns.append((("include", number), text))
    return patterns


@dataclass(frozen=True, slots=True)
class _Parsed:
    """An included file as it was parsed last."""

    data: bytes
    document: Document
    entries: Entries


class Joiner:
    """Joins the successive texts of a set of files. A file with the same bytes as before is not parsed again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._parsed: dict[str, _Parsed] = {}

    def join(self, main: Document, include: Include) -> Document:
        """Return the main file with its included files' entries; `main` itself when it includes none.

        A name that stands in two files is a problem, and the first one's entry counts.
        """
        if main.root is None or "include" not in main.root.members:
            return main
        placed = patterns_of(main, self._environ)
        places, patterns = [place for place, _ in placed], [pattern for _, pattern in placed]
        found = include(patterns)
        parts = [self._part(file) for file in found.files]
        self._parsed = {part.name: self._parsed[part.name] for part in parts if part.name in self._parsed}
        faults = [
            main.problem(
                fault.code,
                places[number],
                fault.message,
                severity="warning" if fault == unmatched(patterns[number]) else "error",
            )
            for number, fault in found.faults.items()
        ]
        document, repeated = _joined(main, parts, self._environ)
        own = [problem for file in (main, *parts) for problem in file.problems]
        faulty = [where for file in (main, *parts) for where in file.faulty]
        faulty += [_INCLUDE for problem in faults if problem.severity == "error"]
        return replace(
            document,
            digest=digest_of(main.name, main.digest, found.files),
            problems=(*own, *faults, *(_repeated_name(document, file, where) for file, where in repeated)),
            faulty=(*faulty, *(where for _, where in repeated)),
        )

    def _part(self, file: IncludedFile) -> Document:
        if file.fault is not None:
            return _unread(file.source, file.fault)
        before = self._parsed.get(file.source)
        if before is not None and before.data == file.data:
            return before.document
        entries = before.entries if before is not None else Entries()
        document = parse(file.data, name=file.source, entries=entries, environ=self._environ, wording=WORDING)
        problems = _own_problems(document, self._environ)
        own = problems[len(document.problems) :]
        # Of the text's, those of a whole block; and a block that is none, or is not named as one.
        lacks_names = any(len(where) == 1 for where in document.faulty) or any(
            problem.path in BLOCKS or problem.code == "unknown-key" for problem in own
        )
        faulty = [where for where in document.faulty if len(where) > 1]
        document = replace(document, problems=tuple(problems), faulty=(*faulty, *([_INCLUDE] if lacks_names else [])))
        self._parsed[file.source] = _Parsed(file.data, document, entries)
        return document


def _unread(name: str, fault: Fault) -> Document:
    """Return the document of a file without a text."""
    problem = Problem(line=0, column=0, code=fault.code, path="", message=fault.message, source=name)
    texts = AsWritten(None, EMPTY)
    return Document(name=name, digest="", root=None, problems=(problem,), mask=Mask(""), as_written=texts)


def _own_problems(document: Document, environ: Mapping[str, str]) -> list[Problem]:
    """Return the problems of an included file's text and of its top keys."""
    empty = "the file is empty; it wants 'models:' or 'providers:'"
    problems = [
        replace(problem, message=empty) if problem.code == "empty-file" else problem for problem in document.problems
    ]
    if document.root is None:
        return problems
    rules = top_rules()
    for key, node in document.root.members.items():
        if key.startswith("x-"):
            continue
        if key in _KEYS:
            problems += _wrong_value(document, key, node, environ)
        elif key == "include":
            message = "an included file includes no others; put the pattern into the main file"
            problems.append(document.problem("only-in-main", (key,), message, key=True))
        elif key in rules:
            message = f"{key!r} can only be in the main file; an included one has 'models' and 'providers'"
            problems.append(document.problem("only-in-main", (key,), message, key=True))
        else:
            problems.append(document.problem("unknown-key", (key,), unknown_key(key, _KEYS), key=True))
    return problems


def _wrong_value(document: Document, key: str, node: Node, environ: Mapping[str, str]) -> list[Problem]:
    """Return the problems of one top key's value; those of single entries are found once they are joined."""
    is_good = node.value == 1 and node.value is not True if key == "version" else isinstance(node.children, dict)
    if is_good:
        return []
    from jsonschema import Draft202012Validator  # slow to import, and only an odd file needs it

    rule = top_rules()[key]
    expander = Expander(document, environ, strict_env=True)
    value = expander.value(node, (key,), rule)
    if expander.problems:
        return expander.problems
    found = misfits(Draft202012Validator({"properties": {key: rule}}), {key: value}, {key: node.value})
    return [document.problem(one.code, one.where, one.message, key=one.at_key) for one in found]


def _joined(
    main: Document, parts: Sequence[Document], environ: Mapping[str, str]
) -> tuple[Document, list[tuple[int, Where]]]:
    """Return the main document with the parts' entries, and the entries left out: the part's index, the place.

    The problems are not in it yet.
    """
    assert main.root is not None, "only a file with an `include` is joined"
    root = Node(main.root.line, main.root.column, dict(main.root.members))
    root.children, root.keys = dict(main.root.members), main.root.keys
    homes: dict[Where, int] = {}
    repeated: list[tuple[int, Where]] = []
    for block in BLOCKS:
        own = main.root.members.get(block)
        if own is not None and not isinstance(own.children, dict):
            continue  # the schema tells of it
        node = Node(root.line, root.column, {}) if own is None else Node(own.line, own.column, {})
        node.children, node.keys = ({}, {}) if own is None else (dict(own.members), own.keys)
        for number, part in enumerate(parts):
            for name, entry in paced(_entries(part, block).items()):
                if name in node.children:
                    repeated.append((number, (block, name)))
                else:
                    node.children[name] = entry
                    homes[block, name] = number
        if own is not None or node.children:
            node.value = {name: entry.value for name, entry in paced(node.children.items())}
            node.variables = any(entry.variables for entry in node.children.values())
            root.children[block] = node
    root.value = {key: node.value for key, node in root.children.items()}
    root.variables = any(node.variables for node in root.children.values())
    texts = AsWritten(root, environ, WORDING)
    files = [replace(file, mask=file.mask.with_names_of(root), as_written=texts) for file in (main, *parts)]
    included = tuple(files[1:])
    of_entries = {where: included[number] for where, number in homes.items()}
    return replace(files[0], root=root, included=included, homes=of_entries), repeated


def _repeated_name(document: Document, file: int, where: Where) -> Problem:
    """Return the problem of a name that an earlier file has as well; it names both places."""
    first = document.home(where)
    line, column = first.key_position(where)
    message = f"this name stands in {first.name}:{line}:{column} already; a name can be in one file only"
    return document.included[file].problem("duplicate-name", where, message, key=True)


def _entries(file: Document, block: str) -> Mapping[str, Node]:
    node = file.root.members.get(block) if file.root is not None else None
    return node.members if node is not None else EMPTY
