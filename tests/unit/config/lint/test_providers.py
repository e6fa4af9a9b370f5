"""Which hosts are public, and which texts are secrets."""

from __future__ import annotations

import pytest

from gateway.config.lint.providers import is_public
from tests.compiling import compiled
from tests.linting import warnings


@pytest.mark.parametrize(
    "host",
    [
        "example.com", "llm.example.com.", "8.8.8.8", "2001:4860:4860::8888", "localhost.example.com", "internal.io",
        "svc.io.example", "1.1", "134744072", "local.ai", "my-svc.example.com",
    ],
)  # fmt: skip
def test_public(host: str) -> None:
    assert is_public(host)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "vllm", "api.localhost", "127.0.0.1", "127.1", "127.0.1", "2130706433", "0.0.0.0",
        "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "::1", "fe80::1%eth0", "fd00::1",
        "::ffff:127.0.0.1", "gpu.local", "llm.internal", "host.docker.internal", "vllm.ml.svc",
        "vllm.ml.svc.cluster.local", "vllm.ml.svc.example", "gpu.home.arpa", "gpu.lan", "gpu.tail1234.ts.net",
    ],
)  # fmt: skip
def test_ones_own(host: str) -> None:
    assert not is_public(host)


def key(text: str) -> list[str]:
    return warnings(f"providers: {{p: {{kind: openai, base_url: 'http://localhost', api_key: {text}}}}}\nmodels: {{}}")


@pytest.mark.parametrize(
    "text",
    [
        "sk-abcdefghijklmnopqrstuvwx", "k3v8q0zw5mx1", "hunter2", "'${NO_SUCH:-hunter2}'", "'12345'", "test-4f8a9b2c",
        "no1knows", "'$$NAME'",
    ],
)  # fmt: skip
def test_a_key(text: str) -> None:
    assert key(text) == ["2:70: plain-secret"]


@pytest.mark.parametrize(
    "text",
    [
        "''", "none", "None", "NONE", "EMPTY", "dummy", "fake-key", "not-needed", "no-key-required",
        "sk-no-key-required", "sk-dummy", "ollama", "lm-studio", "xxxx", "'****'", "your-api-key-here", "changeme",
        "placeholder", "local", "key",
        "'${NO_SUCH:-}'", "'${NO_SUCH:-none}'", "'${NO_SUCH:-}${NO_SUCH_2:-}'", "test_key",
    ],
)  # fmt: skip
def test_no_key(text: str) -> None:
    assert key(text) == []


def test_a_long_hostile_text_takes_no_time() -> None:
    assert key("no" + "-a" * 100_000 + "1") == ["2:70: plain-secret"]
    assert is_public("a." * 100_000 + "com")


def test_an_address_that_cannot_be_read_is_the_compiler_s_to_report() -> None:
    text = "providers: {p: {kind: openai, base_url: 'https://[::1/v1'}}\nmodels: {a: p/x}"
    assert warnings(text) == []
    assert [problem.code for problem in compiled(text).problems] == ["bad-base-url"]
