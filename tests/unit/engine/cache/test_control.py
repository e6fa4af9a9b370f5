"""What a request's `Cache-Control` says."""

from __future__ import annotations

import pytest

from gateway.engine.cache.control import ANYTHING, Control, control


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        (None, ANYTHING),
        ("", ANYTHING),
        ("max-stale=5, min-fresh=3, no-transform", ANYTHING),
        ("no-store", Control(no_store=True)),
        ("NO-CACHE", Control(no_cache=True)),
        ("no-cache, no-store", Control(no_store=True, no_cache=True)),
        ("only-if-cached,max-age=60", Control(only_if_cached=True, max_age_s=60)),
        ('max-age="60"', Control(max_age_s=60)),
        ("max-age = 60", Control(max_age_s=60)),
        ("max-age=0", Control(no_cache=True, max_age_s=0)),
        ("max-age", Control(no_cache=True, max_age_s=0)),
        ("max-age=-1", Control(no_cache=True, max_age_s=0)),
        ("max-age=1e3", Control(no_cache=True, max_age_s=0)),
        ("max-age=99999999999", Control(no_cache=True, max_age_s=0)),
        ('x="a, no-store, b", y=no-cache', ANYTHING),
        ("no-storeage", ANYTHING),
        (",,;=", ANYTHING),
    ],
)
def test_a_field_says(field: str | None, wanted: Control) -> None:
    assert control(field) == wanted
