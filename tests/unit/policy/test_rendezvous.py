"""Numbers of keys and names: as many integers of 64 bits would give, each by itself, and as good as random."""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.rendezvous import Rendezvous

MASK = 2**64 - 1


def hashed(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def finalized(number: int) -> int:
    """MurmurHash3's fmix64, written as its author does."""
    number ^= number >> 33
    number = number * 0xFF51AFD7ED558CCD & MASK
    number ^= number >> 33
    number = number * 0xC4CEB9FE1A85EC53 & MASK
    return number ^ (number >> 33)


@given(names=st.lists(st.binary(max_size=20), max_size=40), key=st.binary(max_size=100))
def test_each_number_is_that_of_its_name_alone(names: list[bytes], key: bytes) -> None:
    expected = tuple(finalized(hashed(name) ^ hashed(key)) for name in names)
    assert Rendezvous(names).numbers(key) == expected


def test_the_finalizer_is_the_published_one() -> None:
    """Source: values of fmix64 in the tests of MurmurHash3 implementations."""
    assert finalized(0) == 0
    assert finalized(1) == 0xB456BCFC34C2CB2C


def test_a_flipped_bit_of_the_key_flips_half_of_the_bits_of_each_number() -> None:
    rendezvous = Rendezvous([b"a/x", b"b/x", b"c/x"])
    for place in range(3):
        flips = [
            (rendezvous.numbers(b"%d" % key)[place] ^ rendezvous.numbers(b"%d" % (key ^ 1))[place]).bit_count()
            for key in range(0, 2000, 2)
        ]
        assert abs(sum(flips) / len(flips) - 32) < 4 * 4 / len(flips) ** 0.5


def test_numbers_of_two_names_do_not_hang_together() -> None:
    """Where one is in the lower half, the other is as often in the lower as in the upper one."""
    rendezvous = Rendezvous([b"a/x", b"b/x"])
    lower = sum(
        (one < 2**63) == (other < 2**63) for one, other in map(rendezvous.numbers, map(b"%d".__mod__, range(4000)))
    )
    assert abs(lower - 2000) < 4 * 1000**0.5
