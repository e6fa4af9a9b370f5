"""How long an upstream asks to wait."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.policy.failures import retry_after_s, told_headers
from tests.vendor_failures import GOOGLE

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e308"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": "0x10"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "999999999999"}, None),
        ({"retry-after": "9" * 99}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}, 10.0),
        ({"retry-after": "Tuesday, 14-Nov-23 22:13:30 GMT"}, 10.0),
        ({"retry-after": "Tue, 14 Nov 2023 23:13:30 +0100"}, 10.0),
        ({"retry-after": "Tue, 14 Nov 2000 22:13:30 GMT"}, 0.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:30"}, None),
        ({"retry-after": "Tue, 14 Nov 9999 22:13:30 GMT"}, None),
        ({"retry-after": "Tue, 99 Nov 2023 22:13:30 GMT"}, None),
        ({"retry-after": "x" * 99}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "soon", "x-ratelimit-reset-tokens": "9s"}, 9.0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=NOW, status=429) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02), ("1s", 1.0), ("6m0s", 360.0), ("1m30.5s", 90.5), ("1h2m3s", 3723.0), ("2d", 172_800.0),
        ("12", 12.0), ("11.5", 11.5), ("", None), ("s", None), ("1m 3s", None), ("1x", None), ("-1s", None),
        ("9" * 80 + "s", None), ("999999999d", None), ("1m30", None),
    ],
)  # fmt: skip
def test_openais_durations(text: str, seconds: float | None) -> None:
    found = retry_after_s({"x-ratelimit-reset-requests": text}, now=NOW, status=429)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:30Z", 10.0), ("2023-11-14T23:13:30.5+01:00", 10.5), ("2000-01-01T00:00:00Z", 0.0),
        ("2023-11-14T22:13:30", None), ("1700000010", None), ("x" * 80, None),
    ],
)  # fmt: skip
def test_anthropics_instants(text: str, seconds: float | None) -> None:
    assert retry_after_s({"anthropic-ratelimit-requests-reset": text}, now=NOW, status=429) == seconds


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({"requests": (None, 3), "tokens": (None, 5)}, 5),
        ({"requests": (0, 3), "tokens": (100, 5)}, 3),
        ({"requests": (7, 900), "tokens": (100, 5)}, 5),
        ({"requests": (7, 900)}, None),
        ({"requests": (0, 3), "tokens": (0, 5)}, 5),
    ],
)
def test_the_limit_that_was_hit_decides(limits: dict[str, tuple[int | None, int]], seconds: int | None) -> None:
    headers = {f"x-ratelimit-reset-{name}": f"{reset}s" for name, (_, reset) in limits.items()}
    headers |= {f"x-ratelimit-remaining-{name}": str(left) for name, (left, _) in limits.items() if left is not None}
    assert retry_after_s(headers, now=NOW, status=429) == seconds
    assert retry_after_s(headers, now=NOW, status=503) is None


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"details": [{"@type": f"{GOOGLE}.Help"}, {"@type": f"{GOOGLE}.RetryInfo", "retryDelay": "36s"}]}, 36.0),
        ({"details": [{"@type": f"{GOOGLE}.RetryInfo", "retryDelay": 36}]}, None),
        ({"details": [{"@type": f"{GOOGLE}.RetryInfo"}]}, None),
        ({"details": {"retryDelay": "36s"}}, None),
        ({"details": ["36s"]}, None),
        ("36s", None),
    ],
)
def test_googles_retry_info(error: Any, seconds: float | None) -> None:
    assert retry_after_s({}, now=NOW, error=error) == seconds
    assert retry_after_s({"retry-after": "5"}, now=NOW, error=error) == 5.0


@pytest.mark.parametrize(
    ("given", "wait_s", "told"),
    [
        ({"x": "y"}, None, {"x": "y"}),
        ({"retry-after": "1e308", "x": "y"}, None, {"x": "y"}),
        ({"retry-after": "9"}, 9.0, {"retry-after": "9"}),
        ({"retry-after": "9"}, None, {"retry-after": "9"}),
        ({"retry-after": "soon"}, 1.5, {"retry-after": "2"}),
        ({}, 1.5, {"retry-after": "2"}),
        ({"retry-after-ms": "1e308", "x": "y"}, None, {"x": "y"}),
        ({"retry-after-ms": "1e308", "retry-after": "9"}, 9.0, {"retry-after": "9"}),
        ({"retry-after-ms": "-5", "retry-after": "soon"}, None, {}),
        ({"retry-after-ms": "999999999999"}, None, {}),
        ({"retry-after-ms": "nan"}, 1.5, {"retry-after": "2"}),
        ({"retry-after-ms": "250"}, 0.25, {"retry-after-ms": "250", "retry-after": "1"}),
        ({"x-ratelimit-reset-requests": "1e308", "x-ratelimit-reset-tokens": "6m0s"}, None,
         {"x-ratelimit-reset-tokens": "6m0s"}),
        ({"x-ratelimit-reset-requests": "1764400000", "x-ratelimit-remaining-requests": "?"}, None,
         {"x-ratelimit-reset-requests": "1764400000", "x-ratelimit-remaining-requests": "?"}),
    ],
)  # fmt: skip
def test_a_client_gets_a_well_formed_retry_after(
    given: dict[str, str], wait_s: float | None, told: dict[str, str]
) -> None:
    assert told_headers(given, wait_s, now=NOW) == told


@pytest.mark.parametrize("text", ["1e308", "-1", "999999999999", "soon", ""])
def test_malformed_milliseconds_count_for_nothing(text: str) -> None:
    assert retry_after_s({"retry-after-ms": text, "retry-after": "9"}, now=NOW) == 9.0
