"""LiteLLM's model data: finding and reading it, and recognizing misspelt names."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest

from gateway.config.lint.model_data import FILE, VENDORS, Model, ModelData, load
from tests.compiling import step
from tests.linting import MODELS


def is_misspelt(name: str, known: str) -> bool:
    target = replace(step("models: {fast: groq/x}").target, model=name, name=f"groq/{name}")
    return ModelData({known: {"litellm_provider": "groq"}}).meant(target) == known


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-4o-mni", "gpt-4o-mini"),
        ("gpt-4o-minii", "gpt-4o-mini"),
        ("gpt-3.5-trubo", "gpt-3.5-turbo"),
        ("gpt-3.5-turbp", "gpt-3.5-turbo"),
        ("gtp-4o", "gpt-4o"),
        ("gpt4o", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("gpt_4o", "gpt-4o"),
        ("gpt-4omini", "gpt-4o-mini"),
        ("claude-4-5-sonnet", "claude-sonnet-4-5"),
        ("claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("openai/gtp-oss-20b", "openai/gpt-oss-20b"),
    ],
)
def test_a_slip_is_one(name: str, known: str) -> None:
    assert is_misspelt(name, known)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-5.7", "gpt-5.6"),
        ("gpt-4.5", "gpt-5.4"),
        ("gpt-4o-2024-11-21", "gpt-4o-2024-11-20"),
        ("gpt-5.5-nano", "gpt-5.5-mini"),
        ("gpt-5.5-pro", "gpt-5.5"),
        ("gpt-5.5", "gpt-5.5-pro"),
        ("gpt-6-lyra", "gpt-6-luna"),
        ("gpt-6-lina", "gpt-6-luna"),
        ("gpt-4t", "gpt-4o"),
        ("o5-mini", "o4-mini"),
        ("claude-3-opus", "claude-opus-5"),
        ("mistral-smaller-latest", "mistral-small-latest"),
        ("gpt-4o-" + "a" * 100_000, "gpt-4o-mini"),
        ("", "gpt"),
        ("gtp-trubo-4", "gpt-turbo-4"),
    ],
)
def test_what_may_be_a_new_model_is_no_slip(name: str, known: str) -> None:
    assert not is_misspelt(name, known)


def find(target: str, entry: str = "x: {kind: mock}") -> Model | None:
    return MODELS.find(step(f"providers: {{{entry}}}\nmodels: {{fast: {target}}}\n").target)


def test_a_model_is_found_under_its_vendor() -> None:
    assert find("openai/gpt-3.5-turbo") == Model(
        chat=True,
        tools=True,
        vision=False,
        context=16385,
        retired=date(2026, 10, 23),
        successor="gpt-5.4-mini",
        reasoning=False,
    )
    assert find("cohere/command-a-03-2025") == find("cohere_chat/command-a-03-2025") != None  # noqa: E711
    assert find("claude-2/claude-opus-5", "claude-2: {kind: anthropic, api_key: none}") == find(
        "anthropic/claude-opus-5"
    )


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("openai/nothing", "x: {kind: mock}"),
        ("anthropic/gpt-4o", "x: {kind: mock}"),
        ("openai/ft:gpt-3.5-turbo", "x: {kind: mock}"),
        ("azure/gpt-4o", "azure: {base_url: 'https://a.example.com'}"),
        ("openai/gpt-4o", "openai: {base_url: 'https://a.example.com'}"),
        ("x/gpt-4o", "x: {kind: openai, base_url: 'https://a.example.com'}"),
        ("x/gpt-4o", "x: {kind: mock}"),
    ],
)
def test_of_others_nothing_is_known(target: str, entry: str) -> None:
    assert find(target, entry) is None


def test_odd_entries_say_nothing() -> None:
    model = find("groq/plain")
    assert model == Model(
        chat=True, tools=None, vision=None, context=None, retired=None, successor=None, reasoning=False
    )
    model = find("gemini/gemini-3.6-flash")
    assert model is not None
    assert model.retired is None


def test_litellms_own_file_is_what_we_take_it_for() -> None:
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    entries = json.loads((Path(spec.origin).parent / FILE).read_text(encoding="utf-8"))
    assert set().union(*VENDORS.values()) <= {entry.get("litellm_provider") for entry in entries.values()}
    data = load()
    assert data is not None
    assert data is load()
    known = ("mode", "supports_function_calling", "supports_vision", "max_input_tokens", "deprecation_date")
    name, entry = next(
        (name, entry)
        for name, entry in entries.items()
        if entry.get("litellm_provider") == "openai" and set(known) <= entry.keys() and not name.startswith("ft:")
    )
    model = data.find(step(f"models: {{fast: openai/{name}}}").target)
    assert model is not None
    assert (model.chat, model.tools, model.vision) == (
        entry["mode"] in ("chat", "responses"),
        *map(entry.get, known[1:3]),
    )
    assert (model.context, str(model.retired)) == (entry["max_input_tokens"], entry["deprecation_date"])
    reasoning = {name for name, entry in entries.items() if entry.get("supports_reasoning") is True}
    assert {"gpt-5", "o3", "claude-sonnet-4-5", "gemini/gemini-2.5-pro"} <= reasoning
    assert "gpt-4o" not in reasoning


@pytest.mark.parametrize("text", [None, "", "[]", "no json", '"text"'])
def test_a_file_that_is_not_what_it_was_is_no_data(text: str | None, tmp_path: Path) -> None:
    (tmp_path / "litellm").mkdir()
    (tmp_path / "litellm" / "__init__.py").write_text("raise SystemExit('imported')")
    if text is not None:
        (tmp_path / "litellm" / FILE).write_text(text)
    code = "from gateway.config.lint.model_data import load; print(load())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=9,
        check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_entries_of_any_shape_are_survived() -> None:
    data = ModelData(
        {"a": None, "b": [], "c": {"litellm_provider": 5}, "gpt-9": {"litellm_provider": "openai", "mode": []}}
    )
    model = data.find(step("models: {fast: openai/gpt-9}").target)
    assert model is not None
    assert not model.chat
