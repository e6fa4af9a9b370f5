"""The results of test cases as a person reads them, and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from gateway.policy.problem import Problem
from gateway.reports.problems import Painter, as_text, tally
from gateway.simulation.cases.coverage import Coverage
from gateway.simulation.cases.expectations import Mismatch
from gateway.simulation.cases.play import Played, Result
from gateway.simulation.simulator import Observed, Seen
from gateway.wire.json import JsonObject
from gateway.words import count, cut, printable, shown

WIDEST: Final = 70
"""Columns for the names of cases, and for what an assistant said."""

LONGEST: Final = 300
"""Characters of one value that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What came of one file of cases."""

    file: str
    config: str | None = None
    readable: bool = True
    """False when a file cannot be read; `problems` says which."""
    problems: tuple[Problem, ...] = ()
    """Of the file of cases or of the config file; warnings among them."""
    results: tuple[Result, ...] = ()
    not_run: int = 0
    """Cases that were not played, because the config file has problems."""
    hooks_skipped: int = 0

    @property
    def ok(self) -> bool:
        """Everything was played, and nothing failed."""
        sound = all(problem.severity != "error" for problem in self.problems)
        return self.readable and sound and all(result.ok for result in self.results)

    @property
    def passed(self) -> int:
        """How many cases passed."""
        return sum(result.ok for result in self.results)


def summary(files: Sequence[FileResult]) -> str:
    """Return the last line: `3 passed, 1 failed`."""
    passed = sum(file.passed for file in files)
    failed = sum(len(file.results) for file in files) - passed
    not_run = sum(not file.ok and not file.results for file in files)
    return f"{passed} passed, {failed} failed" + (f", {count(not_run, 'file')} not run" if not_run else "")


def file_lines(result: FileResult, painter: Painter, *, verbose: bool) -> Iterator[str]:
    """Yield what there is to say of one file: problems, failures in full, and how many cases passed."""
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
        yield f"  {word}  {printable(one.case.name):<{min(width, WIDEST)}}  {_path(one)}".rstrip()
    for one in result.results:
        if not one.ok:
            yield from _failure(result.file, one, painter)
    if failed:
        yield ""


def coverage_lines(config: str, coverage: Coverage, *, least: int | None, painter: Painter) -> Iterator[str]:
    """Yield how much of a policy is reached, and what is not."""
    aliases, targets = len(coverage.aliases), len(coverage.targets)
    reached = (
        f"{aliases - len(coverage.missed_aliases)} of {count(aliases, 'alias')}, "
        f"{targets - len(coverage.missed_targets)} of {count(targets, 'target')} reached"
    )
    short = least is not None and coverage.percent < least
    percent = painter.error(f"{coverage.percent}%") if short else f"{coverage.percent}%"
    wanted = f"; at least {least}% are wanted" if short else ""
    yield f"{painter.place(printable(config))}: {percent} covered, {reached}{wanted}"
    for what, names in (("aliases", coverage.missed_aliases), ("targets", coverage.missed_targets)):
        if names:
            listed = printable(", ".join(names))
            yield from textwrap.wrap(
                listed,
                width=100,
                initial_indent=f"  {what} no case reached:  ",
                subsequent_indent=" " * 29,
                break_long_words=False,
                break_on_hyphens=False,
            )


def _failure(file: str, result: Result, painter: Painter) -> Iterator[str]:
    """Yield one failed case: what differs, where the file expects it, and what happened."""
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
        yield from (f"    {told}" for told in story(played.observed))


def _mismatch(mismatch: Mismatch, painter: Painter) -> Iterator[str]:
    head = f"  {printable(mismatch.check)} (line {mismatch.position[0]})"
    if mismatch.message is not None:
        yield f"{head}: {printable(mismatch.message)}"
        return
    yield head
    for mark, text in _diff(mismatch.expected, mismatch.actual):
        words = f"    {mark} {printable(cut(text, LONGEST))}"
        yield painter.error(words) if mark == "-" else painter.good(words) if mark == "+" else words


def _diff(expected: Sequence[str], actual: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the lines of both with `-` before what was only expected and `+` before what was only found."""
    for tag, low, high, start, end in SequenceMatcher(None, expected, actual, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from ((" ", line) for line in expected[low:high])
        else:
            yield from (("-", line) for line in expected[low:high])
            yield from (("+", line) for line in actual[start:end])


def story(observed: Observed) -> list[str]:
    """Return what happened, a line for each attempt and one for the answer, with the times they were at."""
    width = max((len(attempt.target) for attempt in observed.attempts), default=0)
    rows = [(shown(one.started_s), f"{one.target:<{width}}  {_outcome(one)}") for one in observed.attempts]
    rows.append((shown(observed.elapsed_s), _answer(observed)))
    stamps = max(len(stamp) for stamp, _ in rows)
    lines = [f"{stamp:>{stamps}}  {printable(cut(text, LONGEST))}" for stamp, text in rows]
    if observed.skipped:
        lines.insert(0, f"{'':>{stamps}}  passed over, in cooldown: {printable(', '.join(observed.skipped))}")
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
    said = f", {_quoted(observed.text)}" if observed.text is not None else ""
    why = f" {observed.error}" if observed.error else ""
    if observed.error and not observed.attempts and not observed.fault and isinstance(observed.body, dict):
        why += f": {observed.body['error']['message']}"
    return f"the client gets {observed.status}{why}{said}"


def _path(result: Result) -> str:
    """Return the targets that a passed case went through, repeats counted: `a ×2 → b`."""
    attempts = [attempt.target for attempt in result.played[-1].observed.attempts] if result.played else []
    steps: list[tuple[str, int]] = []
    for target in attempts:
        if steps and steps[-1][0] == target:
            steps[-1] = (target, steps[-1][1] + 1)
        else:
            steps.append((target, 1))
    return printable(" → ".join(target if times == 1 else f"{target} ×{times}" for target, times in steps))


def _quoted(text: str | None) -> str:
    return json.dumps(cut(text or "", WIDEST), ensure_ascii=False)


def file_as_json(result: FileResult) -> JsonObject:
    """Return one file's results as `test --format json` shows them."""
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
    case = result.case
    return {
        "name": case.name,
        "line": case.position[0],
        "column": case.position[1],
        "ok": result.ok,
        "failures": [_mismatch_as_json(one, None) for one in result.mismatches]
        + [_mismatch_as_json(one, played.number) for played in result.played for one in played.mismatches],
        "requests": [_played_as_json(played) for played in result.played],
    }


def _mismatch_as_json(mismatch: Mismatch, request: int | None) -> JsonObject:
    return {
        "check": mismatch.check,
        "request": request,
        "line": mismatch.position[0],
        "column": mismatch.position[1],
        "message": mismatch.message,
        "expected": list(mismatch.expected),
        "actual": list(mismatch.actual),
    }


def _played_as_json(played: Played) -> JsonObject:
    observed = played.observed
    return {
        "alias": observed.alias,
        "target": observed.target,
        "status": observed.status,
        "error": observed.error,
        "text": observed.text,
        "broken": observed.broken,
        "elapsed_s": round(observed.elapsed_s, 6),
        "skipped": list(observed.skipped),
        "attempts": [
            {
                "target": attempt.target,
                "kind": attempt.kind,
                "status": attempt.status,
                "at_s": round(attempt.started_s, 6),
                "took_s": round(attempt.ended_s - attempt.started_s, 6),
            }
            for attempt in observed.attempts
        ],
        "fault": observed.fault,
    }


def coverage_as_json(config: str, coverage: Coverage) -> JsonObject:
    """Return how much of one policy is reached."""
    return {
        "config": config,
        "percent": coverage.percent,
        "aliases": len(coverage.aliases),
        "targets": len(coverage.targets),
        "missed_aliases": list(coverage.missed_aliases),
        "missed_targets": list(coverage.missed_targets),
    }


def failure_text(file: str, result: Result) -> str:
    """Return a failed case in plain words, as the text report shows it."""
    return "\n".join(_failure(file, result, Painter(colour=False))).strip("\n")
