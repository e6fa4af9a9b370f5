"""One call of ours through LiteLLM; in LiteLLM's code `our_call()` tells it from the host's own calls."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Final

from gateway.adapters.base import Operation
from gateway.adapters.litellm.bodies import ends_of
from gateway.adapters.routes import Clients
from gateway.policy.failures import UpstreamError
from gateway.policy.target import Endpoint
from gateway.wire.json import JsonObject


@dataclass(slots=True, eq=False, repr=False)
class OurCall:
    """The settings of one call, and what the transport observed of its HTTP exchange.

    LiteLLM runs inside its `with` block: there it prints no banners, and `connect_s` limits connections. It is
    entered again for each event of a stream, and must not be nested.
    """

    connect_s: float
    """Seconds that a connection may take."""
    endpoint: Endpoint | None = None
    """Where the call may go, in a process of our own; None where it is not checked."""
    operation: Operation | None = None
    """None where no answer is expected."""
    streaming: bool = False
    """The call asked for a stream."""
    one_choice: bool = False
    """The client asked for one choice: all indexes are one."""
    unsent: frozenset[str] = frozenset()
    """Lower-case names of headers that are removed before sending, in a process of our own."""
    clients: Clients | None = None
    """Our own HTTP clients, in a process of our own."""
    carried: bool = False
    """Our own HTTP client carries its request: LiteLLM's may send nothing but what it asks beside the call."""
    is_dry: bool = False
    """It is a dry run, which sends nothing."""
    beside: bool = False
    """LiteLLM asked something beside the call, such as a token."""
    asking: bool = True
    """False once the answer or the stream was returned. LiteLLM's later requests are not part of this exchange."""
    broken: UpstreamError | None = None
    """What was wrong with the response."""
    begun: set[int] = field(default_factory=set)
    """Indexes of the choices that a stream on OpenAI's or Google's wire has sent."""
    finished: set[int] = field(default_factory=set)
    """Choices whose finish reason the upstream sent. LiteLLM invents missing ones."""
    refused: bool = False
    """An event of a stream had a refusal."""
    usage: JsonObject | None = None
    """Token counts that a stream told beside a choice, where LiteLLM does not look."""
    usage_told: bool | None = None
    """Whether a plain answer has token counts; None if it was not looked at."""
    done: bool = False
    """`[DONE]` has come. Later data is ignored."""
    _token: Token[OurCall | None] = field(init=False)

    def __enter__(self) -> None:
        self._token = _running.set(self)

    def __exit__(self, *_: object) -> None:
        _running.reset(self._token)

    def note(self, event: JsonObject) -> None:
        """Note which choices an event of the upstream's stream has, and which of them end there."""
        for place, is_end in ends_of(event):
            index = 0 if self.one_choice else place
            self.begun.add(index)
            if is_end:
                self.finished.add(index)

    @property
    def unfinished(self) -> bool:
        """Whether a choice, or all of a completed stream on OpenAI's wire, has no finish reason."""
        return not self.begun <= self.finished or (self.done and not self.finished)


_running: Final[ContextVar[OurCall | None]] = ContextVar("gateway_litellm_call", default=None)


def our_call() -> OurCall | None:
    """Return the call that runs in this context; None when the host called LiteLLM."""
    return _running.get()
