"""Follows the path to the config file: its symlinks, the folders to watch, and the file itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.config.saves import Look, look_at


@dataclass(frozen=True, slots=True)
class Sight:
    """State of the file and of the path to it at one moment."""

    entries: tuple[str, ...]
    """Each symlink on the path to the file, then the file itself."""
    folders: tuple[tuple[str, int, int], ...]
    """Real folder of each entry with device and inode, or its closest existing parent."""
    file: Look


def sight_of(path: Path) -> Sight:
    """Look at an absolute path and its file. Blocks for a few system calls."""
    entries = _entries(path)
    folders = dict.fromkeys(_folder(Path(entry).parent) for entry in entries)
    return Sight(entries, tuple(folders), look_at(path))


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
