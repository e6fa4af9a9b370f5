"""How LiteLLM's router shares the load between the deployments of a group, and the pool that does the same.

Checked against LiteLLM 1.110.2, `router_strategy/`: `simple-shuffle` draws by `weight`; without any, by `rpm`, then by
`tpm`, else evenly. A deployment without the number that counts has weight 0. The other strategies ignore these numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.importers.litellm.deployments import Deployment
from gateway.importers.litellm.draft import Pool, Step
from gateway.importers.litellm.reasons import NO_LIMIT
from gateway.importers.litellm.report import Report
from gateway.importers.litellm.values import shown
from gateway.policy.pools import Pick
from gateway.wire.json import Json

_MAX_WEIGHT: Final = 1e9
_ALONE: Final = "there is no other deployment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How a pool stands for one `routing_strategy`."""

    pick: Pick
    has_weights: bool = False
    """Whether the deployments' `weight`, `rpm` and `tpm` count."""
    note: str = ""
    """Where LiteLLM differs; empty if it does not."""


STRATEGIES: Final[Mapping[Json, Strategy]] = MappingProxyType(
    {
        "simple-shuffle": Strategy(pick="weighted", has_weights=True),
        "least-busy": Strategy(
            pick="least_busy", note="LiteLLM takes the one with the fewest calls; here it is the better of two"
        ),
        "latency-based-routing": Strategy(
            pick="fastest",
            note="LiteLLM takes the lowest mean latency; here it is the better of two, calls in flight too",
        ),
    }
)
"""By the value of `routing_strategy`. With any other one a group becomes a chain."""
DEFAULT: Final = STRATEGIES["simple-shuffle"]


def metric(deployments: Sequence[Deployment]) -> str | None:
    """Return the key whose numbers are the weights; None if none is."""
    found = (key for key in ("weight", "rpm", "tpm") if any((getattr(one, key) or 0) > 0 for one in deployments))
    return next(found, None)


def pool_of(deployments: Sequence[Deployment], steps: Sequence[Step], strategy: Strategy | None) -> Pool | None:
    """Return the pool for deployments that share the load, with these steps; None if there is none for them."""
    if strategy is None or len({(step.upstream, step.model, step.variable) for step in steps}) < len(steps):
        return None
    if len(steps) < 2 or len({step.fallback_on for step in steps}) > 1:
        return None  # what leads out of the group must not depend on the member that is asked last
    key = metric(deployments) if strategy.has_weights else None
    weights = [1.0 if key is None else getattr(one, key) or 0.0 for one in deployments]
    if not all(0 <= weight <= _MAX_WEIGHT for weight in weights):
        return None
    return Pool(members=tuple(zip(steps, weights, strict=True)), pick=strategy.pick)


def note_group(
    report: Report, name: str, group: Sequence[Deployment], *, is_pool: bool, strategy: Strategy | None
) -> None:
    """Report how exactly the load is shared, and every key that decides about it. `group` is in the chain's order."""
    orders = {deployment.order for deployment in group if deployment.order is not None}
    in_order = len(group) in (1, len(orders))
    found: str | None = None
    for deployment in group:
        level = [other for other in group if other.order == deployment.order] if is_pool else group
        key = metric(level) if strategy is not None and strategy.has_weights and len(level) > 1 else None
        found = found or key
        alone = _ALONE if len(group) == 1 else "there is no other of its order"
        _note_keys(report, deployment, alone=alone if len(level) == 1 else "", pooled=is_pool, weights=key)
        if deployment.order is None and orders:
            message = "asked last; LiteLLM asks it only while those with an `order` rest"
            report.approximate(deployment.where, message, below=False)
    if in_order:
        return
    shares = f"{shown(name)}: LiteLLM shares the load between {len(group)} deployments"
    first = min(deployment.where for deployment in group)
    if is_pool and strategy is not None:
        how = f"{strategy.pick} by {found}" if found else strategy.pick
        message = f"{shares}; here they are a pool, {how}"
        if strategy.note:
            report.approximate(first, f"{message}; {strategy.note}", below=False)
        else:
            report.exact(first, message)
        return
    by = next((name for name in ("order", "weight", "rpm", "tpm") if getattr(group[0], name) is not None), "")
    how = f"highest {by} first" if by in ("weight", "rpm", "tpm") else "by order" if by else "in the file's order"
    report.approximate(first, f"{shares}; here they are a chain, {how}", below=False)


def _note_keys(report: Report, deployment: Deployment, *, alone: str, pooled: bool, weights: str | None) -> None:
    """`alone`: why it shares the load with no other; `weights`: the key whose numbers are the weights."""
    place = (*deployment.where, "litellm_params")
    for key in ("order", "weight", "rpm", "tpm"):
        for where in ((*place, key), (*deployment.where, key)):
            if getattr(deployment, key) is None and report.is_reference(where):
                report.left_out(where, "a place in the chain or a limit cannot come from a variable")
    if deployment.order is not None:
        report.exact((*place, "order"), alone if alone == _ALONE else "as the place in the chain")
    if deployment.weight is not None:
        where = (*place, "weight")
        if alone:
            report.exact(where, alone)
        elif pooled:
            report.exact(where, "as the weight in the pool" if weights else "LiteLLM does not share by it either")
        else:
            report.approximate(where, "as the place in the chain: the highest weight is asked first")
    for key in ("rpm", "tpm"):
        for where in ((*place, key), (*deployment.where, key)):
            if getattr(deployment, key) is None or not report.has(where):
                continue
            if alone or (pooled and key != weights):
                report.left_out(where, NO_LIMIT)
            else:
                role = "weight in the pool" if pooled else "place in the chain"
                report.approximate(where, f"as the {role}; {NO_LIMIT}")
