"""The lint rules, tested with files: `tests/cases/lint/*.yaml`, each beside its problems.

`python -m tests.unit.config.lint.test_lint` rewrites the problems; read every line of the difference afterwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.config.lint import CODES, lint
from tests.compiling import compiled
from tests.linting import FOLDER, OUTSIDE, compile_case, printed, warnings

FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _clean_import_state() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("lint_hooks", None)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_has_exactly_the_warnings_written_beside_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    problems = lint(compile_case(file), OUTSIDE)
    assert printed(problems) == file.with_suffix(".problems").read_text(encoding="utf-8").splitlines()
    assert all(not problem.message.endswith(".") for problem in problems)
    assert "k3v8q0" not in "".join(f"{problem}{problem.excerpt}" for problem in problems)


def test_every_rule_has_a_case_that_it_finds_and_every_case_its_file() -> None:
    found = "".join(file.read_text(encoding="utf-8") for file in FOLDER.glob("*.problems"))
    assert {file.stem for file in FILES} == {file.stem for file in FOLDER.glob("*.problems")}
    compilers = {
        "bad-api-key", "missing-key-file", "missing-price", "repeated-key", "unmatched-include", "unset-variable",
        "unused-param",
    }  # fmt: skip
    outside = {"budget-in-memory", "unknown-client", "unknown-group", "unused-group"}  # see test_clients
    assert {code for code in CODES - compilers - outside if f": {code}: " not in found} == set()


def test_what_cannot_be_read_has_the_problems_of_the_compiler_alone() -> None:
    for text in (b"", b"a: [", b"- 1", b"version: 1\nmodels: 5  # gateway: ignore[plain-secret]"):
        compiled = Compiler(environ={}).compile(text, source="routes.yaml")
        assert compiled.table is None
        assert [problem for problem in lint(compiled, OUTSIDE) if problem.severity == "error"] == list(
            compiled.problems
        )


def test_codes_can_be_left_out() -> None:
    text = "models:\n  a: [openai/gpt-5.5, openai/gpt-5.5, openai/gpt-4o]  # gateway: ignore[plain-http]\n"
    assert warnings(text) == [
        "3:3: single-provider",
        "3:23: repeated-target",
        "3:39: weaker-fallback",
        "3:55: unused-ignore",
    ]
    assert warnings(text, ignore=("single-provider", "unused-ignore")) == [
        "3:23: repeated-target",
        "3:39: weaker-fallback",
    ]


def test_a_silenced_code_that_is_left_out_as_well_is_not_in_vain() -> None:
    text = "models:\n  a: [openai/gpt-5.5, openai/gpt-5.4-mini]  # gateway: ignore[single-provider]\n"
    assert warnings(text, ignore=("single-provider",)) == []


def test_without_model_data_models_say_nothing_and_silences_of_them_are_not_in_vain() -> None:
    text = "models:\n  a: [openai/gpt-3.5-turbo, openai/gpt-5.4-mni, mock/echo]  # gateway: ignore[deprecated-model]\n"
    assert warnings(text) == ["3:29: unknown-model"]
    assert warnings(text, outside=replace(OUTSIDE, models=lambda: None)) == []


def test_model_data_is_read_only_where_a_vendor_is_named() -> None:
    def read() -> None:
        raise AssertionError("read")

    outside = replace(OUTSIDE, models=read)
    own = "providers: {v: {kind: openai, base_url: 'http://localhost/v1'}}\n"
    assert warnings(f"{own}models: {{a: [v/gpt-4o, mock/echo], 'b/*': 'openai/*'}}", outside=outside) == []
    with pytest.raises(AssertionError, match="read"):
        warnings("models: {a: openai/gpt-4o}", outside=outside)


def test_without_litellm_each_provider_that_needs_it_is_told_once_whatever_else_it_lacks() -> None:
    text = "models: {a: [bedrock/m, groq/m, mistral/m], b: [bedrock/n, anthropic/claude-sonnet-5, mock/echo]}"
    problems = lint(compiled(text), replace(OUTSIDE, models=lambda: None, is_installed=lambda _: False))
    assert [problem.message for problem in problems if problem.code == "missing-package"] == [
        f"{kind} needs LiteLLM, which is not installed here: install routes-gateway without -slim"
        for kind in ("bedrock", "mistral")
    ]


def test_where_hooks_are_skipped_they_say_nothing_and_silences_of_them_are_not_in_vain() -> None:
    text = "models: {a: mock/echo}\nhooks: {pre: [no.such]}  # gateway: ignore[hook-no-timeout]\n"
    assert warnings(text, skip_hooks=True) == []


def test_what_an_anchor_brings_is_told_once() -> None:
    text = "x-a: &a {target: openai/gpt-3.5-turbo}\nmodels: {a: [*a], b: [*a]}\n"
    assert warnings(text) == ["2:18: deprecated-model"]


def _write_anew() -> None:
    os.chdir(FOLDER)
    for file in FILES:
        lines = printed(lint(compile_case(file), OUTSIDE))
        file.with_suffix(".problems").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    _write_anew()
