"""What holds for all requests, answers and streams."""

from __future__ import annotations

import copy
from contextlib import suppress
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.anthropic import to_chat, to_messages
from gateway.adapters.base import NotSupported
from gateway.policy.failures import UpstreamError
from gateway.wire.json import Json, JsonObject, encode_json
from tests.unit.adapters.anthropic.summed import chat_sum, messages_sum
from tests.unit.adapters.anthropic.written import (
    CHAT_REQUESTS,
    JSON,
    MESSAGES_REQUESTS,
    anything,
    chat_streams,
    messages_streams,
)

_QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def _as_chat(events: list[JsonObject]) -> list[JsonObject]:
    machine = to_messages.Events(created=1)
    return [chunk for event in events for chunk in machine.feed(event)] + machine.end()


def _as_messages(chunks: list[JsonObject]) -> list[JsonObject]:
    machine = to_chat.Events()
    return [event for chunk in chunks for event in machine.feed(chunk)] + machine.end()


def _joined(values: Any) -> str:
    return "".join(values)


# Streams


@_QUICK
@given(messages_streams(), st.data())
def test_a_messages_stream_cut_anywhere_has_no_finish_reason(events: list[JsonObject], data: st.DataObject) -> None:
    whole = chat_sum(_as_chat(events))
    assert whole["finish"] is not None
    assert whole["usage"] is not None
    cut = events[: data.draw(st.integers(0, len(events) - 1))]
    found = chat_sum(_as_chat(cut))
    assert found["finish"] is None
    assert found["usage"] is None
    assert whole["text"].startswith(found["text"])


@_QUICK
@given(chat_streams(), st.data())
def test_a_chat_stream_cut_anywhere_has_no_end(chunks: list[JsonObject], data: st.DataObject) -> None:
    whole = messages_sum(_as_messages(chunks))
    assert whole["is_over"]
    finish = next(place for place, one in enumerate(chunks) if one["choices"] and one["choices"][0]["finish_reason"])
    cut = chunks[: data.draw(st.integers(0, finish))]
    found = messages_sum(_as_messages(cut))
    assert not found["is_over"]
    assert found["stop"] is None


@_QUICK
@given(messages_streams())
def test_a_messages_stream_comes_back_through_chat(events: list[JsonObject]) -> None:
    """Texts, thinking and calls are the same, in the order in which chat can tell them."""
    before, after = messages_sum(events), messages_sum(_as_messages(_as_chat(events)))
    for kind in ("text", "thinking"):
        assert _joined(one[1] for one in before["blocks"] if one[0] == kind) == _joined(
            one[1] for one in after["blocks"] if one[0] == kind
        )
    calls = [one for one in before["blocks"] if one[0] == "tool_use"]
    assert [one for one in after["blocks"] if one[0] == "tool_use"] == [
        [*one[:1], one[1] or "{}", *one[2:]] for one in calls
    ]
    assert after["stop"] == before["stop"]
    assert after["is_over"]


@_QUICK
@given(chat_streams())
def test_a_chat_stream_comes_back_through_messages(chunks: list[JsonObject]) -> None:
    before, after = chat_sum(chunks), chat_sum(_as_chat(_as_messages(chunks)))
    for field in ("text", "reasoning", "calls", "finish"):
        assert after[field] == before[field], field


@_QUICK
@given(chat_streams())
def test_blocks_are_told_one_after_the_other(chunks: list[JsonObject]) -> None:
    is_open, newest = False, -1
    for event in _as_messages(chunks):
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == newest + 1
                is_open, newest = True, event["index"]
            case "content_block_delta":
                assert is_open
                assert event["index"] == newest
            case "content_block_stop":
                assert is_open
                is_open = False
            case "message_delta":
                assert not is_open


# Requests


@_QUICK
@given(CHAT_REQUESTS)
def test_a_request_becomes_turns_that_messages_accepts(body: JsonObject) -> None:
    before = copy.deepcopy(body)
    try:
        sent = to_messages.request(body).body
    except NotSupported:
        return
    assert body == before
    turns = sent["messages"]
    roles = [turn["role"] for turn in turns if turn["role"] != "system"]
    assert roles[0] == "user"
    assert all(one != other for one, other in pairwise(roles)), "users and assistants take turns"
    called: list[str] = []
    for place, turn in enumerate(turns):
        assert turn["content"]
        assert all(block["text"] for block in turn["content"] if block["type"] == "text")
        if turn["role"] == "system":
            assert turns[place - 1]["role"] == "user"
            assert place + 1 == len(turns) or turns[place + 1]["role"] == "assistant"
        results = [block["type"] == "tool_result" for block in turn["content"]]
        assert results == sorted(results, reverse=True), "results come first"
        answered = [block["tool_use_id"] for block in turn["content"] if block["type"] == "tool_result"]
        if turn["role"] == "user":
            assert sorted(answered) == sorted(called), "each call has its result in the next turn"
            called = []
        elif turn["role"] == "assistant":
            called = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
    ids = [block["id"] for turn in turns for block in turn["content"] if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids)
    thinking = sent.get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < sent["max_tokens"]


@_QUICK
@given(CHAT_REQUESTS.map(lambda body: {**body, "model": "claude-sonnet-4-5"}))
def test_a_conversation_comes_back_through_messages(body: JsonObject) -> None:
    """Who said what, and what was called with what, is the same after both translations."""
    sent = to_messages.request(body).body
    back = to_chat.request({**sent, "model": "gpt-4o"}).body["messages"]

    def said(messages: list[JsonObject], role: str) -> str:
        texts = []
        for message in messages:
            if message["role"] == role:
                content = message.get("content") or ""
                parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
                texts += [part["text"] for part in parts if part["type"] == "text"]
        return _joined(texts)

    assert said(back, "assistant") == said(body["messages"], "assistant")
    asked = [call["function"] for message in body["messages"] for call in message.get("tool_calls", ())]
    again = [call["function"] for message in back for call in message.get("tool_calls", ())]
    assert [one["name"] for one in again] == [one["name"] for one in asked]
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    assert sorted(message["content"] for message in back if message["role"] == "tool") == sorted(results)


@_QUICK
@given(MESSAGES_REQUESTS, st.booleans())
def test_a_messages_request_becomes_messages_that_chat_accepts(body: JsonObject, is_openai: bool) -> None:
    before = copy.deepcopy(body)
    messages = to_chat.request(body, is_openai=is_openai).body["messages"]
    assert body == before
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting, "results follow their calls at once"
            waiting = [call["id"] for call in message.get("tool_calls", ())]
        assert message["content"] or message.get("tool_calls")
    assert not waiting


# Whatever comes in


@_QUICK
@given(
    st.dictionaries(st.sampled_from(["model", "messages", "tools", "tool_choice", "system", "stop", "thinking"]), JSON)
)
def test_an_odd_request_is_refused_in_our_words_or_translated(body: JsonObject) -> None:
    for translate in (to_messages.request, to_chat.request):
        with suppress(NotSupported):
            encode_json(translate(copy.deepcopy(body)).body)


@_QUICK
@given(st.lists(JSON | anything(), max_size=4), st.lists(anything() | JSON, max_size=4))
def test_odd_messages_are_refused_in_our_words_or_translated(messages: list[Json], parts: list[Json]) -> None:
    for role in ("user", "assistant", "tool", "system"):
        body = {"model": "claude-sonnet-5", "messages": [*messages, {"role": role, "content": parts}]}
        for translate in (to_messages.request, to_chat.request):
            with suppress(NotSupported):
                encode_json(translate(copy.deepcopy(body)).body)


@_QUICK
@given(st.lists(anything() | st.dictionaries(st.sampled_from(["choices", "usage", "error", "id"]), JSON), max_size=6))
def test_odd_events_and_answers_are_failures_or_translated(events: list[JsonObject]) -> None:
    with suppress(UpstreamError):
        encode_json(_as_chat(events))
    with suppress(UpstreamError):
        encode_json(_as_messages(events))
    for event in events:
        with suppress(UpstreamError):
            encode_json(to_messages.answer(event, created=1))
        with suppress(UpstreamError):
            encode_json(to_chat.answer(event))


@_QUICK
@given(
    st.dictionaries(st.sampled_from(["content", "reasoning_content", "tool_calls", "refusal", "function_call"]), JSON)
)
def test_odd_choices_are_failures_or_translated(said: JsonObject) -> None:
    for finish in ("stop", "tool_calls", "length", None):
        choice = {"index": 0, "finish_reason": finish}
        with suppress(UpstreamError):
            encode_json(to_chat.answer({"choices": [{**choice, "message": said}]}))
        with suppress(UpstreamError):
            encode_json(_as_messages([{"choices": [{**choice, "delta": said}]}]))
