"""Rule for hooks that only the request's deadline can end."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.document.yaml_tree import Where
from gateway.config.lint.subject import Finding, Policy
from gateway.config.model.specs import HooksSpec


def hooks_without_timeout(policy: Policy) -> Iterator[Finding]:
    """Find async hooks without a timeout; a sync hook cannot have one."""
    waiting = {hook.path for chain in policy.chains for hook in (*chain.route.pre, *chain.route.post) if hook.is_async}
    yield from _without(policy.config.hooks, ("hooks",), waiting)
    for chain in policy.chains:
        yield from _without(chain.spec.hooks, (*chain.place, "hooks"), waiting)


def _without(hooks: HooksSpec, place: Where, waiting: set[str]) -> Iterator[Finding]:
    for when, specs in (("pre", hooks.pre), ("post", hooks.post)):
        for number, spec in enumerate(specs):
            if spec.timeout_s is None and spec.path in waiting:
                message = f"{spec.path} is async and has no timeout: while it hangs, the request waits for its deadline"
                yield Finding(code="hook-no-timeout", place=(*place, when, number, "path"), message=message)
