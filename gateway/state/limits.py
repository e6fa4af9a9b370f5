"""The store of limits that replicas share: buckets in Redis, and this process' own while Redis is out of reach.

A reservation is one script and one round trip. What ends is kept for FLUSH_S and sent by owner, each reservation with
its id, so that sending it twice does nothing; the next reservation frees its place among those at once.

The scripts are our own: `limits` 5.8 and `throttled-py` 3.5 take from one bucket a call and give nothing back.
`token-throttle` 14 does both, but locks its buckets in Redis for several round trips, wants Python 3.12 and no cluster,
and knows neither days and months of the calendar nor requests at once.

All keys of a script have one hash tag, the owner, so that they lie in one slot of a cluster:

    gateway:{client/ann}                     hash: a bucket a field, such as `tokens/minute`: `used at amount`
    gateway:{client/ann}:leases              reservations by the end of their lease
    gateway:{client/ann}:lows:tokens/minute  how low that bucket was since a reservation, as `sliding.Lows`
    gateway:{client/ann}:r:5f0c…-17          a reservation that is not settled: what it took
"""

from __future__ import annotations

import asyncio
import math
import secrets
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count, islice
from typing import Any, Final, NamedTuple

from gateway.engine.limits import sliding, windows
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.sliding import WINDOW_S
from gateway.engine.limits.store import LOOKED_AT, UNTAKEN, Bucket, Costs, Fill, Full, Refused, Standing, longest
from gateway.errors import StateUnavailable
from gateway.policy.limits import Unit
from gateway.state.link import Link, Refusal, Script, Unreachable, unawaited
from gateway.state.options import OnStateError

FLUSH_S: Final = 0.05
MAX_FLUSHED: Final = 100
"""Reservations that one script settles: Redis does nothing else meanwhile."""
MAX_SEEN: Final = 10_000
"""Buckets whose last state is kept."""
FRESH_S: Final = 1.0
"""For this long what Redis told last of a bucket is taken for its state: a bucket that was full is not asked for again.

What other replicas give back meanwhile is not known here.
"""
_SETTLED: Final[tuple[Unit, ...]] = ("requests", "tokens", "spend")
"""In the order of the script. Leases end in any case."""


class _Held:
    """A reservation of this process that is not settled."""

    __slots__ = ("buckets", "costs", "id", "is_known", "is_sum", "store")

    def __init__(self, reservation: str, buckets: Sequence[Bucket], costs: Costs, store: MemoryStore | None) -> None:
        self.id = reservation
        """As the store knows it."""
        self.buckets = buckets
        self.costs = costs
        self.store = store
        """None: it is in Redis."""
        self.is_known = store is not None
        """The store has answered."""
        self.is_sum = False
        """It is what many requests of an outage have used, and ends by itself."""


class _End(NamedTuple):
    """The end of a reservation, to be sent."""

    id: str
    buckets: Sequence[Bucket]
    used: Costs
    may_be_first: bool
    """The reservation itself may arrive later: what waited in a lost connection."""


class _Seen(NamedTuple):
    """A bucket as Redis last told of it."""

    amount: float
    used: float
    free_in_s: float | None
    at_s: float
    """When that was asked: no later than Redis saw it."""

    def at(self, key: str, now_s: float) -> tuple[float, float | None]:
        """Return what is used of it now, and the seconds until nothing is, if nobody else takes or gives back."""
        window_s = WINDOW_S.get(key.rpartition("/")[2])
        if window_s is not None:
            rate = self.amount / window_s
            left = sliding.used(self.used, self.at_s, rate, now_s)
            return left, left / rate
        if self.free_in_s is None:
            return self.used, None
        left_s = max(0.0, self.free_in_s - (now_s - self.at_s))
        return self.used if left_s else 0.0, left_s


class SharedStore:
    """The store over a link. For one event loop. All buckets of a reservation are one owner's."""

    def __init__(self, link: Link, *, on_error: OnStateError, clock: Callable[[], float] | None = None) -> None:
        """`clock` is for tests: seconds since the epoch in the place of Redis' own."""
        self._link = link
        self._on_error = on_error
        self._clock = clock
        self._local = MemoryStore()
        self._local_buckets: dict[str, Bucket] = {}
        self._held: dict[str, _Held] = {}
        self._ends: dict[str, list[_End]] = {}
        """By owner."""
        self._freed: dict[str, list[str]] = {}
        """By owner: reservations whose leases have ended, which the next script is told of."""
        self._moves: list[_Held] = []
        """What was taken during an outage, to be taken in Redis."""
        self._timer: asyncio.TimerHandle | None = None
        self._flights: set[asyncio.Future[Any]] = set()
        self._seen: dict[str, _Seen] = {}
        self._given_back: dict[str, float] = {}
        """By bucket: when a request of this process gave something back last, of which Redis hears within FLUSH_S."""
        self._serials = count(1)
        self._prefix = secrets.token_hex(8)
        self._reserve, self._settle, self._renew = (Script("common", name) for name in ("reserve", "settle", "renew"))
        link.scripts += [self._reserve, self._settle, self._renew]
        link.on_return.append(self._returned)

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused | None:
        """Return None while Redis is asked; else decide without it. Raises StateUnavailable."""
        return None if self._link.is_up else self._alone(reservation, buckets, costs)

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> Sequence[Full] | None:
        """Return what is in the way as far as Redis has told it lately, or as this process decides; None: ask Redis."""
        if self._link.is_up:
            return self._known_full(buckets, costs) or None
        return tuple(self._local.full(buckets, costs)) if self._on_error == "local" else ()

    def _known_full(self, buckets: Sequence[Bucket], costs: Costs) -> tuple[Full, ...]:
        """Return what would be refused by what Redis told last, if that is fresh.

        Not so for leases, which come and go too fast, and where this process has given something back since then.
        """
        now_s, found = time.monotonic(), []
        for key, limit in buckets:
            seen = self._seen.get(key)
            if seen is None or limit.per is None or now_s - seen.at_s > FRESH_S:
                continue
            if seen.at_s < self._given_back.get(key, -math.inf) + 2 * FLUSH_S:
                continue
            (used, free_in_s), cost = seen.at(key, now_s), min(costs[limit.unit], limit.amount)
            wait_s = sliding.wait_s(used, cost, limit.amount, limit.amount / WINDOW_S.get(limit.per, 1.0))
            if wait_s:
                found.append(Full(limit, wait_s if limit.per in WINDOW_S else free_in_s or 0.0))
        return tuple(found)

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Ask Redis, and decide without it if it does not answer in time. Raises StateUnavailable."""
        held = self._held[reservation] = _Held(reservation, buckets, costs, None)
        keys, args = self._reserving(held, forced=False)
        asked_s = time.monotonic()
        try:
            told = await self._link.ask(self._reserve.command(keys, args), self._reserve)
            answer = self._read(told, buckets, asked_s)
        except (Unreachable, Refusal, struct.error, TypeError) as error:
            if isinstance(error, struct.error | TypeError):
                self._link.distrust()
            self.release(reservation)  # Redis may have taken it
            return self._alone(reservation, buckets, costs)
        held.is_known = True
        if isinstance(answer, Refused):
            self._held.pop(reservation, None)
        return answer

    def _alone(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Decide without Redis."""
        limit = buckets[0].limit
        if self._on_error == "deny":
            raise StateUnavailable("limits are not known now, as the state that replicas share is out of reach")
        if self._on_error == "allow":
            return Standing(limit, limit.amount, None if limit.per is None else 0.0)
        held = _Held(f"{reservation}.local", buckets, costs, self._local)
        answer = self._local.try_reserve(held.id, buckets, costs)
        if isinstance(answer, Standing):
            self._held[reservation] = held
            for bucket in buckets:
                self._local_buckets[bucket.key] = bucket
        return answer

    def settle(self, reservation: str, used: Costs) -> None:
        """End a reservation: in this process at once, in Redis within FLUSH_S or after the outage."""
        held = self._held.pop(reservation, None)
        if held is None:
            return
        if held.store is not None:
            held.store.settle(held.id, used)
            return
        self._note_given_back(held, used)
        owner = _owner(held.buckets)
        self._ends.setdefault(owner, []).append(_End(held.id, held.buckets, used, may_be_first=not held.is_known))
        if _has_leases(held.buckets):
            self._freed.setdefault(owner, []).append(held.id)
        self._flush_soon()

    def _note_given_back(self, held: _Held, used: Costs) -> None:
        """Have buckets that get something back be asked for again, once Redis knows of it."""
        for key, limit in held.buckets:
            taken = held.costs[limit.unit]
            if limit.per is not None and used.get(limit.unit, taken) < taken:
                if len(self._given_back) >= MAX_SEEN:
                    self._given_back.clear()
                self._given_back[key] = time.monotonic()

    def release(self, reservation: str) -> None:
        """Give all of a reservation back."""
        self.settle(reservation, UNTAKEN)

    def renew(self, reservations: Iterable[str]) -> None:
        """Renew leases, also those that an outage let end."""
        by_owner: dict[str, list[str]] = {}
        for reservation in reservations:
            held = self._held.get(reservation)
            if held is None:
                continue
            if held.store is not None:
                held.store.renew((held.id,))
            elif _has_leases(held.buckets):
                by_owner.setdefault(_owner(held.buckets), []).append(held.id)
        for owner, ids in by_owner.items():
            command = self._renew.command([self._key(owner, ":leases")], [self._now(), *ids])
            self._link.ask(command, self._renew).add_done_callback(unawaited)

    def would_fit(self, bucket: Bucket, cost: float) -> bool:
        """Tell whether a cost would fit if reservations of this process used nothing, by what Redis told last."""
        if not self._link.is_up:
            return self._local.would_fit(bucket, cost)
        key, limit = bucket
        seen = self._seen.get(key)
        if seen is None or not limit.is_budget:
            return False
        over = seen.used + cost - limit.amount * (1.0 + windows.TOLERANCE)
        for one in islice(reversed(self._held.values()), LOOKED_AT):
            if one.store is None and one.is_known and any(other.key == key for other in one.buckets):
                over -= min(one.costs[limit.unit], limit.amount)
                if over <= 0.0:
                    return True
        return False

    def look(self) -> Iterable[Fill]:
        """Return the buckets of this process' requests, as Redis last told of them; its own ones in an outage."""
        if not self._link.is_up and self._on_error == "local":
            return self._local.look()
        opened: dict[str, int] = {}
        for held in self._held.values():
            for key, _ in held.buckets:
                opened[key] = opened.get(key, 0) + 1
        now_s = time.monotonic()
        fills = []
        for key, seen in self._seen.items():
            used, free_in_s = seen.at(key, now_s)
            if used:
                fills.append(Fill(key, seen.amount, used, free_in_s, opened.get(key, 0)))
        return fills

    async def close(self) -> None:
        """Send what has ended, and wait until Redis has it; not longer than for anything else."""
        self._flush()
        if self._flights:
            await asyncio.wait(self._flights, timeout=self._link.timeout_s)

    def _reserving(self, held: _Held, *, forced: bool) -> tuple[list[str], list[str | float]]:
        """Return keys and arguments of a reservation."""
        owner = _owner(held.buckets)
        start = f"{self._link.prefix}:{{{owner}}}"
        keys = [start, f"{start}:leases", f"{start}:r:{held.id}"]
        freed = self._freed.pop(owner, ())
        how = "0" if not forced else "2" if held.is_sum else "1"
        args: list[str | float] = [self._now(), held.id, how, len(freed), *freed]
        for _, limit in held.buckets:
            per, amount, cost = limit.per, limit.amount, held.costs[limit.unit]
            if per == "minute" or per == "hour":
                keys.append(f"{start}:lows:{limit.bucket}")
            args += limit.bucket, _WINDOWS[per], amount, cost if held.is_sum else min(cost, amount)
        return keys, args

    def _read(self, answer: bytes, buckets: Sequence[Bucket], asked_s: float) -> Standing | Refused:
        """Return what the script answered that was asked then."""
        taken, *numbers = struct.unpack(f"<{1 + 3 * len(buckets)}d", answer)
        seen = self._seen
        found: list[tuple[float, Standing]] = []
        full: list[Full] = []
        for at, (key, limit) in enumerate(buckets):
            used, wait_s, free_in_s = numbers[3 * at : 3 * at + 3]
            free = None if limit.per is None else free_in_s
            seen[key] = _Seen(limit.amount, used, free, asked_s)
            found.append((used / limit.amount, Standing(limit, max(0.0, limit.amount - used), free)))
            if wait_s and not taken:
                full.append(Full(limit, wait_s))
        while len(seen) > MAX_SEEN:
            del seen[next(iter(seen))]
        if not full:
            return max(found, key=_share)[1]
        limit = longest(full).limit
        return Refused(tuple(full), next(standing for _, standing in found if standing.limit is limit))

    def _returned(self) -> None:
        """Take in Redis what was taken here during the outage: once, and before anything else is asked."""
        local, self._local = self._local, MemoryStore()
        used = {fill.key: fill.used for fill in local.look()}
        for held in self._held.values():
            if held.store is local:
                for key, limit in held.buckets:
                    used[key] = used.get(key, 0.0) - min(held.costs[limit.unit], limit.amount)
                held.store, held.is_known = None, False  # its end may have to be sent again, beside this
                self._moves.append(held)
        buckets, self._local_buckets = self._local_buckets, {}
        for key, amount in used.items():
            bucket = buckets[key]
            if amount > 0.0 and bucket.limit.per is not None:
                reservation = f"{self._prefix}-{next(self._serials)}.outage"
                total = _Held(reservation, [bucket], {bucket.limit.unit: amount}, None)
                total.is_sum = True
                self._moves.append(total)
        self._flush()

    def _flush_soon(self) -> None:
        if self._timer is None and self._link.is_up:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        """Send what is kept for Redis; what it does not get is kept on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._link.is_up:
            return
        moves, self._moves = self._moves, []
        for held in moves:
            keys, args = self._reserving(held, forced=True)
            self._fly(self._reserve, keys, args, lambda held=held: self._moves.append(held))  # type: ignore[misc]
        self._freed.clear()
        ends, self._ends = self._ends, {}
        for owner, all_ in ends.items():
            for at in range(0, len(all_), MAX_FLUSHED):
                some = all_[at : at + MAX_FLUSHED]
                keys, args = self._ending(owner, some)
                self._fly(self._settle, keys, args, partial(self._keep, owner, some))

    def _fly(
        self, script: Script, keys: Sequence[str], args: Sequence[str | float], keep: Callable[[], object]
    ) -> None:
        """Run a script that nobody waits for; `keep` what it was to do if Redis may not have done it."""
        flight = self._link.ask(script.command(keys, args), script)
        self._flights.add(flight)

        def landed(flight: asyncio.Future[Any]) -> None:
            self._flights.discard(flight)
            if not flight.cancelled() and isinstance(flight.exception(), Unreachable):
                keep()
                self._flush_soon()

        flight.add_done_callback(landed)

    def _keep(self, owner: str, some: list[_End]) -> None:
        self._ends[owner] = some + self._ends.get(owner, [])

    def _ending(self, owner: str, ends: Sequence[_End]) -> tuple[list[str], list[str | float]]:
        """Return keys and arguments of the ends of an owner's reservations."""
        start = self._key(owner)
        names = {limit.bucket: None for end in ends for _, limit in end.buckets if limit.per in WINDOW_S}
        keys = [start, f"{start}:leases", *(f"{start}:lows:{name}" for name in names)]
        args: list[str | float] = [self._now(), len(names), *names]
        for end in ends:
            keys.append(f"{start}:r:{end.id}")
            args += end.id, "1" if end.may_be_first else "0"
            args += (end.used.get(unit, "") for unit in _SETTLED)
        return keys, args

    def _key(self, owner: str, rest: str = "") -> str:
        return f"{self._link.prefix}:{{{owner}}}{rest}"

    def _now(self) -> str | float:
        return "" if self._clock is None else self._clock()


_WINDOWS: Final = {"minute": "60", "hour": "3600", "day": "day", "month": "month", None: "concurrent"}


def _owner(buckets: Sequence[Bucket]) -> str:
    """Return the owner of a reservation's buckets, such as `client/ann`."""
    return buckets[0].key.partition(" ")[0]


def _has_leases(buckets: Sequence[Bucket]) -> bool:
    return any(limit.per is None for _, limit in buckets)


def _share(found: tuple[float, Standing]) -> float:
    return found[0]
