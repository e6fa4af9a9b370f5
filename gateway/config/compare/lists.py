"""What was done to an ordered list of names: added, removed, replaced, moved, swapped, in as few words as possible."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

EditKind: TypeAlias = Literal["added", "removed", "replaced", "swapped", "moved", "reordered"]

_Key: TypeAlias = tuple[str, int]
"""A name and which of its occurrences it is, so that repeats are told apart."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing that was done to a list."""

    kind: EditKind
    old: tuple[str, ...]
    """The names concerned, in the old list's order; empty for what was added."""
    new: tuple[str, ...]
    """The same in the new list's order; empty for what was removed."""
    place: int
    """From 1: where the first of them stands now, or stood when it was removed."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two lists belong together."""

    pairs: tuple[tuple[int, int], ...]
    """Indices, old and new, of what is in both lists or took the place of another; in the new list's order."""
    edits: tuple[Edit, ...]


def compare(old: Sequence[str], new: Sequence[str]) -> Comparison:
    """Compare two lists of names; a name may stand in one several times."""
    before, after = _numbered(old), _numbered(new)
    kept_before = [key for key in before if key in after]
    kept_after = [key for key in after if key in before]
    pairs = [(before[key], after[key]) for key in kept_after]
    edits = _order(kept_before, kept_after, after)
    gone, come = _by_slot(before, after), _by_slot(after, before)
    for slot in sorted(gone.keys() | come.keys()):
        removed, added = gone[slot], come[slot]
        if len(removed) == len(added):
            for one, other in zip(removed, added, strict=True):
                pairs.append((before[one], after[other]))
                edits.append(Edit("replaced", (one[0],), (other[0],), after[other] + 1))
        else:
            edits += [Edit("removed", (key[0],), (), before[key] + 1) for key in removed]
            edits += [Edit("added", (), (key[0],), after[key] + 1) for key in added]
    return Comparison(tuple(sorted(pairs, key=lambda pair: pair[1])), tuple(edits))


def _numbered(names: Sequence[str]) -> dict[_Key, int]:
    """Return the index of every occurrence of every name."""
    seen: Counter[str] = Counter()
    numbered: dict[_Key, int] = {}
    for index, name in enumerate(names):
        numbered[name, seen[name]] = index
        seen[name] += 1
    return numbered


def _by_slot(these: dict[_Key, int], others: dict[_Key, int]) -> defaultdict[int, list[_Key]]:
    """Return what only `these` have, by how many names that both have stand before it."""
    slots: defaultdict[int, list[_Key]] = defaultdict(list)
    slot = 0
    for key in these:
        if key in others:
            slot += 1
        else:
            slots[slot].append(key)
    return slots


def _order(old: list[_Key], new: list[_Key], after: dict[_Key, int]) -> list[Edit]:
    """Return what was done to the order of the names that both lists have."""
    strayed = [key for key, other in zip(old, new, strict=True) if key != other]
    if not strayed:
        return []
    there = tuple(key[0] for key in new if key in set(strayed))
    here = tuple(key[0] for key in strayed)
    first = min(after[key] for key in strayed) + 1
    if len(strayed) == 2:
        return [Edit("swapped", here, there, first)]
    for key in strayed:
        if [one for one in old if one != key] == [one for one in new if one != key]:
            return [Edit("moved", (key[0],), (key[0],), after[key] + 1)]
    return [Edit("reordered", here, there, first)]
