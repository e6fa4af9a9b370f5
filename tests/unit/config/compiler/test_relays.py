"""Which wires of a provider are relayed, and where to."""

from __future__ import annotations

import pytest
from yarl import URL

from gateway.adapters.hosts import is_meant, place_of
from gateway.config.compiler.known_providers import KINDS, WELL_KNOWN, needs_base_url
from gateway.config.compiler.known_wires import KNOWN_WIRES
from gateway.policy.wires import OPENAI_WIRES
from tests.compiling import compiled, endpoint, problems

LOCAL = "http://127.0.0.1:9000/v1"


@pytest.mark.parametrize(
    ("entry", "target", "wires", "url"),
    [
        ("", "openai/x", "chat completions embeddings images moderations responses speech transcriptions", None),
        ("", "anthropic/x", "messages", "https://api.anthropic.com/v1"),
        ("anthropic: {base_url: 'http://h/proxy'}", "anthropic/x", "messages", "http://h/proxy/v1"),
        ("anthropic: {base_url: 'http://h/v1/'}", "anthropic/x", "messages", "http://h/v1"),
        ("anthropic: {adapter: litellm}", "anthropic/x", "", "https://api.anthropic.com/v1"),
        ("", "deepseek/x", "messages", "https://api.deepseek.com/anthropic/v1"),
        ("deepseek: {base_url: 'http://h/v1'}", "deepseek/x", "", "http://h/v1"),
        ("deepseek: {base_url: 'http://h/v1', wires: [chat]}", "deepseek/x", "chat", "http://h/v1"),
        ("", "xai/x", "images responses", "https://api.x.ai/v1"),
        ("xai: {base_url: 'https://us.api.x.ai/v1'}", "xai/x", "images responses", "https://us.api.x.ai/v1"),
        ("xai: {wires: [chat, responses]}", "xai/x", "chat responses", "https://api.x.ai/v1"),
        ("", "gemini/x", "", "https://generativelanguage.googleapis.com/v1beta"),
        ("gemini: {base_url: 'http://h'}", "gemini/x", "", "http://h/v1beta"),
        ("gemini: {base_url: 'http://h/v1beta/'}", "gemini/x", "", "http://h/v1beta"),
        ("gemini: {base_url: 'http://h/v1beta/openai/'}", "gemini/x", "", "http://h/v1beta"),
        ("gemini: {base_url: 'http://h/v1alpha'}", "gemini/x", "", "http://h/v1alpha"),
        ("gemini: {base_url: 'http://h/google'}", "gemini/x", "", "http://h/google/v1beta"),
        ("gemini: {wires: [chat]}", "gemini/x", "chat", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("gemini: {adapter: litellm}", "gemini/x", "", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("ollama: {base_url: 'http://h:11434'}", "ollama/x", "completions messages responses speech transcriptions",
         "http://h:11434/v1"),
        ("", "sambanova/x", "", None),
        ("", "watsonx/x", "", None),
        ("", "mock/x", "", None),
        ("groq: {kind: openai}", "groq/x", "chat responses speech transcriptions", None),
        (f"lab: {{kind: openai, base_url: '{LOCAL}'}}", "lab/x", " ".join(sorted(OPENAI_WIRES)), None),
        (f"lab: {{kind: openai, base_url: '{LOCAL}', wires: [rerank]}}", "lab/x", "rerank", None),
        (f"lab: {{kind: openai, base_url: '{LOCAL}', adapter: litellm}}", "lab/x", "", None),
        ("openai: {adapter: litellm, wires: [responses]}", "openai/x", "responses", "https://api.openai.com/v1"),
        ("groq: {kind: openai, adapter: litellm, wires: [responses]}", "groq/x", "responses",
         "https://api.groq.com/openai/v1"),
        (f"vllm: {{base_url: '{LOCAL}'}}", "vllm/x",
         "chat completions embeddings messages rerank responses transcriptions", None),
    ],
)  # fmt: skip
def test_an_endpoint_speaks_what_is_known_of_it_or_what_the_file_says(
    entry: str, target: str, wires: str, url: str | None
) -> None:
    found = endpoint(entry, target)
    assert (" ".join(sorted(found.wires or ())), found.relay_url) == (wires, url)
    assert found.wires_written is ("wires" in entry)


def test_a_named_wire_leaves_the_rest_to_the_adapter() -> None:
    only = endpoint(f"lab: {{kind: openai, base_url: '{LOCAL}', wires: [embeddings]}}", "lab/x").adapters
    assert only == {"embeddings": "relay"}
    both = endpoint(f"lab: {{kind: openai, base_url: '{LOCAL}', adapter: litellm, wires: [responses]}}", "lab/x")
    carried = {name: both.adapters[name] for name in ("chat", "embeddings", "responses", "messages")}
    assert carried == {"chat": "litellm", "embeddings": "litellm", "responses": "relay", "messages": "translated"}
    assert "rerank" not in both.adapters


def test_the_library_relays_where_the_file_names_wires() -> None:
    entry = f"lab: {{kind: openai, base_url: '{LOCAL}', wires: [chat]}}"
    assert endpoint(entry, "lab/x", openai_adapter="litellm").adapters["chat"] == "relay"
    assert endpoint(entry, "lab/x").library_adapter is None
    plain = f"lab: {{kind: openai, base_url: '{LOCAL}'}}"
    assert endpoint(plain, "lab/x", openai_adapter="litellm").wires == frozenset()


@pytest.mark.parametrize(
    ("written", "url", "version"),
    [
        ("base_url: 'https://eu'", "https://eu/openai/v1", None),
        ("base_url: 'https://eu/openai/v1/'", "https://eu/openai/v1", None),
        ("base_url: 'https://eu/openai'", "https://eu/openai/v1", None),
        ("base_url: 'https://eu', api_version: preview", "https://eu/openai/v1", "preview"),
        ("base_url: 'https://eu', api_version: v1", "https://eu/openai/v1", None),
        ("base_url: 'https://eu', api_version: '2024-10-21'", "https://eu/openai", "2024-10-21"),
        ("base_url: 'https://h/p', api_version: 2025-03-01-preview", "https://h/p/openai", "2025-03-01-preview"),
        ("base_url: 'https://h', params: {api_version: '2024-10-21'}", "https://h/openai", "2024-10-21"),
        ("base_url: 'https://h', api_version: '2025-01-01', params: {api_version: '2024-10-21'}", "https://h/openai",
         "2025-01-01"),
    ],
)  # fmt: skip
def test_azure_is_relayed_to_its_v1_api_or_with_a_date_to_deployment_paths(
    written: str, url: str, version: str | None
) -> None:
    found = endpoint(f"eu: {{kind: azure, api_key: k, {written}}}", "eu/gpt")
    assert (found.adapter, found.relay_url, found.api_version) == ("relay", url, version)
    assert found.adapters["chat"] == found.adapters["responses"] == found.adapters["speech"] == "relay"
    assert dict(found.params.sent) == {}
    assert not problems(f"providers: {{eu: {{kind: azure, api_key: k, {written}}}}}\nmodels: {{fast: eu/gpt}}")


def test_litellm_gets_azures_version_as_one_of_its_params() -> None:
    entry = "eu: {kind: azure, adapter: litellm, base_url: 'https://h', api_version: '2025-01-01'}"
    found = endpoint(entry, "eu/gpt")
    assert (found.adapter, found.relay_url, found.api_version) == ("litellm", None, None)
    assert dict(found.params.sent) == {"api_version": "2025-01-01"}


@pytest.mark.parametrize("name", sorted(KNOWN_WIRES))
def test_each_line_of_the_known_wires_is_of_a_provider_and_goes_to_its_host(name: str) -> None:
    known, line = WELL_KNOWN[name], KNOWN_WIRES[name]
    assert line.source.startswith("https://")
    assert line.wires or line.relay_url, "a line says something"
    assert ("chat" in line.wires) == (known.wire == "openai"), "the relay carries chat, or LiteLLM does"
    if line.relay_url is None:
        assert known.wire == "openai"
    else:
        found = endpoint("", f"{name}/m")
        assert is_meant(found, place_of(URL(line.relay_url)))


@pytest.mark.parametrize("name", sorted(KINDS))
def test_whatever_is_relayed_has_an_address(name: str) -> None:
    known = WELL_KNOWN.get(name)
    needs = known is None or needs_base_url(known)
    target = "up/m" if needs else f"{name}/m"
    result = compiled(f"providers: {{up: {{kind: {name}, base_url: '{LOCAL}'}}}}\nmodels: {{fast: {target}}}")
    assert result.table is not None
    found = result.table.routes["fast"].steps[0].target.endpoint
    if "relay" in found.adapters.values():
        assert found.relay_url or found.base_url
