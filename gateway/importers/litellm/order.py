"""The order in which LiteLLM's router calls model groups while each call fails.

A test runs LiteLLM's Router (1.110.2) beside this over random configs. Its rules:

1. The kind of a failure picks the list: `content_policy_fallbacks` for a refusal, `context_window_fallbacks` for a
   prompt that is too long, `fallbacks` for all else. A long prompt without an entry in its list goes on with
   `fallbacks`; a refusal without one ends the request, and where the whole list is missing `fallbacks` has it.
2. The entry is that of the group that failed, else that of the group asked for, else that of `*`. A name matches with
   its provider left out or added. An empty entry counts: nothing follows.
3. The groups of an entry are called in turn, each once a request. One that fails looks up an entry in the same way
   before the next one is called. Each call below a level counts one for the calls after it, and no entry is followed
   from a depth of `max_fallbacks` on.
4. Before any entry, the deployments with the next `order` are called, and count as a level. A refusal skips them, and
   so does a long prompt that has an entry of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.config.compiler.known_providers import KINDS
from gateway.config.document.yaml_tree import Where
from gateway.policy.failures import Kind

DEFAULT_MAX_FALLBACKS: Final = 5
"""LiteLLM's own `max_fallbacks`."""
ANY: Final = "*"
"""The group of the entry for every group without one."""


class Call(NamedTuple):
    """One call of a model group."""

    group: str
    level: int = 0
    """Place of its deployments' `order` among the orders of the group, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of a list of fallbacks."""

    group: str
    """The `model_name` whose fallbacks these are."""
    targets: tuple[str, ...]
    where: Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that decides the order of calls."""

    general: Sequence[Rule] = ()
    context_window: Sequence[Rule] = ()
    content_policy: Sequence[Rule] = ()
    max_fallbacks: int = DEFAULT_MAX_FALLBACKS
    levels: Mapping[str, int] = field(default_factory=dict)
    """Group → how many different orders its deployments have, if more than one."""
    providers: Mapping[str, str] = field(default_factory=dict)
    """Group without a provider in its name → its provider, where LiteLLM knows it."""
    is_served: Callable[[str], bool] = field(default=lambda name: True)
    """Whether a fallback has deployments. One without is passed over; its own entry is still followed."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of failure that lead different ways; the first one stands for all the others."""
        own = {Kind.CONTEXT_WINDOW: self.context_window, Kind.CONTENT_FILTER: self.content_policy or self.levels}
        return (Kind.SERVER_ERROR, *filter(own.get, own))

    def rule(self, kind: Kind, group: str, asked: str) -> Rule | None:
        """Return the entry that is followed after a failure of a group; None if the request ends there."""
        if kind == Kind.CONTENT_FILTER and self.content_policy:
            return self._look_up(self.content_policy, group, asked)
        found = self._look_up(self.context_window, group, asked) if kind == Kind.CONTEXT_WINDOW else None
        return found or self._look_up(self.general, group, asked)

    def _look_up(self, rules: Sequence[Rule], group: str, asked: str) -> Rule | None:
        own = (self.own(rules, name) for name in dict.fromkeys((group, asked)))
        general = next((rule for rule in reversed(rules) if rule.group == ANY), None)
        return next(filter(None, own), general)

    def own(self, rules: Sequence[Rule], group: str) -> Rule | None:
        """Return the entry for a group alone; None if it has none."""
        exact = next((rule for rule in rules if rule.group == group), None)
        return exact or next((rule for rule in reversed(rules) if self.is_same(rule.group, group)), None)

    def is_same(self, key: str, group: str) -> bool:
        """Tell whether an entry's key is a group's name with its provider left out or added."""
        provider, slash, model = group.partition("/")
        if slash:
            return key == model and provider in KINDS
        return group in self.providers and key == f"{self.providers[group]}/{group}"

    def has_next_level(self, kind: Kind, group: str, asked: str) -> bool:
        """Tell whether a failure leads to the deployments with the next `order`."""
        if kind == Kind.CONTEXT_WINDOW:
            return self._look_up(self.context_window, group, asked) is None
        return kind != Kind.CONTENT_FILTER


Walk = Generator[Call, Kind, None]
"""Yields each call; is sent the kind of its failure."""


def walk(rules: Rules, asked: str) -> Walk:
    """Walk through the calls that a request makes while all of them fail."""
    return _walk(rules, asked, Call(asked), 0, set())


def _walk(rules: Rules, asked: str, call: Call, depth: int, tried: set[Call]) -> Walk:
    group, level = call
    kind = (yield call) if group == asked or rules.is_served(group) else Kind.SERVER_ERROR
    if depth >= rules.max_fallbacks:
        return
    below = depth
    if level + 1 < rules.levels.get(group, 1) and rules.has_next_level(kind, group, asked):
        for other in range(level + 1, rules.levels[group]):
            if Call(group, other) not in tried:
                tried.add(Call(group, other))
                below += 1
                yield from _walk(rules, asked, Call(group, other), below, tried)
    rule = rules.rule(kind, group, asked)
    tried.add(Call(group))
    for target in rule.targets if rule is not None else ():
        if Call(target) not in tried:
            tried.add(Call(target))
            depth += 1
            yield from _walk(rules, asked, Call(target), depth, tried)


def calls(rules: Rules, asked: str, kind: Kind, *, at_most: int) -> list[Call]:
    """Return the first calls of a request where each fails with the same kind."""
    found: list[Call] = []
    steps = walk(rules, asked)
    try:
        found.append(next(steps))
        while len(found) < at_most:
            found.append(steps.send(kind))
    except StopIteration:
        pass
    return found


def next_call(rules: Rules, asked: str, kinds: Sequence[Kind]) -> Call | None:
    """Return the call after the first ones failed with these kinds; None where the request ends."""
    steps = walk(rules, asked)
    try:
        call = next(steps)
        for kind in kinds:
            call = steps.send(kind)
    except StopIteration:
        return None
    return call
