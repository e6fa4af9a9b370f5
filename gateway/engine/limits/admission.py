"""Lets clients' requests in: may this client ask this model, and how much of its limits is left.

One `Admission` is made for a request of a table with `clients`. It reserves once, whatever retries, fallbacks and
hedges follow, and settles once, however the request ends.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gateway.adapters.base import Operation
from gateway.concurrency.steps import in_turns
from gateway.engine.limits.estimate import NOTHING, Estimate, KeptPrices, Prices, estimate
from gateway.engine.limits.headers import head_lines
from gateway.engine.limits.reservations import Reservations
from gateway.engine.limits.store import Bucket, Costs, Full, OwnerKind, Refused, Standing, Store, longest
from gateway.engine.limits.terms import Terms, terms_of
from gateway.engine.limits.then import Shared, changes_model, route_through, shared_hooks
from gateway.engine.limits.uses import tokens_used, was_called
from gateway.errors import BudgetExceeded, Limited, NotAllowed, UnknownGroup, Unsupported
from gateway.policy.clients import Client
from gateway.policy.limits import DEFAULT_GROUP, ClientGroup, Unit
from gateway.policy.table import Route, RoutingTable
from gateway.telemetry.report import CallReport, LimitReport
from gateway.wire.json import Json
from gateway.words import shown

log = logging.getLogger(__name__)

MAX_KEPT: Final = 10_000
"""Clients whose buckets are kept made. Beyond, all are made anew."""


class _Caller(NamedTuple):
    """A client as its requests are admitted."""

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
        self._shared: tuple[int, Shared] = (0, Shared(0, 0))

    def admission(
        self, table: RoutingTable, route: Route, client: Client | None, report: CallReport
    ) -> Admission | None:
        """Return the admission of a request, which takes nothing yet; None for a group without limits.

        Raises NotAllowed for a model that the client's group may not ask for, UnknownGroup.
        """
        group = self.group(table, client)
        told = report.limits = LimitReport(group.name)
        _check_model(group, route, client)
        if not group.limits:
            return None
        name = "" if client is None else client.name
        caller = self._callers.get(name)
        if caller is None or caller.group is not group:
            caller = self._new_caller(group, client)
        return Admission(self, table, caller, report, told, self.reservations.new_id())

    def check(self, table: RoutingTable, route: Route, client: Client | None) -> None:
        """Raise NotAllowed for a model that the client's group may not ask for, or UnknownGroup."""
        _check_model(self.group(table, client), route, client)

    def group(self, table: RoutingTable, client: Client | None) -> ClientGroup:
        """Return the group of a client in a table with `clients`. Raises UnknownGroup, and logs that once."""
        name = DEFAULT_GROUP if client is None or client.group is None else client.group
        group = table.clients.get(name)
        if group is None:
            reading = 0 if client is None else client.reading
            self._log_unknown(table.generation, reading, name)
            raise UnknownGroup(f"{_named(client)} is of the group {name!r}, which `clients` of the file does not have")
        return group

    def _new_caller(self, group: ClientGroup, client: Client | None) -> _Caller:
        if len(self._callers) >= MAX_KEPT:
            self._callers.clear()
        name = "" if client is None else client.name
        kind: OwnerKind = "group" if group.is_shared else "client"
        owner = group.name if group.is_shared else name
        caller = self._callers[name] = _Caller(group, _named(client), terms_of(kind, owner, group.limits))
        return caller

    def _log_unknown(self, generation: int, reading: int, name: str) -> None:
        known = (generation, reading, name)
        if known in self._unknown:
            return
        self._unknown = {one for one in self._unknown if one[:2] == known[:2]} | {known}
        log.warning("clients of an unknown group are refused", extra={"group": name, "generation": generation})

    def shared_hooks(self, table: RoutingTable) -> Shared:
        """Return the number of hooks for every request, once counted for a table."""
        if self._shared[0] != table.generation:
            self._shared = (table.generation, shared_hooks(table))
        return self._shared[1]

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
        self._buckets = terms.buckets
        self._expected = NOTHING
        self._prices: Prices | None = None
        self.counts_tokens = terms.counts_tokens
        """The request is settled by its tokens, so they are asked for."""
        self.unpriced: frozenset[str] = frozenset()
        """Names of targets that cannot be asked: spend is limited, and nobody knows what they cost."""
        self.is_open = False
        """Something is reserved that is not settled."""

    async def enter(self, operation: Operation, route: Route, params: Mapping[str, Json]) -> Route | None:
        """Take from all buckets, once. Whoever calls this calls `close` in any case.

        Returns the route to take instead where a budget is used up that has a `then`. Raises Limited, and Unsupported
        if spend is limited and no target has a price.
        """
        terms = self._terms
        costs: dict[Unit, float] = {"requests": 1.0, "concurrent": 1.0}
        if terms.counts_tokens:
            self._expected = expected = await estimate(operation, params)
            costs["tokens"] = expected[0] + expected[1]
            if terms.counts_spend:
                costs["spend"] = self._priced(route)
        # `_reserve`, without a coroutine of its own.
        answer = self._limits.store.try_reserve(self._reservation, self._buckets, costs)
        if answer is None:
            answer = await self._waited(costs)
        if isinstance(answer, Refused):
            return await self._sent_on(answer, costs, operation, route, params)
        self._granted()
        self._told.head = head_lines(answer)
        return None

    def close(self, *, answered: bool, whole: bool = True, text_bytes: int = 0) -> None:
        """Settle what was reserved by what the report tells, or give it back. Safe to call twice.

        The arguments are those of `tokens_used`.
        """
        if not self.is_open:
            return
        self.is_open = False
        limits, report, terms = self._limits, self._report, self._terms
        if terms.has_leases:
            limits.reservations.open.discard(self._reservation)
        if not was_called(report):
            limits.store.release(self._reservation)
            return
        used: dict[Unit, float] = {}
        if terms.counts_tokens:
            spent = tokens_used(report, self._expected, answered=answered, whole=whole, text_bytes=text_bytes)
            used["tokens"] = spent[0] + spent[1]
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
        costs: dict[Unit, float] = {
            "requests": 1.0, "concurrent": 1.0, "tokens": float(sum(self._expected)), "spend": dollars
        }  # fmt: skip
        takes = [(one, min(costs[one.limit.unit], one.limit.amount)) for one in self._terms.buckets]
        return self._expected, takes

    async def _reserve(self, costs: Costs) -> Standing | Refused:
        """Take from all buckets or from none."""
        answer = self._limits.store.try_reserve(self._reservation, self._buckets, costs)
        if answer is None:
            answer = await self._waited(costs)
        if isinstance(answer, Standing):
            self._granted()
        return answer

    async def _waited(self, costs: Costs) -> Standing | Refused:
        """Do so in a store elsewhere."""
        return await self._limits.reservations.wait_for(self._reservation, self._buckets, costs)

    def _granted(self) -> None:
        self.is_open = True
        if self._terms.has_leases:
            self._limits.reservations.open.add(self._reservation)

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
        costs: dict[Unit, float],
        operation: Operation,
        route: Route,
        params: Mapping[str, Json],
    ) -> Route:
        """Return the route of the `then` of a full bucket, having taken from all buckets that are not full.

        Raises Limited where there is none, or the request may not go there.
        """
        self._show(refused.tightest)
        stuck = [full for full in refused.full if full.limit.then is None]
        if stuck:
            raise self._refusal(stuck, refused.tightest)
        limit = refused.full[0].limit
        then = None if limit.then is None else self._table.find(limit.then)
        if then is None or (operation.same_model_only and changes_model(route, then)):
            raise self._refusal(refused.full, refused.tightest)
        bonds = await in_turns(operation.bound_to(params))
        if bonds:
            raise self._refusal(refused.full, refused.tightest)
        other = route_through(route, then, self._limits.shared_hooks(self._table))
        full = {one.limit for one in refused.full}
        self._buckets = tuple([one for one in self._buckets if one.limit not in full])
        self.unpriced = frozenset()
        if any(one.limit.unit == "spend" for one in self._buckets):
            costs["spend"] = self._priced(other)
        tightest = refused.tightest
        if self._buckets:
            answer = await self._reserve(costs)
            if isinstance(answer, Refused):
                self._show(answer.tightest)
                raise self._refusal(answer.full, answer.tightest)
            tightest = answer
        self._show(tightest, sent_on=limit.text)
        return other

    def _show(self, tightest: Standing, *, sent_on: str | None = None) -> None:
        self._told.head = head_lines(tightest, sent_on)
        self._told.limited = sent_on

    def _refusal(self, full: Sequence[Full], tightest: Standing) -> Limited:
        """Return the error for the bucket that is full for longest. `tightest` may tell what is left of it."""
        limit, wait_s = longest(full)
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
            cost = self._prices.dollars(*self._expected)
            does = f"has {_dollars(left)} left of {limit.text}, and the request may cost {_dollars(cost)}"
        kind = BudgetExceeded if limit.is_budget else Limited
        message = f"{who} {does}; ask again in {shown(math.ceil(wait_s))}{or_else}"
        return kind(message, limit=limit.text, retry_after_s=wait_s)


def _check_model(group: ClientGroup, route: Route, client: Client | None) -> None:
    if group.models is not None and route.alias not in group.models:
        message = f"{_named(client)} may not ask for {route.alias!r}, by the models of the group {group.name!r}"
        raise NotAllowed(message, param="model")


def _named(client: Client | None) -> str:
    return "a request without a client key" if client is None else f"the client {client.name!r}"


def _dollars(amount: float) -> str:
    return f"${amount:,.6f}".rstrip("0").rstrip(".")
