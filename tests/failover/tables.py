"""Showing results: one run for people, one run as JSON, several runs side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.failover.runner import Result
from tests.failover.scenario import CHAT

SCORES: Final = ("pass", "ok", "fail")
_SECTIONS: Final = {
    CHAT.name: "chat",
    **dict.fromkeys(("responses", "messages"), "Responses, Messages"),
    **dict.fromkeys(("speech", "transcriptions"), "speech, transcriptions"),
}
"""Route → section of `short_sums`; others translate."""

Run: TypeAlias = dict[str, Any]
"""What `save` writes: `name` of the endpoint and `results`."""


def as_run(name: str, results: Sequence[Result]) -> Run:
    """Return results as plain values."""
    return {
        "name": name,
        "results": [
            {
                "scenario": result.scenario.full_name,
                "score": result.verdict.score,
                "caller": result.verdict.caller,
                "calls": list(result.verdict.calls),
                "told": list(result.verdict.told),
                "conduct": list(result.verdict.conduct),
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
    rows = [(row["scenario"], row["score"], row["caller"], _calls(row), _reasons(row)) for row in run["results"]]
    table = _columns([("scenario", "score", "the caller got", "calls", ""), *rows])
    of_routes = [sums(run)] if len(_by_route(run)) > 1 else []
    return "\n\n".join([table, *of_routes, summary(run)])


def sums(run: Run) -> str:
    """Return the totals by route as a Markdown table."""
    lines = [_markdown(["client", "upstream", "scenarios", *SCORES]), "|---|---|---:|---:|---:|---:|"]
    for route, rows in _by_route(run).items():
        client, _, upstream = route.partition("-to-")
        lines.append(_markdown([client, upstream or "the same", *_counts(rows)]))
    lines.append(_markdown(["**all**", "", *(f"**{count}**" for count in _counts(run["results"]))]))
    return "\n".join(lines)


def short_sums(run: Run) -> str:
    """Return the totals in five lines of a Markdown table."""
    sections: dict[str, list[Run]] = {}
    for route, rows in _by_route(run).items():
        sections.setdefault(_SECTIONS.get(route, "translated: chat, Responses, Messages, Gemini"), []).extend(rows)
    lines = [_markdown(["", "scenarios", *SCORES]), "|---|---:|---:|---:|---:|"]
    lines += [_markdown([section, *_counts(rows)]) for section, rows in sections.items()]
    lines.append(_markdown(["**all**", *(f"**{count}**" for count in _counts(run["results"]))]))
    return "\n".join(lines)


def _counts(rows: Sequence[Run]) -> list[str]:
    scores = Counter(row["score"] for row in rows)
    return [str(count) for count in (len(rows), *(scores[score] for score in SCORES))]


def _by_route(run: Run) -> dict[str, list[Run]]:
    routes: dict[str, list[Run]] = {}
    for row in run["results"]:
        routes.setdefault(row["scenario"].partition("@")[2] or CHAT.name, []).append(row)
    return routes


def summary(run: Run) -> str:
    """Return a line of totals."""
    return f"{run['name']}: {len(run['results'])} scenarios: {_totals(run)}"


def side_by_side(runs: Sequence[Run]) -> str:
    """Return several runs as one Markdown table, by the scenarios of the first; modes that went alike share a line."""
    found = [{row["scenario"]: row for row in run["results"]} for run in runs]
    modes: dict[tuple[str, ...], list[str]] = {}
    for name in found[0]:
        mode, _, fault = name.partition("-")
        modes.setdefault((fault, *(_cell(rows.get(name)) for rows in found)), []).append(mode)
    head = ["scenario", "mode", *(run["name"] for run in runs)]
    lines = [_markdown(head), _markdown(["---"] * len(head))]
    lines += [_markdown([fault, ", ".join(names), *cells]) for (fault, *cells), names in modes.items()]
    lines.append(_markdown(["**all**", "", *(f"**{_totals(run)}**" for run in runs)]))
    return "\n".join(lines)


def _totals(run: Run) -> str:
    scores = Counter(row["score"] for row in run["results"])
    text = f"{scores['pass']} pass, {scores['ok']} ok, {scores['fail']} fail"
    told = sum(bool(row["told"]) for row in run["results"])
    return f"{text} ({told} for what the caller got)" if scores["fail"] else text


def _cell(row: Run | None) -> str:
    if row is None:
        return "–"
    return f"**fail**: {_reasons(row)}" if row["score"] == "fail" else row["score"]


def _reasons(row: Run) -> str:
    return "; ".join([*row["told"], *row["conduct"]])


def _calls(row: Run) -> str:
    return "+".join(map(str, row["calls"]))


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
