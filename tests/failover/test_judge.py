"""The judge is judged: responses written byte by byte, and what they are to be called."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.failover.client import Ending, Endpoint, Heard, Leave, exchange
from tests.failover.faults import Fault
from tests.failover.judge import Word, judge, read
from tests.failover.scenario import SECRET, Answered, BrokenOff, Left, Refused, Scenario
from tests.failover.upstream import UpstreamCall

PLAIN = Scenario(
    name="x", mode="plain", scripts=((Fault(status=500),), (Fault(reply="hello"),)), expect=Answered(), calls=(1, 1)
)
CUT = Fault(chunks=["one ", "two"], cut_after=1)
LATE = replace(PLAIN, mode="stream", scripts=((CUT,), (Fault(reply="hello"),)), expect=BrokenOff(), calls=(1, 0))


def event(*, finish: str | None = None, **delta: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"


def completion(text: str, finish: str | None = "stop") -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": finish}]}).encode()


ONE = event(content="one ")
STOP = event(finish="stop")
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error": {"message": "broken"}}\n\n'
ENVELOPE = b'{"error": {"message": "no", "code": "why"}}'


def heard(body: bytes, *, status: int = 200, ending: Ending = Ending.WHOLE, stream: bool = False) -> Heard:
    content_type = "text/event-stream" if stream else "application/json"
    arrivals = [(0.1, len(body))]
    return Heard(1.0, 1.5, status, {"content-type": content_type}, body, ending, arrivals)


def seen(*models: str) -> list[UpstreamCall]:
    return [UpstreamCall(f"x--{model}", 1.1 + 0.1 * n, 1.15 + 0.1 * n, "whole") for n, model in enumerate(models)]


@pytest.mark.parametrize(
    ("body", "ending", "word"),
    [
        (ONE + STOP + DONE, Ending.WHOLE, Word.COMPLETE),
        (ONE + STOP, Ending.WHOLE, Word.UNCLEAN),
        (ONE + STOP + DONE, Ending.CUT, Word.BROKEN),
        (ONE, Ending.WHOLE, Word.TRUNCATED),
        (ONE + DONE, Ending.CUT, Word.TRUNCATED),
        (ONE, Ending.CUT, Word.BROKEN),
        (ONE + ERROR, Ending.WHOLE, Word.BROKEN),
        (ONE + b"data: {broken\n\n" + STOP + DONE, Ending.WHOLE, Word.UNCLEAN),
        (DONE, Ending.WHOLE, Word.NO_ANSWER),
        (b"", Ending.WHOLE, Word.NO_ANSWER),
        (ONE, Ending.HANG, Word.HANG),
    ],
)
def test_a_stream_is_called_what_a_client_can_know_of_it(body: bytes, ending: Ending, word: Word) -> None:
    assert read(heard(body, ending=ending, stream=True), "stream").word is word


@pytest.mark.parametrize(
    ("body", "status", "ending", "word"),
    [
        (completion("hello"), 200, Ending.WHOLE, Word.COMPLETE),
        (completion("hello", None), 200, Ending.WHOLE, Word.NO_ANSWER),
        (completion("hello"), 200, Ending.CUT, Word.UNCLEAN),
        (b"<html>", 200, Ending.WHOLE, Word.NO_ANSWER),
        (ENVELOPE, 200, Ending.WHOLE, Word.UNCLEAN),
        (ENVELOPE, 502, Ending.WHOLE, Word.ERROR),
        (ENVELOPE[:9], 502, Ending.CUT, Word.UNCLEAN),
        (b"<html>", 502, Ending.WHOLE, Word.UNCLEAN),
    ],
)
def test_a_plain_response_is_called_what_it_is(body: bytes, status: int, ending: Ending, word: Word) -> None:
    assert read(heard(body, status=status, ending=ending), "plain").word is word


def test_tool_calls_usage_and_comments_are_read() -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
    usage = b'data: {"choices": [], "usage": {"total_tokens": 1}}\r\n\r\n'
    got = read(heard(b": hi\n\n" + event(tool_calls=[call]) + STOP + usage + DONE, stream=True), "stream")
    assert (got.text, got.usage_last, got.first_content_s) == ("f{}", True, 0.1)


def test_a_whole_answer_of_the_right_target_passes() -> None:
    verdict = judge(PLAIN, [heard(completion("hello"))], seen("1", "2"), ours=False)
    assert (verdict.score, verdict.calls) == ("pass", (1, 1))


def test_an_answer_that_no_target_gave_is_truncated_however_whole_it_looks() -> None:
    body = event(content="one ") + STOP + DONE
    verdict = judge(LATE, [heard(body, stream=True)], seen("1"), ours=False)
    assert verdict.told == ("truncated passed off as success: 4 of 7 characters",)


def test_two_answers_joined_are_told_apart() -> None:
    body = event(content="one hello") + STOP + DONE
    verdict = judge(LATE, [heard(body, stream=True)], seen("1", "2"), ours=False)
    assert verdict.told == ("truncated passed off as success: a part of one answer, then another one",)


def test_a_clean_error_after_the_first_content_is_ok_and_a_whole_answer_passes() -> None:
    broken = heard(ONE + ERROR, stream=True, ending=Ending.CUT)
    whole = heard(event(content="hello") + STOP + DONE, stream=True)
    assert judge(LATE, [broken], seen("1"), ours=False).score == "ok"
    assert judge(LATE, [whole], seen("1", "2"), ours=False).score == "pass"


def test_our_own_broken_stream_must_not_end_as_if_it_were_whole() -> None:
    verdict = judge(LATE, [heard(ONE + ERROR, stream=True)], seen("1"), ours=True)
    assert verdict.told == ("the response ends as if it were whole",)


def test_an_error_event_where_nothing_had_been_sent_fails() -> None:
    scenario = replace(LATE, expect=Answered(), calls=(1, 1))
    [reason] = judge(scenario, [heard(ERROR, stream=True)], seen("1"), ours=False).told
    assert reason.startswith("an error inside a 200")


def test_a_shown_key_a_wrong_status_and_too_many_calls_fail() -> None:
    scenario = replace(PLAIN, expect=Refused(502), again_helps=False)
    body = json.dumps({"error": {"message": SECRET}}).encode()
    verdict = judge(scenario, [heard(body, status=401)], seen("1", "1", "2"), ours=False)
    assert verdict.told == ("the upstream's key is shown to the caller", "status 401, not 502")
    assert verdict.conduct == ("target 1 was called 2 times, not 1",)


def test_a_call_that_runs_on_and_an_attempt_after_the_client_left_fail() -> None:
    scenario = replace(PLAIN, expect=Left(Leave(after_s=0.5)), calls=(2, 0))
    calls = [UpstreamCall("x--1", 1.1), UpstreamCall("x--1", 1.9, 2.0, "whole")]
    verdict = judge(scenario, [heard(b"", ending=Ending.LEFT)], calls, ours=False)
    assert verdict.conduct == (
        "the call of target 1 ran on after nobody waited for it",
        "a further attempt after the client had left",
    )


@asynccontextmanager
async def serving(*parts: bytes) -> AsyncIterator[Endpoint]:
    """Answer every request with these bytes, then close."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


@pytest.mark.parametrize(
    ("response", "body", "ending"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi", Ending.WHOLE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", b"hi", Ending.CUT),
        (b"HTTP/1.1 200 OK\r\n\r\nhi", b"hi", Ending.WHOLE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"hi", Ending.WHOLE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", b"hi", Ending.CUT),
        (b"HTTP/1.1 200 OK\r\ntransfer-enc", b"", Ending.CUT),
        (b"", b"", Ending.CUT),
    ],
)
async def test_how_a_response_ended_is_told_exactly(response: bytes, body: bytes, ending: Ending) -> None:
    async with serving(response) as endpoint:
        got = await exchange(endpoint, {}, bound_s=5)
    assert (got.body, got.ending) == (body, ending)


async def test_a_client_leaves_as_soon_as_it_has_heard_enough() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nenough") as endpoint:
        got = await exchange(endpoint, {}, bound_s=5, leave=Leave(at=b"nou"))
    assert got.ending is Ending.LEFT
