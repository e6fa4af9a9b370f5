"""Events of a stream as chunks, and runs of them as bytes."""

from __future__ import annotations

import json

import pytest

from gateway.policy.failures import Kind, UpstreamError
from gateway.wire import sse
from gateway.wire.json import Json, JsonObject, decode_json
from tests.unit.adapters.anthropic.summed import chat_sum
from tests.unit.adapters.gemini.shapes import (
    IN_ID,
    SIGNATURE,
    answered,
    called,
    candidate,
    chunks_of,
    machine,
    piece,
    said,
    text,
)


def deltas(chunks: list[JsonObject]) -> list[Json]:
    return [
        (choice["index"], choice["delta"], choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"]
    ]


def written(*events: JsonObject) -> bytes:
    return b"".join(f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n".encode() for event in events)


def read_run(raw: bytes | None) -> list[JsonObject]:
    assert raw is not None
    return [decode_json(sse.event_data(event) or b"") for event in sse.Splitter().split(raw)]


def test_a_stream_of_text() -> None:
    chunks = chunks_of([piece(text("Hel")), piece(text("lo")), piece(text("")), said(text(""))])
    assert deltas(chunks) == [
        (0, {"role": "assistant", "content": "Hel"}, None),
        (0, {"content": "lo"}, None),
        (0, {}, "stop"),
    ]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 15
    assert {(chunk["id"], chunk["model"], chunk["object"]) for chunk in chunks} == {
        ("resp_1", "gemini-3-pro", "chat.completion.chunk")
    }


def test_parts_of_one_event_become_chunks_in_the_order_in_which_chat_tells_them() -> None:
    event = said(called(city="Rome", signature=SIGNATURE), text("a"), text("hm", thought=True), called("time"))
    told = deltas(chunks_of([event]))
    assert [delta for _, delta, _ in told[:2]] == [{"role": "assistant", "reasoning_content": "hm"}, {"content": "a"}]
    calls = [delta["tool_calls"][0] for _, delta, _ in told[2:4]]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "weather"), (1, "time")]
    assert calls[0]["id"].endswith(f"__thought__{IN_ID}")
    assert told[4] == (0, {}, "tool_calls")


def test_each_candidate_is_a_choice_of_its_own() -> None:
    events = [
        answered(candidate(text("a")), candidate(text("b"), index=1)),
        answered(candidate(text("c"), index=1)),
        answered(candidate(finish="STOP"), candidate(finish="MAX_TOKENS", index=1)),
    ]
    assert deltas(chunks_of(events)) == [
        (0, {"role": "assistant", "content": "a"}, None),
        (1, {"role": "assistant", "content": "b"}, None),
        (1, {"content": "c"}, None),
        (0, {}, "stop"),
        (1, {}, "length"),
    ]


def test_an_empty_answer_is_one_chunk_with_the_role() -> None:
    assert deltas(chunks_of([said(text(""))])) == [(0, {"role": "assistant"}, "stop")]


def test_images_are_counted_through_the_stream() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    sound = {"inlineData": {"mimeType": "audio/L16", "data": "BB"}}
    told = deltas(chunks_of([piece(image), piece(image, sound), said()]))
    assert [delta["images"][0]["index"] for _, delta, _ in told[:2]] == [0, 1]
    assert told[1][1]["audio"]["data"] == "BB"


def test_signatures_of_texts_and_logprobs_have_a_chunk() -> None:
    result = {"chosenCandidates": [{"token": "a", "logProbability": -0.5}]}
    chunks = chunks_of(
        [piece(text("a"), logprobsResult=result), piece(logprobsResult=result), said(text("", thoughtSignature="s"))]
    )
    assert [chunk["choices"][0]["logprobs"]["content"][0]["token"] for chunk in chunks[:2]] == ["a", "a"]
    assert chunks[2]["choices"][0]["delta"] == {"provider_specific_fields": {"thought_signatures": ["s"]}}


def test_nothing_ends_before_the_end() -> None:
    made = machine()
    chunks = [*made.feed(piece(text("a"))), *made.feed(said(text("b")))]
    assert {choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]} == {None}
    assert not any("usage" in chunk for chunk in chunks)


def test_an_event_without_candidates_has_no_chunk() -> None:
    made = machine()
    assert made.feed({"usageMetadata": {"promptTokenCount": 3}, "responseId": "r"}) == []
    assert made.feed({"candidates": None}) == []


@pytest.mark.parametrize(
    "event",
    [{"candidates": 7}, {"candidates": [7]}, piece({"text": 7}), piece(7), piece(called(), finish="ERROR")],  # type: ignore[arg-type]
)
def test_what_is_malformed_breaks_the_stream(event: JsonObject) -> None:
    made = machine()
    made.feed(piece(text("a")))
    with pytest.raises(UpstreamError):
        made.feed(event)


def test_an_error_in_the_stream_has_its_kind() -> None:
    with pytest.raises(UpstreamError) as raised:
        machine().feed({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}})
    assert raised.value.kind is Kind.OVERLOADED


def test_a_run_is_the_same_as_its_events() -> None:
    texts = ["a", 'say "b"', "c\\d\n\té", " ", "{}"]
    events = [piece(text(one)) for one in texts]
    fed, ran = machine(), machine()
    first = piece(text("first"))
    assert fed.feed(first) == ran.feed(first)
    assert read_run(ran.run(written(*events))) == [chunk for event in events for chunk in fed.feed(event)]
    assert ran.feed(said(text("z"))) == fed.feed(said(text("z")))
    assert ran.end() == fed.end()


def test_no_run_is_translated_before_the_role_was_told() -> None:
    assert machine().run(written(piece(text("a")))) is None
    made = machine()
    made.feed(piece(called()))
    assert made.run(written(piece(text("a")))) is not None


def test_the_counts_of_a_run_are_told_where_no_newer_ones_come() -> None:
    made = machine()
    made.feed(piece(text("a")))
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 7, "totalTokenCount": 17}
    made.run(written(piece(text("b")), answered(candidate(text("c")), usage=usage)))
    last = said(text(""))
    del last["usageMetadata"]
    made.feed(last)
    assert chat_sum(made.end())["usage"]["completion_tokens"] == 7
