"""Rules for hooks: those that only the request's deadline can end, and those that leave out a wire of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Literal, TypeAlias

from gateway.config.document.yaml_tree import Where
from gateway.config.lint.subject import Chain, Finding, Policy
from gateway.config.model.specs import HooksSpec
from gateway.policy.wires import Wire, as_list, operations_of


def hooks_without_timeout(policy: Policy) -> Iterator[Finding]:
    """Find async hooks without a timeout; a sync hook cannot have one."""
    waiting = {hook.path for chain in policy.chains for hook in (*chain.route.pre, *chain.route.post) if hook.is_async}
    yield from _without(policy.config.hooks, ("hooks",), waiting)
    for chain in policy.chains:
        yield from _without(chain.spec.hooks, (*chain.place, "hooks"), waiting)


_Source: TypeAlias = tuple[Literal["wires", "when"], str]
"""What names operations: the `wires` of a provider, or a `when` of an alias."""


def hooks_that_leave_out(policy: Policy) -> Iterator[Finding]:
    """Find hooks whose `operations` leave out one that `wires` of a provider behind them, or a condition, name."""
    wires = {name: spec.wires for name, spec in policy.config.providers.items() if spec.wires}
    reached = {chain.spec.name: _named(chain, wires) for chain in policy.chains}
    everywhere = {source: own for named in reached.values() for source, own in named.items()}
    yield from _leaving_out(policy.config.hooks, ("hooks",), everywhere)
    for chain in policy.chains:
        yield from _leaving_out(chain.spec.hooks, (*chain.place, "hooks"), reached[chain.spec.name])


def _named(chain: Chain, wires: Mapping[str, Set[Wire]]) -> dict[_Source, frozenset[str]]:
    """Return the operations that the file names for each provider of a chain, and for its conditions."""
    providers = dict.fromkeys([step.target.endpoint.provider for step in chain.route.steps])
    named: dict[_Source, frozenset[str]] = {
        ("wires", name): operations_of(wires[name]) for name in providers if name in wires
    }
    asked = [item.when.operations for item in chain.items if item.when is not None and item.when.operations]
    if asked:
        named["when", chain.spec.name] = frozenset().union(*asked)
    return named


def _leaving_out(hooks: HooksSpec, place: Where, named: Mapping[_Source, frozenset[str]]) -> Iterator[Finding]:
    for when, specs in (("pre", hooks.pre), ("post", hooks.post)):
        for number, spec in enumerate(specs):
            if spec.operations is None:
                continue
            missing = {source: own - spec.operations for source, own in named.items() if own - spec.operations}
            if missing:
                names = ", ".join(as_list(frozenset().union(*missing.values())))
                does = "refuses" if when == "pre" and spec.on_error != "skip" else "is not run for"
                providers = ", ".join(name for key, name in missing if key == "wires")
                aliases = ", ".join(name for key, name in missing if key == "when")
                sources = [f"the `wires` of {providers}"] if providers else []
                sources += [f"a `when` of {aliases}"] if aliases else []
                message = f"{spec.path} {does} {names}, in {' and '.join(sources)}"
                yield Finding(
                    code="hook-leaves-out", place=(*place, when, number, "operations"), message=message, at_key=True
                )


def _without(hooks: HooksSpec, place: Where, waiting: set[str]) -> Iterator[Finding]:
    for when, specs in (("pre", hooks.pre), ("post", hooks.post)):
        for number, spec in enumerate(specs):
            if spec.timeout_s is None and spec.path in waiting:
                message = f"{spec.path} is async and has no timeout: while it hangs, the request waits for its deadline"
                yield Finding(code="hook-no-timeout", place=(*place, when, number, "path"), message=message)
