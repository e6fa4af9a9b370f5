"""What a request is expected to use of tokens and dollars: what it reserves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from gateway.adapters.base import Operation
from gateway.concurrency.steps import in_turns
from gateway.operations.content import BYTES_PER_TOKEN
from gateway.policy.limits import Price
from gateway.policy.table import Step
from gateway.policy.target import Target
from gateway.wire.json import Json

PriceOf: TypeAlias = Callable[[Target], Price | None]
"""Returns the price of a target whose step has none."""

OUTPUT_TOKENS: Final = 1000
"""Expected of a text whose length the request does not limit."""
MOCKED: Final = Price(input=0.0, output=0.0, cached_input=0.0)
"""What a mock costs."""

_PER: Final = 1_000_000
"""Tokens that a price is of."""


class Estimate(NamedTuple):
    """The tokens that a request is expected to use."""

    input: int
    output: int


NOTHING: Final = Estimate(0, 0)


async def estimate(operation: Operation, params: Mapping[str, Json]) -> Estimate:
    """Return what a request is expected to use: its bytes of text over 4, and the output that it allows, `n` times.

    A large body is read in slices, between which other requests run.
    """
    if operation.only_counts:
        return NOTHING
    steps = operation.text_bytes(params)
    try:
        next(steps)
    except StopIteration as end:
        size: int = end.value
    else:
        size = await in_turns(steps)
    output = 0
    if operation.generates_text:
        output = operation.max_tokens(params) or OUTPUT_TOKENS
        count = params.get("n")
        output = max(output, 0) * (count if type(count) is int and count > 1 else 1)
    return Estimate(size // BYTES_PER_TOKEN, output)


class Prices:
    """The prices of a chain's targets, by the name of the target."""

    __slots__ = ("_by_target", "_highest", "unknown")

    def __init__(self, steps: Sequence[Step], price_of: PriceOf | None) -> None:
        self._by_target = {step.target.name: _price(step, price_of) for step in steps}
        self.unknown = frozenset([name for name, price in self._by_target.items() if price is None])
        """The names of targets that have no price."""
        known = [price for price in self._by_target.values() if price is not None]
        self._highest = Price(
            input=max((price.input for price in known), default=0.0),
            output=max((price.output for price in known), default=0.0),
            cached_input=max((price.cached_input for price in known), default=0.0),
        )

    def dollars(self, given: int, output: int, cached: int = 0, *, target: str | None = None) -> float:
        """Return what so many tokens cost at a target, of whose input so many were cached; or at the dearest."""
        price = self._by_target.get(target or "") or self._highest
        cached = min(cached, given)
        return ((given - cached) * price.input + cached * price.cached_input + output * price.output) / _PER


def _price(step: Step, price_of: PriceOf | None) -> Price | None:
    if step.price is not None:
        return step.price
    found = None if price_of is None else price_of(step.target)
    return MOCKED if found is None and step.target.endpoint.kind == "mock" else found
