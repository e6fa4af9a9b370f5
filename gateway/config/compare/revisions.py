"""Read the two policies to compare, each from a file, standard input or a git revision."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import UsageError

STDIN: Final = "-"
PATIENCE_S: Final = 30

_RELATIVE: Final = ("./", "../")
"""Prefixes of paths relative to the current folder, as in git; other paths are relative to the repository's top."""

_FULL_HASH: Final = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_HASH: Final = 12
"""Digits of a commit's hash in a report."""

_OFFLINE: Final = {"GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


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

    @property
    def folder(self) -> str | None:
        """The folder of its hooks, for a revision in the work tree; None stands for the current folder."""
        return None if self.file is None else str(self.file.parent)

    def beside(self) -> tuple[str, bytes] | None:
        """Return name and bytes of the file of test cases beside it, in the same revision, or None without one."""
        if self.file is None:
            return None
        file = self.file.with_name(f"{self.file.stem}.test{self.file.suffix or '.yaml'}")
        if self.revision is None:
            return (str(file), _bytes(str(file))) if file.is_file() else None
        name = self.name.removesuffix(self.file.name) + file.name
        blob = _blob(file.parent if file.parent.is_dir() else Path(), f"{self.revision}:{name.partition(':')[2]}")
        return (name, blob.stdout) if blob.returncode == 0 else None


def read_both(old: str | None, new: str | None, *, config: Path, explicit: bool) -> tuple[Source, Source]:
    """Return both sides. Raises UsageError, which names the side that cannot be read and the reason.

    `old` defaults to HEAD, `new` to the config file. For a revision without a path, the path is that of the config file
    if `explicit`, else that of the other side if it is a file in a git repository, else that of the config file.
    """
    if old == new == STDIN:
        raise UsageError("both sides are standard input; `-` may stand for one of them")
    texts = ["HEAD" if old is None else old, str(config) if new is None else new]
    files = [Path(text) for text in texts if text != STDIN and _is_file(text)]
    default = config
    if len(files) == 1 and not explicit and not _git(files[0].parent, "rev-parse", "--show-prefix").returncode:
        default = files[0]
    return _read(texts[0], default), _read(texts[1], default, is_file=new is None)


def _read(text: str, default: Path, *, is_file: bool = False) -> Source:
    if text == STDIN:
        return Source(name="<stdin>", data=sys.stdin.buffer.read(), file=None)
    if is_file or _is_file(text):
        return Source(name=text, data=_bytes(text), file=Path(text))
    return _at_revision(text, default)


def _is_file(text: str) -> bool:
    """Tell whether the path exists and is not a folder; a shell's pipe counts as a file."""
    return os.path.exists(text) and not os.path.isdir(text)


def _bytes(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as exc:
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        raise UsageError(f"cannot read {name}: {reason}") from None


def _at_revision(text: str, default: Path) -> Source:
    """Read `REV:path`, or the path `default` at `REV`. Raises UsageError."""
    revision, colon, path = text.partition(":")
    if not text or text.startswith("-") or "\0" in text:
        raise UsageError(f"{text!r} is neither a file nor a revision")
    if colon and not path:
        raise UsageError(f"{text!r} names no file; write {revision}:routes.yaml, or {revision} alone")
    if not colon:
        file = Path(os.path.relpath(os.path.realpath(default)))
        folder = file.parent
        if not folder.is_dir():
            raise UsageError(f"cannot read {text}:{file}: there is no folder {folder}")
        path = f"./{file.name}"
    else:
        folder = Path()
        top = "" if path.startswith(_RELATIVE) else os.path.relpath(_rev_parse(folder, text, "--show-toplevel"))
        file = Path(top, path)
    prefix = _rev_parse(folder, text, "--show-prefix") if path.startswith(_RELATIVE) else ""
    name = f"{revision}:{os.path.normpath(os.path.join(prefix, path))}"
    blob = _blob(folder, f"{revision}:{path}")
    if blob.returncode:
        raise UsageError(_why_not(folder, text, f"{revision}:{path}", name))
    if _FULL_HASH.fullmatch(revision):
        name = name.replace(revision, revision[:_SHORT_HASH], 1)
    return Source(name=name, data=blob.stdout, file=file, revision=revision)


def _why_not(folder: Path, text: str, place: str, name: str) -> str:
    """Return why git has no file at `place`; `name` is the place as shown."""
    revision, _, path = name.partition(":")
    known = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{tree}}")
    if revision and known.returncode:
        if ".." in revision:
            old, _, new = revision.partition("..")
            return f"{revision!r} is a range; name both ends: gateway diff {old or 'HEAD'} {new.lstrip('.') or 'HEAD'}"
        shallow = _git(folder, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        hint = "; the clone is shallow, so it may have to be fetched first (fetch-depth: 0)" if shallow else ""
        if revision == text:
            return f"{text!r} is neither a file nor a revision of this repository{hint}"
        return f"cannot read {text}: there is no revision {revision!r} in this repository{hint}"
    kind = _git(folder, "cat-file", "-t", "--end-of-options", place).stdout.strip()
    what = f"{path} is a folder" if kind == b"tree" else f"there is no {path}"
    return f"cannot read {name}: {what} {f'at {revision}' if revision else 'in the index'}"


def _rev_parse(folder: Path, text: str, question: str) -> str:
    answer = _git(folder, "rev-parse", question)
    if answer.returncode:
        said = answer.stderr.decode(errors="replace").strip().partition("\n")[0].removeprefix("fatal: ")
        if "not a git repository" in said:
            where = "this folder" if folder == Path() else str(folder)
            raise UsageError(f"{text!r} is no file, and {where} is in no git repository; name two files")
        raise UsageError(f"cannot read {text}: git says: {said}")
    return os.fsdecode(answer.stdout).rstrip("\n")


def _blob(folder: Path, place: str) -> subprocess.CompletedProcess[bytes]:
    return _git(folder, "cat-file", "blob", "--end-of-options", place)


def _git(folder: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("git")
    if program is None:
        raise UsageError("git is not installed, so there are no revisions to read; name two files")
    try:
        return subprocess.run(  # noqa: S603 - a list, no shell; a revision cannot pass for an option
            [program, "-C", str(folder), *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
            env={**os.environ, **_OFFLINE},
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"git does not answer within {PATIENCE_S} s") from None
