"""The lists of known providers, compared with the installed LiteLLM."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.config.compiler import known_providers as wellknown
from gateway.config.compiler.known_providers import KINDS, LITELLM_KINDS, WELL_KNOWN

INSTALLED = importlib.metadata.version("litellm")
HOSTED = [known for known in WELL_KNOWN.values() if known.wire == "openai" and known.key_required]
LOCAL = ["hosted_vllm", "llamafile", "lm_studio", "ollama", "ollama_chat", "vllm"]
NOT_READ_BY_LITELLM = {"NVIDIA_API_KEY"}
"""Key variables of the vendors that LiteLLM does not read."""


@pytest.fixture(scope="module")
def litellm() -> Any:
    """LiteLLM itself, imported without its network call and without reading a `.env`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LITELLM_MODE", "PRODUCTION")
        return pytest.importorskip("litellm")


@pytest.mark.skipif(INSTALLED != wellknown.LITELLM_VERSION, reason="the list is of another LiteLLM release")
def test_every_provider_of_litellm_is_written_down(litellm: Any) -> None:
    registry = pytest.importorskip("litellm.llms.openai_like.json_loader").JSONProviderRegistry
    names = {str(getattr(name, "value", name)) for name in litellm.provider_list} | set(registry.list_providers())
    assert names == LITELLM_KINDS, f"write down anew: {' '.join(sorted(names))}"


def test_litellm_knows_every_well_known_provider_but_the_mock(litellm: Any) -> None:
    names = {str(getattr(name, "value", name)) for name in litellm.provider_list}
    assert {known.kind for known in WELL_KNOWN.values()} - names == {"mock"}


@pytest.mark.parametrize("name", [known.name for known in HOSTED])
def test_a_relayed_vendor_lives_where_litellm_says(litellm: Any, name: str) -> None:
    known = WELL_KNOWN[name]
    _, provider, _, base_url = litellm.get_llm_provider(model=f"{name}/some-model")
    assert provider == name
    # LiteLLM keeps these two addresses elsewhere.
    assert name in ("openai", "openrouter") if base_url is None else base_url.rstrip("/") == known.base_url


@pytest.fixture(scope="module")
def words_of_litellm(litellm: Any) -> frozenset[str]:
    """Every quoted word of LiteLLM's provider code that looks like a key's variable."""
    root = Path(litellm.__file__).parent
    files = [
        root / "main.py",
        root / "utils.py",
        *(root / "litellm_core_utils").glob("*.py"),
        *root.glob("llms/**/*.py"),
    ]
    found = (re.findall(rb'"([A-Z0-9_]+_(?:KEY|TOKEN))"', file.read_bytes()) for file in files)
    return frozenset(word.decode() for words in found for word in words)


@pytest.mark.parametrize("known", WELL_KNOWN.values(), ids=lambda known: known.name)
def test_litellm_reads_the_same_key_variables(words_of_litellm: frozenset[str], known: wellknown.WellKnown) -> None:
    assert set(known.key_variables) - NOT_READ_BY_LITELLM <= words_of_litellm


@pytest.mark.parametrize("name", [known.name for known in HOSTED if known.name not in ("openai", "openrouter")])
def test_a_vendors_first_variable_is_the_one_litellm_prefers(
    litellm: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variables = [name for name in WELL_KNOWN[name].key_variables if name not in NOT_READ_BY_LITELLM]
    for number, variable in enumerate(variables):
        monkeypatch.setenv(variable, f"key-{number}")
    assert litellm.get_llm_provider(model=f"{name}/some-model")[2] == "key-0"


@pytest.mark.parametrize("known", WELL_KNOWN.values(), ids=lambda known: known.name)
def test_each_well_known_provider_is_told_whole(known: wellknown.WellKnown) -> None:
    assert known.wire in ("openai", "litellm", "mock")
    assert (known.base_url is None) or known.wire == "openai"
    assert known.key_variables or not known.key_required, "a key that is required comes from somewhere"
    if known.base_url is not None:
        parts = urlsplit(known.base_url)
        assert not known.base_url.endswith("/")
        assert parts.scheme == "https" or parts.hostname == "127.0.0.1"
    assert known.name == "mock" or known.source.startswith("https://")


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_server_requires_no_key(name: str) -> None:
    assert not WELL_KNOWN[name].key_required


def test_vllm_means_a_server_and_never_a_model_in_this_process() -> None:
    assert WELL_KNOWN["vllm"].kind == "hosted_vllm"


def test_the_mock_is_always_there() -> None:
    assert WELL_KNOWN["mock"].wire == "mock"
    assert "mock" in KINDS


def test_a_name_that_only_litellm_knows_is_left_to_litellm() -> None:
    known = wellknown.find("watsonx")
    assert known is not None
    assert (known.wire, known.base_url, known.key_variables, known.key_required) == ("litellm", None, (), False)


def test_a_name_that_nobody_knows_is_not_found() -> None:
    assert wellknown.find("opnai") is None


def test_looking_a_provider_up_does_not_import_litellm() -> None:
    code = "import sys, gateway.config.compiler.known_providers as p; p.find('xai'); sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
