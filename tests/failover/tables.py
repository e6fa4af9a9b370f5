"""Showing results: one run for people, one run as JSON, several runs side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests.failover.runner import Result

Run: TypeAlias = dict[str, Any]
"""What `save` writes: `name` of the endpoint and `results`."""


def as_run(name: str, results: Sequence[Result]) -> Run:
    """Return results as plain values."""
    return {
        "name": name,
        "results": [
            {
                "scenario": result.scenario.name,
                "score": result.verdict.score,
                "caller": result.verdict.caller,
                "told_true": result.verdict.caller_told_true,
                "calls": list(result.verdict.calls),
                "reasons": list(result.verdict.reasons),
            }
            for result in results
        ],
    }


def save(run: Run, path: Path) -> None:
    """Write a run, for `side_by_side` later."""
    path.write_text(json.dumps(run, indent=1) + "\n")


def load(path: Path) -> Run:
    """Read what `save` wrote."""
    run: Run = json.loads(path.read_text())
    return run


def one_run(run: Run) -> str:
    """Return the table of one run."""
    rows = [
        (row["scenario"], row["score"], row["caller"], _calls(row), "; ".join(row["reasons"])) for row in run["results"]
    ]
    return _columns([("scenario", "score", "the caller got", "calls", ""), *rows]) + "\n\n" + summary(run)


def summary(run: Run) -> str:
    """Return a line of totals."""
    scores = Counter(row["score"] for row in run["results"])
    told = sum(row["told_true"] for row in run["results"])
    total = len(run["results"])
    return (
        f"{run['name']}: {total} scenarios: {scores['pass']} pass, {scores['ok']} ok, {scores['fail']} fail; "
        f"the caller was told the truth in {told}"
    )


def side_by_side(runs: Sequence[Run]) -> str:
    """Return several runs as one Markdown table, by the scenarios of the first."""
    head = ["scenario", *(run["name"] for run in runs)]
    lines = [_markdown(head), _markdown(["---"] * len(head))]
    found = [{row["scenario"]: row for row in run["results"]} for run in runs]
    lines += [_markdown([name, *(_cell(rows.get(name)) for rows in found)]) for name in found[0]]
    totals = [f"{count['pass']} pass, {count['ok']} ok, {count['fail']} fail" for count in map(_scores, runs)]
    lines.append(_markdown(["**all**", *(f"**{text}**" for text in totals)]))
    return "\n".join(lines)


def _scores(run: Run) -> Counter[str]:
    return Counter(row["score"] for row in run["results"])


def _cell(row: Run | None) -> str:
    if row is None:
        return "–"
    if row["score"] == "fail":
        return f"**fail**: {'; '.join(row['reasons'])}"
    return f"{row['score']}: {row['caller']}"


def _calls(row: Run) -> str:
    return "+".join(map(str, row["calls"]))


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
