"""Buckets of requests at once: a lease for each, which ends by itself unless it is renewed, as when a process died."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final, TypeAlias

LEASE_S: Final = 60.0
RENEW_S: Final = 20.0
"""Seconds between two renewals."""
WAIT_S: Final = 1.0
"""What a client is told to wait: nobody knows when a request ends."""

Leases: TypeAlias = MutableMapping[str, float]
"""Reservation → the end of its lease, in the order of their ends: each lasts as long, and a renewed one goes last."""


def drop_ended(leases: Leases, now_s: float) -> None:
    """Drop the leases that have ended."""
    while leases:
        first = next(iter(leases))
        if leases[first] > now_s:
            return
        del leases[first]


def renew(leases: Leases, reservation: str, now_s: float) -> None:
    """Renew a lease, or begin it anew."""
    leases.pop(reservation, None)
    leases[reservation] = now_s + LEASE_S
