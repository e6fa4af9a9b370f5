"""Find and read the files that `include` names: bounded in number and bytes, and regular files only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import has_magic
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.config.document.document import MAX_BYTES
from gateway.config.problems import Fault
from gateway.policy.regular_file import read_regular_file, why
from gateway.policy.stamp import Stamp, stamp

MAX_FILES: Final = 1_000
MAX_FOLDERS: Final = 1_000
"""Folders that all patterns together may search."""
MAX_DEPTH: Final = 100

CASE_SUFFIXES: Final = (".test.yaml", ".test.yml")
"""Endings of the names of test case files, which are beside the config files."""

TOO_LARGE: Final = f"up to this file the config has over {MAX_BYTES} bytes; at most so many are read of all together"

_ANY_DEPTH: Final = "**"
_READINGS: Final = 3
"""Times that a set of files which changes while it is read is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludedFile:
    """One file that a pattern matches."""

    name: str
    """Its path from the main file's folder; an absolute path where the pattern is one."""
    source: str
    """Its path as problems show it."""
    data: bytes = b""
    fault: Fault | None = None
    """Why it could not be read."""
    stamp: Stamp | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Included:
    """The files of all patterns, by name, and the patterns' faults."""

    files: tuple[IncludedFile, ...] = ()
    faults: Mapping[int, Fault] = field(default_factory=lambda: MappingProxyType({}))
    """By index of the pattern. Only that of an `unmatched` one is a warning."""


Include: TypeAlias = Callable[[Sequence[str]], Included]
"""Reads the files of the patterns. The main file's bytes count against the same limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Names of the files that match, sorted, with the folders that were searched."""

    names: tuple[str, ...]
    """As `IncludedFile.name`."""
    folders: tuple[str, ...]
    """Paths; some may not exist. A change of the files that match is a change in one of them."""
    faults: Mapping[int, Fault]


def find(main: Path, patterns: Sequence[str]) -> Found:
    """Return the files that match. `main` is the absolute path of the main file, which never matches.

    `*`, `?` and `[…]` match in one part of a path, `**` any number of folders but no links to folders. They do not
    match hidden files, editors' backups and files of test cases. A pattern without any of them always matches.
    """
    search = _Search(main)
    faults: dict[int, Fault] = {}
    for number, pattern in enumerate(patterns):
        before = len(search.found)
        try:
            matched = search.add(pattern)
        except _ItselfError:
            faults[number] = Fault("bad-include", "this is the config file itself; name other files")
            continue
        except _TooManyError as exc:
            faults[number] = exc.fault
            del search.found[before:]
            break
        except OSError as exc:
            faults[number] = Fault("unreadable-file", f"cannot search {exc.filename or main.parent}: {why(exc)}")
            continue
        if not matched:
            faults[number] = unmatched(pattern)
    names = tuple(sorted(dict.fromkeys(search.found)))
    return Found(names=names, folders=tuple(search.folders), faults=faults)


def read(main: Path, patterns: Sequence[str], *, source: str, used_bytes: int) -> Included:
    """Read the files that match. `source` is the main file's path as given, `used_bytes` its size.

    Never raises: a file that cannot be read has its fault. The files are of one moment unless they keep changing.
    """
    for _ in range(_READINGS):
        found = find(main, patterns)
        files = tuple(_read(main, found.names, source, MAX_BYTES - used_bytes))
        if [(file.name, file.stamp) for file in files] == [
            (name, stamp(main.parent / name)) for name in find(main, patterns).names
        ]:
            break
    return Included(files=files, faults=found.faults)


def from_disk(source: str, data: bytes) -> Include:
    """Return the reader of the files beside a main file, by its path as given and its bytes."""
    main = Path(os.path.abspath(source))
    return lambda patterns: read(main, patterns, source=source, used_bytes=len(data))


def digest_of(source: str, main: str, files: Sequence[IncludedFile]) -> str:
    """Return the SHA-256 over a main file and its included ones, in hex. `main` is the main file's own.

    It is what `sha256sum routes.yaml teams/*.yaml | sha256sum` prints in the main file's folder.
    """
    if not files:
        return main
    lines = [f"{main}  {os.path.basename(source)}\n"]
    for file in files:
        own = file.fault.message if file.fault else hashlib.sha256(file.data).hexdigest()
        lines.append(f"{own}  {file.name}\n")
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def fits(name: str, part: str) -> bool:
    """Tell whether a file's or folder's name matches one part of a pattern."""
    if not has_magic(part):
        return name == part
    is_hidden = name.startswith(".") and not part.startswith(".")
    is_backup = name.endswith("~") or (name.startswith("#") and name.endswith("#"))
    return not is_hidden and not is_backup and fnmatchcase(name, part)


def parts_of(pattern: str) -> list[str]:
    """Return the parts of a pattern; the first is empty where it is an absolute path."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if parts[-1:] == [_ANY_DEPTH]:
        parts.append("*")
    return ["", *parts] if pattern.startswith("/") else parts


def matches(path: Sequence[str], parts: Sequence[str]) -> bool:
    """Tell whether the parts of a file's path match those of a pattern. For files that are not on the disk."""
    if not parts:
        return not path
    if parts[0] == _ANY_DEPTH:
        visible = list(
            accumulate((fits(name, "*") for name in path[:-1]), lambda all_, one: all_ and one, initial=True)
        )
        return any(visible[skip] and matches(path[skip:], parts[1:]) for skip in range(len(path)))
    is_case = len(path) == 1 and has_magic(parts[0]) and path[0].endswith(CASE_SUFFIXES)
    return bool(path) and not is_case and fits(path[0], parts[0]) and matches(path[1:], parts[1:])


def unmatched(pattern: str) -> Fault:
    """Return the fault of a pattern that no file matches."""
    hint = " (`~` is not expanded)" if pattern.startswith("~") else ""
    return Fault("unmatched-include", f"no file matches {pattern!r}{hint}")


def too_many_files() -> Fault:
    """Return the fault of the pattern that goes over MAX_FILES."""
    return Fault("too-many-files", f"more than {MAX_FILES} files match; at most {MAX_FILES} are included")


class _TooManyError(Exception):
    """More files match, or more folders would be searched, than the limit."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _ItselfError(Exception):
    """A pattern names the main file."""


class _Search:
    """Collects the files of several patterns."""

    def __init__(self, main: Path) -> None:
        self.found: list[str] = []
        self.folders: dict[str, None] = {}
        self._main = main

    def add(self, pattern: str) -> bool:
        """Add the files of a pattern; return whether there is any. Raises OSError and _TooManyError."""
        parts = parts_of(pattern)
        is_absolute = parts[:1] == [""]
        start, shown = ("/", "/") if is_absolute else (str(self._main.parent), "")
        parts = parts[is_absolute:]
        if not any(map(has_magic, parts)):
            if self._is_main(name := os.path.join(shown, *parts) or os.curdir):
                raise _ItselfError
            self._visit(os.path.join(start, *parts[:-1]))
            self._take(name)
            return True
        before = len(self.found)
        for name in self._below(start, shown, parts):
            if not self._is_main(name):
                self._take(name)
        return len(self.found) > before

    def _is_main(self, name: str) -> bool:
        return os.path.normpath(self._main.parent / name) == os.path.normpath(self._main)

    def _below(self, folder: str, shown: str, parts: list[str]) -> Iterator[str]:
        part, rest = parts[0], parts[1:]
        if not has_magic(part):
            path, name = os.path.join(folder, part), os.path.join(shown, part)
            self._visit(folder)
            if rest:
                yield from self._below(path, name, rest)
            elif os.path.lexists(path) and not os.path.isdir(path):
                yield name
            return
        if part == _ANY_DEPTH:
            yield from self._below(folder, shown, rest)
        for entry in self._entries(folder):
            name = os.path.join(shown, entry.name)
            if part == _ANY_DEPTH:
                if fits(entry.name, "*") and entry.is_dir(follow_symlinks=False):
                    yield from self._below(entry.path, name, parts)
            elif not fits(entry.name, part):
                continue
            elif rest:
                if _is_folder(entry):
                    yield from self._below(entry.path, name, rest)
            elif not _is_folder(entry) and not entry.name.endswith(CASE_SUFFIXES):
                yield name

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        self._visit(folder)
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _visit(self, folder: str) -> None:
        self.folders[folder] = None
        if folder.count("/") > MAX_DEPTH:
            message = f"folders more than {MAX_DEPTH} levels deep would be searched; name them"
            raise _TooManyError(Fault("too-many-files", message))
        if len(self.folders) > MAX_FOLDERS:
            message = f"more than {MAX_FOLDERS} folders would be searched; name the folders of the files"
            raise _TooManyError(Fault("too-many-files", message))

    def _take(self, name: str) -> None:
        self.found.append(name)
        if len(self.found) > MAX_FILES and len(set(self.found)) > MAX_FILES:
            raise _TooManyError(too_many_files())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle: reading it tells
        return False


def _read(main: Path, names: Sequence[str], source: str, room_bytes: int) -> Iterator[IncludedFile]:
    for name in names:
        path, data, fault, found = main.parent / name, b"", None, None
        try:
            if room_bytes >= 0:
                data, found = read_regular_file(path, limit_bytes=MAX_BYTES)
                room_bytes -= len(data)
            if room_bytes < 0:
                data, fault = b"", Fault("file-too-large", TOO_LARGE)
        except OSError as exc:
            reason = f"cannot read the file: {why(exc)}"
            if os.path.isdir(path):
                reason = f"this is a folder; write {os.path.join(name, '*.yaml')} to include the files in it"
            fault = Fault("unreadable-file", reason)
        shown = os.path.join(os.path.dirname(source), name)
        yield IncludedFile(name=name, source=shown, data=data, fault=fault, stamp=found or stamp(path))
