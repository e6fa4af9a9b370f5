"""Request ids and trace ids."""

from __future__ import annotations

import random
import re
from typing import Final

_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def request_id(given: str | None) -> str:
    """Return the client's own id if it is printable ASCII without blanks, of at most 128 characters; else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"req_{random.getrandbits(128):032x}"


def traceparent(given: str | None) -> str | None:
    """Return a well-formed `traceparent` as it is, else None (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    return given if given is not None and _TRACEPARENT.fullmatch(given) else None
