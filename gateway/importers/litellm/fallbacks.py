"""Turn LiteLLM's groups, aliases and fallbacks into chains: one alias per name, no cycles, no repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from gateway.config.compiler.chains import MAX_STEPS
from gateway.config.document.yaml_tree import Where
from gateway.importers.litellm.deployments import Deployment, Deployments
from gateway.importers.litellm.draft import Alias, Pool, Reference, Step, keeps_stream_open
from gateway.importers.litellm.limits import provider_limits, users_of, with_own_providers
from gateway.importers.litellm.order import ANY, Call, Rule, Rules
from gateway.importers.litellm.plans import Plan, Planner, kinds_in_full
from gateway.importers.litellm.providers import vendor_of
from gateway.importers.litellm.report import Report
from gateway.importers.litellm.settings import Retries, Settings
from gateway.importers.litellm.sharing import STRATEGIES, note_group, pool_of, with_key_lists
from gateway.importers.litellm.spending import budgeted_kinds, provider_budgets
from gateway.importers.litellm.values import shown
from gateway.policy.failures import FALLBACK_ON, Kind, names_of
from gateway.policy.table import is_model_name

_UNORDERED: Final = 0.0
"""The level of deployments without an order."""
_NOTHING: Final[frozenset[Kind]] = frozenset()


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
        together = budgeted_kinds(settings.provider_budgets)
        served = {name: with_key_lists(group, deployments.upstreams) for name, group in deployments.groups.items()}
        self._served = with_own_providers(served, deployments.upstreams, enforced=settings.enforced, together=together)
        """Deployments by alias; one stands for those that differ in their key alone."""
        users = users_of(self._served)
        self._limits = provider_limits(users, deployments.upstreams, enforced=settings.enforced, together=together)
        provider_budgets(settings.provider_budgets, users, deployments.upstreams, report)
        self._groups = {name: _Group(tuple(group)) for name, group in self._served.items()}
        self._rules = Rules()
        self._planner = Planner(rules=self._rules, same=self._same, at_most=MAX_STEPS + 1)
        self._unused: set[Where] = set()
        """Places of rules that another one shadows."""
        name = settings.strategy_name
        self._strategy = STRATEGIES.get(name) if isinstance(name, str) else None
        self._unpooled: set[Where] = set()
        """Places of deployments that share the load in LiteLLM and not here."""

    def make(self) -> dict[str, Alias]:
        """Return every alias with its chain."""
        self._read_aliases()
        self._read_rules()
        aliases = {name: self._alias(name) for name in self._groups}
        for name, group in self._served.items():
            is_pool = not any(each.where in self._unpooled for each in group)
            note_group(self._report, name, group, is_pool=is_pool, strategy=self._strategy, limits=self._limits)
        self._note_strategy()
        self._note_rules()
        return {name: alias for name, alias in aliases.items() if alias.chain}

    @property
    def fallback_on(self) -> frozenset[Kind]:
        """The kinds of failure that lead on wherever no step says otherwise."""
        if not self._rules.general and not self._rules.levels:
            return FALLBACK_ON
        reduced = frozenset(self._rules.kinds)
        return self._in_full(reduced if self._rules.general else reduced - {Kind.CONTENT_FILTER})

    def _in_full(self, reduced: frozenset[Kind]) -> frozenset[Kind]:
        without = _NOTHING if self._settings.bad_requests_fall_over else frozenset({Kind.BAD_REQUEST})
        return kinds_in_full(self._rules, reduced, without=without)

    def _read_aliases(self) -> None:
        left = dict(self._settings.aliases)
        while ready := [name for name, (group, _) in left.items() if self._is_served(self._renamed(group))]:
            for name in ready:
                group, where = left.pop(name)
                self._read_alias(name, group, where)
        for group, where in left.values():
            self._report.left_out(where, _no_model(group))

    def _read_alias(self, name: str, group: str, where: Where) -> None:
        alias = self._deployments.alias_name(name)
        target = self._renamed(group)
        if alias is None or "*" in alias:
            self._report.left_out(where, f"{shown(name)!r} cannot be such an alias: one word without a `*`")
        elif alias == target or self._stands_for(target, alias):
            self._report.left_out(where, "it stands for itself")
        else:
            if alias in self._groups:
                message = f"{shown(alias)} stands for {shown(group)}; its own deployments are never asked"
                self._report.approximate(where, message)
            elif target in self._groups and self._groups[target].stands_for is not None:
                message = (
                    f"{shown(alias)} has {shown(group)}'s deployments; LiteLLM does not follow an alias of an alias"
                )
                self._report.approximate(where, message)
            else:
                self._report.exact(where, f"{shown(alias)} has {shown(group)}'s deployments, and fallbacks of its own")
            self._groups[alias] = _Group((), target)

    def _stands_for(self, name: str | None, alias: str) -> bool:
        """Tell whether a name leads to an alias, directly or through others."""
        while name is not None and name != alias:
            group = self._groups.get(name)
            name = group.stands_for if group is not None else None
        return name == alias

    def _renamed(self, model: str) -> str:
        """Return the alias of a `model_name`."""
        return self._deployments.names.get(model, model)

    def _is_served(self, name: str) -> bool:
        """Tell whether a name has deployments of its own or matches a wildcard."""
        return "*" not in name and self._resolve(name) is not None

    def _resolve(self, name: str) -> str | None:
        """Return the group or wildcard that a client's name leads to."""
        if name in self._groups:
            return name
        found = [pattern for pattern in self._groups if pattern.endswith("*") and name.startswith(pattern[:-1])]
        longest = max((pattern for pattern in found if len(name) >= len(pattern)), key=len, default=None)
        return longest if longest is not None and is_model_name(name[len(longest) - 1 :]) else None

    def _base(self, name: str) -> str:
        """Return the name whose deployments are called for a name."""
        group = self._groups.get(name)
        while group is not None and group.stands_for is not None:
            name = group.stands_for
            group = self._groups.get(name)
        return name

    def _same(self, call: Call) -> Call:
        return Call(self._base(call.group), call.level)

    def _read_rules(self) -> None:
        lists = {
            key: self._renamed_rules(rules or ())
            for key, rules in (
                ("general", self._settings.general),
                ("context_window", self._settings.context_window),
                ("content_policy", self._settings.content_policy),
            )
        }
        every = [rule for rules in lists.values() for rule in rules]
        for rule in every:
            self._add_name(rule.group)
        keys = {rule.group.partition("/")[2]: rule.group for rule in every if "/" in rule.group}
        vendors = {name: vendor_of(name) for name in self._groups if name in keys}
        self._rules = Rules(
            **lists,
            max_fallbacks=self._settings.max_fallbacks,
            levels={name: count for name in self._groups if (count := len(self._levels(name))) > 1},
            providers={name: vendor for name, vendor in vendors.items() if vendor is not None},
            is_served=self._is_served,
        )
        self._planner.rules = self._rules
        reached = {target for rule in every for target in rule.targets}
        for rules in lists.values():
            for rule in rules:
                self._check_rule(rule, rules, reached)

    def _renamed_rules(self, rules: Sequence[Rule]) -> tuple[Rule, ...]:
        return tuple(
            replace(rule, group=self._renamed(rule.group), targets=tuple(map(self._renamed, rule.targets)))
            for rule in rules
        )

    def _add_name(self, key: str) -> None:
        """Give the names that a rule is for, and that only a wildcard serves, an alias of their own."""
        vendor = vendor_of(key)
        for name in (key, f"{vendor}/{key}") if vendor is not None and f"{vendor}/*" in self._groups else (key,):
            pattern = self._resolve(name)
            if pattern is None or pattern == name or "*" in name or self._deployments.alias_name(name) != name:
                continue
            filled = (_filled(each, pattern, name) for each in self._groups[pattern].deployments)
            self._groups[name] = _Group(tuple(filled), self._groups[pattern].stands_for)

    def _check_rule(self, rule: Rule, rules: Sequence[Rule], reached: set[str]) -> None:
        """Report what of a rule has no effect."""
        for target in rule.targets:
            if not self._is_served(target):
                self._report.left_out(rule.where, _no_model(target))
        others = [other for other in rules if other.group == rule.group]
        if rule is not others[-1 if rule.group == ANY else 0]:
            which = "a later entry for every model" if rule.group == ANY else "an earlier entry for the same model"
            self._unused.add(rule.where)
            self._report.left_out(rule.where, f"{which} is the one that counts")
        elif (
            rule.group != ANY
            and rule.group not in reached
            and not any(rule.group == name or self._rules.is_same(rule.group, name) for name in self._groups)
        ):
            self._unused.add(rule.where)
            self._report.left_out(rule.where, _no_model(rule.group))

    def _levels(self, name: str) -> list[float]:
        """Return the different orders of a name's deployments."""
        return sorted({each.order for each in self._deployments_of(name) if each.order is not None}) or [_UNORDERED]

    def _deployments_of(self, name: str) -> tuple[Deployment, ...]:
        """Return the deployments that a name leads to, with a wildcard's star replaced."""
        base = self._base(name)
        pattern = self._resolve(base) or base
        found = self._groups[pattern].deployments if pattern in self._groups else ()
        return found if pattern == base else tuple(_filled(each, pattern, base) for each in found)

    def _alias(self, name: str) -> Alias:
        group = self._groups[name]
        plan = self._planner.plan(name)
        comments: list[str] = []
        chain: list[Step | Reference | Pool] = []
        place = size = 0
        while place < len(plan.calls):
            length = self._reference(name, plan, place)
            if length:
                added: Sequence[Step | Reference | Pool] = [Reference(self._base(plan.calls[place].group))]
                steps = sum(len(self._steps(plan, at)) for at in range(place, place + length))
            else:
                alone = self._steps(plan, place, comments if place == 0 else None)
                steps = len(alone)
                added = alone if size + steps > MAX_STEPS else self._pooled(plan, place, alone)
            if size + steps > MAX_STEPS:
                chain += added[: MAX_STEPS - size] if not length else ()
                self._cut(name, comments)
                break
            chain += added
            size += steps
            place += length or 1
        comments += [f"LiteLLM differs: {difference.message}" for difference in plan.differences[:1]]
        description = next((each.description for each in group.deployments if each.description is not None), None)
        alias = Alias(chain=chain, description=description, comments=comments)
        if not keeps_stream_open(alias.steps):
            comments.append("`total` holds for streams too; LiteLLM's timeout does not")
        return alias

    def _reference(self, name: str, plan: Plan, place: int) -> int:
        """Return how many calls from this place on are another alias' whole chain; 0 if none are."""
        first = self._same(plan.calls[place])
        pattern = self._resolve(first.group)
        if pattern is None or pattern == name or first.level:
            return 0
        other = self._planner.plan(pattern)
        wanted = [self._same(call) for call in other.calls]
        wanted = [call._replace(group=first.group) if call.group == pattern else call for call in wanted]
        end = place + len(wanted)
        if [self._same(call) for call in plan.calls[place:end]] != wanted or first.group != wanted[0].group:
            return 0
        if plan.goes_on[place : end - 1] != other.goes_on[:-1]:
            return 0
        is_default = self._in_full(plan.goes_on[end - 1]) == self.fallback_on
        return len(wanted) if end == len(plan.calls) or is_default else 0

    def _called(self, call: Call) -> list[Deployment]:
        orders = self._levels(call.group)
        here = {orders[call.level], None if call.level == len(orders) - 1 else orders[call.level]}
        return [each for each in self._deployments_of(call.group) if each.order in here]

    def _pooled(self, plan: Plan, place: int, steps: list[Step]) -> Sequence[Step | Pool]:
        """Return the steps of one call as a pool if LiteLLM shares the load between them and a pool can."""
        called = self._called(plan.calls[place])
        is_mixed = len({each.order for each in called}) > 1  # those without an order come last
        pool = None if is_mixed else pool_of(called, steps, self._strategy)
        if pool is None and len(steps) > 1:
            self._unpooled |= {each.where for each in called}
        return steps if pool is None else [pool]

    def _steps(self, plan: Plan, place: int, comments: list[str] | None = None) -> list[Step]:
        """Return the steps of one call: deployments with the same order."""
        name = plan.calls[place].group
        steps = [each.step for each in self._called(plan.calls[place])]
        policy = self._settings.group_retries.get(self._base(name), Retries())
        retries = self._settings.retries if policy.count is None else policy.count
        spread = -(-(retries + 1) // len(steps)) - 1
        common = spread if spread != self._settings.retries else None
        if len(steps) > 1 and comments is not None:
            comments.append(
                f"LiteLLM shares the load between these {len(steps)}, and its {retries} retries go round them"
            )
        left_on = self._in_full(plan.goes_on[place])
        last = None if place == len(plan.calls) - 1 else left_on
        shared = None if last is None or left_on <= self.fallback_on else self.fallback_on | left_on
        return [
            replace(
                step,
                retries=common if step.retries is None else step.retries,
                retry_on=policy.retry_on,
                fallback_on=self._written(last if step is steps[-1] else shared),
            )
            for step in steps
        ]

    def _written(self, kinds: frozenset[Kind] | None) -> tuple[str, ...] | None:
        return None if kinds is None or kinds == self.fallback_on else tuple(names_of(kinds))

    def _cut(self, name: str, comments: list[str]) -> None:
        comments.append(f"cut off: a chain comes to {MAX_STEPS} targets at most")
        rule = self._rules.rule(Kind.SERVER_ERROR, name, name)
        places = [each.where for each in self._groups[name].deployments]
        where = rule.where if rule is not None else places[0] if places else ()
        self._report.approximate(where, f"{shown(name)}: a chain comes to {MAX_STEPS} targets at most", below=False)

    def _note_rules(self) -> None:
        """Report each rule: exactly, unless the plan of some name says where LiteLLM differs."""
        differences: dict[Where, str] = {}
        for name in self._groups:
            for difference in self._planner.plan(name).differences:
                for rule in difference.rules:
                    differences.setdefault(rule.where, difference.message)
        for rules, kind in (
            (self._rules.general, None),
            (self._rules.context_window, Kind.CONTEXT_WINDOW),
            (self._rules.content_policy, Kind.CONTENT_FILTER),
        ):
            for rule in (rule for rule in rules if rule.where not in self._unused):
                served = [target for target in rule.targets if self._is_served(target)]
                never = [target for target in served if self._is_never_next(rule, target)]
                targets = ", ".join(shown(target) for target in served if target not in never)
                message = f"then {targets or 'nothing'}" if targets or never else "then nothing: it has no fallbacks"
                message += "" if kind is None else f" after {kind}"
                message += ", for every model without an entry of its own" if rule.group == ANY else ""
                if "*" in rule.group and rule.group != ANY:
                    note = "LiteLLM follows it for no request: it compares the whole name that a client asks for"
                    self._report.approximate(rule.where, f"{message}; {note}", below=False)
                elif rule.where in differences:
                    note = f"a chain has one order: {differences[rule.where]}"
                    self._report.approximate(rule.where, f"{message}; {note}", below=False)
                else:
                    note = f"; LiteLLM does not go on to {', '.join(map(shown, never))} either" if never else ""
                    self._report.exact(rule.where, message + note)
                self._report.cover(rule.where)

    def _is_never_next(self, rule: Rule, target: str) -> bool:
        """Tell whether no chain has a rule's target behind the rule's model: `max_fallbacks`, or the model itself."""
        if rule.group != ANY and not self._is_served(rule.group):
            return False
        wanted, first = self._base(target), self._base(rule.group)
        for name in self._groups:
            groups = [self._base(call.group) for call in self._planner.plan(name).calls]
            begin = 1 if rule.group == ANY else groups.index(first) + 1 if first in groups else len(groups)
            if wanted in groups[begin:]:
                return False
        return True

    def _note_strategy(self) -> None:
        where = self._settings.strategy
        if where is None:
            return
        if all(len(group) < 2 for group in self._served.values()):
            if not any(each.by_key for group in self._served.values() for each in group):
                self._report.exact(where, "no model has two deployments to choose between")
            elif self._strategy is not None and self._strategy.has_weights:
                self._report.exact(where, "as lists of keys, which are used in turn")
            else:
                self._report.approximate(where, "as lists of keys, which are used in turn")
        elif self._strategy is None:
            self._report.approximate(where, "each chain has one fixed order; the load is not shared")
        elif self._unpooled:
            self._report.approximate(where, f"as `pick: {self._strategy.pick}`; some models are chains")
        elif self._strategy.note:
            self._report.approximate(where, f"as `pick: {self._strategy.pick}`; {self._strategy.note}")
        else:
            self._report.exact(where, f"as `pick: {self._strategy.pick}`, which is built in")


def _no_model(name: str) -> str:
    return f"there is no model {shown(name)!r} that could be carried over"


def _filled(deployment: Deployment, pattern: str, name: str) -> Deployment:
    model = deployment.step.filled(name[len(pattern) - 1 :])
    step = replace(deployment.step, model=model, params=MappingProxyType(dict(deployment.step.params)))
    return replace(deployment, step=step)
