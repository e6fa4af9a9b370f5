"""Bound requests: they hold what one account alone has, so they go to the target that made it and to no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from gateway.adapters.base import Operation
from gateway.adapters.events import Event, Stream
from gateway.concurrency.steps import in_turns
from gateway.engine.makers import Maker, Makers, account_of
from gateway.engine.missing_paths import MissingPaths
from gateway.policy.table import KEEPER, Route, Step
from gateway.wire.json import Json


class Bound(NamedTuple):
    """The only step of a chain that a request may be made to."""

    step: int
    by: str
    """The field of the request that binds it."""
    key: int | None = None
    """The position of the key that may be used, where the step's target has several."""

    def others(self, steps: int) -> frozenset[int]:
        """Return the positions of the other ones of `steps`."""
        return frozenset(range(steps)) - {self.step}

    def reason(self, steps: Sequence[Step]) -> str:
        """Return why no other target was asked, for the client's error; empty if there is no other."""
        if len(steps) == 1:
            return ""
        return f"; it is bound to {steps[self.step].target.name} by {self.by}, so no other target was asked"

    def kept(self, route: Route) -> Route:
        """Return a route whose bound step may use its one key only."""
        if self.key is None:
            return route
        steps = list(route.steps)
        steps[self.step] = replace(steps[self.step], key=self.key)
        return replace(route, steps=tuple(steps))


def relaying_steps(steps: Sequence[Step], operation: Operation, missing: MissingPaths, *, now_s: float) -> list[int]:
    """Return the positions of the steps that the operation is relayed to now."""
    return [
        position
        for position, step in enumerate(steps)
        if missing.carrier(step.target.endpoint, operation, now_s=now_s) == "relay"
    ]


async def bound(
    operation: Operation,
    params: Mapping[str, Json],
    steps: Sequence[Step],
    relaying: Sequence[int],
    makers: Makers,
    *,
    client: str | None,
) -> Bound | None:
    """Return the step that a request is bound to; None if it may go to any.

    That is the maker of the first id whose maker is known and in the chain, else the first of the `relaying` steps with
    its first key; for what Gemini keeps, the first step that is Gemini's. A chain without such a step
    translates each request, and says itself what it cannot translate.
    """
    keeping = [position for position, step in enumerate(steps) if step.target.endpoint.kind == KEEPER]
    if not relaying and not keeping:
        return None
    first: Bound | None = None
    for bond in await in_turns(operation.bound_to(params)):
        among = keeping if bond.is_kept else relaying
        if not among:
            continue
        maker = await makers.found(bond.id, client=client)
        position = None if maker is None else position_of(maker, steps, among)
        if maker is not None and position is not None:
            return Bound(position, bond.by, key_of(maker, steps[position]))
        first = first or Bound(among[0], bond.by, 0 if steps[among[0]].by_key else None)
    return first


def position_of(maker: Maker, steps: Sequence[Step], among: Sequence[int]) -> int | None:
    """Return the first of these steps that is the maker, else the first with its account; None if there is none."""
    same = [position for position in among if maker.account in _accounts(steps[position].by_key or (steps[position],))]
    return next((position for position in same if steps[position].target.name == maker.target), next(iter(same), None))


def key_of(maker: Maker, step: Step) -> int | None:
    """Return the position of the key that the maker, which is this step's target, was called with; None if it has one.

    `step` may use all its keys.
    """
    return _accounts(step.by_key).index(maker.account) if step.by_key else None


def _accounts(steps: Sequence[Step]) -> list[str]:
    return [account_of(step.target.identity) for step in steps]


class NotingStream:
    """A committed stream whose events' ids are noted as they pass."""

    def __init__(self, source: Stream, operation: Operation, note: Callable[[list[str]], None]) -> None:
        self.headers = source.headers
        self._source = source
        self._made = operation.made
        self._note = note

    async def read(self) -> list[Event]:
        """Return the next events of the source."""
        events = await self._source.read()
        for event in events:
            if event.data is not None and (ids := list(self._made(event.data))):
                self._note(ids)
        return events

    async def aclose(self) -> None:
        """Close the source."""
        await self._source.aclose()
