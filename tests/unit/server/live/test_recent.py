from __future__ import annotations

import time

from gateway.server.live.recent import KEPT, Recent
from gateway.server.live.watching import UNWATCHED_S, Watching
from gateway.telemetry.observer import EndedRow, Observer
from gateway.telemetry.report import CallReport


def row(alias: str, *, ended_at: float = 0.0) -> EndedRow:
    return (CallReport(alias=alias), "chat", 200, False, None, None, None, 0.1, ended_at)


def numbered(recent: Recent) -> list[tuple[int, str]]:
    return [(number, one.report.alias) for number, one in recent.after(0)]


def test_requests_that_ended_before_somebody_looks_get_numbers_then() -> None:
    recent = Recent()
    recent.keep([row("a"), row("b")])
    assert recent.last == 0
    recent.begin()
    assert numbered(recent) == [(1, "a"), (2, "b")]


def test_numbers_go_on_where_they_ended_and_leave_out_what_nobody_could_see() -> None:
    recent = Recent()
    recent.begin()
    for name in ("a", "b"):
        recent.keep([row(name)])
        recent.hear([row(name)])
    recent.end()
    recent.keep([row("c")])
    recent.begin()
    assert numbered(recent) == [(1, "a"), (2, "b"), (3, "c")]
    recent.end()
    recent.keep([row(str(number)) for number in range(2 * KEPT)])
    recent.begin()
    assert (recent.last, numbered(recent)[0]) == (3 + KEPT, (4, str(KEPT)))


def test_a_batch_of_those_that_nobody_watches_costs_no_call_of_ours() -> None:
    observer = Observer()
    Watching(observer)
    assert [type(listener).__name__ for listener in observer.listeners] == ["builtin_function_or_method"]
    assert observer.of_own == ()


def test_listeners_of_the_page_leave_when_nobody_has_looked_for_long() -> None:
    observer = Observer()
    watching = Watching(observer)
    watching.look()
    assert len(observer.listeners) == 3
    for listener in observer.listeners:
        listener([row("a", ended_at=time.time() + 2 * UNWATCHED_S)])
    assert (len(observer.listeners), watching.is_counting, watching.recent.last) == (1, False, 1)
    watching.recent.begin()
    assert numbered(watching.recent) == [(1, "a")]
