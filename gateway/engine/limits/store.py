"""What a home of buckets has to do: reserve in several at once or in none, and settle by what was used.

A bucket is of one owner, one unit and one window; its amount may change, and what is used stays. The owner is a client,
a group whose clients share, or a provider.

What a store elsewhere has to know: all of a reservation's buckets are named at once and no answer of one decides about
another, so one script and one round trip do. `settle`, `release` and `renew` wait for nothing and return nothing, so
they can be gathered and sent together. Time is the store's own. A process that dies settles nothing: its leases
end, its minutes and hours drain, and its days and months keep the estimates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from gateway.policy.limits import Limit, Unit

OwnerKind: TypeAlias = Literal["client", "group", "provider"]
Costs: TypeAlias = Mapping[Unit, float]
"""By unit: what a request takes, or has used, of each bucket of that unit."""


class Bucket(NamedTuple):
    """A limit of one owner."""

    key: str
    """Names owner, unit and window, such as `client/ann tokens/day`."""
    limit: Limit


def bucket(kind: OwnerKind, name: str, limit: Limit) -> Bucket:
    """Return an owner's bucket for a limit. Names of owners have no spaces."""
    return Bucket(f"{kind}/{name} {limit.bucket}", limit)


class Standing(NamedTuple):
    """How the tightest bucket stands after a reservation: the one of which the smallest share is left."""

    limit: Limit
    left: float
    """What can still be taken now; never below 0."""
    free_in_s: float | None
    """Seconds until nothing of it is used, if nothing is taken meanwhile; None for requests at once."""


class Full(NamedTuple):
    """A bucket into which a request does not fit."""

    limit: Limit
    wait_s: float
    """Seconds until it does, if nothing else is taken meanwhile; above 0."""


class Refused(NamedTuple):
    """Nothing was taken."""

    full: tuple[Full, ...]
    """All buckets that are in the way, in the order in which they were given."""
    tightest: Standing
    """The one that is in the way for longest, of these."""


def longest(full: Sequence[Full]) -> Full:
    """Return the bucket that is in the way for longest, the first of equal ones."""
    return max(full, key=_wait_s)


def _wait_s(full: Full) -> float:
    return full.wait_s


class Fill(NamedTuple):
    """A bucket in use, for those who look."""

    key: str
    amount: float
    used: float
    free_in_s: float | None
    """As in `Standing`."""
    reservations: int
    """Those that are not settled."""


class Store(Protocol):
    """Where buckets are. Reservations have ids that their makers choose; to make or settle one twice does nothing."""

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused | None:
        """Take each bucket's unit of `costs` from all `buckets`, or nothing from any; None: only `reserve` can.

        A cost above a bucket's amount takes the whole amount. There is one bucket at least.
        """

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Do the same, and wait for it. Whoever cancels this calls `release`."""

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> Sequence[Full] | None:
        """Return the buckets that are in the way now, and take nothing; None: only `reserve` can tell."""

    def settle(self, reservation: str, used: Costs) -> None:
        """End a reservation whose request used so much; a unit that `used` does not have stays as it was taken.

        The difference is taken or given back in the window of the reservation, or nowhere if that is over.
        """

    def release(self, reservation: str) -> None:
        """End a reservation whose request took nothing, also one that may not have been made."""

    def renew(self) -> None:
        """Renew the leases of reservations that are open, where a store has some. Called every RENEW_S."""

    def would_fit(self, bucket: Bucket, cost: float) -> bool:
        """Tell whether a cost would fit into a full bucket of a day or a month if open reservations used nothing.

        Only the newest LOOKED_AT of this process are known: it is asked for each refusal.
        """

    def look(self) -> Iterable[Fill]:
        """Return all buckets in which something is used. Whoever reads them may give way to requests in between."""


LOOKED_AT: Final = 300
"""Open reservations that are looked at for what they hold of a bucket: a tenth of a millisecond at most."""

ONE: Final[Costs] = {"requests": 1.0, "concurrent": 1.0}
"""What a request takes where neither tokens nor spend are counted."""
UNTAKEN: Final[Costs] = {"requests": 0.0, "tokens": 0.0, "spend": 0.0, "concurrent": 0.0}
"""The use of a request that used nothing."""
