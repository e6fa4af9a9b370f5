"""What `gateway validate` finds out about one file: it is compiled as the server would, and the table dropped."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.cli.linting import linted
from gateway.config.compiler.compiler import Compiler
from gateway.config.compiler.hook_import import imports_taken_back
from gateway.types import JsonObject, Problem

STDIN: Final = "-"
"""The name that stands for standard input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of one file."""

    file: str
    """As it was given."""
    readable: bool = True
    ok: bool = False
    problems: tuple[Problem, ...] = ()
    digest: str | None = None
    aliases: int = 0
    targets: int = 0
    hooks_skipped: int = 0

    def as_json(self) -> JsonObject:
        """Return what `--format json` shows of the file."""
        return {
            "file": self.file,
            "ok": self.ok,
            "readable": self.readable,
            "digest": self.digest,
            "aliases": self.aliases,
            "targets": self.targets,
            "hooks_skipped": self.hooks_skipped,
            "problems": [problem.as_json() for problem in self.problems],
        }


def check(
    name: str, *, skip_hooks: bool, strict_env: bool, strict: bool = False, ignore: Collection[str] = ()
) -> Checked:
    """Compile one file and lint it. With `strict` it is good only without warnings; those in `ignore` do not count.

    Raises UsageError when the environment is malformed.
    """
    compiler = Compiler(environ=os.environ, skip_hooks=skip_hooks, strict_env=strict_env)
    try:
        data = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except (OSError, ValueError) as exc:
        problem = Problem(line=0, column=0, code="unreadable-file", path="", message=_why(name, exc), source=name)
        return Checked(file=name, readable=False, problems=(problem,))
    source = "<stdin>" if name == STDIN else name
    with redirect_stdout(sys.stderr), imports_taken_back(Path(os.path.abspath(source)).parent):
        # What hooks print is no part of the report.
        compiled = compiler.compile(data, source=source)
    table = compiled.table
    problems = linted(compiled, ignore=ignore)
    return Checked(
        file=name,
        ok=table is not None and not (strict and problems),
        problems=problems,
        digest=compiled.digest,
        aliases=len(table.routes) + len(table.wildcards) if table else 0,
        targets=len(table.targets) if table else 0,
        hooks_skipped=compiled.skipped_hooks,
    )


def _why(name: str, exc: Exception) -> str:
    if isinstance(exc, IsADirectoryError):
        pattern = os.path.join(name, "*.yaml")
        return f"this is a folder; name a file in it, or all of them with {pattern!r}"
    reason = (getattr(exc, "strerror", None) or str(exc)).lower()
    hint = "; name a file, or set GATEWAY_CONFIG" if name == "routes.yaml" else ""
    return f"cannot read the file: {reason}{hint}"


def in_repository(name: str) -> str:
    """Return a file's path from the top of the repository as a CI service counts it, with slashes.

    GitHub says where it is with GITHUB_WORKSPACE; without it the current folder is the top. A file elsewhere keeps its
    absolute path.
    """
    path, top = Path(os.path.abspath(name)), os.path.abspath(os.environ.get("GITHUB_WORKSPACE") or ".")
    return (path.relative_to(top) if path.is_relative_to(top) else path).as_posix()
