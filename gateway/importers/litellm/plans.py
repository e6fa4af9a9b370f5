"""One fixed order for a chain: which calls, after which kinds of failure each is left, and where LiteLLM differs.

LiteLLM's next call depends on the kinds of all failures before it. A chain has one order and each step its
`fallback_on`, so a plan follows every mixture of kinds through both and notes the first difference of each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.importers.litellm.order import Call, Rule, Rules, calls, next_call
from gateway.importers.litellm.values import shown
from gateway.policy.failures import Kind

_MOST_MIXTURES: Final = 300
"""Mixtures of failures that are followed for one chain."""
_MOST_IN_ALL: Final = 20_000
"""Mixtures of failures that are followed for one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A mixture of failures after which LiteLLM makes another call than the chain."""

    rules: tuple[Rule, ...]
    """The entries of the config that LiteLLM follows there."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The order of one chain."""

    calls: tuple[Call, ...]
    goes_on: tuple[frozenset[Kind], ...]
    """For each call, the kinds (of `Rules.kinds`) after which the next one is made."""
    differences: tuple[Difference, ...]


@dataclass(slots=True, kw_only=True)
class Planner:
    """Makes plans, within a budget for the whole file."""

    rules: Rules
    same: Callable[[Call], Hashable]
    """Returns an equal value for calls of the same deployments: a chain has them once."""
    at_most: int
    """Calls of a plan."""
    _left: int = _MOST_IN_ALL
    _plans: dict[str, Plan] = field(default_factory=dict)

    def plan(self, asked: str) -> Plan:
        """Return the plan of a name; the same one each time."""
        if asked not in self._plans:
            self._plans[asked] = self._new_plan(asked)
        return self._plans[asked]

    def _new_plan(self, asked: str) -> Plan:
        kinds = self.rules.kinds
        order: dict[Hashable, Call] = {}
        notes: dict[str, Difference] = {}
        for kind in kinds:
            for call in calls(self.rules, asked, kind, at_most=self.at_most):
                first = order.setdefault(self.same(call), call)
                if first != call:
                    message = f"for {shown(asked)} LiteLLM calls the deployments of {shown(first.group)} again"
                    self._note(notes, asked, kind, call, f"{message}, as {shown(call.group)}")
        found = tuple(order.values())[: self.at_most]
        goes_on = [{kinds[0]} for _ in found] if len(kinds) == 1 else self._follow(asked, found, notes)
        return Plan(calls=found, goes_on=tuple(map(frozenset, goes_on)), differences=tuple(notes.values()))

    def _follow(self, asked: str, order: tuple[Call, ...], notes: dict[str, Difference]) -> list[set[Kind]]:
        """Follow mixtures of failures, the short ones first; return the kinds after which each call is left."""
        goes_on: list[set[Kind]] = [set() for _ in order]
        ends: list[set[Kind]] = [set() for _ in order]
        pending: deque[tuple[Kind, ...]] = deque([()])
        left = min(_MOST_MIXTURES, self._left)
        while pending and left > 0:
            kinds = pending.popleft()
            place = len(kinds)
            call, following = order[place], order[place + 1] if place + 1 < len(order) else None
            for kind in self.rules.kinds:
                left, self._left = left - 1, self._left - 1
                other = next_call(self.rules, asked, (*kinds, kind))
                (ends if other is None else goes_on)[place].add(kind)
                if other is not None and other == following:
                    pending.append((*kinds, kind))
                elif other is not None:
                    message = f"after {_name(kind)} of {shown(call.group)}, LiteLLM goes to {shown(other.group)}"
                    self._note(notes, asked, kind, call, message)
        for place, call in enumerate(order):
            for kind in goes_on[place] & ends[place]:
                message = f"after {_name(kind)} of {shown(call.group)}, LiteLLM ends some requests"
                self._note(notes, asked, kind, call, message)
            if not goes_on[place] | ends[place]:
                goes_on[place].update(self.rules.kinds)
        if pending:
            self._note(notes, asked, Kind.SERVER_ERROR, order[0], "not every mixture of failures was compared")
        return goes_on

    def _note(self, notes: dict[str, Difference], asked: str, kind: Kind, call: Call, message: str) -> None:
        found = (self.rules.rule(kind, name, asked) for name in (call.group, asked))
        rules = tuple(dict.fromkeys(rule for rule in found if rule is not None))
        notes.setdefault(message, Difference(rules=rules, message=message))


def kinds_in_full(rules: Rules, reduced: frozenset[Kind], *, without: frozenset[Kind]) -> frozenset[Kind]:
    """Return every kind that some of `Rules.kinds` stand for, but those `without`."""
    alike: Mapping[Kind, Kind] = {kind: kind if kind in rules.kinds else Kind.SERVER_ERROR for kind in Kind}
    return frozenset(kind for kind in Kind if alike[kind] in reduced) - without


def _name(kind: Kind) -> str:
    return "a failure" if kind == Kind.SERVER_ERROR else kind.value
