"""How LiteLLM's router shares the load between the deployments of a group, and the pool or key list that does the same.

Checked against LiteLLM 1.110.2, `router_strategy/`: `simple-shuffle` draws by `weight`; without any, by `rpm`, then by
`tpm`, else evenly. A deployment without the number that counts has weight 0. The other strategies ignore these numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from gateway.importers.litellm.deployments import Deployment
from gateway.importers.litellm.draft import Pool, Step, Upstream, key_of
from gateway.importers.litellm.limits import KEYS, LIMITS, Note, Notes
from gateway.importers.litellm.report import Report
from gateway.importers.litellm.values import shown
from gateway.policy.pools import Pick
from gateway.wire.json import Json

_MAX_WEIGHT: Final = 1e9
_ALONE: Final = "there is no other deployment"
_IN_TURN: Final = "the keys are used in turn"
_FEWEST_TOKENS: Final = "LiteLLM takes the one with the fewest tokens in this minute; here each is as likely"


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
        "usage-based-routing": Strategy(pick="weighted", note=_FEWEST_TOKENS),
        "usage-based-routing-v2": Strategy(pick="weighted", note=_FEWEST_TOKENS),
    }
)
"""By the value of `routing_strategy`. With any other one a group becomes a chain."""
DEFAULT: Final = STRATEGIES["simple-shuffle"]


def with_key_lists(group: Sequence[Deployment], upstreams: dict[str, Upstream]) -> list[Deployment]:
    """Return a group with one deployment in place of those that differ in their key alone; add its list of keys.

    It has the sums of their `weight`, `rpm` and `tpm`. Those with different numbers, which share the load unevenly, are
    left as they are: keys are used in turn.
    """
    alike: dict[str, list[Deployment]] = {}
    for deployment in group:
        alike.setdefault(_but_for_key(deployment, upstreams[deployment.step.upstream]), []).append(deployment)
    return [_merged(some, upstreams) if len(some) > 1 else some[0] for some in alike.values()]


def _but_for_key(deployment: Deployment, upstream: Upstream) -> str:
    """Return a text that is equal for deployments that differ in their key alone; without a key it is its own."""
    step = deployment.step
    entry = {name: value for name, value in upstream.entry.items() if name != "api_key"}
    fields = [upstream.kind, entry, step.model, step.variable, step.names_provider, step.timeout, step.stream_timeout]
    numbers = [deployment.order, deployment.weight, *map(deployment.limit, LIMITS), deployment.has_reset]
    money = [step.price, deployment.budget]
    alone = None if key_of(upstream) else deployment.where
    return json.dumps([*fields, step.retries, dict(step.params), *numbers, *money, alone], sort_keys=True, default=str)


def _merged(some: Sequence[Deployment], upstreams: dict[str, Upstream]) -> Deployment:
    first, several = some[0], [upstreams[each.step.upstream] for each in some]
    keys = [key_of(upstream) for upstream in several]
    hint = several[0].hint if "base_url" in several[0].entry else "keys"
    secret = "\n".join(upstream.secret for upstream in several)
    upstream = Upstream(
        kind=several[0].kind, entry={**several[0].entry, "api_key": keys}, hint=hint, secret=secret.strip("\n")
    )
    upstreams.setdefault(upstream.identity, upstream)
    return replace(
        first,
        step=replace(first.step, upstream=upstream.identity),
        by_key=tuple(some),
        weight=_sum(first.weight, some),
        rpm=_sum(first.rpm, some),
        tpm=_sum(first.tpm, some),
        others=MappingProxyType({key: most * len(some) for key, most in first.others.items()}),
        budget=None if first.budget is None else first.budget._replace(amount=first.budget.amount * len(some)),
    )


def _sum(one: float | None, some: Sequence[Deployment]) -> float | None:
    return None if one is None else one * len(some)


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
    weights = [float(len(one.parts)) if key is None else getattr(one, key) or 0.0 for one in deployments]
    if not all(0 <= weight <= _MAX_WEIGHT for weight in weights):
        return None
    return Pool(members=tuple(zip(steps, weights, strict=True)), pick=strategy.pick)


def note_group(
    report: Report,
    name: str,
    group: Sequence[Deployment],
    *,
    is_pool: bool,
    strategy: Strategy | None,
    limits: Notes,
) -> None:
    """Report how exactly the load is shared, and every key that decides about it. `group` is in the chain's order.

    `limits` has what becomes of the deployments' limits.
    """
    orders = {deployment.order for deployment in group if deployment.order is not None}
    every = [part for deployment in group for part in deployment.parts]
    found: str | None = None
    for deployment in group:
        level = [other for other in group if other.order == deployment.order] if is_pool else group
        key = metric(level) if strategy is not None and strategy.has_weights and len(level) > 1 else None
        found = found or key
        alone = _IN_TURN if deployment.by_key else _ALONE if len(group) == 1 else "there is no other of its order"
        for part in deployment.parts:
            single = alone if len(level) == 1 else ""
            _note_keys(report, part, alone=single, pooled=is_pool, weights=key)
            _note_limits(
                report,
                part,
                {limit: note for limit in KEYS if (note := limits.get((deployment.where, limit))) is not None},
                weighs=[name for name in ("rpm", "tpm") if not single and (not is_pool or name == key)],
                role="weight in the pool" if is_pool else "place in the chain",
            )
            if part.order is None and orders:
                message = "asked last; LiteLLM asks it only while those with an `order` rest"
                report.approximate(part.where, message, below=False)
    if len(every) in (1, len(orders)):
        return
    shares = f"{shown(name)}: LiteLLM shares the load between {len(every)} deployments"
    first = min(deployment.where for deployment in every)
    if len(group) in (1, len(orders)):
        one = "one target with a list of keys" if len(group) == 1 else "one target with a list of keys for each order"
        message = f"{shares}; here they are {one}, used in turn"
        if strategy is not None and strategy.has_weights:
            report.exact(first, message)
        else:
            report.approximate(first, f"{message}; LiteLLM chooses by its routing_strategy", below=False)
        return
    if is_pool and strategy is not None:
        how = f"{strategy.pick} by {found}" if found else strategy.pick
        keys = ", with one target for those that differ in the key alone" if len(group) < len(every) else ""
        message = f"{shares}; here they are a pool, {how}{keys}"
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
    for key in ("order", "weight", *LIMITS):
        for where in ((*place, key), (*deployment.where, key)):
            value = deployment.limit(key) if key in LIMITS else getattr(deployment, key)
            if value is None and report.is_reference(where):
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


def _note_limits(
    report: Report, deployment: Deployment, notes: Mapping[str, Note], *, weighs: Sequence[str], role: str
) -> None:
    """Report the limits of a deployment; those in `weighs` have a role beside."""
    for key, note in notes.items():
        for where in ((*deployment.where, "litellm_params", key), (*deployment.where, key)):
            if not report.has(where):
                continue
            if key in weighs:
                report.approximate(where, f"as the {role}{', and' if note.is_carried else ';'} {note.message}")
            elif note.is_exact:
                report.exact(where, note.message)
            elif note.is_carried:
                report.approximate(where, note.message)
            else:
                report.left_out(where, note.message)
