"""Lint as `validate` runs it: today's date, the engine's own planner, and the codes that a flag leaves out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from gateway.compiler import Compiled
from gateway.errors import UsageError
from gateway.lint import CODES, Outside, lint, modeldata
from gateway.lint.silences import unfit
from gateway.table import Route
from gateway.types import Problem


def linted(compiled: Compiled, *, ignore: Collection[str]) -> tuple[Problem, ...]:
    """Return a compiled file's problems and warnings, but for the codes in `ignore`."""
    outside = Outside(today=datetime.now(UTC).date(), untried=untried, models=modeldata.load)
    return lint(compiled, outside, ignore=ignore)


def ignored(values: Sequence[str]) -> frozenset[str]:
    """Return the codes of all `--ignore` flags, commas between. Raises UsageError for what is no warning's code."""
    codes = [code for value in values for part in value.split(",") if (code := part.strip())]
    for code in codes:
        if code not in CODES:
            raise UsageError(f"--ignore: {unfit(code, CODES)}; the codes of warnings are {', '.join(sorted(CODES))}")
    return frozenset(codes)


def untried(route: Route) -> int | None:
    """Return the first step that a call never comes to when each attempt takes its whole limit and then fails."""
    from gateway.forecast import worst  # not every file asks, and the engine takes a while to import

    tried = worst(route, stream=False, slow=True).tried
    return next((step for step in range(len(route.steps)) if step not in tried), None)
