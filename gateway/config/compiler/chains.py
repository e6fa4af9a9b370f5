"""Make steps of the chains: find targets, insert the chains of other aliases, report cycles and overlong chains."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeAlias, cast

from gateway.concurrency.pacing import paced
from gateway.config.compiler.conditions import compiled_when
from gateway.config.compiler.inherit import Environment, merge_timeouts
from gateway.config.compiler.pools import Link, check_pool, leaves, placed, shape
from gateway.config.compiler.providers import check_params
from gateway.config.compiler.targets import Targets
from gateway.config.document.yaml_tree import Where
from gateway.config.model.partial import NOTHING, LeftOut
from gateway.config.model.specs import NO_LIMITS, AliasSpec, DefaultsSpec, LimitsSpec, ShadowSpec
from gateway.config.problems import Fault, Report
from gateway.policy.conditions import When
from gateway.policy.failures import FALLBACK_ON, RETRY_ON
from gateway.policy.params import MODEL_FAMILY, Params
from gateway.policy.pools import Part, shifted
from gateway.policy.table import AliasHooks, Route, RoutingTable, Shadow, Step
from gateway.policy.target import Target
from gateway.wire.json import EMPTY
from gateway.words import did_you_mean

MAX_STEPS: Final = 100
"""Maximum targets of one alias, those of inserted chains included."""

_NEVER_SENT: Final = frozenset({MODEL_FAMILY})
_MAX_CYCLES: Final = 100
_MAX_SHOWN: Final = 8


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


Elements: TypeAlias = tuple[Step | Reference, ...]
"""A chain with its own targets as steps, before the chains of other aliases are inserted."""

Parts: TypeAlias = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class CompiledAlias:
    """Result for one alias of an earlier compile with the same defaults."""

    alias: Alias
    elements: Elements
    shape: Parts | None
    """Its pools and conditions over the positions of its elements; None without any."""
    route: Route


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
        left_out: LeftOut = NOTHING,
        hooks: Mapping[str, AliasHooks] = EMPTY,
        earlier: Mapping[str, CompiledAlias] = EMPTY,
    ) -> None:
        """`left_out` has aliases of the file that already have problems; `hooks` has those with hooks of their own.

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
        self.elements: dict[str, Elements] = {}
        """Elements of the chain by alias; those with a problem are omitted."""
        self.shapes: dict[str, Parts] = {}
        """Pools and conditions over these elements, for aliases that have some in their own chain."""
        self.parts: dict[str, Parts] = {}
        """The parts of the route by alias, for aliases with pools or conditions, those of other aliases included."""
        self.shadows: dict[str, Shadow] = {}
        """The shadow by alias, for aliases that have one."""
        self._referring: dict[str, None] = {}
        """Aliases with a reference in their chains, in file order."""
        self._broken: set[str] = set()
        """Aliases with a problem in their chains."""
        self._valid: dict[str, list[Step | Reference | None]] = {}
        """The elements of these, None for each that has a problem."""

    def flatten(self) -> dict[str, tuple[Step, ...]]:
        """Return the steps by alias, without the aliases that have a problem. Fills in `parts` too."""
        steps: dict[str, tuple[Step, ...]] = {}
        are_unchanged = self._targets.are_unchanged()
        for name, alias in paced(self._aliases.items()):
            if alias.spec.shadow is not None:
                self._shadow(name, alias, alias.spec.shadow)
            before = self._earlier.get(name)
            if before is None or before.alias is not alias or not (are_unchanged or self._are_valid(before.elements)):
                self.elements[name] = self._compiled(name, alias)
            elif before.elements is before.route.steps:
                self.elements[name] = steps[name] = before.route.steps
                if before.shape is not None:
                    self.shapes[name] = self.parts[name] = before.shape
                continue
            else:
                if before.shape is not None:
                    self.shapes[name] = before.shape
                # Only the references are looked up anew: other aliases may have changed.
                links = zip(before.elements, _leaves(alias.links), strict=True)
                found = [one if isinstance(one, Step) else self._element(name, alias, link) for one, link in links]
                self.elements[name] = self._without_gaps(name, found)
            if name not in self._referring:
                self._expand(name, steps)
        for name in paced(self._ordered()):
            self._expand(name, steps)
        return steps

    def _compiled(self, name: str, alias: Alias) -> Elements:
        """Compile an alias' own chain, and its shape."""
        check_params(alias.spec.limits.params.sent, ("models", name, "params"), self._report)
        found = [self._element(name, alias, link) for link in _leaves(alias.links)]
        own = shape(alias.links, lambda link: self._condition(name, link))
        if own is not None:
            self.shapes[name] = own
            self._check_pools(name, alias.links)
        if alias.replaced:
            shape(alias.replaced, lambda link: self._condition(name, link))
            self._check_pools(name, alias.replaced)
            for link in _leaves(alias.replaced):
                self._element(name, alias, link)
        return self._without_gaps(name, found)

    def _without_gaps(self, name: str, found: list[Step | Reference | None]) -> Elements:
        whole = tuple([one for one in found if one is not None])
        if len(whole) < len(found):
            self._valid[name] = found
        return whole

    def _condition(self, name: str, link: Link) -> When | None:
        assert link.spec.when is not None, "asked for entries that have a condition"
        when = compiled_when(link.spec.when, (*link.place, "when"), self._report)
        if when is None:
            self._broken.add(name)
        return when

    def _check_pools(self, name: str, links: Sequence[Link]) -> None:
        for link in links:
            if link.spec.pool is not None:
                if check_pool(link, self._report):
                    self._broken.add(name)
                check_params(link.spec.limits.params.sent, (*link.place, "params"), self._report)

    def _shadow(self, name: str, alias: Alias, spec: ShadowSpec) -> None:
        before = self._earlier.get(name)
        shadow = None if before is None else before.route.shadow
        is_same = shadow is not None and before is not None and before.alias is alias
        if shadow is not None and is_same and self._targets.is_unchanged(shadow.step.target):
            self.shadows[name] = shadow
            return
        target = self._found_target(name, spec.target, ("models", name, "shadow", "target"), entry=None)
        if target is not None:
            step = replace(self.step(target, alias.spec.limits), retries=0)
            self.shadows[name] = Shadow(step=step, share=spec.share)

    def _are_valid(self, elements: Elements) -> bool:
        return all(isinstance(one, Reference) or self._targets.is_unchanged(one.target) for one in elements)

    def _element(self, name: str, alias: Alias, link: Link) -> Step | Reference | None:
        """Compile one target or reference. On a problem mark the alias as broken and return None."""
        if link.spec.alias is None:
            element: Step | Reference | None = self._target_step(name, alias, link)
        else:
            element = self._reference(link.spec.alias, link.name_place)
        if element is None:
            self._broken.add(name)
        elif isinstance(element, Reference):
            self._referring[name] = None
        return element

    def _target_step(self, name: str, alias: Alias, link: Link) -> Step | None:
        text = link.spec.target or ""
        entry = " in a list of members" if link.is_key else ""
        target = self._found_target(
            name, text, link.name_place, from_code=link.from_code, at_key=link.is_key, entry=entry
        )
        check_params(link.spec.limits.params.sent, (*link.place, "params"), self._report)
        own = (link.spec.limits,) if link.outer is NO_LIMITS else (link.spec.limits, link.outer)
        return None if target is None else self.step(target, *own, alias.spec.limits)

    def _found_target(
        self,
        name: str,
        text: str,
        place: Where,
        *,
        from_code: bool = False,
        at_key: bool = False,
        entry: str | None = "",
    ) -> Target | None:
        """Return the target that alias `name` has at `place`; None if it has a problem. Reports it.

        `entry` ends the hint that an alias has this name; None where no alias can stand.
        """
        target = self._targets.find(text, from_code=from_code)
        if not isinstance(target, Fault) and "*" in text and not name.endswith("*"):
            target = Fault("misplaced-star", f"{text!r} has a `*`, but {name!r} has none to carry over")
        if isinstance(target, Fault):
            message = target.message
            is_alias = entry is not None and (text in self._aliases or text in self._left_out.names.get("models", ()))
            if target.code == "no-provider" and is_alias:
                message = f"{text!r} names no provider; for the alias of that name write `{{alias: {text}}}`{entry}"
            self._report(place, target.code, message, at_key=at_key)
        return target if isinstance(target, Target) else None

    def placed(self, name: str) -> Iterator[tuple[Link, Step | Reference]]:
        """Yield the targets and references of an alias' own chain with their places, without those with a problem."""
        elements = self._valid.get(name, self.elements[name])
        for link, element in zip(_leaves(self._aliases[name].links), elements, strict=True):
            if element is not None:
                yield link, element

    def find(self, name: str) -> str | None:
        """Return the alias that a name leads to by the rules for a client's, as written in the file."""
        if name in self._aliases:
            return name
        if self._names is None:
            self._names = look_up(self._aliases)
        route = self._names.find(name)
        return route.alias if route is not None else None

    def step(self, target: Target, *limits: LimitsSpec) -> Step:
        """Return a target's step; in `limits` its own are first and its alias' last, the defaults are under them."""
        layers = (*limits, self._defaults)
        retries = [layer.retries for layer in layers if layer.retries is not None]
        retry_on = [layer.retry_on for layer in layers if layer.retry_on is not None]
        fallback_on = [layer.fallback_on for layer in layers if layer.fallback_on is not None]
        timeouts = tuple([layer.timeout for layer in layers])
        prices = [layer.price for layer in limits if layer.price is not None]
        params = self._params(target, limits)
        family = params.sent.get(MODEL_FAMILY)
        return Step(
            target=target,
            limits=merge_timeouts(timeouts, self._environment.timeout_s),
            retries=retries[0] if retries else self._environment.retries,
            params=params.without(_NEVER_SENT),
            retry_on=retry_on[0] if retry_on else RETRY_ON,
            fallback_on=fallback_on[0] if fallback_on else FALLBACK_ON,
            says_fallback=any(layer.fallback_on is not None for layer in limits),
            family=str(family) if family else None,
            price=prices[0] if prices else None,
        )

    def _params(self, target: Target, limits: Sequence[LimitsSpec]) -> Params:
        provider = target.endpoint.provider
        base = self._base_params.get(provider)
        if base is None:
            base = self._base_params[provider] = self._defaults.params.under(target.endpoint.params)
        for layer in reversed(limits):
            base = base.under(layer.params)
        return base

    def _reference(self, name: str, place: Where) -> Reference | None:
        if "*" in name:
            self._report(place, "misplaced-star", f"{name!r} must name one alias; a `*` is not carried into it")
            return None
        if name in self._aliases:
            return Reference(name, None, place)
        if name in self._left_out.names.get("models", ()):
            return None
        alias = self.find(name)
        if alias is None:
            if not self._left_out.has("models", name):
                known = {**self._aliases, **dict.fromkeys(self._left_out.names.get("models", ()))}
                self._report(place, "unknown-alias", f"no alias named {name!r}{did_you_mean(name, known)}")
            return None
        return Reference(alias, name[len(alias) - 1 :], place)

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
        return (one for one in self.elements[name] if isinstance(one, Reference))

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
        elements = self.elements[name]
        whole = self._joined(elements, steps) if name in self._referring else cast("tuple[Step, ...]", elements)
        if whole is None:
            return
        if len(whole) > MAX_STEPS:
            message = f"the chain comes to {len(whole)} targets, other aliases' included; {MAX_STEPS} are the most"
            self._report(self._aliases[name].place, "chain-too-long", message)
            return
        earlier = self._earlier.get(name)
        before = earlier.route.steps if earlier is not None else ()
        steps[name] = before if len(whole) == len(before) and all(map(operator.is_, whole, before)) else whole
        parts = self._joined_parts(name, steps)
        if parts is not None:
            known = earlier.route.parts if earlier is not None else None
            self.parts[name] = known if known is not None and known == parts else parts

    def _joined(self, elements: Elements, steps: Mapping[str, tuple[Step, ...]]) -> tuple[Step, ...] | None:
        """Return the chain with the chains of its references inserted; None when one of them has no steps.

        The hooks of an inserted alias go with its steps.
        """
        whole: list[Step] = []
        for element in elements:
            if isinstance(element, Step):
                whole.append(element)
            elif element.alias not in steps:
                return None
            else:
                inserted = steps[element.alias]
                if element.matched is not None:
                    inserted = Route(alias=element.alias, steps=inserted).fill(element.matched).steps
                hooks = self._hooks.get(element.alias)
                whole += inserted if hooks is None else [_behind(hooks, step) for step in inserted]
        return tuple(whole)

    def _joined_parts(self, name: str, steps: Mapping[str, tuple[Step, ...]]) -> Parts | None:
        """Return the parts of the whole chain; None if neither its own chain nor an inserted one has any."""
        own = self.shapes.get(name)
        if name not in self._referring:
            return own
        pieces: list[Parts] = []
        position, has_parts = 0, own is not None
        for element in self.elements[name]:
            inserted = self.parts.get(element.alias) if isinstance(element, Reference) else None
            count = len(steps[element.alias]) if isinstance(element, Reference) else 1
            pieces.append(tuple(range(position, position + count)) if inserted is None else shifted(inserted, position))
            has_parts = has_parts or inserted is not None
            position += count
        return placed(range(len(pieces)) if own is None else own, pieces) if has_parts else None


def _leaves(links: Sequence[Link]) -> Iterator[Link]:
    """Yield the targets and aliases of a chain, the members of its pools among them."""
    for link in links:
        if link.spec.pool is None:
            yield link
        else:
            yield from leaves(link)


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
