"""Limits of providers: what each call that leaves takes from those of its provider, and who has no room for one.

1. A provider without room is to the engine what one is that asked for a pause: it is passed over, and waited for once
   nobody else is left.
2. A call takes from all limits of its provider or from none when it leaves: each attempt, retry, further key, hedge
   and shadow, whichever key it is sent with.
3. Its end settles that once: by the usage of its own answer, or gives it back, by the rules for clients' requests.

Hedges and shadows never wait for room.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final, ParamSpec, TypeVar

from gateway.adapters.base import NotSupported, Operation, PathMissing, Reply
from gateway.adapters.events import Stream
from gateway.engine.limits.budgets import held_budgets, soonest
from gateway.engine.limits.estimate import NOTHING, Estimate, KeptPrices, PriceOf, Prices, estimate, output_tokens
from gateway.engine.limits.reservations import Reservations
from gateway.engine.limits.settled_stream import SettledStream
from gateway.engine.limits.store import ONE, Costs, Full, Refused, longest
from gateway.engine.limits.terms import Terms, terms_of
from gateway.engine.limits.uses import UNUSED, seen_tokens, text_bytes_of, told_tokens
from gateway.engine.rests import Rest
from gateway.engine.stream import CommittedStream, HoldExceeded
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.limits import Limit, Unit
from gateway.policy.table import Route, Step
from gateway.policy.target import Endpoint
from gateway.telemetry.report import CallReport
from gateway.wire.json import Json

_P = ParamSpec("_P")
_T = TypeVar("_T")

WOKEN: Final = 8
"""Requests that wait for a provider and look again when a call of it ends, the oldest first."""


class NoRoom(Exception):
    """The provider of a call that was about to leave has no room for it. Nothing was taken."""


class ProviderLimits:
    """The limits of all providers. It outlives tables; one event loop."""

    def __init__(self, reservations: Reservations) -> None:
        self.reservations = reservations
        self._terms: dict[str, tuple[tuple[Limit, ...], Terms]] = {}
        """By the provider's name: its newest limits, and what they mean."""
        self._prices = KeptPrices()
        self.waiting: dict[str, dict[asyncio.Future[None], None]] = {}
        """By the provider's name: those who wait for room, the oldest first."""

    async def room(
        self,
        operation: Operation,
        params: Mapping[str, Json],
        route: Route,
        report: CallReport,
        *,
        price_of: PriceOf | None = None,
        expected: Estimate | None = None,
        waits: bool = True,
    ) -> Room:
        """Return what a request has to know of the limits of its providers.

        `expected` is what it was measured as before. `waits`: it waits for a provider when nobody else is left.
        """
        counts_tokens = counts_spend = False
        for step in route.steps:
            if step.target.endpoint.limits:
                terms = self.terms(step.target.endpoint)
                counts_tokens, counts_spend = counts_tokens or terms.counts_tokens, counts_spend or terms.counts_spend
        if expected is None and counts_tokens:
            measured = estimate(operation, params)
            expected = measured if isinstance(measured, tuple) else await measured
        prices = self._prices.of(route, price_of) if counts_spend else None
        return Room(self, operation, params, report, expected or NOTHING, prices, waits=waits)

    def room_of_one(self, operation: Operation) -> Room:
        """Return the room of a request of one token, for those who only look."""
        return Room(self, operation, {}, CallReport(), (1, 0), None, waits=True)

    def terms(self, endpoint: Endpoint) -> Terms:
        """Return what the calls of an endpoint with limits take from."""
        provider, limits = endpoint.provider, endpoint.limits
        known = self._terms.get(provider)
        if known is None or known[0] is not limits:
            known = self._terms[provider] = (limits, terms_of("provider", provider, limits))
        return known[1]

    def wake(self, provider: str) -> None:
        """Have those look again who have waited longest for a provider."""
        for woken in list(self.waiting.get(provider, ()))[:WOKEN]:
            if not woken.done():
                woken.set_result(None)


class Room:
    """The limits of providers as one request meets them, or its second call."""

    __slots__ = (
        "_expected", "_in_the_way", "_is_settling", "_limits", "_operation", "_params", "_prices", "_refused",
        "_report", "_taken", "_waits", "closed_tokens", "counts_tokens",
    )  # fmt: skip

    def __init__(
        self,
        limits: ProviderLimits,
        operation: Operation,
        params: Mapping[str, Json],
        report: CallReport,
        expected: Estimate,
        prices: Prices | None,
        *,
        waits: bool,
    ) -> None:
        self._limits = limits
        self._operation = operation
        self._params = params
        self._report = report
        self._expected = expected
        self._prices = prices
        self._waits = waits
        self._refused: dict[str, Rest] = {}
        """By the provider's name: what a store elsewhere has said last."""
        self._in_the_way: set[str] = set()
        """The providers that had no room when that was asked last."""
        self._taken: _Taken | None = None
        """What the call that leaves has taken."""
        self._is_settling = False
        self.counts_tokens = False
        """The call that leaves is settled by its tokens, so they are asked for."""
        self.closed_tokens: Mapping[str, int] | None = None
        """The counts that a call told which was closed before its stream committed."""

    def beside(self, report: CallReport) -> Room:
        """Return the room of a second call, which waits for nobody."""
        return Room(
            self._limits, self._operation, self._params, report, self._expected, self._prices, waits=False
        )  # fmt: skip

    def unpriced(self, steps: Sequence[Step]) -> frozenset[int]:
        """Return the positions of the steps whose provider's spend is limited, and whose price is not known."""
        unknown = frozenset[str]() if self._prices is None else self._prices.unknown
        if not unknown:
            return frozenset()
        return frozenset(
            [
                position
                for position, step in enumerate(steps)
                if step.target.name in unknown
                and step.target.endpoint.limits
                and self._limits.terms(step.target.endpoint).counts_spend
            ]
        )

    def resting(self, steps: Sequence[Step], rests: Mapping[int, Rest], *, now_s: float) -> Mapping[int, Rest]:
        """Return these rests of steps, and those of the ones whose provider has no room for their call."""
        found: dict[int, Rest] | None = None
        self._in_the_way.clear()
        for position, step in enumerate(steps):
            full = self._full(step, now_s) if step.target.endpoint.limits else None
            if full is None:
                continue
            self._in_the_way.add(step.target.endpoint.provider)
            found = {**rests} if found is None else found
            own = found.get(position)
            if own is None or own.asked is None or own.until_s < full.until_s:
                found[position] = full
        return rests if found is None else found

    def has_room(self, step: Step, *, now_s: float) -> bool:
        """Tell whether a call of a step may leave, as far as that is known."""
        return not step.target.endpoint.limits or self._full(step, now_s) is None

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until a provider that has no room may have some."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        waiting, providers = self._limits.waiting, tuple(self._in_the_way)
        for provider in providers:
            waiting.setdefault(provider, {})[woken] = None
        timer = loop.call_later(seconds, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()
            for provider in providers:
                of_provider = waiting[provider]
                del of_provider[woken]
                if not of_provider:
                    del waiting[provider]

    async def take(
        self, step: Step, attempt: Callable[_P, Coroutine[None, None, _T]]
    ) -> Callable[_P, Coroutine[None, None, _T]]:
        """Take what a call takes that leaves now, and return the attempt that settles it. Raises NoRoom.

        `attempt` may be one that this has returned: it is called in the same way.
        """
        endpoint = step.target.endpoint
        self.counts_tokens = False
        if not endpoint.limits:
            return attempt
        terms = self._limits.terms(endpoint)
        expected = self._expected_of(step) if terms.counts_tokens else self._expected
        costs = self._costs(step, terms, expected)
        reservations = self._limits.reservations
        reservation = reservations.new_id()
        answer = reservations.store.try_reserve(reservation, terms.buckets, costs)
        if answer is None:
            answer = await reservations.wait_for(reservation, terms.buckets, costs)
        if isinstance(answer, Refused):
            rest = self._rest(answer.full, terms, costs, asyncio.get_running_loop().time())
            self._refused[endpoint.provider] = rest
            raise NoRoom
        self.counts_tokens = terms.counts_tokens
        self.closed_tokens = None
        prices = self._prices if terms.counts_spend else None
        self._taken = _Taken(self._limits, terms, reservation, step, self._operation, self._report, expected, prices)
        if self._is_settling:
            return attempt
        self._is_settling = True
        return self._settling(attempt)

    def _settling(self, attempt: Callable[_P, Coroutine[None, None, _T]]) -> Callable[_P, Coroutine[None, None, _T]]:
        """Return an attempt whose end settles what its call has taken; of a stream, the stream's end."""

        async def settled(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            taken, self._taken = self._taken, None
            if taken is None:  # its provider has no limits
                return await attempt(*args, **kwargs)
            try:
                result = await attempt(*args, **kwargs)
            except BaseException as error:
                taken.failed(error, self.closed_tokens)
                raise
            return taken.answered(result)

        return settled

    def _full(self, step: Step, now_s: float) -> Rest | None:
        """Return until when a step's provider has no room for its call; None if it has some, or nobody knows."""
        endpoint = step.target.endpoint
        terms = self._limits.terms(endpoint)
        costs = self._costs(step, terms, self._expected_of(step)) if terms.counts_tokens else ONE
        full = self._limits.reservations.store.full(terms.buckets, costs)
        if full is None:
            refused = self._refused.get(endpoint.provider)
            return None if refused is None or refused.until_s <= now_s else refused
        return self._rest(full, terms, costs, now_s) if full else None

    def _rest(self, full: Sequence[Full], terms: Terms, costs: Costs, now_s: float) -> Rest:
        held = held_budgets(self._limits.reservations.store, terms.buckets, full, costs)
        limit, wait_s = longest(soonest(full, held))
        until_s = now_s + wait_s if self._waits else math.inf
        return Rest(until_s, Kind.RATE_LIMIT, limit=limit, is_held=limit in held)

    def _expected_of(self, step: Step) -> Estimate:
        """Return the tokens that a call of a step is expected to use: its parameters may say how many it may write."""
        if not step.params.sent:
            return self._expected
        return self._expected[0], output_tokens(self._operation, {**self._params, **step.params.sent})

    def _costs(self, step: Step, terms: Terms, expected: Estimate) -> Costs:
        if not terms.counts_tokens:
            return ONE
        costs: dict[Unit, float] = {**ONE, "tokens": float(sum(expected))}
        if self._prices is not None and terms.counts_spend:
            costs["spend"] = self._prices.dollars(*expected, target=step.target.name)
        return costs


class _Taken:
    """What one call has taken from the limits of its provider."""

    __slots__ = (
        "_expected", "_is_open", "_limits", "_operation", "_prices", "_report", "_reservation", "_step", "_stream",
        "_terms",
    )  # fmt: skip

    def __init__(
        self,
        limits: ProviderLimits,
        terms: Terms,
        reservation: str,
        step: Step,
        operation: Operation,
        report: CallReport,
        expected: Estimate,
        prices: Prices | None,
    ) -> None:
        self._limits = limits
        self._terms = terms
        self._reservation = reservation
        self._step = step
        self._operation = operation
        self._report = report
        self._expected = expected
        self._prices = prices
        self._stream: CommittedStream | None = None
        self._is_open = True

    @property
    def counts_tokens(self) -> bool:
        """It is settled by tokens."""
        return self._terms.counts_tokens

    def answered(self, result: _T) -> _T:
        """Settle by a plain answer, or return the stream whose end does."""
        if isinstance(result, Reply):
            if result.body is not None:
                result.body = self._settled(result.body)
            elif self.counts_tokens:
                told = self._report.tokens
                self.close(answered=True, text_bytes=text_bytes_of(self._operation, result, told))
            else:
                self._settle({})
            return result
        assert isinstance(result, CommittedStream), "an attempt has no other result"
        settled: _T = self._settled(result)  # type: ignore[assignment]  # it is a stream, too
        return settled

    def close(self, *, answered: bool, whole: bool = True, text_bytes: int = 0) -> None:
        """Settle by an answer that has ended, or broke off."""
        if not self.counts_tokens:
            self._settle({})
            return
        told = self._report.tokens if self._stream is None else self._stream.report.tokens
        count = told_tokens if whole else seen_tokens
        self._used(count(told, self._expected, text_bytes))

    def failed(self, error: BaseException, closed_tokens: Mapping[str, int] | None) -> None:
        """Settle by the end of a call without an answer. `closed_tokens` it had told until then."""
        if isinstance(error, NotSupported) and not isinstance(error, PathMissing):
            self._is_open = False
            self._limits.reservations.store.release(self._reservation)
            self._limits.wake(self._step.target.endpoint.provider)
            return
        if isinstance(error, PathMissing):
            self._used((0, 0, 0))
            return
        text_bytes = 0
        if isinstance(error, UpstreamError):
            if error.kind in UNUSED and error.content_bytes is None:
                self._used((0, 0, 0))
                return
            text_bytes = error.content_bytes or 0
        elif isinstance(error, asyncio.CancelledError | HoldExceeded):
            text_bytes = self._report.closed_bytes
        self._used(seen_tokens(closed_tokens, self._expected, text_bytes))

    def _settled(self, stream: Stream) -> SettledStream:
        assert isinstance(stream, CommittedStream), "or nobody has looked for its content"
        self._stream = stream
        return SettledStream(stream, self, self._operation)

    def _used(self, tokens: tuple[int, int, int]) -> None:
        """Settle by the counts of input and output, and of the input that was cached."""
        used: dict[Unit, float] = {"tokens": tokens[0] + tokens[1]}
        if self._prices is not None:
            used["spend"] = self._prices.dollars(*tokens, target=self._step.target.name)
        self._settle(used)

    def _settle(self, used: Costs) -> None:
        if self._is_open:
            self._is_open = False
            self._limits.reservations.store.settle(self._reservation, used)
            self._limits.wake(self._step.target.endpoint.provider)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
