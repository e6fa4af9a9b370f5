"""Groups, prices and caches as the file has them."""

from __future__ import annotations

import pytest

from gateway.config.model.read_limits import cache_of, groups_of, limits_of, price_of
from gateway.config.model.specs import ClientGroupSpec, LimitSpec
from gateway.policy.limits import CachePolicy, Price
from gateway.wire.json import Json


@pytest.mark.parametrize(
    ("written", "price"),
    [
        (None, None),
        (2, Price(input=2, output=2, cached_input=2)),
        (0, Price(input=0, output=0, cached_input=0)),
        ({"input": 1.25, "output": 10}, Price(input=1.25, output=10, cached_input=1.25)),
        ({"input": 1, "output": 2, "cached_input": 0}, Price(input=1, output=2, cached_input=0)),
    ],
)
def test_a_price(written: Json, price: Price | None) -> None:
    assert price_of(written) == price


@pytest.mark.parametrize(
    ("written", "cache"),
    [
        (None, None),
        ("1h", CachePolicy(ttl_s=3600)),
        (90, CachePolicy(ttl_s=90)),
        ("1.5d", CachePolicy(ttl_s=129_600)),
        (
            {"ttl": "30d", "scope": "shared", "stale_if_error": "90d"},
            CachePolicy(ttl_s=30 * 86_400, scope="shared", stale_if_error_s=90 * 86_400),
        ),
    ],
)
def test_a_cache(written: Json, cache: CachePolicy | None) -> None:
    assert cache_of(written) == cache


def test_a_group_without_models_may_ask_for_all_and_one_with_none_for_nothing() -> None:
    assert groups_of(
        {"a": {}, "b": {"models": []}, "c": {"models": ["x"], "share": True, "limits": ["2 concurrent"]}}
    ) == {
        "a": ClientGroupSpec(name="a"),
        "b": ClientGroupSpec(name="b", models=()),
        "c": ClientGroupSpec(name="c", models=("x",), share=True, limits=(LimitSpec(unit="concurrent", amount=2),)),
    }


def test_limits_of_both_forms() -> None:
    entry = {
        "limits": ["60 requests/minute", {"spend": 0.5, "per": "day", "then": {"alias": "x"}}, {"concurrent": "2k"}]
    }
    assert limits_of(entry) == (
        LimitSpec(unit="requests", amount=60, per="minute"),
        LimitSpec(unit="spend", amount=0.5, per="day", then="x"),
        LimitSpec(unit="concurrent", amount=2000),
    )
    assert limits_of({}) == ()
