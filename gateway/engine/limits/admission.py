"""Lets clients' requests in: may this client ask this model, and how much of its limits is left.

One `Admission` is made for a request of a table with `clients`. It reserves once, whatever retries, fallbacks and
hedges follow, and settles once, however the request ends.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.adapters.base import Operation
from gateway.concurrency.steps import in_turns
from gateway.engine.limits.budgets import held_budgets, soonest
from gateway.engine.limits.estimate import NOTHING, Estimate, KeptPrices, Prices, estimate
from gateway.engine.limits.headers import head_lines
from gateway.engine.limits.reservations import Reservations
from gateway.engine.limits.store import ONE, Bucket, Costs, Full, OwnerKind, Refused, Standing, Store, longest
from gateway.engine.limits.terms import Terms, terms_of
from gateway.engine.limits.then import changes_model, route_through
from gateway.engine.limits.uses import tokens_used, was_called
from gateway.errors import BudgetExceeded, Limited, NotAllowed, UnknownGroup, Unsupported
from gateway.policy.clients import Client
from gateway.policy.limits import DEFAULT_GROUP, ClientGroup, ClientGroups, Unit
from gateway.policy.table import Route, RoutingTable
from gateway.telemetry.report import CallReport, LimitReport
from gateway.wire.json import Json
from gateway.words import shown

log = logging.getLogger(__name__)

MAX_KEPT: Final = 10_000
"""Clients whose buckets are kept made. Beyond, all are made anew."""

_AS_TAKEN: Final[Costs] = {}
"""The use of a request that used what it took."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """A client as its requests are admitted."""

    groups: ClientGroups
    client: Client | None
    group: ClientGroup
    who: str
    terms: Terms


class Limits:
    """Admits the requests of clients. It outlives tables; one event loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reservations = Reservations(store)
        self._callers: dict[str, _Caller] = {}
        """By client's name; empty for those without."""
        self._prices = KeptPrices()
        self._unknown: set[tuple[int, int, str]] = set()
        """Groups that are not in the table and in the log: generation of the table, reading of the keys, name."""

    def admission(
        self, table: RoutingTable, route: Route, client: Client | None, report: CallReport
    ) -> Admission | None:
        """Return the admission of a request whose client `has_group`. It takes nothing yet. None without limits.

        Raises NotAllowed for a model that the client's group may not ask for, UnknownGroup.
        """
        caller = self._callers.get("" if client is None else client.name)
        if caller is None or caller.groups is not table.clients or caller.client is not client:
            caller = self._caller(caller, table, client)
        group = caller.group
        told = report.limits = LimitReport(group.name)
        if group.models is not None:
            _check_model(group, route, client)
        return Admission(self, table, caller, report, told, self.reservations.new_id()) if group.limits else None

    def check(self, table: RoutingTable, route: Route, client: Client | None) -> None:
        """Raise NotAllowed for a model that the client's group may not ask for, or UnknownGroup."""
        _check_model(self.group(table, client), route, client)

    def group(self, table: RoutingTable, client: Client | None) -> ClientGroup:
        """Return the group of a client that `has_group`. Raises UnknownGroup, and logs that once."""
        name = DEFAULT_GROUP if client is None or client.group is None else client.group
        group = table.clients.get(name)
        if group is None:
            reading = 0 if client is None else client.reading
            self._log_unknown(table.generation, reading, name)
            raise UnknownGroup(f"{_named(client)} is of the group {name!r}, which `clients` of the file does not have")
        return group

    def _caller(self, known: _Caller | None, table: RoutingTable, client: Client | None) -> _Caller:
        """Return a client as this table has it, given what is known of it. Raises UnknownGroup."""
        group = self.group(table, client)
        name = "" if client is None else client.name
        if known is not None and known.group is group:
            terms = known.terms
        else:
            kind: OwnerKind = "group" if group.is_shared else "client"
            terms = terms_of(kind, group.name if group.is_shared else name, group.limits)
        if len(self._callers) >= MAX_KEPT:
            self._callers.clear()
        who = "the client without a key" if client is None else _named(client)
        caller = self._callers[name] = _Caller(table.clients, client, group, who, terms)
        return caller

    def _log_unknown(self, generation: int, reading: int, name: str) -> None:
        known = (generation, reading, name)
        if known in self._unknown:
            return
        self._unknown = {one for one in self._unknown if one[:2] == known[:2]} | {known}
        log.warning("clients of an unknown group are refused", extra={"group": name, "generation": generation})

    def prices(self, route: Route, table: RoutingTable) -> Prices:
        """Return the prices of a route's targets."""
        return self._prices.of(route, table.price_of)


class Admission:
    """One request of a client whose group has limits."""

    __slots__ = (
        "_buckets", "_caller", "_expected", "_limits", "_prices", "_report", "_reservation", "_table", "_terms",
        "_told", "counts_tokens", "is_open", "unpriced",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        table: RoutingTable,
        caller: _Caller,
        report: CallReport,
        told: LimitReport,
        reservation: str,
    ) -> None:
        self._limits = limits
        self._table = table
        self._caller = caller
        self._terms = terms = caller.terms
        self._report = report
        self._told = told
        self._reservation = reservation
        self._buckets: Sequence[Bucket] = terms.buckets
        self._expected = NOTHING
        self._prices: Prices | None = None
        self.counts_tokens = terms.counts_tokens
        """The request is settled by its tokens, so they are asked for."""
        self.unpriced: frozenset[str] = frozenset()
        """Names of targets that cannot be asked: spend is limited, and nobody knows what they cost."""
        self.is_open = False
        """Something is reserved that is not settled."""

    def try_enter(
        self, operation: Operation, route: Route, params: Mapping[str, Json]
    ) -> Coroutine[None, None, Route | None] | None:
        """Take from all buckets, once. Whoever calls this calls `close` in any case.

        None: that is done. Else what is returned has to be awaited; its result, and what both raise, are `enter`'s.
        """
        costs = ONE
        if self.counts_tokens:
            expected = estimate(operation, params)
            if not isinstance(expected, tuple):
                return self._measured(expected, operation, route, params)
            costs = self._costs(expected, route)
        answer = self._limits.store.try_reserve(self._reservation, self._buckets, costs)
        if isinstance(answer, Standing):
            self._granted(answer)
            return None
        return self._go_on(answer, costs, operation, route, params)

    async def enter(self, operation: Operation, route: Route, params: Mapping[str, Json]) -> Route | None:
        """Do the same, and wait for it.

        Returns the route to take instead where a budget is used up that has a `then`. Raises Limited, and Unsupported
        if spend is limited and no target has a price.
        """
        entering = self.try_enter(operation, route, params)
        return None if entering is None else await entering

    def close(self, *, answered: bool, whole: bool = True, text_bytes: int = 0) -> None:
        """Settle what was reserved by what the report tells, or give it back. Safe to call twice.

        The arguments are those of `tokens_used`.
        """
        if not self.is_open:
            return
        self.is_open = False
        limits, report = self._limits, self._report
        if not was_called(report):
            limits.store.release(self._reservation)
        elif not self.counts_tokens:
            limits.store.settle(self._reservation, _AS_TAKEN)
        else:
            spent = tokens_used(report, self._expected, answered=answered, whole=whole, text_bytes=text_bytes)
            used: dict[Unit, float] = {"tokens": float(spent[0] + spent[1])}
            if self._prices is not None:
                target = None if report.target is None else report.target.name
                used["spend"] = self._prices.dollars(*spent, target=target)
            limits.store.settle(self._reservation, used)

    @property
    def expected(self) -> Estimate:
        """The tokens that `enter` has expected, where they count."""
        return self._expected

    def takes(self) -> tuple[Estimate, list[tuple[Bucket, float]]]:
        """Return the tokens that `enter` has expected, where they count, and what it takes of each of the buckets."""
        dollars = 0.0 if self._prices is None else self._prices.dollars(*self._expected)
        costs: Costs = {**ONE, "tokens": float(sum(self._expected)), "spend": dollars}
        takes = [(one, min(costs[one.limit.unit], one.limit.amount)) for one in self._terms.buckets]
        return self._expected, takes

    def _costs(self, expected: Estimate, route: Route) -> Costs:
        """Return what a request takes that is expected to use so many tokens."""
        self._expected = expected
        costs: dict[Unit, float] = {"requests": 1.0, "concurrent": 1.0, "tokens": float(expected[0] + expected[1])}
        if self._terms.counts_spend:
            costs["spend"] = self._priced(route)
        return costs

    async def _measured(
        self,
        measuring: Coroutine[None, None, Estimate],
        operation: Operation,
        route: Route,
        params: Mapping[str, Json],
    ) -> Route | None:
        """Take from all buckets once a large body is measured."""
        costs = self._costs(await measuring, route)
        return await self._go_on(await self._reserve(costs), costs, operation, route, params)

    async def _go_on(
        self,
        answer: Standing | Refused | None,
        costs: Costs,
        operation: Operation,
        route: Route,
        params: Mapping[str, Json],
    ) -> Route | None:
        """Take from all buckets in a store elsewhere, unless there is an answer; go where a full one's `then` leads."""
        found = await self._wait_for(costs) if answer is None else answer
        if isinstance(found, Refused):
            return await self._sent_on(found, costs, operation, route, params)
        self._granted(found)
        return None

    async def _reserve(self, costs: Costs) -> Standing | Refused:
        """Take from all buckets or from none."""
        answer = self._limits.store.try_reserve(self._reservation, self._buckets, costs)
        return await self._wait_for(costs) if answer is None else answer

    def _wait_for(self, costs: Costs) -> Coroutine[None, None, Standing | Refused]:
        """Do so in a store elsewhere."""
        return self._limits.reservations.wait_for(self._reservation, self._buckets, costs)

    def _granted(self, standing: Standing, sent_on: str | None = None) -> None:
        """Note a reservation; `sent_on`: the limit that sent the request to another alias."""
        self.is_open = True
        told = self._told
        told.head, told.limited = head_lines(standing, sent_on), sent_on

    def _priced(self, route: Route) -> float:
        """Return the dollars that the request is expected to cost at the dearest target of a route."""
        prices = self._prices = self._limits.prices(route, self._table)
        self.unpriced = prices.unknown
        if len({step.target.name for step in route.steps}) == len(prices.unknown):
            named = ", ".join(sorted(prices.unknown)[:3])
            raise Unsupported(
                f"spend of the group {self._caller.group.name!r} is limited, and the price of {named} is not known;"
                " a step's `price` tells it",
                param="model",
            )
        return prices.dollars(*self._expected)

    async def _sent_on(
        self,
        refused: Refused,
        costs: Costs,
        operation: Operation,
        route: Route,
        params: Mapping[str, Json],
    ) -> Route:
        """Return the route of the `then` of a full bucket, having taken from all buckets that have none or have room.

        Raises Limited where there is none, or the request may not go there.
        """
        self._told.head = head_lines(refused.tightest)
        leading = [full for full in refused.full if full.limit.then is not None]
        no_then = [full for full in refused.full if full.limit.then is None]
        # What is left of a limit of spend may do for the alias that a `then` names.
        stuck = [full for full in no_then if full.limit.unit != "spend"] if leading else no_then
        if stuck:
            raise self._refusal(stuck, refused.tightest)
        limit = leading[0].limit
        then = None if limit.then is None else self._table.find(limit.then)
        if then is None or (operation.same_model_only and changes_model(route, then)):
            raise self._refusal(refused.full, refused.tightest)
        bonds = await in_turns(operation.bound_to(params))
        if bonds:
            raise self._refusal(refused.full, refused.tightest)
        other = route_through(route, then)
        left = {one.limit for one in leading}
        self._buckets = [one for one in self._buckets if one.limit not in left]
        self.unpriced = frozenset()
        if any(one.limit.unit == "spend" for one in self._buckets):
            costs = {**costs, "spend": self._priced(other)}
        if not self._buckets:
            self._told.head, self._told.limited = head_lines(refused.tightest, limit.text), limit.text
            return other
        answer = await self._reserve(costs)
        if isinstance(answer, Refused):
            self._told.head = head_lines(answer.tightest)
            raise self._refusal(answer.full, answer.tightest)
        self._granted(answer, limit.text)
        return other

    def _refusal(self, full: Sequence[Full], tightest: Standing) -> Limited:
        """Return the error for the bucket that is full for longest. `tightest` may tell what is left of it."""
        spend = 0.0 if self._prices is None else self._prices.dollars(*self._expected)
        costs: Costs = {"tokens": float(sum(self._expected)), "spend": spend}
        held = held_budgets(self._limits.store, self._terms.buckets, full, costs)
        limit, wait_s = longest(soonest(full, held))
        self._told.limited = limit.text
        group = self._caller.group
        who = f"the group {group.name!r}" if group.is_shared else self._caller.who
        left = tightest.left if tightest.limit is limit else 0.0
        does, or_else = f"has reached the limit of {limit.text}", ""
        if limit.unit == "tokens" and left >= 1.0:
            given, output = self._expected
            does = f"has {int(left):,} tokens left of {limit.text}, and the request may use {given + output:,}"
            or_else = ", or name a lower output limit" if given < left else ""
        elif limit.unit == "spend" and left > 0.0 and self._prices is not None:
            does = f"has {_dollars(left)} left of {limit.text}, and the request may cost {_dollars(spend)}"
        if limit in held:
            does = f"has requests under way that hold what is left of {limit.text}"
        kind = BudgetExceeded if limit.is_budget and limit not in held else Limited
        message = f"{who} {does}; ask again in {shown(math.ceil(wait_s))}{or_else}"
        return kind(message, limit=limit.text, retry_after_s=wait_s)


def _check_model(group: ClientGroup, route: Route, client: Client | None) -> None:
    if group.models is not None and route.alias not in group.models:
        message = f"{_named(client)} may not ask for {route.alias!r}, by the models of the group {group.name!r}"
        raise NotAllowed(message, param="model")


def has_group(table: RoutingTable, client: Client | None) -> bool:
    """Tell whether a client is of a group: not where the file has none, unless its own is missing there."""
    return bool(table.clients) or (client is not None and client.has_own_group)


def _named(client: Client | None) -> str:
    return "a request without a client key" if client is None else f"the client {client.name!r}"


def _dollars(amount: float) -> str:
    return f"${amount:,.6f}".rstrip("0").rstrip(".")
