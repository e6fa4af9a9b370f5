"""The store of one process: what it gives back, for how long, and that its bytes stay within the bound."""

from __future__ import annotations

import sys
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.cache.memory import ENTRY_BYTES, MemoryAnswers
from gateway.engine.cache.store import MAX_ENTRY_BYTES, Entry, Kept
from tests.limiting import Clock

KIB = 1024


async def test_it_gives_back_what_was_put_last_with_its_age() -> None:
    clock = Clock()
    store = MemoryAnswers(64 * KIB, clock=clock.monotonic)
    store.put(b"a", Entry(0, b"one"), keep_s=60)
    clock.now_s += 10
    store.put(b"a", Entry(1, b"two"), keep_s=60)
    clock.now_s += 5.5
    assert await store.get(b"a", fresh_s=0) == Kept(Entry(1, b"two"), 5.5)
    assert await store.get(b"b", fresh_s=0) is None
    assert (len(store), store.bytes) == (1, ENTRY_BYTES + 3)


async def test_it_keeps_an_answer_until_its_time_is_over() -> None:
    clock = Clock()
    store = MemoryAnswers(64 * KIB, clock=clock.monotonic)
    store.put(b"a", Entry(0, b"one"), keep_s=60)
    clock.now_s += 59.9
    assert await store.get(b"a", fresh_s=0) is not None
    clock.now_s += 0.1
    assert await store.get(b"a", fresh_s=0) is None
    assert (len(store), store.bytes) == (0, 0)


async def test_what_was_not_asked_for_longest_goes_first() -> None:
    store = MemoryAnswers(8 * (ENTRY_BYTES + 100))
    for number in range(8):
        store.put(b"%d" % number, Entry(0, bytes(100)), keep_s=60)
    assert await store.get(b"0", fresh_s=0) is not None
    store.put(b"8", Entry(0, bytes(100)), keep_s=60)
    assert await store.get(b"1", fresh_s=0) is None
    assert await store.get(b"0", fresh_s=0) is not None
    assert len(store) == 8


async def test_an_entry_takes_an_eighth_at_most_and_never_more_than_a_mebibyte() -> None:
    store = MemoryAnswers(8 * KIB)
    assert store.max_entry_bytes == KIB - ENTRY_BYTES
    store.put(b"a", Entry(0, bytes(store.max_entry_bytes)), keep_s=60)
    store.put(b"b", Entry(0, bytes(store.max_entry_bytes + 1)), keep_s=60)
    assert (await store.get(b"a", fresh_s=0) is not None, await store.get(b"b", fresh_s=0)) == (True, None)
    assert MemoryAnswers(KIB * MAX_ENTRY_BYTES).max_entry_bytes == MAX_ENTRY_BYTES
    assert MemoryAnswers(0).max_entry_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 600)), max_size=60))
async def test_its_bytes_are_those_of_its_entries_and_within_the_bound(puts: list[tuple[int, int]]) -> None:
    store = MemoryAnswers(8 * KIB)
    for key, size in puts:
        store.put(b"%d" % key, Entry(0, bytes(size)), keep_s=60)
        found = [kept for each in range(10) if (kept := await store.get(b"%d" % each, fresh_s=0)) is not None]
        assert store.bytes == sum(ENTRY_BYTES + len(kept.entry.content) for kept in found) <= 8 * KIB
        assert len(store) == len(found)


def test_an_entry_takes_no_more_memory_than_is_counted() -> None:
    count = 10_000
    contents = [bytes(200) for _ in range(count)]
    keys = [number.to_bytes(32, "big") for number in range(count)]
    own = sys.getsizeof(keys[0]) + sys.getsizeof(contents[0]) - 200  # these were made before
    store = MemoryAnswers(64 * KIB * KIB)
    tracemalloc.start()
    for key, content in zip(keys, contents, strict=True):
        store.put(key, Entry(0, content), keep_s=60)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken / count + own <= ENTRY_BYTES
