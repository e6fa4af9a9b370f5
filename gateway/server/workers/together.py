"""What is one for all workers, in the supervisor: questions to all, and what they tell each other."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.engine.health import MAX_TARGETS
from gateway.engine.makers import Maker, Makers
from gateway.server.workers.channel import Channel, ChannelClosed
from gateway.server.workers.requests import JoinedRequests
from gateway.server.workers.sums import AT_REST, Families, added, collected, counted, joined_targets, row_key
from gateway.telemetry.metrics import Metrics
from gateway.wire.json import Json, JsonObject

log = logging.getLogger(__name__)

PREPARE_S: Final = 30.0
"""Seconds for a worker to compile a text."""
READY_S: Final = 150.0
"""Seconds for it to load what the table needs."""
SWAP_S: Final = 5.0
MAKER_PAUSES_S: Final = (0.0, 0.005, 0.05)
GATHER_S: Final = 2.0
"""Seconds for a worker's part of what the operators' paths tell; without it the others' are told."""


@dataclass(eq=False)
class Member:
    """One worker."""

    number: int
    process: asyncio.subprocess.Process
    channel: Channel
    started_s: float
    listens: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """It is ready, or cannot load something that its table needs, which it has logged."""
    leaving: bool = False
    """Its end is wanted."""


class Together:
    """What is one for all workers, without the processes: questions to all, and what they tell each other."""

    def __init__(self, metrics: Metrics) -> None:
        self.members: list[Member] = []
        self._makers = Makers()
        self._rests: dict[str, JsonObject] = {}
        """Identity of a target at rest, as text → what was told of it last."""
        self._metrics = metrics
        self._restarts = metrics.count_workers(lambda: len(self.members))
        self._ended: Families = {}
        """Sums of what ended workers counted, as far as they told."""
        self._last: dict[Member, Families] = {}
        self._last_targets: dict[Member, list[JsonObject]] = {}
        self._ended_targets: list[JsonObject] = []
        """The same of `/-/targets`."""
        self._requests = JoinedRequests()
        self._looks = 0
        """How often all workers were asked for their last requests."""
        self._looking = asyncio.Lock()
        self._looked: JsonObject = {}
        """What they told last."""
        self.names: JsonObject = {"process": secrets.token_hex(4), "started_at": time.time()}
        """What the state calls all of them."""
        self.all_ready = False
        """All workers of the start were ready, or have logged why they cannot get so."""

    async def ask_all(self, op: str, *, within_s: float, **fields: Json) -> dict[Member, JsonObject]:
        """Return the answers of those workers that give one."""
        return await self._ask_each(op, lambda member: fields, within_s=within_s)

    async def _ask_each(
        self, op: str, fields: Callable[[Member], JsonObject], *, within_s: float
    ) -> dict[Member, JsonObject]:
        """Return the answers of those workers that give one, each asked with its own fields."""
        members = [member for member in self.members if not member.channel.closed]
        asked = [member.channel.ask(op, within_s=within_s, **fields(member)) for member in members]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found: dict[Member, JsonObject] = {}
        for member, answer in zip(members, answers, strict=True):
            if isinstance(answer, ChannelClosed):
                if not member.channel.closed:
                    log.warning("a worker does not answer", extra={"worker": member.number, "op": op})
            elif isinstance(answer, BaseException):
                raise answer
            elif "failed" not in answer:
                found[member] = answer
        return found

    def tell_all(self, op: str, *, but: Member | None = None, **fields: Json) -> None:
        """Tell all workers, or all others."""
        for member in self.members:
            if member is not but:
                member.channel.tell(op, **fields)

    def start_is_complete(self) -> None:
        """Tell the workers that all of them are ready: they may say so."""
        self.all_ready = True
        self.tell_all("all_ready")

    @property
    def rests(self) -> list[JsonObject]:
        """What was told of targets at rest, for a worker that starts."""
        return list(self._rests.values())

    def count_restart(self) -> None:
        """Count a worker that was replaced, as it ended."""
        self._restarts.inc()

    async def maker(self, key: str) -> Maker | None:
        """Return who made an id. What a worker tells may arrive a little after the client has got the id."""
        for pause_s in MAKER_PAUSES_S:
            await asyncio.sleep(pause_s)
            if (maker := self._makers.get(key)) is not None:
                return maker
        return None

    async def metrics(self) -> Families:
        """Return the metrics of all workers, ended ones too, in one."""
        answers = await self.ask_all("metrics", within_s=GATHER_S)
        for member, answer in answers.items():
            self._last[member] = answer["families"]
        live = [self._last[member] for member in self.members if member in self._last]
        return added([collected(self._metrics), self._ended, *live])

    async def targets(self) -> list[list[JsonObject]]:
        """Return the rows of `/-/targets` of each worker, and those of the ended ones."""
        answers = await self.ask_all("targets", within_s=GATHER_S)
        for member, answer in answers.items():
            self._last_targets[member] = answer["targets"]
        live = [self._last_targets[member] for member in self.members if member in self._last_targets]
        return [*live, self._ended_targets]

    async def look(self) -> JsonObject:
        """Hear of the last requests of all workers, and return what their parts of the state depend on."""
        before = self._looks
        async with self._looking:
            if self._looks == before:  # else all were asked after this call, and have answered
                self._looks += 1
                answers = await self._ask_each(
                    "look", lambda member: {"after": self._requests.known(member)}, within_s=GATHER_S
                )
                self._requests.take(
                    [(one, one.number, told["last"], told["requests"]) for one, told in answers.items()]
                )
                versions = sorted([[one.number, told["version"]] for one, told in answers.items()])
                self._looked = {"last": self._requests.last, "versions": versions, "members": len(self.members)}
            return self._looked

    async def parts(self) -> JsonObject:
        """Return each worker's part of the state, and who tells none."""
        members = tuple(self.members)
        answers = await self.ask_all("part", within_s=GATHER_S)
        silent: list[Json] = [one.number for one in members if one not in answers]
        return {
            "last": self._requests.last,
            "parts": [answer["part"] for answer in answers.values()],
            "silent": silent,
        }

    async def requests(self, after: int | None, *, wait_s: float) -> JsonObject:
        """Return the requests after a number, of all workers; wait for one this long if there is none."""
        await self.look()
        if wait_s and after == self._requests.last:
            for member in self.members:
                member.channel.tell("watch", after=self._requests.known(member))
            await self._requests.wait(wait_s)
            await self.look()
        return {"last": self._requests.last, "requests": self._requests.after(after)}

    def leaves(self) -> None:
        """Let nobody wait for the next request any more: a worker has ended, and what it asked is over."""
        self._requests.wake()

    def ended(self, member: Member) -> None:
        """Keep what a worker had counted, as it told last."""
        self.members.remove(member)
        self._requests.forget(member)
        left = [{**row, **AT_REST} for row in self._last_targets.pop(member, [])]
        known = {row_key(row) for row in left}
        gone = [row for row in self._ended_targets if row_key(row) not in known]
        self._ended_targets = [*joined_targets([left, self._ended_targets]), *gone][:MAX_TARGETS]
        self._ended = added([self._ended, counted(self._last.pop(member, {}))])

    def hear(self, member: Member, op: str, fields: JsonObject) -> None:
        """Take what a worker tells."""
        match op:
            case "listens":
                member.listens.set()
            case "settled":
                member.settled.set()
            case "counted":
                self._last[member] = fields["families"]
                self._last_targets[member] = fields["targets"]
                last = fields["requests"]
                self._requests.take([(member, member.number, last["last"], last["requests"])])
            case "news":
                self._requests.wake()
            case "made":
                for key in fields["keys"]:
                    self._makers.put(key, Maker(*fields["maker"]))
            case "unmade":
                self._makers.drop(fields["key"])
                self.tell_all(op, but=member, **fields)
            case "rest":
                identity = "\n".join(fields["identity"])
                self._rests.pop(identity, None)
                if fields["rest"] is not None:
                    self._rests[identity] = fields
                while len(self._rests) > MAX_TARGETS:
                    del self._rests[next(iter(self._rests))]
                self.tell_all(op, but=member, **fields)
            case "reset":
                self.tell_all(op, but=member, **fields)
            case _:
                log.error("a worker tells what is not known", extra={"op": op})
