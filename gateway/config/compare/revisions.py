"""Read the two policies to compare, each from a file, standard input or a git revision."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config.compare.included import read_at
from gateway.config.compare.repository import Repository, What
from gateway.config.include import Include
from gateway.errors import UsageError

STDIN: Final = "-"

_RELATIVE: Final = ("./", "../")
"""Prefixes of paths relative to the current folder, as in git; other paths are relative to the repository's top."""

_FULL_HASH: Final = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_REVISION: Final = re.compile(r"(?:[^:{]|\{[^}]*+\}?+)*+")
_STAGE: Final = re.compile("^[0-3]:")
"""Number of a conflict's side in the index, as in `:2:routes.yaml`."""
_SHORT_HASH: Final = 12
"""Digits of a commit's hash in a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One side of a comparison."""

    name: str
    """Its name in problems: `routes.yaml`, `<stdin>`, or `HEAD:routes.yaml` with the path from the repository's top."""
    data: bytes
    file: Path | None
    """Its path, or the path that it has in the work tree; None for standard input."""
    revision: str | None = None
    """The git revision, empty for the index; None for a file and for standard input."""
    path: str = ""
    """Its path from the top, at a revision."""
    repository: Repository | None = None

    @property
    def folder(self) -> str | None:
        """The folder of its hooks, for a revision in the work tree; None stands for the current folder."""
        return None if self.file is None else str(self.file.parent)

    @property
    def include(self) -> Include | None:
        """The reader of the files that it includes, in the same revision; None for those on disk."""
        repository, revision = self.repository, self.revision
        if repository is None or revision is None:
            return None
        path, used = _STAGE.sub("", self.path), len(self.data)
        prefix = self.name.removesuffix(self.path)
        return lambda patterns: read_at(repository, revision, path, patterns, prefix=prefix, used_bytes=used)

    def beside(self) -> tuple[str, bytes] | None:
        """Return name and bytes of the file of test cases beside it, in the same revision, or None without one."""
        if self.file is None:
            return None
        file = self.file.with_name(f"{self.file.stem}.test{self.file.suffix or '.yaml'}")
        if self.revision is None:
            return (str(file), _bytes(str(file))) if file.is_file() else None
        name = os.path.join(os.path.dirname(self.path), file.name)
        what, data = ("nothing", b"") if self.repository is None else self.repository.read(self.revision, name)
        return (f"{self.name.removesuffix(self.path)}{name}", data) if what == "file" else None


def read_both(old: str | None, new: str | None, *, config: Path, explicit: bool) -> tuple[Source, Source]:
    """Return both sides. Raises UsageError, which names the side that cannot be read and the reason.

    `old` defaults to HEAD, `new` to the config file. For a revision without a path, the path is that of the config file
    if `explicit`, else that of the other side, `REV:path` or a file in a git repository, else that of the config file.
    """
    if old == new == STDIN:
        raise UsageError("both sides are standard input; `-` may stand for one of them")
    texts = ["HEAD" if old is None else old, str(config) if new is None else new]
    are_files = [_is_file(texts[0]), new is None or _is_file(texts[1])]
    revisions = [text for text, is_file in zip(texts, are_files, strict=True) if not is_file and text != STDIN]
    default = config
    if not explicit and len(revisions) == 1 and STDIN not in texts and new is not None:
        file = Path(texts[are_files.index(True)])
        if _split(revisions[0])[1] is None and Repository.of(file.parent, asked=revisions[0]) is not None:
            default = file
    paths = [path for text in revisions if (path := _split(text)[1])]
    path = paths[0] if not explicit and len(revisions) == 2 and len(paths) == 1 else None
    first, second = (_read(text, is_file, default, path) for text, is_file in zip(texts, are_files, strict=True))
    return first, second


def _read(text: str, is_file: bool, default: Path, path: str | None) -> Source:
    if text == STDIN:
        return Source(name="<stdin>", data=sys.stdin.buffer.read(), file=None)
    if is_file:
        return Source(name=text, data=_bytes(text), file=Path(text))
    return _at_revision(text, default, path)


def _is_file(text: str) -> bool:
    """Tell whether the path exists and is not a folder; a shell's pipe counts as a file, git's own `HEAD` does not."""
    if text.endswith("HEAD") and os.path.isdir("objects") and os.path.isdir("refs"):
        return False
    return os.path.exists(text) and not os.path.isdir(text)


def _bytes(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as exc:
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        raise UsageError(f"cannot read {name}: {reason}") from None


def _at_revision(text: str, default: Path, path: str | None) -> Source:
    """Read `REV:path`; or, where `text` is REV alone, `path` at it, else the file `default`. Raises UsageError."""
    revision, own = _split(text)
    if not text or text.startswith("-") or "\0" in text:
        raise UsageError(f"{text!r} is neither a file nor a revision")
    if own == "":
        raise UsageError(f"{text!r} names no file; write {revision}:routes.yaml, or {revision} alone")
    if own is None and path is not None:
        own = _STAGE.sub("", path)
    if own is not None:
        repository = _repository(Path(), text)
        return _found(repository, text, revision, _from_top(repository, own))
    folder = Path(os.path.realpath(default)).parent
    if not folder.is_dir():
        shown = Path(os.path.relpath(folder))
        raise UsageError(f"cannot read {text}:{shown / default.name}: there is no folder {shown}")
    places = _places(default, text)
    for place in places[:-1]:
        if place[0].read(revision, place[1])[0] == "file":
            return _found(place[0], text, revision, place[1])
    return _found(places[-1][0], text, revision, places[-1][1])


def _split(text: str) -> tuple[str, str | None]:
    """Return revision and path; None without a colon outside of braces, as in `HEAD^{/fix: typo}`."""
    match = _REVISION.match(text)
    revision = match[0] if match else text
    return revision, text[len(revision) + 1 :] if len(revision) < len(text) else None


def _from_top(repository: Repository, path: str) -> str:
    """Return the path of `REV:path` from the top of the work tree."""
    prefix = ""
    if path.startswith(_RELATIVE) and repository.top is not None:
        prefix = os.path.relpath(os.getcwd(), repository.top)
    return os.path.normpath(os.path.join(prefix, path))


def _places(file: Path, text: str) -> list[tuple[Repository, str]]:
    """Return where a file of the work tree may be found at a revision: repositories, and paths from their tops.

    By its name first, as a link may have led elsewhere at that revision; last by where its links lead today.
    """
    named = os.path.abspath(file)
    folder = os.path.realpath(os.path.dirname(file) or os.curdir)
    names = [os.path.join(folder, os.path.basename(named)), os.path.realpath(file)]
    if os.path.realpath(os.path.dirname(named)) == folder:
        names.insert(0, named)
    places: list[tuple[Repository, str]] = []
    for name in dict.fromkeys(names):
        parent = Path(name).parent
        repository = Repository.of(parent, asked=text) if parent.is_dir() else None
        path = None if repository is None else repository.path_of(name)
        if repository is not None and path is not None:
            places.append((repository, path))
    if not places:
        raise _in_no_repository(Path(os.path.relpath(os.path.dirname(names[-1]))), text)
    return places


def _found(repository: Repository, text: str, revision: str, path: str) -> Source:
    """Read the file at `path`, from the top of the work tree. Raises UsageError."""
    what, data = repository.read(revision, path)
    if what != "file":
        raise UsageError(_why_not(repository, text, revision, path, what))
    shown = revision[:_SHORT_HASH] if _FULL_HASH.fullmatch(revision) else revision
    file = Path(os.path.relpath(os.path.join(repository.top or "", _STAGE.sub("", path))))
    return Source(name=f"{shown}:{path}", data=data, file=file, revision=revision, path=path, repository=repository)


def _why_not(repository: Repository, text: str, revision: str, path: str, what: What) -> str:
    """Return why git has no file there."""
    known = repository.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{tree}}")
    if revision and known.returncode:
        if ".." in revision:
            old, _, new = revision.partition("..")
            return f"{revision!r} is a range; name both ends: gateway diff {old or 'HEAD'} {new.lstrip('.') or 'HEAD'}"
        shallow = repository.git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        hint = "; the clone is shallow, so it may have to be fetched first (fetch-depth: 0)" if shallow else ""
        if revision == text:
            return f"{text!r} is neither a file nor a revision of this repository{hint}"
        return f"cannot read {text}: there is no revision {revision!r} in this repository{hint}"
    is_ = {
        "folder": f"{path} is a folder",
        "link": f"{path} is a symbolic link that leads out of the repository or to nothing",
    }
    said = is_.get(what, f"there is no {path}")
    return f"cannot read {revision}:{path}: {said} {f'at {revision}' if revision else 'in the index'}"


def _repository(folder: Path, text: str) -> Repository:
    repository = Repository.of(folder, asked=text)
    if repository is None:
        raise _in_no_repository(folder, text)
    return repository


def _in_no_repository(folder: Path, text: str) -> UsageError:
    where = "this folder" if folder == Path() else str(folder)
    return UsageError(f"{text!r} is no file, and {where} is in no git repository; name two files")
