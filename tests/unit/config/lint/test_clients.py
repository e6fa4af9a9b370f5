"""Warnings about limits and groups that depend on what is outside the file: client keys, kept counts, prices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.config.lint import KnownClients, lint
from tests.compiling import compiled
from tests.linting import OUTSIDE, printed, warnings

FORGETFUL = replace(OUTSIDE, keeps_counts=False)
BUDGETS = """\
clients:
  default: {limits: [60 requests/minute]}
  search: {limits: [5M tokens/day, 90M tokens/month]}
models: {fast: mock/hello}
"""


def keys(*names: str, groups: tuple[str, ...]) -> KnownClients:
    return KnownClients(names=frozenset(names), groups=frozenset(groups))


def test_the_first_budget_is_told_unless_counts_are_kept() -> None:
    assert warnings(BUDGETS, outside=FORGETFUL) == ["4:21: budget-in-memory"]
    assert warnings(BUDGETS) == []
    of_provider = "providers: {mock: {limits: [5M tokens/day]}}\nmodels: {fast: mock/hello}\n"
    assert warnings(of_provider, outside=FORGETFUL) == ["2:29: budget-in-memory"]


def test_a_comment_that_ignores_it_is_needed_on_one_machine_only() -> None:
    text = BUDGETS.replace("90M tokens/month]}", "90M tokens/month]}  # gateway: ignore[budget-in-memory]")
    assert warnings(text, outside=FORGETFUL) == warnings(text) == []


def test_sliding_windows_are_no_budgets() -> None:
    text = "clients: {default: {limits: [60 requests/minute, 90 requests/hour, 5 concurrent]}}\nmodels: {a: mock/a}\n"
    assert warnings(text, outside=FORGETFUL) == []


def test_a_group_that_no_line_names_is_told() -> None:
    text = "clients: {default: {}, bacth: {}}\nmodels: {fast: mock/hello}\n"
    known = replace(OUTSIDE, clients=keys("app", groups=("batch",)))
    assert printed(lint(compiled(text), known)) == [
        "warning: routes.yaml:2:11: unused-group: clients.default: every client key names another group",
        "warning: routes.yaml:2:24: unused-group: clients.bacth: no client key is of this group; did you mean 'batch'?",
    ]
    assert warnings(text, outside=replace(OUTSIDE, clients=keys("app", groups=("default", "bacth")))) == []
    assert warnings(text) == []


def test_a_condition_for_a_client_without_a_key_is_told() -> None:
    text = """\
models:
  fast:
    - {target: mock/a, when: {client: [app, serach], not: {client: [ap, ci]}}}
    - mock/b
"""
    where = "unknown-client: models.fast[0].when"
    known = replace(OUTSIDE, clients=keys("app", "search", "ci", groups=("default",)))
    assert printed(lint(compiled(text), known)) == [
        f"warning: routes.yaml:4:39: {where}.client: no client key is named 'serach'; did you mean 'search'?",
        f"warning: routes.yaml:4:68: {where}.not.client: no client key is named 'ap'; did you mean 'app'?",
    ]
    assert warnings(text) == []


@pytest.mark.parametrize(
    ("limits", "never"),
    [
        ("60 requests/minute, 3660 requests/hour", True),
        ("60 requests/minute, 3659 requests/hour", False),
        ("60 requests/minute, 86460 requests/day", True),
        ("60 requests/minute, 86459 requests/day", False),
        ("6k tokens/hour, 6100 tokens/minute", True),
        ("6k tokens/hour, 6099 tokens/minute", False),
        ("6k tokens/day, 12k tokens/hour", True),
        ("6k tokens/day, 11999 tokens/hour", False),
        ("6k tokens/month, 6k tokens/day", True),
        ("6k tokens/month, 5999 tokens/day", False),
        ("6k tokens/day, 186k tokens/month", True),
        ("6k tokens/day, 185k tokens/month", False),
        ("{tokens: 6k, per: day, then: {alias: b}}, 186k tokens/month", False),
        ("60 requests/minute, 6000000 tokens/hour", False),
        ("60 requests/minute, 1 concurrent", False),
        ("{spend: 1, per: day}, {spend: 31, per: month}", True),
        ("{spend: 1, per: day}, {spend: 30.5, per: month}", False),
    ],
)
def test_a_limit_never_counts_where_another_always_bites_first(limits: str, never: bool) -> None:
    text = f"clients: {{default: {{limits: [{limits}]}}}}\nmodels: {{a: mock/a, b: mock/b}}\n"
    found = [code for code in warnings(text) if "then-no-cheaper" not in code]
    assert [code.partition(": ")[2] for code in found] == (["limit-never-met"] if never else [])


@pytest.mark.parametrize(
    ("unit", "models", "price", "warns"),
    [
        ("spend: 5", "[smart]", "0.5", False),
        ("spend: 5", "[smart]", "2", True),
        ("spend: 5", "[smart]", "{input: 0.5, output: 4}", True),
        ("spend: 5", "[smart, dear]", "2", False),
        ("spend: 5", "[small]", "0", True),
        ("spend: 5", "[small, smart]", "0", False),
        ("spend: 5", "[wild/*]", "2", False),
        ("tokens: 5M", "[smart]", "2", False),
        ("tokens: 5M", "[smart]", "2.5", True),
        ("tokens: 5M", "[smart, dear]", "2.5", False),
        ("tokens: 5M", "[smart, wild/*]", "2.5", False),
        ("tokens: 5M", "[small]", "0", True),
    ],
)
def test_a_budget_should_go_on_with_what_costs_less_or_of_tokens_no_more(
    unit: str, models: str, price: str, warns: bool
) -> None:
    text = f"""\
clients: {{default: {{models: {models}, limits: [{{{unit}, per: day, then: {{alias: small}}}}]}}}}
models:
  smart: [{{target: mock/a, price: 2}}]
  dear: [{{target: mock/a, price: 20}}]
  small: [{{target: mock/b, price: {price}}}]
  "wild/*": "openai/*"
"""
    assert [code.partition(": ")[2] for code in warnings(text)] == (["then-no-cheaper"] if warns else [])
