"""Streams that are kept on their way, and their replay."""

from __future__ import annotations

from gateway.adapters.events import Event
from gateway.engine.cache.streams import KeptStream, ReplayedStream
from gateway.operations import OPERATIONS

CHAT = OPERATIONS["chat"]
END = Event(None, b"data: [DONE]\n\n", is_end=True)


class Source:
    """A stream of these events."""

    def __init__(self, *reads: list[Event]) -> None:
        self.headers = {"x-ratelimit-a": "1"}
        self.is_closed = False
        self._reads = [*reads, []]

    async def read(self) -> list[Event]:
        return self._reads.pop(0)

    async def aclose(self) -> None:
        self.is_closed = True


def event(number: int) -> Event:
    return Event({"n": number}, b'data: {"n":%d}\n\n' % number)


async def kept(source: Source, *, max_bytes: int) -> tuple[list[bytes], int]:
    """Return what is kept of a stream, and the events that are passed on."""
    found: list[bytes] = []
    stream = KeptStream(source, {}, max_bytes=max_bytes, on_whole=found.append)
    count = 0
    while events := await stream.read():
        count += len(events)
    await stream.aclose()
    assert source.is_closed
    return found, count


async def test_events_are_kept_without_comments_and_the_end() -> None:
    run = Event(None, b'data: {"n":2}\n\ndata: {"n":3}\n\n', is_run=True)
    reads = [event(1), Event(None, b": comment\n\n")], [run], [Event({"n": 4}), END]
    found, count = await kept(Source(*reads), max_bytes=1000)
    assert found == [b"".join(b'data: {"n":%d}\n\n' % number for number in (1, 2, 3, 4))]
    assert count == 5


async def test_a_stream_that_is_too_long_passes_and_is_not_kept() -> None:
    size = len(event(1).raw or b"")
    reads = [event(1)], [event(2)], [event(3), END]
    assert await kept(Source(*reads), max_bytes=3 * size - 1) == ([], 4)
    assert [len(content) for content in (await kept(Source(*reads), max_bytes=3 * size))[0]] == [3 * size]
    assert await kept(Source(*reads), max_bytes=0) == ([], 4)


async def test_a_stream_that_is_not_read_to_its_end_is_not_kept() -> None:
    found: list[bytes] = []
    stream = KeptStream(Source([event(1)], [END]), {}, max_bytes=1000, on_whole=found.append)
    await stream.read()
    await stream.read()
    await stream.aclose()
    assert found == []


async def test_it_is_replayed_in_one_piece_with_the_wire_s_end() -> None:
    content = b'data: {"n":1}\n\ndata: {"n":2}\n\n'
    replayed = ReplayedStream(content, CHAT, {}, parsed=False)
    assert await replayed.read() == [Event(None, content + b"data: [DONE]\n\n", is_end=True)]
    assert await replayed.read() == []
    messages = ReplayedStream(content, OPERATIONS["messages"], {}, parsed=False)
    assert await messages.read() == [Event(None, content, is_end=True)]


async def test_for_hooks_it_is_replayed_event_by_event() -> None:
    content = b'event: a\ndata: {"n":1}\n\ndata: {"n":12345678901234567890123}\r\n\r\n'
    events = await ReplayedStream(content, CHAT, {}, parsed=True).read()
    assert [(each.data, each.name) for each in events] == [
        ({"n": 1}, b"a"),
        ({"n": 12345678901234567890123}, None),
        (None, None),
    ]
    assert b"".join(each.raw or b"" for each in events) == content + b"data: [DONE]\n\n"
    assert [each.data for each in await ReplayedStream(content, OPERATIONS["messages"], {}, parsed=True).read()] == [
        {"n": 1},
        {"n": 12345678901234567890123},
    ]
