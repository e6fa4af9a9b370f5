"""What we hand out to copy from works as it is, without keys and without a network."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.hooks import SYSTEM_MESSAGE, CachedEmbedding, add_metadata, add_system_message, embed_locally, redact
from examples.policy import policy_hooks
from gateway.config.compiler.compiler import Compiler
from gateway.config.lint import lint
from gateway.config.model_data import load
from tests.linting import OUTSIDE
from tests.paths import ROOT

FILES = [
    ROOT / "routes.yaml",
    *sorted(ROOT.glob("examples/*.yaml")),
    ROOT / "examples/policy/routes.yaml",
]


@pytest.mark.parametrize("path", [*FILES, *ROOT.glob("deploy/*/routes.yaml")], ids=str)
def test_a_shipped_config_file_has_not_even_a_warning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    compiled = Compiler(environ={}, strict_env=True).compile(path.read_bytes(), source=str(path))
    assert compiled.table is not None
    assert lint(compiled, replace(OUTSIDE, models=load)) == ()


def test_the_schema_that_editors_are_pointed_at_is_there() -> None:
    for path in FILES:
        first = path.read_text().splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=")
        assert (path.parent / first.partition("=")[2]).is_file(), path


def test_the_shipped_routes_hold_the_built_in_mapping_and_a_demo_of_a_fallback() -> None:
    table = Compiler(environ={}).compile((ROOT / "routes.yaml").read_bytes(), source="routes.yaml").table
    assert table is not None
    chains = {alias: [step.target.name for step in route.steps] for alias, route in table.routes.items()}
    demo = chains.pop("demo")
    assert chains == {
        "gpt-4o-mini": ["openai/gpt-4o-mini", "openai/gpt-3.5-turbo"],
        "gpt-4o": ["openai/gpt-4o"],
        "gpt-4": ["openai/gpt-4-turbo"],
        "gpt-3.5-turbo": ["openai/gpt-3.5-turbo"],
        "claude-3-opus": ["anthropic/claude-3-opus"],
        "claude-3-sonnet": ["anthropic/claude-3-sonnet"],
        "claude-3-haiku": ["anthropic/claude-3-haiku"],
    }
    assert len(demo) == 2
    first, second = table.routes["demo"].steps
    assert (first.target.endpoint.kind, first.retries, first.target.endpoint.script[0].status) == ("mock", 0, 503)
    assert (second.target.name, second.target.endpoint.kind) == ("mock/echo", "mock")


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


class TestAddSystemMessage:
    def test_it_comes_first(self) -> None:
        request = add_system_message({"model": "m", "messages": [user("hello")]})
        assert request["messages"] == [{"role": "system", "content": SYSTEM_MESSAGE}, user("hello")]

    @pytest.mark.parametrize(
        "request_",
        [
            {"messages": [{"role": "system", "content": "mine"}, user("hello")]},
            {"messages": [{"role": "developer", "content": "mine"}]},
            {"messages": "malformed"},
            {"messages": []},
            {"input": "an embeddings request", "operation": "embeddings"},
            {"input": ["texts", "to embed"]},
            {"prompt": "once", "operation": "completions"},
            {"messages": [user("hello")], "system": "mine", "operation": "messages"},
            {"input": "hello", "instructions": "mine", "operation": "responses"},
            {"input": [{"role": "developer", "content": "mine"}, user("hello")], "operation": "responses"},
        ],
    )
    def test_a_request_that_has_one_or_no_messages_stays_as_it_is(self, request_: dict[str, Any]) -> None:
        assert add_system_message({**request_}) == request_

    @pytest.mark.parametrize(
        ("operation", "request_", "field"),
        [
            ("messages", {"messages": [user("hello")]}, "system"),
            ("count_tokens", {"messages": [user("hello")], "system": ""}, "system"),
            ("responses", {"input": "hello"}, "instructions"),
            ("compact", {"input": [user("hello")]}, "instructions"),
        ],
    )
    def test_other_conversations_have_a_field_for_it(
        self, operation: str, request_: dict[str, Any], field: str
    ) -> None:
        whole = {**request_, "operation": operation}
        assert add_system_message({**whole}) == {**whole, field: SYSTEM_MESSAGE}


PARTS: list[Any] = [
    # (as sent, as redacted), of any field
    ("mail ann.b+c@mail.example.com now", "mail [email] now"),
    (["a@b.co", "c"], ["[email]", "c"]),
    ([1, 2, 3], [1, 2, 3]),
    ([[1, 2], [3]], [[1, 2], [3]]),
    ({"text": "a@b.co"}, {"text": "[email]"}),
    ({"id": "prompt_1", "variables": {"name": "a@b.co"}}, {"id": "prompt_1", "variables": {"name": "[email]"}}),
    ([{"type": "text", "text": "a@b.co"}], [{"type": "text", "text": "[email]"}]),
]

ADDRESS = "https://a@b.co/sk-0123456789abcdef0123"
BASE64 = "AAAA/sk0123456789abcdef0123456789AAAA=="

CONVERSATION: list[Any] = [
    {"type": "image_url", "image_url": {"url": ADDRESS}},
    {"type": "input_image", "image_url": ADDRESS},
    {"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}},
    {"type": "file", "file": {"file_data": BASE64, "filename": "a@b.co.pdf"}},
    {"type": "image", "source": {"type": "base64", "data": BASE64}},
    {"type": "document", "source": {"type": "text", "data": "a@b.co"}, "title": "a@b.co"},
    {"type": "input_text", "text": "a@b.co"},
    {"type": "refusal", "refusal": "not to a@b.co"},
    {"type": "function", "function": {"name": "f", "arguments": '{"to":"a@b.co"}'}},
    {"type": "thinking", "thinking": "a@b.co", "signature": BASE64},
    {"type": "tool_use", "id": "t", "name": "f", "input": {"url": "a@b.co", "data": ["a@b.co"], "n": 5}},
    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a@b.co"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"to":"a@b.co"}'},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "a@b.co"}]},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a@b.co"}], "encrypted_content": BASE64},
]
"""Parts and items of every wire, with an address or an encoded file in each."""

STAY: list[str] = [ADDRESS, BASE64, '"thinking": "a@b.co"']


class TestRedact:
    @pytest.mark.parametrize(
        "field", ["messages", "input", "prompt", "suffix", "system", "instructions", "query", "documents", "prediction"]
    )
    @pytest.mark.parametrize(("said", "left"), PARTS)
    def test_the_text_of_every_operation(self, field: str, said: object, left: object) -> None:
        assert redact({"model": "m", field: said}) == {"model": "m", field: left}

    @pytest.mark.parametrize("role", ["system", "user", "assistant", "tool", None])
    @pytest.mark.parametrize("part", CONVERSATION)
    def test_every_part_of_a_conversation_whoever_said_it(self, role: str | None, part: dict[str, Any]) -> None:
        whole = [part if role is None else {"role": role, "content": [part]}]
        before = json.dumps(whole)
        left = after = json.dumps(redact({"input": whole})["input"])
        for kept in STAY:
            assert before.count(kept) == after.count(kept)
            left = left.replace(kept, "")
        assert "@" not in left
        assert ("[email]" in left) == ("@" in before.replace(ADDRESS, "").replace(STAY[2], ""))

    def test_other_fields_and_malformed_ones_are_left_alone(self) -> None:
        request = {"model": "a@b.co", "user": "a@b.co", "messages": 5, "input": None}
        assert redact({**request}) == request
        assert redact({"messages": ["a@b.co", None]}) == {"messages": ["[email]", None]}

    @pytest.mark.parametrize(
        ("said", "left"),
        [
            ("mail ann.b+c@mail.example.com now", "mail [email] now"),
            ("my key is sk-proj-abcdefghijklmnop1234.", "my key is [key]."),
            ("nothing to hide @ 5", "nothing to hide @ 5"),
            (None, None),
            (
                [{"type": "text", "text": "a@b.co"}, {"type": "image_url", "image_url": {"url": "http://x"}}, 5],
                [{"type": "text", "text": "[email]"}, {"type": "image_url", "image_url": {"url": "http://x"}}, 5],
            ),
        ],
    )
    def test_what_users_wrote(self, said: object, left: object) -> None:
        assert redact({"messages": [user(said)]}) == {"messages": [user(left)]}

    def test_a_long_hostile_text_takes_no_time(self) -> None:
        redact({"messages": [user("a." * 100_000 + "@")]})


@pytest.mark.parametrize(
    "response",
    [
        {"choices": [{"message": {"content": "hi"}}]},
        {"choices": [{"delta": {"content": "hi"}}]},
        {"choices": [], "usage": {"total_tokens": 1}},
        {"choices": [], "metadata": None},
        {"choices": [], "metadata": {"own": 1}},
    ],
)
def test_metadata_is_added_to_responses_and_chunks(response: dict[str, Any]) -> None:
    choices, own = response["choices"], response.get("metadata") or {}
    assert add_metadata(response)["choices"] is choices
    assert response["metadata"] == {**own, "processed_by": "examples.hooks"}


class TestCachedEmbedding:
    async def test_a_text_is_embedded_once(self) -> None:
        asked: list[str] = []

        async def embed(text: str) -> list[float]:
            asked.append(text)
            return [float(len(text))]

        cached = CachedEmbedding(embed, max_entries=2)
        for text in ("a", "bb", "a", "ccc", "a", "bb"):
            assert await cached.get_embedding(text) == [len(text)]
        assert asked == ["a", "bb", "ccc", "bb"]
        assert cached.hits == 2

    async def test_what_a_caller_does_to_a_vector_stays_with_it(self) -> None:
        cached = CachedEmbedding()
        (await cached.get_embedding("text")).clear()
        assert len(await cached.get_embedding("text")) == 64

    async def test_local_vectors_are_the_same_everywhere_and_alike_for_alike_texts(self) -> None:
        one, two, other = [await embed_locally(text) for text in ("the red car", "The red cars", "an evening at sea")]
        assert one == await embed_locally("the red car")
        assert math.isclose(math.hypot(*one), 1.0)
        assert math.dist(one, two) < math.dist(one, other)
        assert await embed_locally("") == [0.0] * 64


def test_the_embedding_program_shows_all_it_says() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "LITELLM_"))}
    environ["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-W", "error", "examples/embed.py"],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=9, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "assistant starts at: mock/status-404",
        "the fallback answers: Write to [email], please.",
        "a post hook noted: {'processed_by': 'examples.hooks'}",
        "as a stream: one two three",
        "an embedding: 64 numbers, 1 from the cache",
    ]


async def test_the_policy_s_redaction_reads_documents_and_what_tools_are_given() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a@example.com"}}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a@example.com"}}
    call = {"type": "tool_use", "id": "a@example.com", "name": "pay", "input": {"id": "4111 1111 1111 1111"}}
    request = {"messages": [{"role": "user", "content": [document, image, call]}]}
    content = (await policy_hooks.redact(request))["messages"][0]["content"]
    assert content == [
        {**document, "source": {"type": "text", "media_type": "text/plain", "data": "[email]"}},
        image,
        {**call, "input": {"id": "[card]"}},
    ]
