"""Groups of clients in the table: which aliases they may ask for, and their limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.policy.limits import ClientGroup, Limit
from gateway.policy.overlay import Overlay
from tests.compiling import problems, table

MODELS = """\
models:
  smart: openai/gpt-4o
  small: openai/gpt-4o-mini
  "team-a/*": "openai/*"
  "team-a/eu/*": "mistral/*"
  team-a/best: openai/gpt-4o
"""


def group(entry: str) -> ClientGroup:
    return table(f"clients: {{search: {{{entry}}}}}\n{MODELS}").clients["search"]


def test_without_clients_there_are_no_groups() -> None:
    assert table(MODELS).clients == {}


@pytest.mark.parametrize("clients", ["{}", "{search: {}}", "{default: {}}"])
def test_default_is_always_there_where_clients_is_written(clients: str) -> None:
    found = table(f"clients: {clients}\n{MODELS}").clients
    assert found["default"] == ClientGroup(name="default")


def test_groups_inherit_nothing() -> None:
    found = table(f"clients: {{default: {{models: [smart], limits: [1 concurrent]}}, search: {{}}}}\n{MODELS}").clients
    assert found["search"] == ClientGroup(name="search")
    assert found["default"].models == frozenset({"smart"})


@pytest.mark.parametrize(
    ("models", "found"),
    [
        ("[smart]", {"smart"}),
        ("[]", set()),
        ('["team-a/*"]', {"team-a/*", "team-a/eu/*", "team-a/best"}),
        ('["team-a/eu/*", small]', {"team-a/eu/*", "small"}),
        ('["s*"]', {"smart", "small"}),
        ('["*"]', {"smart", "small", "team-a/*", "team-a/eu/*", "team-a/best"}),
        ("[team-a/best]", {"team-a/best"}),
    ],
)
def test_a_star_means_every_alias_that_begins_so(models: str, found: set[str]) -> None:
    assert group(f"models: {models}").models == frozenset(found)


def test_a_limit_knows_where_requests_go_on() -> None:
    limits = group("limits: [5M tokens/day, {spend: 50, per: month, then: {alias: small}}], share: true")
    assert limits.is_shared
    assert limits.limits == (
        Limit(unit="tokens", amount=5_000_000, per="day", text=""),
        Limit(unit="spend", amount=50, per="month", then="small", text=""),
    )
    assert [limit.text for limit in limits.limits] == ["5M tokens/day", "$50/month"]
    assert [limit.bucket for limit in limits.limits] == ["tokens/day", "spend/month"]


def test_then_may_name_what_a_wildcard_takes() -> None:
    (limit,) = group("limits: [{tokens: 5, per: day, then: {alias: team-a/gpt-4o}}]").limits
    assert limit.then == "team-a/gpt-4o"


def test_an_alias_with_a_fault_is_not_unknown_as_well() -> None:
    text = """\
clients:
  search: {models: [smart, "bad/*"], limits: [{tokens: 5, per: day, then: {alias: smart}}]}
models:
  smart: nothing here
  "bad/*": {chain: []}
"""
    assert problems(text) == ["5:10: bad-target", "6:20: empty-chain"]


def test_a_group_with_a_fault_hides_no_other_fault() -> None:
    text = "clients:\n  a: {limits: [60 rpm]}\n  b: {models: [no]}\nmodels: {fast: moc/hello}\n"
    assert problems(text) == ["3:16: bad-limit", "4:16: unknown-alias", "5:16: unknown-provider"]


def test_an_included_file_has_no_clients(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("clients: {default: {}}\nmodels: {b: mock/b}\n")
    main = tmp_path / "routes.yaml"
    main.write_text("version: 1\ninclude: [team.yaml]\nclients: {default: {models: [b]}}\nmodels: {a: mock/a}\n")
    found = Compiler(environ={}).compile(main.read_bytes(), source=str(main))
    assert [problem.code for problem in found.problems] == ["only-in-main"]


def test_aliases_that_only_a_program_has_are_aliases() -> None:
    found = table(
        "clients: {search: {models: [mine]}}\nmodels: {a: mock/a}", overlay=Overlay(mappings={"mine": "mock/b"})
    )
    assert found.clients["search"].models == frozenset({"mine"})


def test_another_edit_changes_the_groups() -> None:
    compiler = Compiler(environ={})
    for amount in (60, 30, 60):
        text = f"version: 1\nclients: {{default: {{limits: [{amount} requests/minute]}}}}\n{MODELS}"
        compiled = compiler.compile(text.encode(), source="routes.yaml")
        assert compiled.table is not None
        assert [limit.amount for limit in compiled.table.clients["default"].limits] == [amount]


def test_a_name_of_a_group_is_one_that_the_keys_file_can_have() -> None:
    for name, good in (("a.b_c@d-9", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a/b", False)):
        found = problems(f"clients:\n  {name}: {{}}\nmodels: {{a: mock/a}}\n")
        assert found == ([] if good else ["3:3: bad-name"])
