"""What a request is expected to use of tokens and dollars: what it reserves."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Final, TypeAlias

from gateway.adapters.base import Operation
from gateway.concurrency.steps import in_turns
from gateway.operations.content import BYTES_PER_TOKEN
from gateway.policy.limits import FREE, Price
from gateway.policy.table import Route, Step
from gateway.policy.target import Target
from gateway.wire.json import Json

PriceOf: TypeAlias = Callable[[Target], Price | None]
"""Returns the price of a target whose step has none."""

OUTPUT_TOKENS: Final = 1000
"""Expected of a text whose length the request does not limit."""
MAX_KEPT: Final = 10_000
"""Routes whose prices are kept. Beyond, all are looked up anew."""

_PER: Final = 1_000_000
"""Tokens that a price is of."""


Estimate: TypeAlias = tuple[int, int]
"""The tokens of input and of output that a request is expected to use. A plain tuple: each request makes one."""

NOTHING: Final[Estimate] = (0, 0)


def estimate(operation: Operation, params: Mapping[str, Json]) -> Estimate | Coroutine[None, None, Estimate]:
    """Return what a request is expected to use: its bytes of text over 4, and the output that it allows, for each text.

    A large body is read in slices, between which other requests run: then what is returned has to be awaited.
    """
    if operation.only_counts:
        return NOTHING
    size = operation.text_bytes(params)
    if isinstance(size, int):
        return size // BYTES_PER_TOKEN, output_tokens(operation, params)
    return _estimate(operation, params, size)


async def _estimate(operation: Operation, params: Mapping[str, Json], size: Generator[None, None, int]) -> Estimate:
    return await in_turns(size) // BYTES_PER_TOKEN, output_tokens(operation, params)


def output_tokens(operation: Operation, params: Mapping[str, Json]) -> int:
    """Return the tokens of output that a request allows, for each text that it asks for."""
    if not operation.generates_text:
        return 0
    return (operation.max_tokens(params) or OUTPUT_TOKENS) * operation.texts(params)


class Prices:
    """The prices of a chain's targets, by the name of the target."""

    __slots__ = ("_by_target", "_highest", "unknown")

    def __init__(self, steps: Sequence[Step], price_of: PriceOf | None) -> None:
        self._by_target: dict[str, Price | None] = {}
        """The highest, where a chain has a target twice."""
        for step in steps:
            name, price = step.target.name, _price(step, price_of)
            self._by_target[name] = _higher(price, self._by_target.get(name))
        self.unknown = frozenset([name for name, price in self._by_target.items() if price is None])
        """The names of targets that have no price."""
        highest: Price | None = None
        for price in self._by_target.values():
            highest = _higher(highest, price)
        self._highest = highest or FREE

    def dollars(self, given: int, output: int, cached: int = 0, *, target: str | None = None) -> float:
        """Return what so many tokens cost at a target, of whose input so many were cached; or at the dearest."""
        price = self._by_target.get(target or "") or self._highest
        cached = min(cached, given)
        return ((given - cached) * price.input + cached * price.cached_input + output * price.output) / _PER


class KeptPrices:
    """The prices of the routes that were asked for lately."""

    def __init__(self) -> None:
        self._prices: dict[str, tuple[Route, Prices]] = {}
        """By alias: the newest route and its prices."""

    def of(self, route: Route, price_of: PriceOf | None) -> Prices:
        """Return the prices of a route's targets."""
        kept = self._prices.get(route.alias)
        if kept is None or kept[0] is not route:
            if len(self._prices) >= MAX_KEPT:
                self._prices.clear()
            kept = self._prices[route.alias] = (route, Prices(route.steps, price_of))
        return kept[1]


def _higher(one: Price | None, other: Price | None) -> Price | None:
    """Return the higher of two prices, of each sort of tokens; None if there is none."""
    if one is None or other is None:
        return one or other
    return Price(
        input=max(one.input, other.input),
        output=max(one.output, other.output),
        cached_input=max(one.cached_input, other.cached_input),
    )


def _price(step: Step, price_of: PriceOf | None) -> Price | None:
    if step.price is not None:
        return step.price
    found = None if price_of is None else price_of(step.target)
    return FREE if found is None and step.target.endpoint.kind == "mock" else found
