"""A run of events that differ in their text becomes the same, translated at once, as event by event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.adapters.anthropic import to_chat, to_messages
from gateway.adapters.base import Translator
from gateway.adapters.events import Event, typed_event
from gateway.adapters.responses import Events as ResponsesEvents
from gateway.adapters.responses import request
from gateway.adapters.text_runs import Shape, shape_of
from gateway.operations import OPERATIONS
from gateway.wire.json import JsonObject

TEXTS: Final = ["because ", "", 'say "it"', "line\nbreak", "ünï", "back\\slash", "a/b", "\t"]


class InResponses:
    """The events of a response, with its last ones told at a fixed time."""

    def __init__(self, **asked: Any) -> None:
        _, known = request({"input": "hi", **asked}, stream=True)
        self._events = ResponsesEvents(known, serial="s", now=1)
        self.feed = self._events.feed
        self.run = self._events.run

    def end(self) -> list[JsonObject]:
        return self._events.end(now=2)


def messages_delta(kind: str, field: str, index: int = 0) -> Callable[[str], JsonObject]:
    return lambda text: {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}


def chunk(delta: JsonObject, finish: str | None = None, **more: Any) -> JsonObject:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


def chat_delta(**more: Any) -> Callable[[str], JsonObject]:
    return lambda text: chunk({"content": text}, **more)


STARTED: Final[JsonObject] = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "m\0n", "usage": {"input_tokens": 3}},
}
STOPPED: Final[list[JsonObject]] = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


def block(index: int, **fields: Any) -> JsonObject:
    return {"type": "content_block_start", "index": index, "content_block": fields}


TOOL: Final = block(1, type="tool_use", id="toolu_1", name="find", input={})
SIGNED: Final[JsonObject] = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "signature_delta", "signature": "sig"},
}


class Case(NamedTuple):
    """A stream whose events with text may be fed as runs."""

    made: Callable[[], Translator]
    event: Callable[[str], JsonObject]
    before: list[JsonObject]
    after: list[JsonObject]

    @property
    def operation(self) -> str:
        return "messages" if self.made is in_chat else "chat"


def in_chat() -> Translator:
    return to_messages.Events(created=1)


def said_more(text: str) -> JsonObject:
    return chunk({"content": text, "reasoning": "hm"})


def with_role(text: str) -> JsonObject:
    return chunk({"role": "assistant", "content": text})


BEGUN: Final[list[JsonObject]] = [chunk({"role": "assistant", "content": ""})]
ENDED: Final = [chunk({}, "stop")]
THINKING: Final = [STARTED, block(0, type="thinking", thinking="")]
CALLED: Final = [STARTED, block(0, type="text", text="I "), TOOL]
ARGUMENTS: Final = messages_delta("input_json_delta", "partial_json", 1)

CASES: Final[dict[str, Case]] = {
    "text of Messages": Case(in_chat, messages_delta("text_delta", "text"), [STARTED], STOPPED),
    "thinking of Messages": Case(in_chat, messages_delta("thinking_delta", "thinking"), THINKING, [SIGNED, *STOPPED]),
    "arguments of Messages": Case(in_chat, ARGUMENTS, CALLED, [{"type": "content_block_stop", "index": 1}, *STOPPED]),
    "arguments for no tool": Case(in_chat, ARGUMENTS, [STARTED], STOPPED),
    "chat in Messages": Case(to_chat.Events, chat_delta(), BEGUN, ENDED),
    "padded chat in Messages": Case(to_chat.Events, chat_delta(obfuscation="xyz"), [], ENDED),
    "chat in Responses": Case(InResponses, chat_delta(), BEGUN, ENDED),
    "padded chat in Responses": Case(InResponses, chat_delta(obfuscation="xyz"), [], ENDED),
    "chat that says more": Case(InResponses, said_more, [], ENDED),
    "a role in each chunk": Case(to_chat.Events, with_role, [], ENDED),
}


def raw_of(data: JsonObject) -> bytes:
    raw = typed_event(data).raw
    assert raw is not None
    return raw


def found_shape(operation: str, data: JsonObject) -> Shape:
    shape = shape_of(raw_of(data), data, OPERATIONS[operation].varying)
    assert shape is not None
    return shape


def told(events: list[JsonObject]) -> list[JsonObject]:
    same: list[JsonObject] = json.loads(json.dumps(events))
    return same


def decoded(run: bytes) -> list[JsonObject]:
    events = Event(None, run, is_run=True).singly() if run else []
    assert all(event.name == event.data.get("type", "").encode() for event in events if event.data and event.name)
    return [event.data for event in events if event.data is not None]


@pytest.mark.parametrize("name", CASES)
@given(texts=st.lists(st.sampled_from(TEXTS) | st.text(max_size=8), max_size=6))
@example(texts=TEXTS)
@example(texts=[""])
def test_a_run_becomes_what_its_events_become(name: str, texts: list[str]) -> None:
    case = CASES[name]
    event, made = case.event, case.made
    first = event("first")
    shape = found_shape(case.operation, first)
    run = b"".join(raw_of(event(text)) for text in texts)
    run = run[: shape.measure(run, 0)]
    events = [one.data for one in Event(None, run, is_run=True).singly() if one.data] if run else []
    at_once, singly = made(), made()
    for data in (*case.before, first):
        assert at_once.feed(data) == singly.feed(data)
    if run:
        for _ in range(2):  # the second one finds what the first has made
            found = at_once.run(run, shape)
            one_by_one = [out for data in events for out in singly.feed(data)]
            if found is None:
                assert [out for data in events for out in at_once.feed(data)] == one_by_one
            else:
                assert decoded(found) == told(one_by_one)
    for data in case.after:
        assert at_once.feed(data) == singly.feed(data)
    assert at_once.end() == singly.end()


def runs(name: str, text: str = "more") -> tuple[Translator, Shape, bytes]:
    """Return a translator that was fed the first text of a case, and a run of more of them."""
    case = CASES[name]
    translator, first = case.made(), case.event("first")
    for data in (*case.before, first):
        translator.feed(data)
    return translator, found_shape(case.operation, first), raw_of(case.event(text))


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("arguments for no tool", "chat that says more")]
)
def test_runs_of_texts_are_translated_at_once(name: str) -> None:
    translator, shape, run = runs(name)
    assert len(decoded(translator.run(run * 3, shape) or b"")) == 3


@pytest.mark.parametrize("name", ["chat in Messages", "chat in Responses"])
def test_a_run_after_a_call_of_a_tool_begins_a_block_of_its_own(name: str) -> None:
    translator, shape, run = runs(name)
    assert translator.run(run, shape)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    translator.feed(chunk({"tool_calls": [call]}))
    assert translator.run(run, shape) is None
    translator.feed(chunk({"content": "more"}))
    again = decoded(translator.run(run, shape) or b"")
    assert [event.get("index", event.get("output_index")) for event in again] == [2]


def test_chunks_after_another_start_have_its_id() -> None:
    translator, shape, run = runs("text of Messages")
    translator.run(run, shape)
    translator.feed({"type": "message_start", "message": {"id": "msg_2", "model": "m"}})
    assert [event["id"] for event in decoded(translator.run(run, shape) or b"")] == ["msg_2"]


def test_a_compaction_tells_nothing_of_its_text_before_the_end() -> None:
    asked = [{"role": "user", "content": "hi"}, {"type": "compaction_trigger"}]
    translator = InResponses(input=asked)
    first = chunk({"content": "first"})
    translator.feed(first)
    assert translator.run(raw_of(first), found_shape("chat", first)) is None
    assert orjson.dumps(translator.feed(first)).count(b"first") == 0
