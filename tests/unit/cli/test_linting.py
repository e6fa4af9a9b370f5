"""`--ignore`, and the steps that are never tried when all failures are slow."""

from __future__ import annotations

import pytest

from gateway.cli import main
from gateway.cli.checked import ignored, untried
from gateway.config.lint import CODES
from gateway.errors import UsageError
from tests.command_line import write
from tests.compiling import route

pytestmark = pytest.mark.usefixtures("clean_environment")

LIMITED = "models: {fast: {chain: [openai/gpt-5.5, anthropic/claude-opus-5], timeout: 30s, retries: 2, deadline: %s}}"


def test_a_target_is_never_tried_when_the_calls_before_it_use_up_the_deadline() -> None:
    assert untried(route(LIMITED % "1m")) == 1
    assert untried(route(LIMITED % "2m")) is None


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        ("", 1),
        ("deadline: 2m", None),
        ("timeout: 10s", None),
        ("retries: 0", None),
        ("retry_on: []", None),
        ("fallback_on: []", 1),
        ("max_attempts: 2", None),
        ("cooldown: {failures: 1}", 1),
        ("chain: [a/x, a/y, b/x]; timeout: 16s; retries: 1; cooldown: {failures: 1}", 2),
        ("chain: [a/x, a/x, b/x]; timeout: 16s; retries: 1; cooldown: {failures: 1}", None),
    ],
)
def test_each_thing_that_decides_what_is_tried_tells_shapes_of_chains_apart(differs: str, expected: int | None) -> None:
    """Results are cached by shape: two shapes with one key by mistake would share the first result."""
    alias = {"chain": "[a/x, b/x]", "timeout": "30s", "retries": "2", "deadline": "1m", "cooldown": "{failures: 9}"}
    alias |= dict(text.split(": ", 1) for text in differs.split("; ") if text)
    cooldown = alias.pop("cooldown")
    providers = ", ".join(
        f'{name}: {{kind: openai, base_url: "http://127.0.0.1:1/v1", cooldown: {cooldown}}}' for name in ("a", "b")
    )
    chain = ", ".join(f"{name}: {text}" for name, text in alias.items())
    assert untried(route(f"providers: {{{providers}}}\nmodels: {{fast: {{{chain}}}}}")) == expected


def test_codes_come_in_any_number() -> None:
    assert ignored([]) == frozenset()
    assert ignored(["plain-http, single-provider,", "unset-variable"]) == {
        "plain-http",
        "single-provider",
        "unset-variable",
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("singel-provider", "'singel-provider' is no code of a warning; did you mean 'single-provider'?"),
        ("unknown-provider", "unknown-provider is an error, and only warnings can be silenced"),
        ("plain-http,x", f"'x' is no code of a warning; they are {', '.join(sorted(CODES))}"),
    ],
)
def test_what_is_no_warnings_code_is_wrong_usage(value: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        ignored([value])
    assert str(raised.value) == f"--ignore: {message}"


def test_the_command_leaves_them_out(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.yaml", "version: 1\nmodels:\n  a: [mock/echo, mock/hello]\n")
    assert main(["validate", "a.yaml", "--strict", "--ignore", "unreachable-step"]) == 0
    assert capsys.readouterr().out == "a.yaml: ok (1 alias, 2 targets)\n"
    assert main(["validate", "a.yaml"]) == 0
    assert capsys.readouterr().out.endswith("\na.yaml: ok (1 alias, 2 targets), 1 warning\n")
    assert main(["validate", "a.yaml", "--strict"]) == 1
    assert main(["validate", "a.yaml", "--ignore", "unknown-alias"]) == 2
    assert "gateway: --ignore: unknown-alias is an error" in capsys.readouterr().err


def test_a_silenced_warning_does_not_count() -> None:
    write("a.yaml", "version: 1\nmodels:\n  a: [mock/echo, mock/hello]  # gateway: ignore[unreachable-step]\n")
    assert main(["validate", "a.yaml", "--strict"]) == 0
