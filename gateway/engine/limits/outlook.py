"""What a client's request would take of its limits now, and what would come of that, for those who look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.adapters.base import Operation
from gateway.engine.limits.admission import Limits
from gateway.engine.limits.estimate import NOTHING, Estimate
from gateway.errors import GatewayError, UnknownGroup
from gateway.policy.clients import Client
from gateway.policy.limits import ClientGroup, Limit
from gateway.policy.table import Route, RoutingTable
from gateway.telemetry.report import CallReport
from gateway.wire.json import Json


class Share(NamedTuple):
    """One limit, and what a request takes of it."""

    limit: Limit
    takes: float
    used: float
    """By others, before."""
    free_in_s: float | None
    """Seconds until nothing is used; None for requests at once."""
    reservations: int
    """Those that are not settled."""


class Outlook(NamedTuple):
    """What the limits of a client mean for one request."""

    client: Client | None
    group: ClientGroup | None
    """None if the file has no such group."""
    expected: Estimate
    """The tokens that the request reserves; none where they are not limited."""
    shares: tuple[Share, ...] = ()
    refused: GatewayError | None = None
    """What the client would get instead of an answer."""
    sent_on: str | None = None
    """The limit that sends the request to another alias."""
    route: Route | None = None
    """The way there."""
    unpriced: frozenset[str] = frozenset()
    """Names of targets that are not called: the client's spend is limited, and nobody knows what they cost."""


async def outlook(
    limits: Limits,
    table: RoutingTable,
    route: Route,
    client: Client | None,
    operation: Operation,
    params: Mapping[str, Json],
) -> Outlook:
    """Let a request in as `Admission` does, and take it back at once. `params` are as pre hooks leave them."""
    report = CallReport()
    try:
        group = limits.group(table, client)
    except UnknownGroup as exc:
        return Outlook(client, None, NOTHING, refused=exc)
    try:
        admission = limits.admission(table, route, client, report)
    except GatewayError as exc:
        return Outlook(client, group, NOTHING, refused=exc)
    if admission is None:
        return Outlook(client, group, NOTHING)
    fills = {fill.key: fill for fill in limits.store.look()}
    refused, other = None, None
    try:
        other = await admission.enter(operation, route, params)
    except GatewayError as exc:
        refused = exc
    finally:
        admission.close(answered=False)
    shares = []
    expected, taken = admission.takes()
    for bucket, takes in taken:
        fill = fills.get(bucket.key)
        used, free_in_s, reservations = (
            (0.0, None, 0) if fill is None else (fill.used, fill.free_in_s, fill.reservations)
        )
        shares.append(Share(bucket.limit, takes, used, free_in_s, reservations))
    sent_on = None if report.limits is None or other is None else report.limits.limited
    return Outlook(client, group, expected, tuple(shares), refused, sent_on, other, admission.unpriced)
