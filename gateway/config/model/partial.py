"""Leave out of a document what the schema refused, so that the semantic rules can check the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.config.document.document import Document, written
from gateway.config.document.excerpt import ENTRY_LISTS
from gateway.config.document.yaml_tree import Node, Where
from gateway.policy.problem import Problem
from gateway.wire.json import Json

_NEEDED: Final = frozenset({"alias", "chain", "path", "pool", "target"})
"""Keys without which the mapping around them is left out."""

_STAND_IN: Final = "mock/refused"
"""Replaces a refused step, so that the steps behind it keep their places."""

_ENTRIES: Final = ("models.", "models[", "providers.", "providers[")
"""Beginnings of the paths of entries, which may be in an included file."""

_TOO_MANY: Final = 100
"""With more refused places than this, the semantic rules are not run."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is left of a document."""

    document: Document
    """Without problems; its positions are those of the whole document."""
    left_out: frozenset[tuple[str, str]]
    """The entries left out, such as `("models", "fast")`."""


def prune(document: Document, problems: Sequence[Problem]) -> Pruned | None:
    """Return the document without the places of `problems`; None when too little would be left.

    An alias loses a key or a step, `providers` and `capabilities` a whole entry, any other block is left out.
    """
    refused = {problem.path for problem in problems if problem.severity == "error" and _is_in(document, problem)}
    root = document.root
    if root is None or not isinstance(root.children, dict) or len(refused) > _TOO_MANY:
        return None
    left_out: set[tuple[str, str]] = set()
    blocks: dict[str, Node] = {}
    for key, node in root.children.items():
        inside = _inside(written((key,)), refused)
        if not inside:
            blocks[key] = node
        elif key in ENTRY_LISTS and isinstance(node.children, dict):
            entries: dict[str, Node] = {}
            for name, child in node.children.items():
                if key == "models":
                    rest = _alias_part((key, name), child, inside)
                else:
                    rest = None if _inside(written((key, name)), inside) else child
                if rest is None:
                    left_out.add((key, name))
                else:
                    entries[name] = rest
            blocks[key] = _with_children(node, entries)
    blocks.setdefault("version", Node(root.line, root.column, 1))
    if "models" not in blocks:
        blocks["models"] = _with_children(Node(root.line, root.column, {}), {})
    return Pruned(replace(document, root=_with_children(root, blocks), problems=()), frozenset(left_out))


def _is_in(document: Document, problem: Problem) -> bool:
    """Tell whether a problem's path is one of the document: an included file may have keys of its own."""
    return problem.source == document.name or problem.path.startswith(_ENTRIES)


def _alias_part(where: Where, node: Node, refused: set[str]) -> Node | None:
    """Return an alias, or a part of one, without its refused places; None when nothing useful is left."""
    path = written(where)
    inside = _inside(path, refused)
    if not inside:
        return node
    if path in inside or node.children is None:
        return None
    if isinstance(node.children, list):
        if len(where) > 2 and where[2:] != ("chain",):
            return None  # a pool too: without a member, the places behind it would be wrong
        steps = [
            _alias_part((*where, number), step, inside) or Node(step.line, step.column, _STAND_IN)
            for number, step in enumerate(node.children)
        ]
        return _with_children(node, steps)
    members: dict[str, Node] = {}
    for key, child in node.children.items():
        rest = _alias_part((*where, key), child, inside)
        if rest is not None:
            members[key] = rest
        elif key in _NEEDED:
            return None
    return _with_children(node, members) if members else None


def _inside(path: str, paths: set[str]) -> set[str]:
    """Return those of `paths` that are `path` or lie below it."""
    return {other for other in paths if other == path or other.startswith((f"{path}.", f"{path}["))}


def _with_children(node: Node, children: dict[str, Node] | list[Node]) -> Node:
    if isinstance(children, list):
        value: Json = [child.value for child in children]
    else:
        value = {name: child.value for name, child in children.items()}
    copy = Node(node.line, node.column, value, plain=node.plain)
    copy.children, copy.keys, copy.variables = children, node.keys, node.variables
    return copy
