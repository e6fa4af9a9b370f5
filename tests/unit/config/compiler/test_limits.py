"""A provider's own limits, which all its targets share."""

from __future__ import annotations

from gateway.config.compiler.compiler import Compiler
from tests.compiling import endpoint, messages, problems, table


def test_a_providers_limits_are_its_endpoints() -> None:
    found = endpoint("openai: {limits: [500 requests/minute, {tokens: 2M, per: day}, 30 concurrent]}", "openai/gpt-4o")
    assert [(limit.unit, limit.amount, limit.per, limit.then) for limit in found.limits] == [
        ("requests", 500, "minute", None),
        ("tokens", 2_000_000, "day", None),
        ("concurrent", 30, None, None),
    ]
    assert endpoint("openai: {}", "openai/gpt-4o").limits == ()


def test_all_targets_of_a_provider_have_its_limits_and_no_other_has() -> None:
    found = table("providers: {openai: {limits: [5 concurrent]}}\nmodels: {a: [openai/a, openai/b, mistral/c]}")
    assert [len(target.endpoint.limits) for target in found.targets] == [1, 1, 0]


def test_another_amount_makes_another_endpoint_and_the_same_amount_none() -> None:
    compiler = Compiler(environ={})
    found = []
    for limit in ("500 requests/minute", "{requests: 500, per: minute}", "300 requests/minute"):
        text = f"version: 1\nproviders: {{openai: {{limits: [{limit}]}}}}\nmodels: {{a: openai/a}}"
        compiled = compiler.compile(text.encode(), source="routes.yaml")
        assert compiled.table is not None
        found.append(compiled.table.targets[0])
    assert found[0].endpoint is found[1].endpoint
    assert found[2].endpoint != found[0].endpoint
    assert found[2].identity == found[0].identity, "so what it did is not forgotten"


def test_the_same_bucket_twice_and_a_then_are_problems() -> None:
    text = "providers: {mock: {limits: [2 concurrent, {concurrent: 3}, {tokens: 1, per: day, then: {alias: a}}]}}"
    assert problems(f"{text}\nmodels: {{a: mock/a}}") == ["2:43: repeated-limit", "2:82: bad-then"]
    assert messages(f"{text}\nmodels: {{a: mock/a}}")[0] == (
        "the list has a limit of concurrent already, 2 concurrent; keep one of the two"
    )
