"""What conditions and sticky pools ask of a request: features, an estimate of its tokens, and its sticky key."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.concurrency.steps import at_once
from gateway.engine.facts import RequestFacts
from gateway.operations import OPERATIONS
from gateway.operations.content import OPENING_BYTES
from gateway.policy.pools import StickyKey
from gateway.wire.json import EMPTY, Json, JsonObject
from gateway.wire.multipart import read_form
from gateway.wire.top_level import read_top_level

PNG = base64.b64encode(bytes(range(256)) * 400).decode()
"""136,536 characters: what an image is in JSON."""
LOREM = "The quick brown fox jumps over the lazy dog. "


def facts(operation: str = "chat", params: Mapping[str, Json] = EMPTY, **values: Any) -> RequestFacts:
    return RequestFacts(OPERATIONS[operation], params, arrived=lambda: 0.0, **values)


def large(params: JsonObject) -> JsonObject:
    """Return the request as the server reads one over 1 MiB: long values are not decoded."""
    return at_once(read_top_level(json.dumps(params).encode(), max_parsed_bytes=4 * 1024 * 1024))


def user(content: Json) -> JsonObject:
    return {"role": "user", "content": content}


CHAT_IMAGE = user([{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PNG}}])
TOOL: JsonObject = {
    "type": "function",
    "function": {"name": "look", "description": "Look at a file.", "parameters": {}},
}

FEATURES: list[tuple[str, JsonObject, set[str]]] = [
    ("chat", {"messages": [user("hi")]}, set()),
    ("chat", {"messages": [user('say "type": "image_url" and "input_audio"')]}, set()),
    ("chat", {"messages": [user("hi")], "tools": [TOOL]}, {"tools"}),
    ("chat", {"messages": [user("hi")], "tools": []}, set()),
    ("chat", {"messages": [user("hi")], "functions": [TOOL["function"]]}, {"tools"}),
    ("chat", {"messages": [CHAT_IMAGE]}, {"images"}),
    ("chat", {"messages": [user([{"type": "input_audio", "input_audio": {"data": PNG}}])]}, {"audio"}),
    ("chat", {"messages": [user([{"type": "file", "file": {"file_data": PNG}}])]}, {"files"}),
    ("chat", {"messages": [user("hi")], "modalities": ["text", "audio"], "audio": {"voice": "a"}}, {"audio"}),
    ("responses", {"input": "hi"}, set()),
    ("responses", {"input": [user([{"type": "input_image", "image_url": PNG}])]}, {"images"}),
    ("responses", {"input": [user([{"type": "input_file", "file_data": PNG}])]}, {"files"}),
    (
        "responses",
        {"input": [{"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image"}]}]},
        {"images"},
    ),
    (
        "responses",
        {"input": [{"type": "computer_call_output", "call_id": "1", "output": {"type": "computer_screenshot"}}]},
        {"images"},
    ),
    ("messages", {"messages": [user([{"type": "image", "source": {"type": "base64", "data": PNG}}])]}, {"images"}),
    ("messages", {"messages": [user([{"type": "document", "source": {"type": "base64", "data": PNG}}])]}, {"files"}),
    (
        "messages",
        {"messages": [user([{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]}])]},
        {"images"},
    ),
    ("moderations", {"input": [{"type": "image_url", "image_url": {"url": PNG}}]}, {"images"}),
    ("image_edits", {"prompt": "bluer", "images": [{"image_url": "https://example.com/a.png"}]}, {"images"}),
    ("images", {"prompt": "a cat"}, set()),
    ("embeddings", {"input": ["image_url"]}, set()),
]


@pytest.mark.parametrize("is_large", [False, True], ids=["decoded", "over 1 MiB"])
@pytest.mark.parametrize(("operation", "params", "expected"), FEATURES)
async def test_features(operation: str, params: JsonObject, expected: set[str], is_large: bool) -> None:
    if is_large:
        field = next(name for name in ("messages", "input", "prompt") if name in params)
        if isinstance(params[field], list):
            params = {**params, field: [*params[field], user(LOREM * 1000)]}
        params = large(params)
    request = facts(operation, params)
    await request.read_ahead({"images", "tokens"})
    assert {name for name in ("stream", "tools", "images", "audio", "files") if request.has(name)} == expected


def test_a_stream_is_what_the_client_asked_for() -> None:
    assert facts(stream=True).has("stream")


@pytest.mark.parametrize(
    ("operation", "expected"), [("transcriptions", {"audio", "files"}), ("image_edits", {"images", "files"})]
)
def test_the_files_of_a_form_are_sound_or_images(operation: str, expected: set[str]) -> None:
    part = b'content-disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF'
    form = at_once(read_form(b"--x\r\n" + part + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"))
    request = facts(operation, form.fields, form=form)
    assert {name for name in ("tools", "images", "audio", "files") if request.has(name)} == expected


TOKENS: list[tuple[str, JsonObject, int]] = [
    ("chat", {}, 0),
    ("chat", {"messages": [user("x" * 400)]}, 100),
    ("chat", {"messages": [user("é" * 200)]}, 100),
    ("chat", {"messages": [{"role": "system", "content": "x" * 40}, user([{"type": "text", "text": "x" * 40}])]}, 20),
    ("chat", {"messages": [user("x" * 40)], "tools": [TOOL]}, (42 + len(json.dumps(TOOL, separators=(",", ":")))) // 4),
    ("completions", {"prompt": ["x" * 40, "x" * 40]}, 20),
    ("responses", {"instructions": "x" * 40, "input": "x" * 40}, 20),
    ("messages", {"system": [{"type": "text", "text": "x" * 40}], "messages": [user("x" * 40)]}, 20),
    ("embeddings", {"input": ["x" * 40]}, 10),
    ("embeddings", {"input": [[1, 2, 3], [4, 5]]}, 5),
    ("rerank", {"query": "x" * 40, "documents": ["x" * 40, {"text": "x" * 40}]}, 30),
    ("speech", {"input": "x" * 40, "voice": "alloy"}, 10),
    ("images", {"prompt": "x" * 40}, 10),
]


@pytest.mark.parametrize(("operation", "params", "expected"), TOKENS)
def test_tokens_are_bytes_of_text_over_4(operation: str, params: JsonObject, expected: int) -> None:
    assert facts(operation, params).tokens == expected


def test_base64_is_left_out_of_the_tokens() -> None:
    data_url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert facts(params={"messages": [user([{"type": "text", "text": "x" * 400}, data_url])]}).tokens == 100
    source = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    assert facts("messages", {"messages": [user([source])]}).tokens < 256


async def test_a_large_body_is_measured_undecoded_and_base64_is_left_out() -> None:
    text = LOREM * 10_000
    params = large({"messages": [user(text), CHAT_IMAGE, CHAT_IMAGE]})
    request = facts(params=params)
    await request.read_ahead({"tokens"})
    assert len(text) / 4 <= request.tokens <= len(text) / 4 + 512


def test_a_request_of_very_many_values_is_measured_by_its_size() -> None:
    messages = [user([{"a": True}] * 30_000), user([{"a": True}] * 30_000)]
    assert facts(params={"messages": messages}).tokens > 60_000


@pytest.mark.parametrize(
    ("operation", "params", "expected"),
    [
        ("chat", {}, None),
        ("chat", {"max_tokens": 10}, 10),
        ("chat", {"max_tokens": 10, "max_completion_tokens": 20}, 20),
        ("chat", {"max_tokens": None, "max_completion_tokens": None}, None),
        ("chat", {"max_tokens": True}, None),
        ("completions", {"max_tokens": 10}, 10),
        ("responses", {"max_output_tokens": 10, "max_tokens": 5}, 10),
        ("messages", {"max_tokens": 10}, 10),
        ("embeddings", {"max_tokens": 10}, None),
    ],
)
def test_max_tokens_is_the_wire_s_own_field(operation: str, params: JsonObject, expected: int | None) -> None:
    assert facts(operation, params).max_tokens == expected


def test_metadata_that_is_no_object_is_empty() -> None:
    assert facts(params={"metadata": "a"}).metadata == {}
    assert facts(params={"metadata": {"tier": "paid"}}).metadata == {"tier": "paid"}


def test_the_metadata_of_a_large_body_is_decoded() -> None:
    metadata = {f"name{number}": "x" * 500 for number in range(12)}
    assert facts(params=large({"metadata": metadata, "messages": [user("x" * 5000)]})).metadata == metadata
    assert facts(params=large({"metadata": {"a": "x" * 100_000}})).metadata == {}


def test_the_time_of_arrival_has_a_zone() -> None:
    assert facts().at == datetime(1970, 1, 1, tzinfo=UTC)


ALL: JsonObject = {
    "prompt_cache_key": "cache-1",
    "metadata": {"user_id": "meta-1", "team": "red"},
    "safety_identifier": "safe-1",
    "user": "user-1",
    "messages": [user("hi")],
}
HEADERS = {name: f"in {name}" for name in ("x-session-id", "x-opencode-session", "session-id", "session_id")}


def test_the_usual_keys_in_their_order() -> None:
    headers = {**HEADERS, "x-claude-code-session-id": "in x-claude-code-session-id"}
    params = dict(ALL)
    found: list[str] = []
    for name in ("x-claude-code-session-id", "session_id", "session-id", "x-opencode-session", "x-session-id"):
        key = facts(params=params, headers=headers).sticky(None)
        assert key is not None
        assert (key.source, key.key) == (f"header {name}", f"in {name}".encode())
        del headers[name]
    for name in ("prompt_cache_key", "metadata", "safety_identifier", "user", "messages"):
        key = facts(params=params).sticky(None)
        assert key is not None
        found.append(key.source)
        del params[name]
    assert found == ["prompt_cache_key", "metadata.user_id", "safety_identifier", "user", "prompt"]
    assert facts(params=params).sticky(None) is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (StickyKey(header="x-tenant"), ("header x-tenant", b"acme")),
        (StickyKey(header="x-none"), None),
        (StickyKey(metadata="team"), ("metadata.team", b"red")),
        (StickyKey(metadata="none"), None),
        (StickyKey(client=True), ("client", b"alice")),
    ],
)
def test_a_key_of_the_file_s_own(key: StickyKey, expected: tuple[str, bytes] | None) -> None:
    assert facts(params=ALL, headers={"x-tenant": "acme"}, client="alice").sticky(key) == expected


@pytest.mark.parametrize("value", ["", None, True, [], {"id": "a"}])
def test_what_names_nobody_is_no_key(value: Json) -> None:
    key = facts(params={**ALL, "prompt_cache_key": value}, headers={"x-session-id": ""}).sticky(None)
    assert key is not None
    assert key.source == "metadata.user_id"


def test_a_number_is_a_key() -> None:
    key = facts(params={"user": 17}).sticky(None)
    assert key is not None
    assert key.key == b"17"


SYSTEM = "You are a coding agent. " * 10
OPENINGS: dict[str, JsonObject] = {
    "chat": {"messages": [{"role": "system", "content": SYSTEM}, user("Fix it.")], "tools": [TOOL]},
    "responses": {
        "instructions": SYSTEM,
        "input": [user([{"type": "input_text", "text": "Fix it."}])],
        "tools": [TOOL],
    },
    "messages": {"system": [{"type": "text", "text": SYSTEM}], "messages": [user("Fix it.")], "tools": [TOOL]},
}


@pytest.mark.parametrize("operation", OPENINGS)
def test_the_turns_of_a_conversation_share_their_key(operation: str) -> None:
    params = OPENINGS[operation]
    field = "input" if operation == "responses" else "messages"
    longer = {**params, field: [*params[field], {"role": "assistant", "content": "Done."}, user("And now?")]}
    much_longer = {**longer, field: [*longer[field], user(LOREM * 3000)]}
    found = facts(operation, params).sticky(None)
    assert found is not None
    assert found.source == "prompt"
    assert found == facts(operation, longer).sticky(None)
    assert found == facts(operation, large(much_longer)).sticky(None), "beyond 1 MiB it is read undecoded"


@pytest.mark.parametrize("operation", OPENINGS)
def test_another_system_prompt_tool_or_question_is_another_key(operation: str) -> None:
    params = OPENINGS[operation]
    said = json.dumps(params)
    changed = [said.replace(old, new) for old, new in (("coding", "baking"), ("look", "cook"), ("Fix", "Mix"))]
    keys = [facts(operation, json.loads(each)).sticky(None) for each in (said, *changed)]
    assert len(set(keys)) == 4


@pytest.mark.parametrize("operation", OPENINGS)
def test_of_long_openings_the_first_4_kib_count(operation: str) -> None:
    long = {"You are": LOREM * 200 + "you are", "Fix it": LOREM * 300 + "fix it"}
    said = json.dumps(OPENINGS[operation])
    for old, new in long.items():
        said = said.replace(old, new, 1)
    first, second = json.loads(said), json.loads(said.replace("you are", "I am").replace("fix it", "mix it"))
    assert len(LOREM) * 200 > OPENING_BYTES
    assert facts(operation, first).sticky(None) == facts(operation, second).sticky(None)
    assert facts(operation, first).sticky(None) == facts(operation, large(first)).sticky(None)


def test_a_first_message_that_is_cut_is_read_to_where_it_is_cut() -> None:
    """The only message has more than is searched, with escapes and parts."""
    said = '\\ "quoted" é \ud83d\ude00'.encode("utf-16", "surrogatepass").decode("utf-16") * 20_000
    for content in (said, [{"type": "text", "text": said}]):
        params = {"messages": [user(content)]}
        assert facts(params=params).sticky(None) == facts(params=large(params)).sticky(None)


def test_a_long_description_is_cut_before_it_is_encoded() -> None:
    tool = {"type": "function", "function": {"name": "a", "description": LOREM * 10_000}}
    other = {"type": "function", "function": {"name": "a", "description": LOREM * 10_000 + "!"}}
    assert facts(params={"tools": [tool]}).sticky(None) == facts(params={"tools": [other]}).sticky(None)


@pytest.mark.parametrize(
    ("operation", "params"),
    [("completions", {"prompt": "hi"}), ("embeddings", {"input": "hi"}), ("rerank", {"query": "hi", "documents": []})],
)
def test_without_messages_the_text_itself_is_the_opening(operation: str, params: JsonObject) -> None:
    assert facts(operation, params).sticky(None) is not None


def test_an_empty_request_has_no_key() -> None:
    assert facts().sticky(None) is None
    assert facts(params={"messages": [{"role": "assistant", "content": "hi"}, 7]}).sticky(None) is None
