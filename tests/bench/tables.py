"""The tables, in Markdown: medians, and beside rates how many times the aiohttp relay's."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.expectations import judged
from tests.bench.figures import Figure, Run, number
from tests.bench.peers import RELAY


def report(run: Run, *, folded: bool = False) -> str:
    """Return everything a run found; `folded` hides the figures behind a line, as a README would."""
    measures = list(dict.fromkeys(figure.measure for figure in run.figures))
    figures = "\n\n".join(f"**{measure}**\n\n{_table(run, measure)}" for measure in measures)
    if folded:
        figures = f"<details><summary>All figures</summary>\n\n{figures}\n\n</details>"
    notes = "\n".join(f"- {note}" for note in run.notes)
    shown = "**what it must show**\n\n" + expectations(run)
    parts = (machine(run), shown, figures, notes) if folded else (machine(run), figures, notes, shown)
    return "\n\n".join(part for part in parts if part)


def machine(run: Run) -> str:
    """Return where and how it was measured, in a sentence or two."""
    it, how = run.machine, run.settings
    return (
        f"{it['cpu']}, {it['cores']} cores, {it['memory_gb']} GB, Linux {it['kernel']}, Python {it['python']},"
        f" {it['nginx']}, {it['wrk']}; commit {it['commit']}. Each figure is the median of {how['rounds']} rounds of"
        f" {how['seconds']:g} s, taken in rotation. In brackets: times the {RELAY}'s."
        f" Other work took {it['others_percent']:g} % of the machine meanwhile"
        + (", so rates and latencies say little; CPU times are judged." if run.disturbed else ".")
    )


def expectations(run: Run) -> str:
    """Return what was asked for beside what was measured."""
    lines = [_line(["measure", "wanted", "measured", ""]), _line(["---"] * 4)]
    lines += [_line([row.measure, row.wanted, row.measured, row.verdict]) for row in judged(run)]
    return "\n".join(lines)


def _table(run: Run, measure: str) -> str:
    figures = [figure for figure in run.figures if figure.measure == measure]
    cases = list(dict.fromkeys(figure.case for figure in figures))
    peers = list(dict.fromkeys(figure.peer for figure in figures))
    lines = [_line(["", *cases]), _line(["---", *["---:"] * len(cases)])]
    lines += [_line([peer, *(_cell(run, figures, case, peer) for case in cases)]) for peer in peers]
    return "\n".join(lines)


def _cell(run: Run, figures: Sequence[Figure], case: str, peer: str) -> str:
    for figure in figures:
        if (figure.case, figure.peer) == (case, peer):
            ratio = run.ratio(figure.measure, case, peer, RELAY) if figure.unit == "/s" and peer != RELAY else None
            return number(figure.value) + (f" ({ratio:.2g}×)" if ratio is not None else "")
    return "–"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
