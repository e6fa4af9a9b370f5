"""What an answer's head tells of limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.engine.limits.headers import head_lines
from gateway.engine.limits.store import Standing
from tests.limiting import limit


@pytest.mark.parametrize(
    ("text", "left", "free_in_s", "policy", "standing"),
    [
        ("600 requests/minute", 12.9, 2.1, '"requests/minute";q=600;w=60', '"requests/minute";r=12;t=3'),
        ("5000 tokens/hour", 0.0, 3600.0, '"tokens/hour";q=5000;qu="tokens";w=3600', '"tokens/hour";r=0;t=3600'),
        ("9 requests/day", 9.0, 0.0, '"requests/day";q=9;w=86400', '"requests/day";r=9;t=0'),
        ("9 requests/month", 8.0, 7.5, '"requests/month";q=9', '"requests/month";r=8;t=8'),
        ("0.5 spend/day", 0.259, 9.0, '"spend/day";q=50;qu="cents";w=86400', '"spend/day";r=25;t=9'),
        ("20 concurrent", 3.0, None, '"concurrent";q=20;qu="concurrent-requests"', '"concurrent";r=3'),
    ],
)
def test_both_fields_are_of_one_limit(
    text: str, left: float, free_in_s: float | None, policy: str, standing: str
) -> None:
    for _ in range(2):
        lines = head_lines(Standing(limit(text), left, free_in_s))
        assert lines == f"RateLimit-Policy: {policy}\r\nRateLimit: {standing}\r\n"


def test_a_request_that_was_sent_on_is_told_by_which_limit() -> None:
    standing = Standing(limit("9 requests/day"), 9.0, 0.0)
    assert head_lines(standing, "$50/day").endswith("\r\nx-gateway-limited: $50/day\r\n")


def test_a_changed_amount_is_told() -> None:
    first = limit("9 requests/day")
    for amount in (9, 10):
        assert f";q={amount};" in head_lines(Standing(replace(first, amount=amount), 9.0, 0.0))
