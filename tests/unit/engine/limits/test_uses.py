"""What a request has used, by how it ended."""

from __future__ import annotations

import pytest

from gateway.adapters.base import Operation, Reply
from gateway.adapters.events import Event
from gateway.adapters.text_runs import shape_of
from gateway.engine.limits.uses import UNUSED, TextCount, text_bytes_of, tokens_used, was_called
from gateway.operations import CHAT, OPERATIONS
from gateway.policy.failures import Kind
from gateway.telemetry.report import Attempt, CallReport
from gateway.wire.json import Spliced, decode_json
from gateway.wire.sse import event_data
from tests.compiling import step

EXPECTED = (100, 50)


def attempt(kind: Kind | None, **more: int) -> Attempt:
    row = Attempt("up/a", "up/a", kind, None, 1.0)
    for name, value in more.items():
        setattr(row, name, value)
    return row


def test_an_answer_is_settled_by_its_usage() -> None:
    report = CallReport(attempts=[attempt(None)], tokens={"prompt": 30, "completion": 12, "cached": 20})
    assert tokens_used(report, EXPECTED, answered=True) == (30, 12, 20)


@pytest.mark.parametrize(
    ("told", "used"),
    [
        ({"prompt": 0, "completion": 0}, (100, 10, 0)),
        ({"prompt": 30}, (30, 10, 0)),
        ({"completion": 12}, (100, 12, 0)),
        ({"prompt": 30, "completion": 0, "cached": 20}, (30, 10, 20)),
        ({"total": 150}, (100, 50, 0)),
        ({"prompt": 0, "completion": 0, "total": 150}, (100, 50, 0)),
        ({"total": 105}, (100, 10, 0)),
        ({"total": 50}, (100, 10, 0)),
    ],
)
def test_a_count_that_is_not_told_or_is_0_is_that_of_the_text(told: dict[str, int], used: tuple[int, int, int]) -> None:
    """Some servers tell zeros, and a count that cannot be is left out: neither makes an answer cost nothing."""
    report = CallReport(attempts=[attempt(None)], tokens=told)
    assert tokens_used(report, EXPECTED, answered=True, text_bytes=41) == used


def test_a_total_alone_counts_of_a_stream_that_broke_too() -> None:
    report = CallReport(attempts=[attempt(Kind.BAD_RESPONSE)], tokens={"total": 150})
    assert tokens_used(report, EXPECTED, answered=True, whole=False, text_bytes=40) == (100, 50, 0)
    assert tokens_used(report, EXPECTED, answered=True, whole=False, text_bytes=400) == (100, 100, 0)


def test_the_text_of_an_answer_counts_unless_it_tells_its_output() -> None:
    reply = Reply(data=CHAT.reply("hello", {}))
    assert text_bytes_of(CHAT, reply, {"prompt": 3, "completion": 2}) == 0
    for told in (None, {"prompt": 3}, {"prompt": 0, "completion": 0}):
        assert text_bytes_of(CHAT, reply, told) == 5


def test_all_that_an_answer_says_counts() -> None:
    said = {"content": "hello", "reasoning_content": "12345", "refusal": "12345"}
    choices = [{"index": index, "message": said, "finish_reason": "stop"} for index in range(4)]
    assert text_bytes_of(CHAT, Reply({"choices": choices}), None) == 60


def test_a_long_answer_whose_texts_are_shortened_is_measured_as_it_came() -> None:
    came = Spliced([b"x" * 900, b"y" * 100])
    assert text_bytes_of(CHAT, Reply(CHAT.reply("xx~yy", {}), came), {"prompt": 3}) == 1000
    assert text_bytes_of(CHAT, Reply(CHAT.reply("xx~yy", {}), came), {"completion": 3}) == 0
    assert text_bytes_of(OPERATIONS["embeddings"], Reply({"data": []}, came), {"prompt": 3}) == 0


def test_an_answer_without_usage_by_its_input_and_text() -> None:
    report = CallReport(attempts=[attempt(None)])
    assert tokens_used(report, EXPECTED, answered=True, text_bytes=41) == (100, 10, 0)


@pytest.mark.parametrize("kind", Kind)
def test_a_failure_uses_nothing_or_its_input(kind: Kind) -> None:
    report = CallReport(attempts=[attempt(Kind.SERVER_ERROR), attempt(kind)])
    used = tokens_used(report, EXPECTED, answered=False)
    assert used == ((0, 0, 0) if kind in UNUSED else (100, 0, 0))
    assert (kind in UNUSED) is (kind not in {Kind.TIMEOUT, Kind.BAD_RESPONSE, Kind.CONTENT_FILTER})


def test_a_failure_after_content_uses_what_came() -> None:
    report = CallReport(attempts=[attempt(Kind.OVERLOADED, content_bytes=80), attempt(Kind.SERVER_ERROR)])
    assert tokens_used(report, EXPECTED, answered=False) == (100, 20, 0)


def test_what_was_told_counts_where_it_is_more_of_input_and_of_output_each() -> None:
    """Anthropic tells the input when a stream begins, and the output at its end."""
    report = CallReport(attempts=[attempt(Kind.BAD_RESPONSE)], tokens={"prompt": 130, "completion": 50, "cached": 90})
    assert tokens_used(report, EXPECTED, answered=True, whole=False, text_bytes=40) == (130, 50, 90)
    assert tokens_used(report, EXPECTED, answered=True, whole=False, text_bytes=400) == (130, 100, 90)
    report.tokens = {"prompt": 80, "completion": 1}
    assert tokens_used(report, EXPECTED, answered=True, whole=False, text_bytes=40) == (100, 10, 0)


def test_a_call_that_was_left_uses_its_input_and_what_came_or_was_told() -> None:
    target = step("models: {fast: mock/echo}\n").target
    report = CallReport(calling=target, closed_bytes=44)
    assert was_called(report)
    assert tokens_used(report, EXPECTED, answered=False) == (100, 11, 0)
    report.closed_tokens = {"prompt": 120}
    assert tokens_used(report, EXPECTED, answered=False) == (120, 11, 0)


def test_nobody_was_called_where_all_were_passed_over() -> None:
    assert not was_called(CallReport(attempts=[Attempt("up/a", "up/a", "cooldown", None, 0.0)]))


def test_text_is_counted_in_events_and_in_runs_of_them() -> None:
    chunk = 'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
    text = TextCount(CHAT)
    assert text.bytes == 0
    text.add(
        [Event({"choices": [{"index": 0, "delta": {"content": "äh"}, "finish_reason": None}]}), Event(None, b": c")]
    )
    assert text.bytes == 3
    text.add([Event(None, (chunk % "word " * 10).encode(), is_run=True)])
    text.add([Event(None, (chunk % "more" * 4).encode(), is_run=True)])
    assert text.bytes == 3 + 50 + 16


def run_of(*events: bytes, operation: Operation) -> Event:
    """Return events as one run of the shape of the first."""
    data = decode_json(event_data(events[0]) or b"")
    return Event(None, b"".join(events), is_run=True, shape=shape_of(events[0], data, operation.varying))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_runs_of_other_shapes_are_measured_each_by_its_own(end: bytes) -> None:
    messages = OPERATIONS["messages"]
    start = b'data: {"type":"content_block_delta","index":0,"delta":'
    thought = start + b'{"type":"thinking_delta","thinking":"a"}}' + 2 * end
    piece = start + b'{"type":"input_json_delta","partial_json":"bcd"}}' + 2 * end
    count = TextCount(messages)
    count.add([run_of(*[thought] * 50, operation=messages)])
    assert count.bytes == 50
    pieces = run_of(*[piece] * 10, operation=messages)
    count.add([pieces, pieces])
    assert count.bytes == 50 + 60
    count.add([run_of(thought, operation=messages)])
    assert count.bytes == 50 + 60 + 1


def test_numbers_and_padding_of_a_run_are_no_text() -> None:
    responses = OPERATIONS["responses"]
    event = 'data: {"type":"response.output_text.delta","sequence_number":%d,"delta":"four","obfuscation":"%s"}\n\n'
    count = TextCount(responses)
    count.add([run_of(*[(event % (n, "x" * 9)).encode() for n in range(10, 60)], operation=responses)])
    assert count.bytes == 200


def test_reasoning_and_tool_calls_of_a_stream_count_and_content_beside_the_finish_reason() -> None:
    count = TextCount(CHAT)
    call = {"index": 0, "function": {"arguments": "12345"}}
    for delta in ({"reasoning_content": "12345"}, {"reasoning": "12345"}, {"refusal": "12345"}, {"tool_calls": [call]}):
        count.add([Event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})])
    count.add([Event({"choices": [{"index": 1, "delta": {"content": "12345"}, "finish_reason": "stop"}]})])
    assert count.bytes == 25
