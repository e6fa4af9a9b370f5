"""The order of a chain's targets: in turn, those in cooldown last, those that cannot be asked never."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.rests import Rest
from gateway.engine.selection import Choice, next_target, targets_left
from gateway.policy.failures import Kind


@pytest.mark.parametrize(
    ("steps", "tried", "resting", "unsupported", "chosen", "left"),
    [
        pytest.param(3, [], {}, [], Choice(0), 3, id="the first one first"),
        pytest.param(3, [0], {}, [], Choice(1), 2, id="then the next"),
        pytest.param(3, [0, 0, 0], {}, [], Choice(1), 2, id="a retried one is one target"),
        pytest.param(3, [0, 1, 2], {}, [], None, 0, id="none after the last"),
        pytest.param(1, [0], {}, [], None, 0, id="none after the only one"),
        pytest.param(3, [], {0: Rest(9.0)}, [], Choice(1), 3, id="one that rests is passed over"),
        pytest.param(3, [0], {1: Rest(9.0)}, [], Choice(2), 2, id="one that rests is passed over later too"),
        pytest.param(3, [1], {}, [], Choice(2), 2, id="those behind come before one that rests no more"),
        pytest.param(3, [1, 2], {}, [], Choice(0), 1, id="one that rests no more is tried at the end"),
        pytest.param(4, [2, 3], {0: Rest(9.0)}, [], Choice(1), 2, id="of those passed over one that does not rest"),
        pytest.param(3, [1, 0], {}, [], Choice(2), 1, id="after one that rests no more none a second time"),
        pytest.param(
            3, [1, 2], {0: Rest(9.0)}, [], Choice(0, last_resort=True), 1, id="one that rests is the last resort"
        ),
        pytest.param(
            3, [], {0: Rest(9.0), 1: Rest(5.0), 2: Rest(7.0)}, [], Choice(1, last_resort=True), 3, id="which ends first"
        ),
        pytest.param(
            2,
            [],
            {1: Rest(5.0), 0: Rest(5.0)},
            [],
            Choice(0, last_resort=True),
            2,
            id="the first of two that end alike",
        ),
        pytest.param(2, [0, 1], {0: Rest(9.0), 1: Rest(5.0)}, [], None, 0, id="none that was tried before it rested"),
        pytest.param(
            2,
            [],
            {0: Rest(5.0, Kind.OVERLOADED), 1: Rest(9.0)},
            [],
            Choice(1, last_resort=True),
            2,
            id="one that asked for its rest comes after one that did not",
        ),
        pytest.param(
            2,
            [1],
            {0: Rest(5.0, Kind.RATE_LIMIT)},
            [],
            Choice(0, last_resort=True, not_before_s=5.0),
            1,
            id="and is waited for",
        ),
        pytest.param(3, [], {}, [0], Choice(1), 2, id="one that cannot be asked is passed over"),
        pytest.param(3, [0], {}, [1, 2], None, 0, id="and is not tried at the end"),
        pytest.param(
            2, [], {0: Rest(5.0), 1: Rest(9.0)}, [0], Choice(1, last_resort=True), 1, id="nor as a last resort"
        ),
        pytest.param(1, [], {0: Rest(5.0)}, [0], None, 0, id="nor when it is the only one"),
    ],
)
def test_the_next_target(
    steps: int,
    tried: Sequence[int],
    resting: Mapping[int, Rest],
    unsupported: Collection[int],
    chosen: Choice | None,
    left: int,
) -> None:
    assert next_target(steps, tried, resting=resting, unsupported=unsupported) == chosen
    assert targets_left(steps, tried, unsupported=unsupported) == left


@given(
    steps=st.integers(1, 6),
    rests=st.lists(st.dictionaries(st.integers(0, 5), st.floats(0, 60)), min_size=6, max_size=6),
    unsupported=st.frozensets(st.integers(0, 5)),
)
def test_each_target_that_can_be_asked_is_tried_once_whatever_rests(
    steps: int, rests: Sequence[Mapping[int, float]], unsupported: frozenset[int]
) -> None:
    unsupported = unsupported & frozenset(range(steps))
    tried: list[int] = []
    for rest in rests:
        resting = {step: Rest(ends_s) for step, ends_s in rest.items() if step < steps}
        choice = next_target(steps, tried, resting=resting, unsupported=unsupported)
        if choice is None:
            break
        assert choice.last_resort == (choice.step in resting)
        tried.append(choice.step)
    assert sorted(tried) == sorted(set(range(steps)) - unsupported)
    assert targets_left(steps, tried, unsupported=unsupported) == 0
