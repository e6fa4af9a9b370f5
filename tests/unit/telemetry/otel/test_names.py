"""The conventions' names for what is ours."""

from __future__ import annotations

import pytest

from gateway.config.compiler.known_providers import KINDS
from gateway.operations import OPERATIONS
from gateway.policy.target import Endpoint, Target
from gateway.telemetry.otel import names


def test_every_name_is_of_something_that_there_is() -> None:
    assert names.PROVIDERS.keys() <= KINDS
    assert names.OPERATIONS.keys() - {"stored_responses"} <= OPERATIONS.keys()
    assert OPERATIONS.keys() >= names.INFERENCE


@pytest.mark.parametrize(
    ("kind", "url", "attributes"),
    [
        (
            "openai",
            "https://api.openai.com/v1",
            {"gen_ai.provider.name": "openai", "server.address": "api.openai.com", "server.port": 443},
        ),
        (
            "openai",
            "http://[::1]:8000/v1",
            {"gen_ai.provider.name": "openai", "server.address": "::1", "server.port": 8000},
        ),
        ("bedrock", None, {"gen_ai.provider.name": "aws.bedrock"}),
        ("", None, {"gen_ai.provider.name": "up"}),
        ("groq", "http://host:port/", {"gen_ai.provider.name": "groq"}),
    ],
)
def test_a_target_s_provider_and_server(kind: str, url: str | None, attributes: dict[str, object]) -> None:
    endpoint = Endpoint(provider="up", kind=kind, adapter="relay", base_url=url)
    assert names.target_attributes(Target(name="up/a", model="a", label="up/a", endpoint=endpoint)) == attributes


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("chat", "chat"), ("messages", "chat"), ("completions", "text_completion"), ("rerank", "rerank")],
)
def test_operations_have_the_conventions_names(ours: str, theirs: str) -> None:
    assert names.operation_name(ours) == theirs
