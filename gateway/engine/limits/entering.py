"""What a request has to know of limits before its targets are tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.engine.limits.estimate import PriceOf, Prices
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.request import RoutedRequest
from gateway.policy.table import Step

NO_NAMES: Final = frozenset[str]()


async def enter_room(request: RoutedRequest, limits: ProviderLimits, price_of: PriceOf | None) -> None:
    """Have the calls of a request take from the limits of their providers.

    Prices are the same in each table that has some, so `price_of` may be the newest one's.
    """
    admission = request.admission
    expected = admission.expected if admission is not None and admission.counts_tokens else None
    operation, params, report = request.operation, request.params, request.report
    request.room = await limits.room(
        operation, params, request.route, report, price_of=price_of, expected=expected
    )  # fmt: skip


def leave_out_unpriced(request: RoutedRequest, names: frozenset[str] = NO_NAMES) -> None:
    """Have the targets passed over whose price is not known, where the spend of provider or client is limited.

    `names`: of the client's, for those who look and admit nobody.
    """
    if request.room is not None:
        request.left_out |= request.room.unpriced(request.steps)
    if request.admission is not None:
        names = request.admission.unpriced
    if names:
        request.left_out |= frozenset([place for place, step in enumerate(request.steps) if step.target.name in names])


def unpriced_by_providers(steps: Sequence[Step], price_of: PriceOf | None) -> frozenset[str]:
    """Return the names of the targets whose provider's spend is limited, and whose price is not known."""
    limited = [step for step in steps if any(limit.unit == "spend" for limit in step.target.endpoint.limits)]
    return Prices(limited, price_of).unknown
