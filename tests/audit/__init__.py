"""`make audit`: long probes that try to break in, or to stop the gateway, over real sockets against a real process.

A probe is a module in `tests/audit/probes/` with a function `probe`, sync or async:

    '''Odd model names through wildcards reach no foreign path.'''

    async def probe(scale: float) -> list[str]: ...

- The module's name is the probe's name (`--only NAME`), the first line of its docstring says what it tries.
- `scale` is 1.0 in `make audit`; a probe makes that share of its tries, at least one of each sort. The test suite runs
  every probe at SMOKE, so a probe at this scale takes a second or two and judges no figure that needs a long run.
- It returns its findings, each a sentence that says what was sent and what is wrong; an empty list is good.
- Return a `Findings` instead of a plain list to tell how many tries there were, and figures to print below the table.
- It talks to addresses of this machine only, ends every process that it starts by its id, and its tries are the same
  in each run: randomness comes from a fixed seed.

Modules without `probe`, or whose name begins with `_`, are helpers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SMOKE: Final = 0.01
"""The scale of the test suite."""


class Findings(list[str]):
    """What a probe found, and how much it tried."""

    def __init__(self, found: Iterable[str] = (), *, tried: int | None = None, figures: Iterable[str] = ()) -> None:
        """`tried`: number of tries; None if the probe does not count them. `figures`: lines to print."""
        super().__init__(found)
        self.tried = tried
        self.figures = list(figures)
