"""How many problems of one file are listed, and how the others are counted."""

from __future__ import annotations

import pytest

from gateway.policy.problem import MOST_LISTED, Problem, Severity, listed, number_of


def found(number: int, severity: Severity = "error", *, first: int = 1) -> list[Problem]:
    """Return problems in the lines from `first` on."""
    lines = range(first, first + number)
    return [
        Problem(line=line, column=1, code="bad-name", path="models", message="no", severity=severity, source="a.yaml")
        for line in lines
    ]


def test_few_are_all_listed() -> None:
    problems = found(MOST_LISTED)
    assert listed(problems) == tuple(problems)
    assert listed([]) == ()


@pytest.mark.parametrize(("more", "message"), [(1, "1 more problem is"), (2_000, "2000 more problems are")])
def test_one_more_tells_how_many_are_not_listed(more: int, message: str) -> None:
    problems = found(MOST_LISTED + more)
    *first, last = listed(problems)
    assert first == problems[:MOST_LISTED]
    assert str(last) == f"a.yaml:0:0: more-problems: {message} not listed; correct the first 1000"
    assert (last.severity, last.not_listed) == ("error", more)
    assert number_of(listed(problems), "error") == MOST_LISTED + more


def test_warnings_give_way_to_errors_and_are_counted_apart() -> None:
    warnings, errors = found(MOST_LISTED + 5, "warning"), found(10, first=5_000)
    *first, last = listed([*warnings, *errors])
    assert first == [*warnings[: MOST_LISTED - 10], *errors]
    assert (last.severity, last.not_listed) == ("warning", 15)
    assert last.message == "15 more warnings are not listed; correct the first 1000"

    *first, more_errors, more_warnings = listed([*found(3, "warning"), *found(MOST_LISTED + 1, first=9)])
    assert {problem.severity for problem in first} == {"error"}
    assert (more_errors.severity, more_errors.not_listed) == ("error", 1)
    assert (more_warnings.severity, more_warnings.not_listed) == ("warning", 3)
