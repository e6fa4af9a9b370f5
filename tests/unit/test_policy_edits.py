"""The cases of the example policy fail for every single wrong edit of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import pytest
import yaml

from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.config.document.document import parse
from gateway.config.lint import lint
from gateway.policy.table import RoutingTable
from gateway.simulation.cases.file import Case, CaseFile, read
from gateway.simulation.cases.play import asked_targets, play
from tests.edits import Edit, edits
from tests.linting import OUTSIDE
from tests.paths import ROOT

POLICY: Final = ROOT / "examples/policy/routes.yaml"
CASES: Final = POLICY.with_name("routes.test.yaml")

_NO_CONNECTING = "nothing connects in a simulation"
_QUICK = "the policy's hooks never wait and never fail"
_BUILT_IN = "it is the built-in value"
_LONG = "all calls that the chain can make are over before"
UNSEEN: Final[dict[str, str]] = {
    "defaults.timeout.connect: dropped": _NO_CONNECTING,
    "defaults.timeout.connect: 2s is 4s": _NO_CONNECTING,
    "defaults.timeout.connect: 2s is 1s": _NO_CONNECTING,
    "defaults.cooldown.failures: dropped": _BUILT_IN,
    "defaults.cooldown.within: dropped": _BUILT_IN,
    "defaults.deadline: 130s is 260s": _LONG,
    "hooks.pre[0].timeout: 500ms is 1s": _QUICK,
    "hooks.pre[0].timeout: 500ms is 250ms": _QUICK,
    "hooks.post[0].timeout: 200ms is 400ms": _QUICK,
    "hooks.post[0].timeout: 200ms is 100ms": _QUICK,
    "hooks.post[0].on_error: dropped": _QUICK,
    "hooks.post[0].on_error: the other": _QUICK,
    "models.support.hooks.pre[0].timeout: 200ms is 400ms": _QUICK,
    "models.support.hooks.pre[0].timeout: 200ms is 100ms": _QUICK,
    "models.support-de.hooks.pre[0].timeout: 200ms is 400ms": _QUICK,
    "models.support-de.hooks.pre[0].timeout: 200ms is 100ms": _QUICK,
    "models.chat-pro.deadline: 3m is 6m": _LONG,
    "models.autocomplete.deadline: dropped": _LONG,
    "models.autocomplete.deadline: 2s is 4s": _LONG,
    "models.search-answer.deadline: dropped": _LONG,
    "models.search-answer.deadline: 9s is 18s": _LONG,
    "models.summarize.deadline: 5m is 10m": _LONG,
    "models.report.deadline: 21m is 42m": _LONG,
    "models.code-fast.deadline: dropped": _LONG,
    "models.code-fast.deadline: 5s is 10s": _LONG,
    "models.legal.deadline: 3m is 6m": _LONG,
}
"""Edit → why no request of a test can show it."""


@cache
def policy() -> Any:
    return parse(POLICY.read_bytes(), name=str(POLICY)).value


@cache
def case_file() -> CaseFile:
    found, problems = read(CASES.read_bytes(), name=str(CASES))
    assert found is not None, problems
    return found


@cache
def compiler() -> Compiler:
    return Compiler(environ=dict(case_file().env))


def compiled(config: Any) -> Compiled:
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return compiler().compile(text.encode(), source=str(POLICY))


def warned(found: Compiled) -> set[tuple[str, str]]:
    return {(problem.code, problem.path) for problem in lint(found, OUTSIDE)}


@cache
def warned_of_all() -> set[tuple[str, str]]:
    """Return the warnings of the file as it is: a dumped one has lost the comments that ignore them."""
    return warned(compiled(policy()))


def is_noticed(edit: Edit) -> bool:
    """Tell whether an edit is a problem of the file, makes a case fail, or is warned of."""
    found = compiled(edit.applied(policy()))
    if found.table is None:
        return True
    cases = case_file().cases
    asked = asked_targets(found.table, cases)
    ordered = sorted(cases, key=lambda case: not _concerns(case, edit, found.table))
    if any(not play(found.table, case, asked).ok for case in ordered):
        return True
    return not warned(found) <= warned_of_all()


def _concerns(case: Case, edit: Edit, table: RoutingTable | None) -> bool:
    """Tell whether a case asks for the alias, or a target of the provider, that an edit is about."""
    if edit.path[0] == "clients":
        return any(turn.group == edit.path[1] for turn in case.turns)
    if table is None or edit.path[0] not in ("models", "providers"):
        return False
    for turn in case.turns:
        name = str(turn.request.get("model"))
        route = table.find(name)
        if edit.path[1] in (name, route and route.alias):
            return True
        providers = {step.target.endpoint.provider for step in route.steps} if route is not None else ()
        if edit.path[0] == "providers" and edit.path[1] in providers:
            return True
    return False


def unnoticed(some: Sequence[Edit]) -> list[str]:
    return [edit.text for edit in some if edit.text not in UNSEEN and not is_noticed(edit)]


@pytest.fixture(autouse=True)
def hooks_beside_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # the compiler adds the policy's folder


GROUPS: Final = ("defaults", "providers", "hooks", "clients", *(f"models.{alias}" for alias in policy()["models"]))
QUICK: Final = ("models.suggest", "models.swarm", "models.minutes")


def edits_of(group: str) -> list[Edit]:
    return [edit for edit in edits(policy()) if group_of(edit) == group]


def group_of(edit: Edit) -> str:
    return ".".join(map(str, edit.path[: 2 if edit.path[0] == "models" else 1]))


def test_the_cases_pass_as_they_are() -> None:
    table = compiled(policy()).table
    assert table is not None
    assert not [case.name for case in case_file().cases if not play(table, case).ok]


@pytest.mark.parametrize("group", QUICK)
def test_a_canary_sticky_agents_and_a_region_are_held_by_cases(group: str) -> None:
    some = edits_of(group)
    assert len(some) > 8
    assert not unnoticed(some[::3])


def test_what_a_group_of_clients_may_ask_for_and_how_much_is_held_by_cases() -> None:
    some = edits_of("clients")
    assert len(some) > 40
    assert not unnoticed(some[::4])


def test_each_of_several_keys_is_held_by_a_case() -> None:
    some = [edit for edit in edits_of("providers") if "api_key" in edit.path]
    assert len(some) == 2
    assert not unnoticed(some)


def test_the_order_of_several_keys_says_nothing() -> None:
    """They are used in turn, and `sticky` asks their names: so two swapped are no wrong edit, and not in the list."""
    path = ("providers", "groq", "api_key")
    keys = policy()["providers"]["groq"]["api_key"]
    assert not is_noticed(Edit(path, "swapped", keys[::-1]))
    assert all(edit.path != path for edit in edits(policy()))


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("group", GROUPS)
def test_every_edit_is_noticed(group: str) -> None:
    assert not unnoticed(edits_of(group))


def test_every_edit_that_cannot_be_seen_is_one() -> None:
    assert UNSEEN.keys() <= {edit.text for edit in edits(policy())}
