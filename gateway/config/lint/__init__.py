"""Warnings about policies that are valid and wrong. For `validate` alone: neither `serve` nor a reload pays for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from gateway.config.compiler.compiler import Compiled
from gateway.config.document.document import in_file_order
from gateway.config.lint import chains, hooks, models, providers
from gateway.config.lint.ignores import Silences
from gateway.config.lint.subject import Finding, Outside, Policy
from gateway.policy.problem import Problem

__all__ = ["CODES", "Outside", "lint"]

_RULES: Final[dict[str, Callable[[Policy], Iterator[Finding]]]] = {
    "unreachable-step": chains.unreachable_steps,
    "repeated-target": chains.repeated_targets,
    "single-provider": chains.single_providers,
    "short-deadline": chains.short_deadlines,
    "unknown-model": models.misspelt_models,
    "deprecated-model": models.retired_models,
    "weaker-fallback": models.weaker_fallbacks,
    "hook-no-timeout": hooks.hooks_without_timeout,
}
"""What is asked of a file that compiled."""

_OF_MODELS: Final = frozenset({"unknown-model", "deprecated-model", "weaker-fallback"})

_COMPILERS: Final = frozenset({"bad-api-key", "missing-key-file", "unset-variable", "unused-param"})
"""The compiler's own warnings. All but the last depend on where the file is checked: no silence of them is in vain."""

CODES: Final = frozenset({*_RULES, *_COMPILERS, "plain-secret", "plain-http", "unused-ignore"})
"""The code of every warning: what may be silenced."""


def lint(compiled: Compiled, outside: Outside, *, ignore: Collection[str] = ()) -> tuple[Problem, ...]:
    """Return a compiled file's problems with the warnings of all rules among them, in file order.

    What a comment of the file silences is left out, and so are the codes in `ignore`. A file that did not compile is
    looked at as far as that goes.
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
        judged |= _judged(policy)
    shown, dormant = list(compiled.problems), list[Problem]()
    for one in found:
        problem = document.problem_in_full(one.code, one.place, one.message, key=one.at_key, severity="warning")
        (dormant if one.dormant else shown).append(problem)
    silences = Silences(document)
    left = silences.heard(shown)
    silences.heard(dormant)
    left += silences.heard(silences.unused(known=CODES, judged=judged))
    return tuple(in_file_order([one for one in left if one.severity == "error" or one.code not in ignore]))


def _judged(policy: Policy) -> set[str]:
    """Return the codes of the rules that had all they need: what they did not find is not there."""
    judged = {"unused-param", *_RULES}
    if policy.hooks_skipped:
        judged.remove("hook-no-timeout")
    return judged if policy.models is not None else judged - _OF_MODELS
