"""Compare two ordered lists of names: added, removed, replaced, moved, swapped, in as few edits as possible."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

EditKind: TypeAlias = Literal["added", "removed", "replaced", "swapped", "moved", "reordered"]

_Key: TypeAlias = tuple[str, int]
"""A name and the number of its occurrence, from 0, so that repeats differ."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a list."""

    kind: EditKind
    old: tuple[str, ...]
    """The names in the old list's order; empty for `added`."""
    new: tuple[str, ...]
    """The names in the new list's order; empty for `removed`."""
    place: int
    """Position of the first name in the new list, for `removed` in the old list; from 1."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of comparing two lists."""

    pairs: tuple[tuple[int, int], ...]
    """(old, new) indices of names in both lists and of replaced names, in the new list's order."""
    edits: tuple[Edit, ...]


def compare(old: Sequence[str], new: Sequence[str]) -> Comparison:
    """Compare two lists of names; a name may be repeated."""
    before, after = _numbered(old), _numbered(new)
    common = [key for key in after if key in before]
    pairs = [(before[key], after[key]) for key in common]
    edits = _order([key for key in before if key in after], common, after)
    removals, additions = _by_slot(before, after), _by_slot(after, before)
    for slot in sorted(removals.keys() | additions.keys()):
        removed, added = removals[slot], additions[slot]
        if len(removed) == len(added):
            for one, other in zip(removed, added, strict=True):
                pairs.append((before[one], after[other]))
                edits.append(Edit("replaced", (one[0],), (other[0],), after[other] + 1))
        else:
            edits += [Edit("removed", (key[0],), (), before[key] + 1) for key in removed]
            edits += [Edit("added", (), (key[0],), after[key] + 1) for key in added]
    return Comparison(tuple(sorted(pairs, key=lambda pair: pair[1])), tuple(edits))


def _numbered(names: Sequence[str]) -> dict[_Key, int]:
    """Return the index of each occurrence of each name."""
    seen: Counter[str] = Counter()
    numbered: dict[_Key, int] = {}
    for index, name in enumerate(names):
        numbered[name, seen[name]] = index
        seen[name] += 1
    return numbered


def _by_slot(these: dict[_Key, int], others: dict[_Key, int]) -> defaultdict[int, list[_Key]]:
    """Return the keys that only `these` have, by the number of common keys before them."""
    slots: defaultdict[int, list[_Key]] = defaultdict(list)
    slot = 0
    for key in these:
        if key in others:
            slot += 1
        else:
            slots[slot].append(key)
    return slots


def _order(old: list[_Key], new: list[_Key], after: dict[_Key, int]) -> list[Edit]:
    """Return the edits to the order of the common names."""
    displaced = [key for key, other in zip(old, new, strict=True) if key != other]
    if not displaced:
        return []
    for key in displaced if len(displaced) > 2 else ():
        if [one for one in old if one != key] == [one for one in new if one != key]:
            return [Edit("moved", (key[0],), (key[0],), after[key] + 1)]
    names, new_names = ([key[0] for key in order if key in set(displaced)] for order in (old, new))
    first = min(after[key] for key in displaced) + 1
    return [Edit("swapped" if len(displaced) == 2 else "reordered", tuple(names), tuple(new_names), first)]
