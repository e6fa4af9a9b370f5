"""What operators are shown by one of several workers: what all of them tell, which it asks of the supervisor."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.server.live.part import Part, joined
from gateway.server.live.recent import MAX_WAITING
from gateway.server.live.view import OwnView, Requests, Whole
from gateway.server.workers.channel import ChannelClosed
from gateway.server.workers.member import ASK_S, Member
from gateway.wire.json import Json, JsonObject

WAIT_S: Final = 2.0
"""Seconds that one question for the next request waits in the supervisor: of clients that leave, no more stay there."""
PAUSE_S: Final = 0.1
"""Seconds between two such questions."""


class JoinedView:
    """The view of all workers; of this one alone if the supervisor does not answer. For the event loop only."""

    def __init__(self, member: Member, own: OwnView) -> None:
        self._member = member
        self._own = own
        self._waiting = 0
        """Clients that wait for the next request."""
        self._alarm: asyncio.Future[None] | None = None
        """Done once there is a request that the supervisor wants to hear of."""
        member.answers("look", self._look)
        member.answers("part", self._part)
        member.hears("watch", self._watch)

    async def version(self) -> Json:
        try:
            return await self._member.channel.ask("look", within_s=ASK_S)
        except ChannelClosed:
            return await self._own.version()

    async def whole(self) -> Whole:
        try:
            told = await self._member.channel.ask("parts", within_s=ASK_S)
            parts = [Part.heard(fields) for fields in told["parts"]]
        except (ChannelClosed, KeyError):
            parts = []
        if not parts:
            return await self._own.whole()
        hello = self._member.place.hello
        workers: list[JsonObject] = [
            {"worker": part.worker, "requests": part.requests, "in_flight": part.in_flight, "answers": True}
            for part in parts
        ]
        workers += [
            {"worker": number, "requests": None, "in_flight": None, "answers": False} for number in told["silent"]
        ]
        workers.sort(key=lambda one: (one["worker"], not one["answers"]))
        return Whole(hello["process"], hello["started_at"], told["last"], joined(parts), workers)

    async def requests(self, after: int | None, *, within_s: float = 0.0) -> Requests:
        may_wait = after is not None and within_s > 0 and self._waiting < MAX_WAITING
        ends_s = asyncio.get_running_loop().time() + (within_s if may_wait else 0.0)
        self._waiting += may_wait
        try:
            while True:
                left_s = ends_s - asyncio.get_running_loop().time()
                told = await self._member.channel.ask(
                    "requests", within_s=ASK_S + WAIT_S, after=after, wait_s=max(0.0, min(WAIT_S, left_s))
                )
                if told["requests"] or left_s <= PAUSE_S:
                    return Requests(self._member.place.hello["process"], told["last"], told["requests"])
                await asyncio.sleep(PAUSE_S)
        except (ChannelClosed, KeyError):
            return await self._own.requests(None)
        finally:
            self._waiting -= may_wait

    async def _look(self, fields: JsonObject) -> JsonObject:
        return {"version": await self._own.version(), **self.last_requests(fields["after"])}

    def last_requests(self, after: int) -> JsonObject:
        """Return this worker's own requests after its own number."""
        self._own.watching.look()
        return {"last": self._own.watching.recent.last, "requests": self._own.rows(after)}

    async def _part(self, _: JsonObject) -> JsonObject:
        return {"part": (await self._own.part()).told()}

    def _watch(self, fields: JsonObject) -> None:
        """Tell the supervisor once there is a request after the last one that it has heard of."""
        self._own.watching.look()
        recent = self._own.watching.recent
        if recent.last != fields["after"]:
            self._member.channel.tell("news")
        elif self._alarm is None or self._alarm.done():
            self._alarm = recent.alarm()
            self._alarm.add_done_callback(lambda _: self._member.channel.tell("news"))
