"""The contents of a config file as frozen values: durations in seconds, failure kinds as `Kind`, no default applied.

A field that the file leaves out is None (or empty), which differs from every value that it may write.
The compiled forms are in `gateway.policy.table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.policy.failures import Kind
from gateway.policy.keys import Secret
from gateway.policy.limits import CachePolicy, Price, Unit, Window
from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.pools import Pick, StickyKey
from gateway.policy.table import Hedge, HookEvents
from gateway.policy.target import AdapterName, ScriptedOutcome
from gateway.policy.wires import Wire
from gateway.wire.json import EMPTY, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutSpec:
    """A `timeout`, in seconds: a bare duration sets only `bare_s`, a mapping any of the other four."""

    bare_s: float | None = None
    connect_s: float | None = None
    first_token_s: float | None = None
    idle_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CooldownSpec:
    """A `cooldown`, durations in seconds."""

    failures: int | None = None
    share: float | None = None
    within_s: float | None = None
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """A `stream` block."""

    hold: Literal["first_token", "full"] | None = None
    max_bytes: int | None = None
    keepalive_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSpec:
    """The keys that `defaults`, an alias and a step share."""

    timeout: TimeoutSpec | None = None
    retries: int | None = None
    params: Params = NO_PARAMS
    retry_on: frozenset[Kind] | None = None
    fallback_on: frozenset[Kind] | None = None
    price: Price | None = None
    """Of steps and pools only."""


NO_LIMITS: Final = LimitsSpec()
"""Shared by all that set no limit, to save memory in large files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultsSpec:
    """The `defaults` block."""

    limits: LimitsSpec = NO_LIMITS
    deadline_s: float | None = None
    max_attempts: int | None = None
    cooldown: CooldownSpec | None = None
    stream: StreamSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """An `api_key`, or one entry of its list."""

    value: Secret | None
    """The expanded text; a Secret of "" means no key. None: it names a variable that is not set."""
    written: str | None = None
    """The text as written when it is made of variables, such as `${VLLM_KEY}`; None for a literal key."""
    variables: tuple[str, ...] = ()
    """The names of the variables in a text that may not be shown, such as `${KEY:-sk-1}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSpec:
    """One entry of a list of `limits`."""

    unit: Unit
    amount: float
    """May be no whole number."""
    per: Window | None = None
    """None for `concurrent` only."""
    then: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientGroupSpec:
    """One entry of `clients`."""

    name: str
    models: tuple[str, ...] | None = None
    limits: tuple[LimitSpec, ...] = ()
    share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """One entry of `providers`."""

    name: str
    kind: str | None = None
    base_url: str | None = None
    api_keys: tuple[KeySpec, ...] = ()
    """Of `api_key`, be it a text or a list; empty without one."""
    api_key_files: tuple[str, ...] = ()
    """Of `api_key_file`, likewise."""
    adapter: AdapterName | None = None
    wires: frozenset[Wire] = frozenset()
    """Empty where the file names none: the compiler knows what the endpoint speaks."""
    api_version: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    params: Params = NO_PARAMS
    cooldown: CooldownSpec | None = None
    limits: tuple[LimitSpec, ...] = ()
    script: tuple[ScriptedOutcome, ...] = ()
    written: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """The entry with variables as written and secrets as stars, for outputs; empty without variables."""

    def __repr__(self) -> str:
        return f"ProviderSpec({self.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhenSpec:
    """A `when` block, or the `not` in one. Names of headers are as written."""

    features: Mapping[str, bool] = field(default_factory=lambda: EMPTY)
    """`stream`, `tools`, `images`, `audio`, `files`."""
    tokens: str | None = None
    max_tokens: str | None = None
    operations: frozenset[str] = frozenset()
    """The operations that the file's list means, those of a wire's name included."""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    metadata: Mapping[str, tuple[Json, ...]] = field(default_factory=lambda: EMPTY)
    clients: frozenset[str] = frozenset()
    params: Mapping[str, tuple[Json, ...]] = field(default_factory=lambda: EMPTY)
    during: str | None = None
    inverse: WhenSpec | None = None
    """`not`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """One entry of a chain, or of a pool: exactly one of `target`, `alias` and `pool` is set."""

    target: str | None = None
    alias: str | None = None
    pool: PoolSpec | None = None
    limits: LimitsSpec = NO_LIMITS
    """Of a pool: for those of its members that are targets."""
    when: WhenSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSpec:
    """One member of a pool."""

    step: StepSpec
    """A target or an alias, without a condition."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A `pool` with `pick` and `key` beside it."""

    members: tuple[MemberSpec, ...]
    is_mapping: bool
    """Written as a mapping of targets to weights, not as a list."""
    pick: Pick | None = None
    key: StickyKey | None = None
    """The header's name is as written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSpec:
    """One entry of a `pre` or `post` list."""

    path: str
    timeout_s: float | None = None
    on_error: Literal["fail", "skip"] = "fail"
    operations: frozenset[str] | None = None
    """The operations that the file's list means, those of a wire's name included."""
    events: HookEvents | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HooksSpec:
    """A `hooks` block."""

    pre: tuple[HookSpec, ...] = ()
    post: tuple[HookSpec, ...] = ()


NO_HOOKS: Final = HooksSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowSpec:
    """A `shadow` block."""

    target: str
    share: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasSpec:
    """One entry of `models`."""

    name: str
    chain: tuple[StepSpec, ...]
    description: str | None = None
    hooks: HooksSpec = NO_HOOKS
    limits: LimitsSpec = NO_LIMITS
    deadline_s: float | None = None
    max_attempts: int | None = None
    stream: StreamSpec | None = None
    shadow: ShadowSpec | None = None
    hedge: Hedge | None = None
    cache: CachePolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole file. Mappings keep the file's order."""

    defaults: DefaultsSpec = field(default_factory=DefaultsSpec)
    providers: Mapping[str, ProviderSpec] = field(default_factory=lambda: EMPTY)
    models: Mapping[str, AliasSpec] = field(default_factory=lambda: EMPTY)
    clients: Mapping[str, ClientGroupSpec] | None = None
    """None where the file has no `clients`."""
    hooks: HooksSpec = NO_HOOKS
    capabilities: Mapping[str, str] = field(default_factory=lambda: EMPTY)
