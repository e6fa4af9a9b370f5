"""The compiled, immutable routing table."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from gateway.policy.failures import FALLBACK_ON, RETRY_ON, Kind
from gateway.policy.limits import CachePolicy, ClientGroups, Price
from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.pools import Part, asked_facts, pools
from gateway.policy.target import Limits, Target
from gateway.policy.wires import HOOK_OPERATIONS
from gateway.wire.json import EMPTY, Json, JsonObject

_MATCHED: Final = re.compile(r"[A-Za-z0-9._:@-]+(?:/[A-Za-z0-9._:@-]+)*")
"""A wildcard may match a model name only, so that a client cannot change the URL."""

MAX_USED: Final = 4096
"""Size of the cache of routes in use."""
MAX_NAME: Final = 256
"""Characters of the longest name that a client can ask for."""

KEEPER: Final = "gemini"
"""The kind of provider that keeps what clients of other wires can name: Gemini's files, by their URLs."""

HookEvents: TypeAlias = Literal["text", "final", "all"]
"""Which events of a stream a post hook gets: those with content, the last ones, or all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A callable that may change requests or answers."""

    path: str
    """The dotted path in the file, or the callable's name if it was added in code."""
    call: Callable[[JsonObject], Any]
    """Takes a dict and returns a dict, or an awaitable of one if `is_async`."""
    is_async: bool
    timeout_s: float | None = None
    """For async hooks only; None means no limit of its own."""
    on_error: Literal["fail", "skip"] = "fail"
    operations: frozenset[str] = HOOK_OPERATIONS
    """The operations whose requests or answers it can read."""
    events: HookEvents = "all"
    """For post hooks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasHooks:
    """The hooks that one alias names itself, without those for every request."""

    alias: str
    """As written in the file; for a wildcard the pattern."""
    pre: tuple[Hook, ...] = ()
    post: tuple[Hook, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One target of a chain with its limits and parameters."""

    target: Target
    limits: Limits
    retries: int = 0
    """Extra attempts on this target after the first."""
    params: Params = NO_PARAMS
    """Override the request's. Merged from provider, defaults, alias and step."""
    retry_on: frozenset[Kind] = RETRY_ON
    fallback_on: frozenset[Kind] = FALLBACK_ON
    says_fallback: bool = False
    """Its `fallback_on` is its own or its alias', not a default."""
    family: str | None = None
    """`params.model_family`: models of one family are the same to operations that only go to the same model."""
    nested: tuple[AliasHooks, ...] = ()
    """Hooks of the aliases through which `{alias: …}` leads to this step, from outer to inner; usually none."""
    price: Price | None = None
    """As the file says; None: by the price data, where somebody's spend is limited."""
    key: int | None = None
    """The position of the only one of the target's several keys that may be used; None for all."""
    by_key: tuple[Step, ...] = field(init=False, repr=False, compare=False)
    """The step with each key that may be used, in file order; empty where the target has no several keys."""

    def __post_init__(self) -> None:
        by_key: tuple[Step, ...] = ()
        if self.target.endpoint.by_key:
            by_key = tuple([replace(self, target=target, key=None) for target in self.target.by_key])
            by_key = by_key if self.key is None else (by_key[self.key],)
        object.__setattr__(self, "by_key", by_key)


def other_models(steps: Sequence[Step], closed: Collection[int] = ()) -> frozenset[int]:
    """Return the positions of the steps whose model is another than the first step's, and to which no step leads.

    Models are the same by `family`, else by the text after the provider. A mock that comes first has no model, so that
    drills work. A step whose `fallback_on` is written leads to all behind it. `closed` are steps that cannot be asked.
    """
    first: str | None = None
    others: list[int] = []
    for position, step in enumerate(steps):
        is_drill = first is None and step.target.endpoint.kind == "mock" and step.family is None
        if position in closed or (is_drill and not step.says_fallback):
            continue
        model = step.family or step.target.model
        first = model if first is None else first
        if model != first:
            others.append(position)
        elif step.says_fallback:
            break
    return frozenset(others)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPolicy:
    """Until when a stream is held back."""

    hold: Literal["first_token", "full"] = "first_token"
    max_bytes: int = 16 * 1024 * 1024
    """A stream that is held back and exceeds this fails."""
    keepalive_s: float | None = None
    """Seconds without data after which the server's client gets the head and a comment; None for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A target that gets a share of an alias' requests once more. Its answers are dropped."""

    step: Step
    share: float
    """Part of the requests, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Hedge:
    """When a second target is called beside one that has brought no content yet."""

    after_s: float | None
    """Seconds of its call; None for the 95th percentile of the target's own times."""


class Passing(NamedTuple):
    """A route as the requests of one operation pass it."""

    route: Route
    """The route with the hooks that know the operation; without the others."""
    refused_by: tuple[str, Hook] | None
    """The first pre hook that must see every request and does not know the operation, with its alias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A compiled alias."""

    alias: str
    """As written in the file; for a wildcard the pattern."""
    steps: tuple[Step, ...]
    """Never empty; steps that name another alias are resolved. All of them, in file order, those of pools too."""
    parts: tuple[Part, ...] | None = None
    """The chain's pools and conditions; None for a chain without any, whose steps are tried in order."""
    pre: tuple[Hook, ...] = ()
    """Hooks for all requests first, then the alias' own; those of nested aliases are in the steps."""
    post: tuple[Hook, ...] = ()
    own: AliasHooks | None = None
    """The alias' own among `pre` and `post`, whatever operation they know; None without any."""
    deadline_s: float = 120.0
    """Seconds from the request's arrival to commit, over all attempts. A held stream's content does not use it up."""
    max_attempts: int = 8
    """At least the number of steps."""
    stream: StreamPolicy = field(default_factory=StreamPolicy)
    description: str | None = None
    shadow: Shadow | None = None
    hedge: Hedge | None = None
    """None where targets are called one after the other only."""
    cache: CachePolicy | None = None
    """None: no answer is kept."""
    has_hooks: bool = field(init=False)
    """Some hook may run, be it a nested alias'."""
    has_nested: bool = field(init=False)
    """Some step has hooks of nested aliases."""
    is_plain: bool = field(init=False)
    """Its requests take the steps as they are in the file, one by one; no hook may run, none is sent to a shadow.

    Nor is an answer kept, here or by a step that could bind a request to it; and no step's provider has limits.
    """
    is_limited: bool = field(init=False)
    """The provider of some step has limits."""
    keeps: bool = field(init=False)
    """Some step, beside others or with several keys, is of the KEEPER kind."""
    asks: frozenset[str] = field(init=False, repr=False, compare=False)
    """The features that its conditions ask for, and `tokens` if one asks for that."""
    is_paced: bool = field(init=False, repr=False, compare=False)
    """The times of its targets are asked for: a pool picks the fastest, or a hedge waits for a percentile."""
    _passing: dict[str, Passing] | None = field(init=False, repr=False, compare=False, default=None)
    """Cache: operation → what `passing` returns. None, to save memory, until it is asked."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_nested", any(step.nested for step in self.steps))
        object.__setattr__(self, "has_hooks", bool(self.pre or self.post or self.has_nested))
        several = len(self.steps) > 1 or any(step.by_key for step in self.steps)
        keeps = several and any(step.target.endpoint.kind == KEEPER for step in self.steps)
        object.__setattr__(self, "keeps", keeps)
        parts = self.parts or ()
        is_single = self.parts is None and self.hedge is None and self.shadow is None
        object.__setattr__(self, "is_limited", any(step.target.endpoint.limits for step in self.steps))
        is_free = self.cache is None and not self.is_limited
        object.__setattr__(self, "is_plain", is_single and not keeps and not self.has_hooks and is_free)
        object.__setattr__(self, "asks", asked_facts(parts) if parts else frozenset())
        by_percentile = self.hedge is not None and self.hedge.after_s is None
        is_paced = by_percentile or any(pool.pick == "fastest" for pool in pools(parts))
        object.__setattr__(self, "is_paced", is_paced)

    def fill(self, matched: str) -> Route:
        """Return this wildcard's route with `matched` for the star in its targets."""
        shadow = self.shadow
        if shadow is not None:
            shadow = replace(shadow, step=_fill(shadow.step, matched))
        return replace(self, steps=tuple(_fill(step, matched) for step in self.steps), shadow=shadow)

    def anew(self) -> Route:
        """Return an equal route, itself and its first step new objects; that one answers most requests."""
        return replace(self, alias=_anew(self.alias), steps=(_step_anew(self.steps[0]), *self.steps[1:]))

    def passing(self, operation: str) -> Passing:
        """Return the route as requests of an operation pass it: with the hooks that know it, or refused by one.

        Whether a request is refused depends on the table alone, not on which targets fail.
        """
        cache = self._passing
        if cache is None:
            cache = {}
            object.__setattr__(self, "_passing", cache)
        if operation not in cache:
            cache[operation] = _passing(self, operation)
        return cache[operation]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """The whole policy. Made by the compiler, swapped in by one assignment, never changed."""

    generation: int
    routes: Mapping[str, Route]
    """By exact name."""
    wildcards: Mapping[str, Route] = field(default_factory=lambda: EMPTY)
    """By the text before the star."""
    wildcard_lengths: tuple[int, ...] = ()
    """The distinct lengths of the keys of `wildcards`, longest first."""
    passthrough: Route | None = None
    """For embedded use: the route of names that the file does not have. Its one target is `*`."""
    capabilities: Mapping[str, object] = field(default_factory=lambda: EMPTY)
    digest: str = ""
    """SHA-256 of the file's bytes, in hex; empty without a file."""
    source: str | None = None
    """The path of the file, or None."""
    loaded_at: float = 0.0
    """Seconds since the epoch."""
    config: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """The file's content, with `${NAME}` as written and secrets masked."""
    targets: tuple[Target, ...] = ()
    """All distinct targets in file order; a wildcard's with its star."""
    clients: ClientGroups = field(default_factory=lambda: EMPTY)
    """Empty where the file has no `clients`; else it always has the group `default`."""
    price_of: Callable[[Target], Price | None] | None = field(default=None, repr=False, compare=False)
    """Returns the price of a target whose step has none, by the price data. None where nobody's spend is limited."""
    _used: dict[str, Route] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Cache: name → route, filled in for a wildcard, which takes longer than all other look-ups, or made anew.

    What is made anew lies together in memory with other names in use. In a large table the objects of one name lie
    apart, each among those of names that nobody asks for, and each costs a miss of the processor's caches.
    """

    def find(self, name: str) -> Route | None:
        """Return the route for a client's `name`: the exact one, else the wildcard with the longest prefix."""
        return self._used.get(name) or self._found(name)

    def _found(self, name: str) -> Route | None:
        """Return the route likewise, and remember it."""
        route = self.routes.get(name)
        if route is not None:
            if len(self._used) < MAX_USED:  # later names are served as they are: clearing would copy again and again
                route = route.anew()
                self._used[route.alias] = route
            return route
        # Clients choose the names, so both number and length are bounded.
        route = self._filled_in(name) if len(name) <= MAX_NAME else None
        if route is not None:
            if len(self._used) >= MAX_USED:
                self._used.clear()
            self._used[name] = route
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
    """Tell whether a wildcard may match `text`: letters, digits, `. _ : @ -`, single slashes, no `..`."""
    return ".." not in text and _MATCHED.fullmatch(text) is not None


def _passing(route: Route, operation: str) -> Passing:
    steps = tuple([_step_passing(step, operation) for step in route.steps])
    pre, post = _knowing(route.pre, operation), _knowing(route.post, operation)
    hooks = [(route.alias, hook) for hook in route.pre]
    for step in route.steps:
        if operation in step.target.endpoint.adapters:
            hooks += [(nested.alias, hook) for nested in step.nested for hook in nested.pre]
    refusing = (own for own in hooks if own[1].on_error != "skip" and operation not in own[1].operations)
    return Passing(replace(route, steps=steps, pre=pre, post=post), next(refusing, None))


def _step_passing(step: Step, operation: str) -> Step:
    """Return the step with the nested aliases' hooks that know the operation."""
    if not step.nested:
        return step
    nested = [replace(own, pre=_knowing(own.pre, operation), post=_knowing(own.post, operation)) for own in step.nested]
    return replace(step, nested=tuple([own for own in nested if own.pre or own.post]))


def _knowing(hooks: tuple[Hook, ...], operation: str) -> tuple[Hook, ...]:
    return tuple([hook for hook in hooks if operation in hook.operations])


def _anew(text: str) -> str:
    return f"{text} "[:-1]  # a copy of a text is the text itself


def _step_anew(step: Step) -> Step:
    """Return an equal step, it, its target and their names new objects."""
    target = step.target
    name = _anew(target.name)
    label = name if target.label == name else target.label
    return replace(step, target=replace(target, name=name, model=_anew(target.model), label=label))


def _fill(step: Step, matched: str) -> Step:
    target = step.target
    if "*" not in target.name:
        return step
    name = target.name.replace("*", matched)
    return replace(step, target=replace(target, name=name, model=target.model.replace("*", matched)))
