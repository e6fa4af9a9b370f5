"""What binds a request to one account of the Gemini API."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.operations import OPERATIONS
from gateway.operations.generate import GenerateContent
from gateway.operations.google_files import google_bonds
from gateway.wire.json import JsonObject
from tests.unit.operations.test_bonds import as_large, found

FILE = "https://generativelanguage.googleapis.com/v1beta/files/abc-123"
UPLOADED = "https://generativelanguage.googleapis.com/files/abc"


def chat(*parts: Any) -> JsonObject:
    return {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": list(parts)}]}


def nested(*parts: Any) -> JsonObject:
    return chat({"type": "tool_result", "tool_use_id": "t", "content": list(parts)})


CASES: list[tuple[JsonObject, list[tuple[str, str]]]] = [
    (chat({"type": "text", "text": "hi"}), []),
    (chat({"type": "file", "file": {"file_id": FILE}}), [("file_id", FILE)]),
    (chat({"type": "file", "file": {"file_data": FILE}}), [("file_data", FILE)]),
    (chat({"type": "image_url", "image_url": {"url": FILE}}), [("url", FILE)]),
    (chat({"type": "image_url", "image_url": FILE}), [("image_url", FILE)]),
    (chat({"type": "video_url", "video_url": {"url": UPLOADED}}), [("url", UPLOADED)]),
    (chat({"type": "image", "source": {"type": "url", "url": FILE}}), [("url", FILE)]),
    (nested({"type": "document", "source": {"type": "url", "url": FILE}}), [("url", FILE)]),
    (chat({"type": "text", "text": FILE}), []),
    ({"messages": [{"role": "user", "content": FILE}]}, []),
    (chat({"type": "image_url", "image_url": {"url": FILE.replace("googleapis", "example")}}), []),
    (chat({"type": "image_url", "image_url": {"url": f"https://other.example/?{FILE}"}}), []),
    (chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}), []),
    (chat({"type": "image_url", "image_url": {"url": FILE.replace("files", "models")}}), []),
    ({**chat(), "cachedContent": "cachedContents/c"}, [("cachedContent", "cachedContents/c")]),
    ({**chat(), "cached_content": "cachedContents/c"}, [("cachedContent", "cachedContents/c")]),
    ({**chat(), "cached_content": ["odd"]}, []),
    ({"messages": "odd"}, []),
    ({"messages": ["odd", None, {"content": 5}, {"content": ["odd", [], {"file": {"file_id": 5}}]}]}, []),
]


@pytest.mark.parametrize(("body", "bonds"), CASES)
@pytest.mark.parametrize("large", [False, True])
def test_files_and_caches_of_gemini_bind_and_words_do_not(
    body: JsonObject, bonds: list[tuple[str, str]], large: bool
) -> None:
    given = as_large(body) if large else body
    given = {**given, **{name: body[name] for name in body if name.startswith("cached")}}
    assert found(google_bonds(given, "messages")) == bonds


@pytest.mark.parametrize("name", ["chat", "messages"])
def test_chat_and_messages_are_bound_by_them(name: str) -> None:
    body = chat({"type": "file", "file": {"file_id": FILE}})
    assert ("file_id", FILE) in found(OPERATIONS[name].bound_to(body))


def test_responses_are_bound_by_them() -> None:
    part = {"type": "input_image", "image_url": FILE}
    body = {"input": [{"role": "user", "content": [part]}]}
    assert found(OPERATIONS["responses"].bound_to(body)) == [("image_url", FILE)]


def test_geminis_own_requests_are_bound_by_them() -> None:
    part = {"fileData": {"fileUri": FILE, "mimeType": "video/mp4"}}
    body = {"contents": [{"role": "user", "parts": [part]}], "cachedContent": "cachedContents/c"}
    assert found(GenerateContent().bound_to(body)) == [("cachedContent", "cachedContents/c"), ("fileUri", FILE)]


def test_a_long_value_is_no_url() -> None:
    body = as_large(chat({"type": "image_url", "image_url": {"url": FILE + "x" * 5000}}))
    assert found(google_bonds(body, "messages")) == []


def test_depth_is_bounded() -> None:
    part: Any = {"type": "image", "source": {"url": FILE}}
    for _ in range(50):
        part = {"content": [part]}
    assert found(google_bonds(chat(part), "messages")) == []
