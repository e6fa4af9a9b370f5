"""An event is taken for one like the last only where parsing it would have said the same."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.adapters.text_runs import HOLE, NumberedPattern, Pattern, Shape, joined, shape_of
from gateway.operations import CHAT, OPERATIONS


def event(data: Any, **options: Any) -> bytes:
    return b"data: " + json.dumps(data, **options).encode() + b"\n\n"


def delta(content: Any, **more: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}], **more}


def compact(content: Any, **more: Any) -> bytes:
    return b"data: " + orjson.dumps(delta(content, **more)) + b"\n\n"


def shape(first: bytes) -> Shape:
    found = shape_of(first, orjson.loads(first[6:]), CHAT.varying)
    assert found is not None
    return found


def alike(known: Shape, events: list[bytes]) -> list[bytes]:
    """Return those of `events`, from the first on, that are found to be alike."""
    before = b"data: {}\n\n"
    size = known.measure(before + b"".join(events), len(before))
    sizes = [0, *accumulate(map(len, events))]
    return events[: sizes.index(size)]


def test_events_that_differ_in_their_text_are_alike() -> None:
    events = [compact("a"), compact("two words"), compact("ünï"), compact("")]
    assert alike(shape(compact("first")), events) == events


def test_a_text_may_have_the_short_escapes() -> None:
    events = [
        compact('with "quotes"'),
        compact("line\nbreak"),
        compact("back\\slash\\"),
        compact("\t\b\f\r/"),
        compact('"'),
    ]
    assert alike(shape(compact("first")), events) == events


def test_of_very_many_events_the_first_are_found() -> None:
    events = [compact(f"word {number}") for number in range(1000)]
    found = alike(shape(compact("first")), events)
    assert 100 < len(found) < 1000


def test_an_event_that_is_not_whole_is_left() -> None:
    known, events = shape(compact("first")), [compact("a"), compact("b")]
    data = b"".join(events)
    found = {size: known.measure(data[:size], 0) for size in range(len(data) + 1)}
    assert set(found.values()) == {0, len(events[0]), len(data)}
    assert all(measured <= size for size, measured in found.items())


def test_a_text_that_ends_in_half_an_escape_takes_in_no_other_event() -> None:
    known = shape(compact("first"))
    broken = compact("TEXT").replace(b"TEXT", b"\\")
    assert alike(known, [broken, compact("b")]) == []
    assert alike(known, [compact("a"), broken, compact("b")]) == [compact("a")]


def test_blanks_after_the_colons_are_another_shape() -> None:
    events = [event(delta("a")), event(delta("b"))]
    assert alike(shape(events[0]), [*events, compact("c")]) == events


def test_what_comes_before_the_first_that_differs_is_taken() -> None:
    events = [compact("a"), compact("b"), compact("c", usage={"total_tokens": 1}), compact("d")]
    assert alike(shape(compact("first")), events) == events[:2]


@pytest.mark.parametrize(
    "other",
    [
        compact("a").replace(b"a", b"\\u0041"),
        compact("a").replace(b"a", b"\\x"),
        compact("a").replace(b"a", b"\\"),
        compact("a").replace(b"a", b"line\nbreak"),
        compact("a").replace(b'"a"', b'"a","tool_calls":[{}]'),
        compact("a").replace(b'"a"', b'"a'),
        compact("a").replace(b"a", b"\xff"),
        compact("a").replace(b"a", b"\xc3"),
        compact("a").replace(b"a", b"\x01"),
        compact("a")[:-2] + b"\n: comment\n\n",
        b"data: [DONE]\n\n",
        b": comment\n\n",
        compact("a")[:20] + b"\n\n",
    ],
)
def test_what_may_mean_something_else_is_not_alike(other: bytes) -> None:
    assert alike(shape(compact("first")), [other]) == []


def test_halves_of_a_character_in_two_events_do_not_make_one() -> None:
    first, second = (compact("a").replace(b"a", half) for half in (b"\xc3", b"\xa4"))
    assert alike(shape(compact("first")), [first, second]) == []


def test_an_event_shorter_than_start_and_end_together_is_not_alike() -> None:
    assert alike(Shape([b"data: ab", b"ba\n\n"], (False,)), [b"data: aba\n\n"]) == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"choices": []},
        {"choices": "x"},
        {"choices": ["x"]},
        {"choices": [{"delta": None}]},
        delta(None),
        delta(""),
        delta('say "it"'),
        delta("a", usage={"total_tokens": 3}),
        delta("a", error={"message": "x"}),
        delta("a", system={"content": "a"}),
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
        {"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]},
    ],
)
def test_an_event_that_holds_more_than_text_has_no_shape(data: Any) -> None:
    assert shape_of(b"data: " + orjson.dumps(data) + b"\n\n", data, CHAT.varying) is None


@pytest.mark.parametrize(
    "written",
    [
        event(delta("a"), indent=1),
        event(delta("a"), separators=(",", " : ")),
        compact("a").replace(b"\n\n", b"\r\n\n"),
        compact("a").replace(b"\n\n", b"\n\r\n"),
        compact("a").replace(b"\n\n", b"\r\r\n\n"),
        compact("a").replace(b"data: ", b"data:\r").replace(b"\n\n", b"\r\n\r\n"),
        b": x\n" + compact("a"),
        b"id: 1\n" + compact("a"),
        b"event: x\nid: 1\n" + compact("a"),
        compact("a").replace(b"\n\n", b"\n"),
    ],
)
def test_an_event_that_is_written_otherwise_has_no_shape(written: bytes) -> None:
    assert shape_of(written, delta("a"), CHAT.varying) is None


def test_lines_may_end_as_google_ends_them() -> None:
    one, other, unlike = (compact(text).replace(b"\n\n", b"\r\n\r\n") for text in ("a", 'say "b"', "c"))
    known = shape_of(one, delta("a"), CHAT.varying)
    assert known is not None
    assert alike(known, [other, one]) == [other, one]
    assert alike(known, [other, unlike.replace(b"\r", b"")]) == [other]


@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_whatever_is_alike_parses_to_the_same_object_with_other_text(first: str, text: str, as_ascii: bool) -> None:
    one = b"data: " + json.dumps(delta(first), separators=(",", ":")).encode() + b"\n\n"
    known = shape_of(one, delta(first), CHAT.varying)
    other = json.dumps(delta(text), separators=(",", ":"), ensure_ascii=as_ascii).encode(errors="surrogatepass")
    if known is not None and alike(known, [b"data: " + other + b"\n\n"]):
        assert json.loads(other) == delta(text)


@given(st.binary(max_size=12))
@example(b"\\r")
@example(b'\\"')
@example(b'","x":"')
def test_no_text_makes_an_event_alike_that_is_no_json(text: bytes) -> None:
    other = compact("TEXT").replace(b"TEXT", text)
    if alike(shape(compact("first")), [other]):
        assert orjson.loads(other[6:]) == delta(orjson.loads(b'"%b"' % text))


def named(number: int, text: str, **more: Any) -> bytes:
    kind = "response.output_text.delta"
    data = {"type": kind, "sequence_number": number, "item_id": "msg_1", "delta": text, "logprobs": [], **more}
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def message(text: str, kind: str = "text_delta", field: str = "text") -> bytes:
    data = {"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: text}}
    return b"event: content_block_delta\ndata: " + orjson.dumps(data) + b"\n\n"


def shape_on(wire: str, first: bytes) -> Shape:
    found = shape_of(first, orjson.loads(first.partition(b"data: ")[2]), OPERATIONS[wire].varying)
    assert found is not None
    return found


def test_events_of_responses_differ_in_their_number_and_padding_too() -> None:
    events = [named(8, "a", obfuscation="xyz"), named(9, 'say "b"', obfuscation=""), named(10, "", obfuscation="q")]
    assert alike(shape_on("responses", named(7, "first", obfuscation="abc")), events) == events
    events = [named(8, "a"), named(9, "b"), named(10, "c")]
    assert alike(shape_on("responses", named(7, "first")), [events[0]]) == [events[0]]
    assert alike(shape_on("responses", named(7, "first")), events) == events


@pytest.mark.parametrize("number", [b"07", b"-1", b"1.5", b"1e3", b"", b'"7"', b"1" * 17])
def test_a_number_that_is_written_otherwise_is_not_alike(number: bytes) -> None:
    other = named(8, "a").replace(b'"sequence_number":8', b'"sequence_number":' + number)
    known = shape_on("responses", named(7, "first"))
    assert alike(known, [other]) == []
    assert alike(known, [named(8, "a"), other]) == [named(8, "a")]


@pytest.mark.parametrize(
    ("kind", "field"),
    [("text_delta", "text"), ("thinking_delta", "thinking"), ("input_json_delta", "partial_json")],
)
def test_deltas_of_messages_differ_in_their_text(kind: str, field: str) -> None:
    events = [message(text, kind, field) for text in ("a", "two words", '{"x": "\n"}')]
    known = shape_on("messages", message("first", kind, field))
    assert alike(known, events) == events
    assert alike(known, [message("a", "signature_delta", "signature")]) == []


def test_padding_of_chat_differs_too() -> None:
    events = [compact("a", obfuscation="xyz"), compact("b", obfuscation="")]
    assert alike(shape(compact("first", obfuscation="abc")), events) == events
    assert alike(shape(compact("first")), events) == []


@given(st.integers(0, 10**18), st.text(max_size=20), st.text(max_size=5))
def test_whatever_is_alike_in_responses_parses_to_the_same_object(number: int, text: str, padding: str) -> None:
    known = shape_on("responses", named(7, "first", obfuscation="abc"))
    other = named(number, text, obfuscation=padding)
    if alike(known, [other]):
        data = orjson.loads(other.partition(b"data: ")[2])
        assert (data["sequence_number"], data["delta"], data["obfuscation"]) == (number, text, padding)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
@example(["", 'say "it"', '","obfuscation":"'])
def test_the_values_of_a_run_are_those_of_its_events(texts: list[str]) -> None:
    known = shape_on("responses", named(7, "first", obfuscation="abc"))
    numbered = enumerate(texts, 8)
    events = alike(known, [named(number, text, obfuscation=text[::-1]) for number, text in numbered])
    if not events:
        return
    run = b"".join(events)
    parsed = [orjson.loads(event.partition(b"data: ")[2]) for event in events]
    assert [int(number) for number in known.values(run, "sequence_number")] == [
        one["sequence_number"] for one in parsed
    ]
    for field in ("delta", "obfuscation"):
        values = known.values(run, field)
        assert [joined([value]) for value in values] == [one[field] for one in parsed]
        assert joined(values) == "".join(one[field] for one in parsed)


def test_a_pattern_writes_an_event_for_each_text() -> None:
    texts = [b"a", rb"\"b\""]
    events = compact(HOLE)
    assert Pattern(events).filled(texts) == compact("a") + compact('"b"')
    assert Pattern(events).filled([]) == b""
    numbered = NumberedPattern(named(7, HOLE).replace(b"7", b'"\\u0000"'))
    assert numbered.filled(texts, 9) == named(9, "a") + named(10, '"b"')
