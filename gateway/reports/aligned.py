"""Rows of text with aligned columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from gateway.words import printable


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with aligned columns, two spaces apart, and an empty line at the end. The last cell is not padded."""
    columns = zip_longest(*(row[:-1] for row in rows), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield "  " + printable("  ".join([*cells, row[-1]])).rstrip()
    yield ""
