"""The soak at a small scale, and what it finds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.load import Counted, Streamed
from tests.soak import Soaked, soak

GOOD = Soaked(
    seconds=120.0,
    plain=Counted(60_000, 120.0, 1.0, 2.0),
    streams=Streamed(streams=100, seconds=120.0, broken=0, first_ms=[], late_ms=[]),
    changes=1200,
    broken=120,
    generation=1000,
    refused=100,
    memory_mb=[50.0 + min(second, 60) / 10 for second in range(120)],
    files=[90],
    behind=[3],
    in_sync=True,
)


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.skipif(shutil.which("wrk") is None or shutil.which("taskset") is None, reason="wrk is not installed")
def test_nothing_is_lost_in_a_short_run(tmp_path: Path) -> None:
    soaked = soak(tmp_path, seconds=2.0, rate=100.0)
    assert soaked.findings() == []
    assert soaked.changes > 20
    assert soaked.generation > 2


def test_a_good_run_has_no_finding_and_its_figures_are_told() -> None:
    assert GOOD.findings() == []
    assert "60,000 requests, 500/s, none lost" in GOOD.lines()[1]
    assert GOOD.lines()[3].startswith("memory 56.0 MB after the warm-up, 56.0 to 56.0 since, +0.0 at the end")


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"memory_mb": [50.0 + second / 10 for second in range(120)]}, "memory grew by 5.0 MB after the warm-up"),
        ({"streams": replace(GOOD.streams, broken=1)}, "1 of 100 streams were lost or broken"),
        ({"in_sync": False}, "the last change is not what runs"),
        ({"refused": 0}, "of 1200 changes, 999 were loaded and 0 refused"),
        ({"behind": [3, 51]}, "what ran was 51 changes behind"),
    ],
    ids=["memory", "streams", "last", "refused", "behind"],
)
def test_what_is_not_as_promised_is_told(changed: dict[str, object], finding: str) -> None:
    assert replace(GOOD, **changed).findings() == [finding]  # type: ignore[arg-type]  # one field of any type
