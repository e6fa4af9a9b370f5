"""The compiled, immutable routing table: everything a request needs, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from gateway.policy.failures import FALLBACK_ON, RETRY_ON, Kind
from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.target import Limits, Target
from gateway.wire.json import EMPTY, Json, JsonObject

_MATCHED: Final = re.compile(r"[A-Za-z0-9._:@-]+(?:/[A-Za-z0-9._:@-]+)*")
"""What a wildcard may match: a model's name, so that it cannot steer a URL."""

MAX_FILLED: Final = 1024
"""How many names that wildcards took are remembered with their routes, and how long such a name may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A callable that a request or its answer goes through."""

    path: str
    """The dotted path of the file, or the callable's name when it was added in code."""
    call: Callable[[JsonObject], Any]
    """Takes one dict; gives a dict back, or an awaitable of one when `is_async`."""
    is_async: bool
    timeout_s: float | None = None
    """Async hooks only; None means no limit of its own."""
    on_error: Literal["fail", "skip"] = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One target of a chain with its limits and parameters."""

    target: Target
    limits: Limits
    retries: int = 0
    """Extra attempts on this target after the first."""
    params: Params = NO_PARAMS
    """Override the request's. Provider, defaults, alias and step, merged."""
    retry_on: frozenset[Kind] = RETRY_ON
    fallback_on: frozenset[Kind] = FALLBACK_ON


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPolicy:
    """How much of a stream is held back before anything is sent."""

    hold: Literal["first_token", "full"] = "first_token"
    max_bytes: int = 16 * 1024 * 1024
    """The most that is held; beyond it the stream is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What an alias means."""

    alias: str
    """As the file writes it; for a wildcard the pattern."""
    steps: tuple[Step, ...]
    """Never empty; steps that name another alias are resolved."""
    pre: tuple[Hook, ...] = ()
    """Hooks for every request first, then the alias' own."""
    post: tuple[Hook, ...] = ()
    deadline_s: float = 120.0
    """From the request's arrival to commit, over all attempts."""
    max_attempts: int = 8
    """At least the number of steps."""
    stream: StreamPolicy = field(default_factory=StreamPolicy)
    description: str | None = None

    def fill(self, matched: str) -> Route:
        """Return this wildcard's route with `matched` in place of the star of every target."""
        return replace(self, steps=tuple(_fill(step, matched) for step in self.steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """The whole policy. Built by the compiler, swapped in by one assignment, never changed."""

    generation: int
    routes: Mapping[str, Route]
    """Exact names."""
    wildcards: Mapping[str, Route] = field(default_factory=lambda: EMPTY)
    """By the text before the star."""
    wildcard_lengths: tuple[int, ...] = ()
    """The lengths of the keys of `wildcards`, longest first, each once."""
    passthrough: Route | None = None
    """Embedded use only: a route whose one target is `*`, for names the file does not have."""
    capabilities: Mapping[str, object] = field(default_factory=lambda: EMPTY)
    digest: str = ""
    """SHA-256 of the file's bytes, in hex; empty without a file."""
    source: str | None = None
    """The path of the file, or None."""
    loaded_at: float = 0.0
    """Seconds since the epoch."""
    config: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """What the file says, with `${NAME}` as written and secrets masked."""
    targets: tuple[Target, ...] = ()
    """Every distinct target, in file order; a wildcard's with its star."""
    _filled: dict[str, Route] = field(init=False, repr=False, compare=False, default_factory=dict)
    """The routes of names that wildcards took lately: filling one in takes longer than all else that finds a route."""

    def find(self, name: str) -> Route | None:
        """Return the route for a client's `name`: the exact one, else the wildcard with the longest prefix."""
        route = self.routes.get(name) or self._filled.get(name)
        if route is not None:
            return route
        route = self._filled_in(name)
        # Clients choose the names, so that both number and length have a bound.
        if route is not None and len(name) <= MAX_FILLED:
            if len(self._filled) >= MAX_FILLED:
                self._filled.clear()
            self._filled[name] = route
        return route

    def _filled_in(self, name: str) -> Route | None:
        for length in self.wildcard_lengths:
            wildcard = self.wildcards.get(name[:length]) if len(name) > length else None
            if wildcard is not None:
                matched = name[length:]
                return wildcard.fill(matched) if is_model_name(matched) else None
        if self.passthrough is not None and is_model_name(name):
            return self.passthrough.fill(name)
        return None


def is_model_name(text: str) -> bool:
    """Tell whether a wildcard may carry `text` over: letters, digits, `. _ : @ -`, single slashes, no `..`."""
    return ".." not in text and _MATCHED.fullmatch(text) is not None


def _fill(step: Step, matched: str) -> Step:
    target = step.target
    if "*" not in target.name:
        return step
    name = target.name.replace("*", matched)
    return replace(step, target=replace(target, name=name, model=target.model.replace("*", matched)))
