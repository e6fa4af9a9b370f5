"""One call of ours through LiteLLM, and how the code within LiteLLM tells it from its host's own calls."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Final

from gateway.policy.failures import UpstreamError


class OurCall:
    """What a call has to keep to, and what became of its exchange with the upstream.

    Whatever runs within its `with` block is ours: no banners are printed, `connect_s` limits connections. There is one
    block at a time, and it can be entered again: each event of a stream is read in one.
    """

    __slots__ = (
        "_token",
        "asking",
        "begun",
        "broken",
        "connect_s",
        "done",
        "finished",
        "key",
        "reused",
        "streaming",
        "unsent",
    )

    _token: Token[OurCall | None]

    def __init__(
        self,
        connect_s: float,
        *,
        key: str | None = None,
        streaming: bool = False,
        unsent: frozenset[str] = frozenset(),
    ) -> None:
        self.connect_s = connect_s
        """How many seconds a connection may take."""
        self.key = key
        """Shows in no error."""
        self.streaming = streaming
        """A stream was asked for."""
        self.unsent = unsent
        """Headers, lower case, that must not leave, in a process of our own."""
        self.asking = True
        """No answer and no stream has been handed out yet. What LiteLLM's transport does later is not this exchange."""
        self.reused = False
        """The connection had served before, and nothing has come back over it yet."""
        self.broken: UpstreamError | None = None
        """What was wrong with the response."""
        self.begun: set[int] = set()
        """The choices of a stream on OpenAI's wire."""
        self.finished: set[int] = set()
        """Those that have their finish reason. LiteLLM makes up what is missing."""
        self.done = False
        """`[DONE]` has come: whatever follows does not count."""

    def __enter__(self) -> None:
        self._token = _running.set(self)

    def __exit__(self, *_: object) -> None:
        _running.reset(self._token)

    @property
    def unfinished(self) -> bool:
        """The stream was on OpenAI's wire and a choice, or the whole answer, lacks its finish reason so far."""
        return not self.begun <= self.finished or (self.done and not self.finished)


_running: Final[ContextVar[OurCall | None]] = ContextVar("gateway_litellm_call", default=None)


def our_call() -> OurCall | None:
    """Return the call that runs in this context; None where LiteLLM was called by others."""
    return _running.get()
