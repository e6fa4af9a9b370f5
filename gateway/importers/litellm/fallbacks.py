"""Turn LiteLLM's groups, aliases and fallbacks into chains: one alias per name, no cycles, no repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from gateway.config.compiler.chains import MAX_STEPS
from gateway.config.document.yaml_tree import Where
from gateway.importers.litellm.deployments import Deployment, Deployments
from gateway.importers.litellm.draft import Alias, Reference, Step, keeps_stream_open
from gateway.importers.litellm.report import Report
from gateway.importers.litellm.settings import Retries, Rule, Settings
from gateway.importers.litellm.values import shown
from gateway.policy.failures import FALLBACK_ON, Kind
from gateway.policy.table import is_model_name
from gateway.wire.json import EMPTY

EVERY_KIND: Final = tuple(kind.value for kind in Kind if kind != Kind.BAD_REQUEST)
"""The kinds of failure that lead LiteLLM to its plain fallbacks."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The deployments of one name that clients may ask for."""

    deployments: tuple[Deployment, ...]
    stands_for: str | None = None
    """The name that a `model_group_alias` leads to."""


class ChainMaker:
    """Builds the chain of every name."""

    def __init__(self, deployments: Deployments, settings: Settings, report: Report) -> None:
        self._deployments = deployments
        self._settings = settings
        self._report = report
        self._groups = {name: _Group(tuple(group)) for name, group in deployments.groups.items()}
        self._general: Mapping[str, Rule] = EMPTY
        self._window: Mapping[str, Rule] = EMPTY
        self._policy: Mapping[str, Rule] = EMPTY
        self._everywhere: tuple[str, ...] = ()
        self._reach: dict[str, tuple[str, ...]] = {}
        self._stripped: dict[str, list[str]] = {}

    def make(self) -> dict[str, Alias]:
        """Return every alias with its chain."""
        self._read_aliases()
        for name in self._groups:
            if (model := name.partition("/")[2]) and "*" not in name:
                self._stripped.setdefault(model, []).append(name)
        self._general = self._rules(self._settings.general)
        self._window = self._rules(self._settings.context_window)
        self._policy = self._rules(self._settings.content_policy)
        self._everywhere = self._read_everywhere()
        self._note_strategy()
        aliases = {name: self._alias(name) for name in self._groups}
        return {name: alias for name, alias in aliases.items() if alias.chain}

    @property
    def falls_over_refusals(self) -> bool:
        """Whether plain fallbacks also follow a content filter: they do when it has no list of its own."""
        return self._settings.content_policy is None and bool(self._general or self._everywhere)

    def _read_aliases(self) -> None:
        left = dict(self._settings.aliases)
        while ready := [name for name, (group, _) in left.items() if self._is_carried_over(group)]:
            for name in ready:
                group, where = left.pop(name)
                self._read_alias(name, group, where)
        for group, where in left.values():
            self._report.left_out(where, _no_model(group))

    def _carried_over(self, models: Sequence[str], where: Where) -> list[str]:
        """Return the aliases of the models that have one; report the others at `where`."""
        for model in models:
            if not self._is_carried_over(model):
                self._report.left_out(where, _no_model(model))
        return [self._deployments.names.get(model, model) for model in models if self._is_carried_over(model)]

    def _is_carried_over(self, model: str) -> bool:
        """Tell whether a model has an alias or matches a wildcard."""
        name = self._deployments.names.get(model, model)
        return "*" not in name and self._resolve(name) is not None

    def _read_alias(self, name: str, group: str, where: Where) -> None:
        alias = self._deployments.alias_name(name)
        target = self._deployments.names.get(group, group)
        if alias is None or "*" in alias:
            self._report.left_out(where, f"{shown(name)!r} cannot be such an alias: one word without a `*`")
        elif alias == target or self._stands_for(target, alias):
            self._report.left_out(where, "it stands for itself")
        else:
            if alias in self._groups:
                message = f"{shown(alias)} stands for {shown(group)}; its own deployments are never asked"
                self._report.approximate(where, message, below=False)
            else:
                self._report.exact(where, f"{shown(alias)} goes on with {shown(group)}'s chain")
            self._groups[alias] = _Group((), target)

    def _stands_for(self, name: str | None, alias: str) -> bool:
        """Tell whether a name leads to an alias, directly or through others."""
        while name is not None and name != alias:
            group = self._groups.get(name)
            name = group.stands_for if group is not None else None
        return name == alias

    def _resolve(self, name: str) -> str | None:
        """Return the group or wildcard that a client's name leads to."""
        if name in self._groups:
            return name
        found = [pattern for pattern in self._groups if pattern.endswith("*") and name.startswith(pattern[:-1])]
        longest = max((pattern for pattern in found if len(name) >= len(pattern)), key=len, default=None)
        return longest if longest is not None and is_model_name(name[len(longest) - 1 :]) else None

    def _rules(self, rules: Sequence[Rule] | None) -> dict[str, Rule]:
        """Return the rules by alias. A rule for a name that matches a wildcard adds an alias of that name."""
        by_name: dict[str, Rule] = {}
        for rule in rules or ():
            group = self._deployments.names.get(rule.group, rule.group)
            targets = self._carried_over(rule.targets, rule.where)
            if group == "*":
                self._settings.everywhere = (*targets, *self._settings.everywhere)
                self._settings.everywhere_where = self._settings.everywhere_where or rule.where
                continue
            names = self._named(group)
            if not names:
                self._report.left_out(rule.where, _no_model(rule.group))
            for name in names if targets else ():
                if name not in by_name:
                    by_name[name] = replace(rule, targets=tuple(dict.fromkeys(targets)))
                elif by_name[name].where != rule.where:
                    self._report.left_out(rule.where, "an earlier entry for the same model is the one that counts")
        return by_name

    def _named(self, group: str) -> list[str]:
        """Return the aliases that a rule is for."""
        if group in self._groups:
            return [group]
        stripped = self._stripped.get(group, [])
        pattern = self._resolve(group)
        if pattern is None or "*" in group or self._deployments.alias_name(group) != group:
            return stripped
        filled = (_filled(each, pattern, group) for each in self._groups[pattern].deployments)
        self._groups[group] = _Group(tuple(filled), self._groups[pattern].stands_for)
        return [group, *stripped]

    def _read_everywhere(self) -> tuple[str, ...]:
        where = self._settings.everywhere_where
        found = self._carried_over(tuple(dict.fromkeys(self._settings.everywhere)), where)
        if found:
            message = f"{', '.join(map(shown, found))} at the end of each chain that has no fallbacks of its own"
            self._report.exact(where, message)
        return tuple(found)

    def _plain(self, name: str) -> tuple[str, ...]:
        """Return the names that plain fallbacks lead to."""
        rule = self._general.get(name)
        return rule.targets if rule is not None else tuple(other for other in self._everywhere if other != name)

    def _next(self, name: str) -> Iterator[str]:
        """Yield the names that follow a group, in the order of its chain."""
        pattern = self._resolve(name) or name
        stands_for = self._groups[pattern].stands_for
        if stands_for is not None:
            yield stands_for
        yield from self._plain(pattern)
        for rules in (self._window, self._policy):
            if pattern in rules:
                yield from rules[pattern].targets

    def _walk(self, name: str) -> tuple[str, ...]:
        """Return the names that a chain reaches, each once, in the order in which LiteLLM would call them.

        At most one more than a chain may have targets: the rest would be cut off.
        """
        if name not in self._reach:
            seen: dict[str, None] = {}
            pending = [name]
            while pending and len(seen) <= MAX_STEPS:
                each = pending.pop()
                if each not in seen:
                    seen[each] = None
                    pending.extend(reversed(tuple(self._next(each))))
            self._reach[name] = tuple(seen)
        return self._reach[name]

    def _alias(self, name: str) -> Alias:
        group = self._groups[name]
        comments: list[str] = []
        own = self._own_steps(name, group, comments)
        chain: list[Step | Reference] = [*own]
        seen = {name}
        flat = False
        for follower in self._next(name):
            if follower in seen or len(chain) > MAX_STEPS:
                continue
            reached = self._walk(follower)
            # A reference must not lead back to this alias, by its name or through a wildcard.
            leads_back = any(self._resolve(each) == name for each in reached)
            if len(reached) <= MAX_STEPS and seen.isdisjoint(reached) and not leads_back:
                chain.append(Reference(follower))
                seen.update(reached)
                continue
            flat = True
            for each in reached:
                if each not in seen:
                    chain += self._steps_of(each)
                    seen.add(each)
        if flat:
            comments.append("written out without repeats: these models share fallbacks")
        chain = self._cut(chain, name, comments)
        self._note_rules(name, own, group, comments)
        description = next((each.description for each in group.deployments if each.description is not None), None)
        alias = Alias(chain=chain, description=description, comments=comments)
        if not keeps_stream_open(alias.steps):
            comments.append("`total` holds for streams too; LiteLLM's timeout does not")
        return alias

    def _steps_of(self, name: str) -> list[Step]:
        """Return a group's own steps, with a wildcard's star replaced."""
        pattern = self._resolve(name) or name
        steps = self._own_steps(pattern, self._groups[pattern], [])
        if pattern == name:
            return steps
        return [replace(step, model=step.filled(name[len(pattern) - 1 :])) for step in steps]

    def _own_steps(self, name: str, group: _Group, comments: list[str]) -> list[Step]:
        steps = [deployment.step for deployment in group.deployments]
        if not steps:
            return []
        policy = self._settings.group_retries.get(name, Retries())
        retries = self._settings.retries if policy.count is None else policy.count
        spread = -(-(retries + 1) // len(steps)) - 1
        common = spread if spread != self._settings.retries else None
        orders = {each.order for each in group.deployments}
        if len(orders) < len(steps) or (None in orders and len(steps) > 1):
            comments.append(
                f"LiteLLM shares the load between these {len(steps)}, and its {retries} retries go round them"
            )
        return [
            replace(
                step,
                retries=common if step.retries is None else step.retries,
                retry_on=policy.retry_on,
                fallback_on=self._fallback_on(name, last=position == len(steps)),
            )
            for position, step in enumerate(steps, start=1)
        ]

    def _fallback_on(self, name: str, *, last: bool) -> tuple[str, ...] | None:
        """Return the `fallback_on` of a step of a group; None for the default."""
        rules = {Kind.CONTEXT_WINDOW: self._window, Kind.CONTENT_FILTER: self._policy}
        extra = {kind for kind, by_name in rules.items() if name in by_name}
        kinds = extra if last and not self._plain(name) else extra | FALLBACK_ON
        return None if not extra or kinds == FALLBACK_ON else tuple(kind.value for kind in Kind if kind in kinds)

    def _cut(self, chain: list[Step | Reference], name: str, comments: list[str]) -> list[Step | Reference]:
        """Cut a chain to MAX_STEPS targets."""
        size = 0
        for position, step in enumerate(chain):
            patterns = map(self._resolve, self._walk(step.alias) if isinstance(step, Reference) else ())
            groups = [self._groups[pattern] for pattern in patterns if pattern is not None]
            size += sum(len(group.deployments) for group in groups) if isinstance(step, Reference) else 1
            if size > MAX_STEPS:
                comments.append(f"cut off: a chain comes to {MAX_STEPS} targets at most")
                places = [each.where for each in self._groups[name].deployments]
                rule = self._general.get(name)
                where = rule.where if rule is not None else places[0] if places else ()
                message = f"{shown(name)}: a chain comes to {MAX_STEPS} targets at most"
                self._report.approximate(where, message, below=False)
                return chain[:position]
        return chain

    def _note_rules(self, name: str, own: Sequence[Step], group: _Group, comments: list[str]) -> None:
        general, window, policy = self._general.get(name), self._window.get(name), self._policy.get(name)
        plain = self._plain(name)
        if general is not None:
            self._report.exact(general.where, f"then {', '.join(map(shown, general.targets))}")
        for rule, kind in ((window, Kind.CONTEXT_WINDOW), (policy, Kind.CONTENT_FILTER)):
            if rule is None:
                continue
            targets = ", ".join(map(shown, rule.targets))
            if set(rule.targets) <= set(plain[: len(rule.targets)]):
                self._report.exact(rule.where, f"then {targets}, as after any failure")
            elif not plain and len(own) <= 1 and not (window and policy):
                self._report.exact(rule.where, f"then {targets}, after {kind} alone")
            else:
                others = "the other fallbacks" if plain or (window and policy) else "the other deployments"
                message = f"then {targets}, after {others}: a chain has one order for every kind of failure"
                self._report.approximate(rule.where, message, below=False)
                comments.append(f"LiteLLM goes straight to {targets} after {kind}")
        if group.stands_for is not None and (general or window or policy):
            comments.append(f"{shown(group.stands_for)} goes on with its own fallbacks first")

    def _note_strategy(self) -> None:
        where = self._settings.strategy
        if where is not None and any(len(group.deployments) > 1 for group in self._groups.values()):
            self._report.approximate(where, "each chain has one fixed order; the load is not shared")
        elif where is not None:
            self._report.exact(where, "no model has two deployments to choose between")


def _no_model(name: str) -> str:
    return f"there is no model {shown(name)!r} that could be carried over"


def _filled(deployment: Deployment, pattern: str, name: str) -> Deployment:
    model = deployment.step.filled(name[len(pattern) - 1 :])
    step = replace(deployment.step, model=model, params=MappingProxyType(dict(deployment.step.params)))
    return replace(deployment, step=step)
