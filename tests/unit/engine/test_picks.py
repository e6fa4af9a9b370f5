"""How a pool orders its members: shares, stability, and what a changed weight moves."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine import picks
from gateway.engine.picks import first_shares, put_better_first, weighted
from gateway.policy.rendezvous import Rendezvous
from tests.paths import ROOT

KEYS = 100_000
NAMES = (b"openai/gpt-5.5", b"azure-eu/gpt-5.5", b"azure-us/gpt-5.5", b"vllm/gpt-5.5")
WEIGHTS = (9.0, 3.0, 1.0, 0.0)

rendezvous = lru_cache(Rendezvous)


def sticky(names: Sequence[bytes], weights: Sequence[float], key: bytes) -> list[int]:
    return picks.sticky(rendezvous(tuple(names)), weights, key)


WEIGHT = st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, 9.0, 100.0])


def keys(number: int = KEYS) -> Sequence[bytes]:
    return [b"session-%d" % each for each in range(number)]


def assert_shares(counts: Counter[int], shares: Sequence[float], number: int) -> None:
    """Fail if a count is further than four standard deviations from its share."""
    for member, share in enumerate(shares):
        deviation = math.sqrt(number * share * (1 - share))
        assert abs(counts[member] - number * share) <= 4 * deviation, (member, counts[member], number * share)


@pytest.mark.parametrize("weights", [WEIGHTS, (1.0,) * 10, (0.05, 0.95), (1.0, 0.0)])
def test_first_choices_follow_the_weights(weights: Sequence[float]) -> None:
    draw = random.Random(17).random
    drawn = Counter(weighted(weights, draw)[0] for _ in range(KEYS))
    assert_shares(drawn, first_shares(weights), KEYS)
    names = [b"up/%d" % member for member in range(len(weights))]
    assert_shares(Counter(sticky(names, weights, key)[0] for key in keys()), first_shares(weights), KEYS)


def test_second_choices_follow_the_weights_of_those_that_are_left() -> None:
    draw = random.Random(17).random
    seconds = {"weighted": Counter[int](), "sticky": Counter[int]()}
    for key in keys():
        for name, order in (("weighted", weighted(WEIGHTS, draw)), ("sticky", sticky(NAMES, WEIGHTS, key))):
            if order[0] == 0:
                seconds[name][order[1]] += 1
    for counts in seconds.values():
        assert_shares(counts, [0.0, 3 / 4, 1 / 4, 0.0], counts.total())


@given(weights=st.lists(WEIGHT, min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_an_order_has_each_member_once_and_weight_0_last(weights: list[float], seed: int) -> None:
    draw = random.Random(seed).random
    names = [b"up/%d" % member for member in range(len(weights))]
    for order in (weighted(weights, draw), sticky(names, weights, b"%d" % seed)):
        assert sorted(order) == list(range(len(weights)))
        zeros = [weights[member] == 0 for member in order]
        assert zeros == sorted(zeros)


def test_a_draw_of_0_is_a_draw() -> None:
    assert weighted((1.0, 2.0, 0.0), lambda: 0.0) == [0, 1, 2]


def test_members_of_weight_0_alone_have_equal_parts() -> None:
    draw = random.Random(17).random
    assert first_shares((0.0, 0.0)) == [0.5, 0.5]
    assert_shares(Counter(weighted((0.0, 0.0), draw)[0] for _ in range(KEYS)), [0.5, 0.5], KEYS)


def test_equal_weights_give_the_order_of_the_general_formula() -> None:
    for key in keys(1000):
        assert sticky(NAMES, (1.0,) * 4, key) == sticky(NAMES, (1.0, 1.0, 1.0, 1.0 + 1e-12), key)
    for seed in range(1000):
        equal = weighted((1.0,) * 4, random.Random(seed).random)
        assert equal == weighted((1.0, 1.0, 1.0, 1.0 + 1e-12), random.Random(seed).random)


def test_a_changed_weight_moves_only_the_keys_that_must_move() -> None:
    """The third member's weight grows from 1 to 3: of 13 parts to 15, it gains from the others in their proportion."""
    before = [sticky(NAMES, WEIGHTS, key)[0] for key in keys()]
    after = [sticky(NAMES, (9.0, 3.0, 3.0, 0.0), key)[0] for key in keys()]
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {new for _, new in moved} == {2}
    must_move = 3 / 15 - 1 / 13
    assert abs(len(moved) - KEYS * must_move) <= 4 * math.sqrt(KEYS * must_move)


def test_a_new_member_takes_keys_and_no_others_move() -> None:
    before = [sticky(NAMES[:3], WEIGHTS[:3], key)[0] for key in keys(10_000)]
    after = [sticky((*NAMES[:3], b"new/gpt-5.5"), (*WEIGHTS[:3], 1.0), key)[0] for key in keys(10_000)]
    assert all(new in {old, 3} for old, new in zip(before, after, strict=True))


def test_a_key_keeps_its_member_whatever_the_order_of_the_file() -> None:
    mixed = [2, 0, 3, 1]
    for key in keys(1000):
        order = sticky(NAMES, WEIGHTS, key)
        other = sticky([NAMES[place] for place in mixed], [WEIGHTS[place] for place in mixed], key)
        assert [mixed[place] for place in other] == order


PROGRAM = """
from gateway.engine.picks import sticky
from gateway.policy.rendezvous import Rendezvous
members, weights = Rendezvous((b"a/x", b"b/x", b"c/x")), (9.0, 3.0, 1.0)
print([sticky(members, weights, b"session-%d" % each) for each in range(200)])
"""


def test_processes_with_other_hash_seeds_agree() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_the_order_of_a_key_is_the_same_in_every_release() -> None:
    """A change of these would move the sessions of everybody who upgrades."""
    assert [sticky(NAMES, (1.0, 2.0, 1.0, 0.0), b"%d" % each) for each in range(6)] == PINNED


PINNED = [[2, 0, 1, 3], [0, 2, 1, 3], [0, 2, 1, 3], [2, 1, 0, 3], [0, 1, 2, 3], [2, 0, 1, 3]]


@pytest.mark.parametrize(
    ("loads", "weights", "expected"),
    [
        ([2.0, 1.0], [1, 1, 1], [1, 0, 2]),
        ([1.0, 2.0], [1, 1, 1], [0, 1, 2]),
        ([1.0, 1.0], [1, 1, 1], [0, 1, 2]),
        ([3.0, 4.0], [1, 2, 1], [1, 0, 2]),
        ([2.0, 1.0], [1, 0, 0], [0, 1, 2]),
        ([2.0, 1.0], [0, 0, 0], [0, 1, 2]),
    ],
    ids=["better first", "first already", "a tie keeps the draw", "for its weight", "never one of weight 0", "all 0"],
)
def test_the_better_of_two(loads: list[float], weights: list[float], expected: list[int]) -> None:
    order = [0, 1, 2]
    put_better_first(order, weights, loads)
    assert order == expected
