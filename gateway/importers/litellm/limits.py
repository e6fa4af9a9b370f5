"""Limits of deployments as limits of their providers, where LiteLLM enforces them.

A deployment whose connection others use too gets a provider of its own, so that its limits count for it alone.

Checked against LiteLLM 1.110.2:

1. `rpm` and `tpm` are weights, and limits only with a strategy by usage or with `enforce_model_rate_limits`
   (`router_utils/pre_call_checks/model_rate_limit_check.py`), which `rpd` and `tpd` need too. Minutes are the clock's,
   days are UTC's.
2. Counted is by `id:model`. The id is `model_info.id`, else a hash of `model_name` and `litellm_params`
   (`router_api.deployment_id`): equal deployments of two names count apart, each model of a wildcard too.
3. Calls at once are limited by id, in each process, to `max_parallel_requests`, else to `rpm`, else to 6 for each 1,000
   of `tpm` (`utils.calculate_max_parallel_requests`). One more gets a 429, which counts as the deployment's failure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.config.document.yaml_tree import Where
from gateway.config.model.limit_texts import limit_text
from gateway.importers.litellm.deployments import Deployment
from gateway.importers.litellm.draft import Upstream
from gateway.importers.litellm.spending import BUDGET_KEYS, add_limits, budget_note, of_upstream
from gateway.policy.limits import Unit, Window
from gateway.wire.json import Json

LIMITS: Final[Mapping[str, tuple[Unit, Window | None]]] = MappingProxyType(
    {
        "rpm": ("requests", "minute"),
        "tpm": ("tokens", "minute"),
        "rpd": ("requests", "day"),
        "tpd": ("tokens", "day"),
        "max_parallel_requests": ("concurrent", None),
    }
)
"""Unit and window by LiteLLM's key."""
BY_USAGE: Final = frozenset({"usage-based-routing", "usage-based-routing-v2"})
"""Values of `routing_strategy` that pass over a deployment whose `rpm` or `tpm` is used up."""

_WRITE: Final = "to limit calls write `limits` of the provider"
_NOT_ENFORCED: Final = f"LiteLLM limits nothing by it with these settings; {_WRITE}"
_AT_ONCE: Final = f"LiteLLM limits by it only the calls at once of each process with these settings; {_WRITE}"
_SHARED: Final = "other deployments have the same provider, whose `limits` would count for all of them together"
_BUDGET: Final = "its provider's budget is of all its deployments together, so it has no provider of its own"
_NO_LIMIT: Final = "a limit is a whole number above zero"
_OF_WILDCARD: Final = "; LiteLLM counts each model of a wildcard by itself, here they count together"
_DIFFERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rpm": "; LiteLLM's minute is the clock's, here it slides",
        "tpm": "; LiteLLM counts them after the answer, by the clock's minute; here before, and the minute slides",
        "tpd": "; LiteLLM counts them after the answer; here they are taken before, by an estimate",
        "max_parallel_requests": "; in LiteLLM each process counts by itself, and one more is a failure with 429; "
        "here the next target is called",
    }
)
"""How LiteLLM differs, by its key."""


@dataclass(frozen=True, slots=True)
class Note:
    """What becomes of one limit of a deployment."""

    message: str
    is_carried: bool = False
    is_exact: bool = False


Notes: TypeAlias = Mapping[tuple[Where, str], Note]
"""By place of the deployment, and LiteLLM's key."""


KEYS: Final = (*LIMITS, *BUDGET_KEYS)
"""All keys of a deployment that limit its calls."""


def users_of(served: Mapping[str, Sequence[Deployment]]) -> dict[str, list[Deployment]]:
    """Return the deployments by their upstream. `served` has them by alias."""
    users: dict[str, list[Deployment]] = {}
    for deployment in (one for group in served.values() for one in group):
        users.setdefault(deployment.step.upstream, []).append(deployment)
    return users


def with_own_providers(
    served: Mapping[str, Sequence[Deployment]],
    upstreams: dict[str, Upstream],
    *,
    enforced: frozenset[str],
    together: frozenset[str],
) -> dict[str, list[Deployment]]:
    """Return the deployments by alias; one with limits that shares its upstream gets one of its own, which is added.

    Deployments that LiteLLM counts together, by an equal `model_info.id`, have theirs in common. Those of the kinds
    in `together` go on to share theirs, and those whose provider's name is in a variable.
    """
    users = users_of(served)

    def own(alias: str, deployment: Deployment) -> Deployment:
        upstream = upstreams[deployment.step.upstream]
        amounts = {key: deployment.limit(key) for key in LIMITS if key in enforced}
        is_limited = any(amount is not None and _is_limit(amount) for amount in amounts.values()) or (
            deployment.budget is not None and budget_note(deployment.budget, (deployment,), upstream)[1]
        )
        is_shared = len(users[deployment.step.upstream]) > 1
        if not is_limited or not is_shared or deployment.step.names_provider or upstream.kind in together:
            return deployment
        whose = (deployment.where,) if deployment.id is None else (deployment.id, deployment.step.model)
        owner = json.dumps([*whose, amounts, deployment.budget], default=str)
        hint = "-".join(filter(None, dict.fromkeys((upstream.hint, alias.rstrip("*")))))
        added = replace(upstream, hint=hint, owner=owner)
        upstreams.setdefault(added.identity, added)
        return replace(deployment, step=replace(deployment.step, upstream=added.identity))

    return {alias: [own(alias, deployment) for deployment in group] for alias, group in served.items()}


def provider_limits(
    users: Mapping[str, Sequence[Deployment]],
    upstreams: dict[str, Upstream],
    *,
    enforced: frozenset[str],
    together: frozenset[str],
) -> Notes:
    """Add limits to the upstreams, and return what becomes of each limit, by its deployment's place and key.

    `users` has the deployments by upstream, `enforced` the keys of LIMITS that LiteLLM enforces, `together` the kinds
    whose deployments all have one upstream.
    """
    notes: dict[tuple[Where, str], Note] = {}
    for identity, deployments in users.items():
        upstream = upstreams[identity]
        limits: list[Json] = []
        is_shared = len(deployments) > 1 and not upstream.owner
        shared = Note(_BUDGET if upstream.kind in together else _SHARED)
        for deployment in deployments:
            for key, (unit, per) in LIMITS.items():
                amount = deployment.limit(key)
                if amount is None:
                    continue
                if key not in enforced:
                    note = Note(_AT_ONCE if key == _at_once_by(deployment) else _NOT_ENFORCED)
                elif is_shared:
                    note = shared
                elif not _is_limit(amount):
                    note = Note(_NO_LIMIT)
                else:
                    limits.append(text := limit_text(unit, amount, per))
                    is_wildcard = "*" in deployment.step.model and unit != "concurrent"
                    is_exact = key not in _DIFFERS and not (deployment.has_reset or deployment.by_key or is_wildcard)
                    whose = ", of all its keys together" if deployment.by_key else ""
                    differs = _DIFFERS.get(key, "") + (_OF_WILDCARD if is_wildcard else "")
                    how = f"as {of_upstream(text, upstream)}{whose}{differs}"
                    note = Note(how, is_carried=True, is_exact=is_exact)
                notes[deployment.where, key] = note
            budget = deployment.budget
            if budget is not None:
                note = shared if is_shared else Note(*budget_note(budget, deployments, upstream))
                if note.is_carried:
                    limits.append(budget.entry)
                notes |= {(deployment.where, key): note for key in BUDGET_KEYS}
        if limits:
            add_limits(
                upstreams, identity, [limit for place, limit in enumerate(limits) if limit not in limits[:place]]
            )
    return notes


def _is_limit(amount: float) -> bool:
    return 1 <= amount <= _MOST and amount % 1 == 0


def _at_once_by(deployment: Deployment) -> str | None:
    """Return which of its keys limits the calls of a deployment that are under way at once in LiteLLM."""
    keys = ("max_parallel_requests", "rpm", "tpm")
    return next((key for key in keys if deployment.limit(key) is not None), None)


_MOST: Final = 1e12
