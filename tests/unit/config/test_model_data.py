"""LiteLLM's model data: reading it, and finding a target's model."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from gateway.config.model_data import FILE, HOSTED, LISTED, Model, ModelData, load, members, read_entries
from gateway.wire.json import JsonObject
from tests.compiling import step
from tests.linting import MODELS
from tests.litellm_data import model_data_file


def find(target: str, entry: str = "x: {kind: mock}") -> Model | None:
    return MODELS.find(step(f"providers: {{{entry}}}\nmodels: {{fast: {target}}}\n").target)


def test_a_model_is_found_under_its_vendor() -> None:
    assert find("openai/gpt-3.5-turbo") == Model(
        chat=True,
        tools=True,
        inputs=("text",),
        context=16385,
        max_output=4096,
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


@pytest.mark.parametrize(
    ("target", "context"),
    [
        ("vertex_ai/gemini-9", 1),
        ("vertex_ai/claude-9@now", 2),
        ("bedrock/us.anthropic.claude-9", 3),
        ("bedrock/eu/claude-8", 4),
        ("together_ai/meta/llama-9", 5),
        ("ollama/llama-9", None),
    ],
)
def test_a_model_of_a_vendor_with_gaps_is_found_by_its_exact_name(target: str, context: int | None) -> None:
    data = ModelData(
        (name, {"litellm_provider": provider, "max_input_tokens": tokens})
        for name, provider, tokens in (
            ("gemini-9", "vertex_ai-language-models", 1),
            ("vertex_ai/claude-9@now", "vertex_ai-anthropic_models", 2),
            ("us.anthropic.claude-9", "bedrock_converse", 3),
            ("bedrock/eu/claude-8", "bedrock", 4),
            ("together_ai/meta/llama-9", "together_ai", 5),
            ("ollama/llama-9", "ollama", 6),
        )
    )
    model = data.find(step(f"models: {{fast: '{target}'}}").target)
    assert (model and model.context) == context


def test_odd_entries_say_nothing() -> None:
    model = find("groq/plain")
    assert model == Model(
        chat=True,
        tools=None,
        inputs=None,
        context=None,
        max_output=None,
        retired=None,
        successor=None,
        reasoning=None,
    )
    model = find("gemini/gemini-3.6-flash")
    assert model is not None
    assert model.retired is None


def test_litellms_own_file_is_what_we_take_it_for() -> None:
    entries = json.loads(model_data_file().read_text(encoding="utf-8"))
    providers = {entry.get("litellm_provider", "") for entry in entries.values()}
    assert set().union(*LISTED.values()) <= providers
    assert set().union(*HOSTED.values()) <= {provider.partition("-")[0] for provider in providers}
    data = load()
    assert data is not None
    assert data is load()
    known = ("mode", "supports_function_calling", "supports_vision", "max_input_tokens", "max_output_tokens",
             "deprecation_date")  # fmt: skip
    name, entry = next(
        (name, entry)
        for name, entry in entries.items()
        if entry.get("litellm_provider") == "openai" and set(known) <= entry.keys() and not name.startswith("ft:")
    )
    model = data.find(step(f"models: {{fast: openai/{name}}}").target)
    assert model is not None
    assert (model.chat, model.tools, "image" in (model.inputs or ())) == (
        entry["mode"] in ("chat", "responses"),
        *map(entry.get, known[1:3]),
    )
    assert (model.context, model.max_output, str(model.retired)) == tuple(map(entry.get, known[3:]))
    reasoning = {name for name, entry in entries.items() if entry.get("supports_reasoning") is True}
    assert {"gpt-5", "o3", "claude-sonnet-4-5", "gemini/gemini-2.5-pro"} <= reasoning
    assert "gpt-4o" not in reasoning


@pytest.mark.parametrize("text", [None, "", "no json"])
def test_a_file_that_is_not_what_it_was_is_no_data(text: str | None, tmp_path: Path) -> None:
    (tmp_path / "litellm").mkdir()
    (tmp_path / "litellm" / "__init__.py").write_text("raise SystemExit('imported')")
    if text is not None:
        (tmp_path / "litellm" / FILE).write_text(text)
    code = "from gateway.config.model_data import load; print(load())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=9,
        check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("None\n", "")


VALUES = {"a": {"b": [1, {}]}, "ü\n": "}", "": None, "c": -1.5e3}


@pytest.mark.parametrize("value", [VALUES, {}, {"a": {}}])
@pytest.mark.parametrize("indent", [None, 4])
def test_members_are_read_one_after_the_other(value: JsonObject, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    for each in (text, f"\n {text}\t\r\n", text.replace(":", " :").replace(",", " ,\n")):
        assert dict(members(each)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[]",
        "no json",
        '"text"',
        "{",
        "{} more",
        '{"a": {}',
        '{"a" {}}',
        '{"a": {},}',
        '{"a": }',
        "{5: {}}",
        "{,}",
    ],
)
def test_what_is_no_object_has_no_members(text: str) -> None:
    with pytest.raises(ValueError, match=r"object|Expecting"):
        dict(members(text))


def test_the_entries_are_those_of_the_file() -> None:
    entries = read_entries()
    assert entries is not None
    assert entries == json.loads(model_data_file().read_text(encoding="utf-8"))


def test_entries_of_any_shape_are_survived() -> None:
    data = ModelData(
        {
            "a": None,
            "b": [],
            "c": {"litellm_provider": 5},
            "gpt-9": {"litellm_provider": "openai", "mode": [], "max_output_tokens": True},
        }.items()
    )
    model = data.find(step("models: {fast: openai/gpt-9}").target)
    assert model is not None
    assert not model.chat
    assert model.max_output is None
