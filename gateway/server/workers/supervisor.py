"""Starts the workers, replaces those that end, and ends them all."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from gateway.errors import UsageError
from gateway.server.ending import MARGIN_S
from gateway.server.workers.channel import Channel, ChannelClosed
from gateway.server.workers.together import READY_S, Member, Together
from gateway.wire.json import JsonObject

log = logging.getLogger(__name__)

START_S: Final = 60.0
"""Seconds until a worker listens; it is ended then, and another one started."""
AGAIN_S: Final = 1.0
MAX_AGAIN_S: Final = 30.0
"""Pause before a worker is started again that ended soon after its start: AGAIN_S, doubled each time, up to this."""
SOON_S: Final = 10.0
PING_S: Final = 5.0
SILENT_S: Final = 30.0
"""Seconds that a worker's event loop may take for an answer; it is asked every PING_S."""
LAST_WORDS_S: Final = 1.0
"""Seconds for what a worker told before its end."""

Spawn: TypeAlias = Callable[[int, socket.socket, Sequence[socket.socket]], Awaitable[asyncio.subprocess.Process]]
"""(worker's number, its end of the channel, its sockets) → its process."""


class Supervisor:
    """Keeps one worker running for each set of sockets."""

    def __init__(
        self,
        together: Together,
        listeners: Sequence[Sequence[socket.socket]],
        *,
        spawn: Spawn,
        hello: Callable[[], JsonObject],
        answer: Callable[[str, JsonObject], Awaitable[JsonObject]],
        end_s: float,
    ) -> None:
        """`listeners`: the sockets of each worker. `hello` returns what a worker starts with.

        `answer` is asked what workers ask. `end_s`: seconds that a worker may take to end in order.
        """
        self._together = together
        self._listeners = listeners
        self._spawn = spawn
        self._hello = hello
        self._answer = answer
        self._end_s = end_s
        self._slots: dict[int, Member] = {}
        """The worker of each number; those that leave are not among them."""
        self._failures = 0
        self._has_listened = False
        self._stopping = asyncio.Event()
        self._emptied = asyncio.Event()
        self._code = 0
        self._fault: UsageError | None = None
        self._rolling = asyncio.Lock()

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> int:
        """Run the workers until `stop`, and return the exit code. `on_ready` is called once all listen."""
        try:
            return await self._run(on_ready)
        finally:
            for member in self._together.members:  # a fault of ours leaves none behind
                _kill(member)

    async def _run(self, on_ready: Callable[[], Awaitable[None]]) -> int:
        async with asyncio.TaskGroup() as group:
            self._group = group
            started = [await self._start(number) for number in range(len(self._listeners))]
            starting = group.create_task(self._started(started, on_ready))
            await self._stopping.wait()
            starting.cancel()
            await self._end()
        if self._fault is not None:
            raise self._fault
        return self._code

    async def _started(self, members: Sequence[Member], on_ready: Callable[[], Awaitable[None]]) -> None:
        for member in members:
            await member.listens.wait()
        self._has_listened = True
        try:
            await on_ready()
        except UsageError as error:
            self._fault = error
            self.stop()

    async def settled(self) -> None:
        """Return once each worker is ready, or has logged why it cannot get so.

        In place of one that ends before, its successor has to be.
        """
        for number in range(len(self._listeners)):
            while True:
                if await self._is_ready(self._slots[number]):
                    break
                await asyncio.sleep(AGAIN_S)

    def stop(self) -> None:
        """End all workers in order; called again, at once."""
        again = self._stopping.is_set()
        self._stopping.set()
        for member in self._together.members:
            self._stop(member, again=again)

    def _stop(self, member: Member, *, again: bool = False) -> None:
        member.leaving = True
        # Not a signal: those of a whole group or cgroup reach a worker too, and it would take ours for the second.
        member.channel.tell("stop", again=again)
        if not member.listens.is_set():
            with suppress(ProcessLookupError):
                member.process.send_signal(signal.SIGTERM)

    async def restart(self) -> None:
        """Replace each worker by a new process, one after the other, without losing a request."""
        async with self._rolling:
            for number in range(len(self._listeners)):
                if self._stopping.is_set():
                    return
                before = self._slots.get(number)
                try:
                    member = await self._start(number)
                except OSError:
                    log.exception("a new worker cannot be started: the old one stays", extra={"worker": number})
                    return
                if not await self._is_ready(member):
                    log.error("a new worker does not get ready: the old one stays", extra={"worker": number})
                    member.leaving = True
                    _kill(member)
                    if before is not None:
                        self._slots[number] = before
                    return
                if before is not None:
                    before.leaving = True
                    before.channel.tell("leave")
            log.info("all workers were replaced")

    async def _is_ready(self, member: Member) -> bool:
        """Wait until a worker is ready; return False if it ended, or takes too long."""
        waits = [asyncio.ensure_future(member.settled.wait()), asyncio.ensure_future(member.process.wait())]  # noqa: TID251 - both are awaited here
        try:
            await asyncio.wait(waits, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return member.settled.is_set()

    async def _start(self, number: int) -> Member:
        """Start a worker. It gets what is one for all at once; from then on it hears of each change."""
        ours, theirs = socket.socketpair()
        try:
            process = await self._spawn(number, theirs, self._listeners[number])
        finally:
            theirs.close()
        channel = Channel(
            answer=self._answer,
            hear=lambda op, fields: self._together.hear(member, op, fields),
        )
        member = Member(number, process, channel, time.monotonic())
        channel.tell("hello", **self._hello())
        self._together.members.append(member)
        self._slots[number] = member
        reading = self._group.create_task(channel.run(ours))
        self._group.create_task(self._watch(member, reading))
        log.info("a worker starts", extra={"worker": number, "pid": process.pid})
        if self._stopping.is_set():
            self._stop(member)
        return member

    async def _watch(self, member: Member, reading: asyncio.Task[None]) -> None:
        """Wait for the end of a worker, and replace it if nobody wanted that."""
        guards = [self._group.create_task(guard) for guard in (self._end_slow_start(member), self._watch_over(member))]
        code = await member.process.wait()
        self._together.leaves()
        for guard in guards:
            guard.cancel()
        await asyncio.wait([reading], timeout=LAST_WORDS_S)
        member.channel.close()
        self._together.ended(member)
        extra = {"worker": member.number, "pid": member.process.pid, "code": code}
        if member.leaving:
            if self._stopping.is_set() and code != -signal.SIGTERM:  # a second one comes when all is done
                self._code = max(self._code, code if code >= 0 else 1)
            log.info("a worker has ended", extra=extra)
        elif not self._has_listened:
            log.error("a worker ended at its start", extra=extra)
            self._code = code if code > 0 else 1
            self.stop()
        else:
            log.error("a worker ended: it is replaced", extra=extra)
            self._together.count_restart()
            await self._replace(member)
        if not self._together.members:
            self._emptied.set()

    async def _watch_over(self, member: Member) -> None:
        """End a worker whose event loop answers no more: it is replaced."""
        await member.listens.wait()
        while member.process.returncode is None:
            with suppress(ChannelClosed):
                await member.channel.ask("ping", within_s=SILENT_S)
                await asyncio.sleep(PING_S)
                continue
            if member.process.returncode is None and not member.channel.closed:
                log.error("a worker does not answer: it is killed", extra={"worker": member.number})
                _kill(member)
            return

    async def _replace(self, member: Member) -> None:
        """Start a worker in place of one that ended; at once, but after a pause if that was soon after its start."""
        self._failures = self._failures + 1 if time.monotonic() - member.started_s < SOON_S else 0
        while not self._stopping.is_set() and self._slots.get(member.number) is member:
            if self._failures:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(MAX_AGAIN_S, AGAIN_S * 2.0 ** min(self._failures - 1, 10))):
                        await self._stopping.wait()
                        return
            try:
                await self._start(member.number)
            except OSError:
                log.exception("a worker cannot be started", extra={"worker": member.number})
                self._failures += 1

    async def _end_slow_start(self, member: Member) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await member.listens.wait()
        if not member.listens.is_set():
            log.error("a worker does not get to listen: it is ended", extra={"worker": member.number})
            _kill(member)

    async def _end(self) -> None:
        """Wait until all workers have ended; kill those that do not."""
        if not self._together.members:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._end_s + 2 * MARGIN_S):
                await self._emptied.wait()
        for member in tuple(self._together.members):
            log.error("a worker does not end: it is killed", extra={"worker": member.number})
            _kill(member)
        if self._together.members:
            await self._emptied.wait()


def _kill(member: Member) -> None:
    with suppress(ProcessLookupError):
        member.process.kill()
