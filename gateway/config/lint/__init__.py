"""Warnings about a valid policy's likely mistakes. Only `validate` runs these rules, not `serve` or a reload."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from gateway.config.compiler.compiler import Compiled
from gateway.config.document.document import in_file_order
from gateway.config.lint import caches, chains, clients, hooks, models, pools, providers, timeouts
from gateway.config.lint.ignores import Silences
from gateway.config.lint.subject import Finding, KnownClients, Outside, Policy
from gateway.policy.problem import Problem, listed

__all__ = ["CODES", "KnownClients", "Outside", "lint"]

_RULES: Final[dict[str, Callable[[Policy], Iterator[Finding]]]] = {
    "unreachable-step": chains.unreachable_steps,
    "repeated-target": chains.repeated_targets,
    "pool-of-one": pools.pools_of_one,
    "zero-weights": pools.zero_weights,
    "sticky-alone": pools.sticky_alone,
    "sticky-no-key": pools.sticky_without_key,
    "hedge-alone": chains.hedges_alone,
    "hedge-late": chains.late_hedges,
    "hedge-never": chains.hedges_that_never_call,
    "no-step-left": pools.chains_left_empty,
    "single-provider": chains.single_providers,
    "embeddings-other-model": chains.other_embedding_models,
    "short-deadline": chains.short_deadlines,
    "short-timeout": timeouts.short_timeouts,
    "unknown-model": models.misspelt_models,
    "deprecated-model": models.retired_models,
    "weaker-fallback": models.weaker_fallbacks,
    "hook-no-timeout": hooks.hooks_without_timeout,
    "hook-leaves-out": hooks.hooks_that_leave_out,
    "missing-package": providers.missing_packages,
    "refused-param": chains.refused_params,
    "limit-never-met": clients.limits_never_met,
    "budget-in-memory": clients.budgets_in_memory,
    "then-no-cheaper": clients.budgets_that_save_nothing,
    "then-embeddings": clients.budgets_that_go_on_with_embeddings,
    "unused-group": clients.groups_of_nobody,
    "unknown-client": clients.unknown_clients,
    "cache-never": caches.caches_that_keep_nothing,
    "cache-shadow": caches.caches_beside_shadows,
    "cache-varying-hook": caches.caches_that_never_hit,
}
"""The rules for a file that compiled, by code."""

_OF_MODELS: Final = frozenset({"short-timeout", "unknown-model", "deprecated-model", "weaker-fallback"})
"""Rules that need LiteLLM's model data."""

_OF_CLIENT_KEYS: Final = frozenset({"unused-group", "unknown-client"})
"""Rules that need the file of client keys."""

_COMPILERS: Final = frozenset(
    {
        "bad-api-key",
        "missing-key-file",
        "missing-price",
        "repeated-key",
        "unmatched-include",
        "unset-variable",
        "unused-param",
    }
)
"""Warnings of the compiler. All but the last depend on the machine, so a comment that ignores them is never unused."""

CODES: Final = frozenset({*_RULES, *_COMPILERS, "plain-secret", "plain-http", "unknown-group", "unused-ignore"})
"""The codes of all warnings, which comments may ignore."""


def lint(compiled: Compiled, outside: Outside, *, ignore: Collection[str] = ()) -> tuple[Problem, ...]:
    """Return a compiled file's problems and the warnings of all rules, in file order, those that are listed.

    Leaves out the warnings that a comment of the file ignores and the codes in `ignore`. For a file without a table,
    only the rules run that need none.
    """
    document = compiled.document
    if document is None or document.root is None:
        return compiled.problems
    found, judged = [*providers.plain_secrets(document)], {"plain-secret"}
    if compiled.config is not None:
        found += providers.public_http(compiled.config)
        judged.add("plain-http")
    if compiled.config is not None and compiled.table is not None:
        policy = Policy(compiled, compiled.config, compiled.table, outside)
        for rule in _RULES.values():
            found += rule(policy)
        judged |= {"unused-param", *_RULES}
        judged -= {"hook-no-timeout", "cache-varying-hook"} if policy.hooks_skipped else set()
        judged -= _OF_CLIENT_KEYS if outside.clients is None else set()
        judged -= _OF_MODELS if policy.models is None else set()
        judged -= {"missing-package", "budget-in-memory"}  # on another machine it may be so
    shown, dormant = list(compiled.found), list[Problem]()
    for one in found:
        problem = document.problem_in_full(one.code, one.place, one.message, key=one.at_key, severity="warning")
        (dormant if one.dormant else shown).append(problem)
    silences = Silences(document)
    left = silences.not_ignored(shown)
    silences.not_ignored(dormant)
    left += silences.not_ignored(silences.unused(known=CODES, judged=judged))
    left = [one for one in left if one.severity == "error" or one.code not in ignore]
    return listed(in_file_order(left, document.included))
