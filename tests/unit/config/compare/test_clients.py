"""What changes for groups of clients, in limits, prices and caches."""

from __future__ import annotations

from gateway.config.compare.changes import Change
from gateway.config.compare.clients import cache_of, group_changes, limit_changes, price_of
from gateway.config.compiler.limits import compiled_limits
from gateway.config.model.limit_texts import read_limit
from gateway.config.problems import Report
from gateway.policy.limits import CachePolicy, Limit, Price
from tests.compiling import table


def unreported(*_: object, **__: object) -> None:
    raise AssertionError("no problem is expected")


def limits(*texts: str) -> tuple[Limit, ...]:
    report: Report = unreported
    return compiled_limits([read_limit(text) for text in texts], ("clients",), report)


def changes(old: str, new: str) -> list[Change]:
    models = "models: {a: mock/a, b: mock/b, 'w/*': 'mock/*'}"
    return list(group_changes(*(table(f"{clients}\n{models}") for clients in (old, new))))


def test_the_default_group_is_there_without_clients() -> None:
    assert changes("", "clients: {default: {}}") == []
    assert changes("clients: {}", "") == []
    (change,) = changes("", "clients: {default: {limits: [5 concurrent]}}")
    assert (change.field, change.group, change.old, change.new) == (
        "clients.limits",
        "default",
        {},
        {"concurrent": {"amount": 5}},
    )


def test_a_group_comes_and_goes() -> None:
    (change,) = changes("", "clients: {x.y: {models: [b, a], share: true}}")
    assert (change.field, change.kind, change.group) == ("clients", "added", "x.y")
    assert change.new == {"models": ["a", "b"], "limits": {}, "share": True}
    (change,) = changes("clients: {x.y: {}}", "clients: {}")
    assert (change.kind, change.old) == ("removed", {"models": None, "limits": {}, "share": False})


def test_an_alias_that_is_gone_is_no_change_of_its_groups() -> None:
    old = table("clients: {x: {models: [a, b, 'w/*']}}\nmodels: {a: mock/a, b: mock/b, 'w/*': 'mock/*'}")
    new = table("clients: {x: {models: [a]}}\nmodels: {a: mock/a}")
    assert list(group_changes(old, new)) == []
    (change,) = group_changes(new, old)
    assert (change.old, change.new) == (["a"], ["a", "b", "w/*"])


def test_equal_limits_in_another_form_or_order_are_no_change() -> None:
    assert limit_changes(
        limits("60 requests/minute", "1k tokens/day"), limits("1000 tokens/day", "60 requests/minute")
    ) == (
        {},
        {},
    )


def test_limits_are_compared_by_what_they_count() -> None:
    old, new = limits("60 requests/minute", "5 concurrent"), limits("30 requests/minute", "60 requests/hour")
    assert limit_changes(old, new) == (
        {"requests/minute": {"amount": 60}, "concurrent": {"amount": 5}},
        {"requests/minute": {"amount": 30}, "requests/hour": {"amount": 60}},
    )


def test_prices_and_caches_have_the_files_keys() -> None:
    assert price_of(None) is cache_of(None) is None
    assert price_of(Price(input=1, output=2, cached_input=3)) == {"input": 1, "output": 2, "cached_input": 3}
    assert cache_of(CachePolicy(ttl_s=60)) == {"ttl": 60, "scope": "client", "stale_if_error": None}
