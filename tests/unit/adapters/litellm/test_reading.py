"""A provider's events become chunks of chat; what the parser would make up does not."""

from __future__ import annotations

from typing import Any

import litellm  # noqa: F401 - here, so that no test waits for it
import orjson
import pytest

from gateway.adapters.events import Event
from gateway.adapters.litellm.reading import Parser, Reader, TextPattern, pattern_of
from gateway.adapters.text_runs import Shape, shape_of
from gateway.operations import CHAT
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject


class Counting:
    """A parser like LiteLLM's for a wire whose events are `{"say": text}` or `{"end": reason}`; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: JsonObject) -> Any:
        self.calls += 1
        return {
            "text": data.get("say", ""), "tool_use": data.get("call"), "is_finished": "end" in data,
            "finish_reason": data.get("end", ""), "usage": data.get("usage"), "index": 0,
        }  # fmt: skip


def reader(parse: Parser, *, usage: bool = True, one_choice: bool = False) -> Reader:
    return Reader(parse, model="m", usage_wanted=usage, one_choice=one_choice)


def read(reader: Reader, *events: JsonObject) -> list[JsonObject]:
    chunks = []
    for event in events:
        reader.see(event)
        chunks += reader.feed(event)
    return chunks


def texts(chunks: list[JsonObject]) -> list[str]:
    return [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]


def test_text_and_end_become_chunks_with_one_id_and_one_role() -> None:
    made = reader(Counting())
    chunks = read(
        made, {"say": "a"}, {"say": "b"}, {"end": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    )
    assert texts(chunks) == ["a", "b", ""]
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks] == ["assistant", None, None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["model"] for chunk in chunks} == {"m"}
    assert made.is_whole
    [last] = made.end()
    assert (last["choices"], last["usage"]) == ([], {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})


def test_without_an_end_a_stream_is_not_whole() -> None:
    made = reader(Counting())
    read(made, {"say": "a"})
    assert not made.is_whole
    assert not reader(Counting()).is_whole


def test_usage_is_told_only_where_it_is_wanted_and_was_said() -> None:
    unwanted, unsaid = reader(Counting(), usage=False), reader(Counting())
    read(unwanted, {"say": "a", "usage": {"prompt_tokens": 3}})
    read(unsaid, {"say": "a"})
    assert (unwanted.end(), unsaid.end()) == ([], [])


def test_counts_of_the_input_come_first_and_those_of_the_output_last() -> None:
    made = reader(Counting())
    read(
        made,
        {"say": "a", "usage": {"prompt_tokens": 7, "completion_tokens": 1}},
        {"end": "stop", "usage": {"prompt_tokens": 0, "completion_tokens": 5}},
    )
    assert made.end()[0]["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def test_a_total_of_more_than_both_is_kept() -> None:
    """xAI's has reasoning that is told beside the completion."""
    made = reader(Counting())
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 20}
    read(made, {"say": "a"}, {"end": "stop", "usage": usage})
    assert made.end()[0]["usage"] == usage


def test_tool_calls_end_as_tool_calls() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": None}, "index": 0}
    chunks = read(reader(Counting()), {"call": call}, {"end": "stop"})
    assert chunks[0]["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": "f"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, Kind.RATE_LIMIT),
        ({"error": {"code": "throttlingException", "message": "slow down"}}, Kind.RATE_LIMIT),
        ({"choices": [{"finish_reason": "error", "delta": {}}]}, Kind.BAD_RESPONSE),
    ],
)
def test_an_error_among_the_events_has_its_kind(event: JsonObject, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as caught:
        read(reader(Counting()), event)
    assert caught.value.kind is kind


def test_an_event_that_the_parser_cannot_read_is_a_bad_response() -> None:
    def fails(data: JsonObject) -> Any:
        raise KeyError("x")

    with pytest.raises(UpstreamError) as caught:
        read(reader(fails), {"say": "a"})
    assert caught.value.kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize("name", ["choices", "candidates"])
def test_an_end_that_the_parser_makes_up_is_left_out(name: str) -> None:
    """LiteLLM's parser for Google's events calls each of them finished."""

    def invents(data: JsonObject) -> Any:
        return {"text": "a", "is_finished": True, "finish_reason": "stop", "usage": None}

    made = reader(invents)
    going = {"index": 0, "delta": {}, "finish_reason": None, "content": {}}
    ended = going | {"finish_reason": "stop", "finishReason": "STOP"}
    assert read(made, {name: [going]})[0]["choices"][0]["finish_reason"] is None
    assert not made.is_whole
    assert read(made, {name: [ended]})[0]["choices"][0]["finish_reason"] == "stop"
    assert made.is_whole


def test_counts_beside_a_choice_are_noted() -> None:
    made = reader(Counting())
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    read(made, {"end": "stop", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]})
    assert made.end()[0]["usage"] == usage


def test_with_one_choice_asked_for_all_indexes_are_one() -> None:
    def second(data: JsonObject) -> Any:
        return {"choices": [{"index": 1, "delta": {"content": "a"}, "finish_reason": "stop"}]}

    chunks = read(reader(second, one_choice=True), {"x": 1})
    assert chunks[0]["choices"][0]["index"] == 0


def test_the_parser_is_left_out_once_two_events_have_shown_what_it_makes() -> None:
    parse = Counting()
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    chunks = read(reader(parse), *[{"type": "text", "say": word} for word in words])
    assert texts(chunks) == words
    assert parse.calls == 3  # the first has a role too


def test_an_event_that_is_not_alike_is_parsed() -> None:
    parse = Counting()
    made = reader(parse)
    read(made, *[{"say": word} for word in ("one", "two", "three", "four")])
    before = parse.calls
    others: list[JsonObject] = [
        {"say": "five", "more": 1}, {"say": ""}, {"say": 5}, {"say": ["x"]}, {}, {"end": "stop"},
    ]  # fmt: skip
    read(made, *others)
    assert parse.calls == before + len(others)
    assert made.is_whole


def test_a_parser_that_does_more_than_hand_a_text_on_is_asked_each_time() -> None:
    parse = Counting()

    def shouting(data: JsonObject) -> Any:
        return {**parse(data), "text": data["say"].upper()}

    assert texts(read(reader(shouting), *[{"say": word} for word in ("a", "b", "c", "d")])) == ["A", "B", "C", "D"]
    assert parse.calls == 4


def test_a_text_that_an_event_has_twice_is_no_pattern() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
    assert pattern_of({"x": "a", "y": ["a"]}, [chunk]) is None
    found = pattern_of({"x": [{"y": "a"}]}, [chunk])
    assert isinstance(found, TextPattern)
    assert found.text_of({"x": [{"y": "b"}]}) == "b"
    assert found.text_of({"x": []}) is None
    assert found.text_of({"x": [{"y": "b"}], "z": 1}) is None


class OfChat:
    """A parser like LiteLLM's for OpenAI's wire, whose events are chunks already; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: JsonObject) -> Any:
        self.calls += 1
        return orjson.loads(orjson.dumps(data))


def chunk(text: str, **more: Any) -> JsonObject:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": [choice], **more}


def encoded(*chunks: JsonObject) -> bytes:
    return b"".join(Event(one).encoded() for one in chunks)


def shape(event: JsonObject) -> Shape:
    found = shape_of(encoded(event), event, CHAT.varying)
    assert found is not None
    return found


def test_a_run_on_openais_wire_needs_no_parser_once_two_events_were_parsed() -> None:
    parse = OfChat()
    made = reader(parse)
    found = shape(chunk("one"))
    assert made.run(encoded(chunk("one")), found) is None
    before = read(made, chunk("zero"), chunk("one"), chunk("two"))
    calls = parse.calls
    words = ["three", 'four " and \\', "fünf"]
    run = made.run(encoded(*map(chunk, words)), found)
    assert run is not None
    singly = read(made, *map(chunk, words))
    assert (parse.calls, texts(singly)) == (calls, words)
    assert Event(None, run, is_run=True).singly() == [Event(one, encoded(one)) for one in singly]
    assert {one["id"] for one in (*before, *singly)} == {"x"}


def test_a_run_that_the_parser_has_to_see_is_not_translated() -> None:
    made = reader(OfChat())
    read(made, chunk("zero"), chunk("one"), chunk("two"))
    padded = chunk("one", obfuscation="abc")
    for other in (chunk("one", service_tier="flex"), padded):
        assert made.run(encoded(other), shape(other)) is None
    empty = encoded(chunk("one")).replace(b'"one"', b'""')
    assert made.run(empty, shape(chunk("one"))) is None
    assert made.run(encoded(chunk("one")), shape(chunk("one"))) is not None


def test_a_run_of_another_parsers_events_is_not_taken_for_chat() -> None:
    made = reader(Counting())
    read(made, *[{"say": word} for word in ("one", "two", "three", "four")])
    assert made.run(encoded(chunk("one")), shape(chunk("one"))) is None
