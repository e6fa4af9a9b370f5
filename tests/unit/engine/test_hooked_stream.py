"""Post hooks on the events of a stream: what they get, and what is left of an event that one of them fails on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.adapters.events import Event
from gateway.engine.hooked_stream import EVENTS_AT_ONCE, HookedStream
from gateway.engine.hooks import hook_of, running_hooks
from gateway.errors import HookFailed
from gateway.operations import CHAT
from gateway.policy.table import Hook
from gateway.wire.json import EMPTY, JsonObject

GREAT = 2**70 + 1


class Source:
    """A stream whose reads are given."""

    headers = EMPTY

    def __init__(self, *reads: list[Event]) -> None:
        self._reads = list(reads)

    async def read(self) -> list[Event]:
        return self._reads.pop(0) if self._reads else []

    async def aclose(self) -> None:
        pass


def written(text: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + orjson.dumps({"choices": [choice], **more}) + b"\n\n"


def run_of(*events: bytes) -> Event:
    return Event(None, b"".join(events), is_run=True)


def text_of(data: JsonObject) -> str:
    text = data["choices"][0]["delta"]["content"]
    assert isinstance(text, str)
    return text


async def hooked(hooks: Hook | tuple[Hook, ...], *events: Event, limit_s: float = 5.0) -> list[Event]:
    stream = HookedStream(Source([*events]), hooks if isinstance(hooks, tuple) else (hooks,), CHAT, limit_s=limit_s)
    return await stream.read()


def shout(chunk: JsonObject) -> JsonObject:
    delta = chunk["choices"][0]["delta"]
    delta["content"] = delta["content"].upper()
    return chunk


async def shout_at_once(chunk: JsonObject) -> JsonObject:
    return shout(chunk)


async def shout_later(chunk: JsonObject) -> JsonObject:
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return shout(chunk)


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, chunk: JsonObject) -> None:
        self._chunk = chunk

    def __await__(self) -> Generator[Any, None, JsonObject]:
        return shout_later(self._chunk).__await__()


@pytest.mark.parametrize("call", [shout, shout_at_once, shout_later, Later])
async def test_each_event_of_a_run_passes_the_hook_in_order(call: Callable[[JsonObject], Any]) -> None:
    passed = await hooked(
        hook_of(call),
        run_of(written("one"), written('"two"\n')),
        Event(orjson.loads(b'{"choices": [{"delta": {"content": "three"}}]}')),
    )
    assert [text_of(event.data) for event in passed if event.data is not None] == ["ONE", '"TWO"\n', "THREE"]
    assert [event.raw for event in passed] == [None] * 3
    assert running_hooks() == []


async def test_an_event_keeps_its_name_and_its_great_integers() -> None:
    great = b'data: {"choices": [{"delta": {"content": "x"}}], "n": %d}\n\n' % GREAT
    passed = await hooked(
        hook_of(shout), run_of(b"event: word\n" + great, b"event: word\n" + great.replace(b"x", b"y"))
    )
    assert [event.name for event in passed] == [b"word"] * 2
    assert [event.data["n"] for event in passed if event.data is not None] == [GREAT] * 2


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("behind", [b"", b"id: 7"])
def test_a_run_is_parsed_with_any_line_ends(end: bytes, count: int, behind: bytes) -> None:
    words = ["one", "two", "three"][:count]
    lines = [
        b"data: " + written(word).strip().removeprefix(b"data: ") + end + (behind + end if behind else b"") + end
        for word in words
    ]
    events = run_of(b"".join(lines)).singly()
    assert [event.raw for event in events] == lines
    assert [event.data for event in events] == [orjson.loads(written(word)[6:]) for word in words]


async def test_the_name_of_an_event_may_look_like_a_field() -> None:
    (event,) = run_of(b"event: data: x\n" + written("one")).singly()
    assert (event.name, event.raw, event.data and text_of(event.data)) == (
        b"data: x", b"event: data: x\n" + written("one"), "one",
    )  # fmt: skip


async def test_a_run_passes_as_it_came_where_no_hook_asks_for_its_events() -> None:
    run = run_of(written("one"), written("two"))
    assert await hooked(replace(hook_of(shout), events="final"), run) == [run]


async def test_an_event_of_a_run_without_text_is_no_text() -> None:
    passed = await hooked(replace(hook_of(shout), events="text"), run_of(written("one"), written(""), written("two")))
    assert [event.raw for event in passed] == [None, written(""), None]


async def test_the_data_of_an_event_without_bytes_is_not_changed() -> None:
    data = {"choices": [{"delta": {"content": "one"}}]}
    (passed,) = await hooked(hook_of(shout), Event(data))
    assert (passed.data and text_of(passed.data), text_of(data)) == ("ONE", "one")


def spoil(chunk: JsonObject) -> JsonObject:
    shout(chunk)
    raise ValueError("no good")


async def spoil_later(chunk: JsonObject) -> JsonObject:
    shout(chunk)
    await asyncio.sleep(60)
    return chunk


@pytest.mark.parametrize("call", [spoil, spoil_later])
async def test_a_hook_that_is_skipped_leaves_the_event_as_the_hooks_before_it_did(
    call: Callable[[JsonObject], Any],
) -> None:
    skipped = replace(hook_of(call), on_error="skip", timeout_s=0.01)
    for event in (run_of(written("one")), Event(orjson.loads(written("one")[6:])), run_of(written("one")).singly()[0]):
        (alone,) = await hooked(skipped, event)
        assert alone.data is not None
        assert text_of(alone.data) == "one"
        (second,) = await hooked((hook_of(shout), skipped), event)
        assert second.data is not None
        assert text_of(second.data) == "ONE"


async def test_a_hook_that_waits_too_long_fails_by_its_own_limit_and_by_the_stream_s() -> None:
    hook = replace(hook_of(spoil_later), timeout_s=0.01)
    with pytest.raises(HookFailed, match="it took too long"):
        await hooked(hook, run_of(written("one")))
    with pytest.raises(HookFailed, match="it took too long"):
        await hooked(hook_of(spoil_later), run_of(written("one")), limit_s=0.01)
    assert running_hooks() == []


async def keep_on(chunk: JsonObject) -> JsonObject:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
    return shout(chunk)


async def test_a_hook_may_finish_when_its_time_is_up_but_cannot_hold_up_a_cancellation() -> None:
    (passed,) = await hooked(replace(hook_of(keep_on), timeout_s=0.01), run_of(written("one")))
    assert passed.data is not None
    assert text_of(passed.data) == "ONE"
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(hooked(hook_of(keep_on), run_of(written("one"))))
        await asyncio.sleep(0)
        assert running_hooks() == [f"{__name__}.keep_on"]
        task.cancel()
    assert task.cancelled()
    assert running_hooks() == []


async def test_other_tasks_run_between_the_runs_of_a_long_read() -> None:
    seen: list[str] = []

    def note(chunk: JsonObject) -> JsonObject:
        seen.append("event")
        return chunk

    async def other() -> None:
        seen.append("other")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other())
        await hooked(hook_of(note), run_of(*[written("one")] * EVENTS_AT_ONCE), run_of(written("two")))
    assert seen == ["event"] * EVENTS_AT_ONCE + ["other", "event"]


@pytest.mark.parametrize("named", [b"", b"event: chunk\n"], ids=["plain", "named"])
async def test_a_run_may_have_lines_that_end_with_carriage_returns(named: bytes) -> None:
    """Google's servers end lines so, and so do some that speak OpenAI's wire."""
    events = [(named + written(text)).replace(b"\n", b"\r\n") for text in ("a", "b\n", "c")]
    passed = await hooked(hook_of(shout, events="text"), run_of(*events))
    assert [text_of(event.data) for event in passed if event.data is not None] == ["A", "B\n", "C"]
    single = run_of(*events).singly()
    assert [event.raw for event in single] == events
    assert {event.name for event in single} == {b"chunk" if named else None}
