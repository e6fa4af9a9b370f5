"""Content parts as parts of Gemini's contents. Nothing is fetched."""

from __future__ import annotations

import pytest

from gateway.adapters.base import NotSupported
from gateway.adapters.gemini.models import gemini_model
from gateway.adapters.gemini.parts import parts_of
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import png, text

NEW, OLD = gemini_model("gemini-3-pro"), gemini_model("gemini-2.0-flash")


def image(url: Json, **more: Json) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(**fields: Json) -> JsonObject:
    return {"type": "file", "file": fields}


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (text("a"), [{"text": "a"}]),
        (text(""), []),
        ("a", [{"text": "a"}]),
        (png(), [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]),
        (image("data:image/jpg;base64,AAAA"), [{"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}}]),
        ({"type": "image_url", "image_url": "data:image/webp;base64,AA"},
         [{"inlineData": {"mimeType": "image/webp", "data": "AA"}}]),
        (image("https://e.org/a.png?x=1"),
         [{"fileData": {"fileUri": "https://e.org/a.png?x=1", "mimeType": "image/png"}}]),
        (image("https://e.org/a", format="image/webp"),
         [{"fileData": {"fileUri": "https://e.org/a", "mimeType": "image/webp"}}]),
        (image("https://e.org/a"), [{"fileData": {"fileUri": "https://e.org/a"}}]),
        (image("gs://bucket/a.png"), [{"fileData": {"fileUri": "gs://bucket/a.png", "mimeType": "image/png"}}]),
        (file(file_id="gs://bucket/a"), [{"fileData": {"fileUri": "gs://bucket/a"}}]),
        (image("https://[::1/a.png"), [{"fileData": {"fileUri": "https://[::1/a.png"}}]),
        ({"type": "video_url", "video_url": {"url": "https://e.org/a.mp4"}},
         [{"fileData": {"fileUri": "https://e.org/a.mp4", "mimeType": "video/mp4"}}]),
        (file(file_data="data:application/pdf;base64,JVBERi0x", filename="a.pdf"),
         [{"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0x"}}]),
        (file(file_data="JVBERi0x"), [{"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0x"}}]),
        (file(file_data="AAAA", format="text/csv"), [{"inlineData": {"mimeType": "text/csv", "data": "AAAA"}}]),
        (file(file_id="https://generativelanguage.googleapis.com/v1beta/files/x"),
         [{"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}}]),
        ({"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
         [{"inlineData": {"mimeType": "audio/mp3", "data": "AA"}}]),
        ({"type": "refusal", "refusal": "no"}, [{"text": "no"}]),
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, []),
    ],
)  # fmt: skip
def test_a_part(part: Json, found: list[JsonObject]) -> None:
    assert parts_of({"content": [part]}, NEW) == found


@pytest.mark.parametrize(
    ("part", "lacks"),
    [
        (image("http://e.org/a.png"), "images by another URL than https"),
        (image("file:///etc/passwd"), "images by another URL than https"),
        (image(None), "images without a URL"),
        (image("data:image/png,AAAA"), "data URLs without base64"),
        (file(file_id="file-1"), "file ids"),
        (file(), "a file without data"),
        (file(file_data="AAAA"), "files without a media type"),
        ({"type": "file", "file": "x"}, "a file without data"),
        ({"type": "input_audio", "input_audio": {"data": "AA"}}, "audio without data and format"),
        ({"type": "container_upload"}, "content parts of type container_upload"),
        (7, "content parts that are no objects"),
    ],
)
def test_what_is_not_supported_is_named(part: Json, lacks: str) -> None:
    with pytest.raises(NotSupported, match=f"^does not support {lacks}"):
        parts_of({"content": [part]}, NEW)


def test_an_older_model_takes_no_url() -> None:
    with pytest.raises(NotSupported, match="images by URL"):
        parts_of({"content": [image("https://e.org/a.png")]}, OLD)


@pytest.mark.parametrize(("content", "found"), [("a", [{"text": "a"}]), ("", []), (None, []), ([], [])])
def test_content_in_its_other_forms(content: Json, found: list[JsonObject]) -> None:
    assert parts_of({"content": content}, NEW) == found


def test_content_of_another_type_is_not_supported() -> None:
    with pytest.raises(NotSupported, match="a message with int as its content"):
        parts_of({"content": 7}, NEW)
