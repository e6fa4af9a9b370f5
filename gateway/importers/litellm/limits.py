"""Limits of deployments as limits of their providers, where LiteLLM enforces them and one deployment alone has each.

Checked against LiteLLM 1.110.2: `rpm` and `tpm` are weights, and limits only with a strategy by usage or with
`enforce_model_rate_limits` (`router_utils/pre_call_checks/model_rate_limit_check.py`), which `rpd` and `tpd` need too.
Minutes are the clock's there, days are UTC's. `max_parallel_requests` always counts: a call waits for its turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.config.document.yaml_tree import Where
from gateway.config.model.limit_texts import limit_text
from gateway.importers.litellm.deployments import Deployment
from gateway.importers.litellm.draft import Upstream
from gateway.importers.litellm.spending import BUDGET_KEYS, add_limits, budget_note
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

_NOT_ENFORCED: Final = "LiteLLM limits nothing by it with these settings; to limit calls write `limits` of the provider"
_SHARED: Final = "other deployments have the same provider, whose `limits` would count for all of them together"
_NO_LIMIT: Final = "a limit is a whole number above zero"
_DIFFERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rpm": "; LiteLLM's minute is the clock's, here it slides",
        "tpm": "; LiteLLM counts them after the answer, by the clock's minute; here before, and the minute slides",
        "tpd": "; LiteLLM counts them after the answer; here they are taken before, by an estimate",
        "max_parallel_requests": "; in LiteLLM a call waits for its turn, here the next target is called",
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


def provider_limits(
    users: Mapping[str, Sequence[Deployment]], upstreams: dict[str, Upstream], *, enforced: frozenset[str]
) -> Notes:
    """Add limits to the upstreams, and return what becomes of each limit, by its deployment's place and key.

    `users` has the deployments by upstream, `enforced` the keys of LIMITS that LiteLLM enforces.
    """
    notes: dict[tuple[Where, str], Note] = {}
    for identity, deployments in users.items():
        limits: list[Json] = []
        for deployment in deployments:
            for key, (unit, per) in LIMITS.items():
                amount = deployment.limit(key)
                if amount is None:
                    continue
                if key not in enforced:
                    note = Note(_NOT_ENFORCED)
                elif len(deployments) > 1:
                    note = Note(_SHARED)
                elif amount < 1 or amount % 1 or amount > _MOST:
                    note = Note(_NO_LIMIT)
                else:
                    limits.append(text := limit_text(unit, amount, per))
                    is_exact = key not in _DIFFERS and not (deployment.has_reset or deployment.by_key)
                    whose = ", of all its keys together" if deployment.by_key else ""
                    message = f"as the provider's limit {text}{whose}{_DIFFERS.get(key, '')}"
                    note = Note(message, is_carried=True, is_exact=is_exact)
                notes[deployment.where, key] = note
            budget = deployment.budget
            if budget is not None:
                note = (
                    Note(_SHARED)
                    if len(deployments) > 1
                    else Note(*budget_note(budget, deployments, upstreams[identity]))
                )
                if note.is_carried:
                    limits.append(budget.entry)
                notes |= {(deployment.where, key): note for key in BUDGET_KEYS}
        if limits:
            add_limits(upstreams, identity, limits)
    return notes


_MOST: Final = 1e12
