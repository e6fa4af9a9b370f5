"""Owners of buckets and their reservations, as the scripts are told of them and answer.

Numbers go to the scripts and come from them as doubles, which they read and write in far fewer steps than text.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable, Sequence
from operator import truediv
from typing import Any, Final, NamedTuple

from gateway.engine.limits import sliding
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.sliding import WINDOW_S
from gateway.engine.limits.store import Bucket, Costs, Full, Refused, Standing, longest
from gateway.policy.limits import Unit, Window
from gateway.state.link import Command, Refusal, Script, Unreachable

_WINDOWS: Final[dict[Window | None, float]] = {"minute": 60.0, "hour": 3600.0, None: 0.0, "day": -1.0, "month": -2.0}
"""As the scripts have them."""
MAX_TOGETHER: Final = 100
"""Reservations that one script makes or settles: Redis does nothing else meanwhile."""
_AS_TAKEN: Final = -1.0
"""The use of what stays as it was taken."""
LOOK_S: Final = 2.0
"""What is known of an owner in use may be so old before Redis is asked about it."""
LOOK_PART: Final = 0.05
"""Or this part of the time since this process has had a request of it, if that is longer."""


class Held:
    """A reservation of this process that is not settled."""

    __slots__ = ("costs", "id", "is_known", "is_let_in", "is_sum", "owner", "store")

    def __init__(self, reservation: str, owner: Owner, costs: Costs, store: MemoryStore | None) -> None:
        self.id = reservation
        """As the store knows it."""
        self.owner = owner
        self.costs = costs
        self.store = store
        """None: it is in Redis."""
        self.is_known = store is not None
        """The store has answered."""
        self.is_let_in = store is not None
        """It was not refused, so its lease is renewed."""
        self.is_sum = False
        """It is what many requests of an outage have used, and ends by itself."""


class End(NamedTuple):
    """The end of a reservation, to be sent."""

    id: str
    used: Costs
    may_be_first: bool
    """The reservation itself may arrive later: what waited in a lost connection."""


class Owner:
    """The buckets that an owner's reservations take from, and what is the same in all commands for them."""

    __slots__ = (
        "_amounts", "_amounts_told", "_doubles", "_fields", "_format", "_keys", "_limits", "_names", "_rates",
        "_record", "_refilled", "_takes", "_windows", "active_s", "asked_s", "buckets", "ends_in_s", "given_back",
        "has_leases", "look_s", "name", "together", "used",
    )  # fmt: skip

    def __init__(self, buckets: tuple[Bucket, ...], prefix: str) -> None:
        self.buckets = buckets
        self.name = buckets[0].key.partition(" ")[0]
        """Such as `client/ann`."""
        self.has_leases = any(limit.per is None for _, limit in buckets)
        start = f"{prefix}:{{{self.name}}}"
        self._keys = (start, f"{start}:leases")
        """Those that are not a reservation's."""
        self._record = f"{start}:r:"
        """Begins the key of a reservation."""
        self._format = f"<{'d' * len(buckets)}"
        """Of a double for each bucket."""
        self._windows = _packed([_WINDOWS[limit.per] for _, limit in buckets])
        self._limits = [limit for _, limit in buckets]
        self._amounts = [limit.amount for limit in self._limits]
        self._amounts_told = _packed(self._amounts)
        fields: list[str] = []
        for limit in self._limits:
            if limit.per is not None:
                fields += (limit.bucket, f"lows:{limit.bucket}") if limit.per in WINDOW_S else (limit.bucket,)
        self._fields = (*fields, "rest")
        """Of the hash."""
        self._names = [limit.bucket for limit in self._limits]
        self._doubles = struct.Struct(self._format)
        self._takes = [(limit.unit, limit.amount) for _, limit in buckets]
        self._refilled: dict[Unit, list[int]] = {}
        """By unit: which buckets are not those of requests at once."""
        for at, (_, limit) in enumerate(buckets):
            if limit.per is not None:
                self._refilled.setdefault(limit.unit, []).append(at)
        self._rates = [limit.amount / WINDOW_S[limit.per] if limit.per in WINDOW_S else 0.0 for _, limit in buckets]
        """What drains of each bucket in a second."""
        self.together: Together | None = None
        """Reservations that are not sent yet, and go in one command."""
        self.used: Sequence[float] = ()
        """What is used of each bucket, as Redis last told."""
        self.ends_in_s: Sequence[float] = ()
        """Seconds until the day or month of each ended then; 0 for other buckets."""
        self.asked_s = 0.0
        """When that was asked: no later than Redis saw it."""
        self.active_s = -math.inf
        """When a request of this process began or ended last: it was asked for, or Redis told of its end."""
        self.look_s = math.inf
        """When Redis is to be asked what is used; inf: nothing is, or an answer is to come."""
        self.given_back = [-math.inf] * len(buckets)
        """When a request of this process gave something back last, of which Redis hears within FLUSH_S."""

    def present(self, at: int, now_s: float) -> tuple[float, float | None]:
        """Return what is used of a bucket now, and the seconds until nothing is, if nobody else takes or gives back."""
        used, rate = self.used[at], self._rates[at]
        if rate:
            left = sliding.used(used, self.asked_s, rate, now_s)
            return left, left / rate
        if self._limits[at].per is None:
            return used, None
        left_s = max(0.0, self.ends_in_s[at] - (now_s - self.asked_s)) if used else 0.0
        return used if left_s else 0.0, left_s

    def note_given_back(self, costs: Costs, used: Costs) -> None:
        """Have buckets that get something back be asked for again, once Redis knows of it."""
        for unit, amount in used.items():
            if unit in self._refilled and amount < costs[unit]:
                now_s = time.monotonic()
                for at in self._refilled[unit]:
                    self.given_back[at] = now_s

    def note_ended(self, now_s: float) -> None:
        """Have Redis be asked what is used, once what it told last is old: it hears of ends now."""
        self.active_s = now_s
        self.look_s = max(now_s, self.asked_s + LOOK_S)

    def reserving(
        self, script: Script, held: Sequence[Held], how: str, now: str | float, freed: Sequence[str]
    ) -> Command:
        """Return the command of reservations; `how`: as the script has it. `freed`: leases that have ended."""
        costs: list[float] = []
        for one in held:
            given, is_sum = one.costs, one.is_sum
            costs += [given[unit] if is_sum or given[unit] <= amount else amount for unit, amount in self._takes]
        keys = *self._keys, *[self._record + one.id for one in held]
        args = now, how, self._format, self._windows, self._amounts_told, _packed(costs), *self._fields, *freed
        return script.command(keys, args)

    def ending(self, script: Script, ends: Sequence[End], now: str | float) -> Command:
        """Return the command that ends reservations."""
        told: list[float] = []
        for _, used, may_be_first in ends:
            told.append(may_be_first)
            told += [used.get(unit, _AS_TAKEN) for unit, _ in self._takes]
        keys = *self._keys, *[self._record + end.id for end in ends]
        return script.command(keys, (now, self._format, self._windows, _packed(told), *self._fields))

    def renewing(self, script: Script, reservations: Sequence[str], now: str | float) -> Command:
        """Return the command that renews leases."""
        return script.command(self._keys[1:], (now, *reservations))

    def looking(self, script: Script, now: str | float) -> Command:
        """Return the command that asks what is used of each bucket."""
        return script.command(self._keys, (now, self._format, self._windows, *self._names))

    def read_look(self, answer: bytes, asked_s: float) -> None:
        """Take what is used, as the script answered that was asked then; ask again unless nothing is.

        Raises struct.error or TypeError for anything else.
        """
        doubles = self._doubles
        if len(answer) != 2 * doubles.size:
            raise struct.error("it is of another length")
        self.ends_in_s, self.used = doubles.unpack_from(answer), doubles.unpack_from(answer, doubles.size)
        self.asked_s = asked_s
        if self.active_s <= asked_s:  # else it is to be asked again because of what came since
            self.look_s = asked_s + max(LOOK_S, (asked_s - self.active_s) * LOOK_PART) if any(self.used) else math.inf

    def read(self, answer: bytes, many: int, asked_s: float) -> list[Standing | Refused]:
        """Return what the script answered about so many reservations that was asked then.

        Raises struct.error, TypeError, IndexError or ValueError for anything else.
        """
        doubles, size = self._doubles, self._doubles.size
        self.ends_in_s, self.asked_s = doubles.unpack_from(answer), asked_s
        at, found, used = size, list[Standing | Refused](), self.used
        for _ in range(many):
            is_taken, used = answer[at], doubles.unpack_from(answer, at + 1)
            at += 1 + size
            if is_taken:
                shares = list(map(truediv, used, self._amounts))
                found.append(self._standing(used, shares.index(max(shares))))
            else:
                found.append(self._refused(used, doubles.unpack_from(answer, at)))
                at += size
        if at != len(answer):
            raise struct.error("it is of another length")
        self.used = used
        self.active_s, self.look_s = asked_s, asked_s + LOOK_S
        return found

    def _standing(self, used: Sequence[float], at: int) -> Standing:
        """Return how one of the buckets stands."""
        limit, taken, rate = self._limits[at], used[at], self._rates[at]
        left = limit.amount - taken
        if left < 0.0:
            left = 0.0
        if rate:
            return Standing(limit, left, taken / rate)
        if limit.per is None:
            return Standing(limit, left, None)
        return Standing(limit, left, self.ends_in_s[at] if taken else 0.0)

    def _refused(self, used: Sequence[float], waits: Sequence[float]) -> Refused:
        full = [Full(limit, wait_s) for limit, wait_s in zip(self._limits, waits, strict=True) if wait_s]
        return Refused(tuple(full), self._standing(used, self._limits.index(longest(full).limit)))


class Together:
    """Reservations of one owner that one script makes: those that are asked for until the command is sent."""

    __slots__ = ("_answers", "_asked_s", "_command", "_distrust", "_held", "_make", "_owner", "script")

    def __init__(
        self,
        owner: Owner,
        script: Script,
        make: Callable[[Owner, Sequence[Held]], Command],
        distrust: Callable[[], None],
    ) -> None:
        """`make` returns the command, `distrust` is told of an answer that is none to it."""
        self.script: Script | None = script
        self._owner = owner
        self._make = make
        self._distrust = distrust
        self._command: Command | None = None
        self._held: list[Held] = []
        self._answers: list[asyncio.Future[Standing | Refused]] = []
        self._asked_s = time.monotonic()
        owner.together = self

    def add(self, held: Held) -> asyncio.Future[Standing | Refused]:
        """Have another reservation go with these, and return its answer to come."""
        answer: asyncio.Future[Standing | Refused] = asyncio.get_running_loop().create_future()
        self._held.append(held)
        self._answers.append(answer)
        if len(self._held) >= MAX_TOGETHER:
            self._close()
        return answer

    def _close(self) -> None:
        if self._owner.together is self:
            self._owner.together = None

    @property
    def command(self) -> Command:
        """The command that makes them. Nothing can be added from then on."""
        if self._command is None:
            self._close()
            self._command = self._make(self._owner, self._held)
        return self._command

    @command.setter
    def command(self, command: Command) -> None:
        self._command = command

    @property
    def waiting(self) -> int:
        """How many wait for it still."""
        return sum([not answer.done() for answer in self._answers])

    def take(self, answer: Any) -> None:
        """Hand each its part of the answer."""
        try:
            found = self._owner.read(answer, len(self._held), self._asked_s)
        except (struct.error, TypeError, IndexError, ValueError):
            self._distrust()
            self.fail(Unreachable("an answer of another form"))
            return
        for waiting, one in zip(self._answers, found, strict=True):
            if not waiting.done():
                waiting.set_result(one)

    def fail(self, error: Unreachable | Refusal) -> None:
        """Have all hear that there is none."""
        self._close()
        for waiting in self._answers:
            if not waiting.done():
                waiting.set_exception(error)


def _packed(numbers: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)
