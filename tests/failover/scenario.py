"""What one scenario is made of: faults, what the caller should get, and how the endpoint should have gone about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from tests.failover.client import Leave
from tests.failover.faults import Fault

LIMIT_S: Final = 1.5
"""Every limit of one attempt: connect, first token, idle, total."""
RETRIES: Final = 2
DEADLINE_S: Final = 8.0
"""From the request's arrival to its first content, over all attempts."""
COOLDOWN_FAILURES: Final = 3
COOLDOWN_WITHIN_S: Final = 30
COOLDOWN_FOR_S: Final = 2
BOUND_S: Final = 20.0
"""A caller that has nothing whole by then was left hanging."""
CLOSE_S: Final = 1.0
"""How long a call that nobody waits for any more may run on."""

SECRET: Final = "sk-upstream-secret-4711"
"""The key of the upstream, which some of its errors repeat."""


Wire: TypeAlias = Literal["chat", "responses", "messages", "gemini", "speech", "transcriptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The wires of the client and of the upstream, and what lies between them."""

    name: str
    client: Wire
    upstream: Wire
    provider: str
    """The fields of the provider's entry in our routes.yaml, beside `base_url` and `api_key`."""


CHAT: Final = Route(name="chat", client="chat", upstream="chat", provider="kind: openai")


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer, by which target (from 1), for each of the scenario's requests."""

    by: tuple[int, ...] = (2,)


@dataclass(frozen=True, slots=True)
class Refused:
    """A clean error: an HTTP status and an error body."""

    status: int
    """Exactly this from our gateway; from others, any of the same hundred, or 408."""
    code: str | None = None
    """Our own word, or the upstream's where its refusal is the client's to know. Ours only."""
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """The first content was sent before the fault: an honest end is the best that is left, a whole answer is better."""


@dataclass(frozen=True, slots=True)
class Left:
    """The client leaves: the upstream is closed and nothing more is tried."""

    leave: Leave
    watch_s: float = 0.5
    """For how long nothing more may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way to fail, in one mode, on one route."""

    name: str
    """Distinct among the scenarios of its route."""
    mode: Literal["plain", "stream"]
    scripts: tuple[tuple[Fault, ...] | None, ...]
    """By target: what it does call after call, the last one for ever. None is a port that nobody listens on."""
    expect: Answered | Refused | BrokenOff | Left
    calls: tuple[int | range, ...]
    """How often each target is called: exactly so by our gateway."""
    again_helps: bool = True
    """Another call of the same target might go well, so others may make as many as they were told to."""
    hold: bool = False
    """The alias says `stream: {hold: full}`."""
    hold_bytes: int | None = None
    """The alias' `stream.max_bytes`."""
    pauses_s: tuple[float, ...] = (0.0,)
    """One request after each pause."""
    route: Route = CHAT
    prompt: str = "hello"
    tools: bool = False
    """The request offers a tool."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sent with the request."""
    deadline_s: float | None = None
    """The alias' own."""
    gap_s: tuple[float, float] | None = None
    """Least and most between the first target's first two calls."""
    within_s: float | None = None
    """The caller has its answer by then. Ours only."""
    first_content_s: float | None = None
    """The caller has the first content by then."""
    ours_only: bool = False
    """It needs a setting that other endpoints do not have."""
    usage_last: bool = False
    """A stream ends with the usage; in chat the last event before `[DONE]` carries it and `choices: []`."""

    @property
    def full_name(self) -> str:
        """The name among the scenarios of all routes: also the alias that is asked for."""
        return self.name if self.route is CHAT else f"{self.name}@{self.route.name}"

    @property
    def fault(self) -> str:
        """The name without the mode."""
        return self.name.partition("-")[2]

    @property
    def models(self) -> tuple[str, ...]:
        """What the targets are called upstream."""
        return tuple(f"{self.full_name}--{position}" for position in range(1, len(self.scripts) + 1))
