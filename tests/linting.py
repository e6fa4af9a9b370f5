"""Short ways to lint a text: on a fixed day, with a small copy of the model data beside the cases."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any, Final

from gateway.cli.checked import never_kept, untried
from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.config.lint import Outside, lint
from gateway.config.model_data import ModelData
from gateway.policy.packages import LITELLM
from gateway.policy.problem import Problem
from tests.compiling import compiled
from tests.paths import CASES

FOLDER = CASES / "lint"
MODELS: Final = ModelData(json.loads((FOLDER / "models.json").read_text(encoding="utf-8")).items())
OUTSIDE: Final = Outside(
    today=date(2026, 11, 25),
    untried=untried,
    never_kept=never_kept,
    models=lambda: MODELS,
    is_installed=lambda package: package == LITELLM,
    keeps_counts=True,
)
"""LiteLLM is installed, and nothing that it needs for some providers only; counts are kept."""


def compile_case(file: Path) -> Compiled:
    """Compile a case, whose folder is the current one."""
    return Compiler(environ={}).compile(file.read_bytes(), source=file.name)


def printed(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{'warning: ' if each.severity == 'warning' else ''}{each}" for each in problems]


def warnings(text: str, *, outside: Outside = OUTSIDE, ignore: tuple[str, ...] = (), **options: Any) -> list[str]:
    """Lint a text below `version: 1` and return `line:column: code` of each warning."""
    problems = lint(compiled(text, **options), outside, ignore=ignore)
    return [f"{one.line}:{one.column}: {one.code}" for one in problems if one.severity == "warning"]
