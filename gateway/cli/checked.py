"""Check config files: expand names and patterns to files, compile each as the server does, and lint it."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli.files import unreadable
from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.config.compiler.hook_import import imports_taken_back
from gateway.config.document.document import parse
from gateway.config.include import CASE_SUFFIXES, find
from gateway.config.model.join import patterns_of
from gateway.errors import UsageError
from gateway.policy.problem import Problem
from gateway.policy.table import Route
from gateway.reports.problems import STDIN, Checked, shown_name

if TYPE_CHECKING:
    from gateway.cli.client_keys import ClientKeysFile
    from gateway.config.lint import KnownClients


def check(
    name: str,
    *,
    skip_hooks: bool,
    strict_env: bool,
    strict: bool = False,
    ignore: Collection[str] = (),
    keys: ClientKeysFile | None = None,
) -> Checked:
    """Compile one file and lint it. With `strict` a file with warnings is not ok; `ignore` has codes to leave out.

    `keys` is the file of client keys that is checked beside it.

    Raises UsageError when the environment is malformed.
    """
    compiler = Compiler(environ=os.environ, skip_hooks=skip_hooks, strict_env=strict_env)
    try:
        data = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except (OSError, ValueError) as exc:
        return Checked(file=name, readable=False, problems=(unreadable(name, exc),))
    source = shown_name(name)
    # Hooks may print.
    with redirect_stdout(sys.stderr), imports_taken_back(Path(os.path.abspath(source)).parent):
        compiled = compiler.compile(data, source=source)
    table = compiled.table
    problems = linted(compiled, ignore=ignore, clients=keys.clients if keys is not None else None)
    if keys is not None and table is not None:
        keys.saw(table)
    return Checked(
        file=name,
        ok=table is not None and not (strict and problems),
        problems=problems,
        digest=compiled.digest,
        included=tuple(file.name for file in compiled.document.included) if compiled.document is not None else (),
        aliases=len(table.routes) + len(table.wildcards) if table else 0,
        targets=len(table.targets) if table else 0,
        hooks_skipped=compiled.skipped_hooks,
    )


def linted(compiled: Compiled, *, ignore: Collection[str], clients: KnownClients | None = None) -> tuple[Problem, ...]:
    """Return a compiled file's problems and warnings without the codes in `ignore`."""
    from gateway.config.lint import Outside, lint
    from gateway.config.model_data import load

    outside = Outside(
        today=datetime.now(UTC).date(),
        untried=untried,
        never_kept=never_kept,
        models=load,
        clients=clients,
        keeps_counts=any(os.environ.get(variable, "").strip() for variable in _KEEPING),
    )
    return lint(compiled, outside, ignore=ignore)


_KEEPING: Final = ("GATEWAY_STATE_DIR", "GATEWAY_STATE")
"""Variables with which `serve` keeps what is used of limits."""


def ignored(values: Sequence[str]) -> frozenset[str]:
    """Return the codes in the comma-separated values of `--ignore`. Raises UsageError for an unknown code."""
    from gateway.config.lint import CODES
    from gateway.config.lint.ignores import unfit

    codes = [code for value in values for part in value.split(",") if (code := part.strip())]
    for code in codes:
        if code not in CODES:
            raise UsageError(f"--ignore: {unfit(code, CODES)}")
    return frozenset(codes)


def never_kept(route: Route) -> str | None:
    """Return why no answer of a route with a cache is ever kept; None if some are."""
    from gateway.engine.cache.never import never_kept as asked  # loads the request's part, for such a route only

    return asked(route)


def untried(route: Route) -> int | None:
    """Return the first step that is never tried when each attempt takes its whole limit and then fails."""
    targets = [step.target.identity for step in route.steps]
    steps = [
        (step.target.endpoint.cooldown, step.limits.total_s, step.retries, step.retry_on, step.fallback_on)
        for step in route.steps
    ]
    order = tuple(map(targets.index, targets))
    return _untried(_Shape((route.deadline_s, route.max_attempts, order, tuple(steps)), route))


@dataclass(frozen=True, slots=True)
class _Shape:
    """Cache key of `_untried`: the settings that decide which steps are tried. Thousands of aliases share one."""

    key: tuple[object, ...]
    route: Route = field(compare=False)


@cache
def _untried(shape: _Shape) -> int | None:
    from gateway.simulation.walk import worst

    tried = worst(shape.route, stream=False, slow=True).tried
    return next((step for step in range(len(shape.route.steps)) if step not in tried), None)


def expand(given: Iterable[str]) -> list[str]:
    """Return the files that names and patterns match, each once. Raises UsageError for a pattern without a match.

    `**` matches any number of folders. A name of an existing file is never a pattern.
    """
    names: dict[str, str] = {}
    for name in given:
        if not name:
            raise UsageError("the name of a file is empty")
        for file in [name] if os.path.lexists(name) or not has_magic(name) else _matches(name):
            names.setdefault(file if file == STDIN else os.path.abspath(file), file)
    return list(names.values())


def without_included(names: Sequence[str]) -> list[str]:
    """Leave out the files that another one of them includes: they are checked with it."""
    included: set[str] = set()
    for name in names if len(names) > 1 else ():
        path = Path(os.path.abspath(name))
        data = _bytes(path) if name != STDIN and str(path) not in included else b""
        if b"include" in data:
            patterns = [pattern for _, pattern in patterns_of(parse(data, name=name), os.environ)]
            included |= {os.path.normpath(path.parent / one) for one in find(path, patterns).names} - {str(path)}
    return [name for name in names if name == STDIN or os.path.abspath(name) not in included]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError):
        return b""  # `check` reports it


def _matches(pattern: str) -> list[str]:
    # A dangling link stays, so that it is reported; folders, pipes and devices are dropped.
    found = sorted(name for name in glob(pattern, recursive=True) if os.path.isfile(name) or not os.path.exists(name))
    if not found:
        raise UsageError(f"no file matches {pattern!r}")
    files = [name for name in found if not name.endswith(CASE_SUFFIXES)]
    if not files:
        raise UsageError(f"{pattern!r} matches files of test cases alone; `gateway test` plays them")
    return files
