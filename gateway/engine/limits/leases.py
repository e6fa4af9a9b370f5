"""Times of buckets of requests at once.

In a store elsewhere each reservation of one has a lease, which ends by itself unless it is renewed, as when a process
died. Those in memory end with their process.
"""

from __future__ import annotations

from typing import Final

LEASE_S: Final = 60.0
RENEW_S: Final = 20.0
"""Seconds between two renewals."""
WAIT_S: Final = 1.0
"""What a client is told to wait: nobody knows when a request ends."""
