"""Prices where spend is limited, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.policy.limits import Price
from gateway.policy.overlay import Overlay
from tests.compiling import compiled, problems, route, step, table
from tests.paths import ROOT

SPEND = "{spend: 5, per: day}"
OWN = 'vllm: {kind: openai, base_url: "http://127.0.0.1:8000/v1"}'


def text(models: str, *, clients: str = f"default: {{limits: [{SPEND}]}}", providers: str = OWN) -> str:
    return f"clients: {{{clients}}}\nproviders: {{{providers}}}\nmodels: {{{models}}}\n"


def test_a_steps_price_is_in_the_table() -> None:
    steps = route(
        "models:\n  fast: [{target: mock/a, price: 2}, {target: mock/b, price: {input: 1, output: 3}}, mock/c]\n"
    ).steps
    assert [one.price for one in steps] == [
        Price(input=2, output=2, cached_input=2),
        Price(input=1, output=3, cached_input=1),
        None,
    ]


def test_a_pools_price_is_its_members_unless_they_have_one() -> None:
    steps = route(
        "models:\n  fast: [{pool: [mock/a, {target: mock/b, price: 1}, {alias: x}], price: 2}]\n  x: mock/c\n"
    ).steps
    assert [one.price and one.price.input for one in steps] == [2, 1, None]
    assert step("models:\n  fast: [{pool: {mock/a: 1, mock/b: 1}, price: 2}]\n").price is not None


def test_the_prices_are_read_only_where_spend_is_limited() -> None:
    assert table("models: {a: openai/gpt-4o}").price_of is None
    assert table(text("a: openai/gpt-4o", clients="default: {limits: [5M tokens/day]}")).price_of is None
    for limited in (
        text("a: openai/gpt-4o"),
        text("a: openai/gpt-4o", clients="", providers=f"openai: {{limits: [{SPEND}]}}"),
    ):
        found = table(limited)
        assert found.price_of is not None
        assert found.price_of(found.targets[0]) == Price(input=2.5, output=10, cached_input=1.25)


def test_mocks_are_free_and_own_servers_have_no_price() -> None:
    found = table(text("a: [mock/a, {target: vllm/b, price: 1}], b: {chain: ['openai/gpt-4o']}"))
    price_of = found.price_of
    assert price_of is not None
    prices = {target.name: price_of(target) for target in found.targets}
    assert prices["mock/a"] == Price(input=0, output=0, cached_input=0)
    assert prices["vllm/b"] is None


def test_a_wildcards_model_gets_its_price_when_it_is_asked_for() -> None:
    found = table(text("'x/*': 'openai/*'"))
    filled = found.find("x/gpt-4o-mini")
    assert filled is not None
    assert found.price_of is not None
    assert found.price_of(filled.steps[0].target) == Price(input=0.15, output=0.6, cached_input=0.075)


@pytest.mark.parametrize(
    ("models", "clients", "found"),
    [
        ("a: vllm/a", f"default: {{limits: [{SPEND}]}}", ["4:13: missing-price"]),
        ("a: vllm/a, b: mock/a", f"search: {{models: [b], limits: [{SPEND}]}}", []),
        ("a: vllm/a, b: [{alias: a}]", f"search: {{models: [b], limits: [{SPEND}]}}", ["4:13: missing-price"]),
        ("a: {chain: [mock/a], shadow: {target: vllm/a, share: 1}}", f"search: {{limits: [{SPEND}]}}", []),
        ("'a/*': 'vllm/*'", f"search: {{limits: [{SPEND}]}}", ["4:17: missing-price?"]),
        ("'a/*': [{target: 'vllm/*', price: 1}]", f"search: {{limits: [{SPEND}]}}", []),
        ("'a/*': 'openai/*'", f"search: {{limits: [{SPEND}]}}", []),
        ("'a/*': 'mock/*'", f"search: {{limits: [{SPEND}]}}", []),
        ("a: vllm/a", "search: {limits: [5 requests/day, 5 concurrent]}", []),
    ],
)
def test_a_target_without_a_price_is_told_where_a_group_may_reach_it(
    models: str, clients: str, found: list[str]
) -> None:
    assert problems(text(models, clients=clients)) == found


def test_what_a_program_adds_is_not_asked_for_a_price() -> None:
    overlay = Overlay(mappings={"a": "vllm/b"})
    assert compiled(text("a: mock/a"), overlay=overlay).table is not None


def test_a_redirected_request_needs_a_price_only_while_another_limit_of_spend_counts() -> None:
    models = "a: mock/a, b: vllm/b"
    one = "search: {models: [a], limits: [{spend: 5, per: day, then: {alias: b}}]}"
    two = "search: {models: [a], limits: [{spend: 5, per: day, then: {alias: b}}, {spend: 9, per: month}]}"
    assert problems(text(models, clients=one)) == []
    assert problems(text(models, clients=two)) == ["4:24: missing-price"]


def test_litellm_is_not_imported_for_prices() -> None:
    code = (
        "import sys; from tests.compiling import table; "
        f"found = table({text('a: openai/gpt-4o')!r}); assert found.price_of(found.targets[0]); "
        "assert 'litellm' not in sys.modules and 'aiohttp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_litellm_no_price_is_known_and_the_problem_says_why(tmp_path: Path) -> None:
    (tmp_path / "litellm").mkdir()
    (tmp_path / "litellm" / "__init__.py").write_text("raise SystemExit('imported')")
    code = f"from tests.compiling import messages; print(*messages({text('a: openai/gpt-4o, b: mock/b')!r}), sep='\\n')"
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": paths}, capture_output=True, text=True, timeout=30, check=True
    )
    (message,) = done.stdout.splitlines()
    assert message.startswith("no price is known for openai/gpt-4o, as there is no price data of LiteLLM here, and ")


def test_a_problem_of_an_included_file_has_its_place_there(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(
        "providers: {own: {kind: openai, base_url: 'http://127.0.0.1:1/v1', limits: [5 rpm]}}\nmodels: {b: own/b}\n"
    )
    main = tmp_path / "routes.yaml"
    main.write_text(f"version: 1\ninclude: [team.yaml]\nclients: {{default: {{limits: [{SPEND}]}}}}\n")
    found = Compiler(environ={}).compile(main.read_bytes(), source=str(main)).problems
    assert [(Path(one.source).name, one.line, one.column, one.code) for one in found] == [
        ("team.yaml", 1, 77, "bad-limit"),
        ("team.yaml", 2, 13, "missing-price"),
    ]
    (tmp_path / "team.yaml").write_text((tmp_path / "team.yaml").read_text().replace("5 rpm", "5 requests/minute"))
    found = Compiler(environ={}).compile(main.read_bytes(), source=str(main)).problems
    assert [(Path(one.source).name, one.line, one.column, one.code) for one in found] == [
        ("team.yaml", 2, 13, "missing-price")
    ]
