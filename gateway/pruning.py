"""A document without the entries that the schema refused, so that the semantic rules can judge the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.source import Document, written
from gateway.types import Problem
from gateway.yamltree import Node

_ENTRY_LISTS: Final = frozenset({"models", "providers", "capabilities"})

_TOO_MANY: Final = 100
"""With more refused places than this nobody waits for what the semantic rules would add."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is left of a document."""

    document: Document
    """Holds no problems; its places are those of the whole document."""
    left_out: frozenset[tuple[str, str]]
    """The entries that are gone, such as `("models", "fast")`."""


def prune(document: Document, problems: Sequence[Problem]) -> Pruned | None:
    """Leave out every entry, or whole block, that one of `problems` is about; None when too little would be left."""
    refused = {problem.path for problem in problems if problem.severity == "error"}
    root = document.root
    if root is None or not isinstance(root.children, dict) or len(refused) > _TOO_MANY:
        return None
    left_out: set[tuple[str, str]] = set()
    kept: dict[str, Node] = {}
    for key, node in root.children.items():
        path = written((key,))
        if key in _ENTRY_LISTS and isinstance(node.children, dict):
            inside = {other for other in refused if _holds(path, other)}
            gone = {name for name in node.children if inside and _is_refused(written((key, name)), inside)}
            left_out.update((key, name) for name in gone)
            kept[key] = _without(node, gone) if gone else node
        elif not _is_refused(path, refused):
            kept[key] = node
    whole = _with_children(root, kept)
    return Pruned(replace(document, root=whole, problems=()), frozenset(left_out))


def _is_refused(path: str, refused: set[str]) -> bool:
    return any(_holds(path, other) for other in refused)


def _holds(path: str, other: str) -> bool:
    return other == path or other.startswith((f"{path}.", f"{path}["))


def _without(node: Node, gone: set[str]) -> Node:
    children = node.children if isinstance(node.children, dict) else {}
    return _with_children(node, {name: child for name, child in children.items() if name not in gone})


def _with_children(node: Node, children: dict[str, Node]) -> Node:
    made = Node(node.line, node.column, {name: child.value for name, child in children.items()}, plain=node.plain)
    made.children = children
    made.keys = node.keys
    made.variables = node.variables
    return made
