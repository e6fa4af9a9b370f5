"""Limits, groups, prices and caches in words."""

from __future__ import annotations

import pytest

from gateway.reports.limit_words import cache_text, group_text, limits_text, models_text, price_text
from gateway.wire.json import Json, JsonObject


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ({"requests/minute": {"amount": 60}}, {"requests/minute": {"amount": 30}}, "60 → 30 requests a minute"),
        ({"tokens/hour": {"amount": 5e6}}, {"tokens/hour": {"amount": 1.5e6}}, "5M → 1.5M tokens an hour"),
        ({"spend/day": {"amount": 50}}, {"spend/day": {"amount": 2.5}}, "$50 → $2.5 a day"),
        ({"concurrent": {"amount": 9}}, {}, "the limit of 9 at once is gone"),
        ({}, {"concurrent": {"amount": 9}}, "at most 9 at once now"),
        ({}, {"spend/day": {"amount": 9, "then": "b"}}, "at most $9 a day (then `b`) now"),
        ({"spend/day": {"amount": 9, "then": "b"}}, {}, "the limit of $9 a day (then `b`) is gone"),
        ({"spend/month": {"amount": 0.05}}, {"spend/month": {"amount": 1e-6}}, "$0.05 → $0.000001 a month"),
        ({"spend/month": {"amount": 1e6}}, {"spend/month": {"amount": 1234567.5}}, "$1000000 → $1234567.5 a month"),
        (
            {"spend/day": {"amount": 9}, "concurrent": {"amount": 1}},
            {"spend/day": {"amount": 9, "then": "b"}, "concurrent": {"amount": 2}},
            "$9 a day, then refused → `b`; 1 → 2 at once",
        ),
    ],
)
def test_limits(old: JsonObject, new: JsonObject, text: str) -> None:
    assert limits_text(old, new, lambda name: f"`{name}`") == text


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (["a"], ["a", "b", "c"], "may ask for b, c too"),
        (["a", "b"], ["a"], "may no longer ask for b"),
        (["a"], ["b"], "may ask for b too; may no longer ask for a"),
        (None, ["a"], "may ask for a only now"),
        (None, [], "may ask for nothing now"),
        (["a"], None, "may ask for every alias now"),
    ],
)
def test_models(old: list[str] | None, new: list[str] | None, text: str) -> None:
    assert models_text(old, new, str) == text


def test_a_group_in_full() -> None:
    assert group_text({"models": None, "limits": {}, "share": True}, str) == "may ask for every alias, without limits"
    limits: JsonObject = {"requests/day": {"amount": 1000}, "spend/month": {"amount": 9}}
    assert group_text({"models": ["a"], "limits": limits, "share": True}, str) == (
        "may ask for a, all together 1k requests a day, $9 a month"
    )
    limits = {"tokens/month": {"amount": 5e6, "then": "small"}, "concurrent": {"amount": 2}}
    assert group_text({"models": ["a"], "limits": limits, "share": False}, str) == (
        "may ask for a, each 5M tokens a month (then small), 2 at once"
    )


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (None, "by the price data"),
        ({"input": 2, "output": 2, "cached_input": 2}, "$2"),
        ({"input": 1, "output": 4, "cached_input": 1}, "$1 in, $4 out"),
        ({"input": 1e-6, "output": 1e6, "cached_input": 1e-7}, "$0.000001 in, $1000000 out, $0.0000001 cached"),
        ({"input": 1.25, "output": 4, "cached_input": 0.1}, "$1.25 in, $4 out, $0.1 cached"),
    ],
)
def test_prices(price: Json, text: str) -> None:
    assert price_text(price) == text


def a_cache(ttl: float, scope: str = "client", stale_if_error: float | None = None) -> JsonObject:
    return {"ttl": ttl, "scope": scope, "stale_if_error": stale_if_error}


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (None, a_cache(600), "answers are kept now: 10m"),
        (None, a_cache(600, "shared", 60), "answers are kept now: 10m, for all clients, 1m more when all fails"),
        (a_cache(3600, "shared"), None, "answers are no longer kept (were for 1h)"),
        (a_cache(3600), a_cache(600), "answers are kept 10m instead of 1h"),
        (a_cache(60), a_cache(60, "shared"), "kept answers are for all clients now"),
        (a_cache(60, "shared"), a_cache(60), "kept answers are for the client that asked now"),
        (a_cache(60), a_cache(60, "client", 5), "when all fails they serve 5s more"),
        (
            a_cache(3600, "client", 5),
            a_cache(60, "client", 10),
            "answers are kept 1m instead of 1h; when all fails they serve 10s more instead of 5s",
        ),
        (
            a_cache(60, "client", 5),
            a_cache(60),
            "no answer that is too old serves any more when all fails",
        ),
    ],
)
def test_caches(old: Json, new: Json, text: str) -> None:
    assert cache_text(old, new) == text
