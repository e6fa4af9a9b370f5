"""The store of limits that replicas share: buckets in Redis, and this process' own while Redis is out of reach.

A reservation is one script and one round trip; those that one owner asks for in one turn of the event loop share it.
What ends is kept for FLUSH_S and sent by owner, each reservation with its id, so that sending it twice does nothing;
the next reservation frees its place among those at once.

The scripts are our own: `limits` 5.8 and `throttled-py` 3.5 take from one bucket a call and give nothing back.
`token-throttle` 14 does both, but locks its buckets in Redis for several round trips, wants Python 3.12 and no cluster,
and knows neither days and months of the calendar nor requests at once.

All keys of a script have one hash tag, the owner, so that they lie in one slot of a cluster:

    gateway:{client/ann}             hash: a bucket a field, such as `tokens/minute`: `used at amount`; and
                                     `lows:tokens/minute`: how low it was since reservations, as `sliding.Lows`
    gateway:{client/ann}:leases      reservations by the end of their lease
    gateway:{client/ann}:r:5f0c…-17  a reservation that is not settled: what it took

A request at once that nobody ended counts for LEASE_S, up to a second more while there is room.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from operator import attrgetter
from typing import Any, Final, TypeVar

from gateway.engine.limits import sliding, windows
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.sliding import WINDOW_S
from gateway.engine.limits.store import LOOKED_AT, UNTAKEN, Bucket, Costs, Fill, Full, Refused, Standing
from gateway.errors import StateUnavailable
from gateway.policy.limits import Limit
from gateway.state.link import Command, Link, Refusal, Script, Unreachable, unawaited
from gateway.state.looks import Looks
from gateway.state.options import OnStateError
from gateway.state.owners import MAX_TOGETHER, End, Held, Owner, Together

_T = TypeVar("_T")

FLUSH_S: Final = 0.05
RENEWED_TOGETHER: Final = 1000
"""Leases that one script renews: Redis does nothing else meanwhile."""
MAX_SEEN: Final = 10_000
"""Owners whose last state is kept."""
FRESH_S: Final = 1.0
"""For this long what Redis told last of a bucket is taken for its state: a bucket that was full is not asked for again.

What other replicas give back meanwhile is not known here.
"""


class SharedStore:
    """The store over a link. For one event loop. All buckets of a reservation are one owner's."""

    def __init__(self, link: Link, *, on_error: OnStateError, clock: Callable[[], float] | None = None) -> None:
        """`clock` is for tests: seconds since the epoch in the place of Redis' own."""
        self._link = link
        self._on_error = on_error
        self._clock = clock
        self._local = MemoryStore()
        self._local_buckets: dict[str, Bucket] = {}
        self._held: dict[str, Held] = {}
        self._owners: dict[tuple[tuple[str, Limit, str], ...], Owner] = {}
        self._refused: dict[str, tuple[Owner, int]] = {}
        """By a bucket's key: who was refused last where it is, and which of the owner's buckets it is."""
        self._by_id: dict[int, tuple[Sequence[Bucket], Owner]] = {}
        """Cache by id() of buckets: these, and whose they are. To hash them takes longer than all else."""
        self._ends: dict[Owner, list[End]] = {}
        self._freed: dict[str, list[str]] = {}
        """By owner's name: reservations whose leases have ended, which the next script is told of."""
        self._moves: list[Held] = []
        """What was taken during an outage, to be taken in Redis."""
        self._timer: asyncio.TimerHandle | None = None
        self._flights: set[asyncio.Future[Any]] = set()
        self._serials = count(1)
        self._prefix = secrets.token_hex(8)
        self._reserve, self._settle, self._renew = (
            Script("common", "buckets", name) for name in ("reserve", "settle", "renew")
        )
        link.scripts += [self._reserve, self._settle, self._renew]
        link.on_return.append(self._returned)
        self._looks = Looks(link, self._owners, self._now)

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
        owner, now_s = self._owner(buckets), time.monotonic()
        if not owner.used or now_s - owner.asked_s > FRESH_S:
            return ()
        found = []
        for at, (_, limit) in enumerate(buckets):
            if limit.per is None or owner.asked_s < owner.given_back[at] + 2 * FLUSH_S:
                continue
            (used, free_in_s), cost = owner.present(at, now_s), min(costs[limit.unit], limit.amount)
            wait_s = sliding.wait_s(used, cost, limit.amount, limit.amount / WINDOW_S.get(limit.per, 1.0))
            if wait_s:
                found.append(Full(limit, wait_s if limit.per in WINDOW_S else free_in_s or 0.0))
        return tuple(found)

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Ask Redis, and decide without it if it does not answer in time. Raises StateUnavailable."""
        owner = self._owner(buckets)
        held = self._held[reservation] = Held(reservation, owner, costs, None)
        together = owner.together
        if together is None:
            together = Together(owner, self._reserve, self._reserving, self._link.distrust)
            waiting = together.add(held)
            self._link.send(together)
        else:
            waiting = together.add(held)
        try:
            answer = await waiting
        except (Unreachable, Refusal):
            self.release(reservation)  # Redis may have taken it
            return self._alone(reservation, buckets, costs)
        held.is_known = True
        held.is_let_in = isinstance(answer, Standing)
        if isinstance(answer, Refused):
            self._held.pop(reservation, None)
            if len(self._refused) >= MAX_SEEN:
                self._refused.clear()
            self._refused |= {key: (owner, at) for at, (key, _) in enumerate(owner.buckets)}
        return answer

    def _alone(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Decide without Redis."""
        limit = buckets[0].limit
        if self._on_error == "deny":
            raise StateUnavailable("limits are not known now, as the state that replicas share is out of reach")
        if self._on_error == "allow":
            return Standing(limit, limit.amount, None if limit.per is None else 0.0)
        held = Held(f"{reservation}.local", self._owner(buckets), costs, self._local)
        answer = self._local.try_reserve(held.id, buckets, costs)
        if isinstance(answer, Standing):
            self._held[reservation] = held
            held.owner.active_s, held.owner.look_s = time.monotonic(), 0.0  # once Redis is back, and has been told
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
        owner = held.owner
        owner.note_given_back(held.costs, used)
        end = End(held.id, used, not held.is_known)
        if (ends := self._ends.get(owner)) is None:
            self._ends[owner] = [end]
        else:
            ends.append(end)
        if owner.has_leases:
            self._freed.setdefault(owner.name, []).append(held.id)
        if self._timer is None:
            self._flush_soon()

    def release(self, reservation: str) -> None:
        """Give all of a reservation back."""
        self.settle(reservation, UNTAKEN)

    def renew(self) -> None:
        """Renew leases, also those that an outage let end."""
        by_owner: dict[Owner, list[str]] = {}
        for held in self._held.values():
            if held.is_let_in and held.store is None and held.owner.has_leases:
                by_owner.setdefault(held.owner, []).append(held.id)
        for owner, ids in by_owner.items():
            for some in _parts(ids, RENEWED_TOGETHER):
                command = owner.renewing(self._renew, some, self._now())
                self._link.ask(command, self._renew).add_done_callback(unawaited)

    def would_fit(self, bucket: Bucket, cost: float) -> bool:
        """Tell whether a cost would fit if reservations of this process used nothing, by what Redis told last."""
        if not self._link.is_up:
            return self._local.would_fit(bucket, cost)
        key, limit = bucket
        owner, at = self._refused.get(key, (None, 0))
        if owner is None or not limit.is_budget:
            return False
        over = owner.used[at] + cost - limit.amount * (1.0 + windows.TOLERANCE)
        for one in islice(reversed(self._held.values()), LOOKED_AT):
            if one.store is None and one.is_known and any(other.key == key for other in one.owner.buckets):
                over -= min(one.costs[limit.unit], limit.amount)
                if over <= 0.0:
                    return True
        return False

    def look(self) -> Iterator[Fill]:
        """Yield the buckets of this process' requests, as Redis told of them lately; its own ones in an outage.

        Of owners that have a bucket in common, as after an edit, the one that was used last tells of it.
        """
        if not self._link.is_up and self._on_error == "local":
            yield from self._local.look()
            return
        opened: dict[str, int] = {}
        for held in self._held.values():
            for key, _ in held.owner.buckets:
                opened[key] = opened.get(key, 0) + 1
        told: set[str] = set()
        for owner in sorted(self._owners.values(), key=attrgetter("active_s"), reverse=True):
            now_s = time.monotonic()
            for at, (key, limit) in enumerate(owner.buckets if owner.used else ()):
                if key not in told:
                    told.add(key)
                    used, free_in_s = owner.present(at, now_s)
                    if used:
                        yield Fill(key, limit.amount, used, free_in_s, opened.get(key, 0))

    async def close(self) -> None:
        """Send what has ended, and wait until Redis has it; not longer than for anything else. Nobody looks on."""
        self._looks.close()
        self._flush()
        if self._flights:
            await asyncio.wait(self._flights, timeout=self._link.timeout_s)

    def _owner(self, buckets: Sequence[Bucket]) -> Owner:
        """Return the owner of a reservation's buckets."""
        known = self._by_id.get(id(buckets))
        if known is not None and known[0] is buckets:
            return known[1]
        told = tuple([(key, limit, limit.text) for key, limit in buckets])  # equal limits may be written differently
        owner = self._owners.get(told)
        if owner is None:
            if len(self._owners) >= MAX_SEEN:
                del self._owners[next(iter(self._owners))]
            owner = self._owners[told] = Owner(tuple(buckets), self._link.prefix)
        if len(self._by_id) >= MAX_SEEN:
            self._by_id.clear()
        self._by_id[id(buckets)] = buckets, owner
        return owner

    def _reserving(self, owner: Owner, held: Sequence[Held], how: str = "0") -> Command:
        return owner.reserving(self._reserve, held, how, self._now(), self._freed.pop(owner.name, ()))

    def _returned(self) -> None:
        """Take in Redis what was taken here during the outage: once, and before anything else is asked."""
        local, self._local = self._local, MemoryStore()
        used = {fill.key: fill.used for fill in local.look()}
        for held in self._held.values():
            if held.store is local:
                for key, limit in held.owner.buckets:
                    used[key] = used.get(key, 0.0) - min(held.costs[limit.unit], limit.amount)
                held.store, held.is_known = None, False  # its end may have to be sent again, beside this
                self._moves.append(held)
        buckets, self._local_buckets = self._local_buckets, {}
        for key, amount in used.items():
            bucket = buckets[key]
            if amount > 0.0 and bucket.limit.per is not None:
                reservation = f"{self._prefix}-{next(self._serials)}.outage"
                total = Held(reservation, Owner((bucket,), self._link.prefix), {bucket.limit.unit: amount}, None)
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
        moves: dict[Owner, list[Held]] = {}  # an owner is that of sums or of requests
        for held in self._moves:
            moves.setdefault(held.owner, []).append(held)
        self._moves = []
        for owner, moved in moves.items():
            for together in _parts(moved, MAX_TOGETHER):
                command = self._reserving(owner, together, "2" if together[0].is_sum else "1")
                self._fly(self._reserve, command, partial(self._moves.extend, together))
        self._freed.clear()
        ends, self._ends = self._ends, {}
        now_s = time.monotonic()
        for owner, all_ in ends.items():
            owner.note_ended(now_s)
            for some in _parts(all_, MAX_TOGETHER):
                self._fly(self._settle, owner.ending(self._settle, some, self._now()), partial(self._keep, owner, some))

    def _fly(self, script: Script, command: Command, keep: Callable[[], object]) -> None:
        """Run a script that nobody waits for; `keep` what it was to do if Redis may not have done it."""
        flight = self._link.ask(command, script)
        self._flights.add(flight)

        def landed(flight: asyncio.Future[Any]) -> None:
            self._flights.discard(flight)
            if not flight.cancelled() and isinstance(flight.exception(), Unreachable):
                keep()
                self._flush_soon()

        flight.add_done_callback(landed)

    def _keep(self, owner: Owner, some: list[End]) -> None:
        self._ends[owner] = some + self._ends.get(owner, [])

    def _now(self) -> str | float:
        return "" if self._clock is None else self._clock()


def _parts(all_: list[_T], most: int) -> Iterator[list[_T]]:
    return (all_[at : at + most] for at in range(0, len(all_), most))
