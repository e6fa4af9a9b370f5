"""Follows the paths to the config file and to those that it includes: symlinks, folders to watch, the files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config.include import find
from gateway.config.saves import Look, Looks, look_at
from gateway.policy.stamp import Stamp, stamp
from gateway.wire.json import EMPTY


@dataclass(frozen=True, slots=True)
class Sight:
    """State of the files and of the paths to them at one moment."""

    entries: tuple[str, ...]
    """Each symlink on the path to the main file, then the file itself; then the same of each included file."""
    folders: tuple[tuple[str, int, int], ...]
    """Real folder of each entry with device and inode, or its closest existing parent."""
    files: Looks
    ways: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    """The entries of each file by its path; the main file has the empty path. An included one's folder is one too."""


def sight_of(path: Path, patterns: Sequence[str] = (), known: Mapping[str, Stamp | None] = EMPTY) -> Sight:
    """Look at an absolute path and its file, and at the files that its patterns match.

    Blocks for a few system calls. Of an included file with the `known` stamp, it is not asked who has it open.
    """
    entries = _entries(path)
    ways = {"": entries}
    included: dict[str, Look] = {}
    searched: list[str] = []
    if patterns:
        found = find(path, patterns)
        to_folder = {folder: _entries(Path(folder)) for folder in found.folders}
        for way in to_folder.values():
            # The last entry is the folder itself, in which the files are; those before are the links to it.
            searched += [os.path.dirname(link) for link in way[:-1]]
            searched += [way[-1], os.path.dirname(way[-1])]
        for name in found.names:
            file = os.path.join(path.parent, name)
            way = to_folder.get(os.path.dirname(file), ())
            ways[file] = _entries(Path(file)) if not way or os.path.islink(file) else (*way, _in(way[-1], file))
            at = stamp(file)
            included[file] = Look(at, False) if at is not None and known.get(file) == at else look_at(file)
        entries = tuple(dict.fromkeys(entry for way in ways.values() for entry in way))
    folders = dict.fromkeys([*map(os.path.dirname, entries), *searched])
    real = dict.fromkeys(_folder(Path(folder)) for folder in folders)
    return Sight(entries, tuple(real), Looks(look_at(path), included), ways)


def looks_of(path: Path, patterns: Sequence[str]) -> Looks:
    """Look at an absolute path and at the files that its patterns match."""
    included = (os.path.join(path.parent, name) for name in find(path, patterns).names)
    return Looks(look_at(path), {file: look_at(file) for file in included})


def stamps_of(path: Path, patterns: Sequence[str]) -> dict[str, Stamp | None]:
    """Return the stamps of the same files, as in `Looks.stamps`."""
    included = (os.path.join(path.parent, name) for name in find(path, patterns).names)
    return {"": stamp(path), **{file: stamp(file) for file in included}}


def _in(folder: str, file: str) -> str:
    return os.path.join(folder, os.path.basename(file))


def _entries(path: Path) -> tuple[str, ...]:
    """Resolve an absolute path; return each symlink on it and, last, the real path of the file."""
    here, *rest = map(Path, path.parts)
    pending, found = rest[::-1], list[str]()
    while pending and len(found) < 40:
        part = pending.pop()
        entry = here.parent if str(part) == ".." else here / part
        try:
            link = entry.readlink()
        except OSError:
            here = entry
            continue
        found.append(str(entry))
        if link.is_absolute():
            here = Path(link.anchor)
        pending += map(Path, reversed(link.parts[1:] if link.is_absolute() else link.parts))
    return (*found, str(here))


def _folder(folder: Path) -> tuple[str, int, int]:
    for candidate in (folder, *folder.parents):
        try:
            found = candidate.stat()
        except OSError:
            continue
        return str(candidate), found.st_dev, found.st_ino
    return str(folder), 0, 0
