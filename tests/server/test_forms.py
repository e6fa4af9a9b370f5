"""Multipart requests through real HTTP: transcriptions, translations, image edits and variations."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Answer, RunningGateway, Start, read_until_broken

SOUND = bytes(n * 7 % 251 for n in range(200_000))
TYPE = "multipart/form-data; boundary=b0"
DELTA = '{"type":"transcript.text.delta","delta":"one "}'
DONE = '{"type":"transcript.text.done","text":"one ","usage":{"type":"tokens","input_tokens":2,"output_tokens":3}}'
TRANSCRIPTIONS = "/v1/audio/transcriptions"
PATHS = {
    TRANSCRIPTIONS: {"text": "one"},
    "/v1/audio/translations": {"text": "one"},
    "/v1/images/edits": {"created": 1, "data": [{"b64_json": "AAAA"}]},
    "/v1/images/variations": {"created": 1, "data": [{"url": "http://127.0.0.1/a.png"}]},
}


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"'
    kind = b"" if filename is None else b"Content-Type: audio/mpeg\r\n"
    return b'--b0\r\nContent-Disposition: form-data; name="%b"%b\r\n%b\r\n%b\r\n' % (
        name.encode(), more.encode(), kind, value
    )  # fmt: skip


def model(name: str) -> bytes:
    return part("model", name.encode())


def sent(name: str) -> bytes:
    """What the gateway writes in place of the model."""
    return b'--b0\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n' % name.encode()


FILE = part("file", SOUND, "a.mp3")
PROMPT = part("prompt", b"words")
END = b"--b0--\r\n"


def events(*data: str) -> bytes:
    return "".join(f"event: {json.loads(one)['type']}\ndata: {one}\n\n" for one in data).encode()


async def ask(gateway: RunningGateway, body: bytes, *, path: str = TRANSCRIPTIONS, kind: str = TYPE) -> Answer:
    return await gateway.request("POST", path, data=BytesIO(body), headers={"content-type": kind})


@pytest.mark.parametrize("path", PATHS)
async def test_the_model_is_replaced_and_the_rest_is_sent_as_it_came(
    gateway: RunningGateway, upstream: ScriptedOpenAI, path: str
) -> None:
    upstream.script("a", body=PATHS[path])
    for before, after in ((FILE + PROMPT, b""), (b"", FILE + PROMPT), (PROMPT, FILE)):
        answer = await ask(gateway, before + model("fast") + after + END, path=path)
        assert (answer.status, answer.json) == (200, PATHS[path])
        asked = upstream.requests[-1]
        assert (asked.path, asked.raw) == (path, before + sent("a") + after + END)
        assert asked.headers["content-type"] == TYPE
        assert asked.headers["authorization"] == "Bearer sk-upstream"


@pytest.mark.parametrize("path", PATHS)
async def test_the_whole_form_is_sent_to_the_next_target_too(
    gateway: RunningGateway, upstream: ScriptedOpenAI, path: str
) -> None:
    upstream.script("a", status=503, body={}).script("b", body=PATHS[path])
    answer = await ask(gateway, FILE + PROMPT + model("pair") + END, path=path)
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/b")
    assert upstream.requests[-1].raw == FILE + PROMPT + sent("b") + END


async def test_a_large_form_is_sent_in_full_to_each_target(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    large = part("file", SOUND * 16, "a.mp3")  # over 1 MiB, so it is not one value of bytes here
    upstream.script("a", status=503, body={}).script("b", body={"text": "one"})
    answer = await ask(gateway, large + PROMPT + model("pair") + END)
    assert answer.status == 200
    assert [request.raw for request in upstream.requests] == [large + PROMPT + sent(name) + END for name in "ab"]


@pytest.mark.parametrize(
    "body", [{"no": "text"}, {"text": None}, {"error": {"message": "busy", "type": "overloaded_error"}}, b"<html>", b""]
)
async def test_what_is_no_transcript_falls_over(gateway: RunningGateway, upstream: ScriptedOpenAI, body: Any) -> None:
    upstream.script("a", body=body, content_type="text/html" if body == b"<html>" else None)
    upstream.script("b", body={"text": ""})
    answer = await ask(gateway, FILE + model("pair") + END)
    assert (answer.json, answer.headers["x-gateway-target"]) == ({"text": ""}, "up/b")


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "text/vtt", "application/x-subrip"])
async def test_a_transcript_as_text_passes_as_it_came(
    gateway: RunningGateway, upstream: ScriptedOpenAI, kind: str
) -> None:
    upstream.script("a", body=b"  one two\n", content_type=kind)
    answer = await ask(gateway, FILE + part("response_format", b"text") + model("fast") + END)
    assert (answer.body, answer.headers["content-type"]) == (b"  one two\n", kind)


async def test_a_text_that_looks_like_json_and_is_none_is_a_text(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", body=b"{laughs} one", content_type="text/plain")
    answer = await ask(gateway, FILE + model("fast") + END)
    assert (answer.status, answer.body) == (200, b"{laughs} one")


async def test_events_pass_and_are_judged(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    told = events(DELTA, DELTA, DONE)
    upstream.script("a", body=told, content_type="text/event-stream")
    answer = await ask(gateway, FILE + model("fast") + part("stream", b"true") + END)
    assert (answer.status, answer.body) == (200, told)
    assert part("stream", b"true") in upstream.requests[0].raw
    assert await gateway.metric('gateway_tokens_total{alias="fast",direction="completion",target="up/a"}') == 3


async def test_events_that_break_end_with_an_error_event_and_a_reset(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", body=events(DELTA), content_type="text/event-stream")
    form = FILE + model("pair") + part("stream", b"true") + END
    body = await read_until_broken(gateway, TRANSCRIPTIONS, data=form, headers={"content-type": TYPE})
    assert body.startswith(events(DELTA))
    assert b'event: error\ndata: {"type":"error","error":' in body


VLLM = [
    {"object": "transcription.chunk", "choices": [{"delta": {"content": "one "}}]},
    {"object": "transcription.chunk", "choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]},
    {"object": "transcription.chunk", "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}},
]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_vllms_events_pass_and_are_judged(gateway: RunningGateway, upstream: ScriptedOpenAI, count: int) -> None:
    """They are chunks as of a chat. https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"""
    told = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in VLLM[:count])
    upstream.script("a", body=told + b"data: [DONE]\n\n", content_type="text/event-stream")
    form = FILE + model("pair") + part("stream", b"true") + END
    if count == 1:
        body = await read_until_broken(gateway, TRANSCRIPTIONS, data=form, headers={"content-type": TYPE})
        assert body.startswith(told)
    else:
        answer = await ask(gateway, form)
        assert (answer.status, answer.body) == (200, told)
        assert answer.headers["x-gateway-target"] == "up/a"


async def test_vllms_error_in_place_of_events_falls_over(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    told = b'data: {"error": {"message": "no", "code": 503}}\n\ndata: [DONE]\n\n'
    upstream.script("a", body=told, content_type="text/event-stream")
    upstream.script("b", body=events(DELTA, DONE), content_type="text/event-stream")
    answer = await ask(gateway, FILE + model("pair") + part("stream", b"true") + END)
    assert answer.headers["x-gateway-target"] == "up/b"


async def test_a_server_that_ignores_stream_answers_with_events_all_the_same(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    """As whisper-1 does; the client waits for events."""
    upstream.script("a", body={"text": "one two"})
    answer = await ask(gateway, FILE + model("fast") + part("stream", b"true") + END)
    assert [event["type"] for event in answer.events] == ["transcript.text.delta", "transcript.text.done"]


async def test_params_of_the_file_are_set_in_the_form(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body={"text": "one"})
    gateway = await start(
        'version: 1\nproviders: {up: {kind: openai, base_url: "BASE_URL", api_key: k}}\nmodels:\n'
        "  fast: {chain: [{target: up/a, params: {language: de, temperature: 0, keywords: null, size: 1x1}}]}\n"
    )
    dropped = part("keywords[]", b"x") + part("api_base", b"http://evil")
    await ask(gateway, part("language", b"en") + FILE + dropped + model("fast") + END)
    language = sent("de").replace(b'"model"', b'"language"')
    temperature = sent("0").replace(b'"model"', b'"temperature"')
    assert upstream.requests[0].raw == language + FILE + sent("a") + temperature + END


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "the body is no multipart form"),
        (FILE + model("fast"), "without its last boundary"),
        (FILE + END, "model must be a non-empty string"),
        (FILE + model("fast") + model("fast") + END, "the form's field model must come once"),
        (part("model", b"fast", "m.txt") + END, "the form's part model must be a text"),
        (model("fast") + part("api_base", b"http://evil", "m.txt") + END, "part api_base must be a text"),
        (FILE + model("fast") + part("stream", b"maybe") + END, "stream must be true or false"),
        (FILE + model("fast") + part("stream", b"true") * 2 + END, "stream must be true or false"),
    ],
)
async def test_a_malformed_form_is_refused_with_what_was_found(
    gateway: RunningGateway, upstream: ScriptedOpenAI, body: bytes, found: str
) -> None:
    answer = await ask(gateway, body)
    assert answer.status == 400
    assert found in answer.error["message"]
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("path", "kind", "wanted"),
    [
        (TRANSCRIPTIONS, "application/json", "multipart/form-data"),
        ("/v1/images/variations", "application/json", "multipart/form-data"),
        ("/v1/images/edits", "text/plain", "multipart/form-data or application/json"),
        ("/v1/images/generations", TYPE, "application/json"),
        ("/v1/audio/speech", TYPE, "application/json"),
        ("/v1/chat/completions", TYPE, "application/json"),
        ("/v1/rerank", "text/plain", "application/json"),
    ],
)
async def test_another_media_type_is_refused(gateway: RunningGateway, path: str, kind: str, wanted: str) -> None:
    answer = await ask(gateway, FILE + END, path=path, kind=kind)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert answer.error["message"].endswith(f"the body must be {wanted}")


async def test_image_edits_in_json_work_too(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=PATHS["/v1/images/edits"])
    body = {"model": "fast", "prompt": "a hat", "images": [{"image_url": "data:image/png;base64,AA=="}]}
    answer = await gateway.request("POST", "/v1/images/edits", json=body)
    assert answer.status == 200
    assert upstream.requests[0].body == {**body, "model": "a"}


async def test_image_edits_stream_with_their_own_events(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    told = events('{"type":"image_edit.partial_image","b64_json":"A"}', '{"type":"image_edit.completed"}')
    upstream.script("a", body=told, content_type="text/event-stream")
    form = part("image[]", SOUND, "a.png") + PROMPT + model("fast") + part("stream", b"true") + END
    answer = await ask(gateway, form, path="/v1/images/edits")
    assert (answer.status, answer.body) == (200, told)


async def test_a_form_beyond_the_limit_of_bodies_is_refused(start: Start) -> None:
    gateway = await start(max_body_bytes=100_000)
    answer = await ask(gateway, FILE + model("fast") + END)
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")


async def test_a_model_that_is_left_out_is_the_default_one(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body=PATHS["/v1/images/edits"])
    gateway = await start(default_model="fast")
    answer = await ask(gateway, PROMPT + END, path="/v1/images/edits")
    assert answer.status == 200
    assert upstream.requests[0].raw == PROMPT + sent("a") + END


async def test_mocks_transcribe(gateway: RunningGateway) -> None:
    plain = await ask(gateway, FILE + PROMPT + model("echo") + END)
    assert plain.json["text"] == "words"
    text = await ask(gateway, FILE + PROMPT + part("response_format", b"srt") + model("echo") + END)
    assert text.body == b"words\n"
    told = await ask(gateway, FILE + PROMPT + part("stream", b"true") + model("echo") + END)
    assert told.events[-1]["type"] == "transcript.text.done"
    edited = await ask(gateway, FILE + PROMPT + model("echo") + END, path="/v1/images/edits")
    assert len(edited.json["data"]) == 1


async def test_a_pre_hook_that_does_not_know_forms_stops_them(start: Start) -> None:
    routes = "version: 1\nmodels: {echo: {chain: [mock/echo], hooks: {pre: [HOOKS.see]}}}\n"
    gateway = await start(routes, hooks="def see(request):\n    return request\n")
    answer = await ask(gateway, FILE + model("echo") + END)
    assert (answer.status, answer.error["code"]) == (400, "unsupported")


HOOKED = """\
version: 1
models:
  echo:
    chain: [mock/echo]
    hooks:
      pre: [{path: HOOKS.ask, operations: [transcriptions, speech]}]
      post: [{path: HOOKS.shout, operations: [transcriptions, speech]}]
"""
SHOUT = """\
def ask(request):
    assert "file" not in request
    return {**request, "prompt": request.get("prompt", "") + " and more"}

def shout(answer):
    return {name: value.upper() if name in ("text", "delta") else value for name, value in answer.items()}
"""


async def test_hooks_see_and_change_the_texts_of_a_form_and_the_answer(start: Start) -> None:
    gateway = await start(HOOKED, hooks=SHOUT)
    plain = await ask(gateway, FILE + PROMPT + model("echo") + END)
    assert plain.json["text"] == "WORDS AND MORE"
    told = await ask(gateway, FILE + PROMPT + part("stream", b"true") + model("echo") + END)
    assert told.events[0]["delta"] == "WORDS AND MORE"


async def test_a_text_does_not_slip_past_a_post_hook_that_must_see_it(start: Start) -> None:
    gateway = await start(HOOKED, hooks=SHOUT)
    text = await ask(gateway, FILE + PROMPT + part("response_format", b"text") + model("echo") + END)
    assert (text.status, text.error["code"]) == (400, "unsupported")
    assert "shout cannot see: ask for it in JSON" in text.error["message"]
    body = {"model": "echo", "input": "hi", "prompt": ""}
    sound = await gateway.request("POST", "/v1/audio/speech", json=body)
    assert (sound.status, sound.body[:4]) == (200, b"RIFF")


async def test_what_a_pre_hook_changes_is_sent_in_the_form(start: Start, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", body={"text": "one"})
    routes = HOOKED.replace("models:", 'providers: {up: {kind: openai, base_url: "BASE_URL", api_key: k}}\nmodels:')
    gateway = await start(routes.replace("mock/echo", "up/a"), hooks=SHOUT)
    answer = await ask(gateway, FILE + PROMPT + model("echo") + END)
    assert answer.json["text"] == "ONE"
    changed = sent("words and more").replace(b'"model"', b'"prompt"')
    assert upstream.requests[0].raw == FILE + changed + sent("a") + END
