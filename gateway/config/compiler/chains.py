"""Make steps of the chains: find targets, insert the chains of other aliases, report cycles and overlong chains."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeAlias, cast

from gateway.concurrency.pacing import paced
from gateway.config.compiler.inherit import Environment, merge_timeouts
from gateway.config.compiler.providers import Upstreams, check_params
from gateway.config.document.yaml_tree import Where
from gateway.config.model.specs import AliasSpec, DefaultsSpec, StepSpec
from gateway.config.problems import Fault, Report
from gateway.policy.failures import FALLBACK_ON, RETRY_ON
from gateway.policy.params import MODEL_FAMILY, Params
from gateway.policy.table import AliasHooks, Route, RoutingTable, Step
from gateway.policy.target import Target
from gateway.wire.json import EMPTY
from gateway.words import did_you_mean

MAX_STEPS: Final = 100
"""Maximum targets of one alias, those of inserted chains included."""

_NEVER_SENT: Final = frozenset({MODEL_FAMILY})
_MAX_CYCLES: Final = 100
_MAX_SHOWN: Final = 8

_STEERS: Final = re.compile(r"\.\.|[ ?#\\%]")
"""Characters of a model's name that could steer a request to another path of the upstream."""


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of a chain and its place."""

    spec: StepSpec
    place: Where
    from_code: bool = False
    """Whether a program added it: then its target may be a bare name, if those are allowed."""


@dataclass(frozen=True, slots=True)
class Alias:
    """One alias: the file's entry with the overlay's additions."""

    spec: AliasSpec
    links: tuple[Link, ...]
    place: Where
    """Place of its chain."""
    replaced: tuple[Link, ...] = ()
    """Entries of the file that the overlay replaces; they are checked too."""
    is_as_written: bool = False
    """Whether the overlay adds nothing to it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A step that inserts another alias' chain."""

    alias: str
    """The exact name, or the pattern of a wildcard."""
    matched: str | None
    """The text that replaces the wildcard's `*`; None for an exact name."""
    place: Where


Parts: TypeAlias = tuple[Step | Reference, ...]
"""A chain with its own targets as steps, before the chains of other aliases are inserted."""


@dataclass(frozen=True, slots=True)
class CompiledAlias:
    """Result for one alias of an earlier compile with the same defaults."""

    alias: Alias
    parts: Parts
    route: Route


class Targets:
    """The targets of one compile, by their text."""

    def __init__(self, upstreams: Upstreams, *, bare_names: bool) -> None:
        self._upstreams = upstreams
        self._bare_names = bare_names
        self._bare = upstreams.bare()
        self._found: dict[str, Target | Fault | None] = {}

    def find(self, text: str, *, from_code: bool = False) -> Target | Fault | None:
        """Return the target, or None when its provider's entry has problems, which are already reported."""
        if text not in self._found:
            self._found[text] = self._make(text)
        found = self._found[text]
        if from_code and self._bare_names and isinstance(found, Fault) and found.code in _UNKNOWN:
            return self.bare(text)
        return found

    def are_unchanged(self) -> bool:
        """Tell whether every target of the earlier compile is still valid."""
        return self._upstreams.is_unchanged

    def is_unchanged(self, target: Target) -> bool:
        """Tell whether a target of the earlier compile is still valid."""
        return self._upstreams.find(target.endpoint.provider) is target.endpoint

    def bare(self, text: str) -> Target:
        """Return the target of a name that is passed to LiteLLM unchanged."""
        return Target(name=text, model=text, label=text, endpoint=self._bare)

    def _make(self, text: str) -> Target | Fault | None:
        provider, _, model = text.partition("/")
        endpoint = target_fault(text) or self._upstreams.find(provider)
        if endpoint is None or isinstance(endpoint, Fault):
            return endpoint
        return Target(name=text, model=model, label=text, endpoint=endpoint)


_UNKNOWN: Final = frozenset({"no-provider", "unknown-provider", "missing-base-url"})
"""Codes of faults that do not matter for a name that is passed to LiteLLM unchanged."""


def target_fault(text: str) -> Fault | None:
    """Return the fault of a target's text, or None. Does not look up the provider."""
    if not text or _STEERS.search(text) or not text.isprintable():
        return Fault("bad-target", "a target holds no spaces, no control characters and none of `..`, ?, #, %, \\")
    provider, slash, model = text.partition("/")
    if not slash:
        return Fault("no-provider", f"{text!r} names no provider; write `provider/{text}`")
    if not provider or not model:
        return Fault("bad-target", f"{text!r} is not whole; write `provider/model`")
    if text.count("*") > 1 or text.find("*") not in (-1, len(text) - 1) or "*" in provider:
        return Fault("misplaced-star", f"{text!r} may have one `*`, at its end")
    return None


class Chains:
    """Flattens the chains of all aliases into steps."""

    def __init__(
        self,
        aliases: Mapping[str, Alias],
        *,
        targets: Targets,
        defaults: DefaultsSpec,
        environment: Environment,
        report: Report,
        left_out: Collection[str] = (),
        hooks: Mapping[str, AliasHooks] = EMPTY,
        earlier: Mapping[str, CompiledAlias] = EMPTY,
    ) -> None:
        """`left_out` are aliases of the file that already have problems; `hooks` has those with hooks of their own.

        An alias that is the same object as in `earlier` keeps its step objects, if they are still valid.
        """
        self._aliases = aliases
        self._earlier = earlier
        self._left_out = left_out
        self._hooks = hooks
        self._targets = targets
        self._defaults = defaults.limits
        self._environment = environment
        self._report = report
        self._base_params: dict[str, Params] = {}
        self._names: RoutingTable | None = None
        self.parts: dict[str, Parts] = {}
        """Chain parts by alias; parts with a problem are omitted."""
        self._referring: dict[str, None] = {}
        """Aliases with a reference in their chains, in file order."""
        self._broken: set[str] = set()
        """Aliases with a problem in their chains."""

    def flatten(self) -> dict[str, tuple[Step, ...]]:
        """Return the steps by alias, without the aliases that have a problem."""
        steps: dict[str, tuple[Step, ...]] = {}
        are_unchanged = self._targets.are_unchanged()
        for name, alias in paced(self._aliases.items()):
            before = self._earlier.get(name)
            if before is None or before.alias is not alias or not (are_unchanged or self._are_valid(before.parts)):
                self.parts[name] = self._parts(name, alias)
            elif before.parts is before.route.steps:
                self.parts[name] = steps[name] = before.route.steps
                continue
            else:
                # Only the references are looked up anew: other aliases may have changed.
                links = zip(before.parts, alias.links, strict=True)
                found = [part if isinstance(part, Step) else self._part(name, alias, link) for part, link in links]
                self.parts[name] = tuple([part for part in found if part is not None])
            if name not in self._referring:
                self._expand(name, steps)
        for name in paced(self._ordered()):
            self._expand(name, steps)
        return steps

    def _parts(self, name: str, alias: Alias) -> Parts:
        check_params(alias.spec.limits.params.sent, ("models", name, "params"), self._report)
        found = [self._part(name, alias, link) for link in alias.links]
        for link in alias.replaced:
            self._part(name, alias, link)
        return tuple([part for part in found if part is not None])

    def _are_valid(self, parts: Parts) -> bool:
        return all(isinstance(part, Reference) or self._targets.is_unchanged(part.target) for part in parts)

    def _part(self, name: str, alias: Alias, link: Link) -> Step | Reference | None:
        """Compile one entry of a chain. On a problem mark the alias as broken and return None."""
        if link.spec.alias is None:
            part: Step | Reference | None = self._target_step(name, alias, link)
        else:
            part = self._reference(link.spec.alias, link.place)
        if part is None:
            self._broken.add(name)
        elif isinstance(part, Reference):
            self._referring[name] = None
        return part

    def _target_step(self, name: str, alias: Alias, link: Link) -> Step | None:
        text = link.spec.target or ""
        target = self._targets.find(text, from_code=link.from_code)
        if isinstance(target, Target) and "*" in target.name and not name.endswith("*"):
            target = Fault("misplaced-star", f"{text!r} has a `*`, but {name!r} has none to carry over")
        place = link.place if link.from_code else (*link.place, "target")
        if isinstance(target, Fault):
            message = target.message
            if target.code == "no-provider" and (text in self._aliases or text in self._left_out):
                message = f"{text!r} names no provider; for the alias of that name write `{{alias: {text}}}`"
            self._report(place, target.code, message)
        check_params(link.spec.limits.params.sent, (*link.place, "params"), self._report)
        return self.step(target, alias.spec, link.spec) if isinstance(target, Target) else None

    def step(self, target: Target, alias: AliasSpec, step: StepSpec) -> Step:
        """Return a target's step: its own limits merged with those of its alias, the defaults and the environment."""
        layers = (step.limits, alias.limits, self._defaults)
        retries = [layer.retries for layer in layers if layer.retries is not None]
        retry_on = [layer.retry_on for layer in layers if layer.retry_on is not None]
        fallback_on = [layer.fallback_on for layer in layers if layer.fallback_on is not None]
        timeouts = (step.limits.timeout, alias.limits.timeout, self._defaults.timeout)
        params = self._params(target, alias.limits.params, step.limits.params)
        family = params.sent.get(MODEL_FAMILY)
        return Step(
            target=target,
            limits=merge_timeouts(timeouts, self._environment.timeout_s),
            retries=retries[0] if retries else self._environment.retries,
            params=params.without(_NEVER_SENT),
            retry_on=retry_on[0] if retry_on else RETRY_ON,
            fallback_on=fallback_on[0] if fallback_on else FALLBACK_ON,
            says_fallback=step.limits.fallback_on is not None or alias.limits.fallback_on is not None,
            family=str(family) if family else None,
        )

    def _params(self, target: Target, of_alias: Params, of_step: Params) -> Params:
        provider = target.endpoint.provider
        base = self._base_params.get(provider)
        if base is None:
            base = self._base_params[provider] = self._defaults.params.under(target.endpoint.params)
        return base.under(of_alias).under(of_step)

    def _reference(self, name: str, place: Where) -> Reference | None:
        place = (*place, "alias")
        if "*" in name:
            self._report(place, "misplaced-star", f"{name!r} must name one alias; a `*` is not carried into it")
            return None
        if name in self._aliases:
            return Reference(name, None, place)
        if name in self._left_out:
            return None
        if self._names is None:
            self._names = look_up(self._aliases)
        route = self._names.find(name)
        if route is None:
            self._report(place, "unknown-alias", f"no alias named {name!r}{did_you_mean(name, self._aliases)}")
            return None
        return Reference(route.alias, name[len(route.alias) - 1 :], place)

    def _ordered(self) -> list[str]:
        """Return the aliases with references, each after those that it refers to. Reports cycles."""
        ordered: dict[str, None] = {}
        reported: set[Where] = set()
        for root in paced(self._referring):
            if root in ordered:
                continue
            path = {root: 0}
            followed: list[Reference] = []
            pending = [self._references(root)]
            while pending:
                reference = next(pending[-1], None)
                if reference is None:
                    pending.pop()
                    followed[-1:] = []
                    ordered[path.popitem()[0]] = None
                elif reference.alias in path:
                    start = path[reference.alias]
                    self._report_cycle([*path][start:], [*followed[start:], reference], reported)
                elif reference.alias in self._referring and reference.alias not in ordered:
                    path[reference.alias] = len(path)
                    followed.append(reference)
                    pending.append(self._references(reference.alias))
        return [*ordered]

    def _references(self, name: str) -> Iterator[Reference]:
        return (part for part in self.parts[name] if isinstance(part, Reference))

    def _report_cycle(self, names: list[str], followed: list[Reference], reported: set[Where]) -> None:
        self._broken.update(names)
        if len(reported) >= _MAX_CYCLES:
            return
        order = {name: number for number, name in enumerate(self._aliases)}
        first = min(range(len(names)), key=lambda index: order[names[index]])
        place = followed[first].place
        if place not in reported:
            reported.add(place)
            names = names[first:] + names[:first]
            shown = names if len(names) <= _MAX_SHOWN else [*names[: _MAX_SHOWN - 1], "…"]
            message = f"the chain comes back to where it began: {' -> '.join([*shown, names[0]])}"
            self._report(place, "alias-cycle", message)

    def _expand(self, name: str, steps: dict[str, tuple[Step, ...]]) -> None:
        """Add the steps of an alias to `steps`, unless it has a problem. Those that it refers to are there already."""
        if name in self._broken:
            return
        parts = self.parts[name]
        whole = self._joined(parts, steps) if name in self._referring else cast("tuple[Step, ...]", parts)
        if whole is None:
            return
        if len(whole) > MAX_STEPS:
            message = f"the chain comes to {len(whole)} targets, other aliases' included; {MAX_STEPS} are the most"
            self._report(self._aliases[name].place, "chain-too-long", message)
            return
        earlier = self._earlier.get(name)
        before = earlier.route.steps if earlier is not None else ()
        steps[name] = before if len(whole) == len(before) and all(map(operator.is_, whole, before)) else whole

    def _joined(self, parts: Parts, steps: Mapping[str, tuple[Step, ...]]) -> tuple[Step, ...] | None:
        """Return the chain with the chains of its references inserted; None when one of them has no steps.

        The hooks of an inserted alias go with its steps.
        """
        whole: list[Step] = []
        for part in parts:
            if isinstance(part, Step):
                whole.append(part)
            elif part.alias not in steps:
                return None
            else:
                inserted = steps[part.alias]
                if part.matched is not None:
                    inserted = Route(alias=part.alias, steps=inserted).fill(part.matched).steps
                hooks = self._hooks.get(part.alias)
                whole += inserted if hooks is None else [_behind(hooks, step) for step in inserted]
        return tuple(whole)


def _behind(hooks: AliasHooks, step: Step) -> Step:
    """Return the step with the hooks of the alias that leads to it."""
    return replace(step, nested=(hooks, *step.nested))


def look_up(aliases: Mapping[str, Alias]) -> RoutingTable:
    """Return a table without steps, which finds an alias by the rules for a client's name."""
    routes, wildcards, lengths = split_wildcards({name: Route(alias=name, steps=()) for name in aliases})
    return RoutingTable(generation=0, routes=routes, wildcards=wildcards, wildcard_lengths=lengths)


def split_wildcards(routes: Mapping[str, Route]) -> tuple[Mapping[str, Route], Mapping[str, Route], tuple[int, ...]]:
    """Return the exact routes, the wildcards by their text before `*`, and the lengths of these, longest first."""
    wildcards = {name[:-1]: route for name, route in paced(routes.items()) if name.endswith("*")}
    exact = dict(routes)
    for prefix in wildcards:
        del exact[f"{prefix}*"]
    lengths = tuple(sorted({len(prefix) for prefix in wildcards}, reverse=True))
    return MappingProxyType(exact), MappingProxyType(wildcards), lengths
