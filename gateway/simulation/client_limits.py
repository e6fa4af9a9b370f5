"""What the limits of a client mean for a request, for `gateway explain` and `/-/explain`."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.engine.limits.admission import Limits
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.outlook import Outlook, outlook
from gateway.errors import GatewayError, Limited
from gateway.operations import OPERATIONS, operation_of
from gateway.policy.clients import Client
from gateway.policy.limits import DEFAULT_GROUP
from gateway.policy.params import upstream_params
from gateway.policy.table import Route, RoutingTable
from gateway.simulation import clock as virtual
from gateway.wire.json import Json, JsonObject


def unused_limits(
    table: RoutingTable, route: Route, client: Client | None, body: Mapping[str, Json], operation: str | None
) -> Outlook:
    """Return what a request takes of limits of which nothing is used. `body` is as pre hooks leave it.

    Runs an event loop of its own, so never call it from a coroutine.
    """
    asked = OPERATIONS[operation] if operation else operation_of(body)
    limits = Limits(MemoryStore(clock=lambda: 0.0, wall_clock=lambda: 0.0))
    return virtual.run(outlook(limits, table, route, client, asked, upstream_params({**body})))


def limits_as_json(limits: Outlook) -> JsonObject:
    """Return what the limits of a client mean for the request."""
    group, refused = limits.group, limits.refused
    return {
        "name": None if limits.client is None else limits.client.name,
        "group": DEFAULT_GROUP if limits.client is None else limits.client.group or DEFAULT_GROUP,
        "models": None if group is None or group.models is None else sorted(group.models),
        "share": group is not None and group.is_shared,
        "expected_tokens": dict(zip(("input", "output"), limits.expected, strict=True)),
        "limits": [
            {
                "limit": one.limit.text,
                "amount": one.limit.amount,
                "takes": round(one.takes, 6),
                "used": round(one.used, 6),
                "free_in_s": None if one.free_in_s is None else round(one.free_in_s, 3),
                "reservations": one.reservations,
                "then": one.limit.then,
            }
            for one in limits.shares
        ],
        "refused": None if refused is None else _refused(refused),
        "sent_on": limits.sent_on,
    }


def _refused(error: GatewayError) -> JsonObject:
    return {
        "status": error.status,
        "code": error.code,
        "message": str(error),
        "limit": error.limit if isinstance(error, Limited) else None,
        "retry_after_s": None if error.retry_after_s is None else round(error.retry_after_s, 3),
    }
