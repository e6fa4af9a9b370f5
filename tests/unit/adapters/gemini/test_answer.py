"""Plain answers as chat replies: texts, thoughts, calls, media, counts, and what is no answer."""

from __future__ import annotations

from itertools import count

import pytest

from gateway.adapters import gemini
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.gemini.shapes import (
    IN_ID,
    SIGNATURE,
    answered,
    called,
    candidate,
    message_of,
    read,
    said,
    text,
)


def test_an_answer() -> None:
    assert read(said(text("hm", thought=True), text("Hel"), text("lo"))) == {
        "id": "resp_1",
        "object": "chat.completion",
        "created": 1,
        "model": "gemini-3-pro",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "reasoning_content": "hm"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_id_and_model_are_ours_where_none_are_told() -> None:
    found = read({"candidates": [candidate(text("a"), finish="STOP")]})
    assert (found["id"], found["model"], "usage" in found) == (f"chatcmpl-{'0' * 32}", "gemini-x", False)


def test_calls_have_ids_of_their_own_which_carry_signatures() -> None:
    serial = count(1)
    data = answered(
        candidate(called(city="Rome", signature=SIGNATURE), called("time", "own"), finish="STOP"),
        candidate(called(), finish="STOP", index=1),
    )
    found = gemini.answer(data, model="m", created=1, new_id=lambda: f"{next(serial):032x}")
    first, second = (choice["message"]["tool_calls"] for choice in found["choices"])
    prefix = "call_" + "0" * 24
    assert [call["id"] for call in first + second] == [f"{prefix}0__thought__{IN_ID}", "own", f"{prefix}2"]
    assert first[0]["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert second[0]["function"]["arguments"] == "{}"
    assert {choice["finish_reason"] for choice in found["choices"]} == {"tool_calls"}
    assert found["choices"][0]["message"]["content"] is None


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("STOP", "tool_calls"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), (None, None)],
)
def test_calls_change_only_a_usual_end(finish: Json, reason: str | None) -> None:
    assert read(said(called(), finish=finish))["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize(
    "candidate_",
    [
        {"finishReason": "STOP"},
        {"content": {}, "finishReason": "STOP"},
        {"content": {"role": "model"}, "finishReason": "STOP"},
    ],
)
def test_an_empty_answer_has_an_empty_text(candidate_: JsonObject) -> None:
    assert message_of({"candidates": [candidate_]}) == {"role": "assistant", "content": ""}


def test_images_and_sounds() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    sound = {"inlineData": {"mimeType": "audio/L16", "data": "BBBB"}}
    other = {"inlineData": {"mimeType": "application/x", "data": "CC"}}
    message = message_of(said(image, text("see"), image, sound, other, {"executableCode": {"code": "1"}}))
    assert [(one["index"], one["image_url"]["url"]) for one in message["images"]] == [
        (0, "data:image/png;base64,AAAA"),
        (1, "data:image/png;base64,AAAA"),
    ]
    assert message["audio"] == {"data": "BBBB", "expires_at": 86_401, "transcript": ""}
    assert message["content"] == "see"


def test_signatures_of_texts_are_beside_the_message() -> None:
    message = message_of(said(text("a", thoughtSignature=SIGNATURE), text("", thoughtSignature="x")))
    assert message["provider_specific_fields"] == {"thought_signatures": [SIGNATURE, "x"]}


def test_logprobs() -> None:
    best = [{"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "b", "logProbability": -1.5}]}]
    result = {"chosenCandidates": [{"token": "é", "tokenId": 1, "logProbability": -0.5}], "topCandidates": best}
    found = read(answered(candidate(text("é"), finish="STOP", logprobsResult=result)))["choices"][0]["logprobs"]
    chosen, other = {"token": "é", "bytes": [195, 169], "logprob": -0.5}, {"token": "b", "bytes": [98], "logprob": -1.5}
    assert found == {"content": [{**chosen, "top_logprobs": [chosen, other]}], "refusal": None}


@pytest.mark.parametrize(
    "data",
    [
        {"candidates": [7]},
        {"candidates": [{"content": 7}]},
        {"candidates": [{"content": {"parts": 7}}]},
        said(7),  # type: ignore[arg-type]
        said({"text": 7}),
        said({"functionCall": 7}),
        said({"functionCall": {"args": {}}}),
        said({"inlineData": {"mimeType": "image/png"}}),
        said(finish="MALFORMED_FUNCTION_CALL"),
    ],
)
def test_what_is_malformed_is_no_answer(data: JsonObject) -> None:
    with pytest.raises(UpstreamError) as raised:
        read(data)
    assert raised.value.kind in (Kind.BAD_RESPONSE, Kind.SERVER_ERROR)


def test_an_error_has_its_kind() -> None:
    with pytest.raises(UpstreamError) as raised:
        read({"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}})
    assert raised.value.kind is Kind.RATE_LIMIT


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"promptTokenCount": 10}, (10, 0, 10, 0, None)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "cachedContentTokenCount": 4, "totalTokenCount": 15},
         (10, 5, 15, 4, None)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 18},
         (10, 8, 18, 0, 3)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 8, "thoughtsTokenCount": 3, "totalTokenCount": 18},
         (10, 8, 18, 0, 3)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "toolUsePromptTokenCount": 7, "totalTokenCount": 22},
         (17, 5, 22, 0, None)),
        ({"candidatesTokenCount": 5, "thoughtsTokenCount": -1}, (0, 5, 5, 0, None)),
    ],
)  # fmt: skip
def test_token_counts(usage: JsonObject, found: tuple[Json, ...]) -> None:
    counts = read(answered(candidate(text("a"), finish="STOP"), usage=usage))["usage"]
    assert (
        counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"],
        counts["prompt_tokens_details"]["cached_tokens"],
        counts.get("completion_tokens_details", {}).get("reasoning_tokens"),
    ) == found  # fmt: skip


def test_tokens_of_sound_are_told() -> None:
    usage = {
        "promptTokenCount": 10,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}, {"modality": "AUDIO", "tokenCount": 7}],
    }
    counts = read(answered(candidate(text("a"), finish="STOP"), usage=usage))["usage"]
    assert counts["prompt_tokens_details"] == {"cached_tokens": 0, "audio_tokens": 7}


@pytest.mark.parametrize("usage", [{}, {"promptTokenCount": "x"}, {"promptTokenCount": 2**60}, {"totalTokenCount": 3}])
def test_counts_that_are_none_are_not_told(usage: JsonObject) -> None:
    assert "usage" not in read(answered(candidate(text("a"), finish="STOP"), usage=usage))
