"""Responses as bytes: what differs from one response to the next is taken out, so that two can be compared."""

from __future__ import annotations

import re
from typing import Final

_VARYING: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rb"(Content-Length: )\d+",
        rb"(Date: )[^\r]*",
        rb"(chatcmpl-)[\w-]+",
        rb'("created": ?)\d+',
        rb'("ms":)[\d.]+',
        rb"(req_)\w+",
        rb'(x-gateway-generation: |"generation":)\d+',
    )
)


def without_varying(data: bytes) -> bytes:
    """Return responses with `#` for times, serial numbers and lengths."""
    for pattern in _VARYING:
        data = pattern.sub(rb"\1#", data)
    return data
