"""What several processes tell, in one."""

from __future__ import annotations

import orjson

from gateway.server.live.counts import AliasCounts, Failure, TargetCounts
from gateway.server.live.part import KeptAnswers, Part, RedisSeen, joined

KEY = ("up/a", "http://up.example/v1", "UP_KEY")


def part(worker: int, *, failed_at: float, is_draining: bool = False) -> Part:
    return Part(
        worker=worker,
        requests=10,
        in_flight=2,
        waiting_for=("litellm",) if worker else (),
        is_draining=is_draining,
        counted_since=100.0 + worker,
        busy={KEY: 2},
        minute={"up/a": TargetCounts.heard(4, 1, {"20": 3})},
        quarter={"fast": AliasCounts(4, 1, 6, 2, 1)},
        failures={"up/a": Failure("timeout", None, failed_at), f"up/{worker}": Failure("overloaded", 503, 1.0)},
        kept=KeptAnswers(3, 4096, 65536),
        redis=RedisSeen("redis://host:6379/0", is_up=worker == 0),
    )


def heard(told: Part) -> Part:
    """Return a part as it comes out of the channel, which takes JSON."""
    return Part.heard(orjson.loads(orjson.dumps(told.told(), option=orjson.OPT_NON_STR_KEYS)))


def test_counts_are_added_and_the_latest_failure_stays() -> None:
    whole = joined([heard(part(0, failed_at=7.0)), heard(part(1, failed_at=5.0))])
    assert (whole.requests, whole.in_flight, whole.waiting_for) == (20, 4, ("litellm",))
    assert whole.busy == {KEY: 4}
    minute = whole.minute["up/a"]
    assert (minute.calls, minute.failed, minute.times) == (8, 2, {20: 6})
    assert (whole.quarter["fast"].requests, whole.quarter["fast"].fell) == (8, 2)
    assert whole.quarter["fast"].told() == [8, 2, 12, 4, 2]
    assert whole.quarter["fast"].hit_share == 0.75
    assert whole.kept == (6, 8192, 131072)
    assert whole.redis == ("redis://host:6379/0", False), "of all workers"
    assert whole.failures["up/a"].at == 7.0
    assert sorted(whole.failures) == ["up/0", "up/1", "up/a"]
    assert whole.counted_since == 101.0


def test_all_are_draining_once_each_is() -> None:
    leaving, staying = part(0, failed_at=1.0, is_draining=True), part(1, failed_at=1.0)
    assert not joined([leaving, staying]).is_draining
    assert joined([leaving]).is_draining
