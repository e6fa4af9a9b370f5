"""Lint as `validate` runs it: today's date, the engine's own planner, and the codes that a flag leaves out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from gateway.config.compiler.compiler import Compiled
from gateway.errors import UsageError
from gateway.policy.table import Route
from gateway.types import Problem

# What only `validate` needs is imported where it is used: every other command starts the sooner.


def linted(compiled: Compiled, *, ignore: Collection[str]) -> tuple[Problem, ...]:
    """Return a compiled file's problems and warnings, but for the codes in `ignore`."""
    from gateway.config.lint import Outside, lint
    from gateway.config.lint import model_data as modeldata

    outside = Outside(today=datetime.now(UTC).date(), untried=untried, models=modeldata.load)
    return lint(compiled, outside, ignore=ignore)


def ignored(values: Sequence[str]) -> frozenset[str]:
    """Return the codes of all `--ignore` flags, commas between. Raises UsageError for what is no warning's code."""
    from gateway.config.lint import CODES
    from gateway.config.lint.ignores import unfit

    codes = [code for value in values for part in value.split(",") if (code := part.strip())]
    for code in codes:
        if code not in CODES:
            raise UsageError(f"--ignore: {unfit(code, CODES)}")
    return frozenset(codes)


def untried(route: Route) -> int | None:
    """Return the first step that a call never comes to when each attempt takes its whole limit and then fails."""
    from gateway.simulation.forecast import worst

    tried = worst(route, stream=False, slow=True).tried
    return next((step for step in range(len(route.steps)) if step not in tried), None)
