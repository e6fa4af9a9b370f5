"""Where a request may go: the base URL's origin, or the vendor's, and nowhere else."""

from __future__ import annotations

import logging

import pytest
from yarl import URL

from gateway.adapters import hosts
from gateway.adapters.hosts import is_meant, place_of, refuse_other_hosts
from gateway.config.compiler.known_hosts import hosts_of
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.target import Endpoint


def endpoint(kind: str = "openai", base_url: str | None = None) -> Endpoint:
    known = hosts_of(kind, own_base_url=base_url is not None)
    return Endpoint(provider="up", kind=kind, adapter="litellm", base_url=base_url, hosts=known)


@pytest.mark.parametrize(
    ("kind", "base_url", "url", "meant"),
    [
        ("openai", None, "https://api.openai.com/v1/chat/completions", True),
        ("openai", None, "https://API.OpenAI.com:443/v1", True),
        ("openai", None, "http://api.openai.com/v1", False),
        ("openai", None, "https://api.openai.com:8443/v1", False),
        ("openai", None, "https://api.openai.com.evil.example/v1", False),
        ("openai", None, "https://evil.example/api.openai.com", False),
        ("openai", None, "https://api.openai.com@evil.example/", False),
        ("openai", None, "https://apixopenai.com/", False),
        ("openai", "http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1/embeddings", True),
        ("openai", "http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1/embeddings", False),
        ("openai", "http://127.0.0.1:1/v1", "https://api.openai.com/v1", False),
        ("openai", "https://[::1]:9/v1", "https://[::1]:9/v1/x", True),
        ("openai", "https://bücher.example", "https://xn--bcher-kva.example/v1", True),
        ("replicate", "http://127.0.0.1:1", "https://api.replicate.com/v1/predictions", False),
        ("litellm_proxy", None, "https://api.openai.com/v1/chat/completions", False),
        ("bedrock", None, "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse", True),
        ("bedrock", None, "https://bedrock-runtime.bucket.s3.amazonaws.com/", False),
        ("bedrock", None, "https://bedrock-runtime.evil.example/.amazonaws.com", False),
        ("vertex_ai", None, "https://europe-west4-aiplatform.googleapis.com/v1/projects", True),
        ("vertex_ai", None, "https://evil.example-aiplatform.googleapis.com/", False),
        ("sap", None, "https://api.ai.prod.eu-central-1.aws.ml.hana.ondemand.com/v2", True),
        ("gigachat", "http://127.0.0.1:1", "https://ngw.devices.sberbank.ru:9443/api/v2/oauth", True),
        ("gigachat", "http://127.0.0.1:1", "https://gigachat.devices.sberbank.ru/api/v1", False),
        ("ollama", None, "http://localhost:11434/api/chat", True),
        ("azure_speech", None, "https://api.openai.com/v1", False),
        ("", None, "https://anywhere.example", True),
    ],
)
def test_a_request_goes_where_its_table_means(kind: str, base_url: str | None, url: str, meant: bool) -> None:
    assert is_meant(endpoint(kind, base_url), place_of(URL(url))) is meant


def test_a_refusal_is_a_connection_failure_and_one_line_a_minute_without_a_key(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "_logged", {})
    place = place_of(URL("https://evil.example/v1?key=sk-secret"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(UpstreamError) as caught:
                refuse_other_hosts(endpoint(), place)
            assert caught.value.kind is Kind.CONNECTION
    (line,) = caplog.records
    assert vars(line)["host"] == "https://evil.example:443"
    assert vars(line)["provider"] == "up"
    assert "sk-secret" not in str(vars(line))
