"""Read files of git revisions: find the repository of a folder, and the file that a path means in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from gateway.errors import UsageError

PATIENCE_S: Final = 30
MAX_LINKS: Final = 40
"""Symbolic links that are followed in the index for one path, as many as Linux follows."""

_OFFLINE: Final = {"GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

_OF_ONE_REPOSITORY: Final = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
    }
)  # fmt: skip
"""Variables that mean one repository, as git sets them for hooks: `git rev-parse --local-env-vars`, without config."""

What: TypeAlias = Literal["file", "folder", "link", "nothing"]
"""What a path is at a revision; `link` leads out of the repository or to nothing."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository, as seen from one folder."""

    top: str | None
    """The top folder of its work tree, without symbolic links; None for a bare repository, or inside `.git`."""
    _folder: str
    _environ: dict[str, str]

    @classmethod
    def of(cls, folder: Path, *, asked: str) -> Repository | None:
        """Return the repository that has `folder` in its work tree, or None. `asked` is what to read, for the error.

        In a hook git's variables mean the hook's repository, and without GIT_WORK_TREE git takes any folder for its top
        (https://git-scm.com/docs/git#Documentation/git.txt-GITWORKTREE). So GIT_DIR is left out where git finds the
        same repository from the folder.
        Raises UsageError when git is missing or refuses the repository.
        """
        plain = {name: value for name, value in os.environ.items() if name not in _OF_ONE_REPOSITORY}
        found = _discover(folder, plain, asked)
        if not _OF_ONE_REPOSITORY & os.environ.keys():
            return None if found is None else cls(found.top, found.top or found.git_dir, plain)
        git_dir = os.environ.get("GIT_DIR")
        if git_dir is not None:
            home: str | None = os.path.realpath(git_dir)
        else:
            here = _discover(Path(), plain, asked)
            home = here.git_dir if here else None
        if found is not None and found.git_dir == home and "GIT_WORK_TREE" not in os.environ:
            environ = {name: value for name, value in os.environ.items() if name not in {"GIT_DIR", "GIT_PREFIX"}}
            return cls(found.top, found.top or found.git_dir, environ)
        tree = os.path.realpath(os.environ.get("GIT_WORK_TREE", ""))
        if git_dir is not None and home is not None and _is_below(os.path.realpath(folder), tree):
            nested = found is not None and found.top not in {None, tree} and found.git_dir != home
            if not nested:
                return cls(tree, tree, {**os.environ, "GIT_DIR": home, "GIT_WORK_TREE": tree})
        return None if found is None else cls(found.top, found.top or found.git_dir, plain)

    def git(self, *args: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run git, from the top of the work tree."""
        return _git(self._folder, self._environ, *args, given=given)

    def path_of(self, file: str) -> str | None:
        """Return an absolute path seen from the top, of a bare one from the current folder; None if it is outside."""
        path = os.path.relpath(file, os.getcwd() if self.top is None else self.top)
        return None if path.split(os.sep)[0] == os.pardir else path

    def read(self, revision: str, path: str) -> tuple[What, bytes]:
        """Return what `path`, from the top, is at `revision`, and a file's bytes. The index has the empty revision.

        Symbolic links are followed as far as they stay in the repository.
        """
        if not revision:
            return self._read_index(path)
        if "\n" in revision + path:
            blob = self.git("cat-file", "blob", "--end-of-options", f"{revision}:{path}")
            return ("nothing", b"") if blob.returncode else ("file", blob.stdout)
        answer = self.git("cat-file", "--batch", "--follow-symlinks", given=os.fsencode(f"{revision}:{path}\n")).stdout
        head, _, rest = answer.partition(b"\n")
        words = head.split()
        if len(words) == 3 and words[1] == b"blob" and words[2].isdigit():
            return "file", rest[: int(words[2])]
        if len(words) == 3 and words[1] == b"tree":
            return "folder", b""
        return ("link" if words[:1] in ([b"symlink"], [b"dangling"], [b"loop"]) else "nothing"), b""

    def files(self, revision: str, folder: str) -> list[str]:
        """Return the paths of all files below a folder, both from the top. A folder ends in a slash, or is empty."""
        if revision:
            args = ["ls-tree", "-r", "-z", "--name-only", "--full-tree", revision, "--", *([folder] if folder else [])]
        else:
            args = ["ls-files", "-z", "--full-name", "--", f":(top,literal){folder}"]
        listed = os.fsdecode(self.git(*args).stdout).split("\0")
        return [path for path in dict.fromkeys(listed) if path.startswith(folder) and path]

    def _read_index(self, path: str) -> tuple[What, bytes]:
        for _ in range(MAX_LINKS):
            blob = self.git("cat-file", "blob", "--end-of-options", f":{path}")
            if blob.returncode:
                linked = self._through_linked_folder(path)
                if linked is None:
                    is_folder = self.git("ls-files", "--error-unmatch", "--", f":(top,literal){path}/").returncode == 0
                    return ("folder" if is_folder else "nothing"), b""
            elif not self._is_link(path):
                return "file", blob.stdout
            else:
                linked = _joined(path, blob.stdout)
            if linked is None:
                break
            path = linked
        return "link", b""

    def _through_linked_folder(self, path: str) -> str | None:
        """Return the path with its first linked folder resolved; None if it has none in the index."""
        parts = path.split("/")
        for number in range(1, len(parts)):
            folder = "/".join(parts[:number])
            if self._is_link(folder):
                target = self.git("cat-file", "blob", "--end-of-options", f":{folder}").stdout
                joined = _joined(folder, target)
                return None if joined is None else "/".join([joined, *parts[number:]])
        return None

    def _is_link(self, path: str) -> bool:
        entry = self.git("ls-files", "--stage", "-z", "--", f":(top,literal){path}").stdout
        return entry.startswith(b"120000 ") and entry.partition(b"\t")[2] == os.fsencode(path) + b"\0"


@dataclass(frozen=True, slots=True)
class _Found:
    git_dir: str
    top: str | None


def _discover(folder: Path, environ: dict[str, str], asked: str) -> _Found | None:
    """Return the repository that git finds from `folder` upwards. Raises UsageError when git refuses it."""
    answer = _git(str(folder), environ, "rev-parse", "--absolute-git-dir")
    if answer.returncode:
        said = answer.stderr.decode(errors="replace").strip().partition("\n")[0].removeprefix("fatal: ")
        if "not a git repository" in said:
            return None
        raise UsageError(f"cannot read {asked}: git says: {said}")
    top = _git(str(folder), environ, "rev-parse", "--show-toplevel")
    where = None if top.returncode else os.path.realpath(os.fsdecode(top.stdout).rstrip("\n"))
    return _Found(os.path.realpath(os.fsdecode(answer.stdout).rstrip("\n")), where)


def _joined(link: str, target: bytes) -> str | None:
    """Return where a link leads, from the top; None if that is outside."""
    path = os.path.normpath(os.path.join(os.path.dirname(link), os.fsdecode(target)))
    return None if os.path.isabs(path) or path.split("/")[0] == os.pardir else path


def _is_below(folder: str, top: str) -> bool:
    return os.path.commonpath([folder, top]) == top


def _git(folder: str, environ: dict[str, str], *args: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("git")
    if program is None:
        raise UsageError("git is not installed, so there are no revisions to read; name two files")
    try:
        return subprocess.run(  # noqa: S603 - a list, no shell; a revision cannot pass for an option
            [program, "-C", folder, *args],
            input=given,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
            env={**environ, **_OFFLINE},
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"git does not answer within {PATIENCE_S} s") from None
