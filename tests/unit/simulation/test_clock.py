"""The virtual event loop: its clock advances only when all tasks wait, and no wait takes real time."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gateway.simulation.clock import Stuck, run


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Each test ends within a second, however long it waits on the virtual clock."""
    started_s = time.perf_counter()
    yield
    assert time.perf_counter() - started_s < 1


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_clock_starts_at_zero_and_a_sleep_takes_no_time() -> None:
    async def main() -> tuple[float, float]:
        before = now()
        await asyncio.sleep(86400 * 30)
        return before, now()

    assert run(main()) == (0.0, 86400 * 30.0)


def test_sleepers_wake_in_the_order_of_their_timers() -> None:
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, now()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name, seconds in (("slow", 60), ("quick", 0.25), ("middling", 30.5)):
                group.create_task(sleep(name, seconds))

    run(main())
    assert woken == [("quick", 0.25), ("middling", 30.5), ("slow", 60.0)]


def test_a_timeout_ends_what_never_comes() -> None:
    async def main() -> float:
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().create_future()
        return now()

    assert run(main()) == 5.0


def test_the_clock_moves_on_however_short_the_sleep() -> None:
    """A delay too small to change a float clock would be waited for in an endless loop."""

    async def main() -> float:
        until = 30.1 + 0.25 + 1e-15
        while now() < until:  # noqa: ASYNC110 - as the engine waits for a retry
            await asyncio.sleep(until - now())
        return now()

    assert run(main()) == pytest.approx(30.35, abs=1e-6)


def test_time_stands_still_while_a_thread_is_at_work() -> None:
    async def main() -> float:
        async with asyncio.timeout(0.01):
            await asyncio.to_thread(time.sleep, 0.05)
        return now()

    assert run(main()) == 0.0


def test_a_thread_that_outlives_its_request_is_waited_for_at_the_end() -> None:
    release = threading.Event()

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, release.wait)
        threading.Timer(0.05, release.set).start()

    run(main())
    assert release.is_set()


def test_what_arrives_on_a_socket_is_seen_before_the_clock_jumps() -> None:
    async def main() -> tuple[bytes, float]:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        with there:
            threading.Timer(0.05, there.sendall, (b"hello",)).start()
            async with asyncio.timeout(60):
                told = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        return told, now()

    assert run(main()) == (b"hello", 0.0)


def test_a_silent_socket_does_not_hold_the_clock_for_long() -> None:
    async def main() -> float:
        here, there = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=here)
        with there:
            await asyncio.sleep(60)
        writer.close()
        await writer.wait_closed()
        return now()

    assert run(main(), patience_s=0.01) == 60.0


def test_what_can_never_end_is_told() -> None:
    cleaned_up: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append("yes")

    with pytest.raises(Stuck, match="never comes"):
        run(main(), patience_s=0.01)
    assert cleaned_up == ["yes"]


def test_a_thread_of_ones_own_may_end_the_silence() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        threading.Timer(0.05, loop.call_soon_threadsafe, (future.set_result, "woken")).start()
        return await future

    assert run(main()) == "woken"
