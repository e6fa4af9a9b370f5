"""The results of test cases as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from textwrap import TextWrapper
from typing import Final

from gateway.policy.problem import Problem
from gateway.reports.attempts import KEPT_WORDS
from gateway.reports.problems import PLAIN, Painter, as_text, tally
from gateway.simulation.cases.coverage import Coverage
from gateway.simulation.cases.expectations import Mismatch
from gateway.simulation.cases.play import Result
from gateway.simulation.simulator import Observed, Seen
from gateway.wire.json import JsonObject
from gateway.words import count, cut, printable, shown, with_repeats

MAX_COLUMNS: Final = 70
"""Columns for the names of cases, and characters of an answer's text."""

MAX_VALUE: Final = 300
"""Characters of one value that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """The result of one file of test cases."""

    file: str
    config: str | None = None
    readable: bool = True
    """False when this file or its config file cannot be read; `problems` has the reason."""
    problems: tuple[Problem, ...] = ()
    """Problems and warnings of this file or of the config file."""
    results: tuple[Result, ...] = ()
    not_run: int = 0
    """Number of cases that were not played because the config file has problems."""
    hooks_skipped: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything was played and nothing failed."""
        sound = all(problem.severity != "error" for problem in self.problems)
        return self.readable and sound and all(result.ok for result in self.results)

    @property
    def passed(self) -> int:
        """Number of cases that passed."""
        return sum(result.ok for result in self.results)


def summary(files: Sequence[FileResult]) -> str:
    """Return the last line: `3 passed, 1 failed`."""
    passed = sum(file.passed for file in files)
    failed = sum(len(file.results) for file in files) - passed
    not_run = sum(not file.ok and not file.results for file in files)
    return f"{passed} passed, {failed} failed" + (f", {count(not_run, 'file')} not run" if not_run else "")


def file_lines(result: FileResult, painter: Painter, *, verbose: bool) -> Iterator[str]:
    """Yield the report of one file: its problems, how many cases passed, and each failure in full."""
    for problem in result.problems:
        yield as_text(problem, painter)
    name = printable(result.file)
    if not result.ok and not result.results:
        yield f"{painter.error(tally(result.problems))}: the cases of {name} are not run"
        return
    failed = len(result.results) - result.passed
    parts = [painter.good(f"{result.passed} passed")] if result.passed else []
    if failed:
        parts.append(painter.error(f"{failed} failed"))
    if result.hooks_skipped:
        parts.append(f"{count(result.hooks_skipped, 'hook')} skipped")
    yield f"{painter.place(name)}: {', '.join(parts) or 'no case'}"
    width = max((len(one.case.name) for one in result.results), default=0)
    for one in result.results if verbose else ():
        word = painter.good("ok    ") if one.ok else painter.error("FAILED")
        calls = one.played[-1].observed.attempts if one.played else ()
        path = printable(" → ".join(with_repeats(call.target for call in calls)))
        yield f"  {word}  {printable(one.case.name):<{min(width, MAX_COLUMNS)}}  {path}".rstrip()
    for one in result.results:
        if not one.ok:
            yield from _failure(result.file, one, painter)
    if failed:
        yield ""


def coverage_lines(config: str, coverage: Coverage, *, least: int | None, painter: Painter) -> Iterator[str]:
    """Yield how much of a policy the cases reach, and the names that they do not."""
    parts = [
        ("alias", coverage.aliases, coverage.missed_aliases),
        ("target", coverage.targets, coverage.missed_targets),
    ]
    parts += [("group", coverage.groups, coverage.missed_groups)] if coverage.groups else []
    reached = ", ".join(f"{len(names) - len(missed)} of {count(len(names), noun)}" for noun, names, missed in parts)
    is_low = least is not None and coverage.percent < least
    percent = painter.error(f"{coverage.percent}%") if is_low else f"{coverage.percent}%"
    wanted = f"; at least {least}% are wanted" if is_low else ""
    yield f"{painter.place(printable(config))}: {percent} covered, {reached} reached{wanted}"
    wrapper = TextWrapper(width=100, subsequent_indent=" " * 29, break_long_words=False, break_on_hyphens=False)
    for noun, _, missed in parts:
        wrapper.initial_indent = f"  {count(0, noun).removeprefix('0 ')} no case reached:  "
        yield from wrapper.wrap(printable(", ".join(missed)))


def _failure(file: str, result: Result, painter: Painter) -> Iterator[str]:
    """Yield one failed case: its mismatches, each with its line in the file, and the story of each request."""
    line, column = result.case.position
    yield ""
    place = painter.place(f"{printable(file)}:{line}:{column}:")
    yield f"{place} {painter.error('FAILED:')} {printable(result.case.name)}"
    for mismatch in result.mismatches:
        yield from _mismatch(mismatch, painter)
    for played in result.played:
        if not played.mismatches:
            continue
        if len(result.played) > 1:
            yield f"  request {played.number} of this case"
        for mismatch in played.mismatches:
            yield from _mismatch(mismatch, painter)
        yield "  what happened"
        yield from (f"    {line}" for line in _story(played.observed))


def _mismatch(mismatch: Mismatch, painter: Painter) -> Iterator[str]:
    head = f"  {printable(mismatch.check)} (line {mismatch.position[0]})"
    if mismatch.message is not None:
        yield f"{head}: {printable(mismatch.message)}"
        return
    yield head
    expected, actual = mismatch.expected, mismatch.actual
    for tag, low, high, start, end in SequenceMatcher(None, expected, actual, autojunk=False).get_opcodes():
        both = tag == "equal"
        for line in expected[low:high]:
            text = f"    {' ' if both else '-'} {printable(cut(line, MAX_VALUE))}"
            yield text if both else painter.error(text)
        for line in () if both else actual[start:end]:
            yield painter.good(f"    + {printable(cut(line, MAX_VALUE))}")


def _story(observed: Observed) -> list[str]:
    """Return a line for each attempt and one for the answer, each with its time."""
    width = max((len(attempt.target) for attempt in observed.attempts), default=0)
    rows = [(shown(one.started_s), f"{one.target:<{width}}  {_outcome(one)}") for one in observed.attempts]
    rows.append((shown(observed.elapsed_s), _answer(observed)))
    stamps = max(len(stamp) for stamp, _ in rows)
    lines = [f"{stamp:>{stamps}}  {printable(cut(text, MAX_VALUE))}" for stamp, text in rows]
    if observed.skipped:
        lines.insert(0, f"{'':>{stamps}}  passed over: {printable(', '.join(observed.skipped))}")
    if observed.fault and not observed.crashed:
        lines.append(f"{'':>{stamps}}  {printable(observed.fault)}")
    return lines


def _outcome(attempt: Seen) -> str:
    took = attempt.ended_s - attempt.started_s
    status = f" {attempt.status}" if attempt.status else ""
    lasted = f" after {shown(took)}" if took >= 0.001 else ""
    return f"{attempt.kind or 'answered'}{status}{lasted}"


def _answer(observed: Observed) -> str:
    if observed.broken:
        return f"the stream breaks off ({observed.error}) after {_quoted(observed.text)}"
    text = f", {_quoted(observed.text)}" if observed.text is not None else ""
    error = f" {observed.error}" if observed.error else ""
    if observed.error and not observed.attempts and not observed.fault and isinstance(observed.body, dict):
        error += f": {observed.body['error']['message']}"
    sent_on = f", sent on by {observed.limited}" if observed.limited and not observed.error else ""
    words = None if observed.error else KEPT_WORDS.get(observed.cache or "miss")
    kept = "" if words is None else f", {words}"
    return f"the client gets {observed.status}{error}{text}{kept}{sent_on}"


def _quoted(text: str | None) -> str:
    return json.dumps(cut(text or "", MAX_COLUMNS), ensure_ascii=False)


def file_as_json(result: FileResult) -> JsonObject:
    """Return one file's object in `test --format json`."""
    return {
        "file": result.file,
        "config": result.config,
        "ok": result.ok,
        "readable": result.readable,
        "passed": result.passed,
        "failed": len(result.results) - result.passed,
        "not_run": result.not_run,
        "hooks_skipped": result.hooks_skipped,
        "problems": [problem.as_json() for problem in result.problems],
        "cases": [_case_as_json(one) for one in result.results],
    }


def _case_as_json(result: Result) -> JsonObject:
    line, column = result.case.position
    failures = [_mismatch_as_json(one, None) for one in result.mismatches]
    failures += [_mismatch_as_json(one, played.number) for played in result.played for one in played.mismatches]
    requests = [_observed_as_json(played.observed) for played in result.played]
    head = {"name": result.case.name, "line": line, "column": column, "ok": result.ok}
    return head | {"failures": failures, "requests": requests}


def _mismatch_as_json(mismatch: Mismatch, request: int | None) -> JsonObject:
    line, column = mismatch.position
    place = {"check": mismatch.check, "request": request, "line": line, "column": column}
    return place | {"message": mismatch.message, "expected": mismatch.expected, "actual": mismatch.actual}


def _observed_as_json(observed: Observed) -> JsonObject:
    answer = {
        name: getattr(observed, name)
        for name in ("alias", "target", "status", "error", "limited", "cache", "text", "broken")
    }
    attempts = [
        {
            "target": attempt.target,
            "kind": attempt.kind,
            "status": attempt.status,
            "at_s": round(attempt.started_s, 6),
            "took_s": round(attempt.ended_s - attempt.started_s, 6),
        }
        for attempt in observed.attempts
    ]
    timing = {"elapsed_s": round(observed.elapsed_s, 6), "skipped": observed.skipped}
    return answer | timing | {"attempts": attempts, "fault": observed.fault}


def coverage_as_json(config: str, coverage: Coverage) -> JsonObject:
    """Return the coverage of one config file in `test --format json`."""
    numbers = {"percent": coverage.percent, "aliases": len(coverage.aliases), "targets": len(coverage.targets)}
    missed = {"missed_aliases": coverage.missed_aliases, "missed_targets": coverage.missed_targets}
    if coverage.groups:
        numbers["groups"], missed["missed_groups"] = len(coverage.groups), coverage.missed_groups
    return {"config": config, **numbers, **missed}


def failure_text(file: str, result: Result) -> str:
    """Return the report of one failed case without colours."""
    return "\n".join(_failure(file, result, PLAIN)).strip("\n")
