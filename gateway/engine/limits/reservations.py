"""Reservations that are made in a store: their ids, waiting for them, and the renewal of leases."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from itertools import count

from gateway.engine.limits.leases import RENEW_S
from gateway.engine.limits.store import Bucket, Costs, Refused, Standing, Store


class Reservations:
    """The reservations of one process. It outlives tables; one event loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        prefix = f"{secrets.token_hex(8)}-"  # reservations of other processes have another
        self.new_id: Callable[[], str] = map(prefix.__add__, map(str, count(1))).__next__
        """Returns the id of a new reservation."""

    async def wait_for(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Reserve in a store elsewhere. A call that is cancelled meanwhile takes nothing."""
        try:
            return await self.store.reserve(reservation, buckets, costs)
        except BaseException:
            self.store.release(reservation)
            raise

    async def run(self) -> None:
        """Renew the leases of requests that are being answered, until cancelled."""
        while True:
            await asyncio.sleep(RENEW_S)
            self.store.renew()
