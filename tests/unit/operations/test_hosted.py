"""Tools that run upstream, by operation."""

from __future__ import annotations

import orjson
import pytest

from gateway.operations.hosted import has_hosted_tools
from gateway.wire.json import Json, JsonObject, RawJson, RawSource

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"type": {"enum": ["mcp"]}}}}}


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("chat", {}),
        ("chat", {"tools": None, "web_search_options": None}),
        ("chat", {"tools": []}),
        ("chat", {"tools": [FUNCTION, {"type": "custom", "custom": {"name": "c"}}]}),
        ("messages", {"tools": [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "c"}]}),
        ("messages", {"tools": [{"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728"}]}),
        ("messages", {"tools": [{"type": "computer_20250124"}, {"type": "memory_20250818"}]}),
        ("embeddings", {"input": "tools"}),
    ],
)
def test_tools_of_the_client_are_not_hosted(operation: str, params: JsonObject) -> None:
    assert not has_hosted_tools(operation, params)


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("chat", {"web_search_options": {}}),
        ("chat", {"tools": [FUNCTION, {"type": "web_search_20250305"}]}),
        ("chat", {"tools": [{"googleSearch": {}}]}),
        ("chat", {"tools": [{"type": "bash_20250124"}]}),
        ("chat", {"tools": [{"type": 1}]}),
        ("chat", {"tools": ["tool"]}),
        ("chat", {"tools": {"type": "function"}}),
        ("messages", {"tools": [{"type": "code_execution_20250825"}]}),
        ("messages", {"mcp_servers": [{"type": "url"}]}),
        ("messages", {"tools": [{"type": None}, {"type": "web_fetch_20250910"}]}),
    ],
)
def test_tools_that_run_upstream_or_are_not_known_are(operation: str, params: JsonObject) -> None:
    assert has_hosted_tools(operation, params)


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([FUNCTION] * 9, False),
        ([FUNCTION, {"type": "mcp"}], True),
        ([{**FUNCTION, "x": "long" * 100_000}], True),
    ],
)
def test_the_tools_of_a_large_body_are_decoded_unless_they_are_too_long(tools: list[Json], expected: bool) -> None:
    assert has_hosted_tools("chat", {"tools": raw(orjson.dumps(tools))}) is expected


def test_what_cannot_be_decoded_counts_as_hosted() -> None:
    assert has_hosted_tools("chat", {"tools": raw(b"[nonsense]")})


def raw(data: bytes) -> RawJson:
    return RawJson(data, 0, len(data), RawSource(0, 0))
