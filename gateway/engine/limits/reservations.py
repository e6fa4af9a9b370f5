"""Reservations that are made in a store, and the renewal of the leases of those that are open."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from itertools import count

from gateway.engine.limits.leases import RENEW_S
from gateway.engine.limits.store import Bucket, Costs, Refused, Standing, Store


class Reservations:
    """The reservations of one process. It outlives tables; one event loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.open: set[str] = set()
        """Those with a lease that are not settled."""
        self._serials = count(1)
        self._prefix = secrets.token_hex(8)
        """Reservations of other processes have another."""
        self._renewed_s = 0.0

    def new_id(self) -> str:
        """Return the id of a new reservation."""
        return f"{self._prefix}-{next(self._serials)}"

    async def wait_for(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Reserve in a store elsewhere. A call that is cancelled meanwhile takes nothing."""
        try:
            return await self.store.reserve(reservation, buckets, costs)
        except BaseException:
            self.store.release(reservation)
            raise

    def renew_due(self, now_s: float) -> None:
        """Renew all leases if that is due: where nobody runs `run`, each reservation asks first."""
        if now_s - self._renewed_s >= RENEW_S:
            self._renew(now_s)

    async def run(self) -> None:
        """Renew the leases of requests that are being answered, until cancelled."""
        while True:
            await asyncio.sleep(RENEW_S)
            self._renew(asyncio.get_running_loop().time())

    def _renew(self, now_s: float) -> None:
        self._renewed_s = now_s
        if self.open:
            self.store.renew(tuple(self.open))
