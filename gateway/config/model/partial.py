"""Leave out of a document what the schema refused, so that the semantic rules can check the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from gateway.config.document.document import Document
from gateway.config.document.yaml_tree import Node, Where
from gateway.wire.json import EMPTY, Json
from gateway.words import did_you_mean

_NEEDED: Final = frozenset({"alias", "chain", "path", "pool", "target"})
"""Keys without which the mapping around them is left out."""

_WHOLE: Final = frozenset({"not"})
"""Keys whose mapping is left out whole: a condition that lacks a part takes other requests."""

_STAND_INS: Final[Mapping[str | int, str]] = {
    "chain": "mock/refused",
    "pool": "mock/refused",
    "pre": "refused",
    "post": "refused",
}
"""Replace a refused entry of these lists, so that the entries behind it keep their places."""

_ASSUMED: Final[Mapping[str | int, Sequence[tuple[str, Json]]]] = {"cache": [("ttl", 3600)], "shadow": [("share", 1)]}
"""By mapping: what it must have, so that its other keys are checked where that is refused."""

_SEPARATE: Final = frozenset({"api_key", "api_key_file", "cooldown", "headers", "limits", "script"})
"""Keys of a provider on which no rule about its other keys depends."""

_NAMED: Final = ("models", "providers")
"""Blocks whose entries the rest of the file names. An included file has some of them."""

_Tree: TypeAlias = dict[str | int, "_Tree"]
"""The refused places by their first part; a place ends in an empty tree."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a partial document lacks. No problem is reported that only comes of that."""

    names: Mapping[str, frozenset[str]] = field(default_factory=lambda: EMPTY)
    """By block: its entries that are left out."""
    unnamed: frozenset[str] = frozenset()
    """Blocks that may have entries whose names are not known."""
    refused: _Tree = field(default_factory=dict)
    """Places written in full."""

    def has(self, block: str, name: str) -> bool:
        """Tell whether a block may have an entry of this name that is left out; a wildcard takes what it matches."""
        names = self.names.get(block, ())
        return (
            block in self.unnamed
            or name in names
            or any(other.endswith("*") and name.startswith(other[:-1]) for other in names)
        )

    def has_beginning(self, block: str, prefix: str) -> bool:
        """Tell whether an entry whose name begins so may be left out."""
        return block in self.unnamed or any(name.startswith(prefix) for name in self.names.get(block, ()))

    def takes(self, place: Where) -> bool:
        """Tell whether a place was refused, or lies in one that was."""
        tree = self.refused
        for part in place if tree else ():
            if part not in tree:
                return False
            tree = tree[part]
            if not tree:
                return True
        return False

    def touches(self, place: Where) -> bool:
        """Tell whether a place lacks something."""
        tree = self.refused
        for part in place if tree else ():
            if part not in tree:
                return False
            tree = tree[part]
        return bool(self.refused)


NOTHING: Final = LeftOut()


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is left of a document."""

    document: Document
    """Without problems; its positions are those of the whole document."""
    left_out: LeftOut


def prune(document: Document, refused: Iterable[Where]) -> Pruned | None:
    """Return the document without the `refused` places and those of its own problems; None if it has no mapping.

    A step, a hook, an alias, a group or the defaults lose as little as the rules about the rest allow.
    """
    root = document.root
    if root is None or not isinstance(root.children, dict):
        return None
    tree: _Tree = {}
    unnamed = set[str]() if document.is_whole else {*_NAMED}
    for where in document.faulty:
        if len(where) > 1:
            _add(tree, where)
        elif where == ("include",):
            unnamed.update(_NAMED)
        else:
            unnamed.update(map(str, where))  # the key stands there twice, and its first value counts
    for where in refused:
        if where:
            _add(tree, where)
    names: dict[str, set[str]] = {}
    blocks: dict[str, Node] = {}
    for key, node in root.children.items():
        below = tree.get(key)
        if below is None:
            blocks[key] = node
        elif key in _PARTS and isinstance(node.children, dict) and below:
            entries: dict[str, Node] = {}
            for name, child in node.children.items():
                rest = _PARTS[key](child, below[name], name) if name in below else child
                if rest is None:
                    names.setdefault(key, set()).add(name)
                else:
                    entries[name] = rest
            blocks[key] = _with_children(node, entries)
        elif key == "include" or (key in _NAMED and not below):
            unnamed.update(_NAMED if key == "include" else (key,))
        elif not below:
            for block in _NAMED:  # an unknown key may be one of them misspelt
                names.setdefault(block, set()).update(node.members)
                if not node.members and did_you_mean(key, (block,)):
                    unnamed.add(block)
    blocks.setdefault("version", Node(root.line, root.column, 1))
    if "models" not in root.children and not names.get("models"):
        unnamed.add("models")
    if "models" not in blocks:
        blocks["models"] = _with_children(Node(root.line, root.column, {}), {})
    left_out = LeftOut(
        {block: frozenset(found) for block, found in names.items()}, frozenset(unnamed), _in_full(tree, root)
    )
    return Pruned(replace(document, root=_with_children(root, blocks), problems=(), faulty=()), left_out)


def _add(tree: _Tree, where: Where) -> None:
    """Add a place, unless one around it is there; it takes the place of those in it."""
    *parents, last = where
    for part in parents:
        if part in tree and not tree[part]:
            return
        tree = tree.setdefault(part, {})
    tree[last] = {}


def _in_full(tree: _Tree, root: Node) -> _Tree:
    """Return the tree with the `chain` that aliases written as a list leave out."""
    aliases, models = tree.get("models", {}), root.members.get("models")
    if not aliases or models is None:
        return tree
    lists = {name for name, node in models.members.items() if isinstance(node.children, list)}
    whole: _Tree = {name: {"chain": below} if below and name in lists else below for name, below in aliases.items()}
    return {**tree, "models": whole}


def _part(node: Node, refused: _Tree, key: str | int) -> Node | None:
    """Return the value of a key without its refused places; None when nothing useful is left."""
    if not refused or node.children is None:
        return None
    if isinstance(node.children, list):
        stand_in = _STAND_INS.get(key)
        if stand_in is None:
            return None  # without an entry, the places behind it would be wrong
        entries = [
            entry
            if number not in refused
            else _part(entry, refused[number], number) or Node(entry.line, entry.column, stand_in)
            for number, entry in enumerate(node.children)
        ]
        return _with_children(node, entries)
    members: dict[str, Node] = {}
    lost = set[str]()
    for name, child in node.children.items():
        rest = child if name not in refused else None if name in _WHOLE else _part(child, refused[name], name)
        if rest is None:
            lost.add(name)
        else:
            members[name] = rest
    if lost & _NEEDED:
        return None
    for name, value in _ASSUMED.get(key, ()) if lost else ():
        members.setdefault(name, Node(node.line, node.column, value))
    if lost and "pool" in members and "key" in members:
        members.setdefault("pick", Node(node.line, node.column, "sticky"))
    return _with_children(node, members) if members else None


def _alias(node: Node, refused: _Tree, name: str) -> Node | None:
    return _part(node, refused, "chain")


def _provider(node: Node, refused: _Tree, name: str) -> Node | None:
    return _part(node, refused, name) if refused.keys() <= _SEPARATE else None


def _capability(node: Node, refused: _Tree, name: str) -> Node | None:
    return None


_PARTS: Final[Mapping[str, Callable[[Node, _Tree, str], Node | None]]] = {
    "capabilities": _capability,
    "clients": _part,
    "defaults": _part,
    "hooks": _part,
    "models": _alias,
    "providers": _provider,
}
"""By block: returns one of its entries without the refused places; None to leave the entry out."""


def _with_children(node: Node, children: dict[str, Node] | list[Node]) -> Node:
    if isinstance(children, list):
        value: Json = [child.value for child in children]
    else:
        value = {name: child.value for name, child in children.items()}
    copy = Node(node.line, node.column, value, plain=node.plain)
    copy.children, copy.keys, copy.variables = children, node.keys, node.variables
    return copy
