"""Read and write the files that a command line names. A failure becomes a UsageError or a problem."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from gateway.cli.settings import DEFAULT_CONFIG
from gateway.errors import UsageError
from gateway.policy.problem import Problem
from gateway.policy.regular_file import replace_file
from gateway.reports.problems import STDIN


def cases_beside(config: Path) -> Path:
    """Return the file of a config's test cases: `routes.test.yaml` beside `routes.yaml`."""
    return config.with_name(f"{config.stem}.test{config.suffix or '.yaml'}")


def read(name: str) -> bytes:
    """Return a file's bytes; `-` is standard input. Raises UsageError."""
    with reading(name):
        return sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn an error of reading the file, raised in the block, into a UsageError that names the file."""
    try:
        yield
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read {name}: {_why(name, exc)}") from None


def unreadable(name: str, exc: Exception) -> Problem:
    """Return the problem for a file that cannot be read."""
    message = f"cannot read the file: {_why(name, exc)}"
    if isinstance(exc, IsADirectoryError):
        pattern = os.path.join(name, "*.yaml")
        message = f"this is a folder; name a file in it, or all of them with {pattern!r}"
    return Problem(line=0, column=0, code="unreadable-file", path="", message=message, source=name)


def _why(name: str, exc: Exception) -> str:
    """Return the reason, with a hint when it is the default config file that does not exist."""
    is_missing = isinstance(exc, FileNotFoundError) and name == str(DEFAULT_CONFIG)
    hint = "; name a file, set GATEWAY_CONFIG, or run `gateway init` to write one" if is_missing else ""
    return reason(exc) + hint


def reason(exc: Exception) -> str:
    """Return the system's reason for a failed read or write, in lower case."""
    return (getattr(exc, "strerror", None) or str(exc)).lower()


def write(path: Path, data: bytes) -> None:
    """Write or replace a file atomically. Follows links; a replaced file keeps mode and owner. Raises UsageError."""
    try:
        target = path.resolve()
        before = target.stat() if target.exists() else None
        if before is not None and not stat.S_ISREG(before.st_mode):
            kind = "a folder" if stat.S_ISDIR(before.st_mode) else "no regular file"
            raise UsageError(f"cannot write {path}: it is {kind}; `-` stands for standard input and output")
        if not target.parent.is_dir():
            raise UsageError(f"cannot write {path}: there is no folder {target.parent}")
        # The umask applies to a new file; a replaced one's mode is set once it is written.
        replace_file(
            target, data, mode=0o666 if before is None else 0o600, before_rename=partial(_take_over, before=before)
        )
    except (OSError, RuntimeError, ValueError) as exc:  # RuntimeError: a loop of symbolic links before Python 3.13
        raise UsageError(f"cannot write {path}: {reason(exc)}") from None


def _take_over(path: Path, *, before: os.stat_result | None) -> None:
    """Give a new file the owner and the mode of the one that it replaces."""
    if before is not None:
        with suppress(PermissionError):
            os.chown(path, before.st_uid, before.st_gid)
        os.chmod(path, stat.S_IMODE(before.st_mode))
