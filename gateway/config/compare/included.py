"""Find and read the files that a config file of a git revision includes, in the same revision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from glob import has_magic
from typing import Final

from gateway.config.compare.repository import Repository
from gateway.config.document.document import MAX_BYTES
from gateway.config.include import (
    MAX_FILES,
    TOO_LARGE,
    Included,
    IncludedFile,
    matches,
    parts_of,
    too_many_files,
    unmatched,
)
from gateway.config.problems import Fault

_OUTSIDE: Final = "outside of the repository there is nothing at a revision; name files in it"


def read_at(
    repository: Repository, revision: str, path: str, patterns: Sequence[str], *, prefix: str, used_bytes: int
) -> Included:
    """Read the files that match beside the main file at `path`, from the top, as `include.read` does on disk.

    `prefix` is what their paths have before them in problems, such as `HEAD:`. Links to folders are not followed.
    """
    folder = os.path.dirname(path)
    found: dict[str, str] = {}
    faults: dict[int, Fault] = {}
    for number, pattern in enumerate(patterns):
        matched = _matched(repository, revision, folder, pattern)
        if matched is None:
            faults[number] = Fault("unreadable-file", _OUTSIDE)
            continue
        names = {name: at for name, at in matched.items() if at != path}
        if not names:
            faults[number] = unmatched(pattern)
        found |= names
        if len(found) > MAX_FILES:
            return Included(faults={**faults, number: too_many_files()})
    files: list[IncludedFile] = []
    for name, at in sorted(found.items()):
        what, data = repository.read(revision, at)
        used_bytes += len(data)
        fault = None if what == "file" else Fault("unreadable-file", f"cannot read the file: {_WHY[what]}")
        if used_bytes > MAX_BYTES:
            data, fault = b"", Fault("file-too-large", TOO_LARGE)
        files.append(IncludedFile(name=name, source=f"{prefix}{at}", data=data, fault=fault))
    return Included(files=tuple(files), faults=faults)


_WHY: Final = {
    "folder": "it is a folder",
    "link": "it is a symbolic link that leads out of the repository or to nothing",
    "nothing": "there is none at this revision",
}


def _matched(repository: Repository, revision: str, folder: str, pattern: str) -> dict[str, str] | None:
    """Return the files that match, path from the top by name; None if the pattern leads out of the repository."""
    parts = parts_of(pattern)
    fixed = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts))
    name = os.path.join("", *parts[:fixed])
    start = os.path.normpath(os.path.join(folder, name))
    if pattern.startswith("/") or start.split("/")[0] == os.pardir:
        return None
    if fixed == len(parts):
        return {name: start}
    start = "" if start == os.curdir else f"{start}/"
    below = (path.removeprefix(start) for path in repository.files(revision, start))
    return {os.path.join(name, path): f"{start}{path}" for path in below if matches(path.split("/"), parts[fixed:])}
