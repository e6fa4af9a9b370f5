"""Check caches that clients share: what is stored must be the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.concurrency.pacing import paced
from gateway.config.compiler.chains import Alias
from gateway.config.problems import Report
from gateway.policy.table import Step


def check_shared(aliases: Mapping[str, Alias], steps: Mapping[str, tuple[Step, ...]], report: Report) -> None:
    """Report shared caches of chains that lead through another alias' pre hooks.

    Those run after the cache is asked, and may put into the request what depends on its client.
    """
    for name, alias in paced(aliases.items()):
        cache = alias.spec.cache
        if cache is None or cache.scope != "shared":
            continue
        nested = [hooks.alias for step in steps.get(name, ()) for hooks in step.nested]
        # Hooks may be left out; the file still has them.
        hooked = next((one for one in nested if aliases[one].spec.hooks.pre), None)
        if hooked is not None:
            message = (
                f"the chain leads through the pre hooks of {hooked!r}, which run after the cache is asked and may make "
                "the answers of one client differ from another's; leave the scope out, or give this alias the hooks"
            )
            report(("models", name, "cache", "scope"), "shared-cache", message)
