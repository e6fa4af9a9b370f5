"""One request on its way through the engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.adapters.base import NotSupported, Operation
from gateway.engine.arrange import Arranged
from gateway.engine.bound import Bound
from gateway.engine.facts import RequestFacts
from gateway.engine.keys import KeyOrder
from gateway.engine.limits.admission import Admission
from gateway.engine.limits.providers import Room
from gateway.engine.nested import NestedHooks
from gateway.engine.next_step import GiveUp, Outcome, Plan, Try, Wait
from gateway.engine.paces import PaceKey
from gateway.policy.failures import UpstreamError
from gateway.policy.table import Route, Step
from gateway.policy.target import AdapterName
from gateway.telemetry.report import CallReport
from gateway.wire.json import Json
from gateway.wire.multipart import Form


class Course(NamedTuple):
    """The failed attempts of a request so far."""

    outcomes: list[Outcome]
    errors: list[UpstreamError]
    """One for each of `outcomes`."""
    lacks: list[tuple[str, NotSupported]]
    """Names of the targets that were passed over for this request, each with what it does not support."""


class Calls(Protocol):
    """Hears of a request's calls where the alias has a `hedge`, and may call another target beside one."""

    @property
    def is_running(self) -> bool:
        """Another target is being called."""

    @property
    def reserved(self) -> int:
        """The most attempts that it may still make beyond one for its target."""

    @property
    def unsupported(self) -> frozenset[int]:
        """Steps whose target turned out not to support the request."""

    @property
    def after(self) -> int:
        """The position behind the last step that was called; those before it were passed over, and noted."""

    def idle(self) -> None:
        """Note that the chain calls nobody now."""

    def begin(self, plan: Plan, course: Course, position: int, step: Step) -> None:
        """Note that the step at this position is called now; `step` has the key that is sent, where it has several."""

    def has_content(self) -> None:
        """Note that the call has brought content, which is held back."""

    @property
    def busy(self) -> frozenset[int]:
        """The steps of the target that is called so long that the chain may go on without them."""

    def goes_on(self, following: Try | Wait | GiveUp) -> bool:
        """Tell whether the chain does what follows beside the second call. It then does."""

    async def settle(self) -> None:
        """Wait until the second call has failed or takes long. If it answers, the task that waits is cancelled."""


@dataclass(slots=True)
class RoutedRequest:
    """A request with the route of its alias. Only pre hooks change it."""

    operation: Operation
    model: str
    """The name that the client asked for."""
    route: Route
    params: Mapping[str, Json]
    headers: Mapping[str, str]
    started_s: float
    """Its arrival on the event loop's clock."""
    report: CallReport
    query: str = ""
    """The query that goes upstream."""
    form: Form | None = None
    """The multipart form whose texts are `params`."""
    nested: NestedHooks | None = None
    """Set if a step of the route has hooks of nested aliases that this request must pass."""
    client: str | None = None
    """The name of the client whose key was sent."""
    bound: Bound | None = None
    """The only step that may be called, if the request is bound to one."""
    facts: RequestFacts | None = None
    """What the route's pools and conditions ask; None for a route without any."""
    arranged: Arranged | None = None
    """The steps in the order of the route's pools; None if that is the file's."""
    pace: PaceKey | None = None
    """What the times of its attempts are noted as; None if nothing asks for them."""
    key_order: KeyOrder | None = None
    """In which order the request tries the keys of a target that has several; None: all in turn."""
    left_out: frozenset[int] = frozenset()
    """Steps that are not called: the request is bound to another, its other call has them, or their price is unknown.
    """
    admission: Admission | None = None
    """What it takes from its client's limits; None if there are none."""
    room: Room | None = None
    """What its calls take from the limits of their providers; None if no provider of the route has any."""
    second: Calls | None = None
    """Set if a second target may be called beside a slow one, and for that second call."""
    answered: Step | None = None
    """The step that answered, if `nested` is set."""
    carrier: AdapterName = "relay"
    """What carries the operation in the current attempt."""
    end_s: float = math.inf
    """The end of a held stream on the event loop's clock, failover included."""
    held_s: float = 0.0
    """Seconds in which broken attempts of a held stream brought content: the deadline stood still."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    """The running loop, which has the clock."""

    @property
    def deadline_s(self) -> float:
        """The last moment for content on the event loop's clock."""
        return min(self.started_s + self.route.deadline_s + self.held_s, self.end_s)

    @property
    def counts_tokens(self) -> bool:
        """Limits need the tokens of its current call."""
        by_client = self.admission is not None and self.admission.counts_tokens
        return by_client or (self.room is not None and self.room.counts_tokens)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in the order in which they are tried."""
        return self.route.steps if self.arranged is None else self.arranged.steps
