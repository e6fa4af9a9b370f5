"""Request ids and trace ids, and which requests a share of them is."""

from __future__ import annotations

import random
import re
from hashlib import blake2b
from typing import Final

_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")

_HASH_BYTES: Final = 8

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def request_id(given: str | None) -> str:
    """Return the client's own id if it is printable ASCII without blanks, of at most 128 characters; else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return "req_" + random.getrandbits(128).to_bytes(16).hex()


def is_in_share(request_id: str, share: float) -> bool:
    """Tell whether a request is one of the `share`, from 0 to 1, by a hash of its id: the same on every replica."""
    hashed = blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(hashed) < share * (1 << 8 * _HASH_BYTES)


def traceparent(given: str | None) -> str | None:
    """Return a well-formed `traceparent` as it is, else None (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    return given if given is not None and _TRACEPARENT.fullmatch(given) else None


def sampled_trace_id(of_traceparent: str) -> str | None:
    """Return the trace id in a well-formed `traceparent`, in hex; None if the trace is not sampled."""
    return of_traceparent[3:35] if int(of_traceparent[-1], 16) & 1 else None
