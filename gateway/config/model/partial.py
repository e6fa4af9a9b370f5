"""A document without what the schema refused in it, so that the semantic rules can judge the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.config.document.document import Document, written
from gateway.config.document.yaml_tree import Node, Where
from gateway.policy.problem import Problem

_ENTRY_LISTS: Final = frozenset({"models", "providers", "capabilities"})

_NEEDED: Final = frozenset({"alias", "chain", "path", "target"})
"""Keys without which the mapping around them says nothing."""

_STAND_IN: Final = "mock/refused"
"""What a refused step becomes, so that the steps behind it keep their places."""

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
    """Leave out what `problems` are about; None when too little would be left.

    Of an alias that is a key or a step, of the other blocks a whole entry, or the block itself.
    """
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
            left: dict[str, Node] = {}
            for name, child in node.children.items():
                found = _entry((key, name), child, inside) if inside else child
                if found is None:
                    left_out.add((key, name))
                else:
                    left[name] = found
            kept[key] = _with_children(node, left) if inside else node
        elif not _is_refused(path, refused):
            kept[key] = node
    kept.setdefault("version", Node(root.line, root.column, 1))
    if "models" not in kept:
        kept["models"] = _with_children(Node(root.line, root.column, {}), {})
    whole = _with_children(root, kept)
    return Pruned(replace(document, root=whole, problems=()), frozenset(left_out))


def _entry(where: Where, node: Node, refused: set[str]) -> Node | None:
    """Return what is left of an entry, or None."""
    if where[0] == "models":
        return _alias_part(where, node, refused)
    return None if _is_refused(written(where), refused) else node


def _alias_part(where: Where, node: Node, refused: set[str]) -> Node | None:
    """Return what is left of an alias, or of a part of one; None when nothing is."""
    path = written(where)
    inside = {other for other in refused if _holds(path, other)}
    if not inside:
        return node
    if path in inside or node.children is None:
        return None
    if isinstance(node.children, list):
        is_chain = len(where) == 2 or where[2:] == ("chain",)
        return _steps(where, node, node.children, inside) if is_chain else None
    left: dict[str, Node] = {}
    for key, child in node.children.items():
        found = _alias_part((*where, key), child, inside)
        if found is not None:
            left[key] = found
        elif key in _NEEDED:
            return None
    return _with_children(node, left)


def _steps(where: Where, node: Node, steps: list[Node], refused: set[str]) -> Node:
    left = [
        _alias_part((*where, number), step, refused) or Node(step.line, step.column, _STAND_IN)
        for number, step in enumerate(steps)
    ]
    made = Node(node.line, node.column, [step.value for step in left])
    made.children = left
    made.variables = node.variables
    return made


def _is_refused(path: str, refused: set[str]) -> bool:
    return any(_holds(path, other) for other in refused)


def _holds(path: str, other: str) -> bool:
    return other == path or other.startswith((f"{path}.", f"{path}["))


def _with_children(node: Node, children: dict[str, Node]) -> Node:
    made = Node(node.line, node.column, {name: child.value for name, child in children.items()}, plain=node.plain)
    made.children = children
    made.keys = node.keys
    made.variables = node.variables
    return made
