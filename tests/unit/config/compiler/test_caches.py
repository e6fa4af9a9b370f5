"""An alias' cache in the table, and what a shared one may not have behind it."""

from __future__ import annotations

from gateway.policy.limits import CachePolicy
from tests.compiling import problems, route, table

HOOKED = "hooked: {chain: [mock/a], hooks: {pre: [gateway.words.cut]}}"


def shared(models: str) -> str:
    return f"models:\n  a: {{chain: [{{alias: hooked}}], cache: {{ttl: 1h, scope: shared}}}}\n  {models}\n"


def test_a_cache_is_the_routes_and_a_wildcards_too() -> None:
    assert route("models: {fast: {chain: [mock/a], cache: 1h}}").cache == CachePolicy(ttl_s=3600)
    filled = table("models: {'a/*': {chain: ['mock/*'], cache: {ttl: 1m, scope: shared}}}").find("a/b")
    assert filled is not None
    assert filled.cache == CachePolicy(ttl_s=60, scope="shared")
    assert route("models: {fast: [{alias: a}], a: {chain: [mock/a], cache: 1h}}").cache is None


def test_a_shared_cache_has_no_pre_hooks_of_a_nested_alias_behind_it() -> None:
    assert problems(shared(HOOKED), skip_hooks=True) == ["3:57: shared-cache"]
    assert problems(shared(HOOKED).replace("pre:", "post:"), skip_hooks=True) == []
    assert problems(shared(HOOKED).replace("shared", "client"), skip_hooks=True) == []
    between = "hooked: [{alias: deep}]\n  deep: {chain: [mock/a], hooks: {pre: [a.b]}}"
    assert problems(shared(between), skip_hooks=True) == ["3:57: shared-cache"]


def test_its_own_hooks_and_those_of_all_requests_run_before_the_cache() -> None:
    text = (
        "hooks: {pre: [a.b]}\nmodels:\n  a: {chain: [mock/a], cache: {ttl: 1h, scope: shared}, hooks: {pre: [a.b]}}\n"
    )
    assert problems(text, skip_hooks=True) == []
