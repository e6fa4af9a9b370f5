"""What is counted in plain dicts and arrays is shown once, by each of its metrics."""

from __future__ import annotations

from collections import deque

from prometheus_client import CollectorRegistry

from gateway.telemetry.counters import MAX_EXEMPLARS, SETTLED, Counts, RequestCounts, Times
from gateway.telemetry.exposition import exposition

OPEN = "application/openmetrics-text"


class Made:
    """The counts of requests, with metrics of short names."""

    def __init__(self) -> None:
        self.requests = Counts("requests_total", "Requests.", ["alias", "operation", "status"])
        self.attempts = Counts("attempts_total", "Attempts.", ["kind", "target"])
        self.answers = Counts("answers_total", "Answers.", ["alias", "fallback", "target"])
        self.tokens = Counts("tokens_total", "Tokens.", ["alias", "direction", "target"])
        self.seconds = Times("seconds", "Seconds.", "alias")
        self.first_content = Times("content", "Seconds.", "alias")
        self.called = Times("called", "Seconds.", "target")
        self.gathered = RequestCounts(
            requests=self.requests,
            attempts=self.attempts,
            answers=self.answers,
            tokens=self.tokens,
            seconds=self.seconds,
            first_content=self.first_content,
            called=self.called,
        )

    def settle(self) -> None:
        deque(self.gathered.settling(), maxlen=0)

    def samples(self) -> set[str]:
        """Return the samples but the buckets."""
        members = (self.requests, self.attempts, self.answers, self.tokens, self.seconds, self.first_content)
        lines = shown(*members, self.called)
        return {line for line in lines if line[0] != "#" and "_bucket" not in line}


def shown(*members: Counts | Times, accept: str = "") -> list[str]:
    pieces, _ = exposition([member.family() for member in members], CollectorRegistry(), accept)
    return b"".join(pieces).decode().splitlines()


def test_requests_are_shown_once_by_each_of_their_metrics() -> None:
    made = Made()
    made.gathered.add("a", "chat", 200, 0.02, {"prompt": 5}, "up/m")
    made.settle()
    made.settle()
    made.gathered.add("a", "chat", 200, 0.3, {"prompt": 1, "completion": 2}, "up/m")
    made.attempts.counts["ok", "up/m"] += 1
    made.gathered.add("a", "chat", 502, 0.02, None, "")
    made.gathered.add("", "chat", 404, 0.02, None, "")
    made.settle()
    assert made.samples() == {
        'requests_total{alias="a",operation="chat",status="200"} 2.0',
        'requests_total{alias="a",operation="chat",status="502"} 1.0',
        'requests_total{alias="",operation="chat",status="404"} 1.0',
        'attempts_total{kind="ok",target="up/m"} 3.0',
        'answers_total{alias="a",fallback="no",target="up/m"} 2.0',
        'seconds_count{alias="a"} 3.0',
        'seconds_sum{alias="a"} 0.34',
        'tokens_total{alias="a",direction="prompt",target="up/m"} 6.0',
        'tokens_total{alias="a",direction="completion",target="up/m"} 2.0',
    }
    assert 'seconds_bucket{alias="a",le="0.025"} 2.0' in shown(made.seconds)


def test_streams_have_the_time_to_their_content_from_arrival_and_from_the_call() -> None:
    made = Made()
    made.gathered.add_stream("a", "chat", 200, 9.0, {"prompt": 5, "cached": 3}, "up/m", 0.5, 125.0)
    made.gathered.add_stream("a", "chat", 200, 2.0, None, "", 1.5, 0.0)
    made.gathered.add_stream("a", "chat", 502, 3.0, None, "up/m", 0.5, 375.0)
    made.settle()
    assert made.samples() == {
        'requests_total{alias="a",operation="chat",status="200"} 2.0',
        'requests_total{alias="a",operation="chat",status="502"} 1.0',
        'attempts_total{kind="ok",target="up/m"} 2.0',
        'answers_total{alias="a",fallback="no",target="up/m"} 1.0',
        'seconds_count{alias="a"} 3.0',
        'seconds_sum{alias="a"} 14.0',
        'content_count{alias="a"} 3.0',
        'content_sum{alias="a"} 2.5',
        'called_count{target="up/m"} 2.0',
        'called_sum{target="up/m"} 0.5',
        'tokens_total{alias="a",direction="prompt",target="up/m"} 5.0',
        'tokens_total{alias="a",direction="cached",target="up/m"} 3.0',
    }
    assert 'called_bucket{target="up/m",le="0.25"} 1.0' in shown(made.called)


def test_what_a_broken_off_scrape_has_left_is_settled_by_the_next_one() -> None:
    """A client that leaves in the middle of its scrape ends it there."""
    made = Made()
    for number in range(SETTLED * 2):
        made.gathered.add(f"a{number}", "chat", 200, 0.02, None, "up/m")
    broken_off = made.gathered.settling()
    next(broken_off)
    del broken_off
    made.gathered.add("last", "chat", 200, 0.02, None, "up/m")
    assert made.attempts.counts["ok", "up/m"] == SETTLED
    made.settle()
    assert made.attempts.counts["ok", "up/m"] == SETTLED * 2 + 1


def test_two_scrapes_at_once_settle_everything_once() -> None:
    made = Made()
    for number in range(SETTLED * 3):
        made.gathered.add(f"a{number}", "chat", 200, 0.02, None, "up/m")
    one, other = made.gathered.settling(), made.gathered.settling()
    next(one)
    next(other)
    made.gathered.add("last", "chat", 200, 0.02, None, "up/m")
    deque(one, maxlen=0)
    deque(other, maxlen=0)
    assert made.attempts.counts["ok", "up/m"] == SETTLED * 3 + 1


def test_the_last_trace_of_a_bucket_is_its_example() -> None:
    times = Times("seconds", "Seconds.", "alias")
    times.add("a", 0.02)
    times.exemplify("a", 0.021, "0" * 31 + "1", 100.0)
    times.exemplify("a", 0.022, "0" * 31 + "2", 101.5)
    assert (
        'seconds_bucket{alias="a",le="0.025"} 1.0 # {trace_id="00000000000000000000000000000002"} 0.022 101.500'
        in shown(times, accept=OPEN)
    )
    assert "#" not in "".join(line for line in shown(times) if not line.startswith("#"))


def test_traces_are_kept_of_a_bounded_number_of_aliases_those_of_late() -> None:
    times = Times("seconds", "Seconds.", "alias")
    for number in range(MAX_EXEMPLARS + 1):
        for alias in (f"a{number}", "often"):
            times.add(alias, 0.02)
            times.exemplify(alias, 0.02, f"{number:032x}", 100.0)
    found = [line for line in shown(times, accept=OPEN) if "trace_id" in line]
    assert len(found) == MAX_EXEMPLARS
    assert any('alias="often"' in line for line in found)
    assert not any('alias="a0"' in line for line in found)
