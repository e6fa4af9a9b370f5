"""What happened, for those who listen: requests that ended, with all that their reports tell of attempts and commit.

A listener gets the requests that ended in one turn of the event loop together, those of OWN apart from the others. One
that is not added costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from gateway.telemetry.report import CallReport
from gateway.telemetry.traces import Trace, Unsampled

OWN: Final = frozenset({"probe", "admin"})
"""Operations about the gateway itself: a full server answers them, and the page does not show them."""


class Ended(NamedTuple):
    """A request that ended: answered, refused, broken off or left."""

    report: CallReport
    """Its attempts have when each began and how it ended; `first_content_s` is when its stream committed."""
    operation: str
    status: int
    stream: bool
    client: str | None
    """The name of the client whose key was sent."""
    error: str | None
    """The code of the error that was sent."""
    asked: tuple[str, str] | None
    """Method and path, bounded and masked, where there is no such endpoint."""
    seconds: float
    """From its arrival to its end."""
    ended_at: float
    """Seconds since the epoch."""

    @property
    def is_broken(self) -> bool:
        """Its stream broke after the commit."""
        return self.stream and self.error is not None and self.report.first_content_s is not None


EndedRow: TypeAlias = tuple[CallReport, str, int, bool, str | None, str | None, tuple[str, str] | None, float, float]
"""An `Ended` as listeners get it: to make a plain tuple takes a third of the time. `Ended(*row)` gives it names."""

Listener: TypeAlias = Callable[[Sequence[EndedRow]], None]
"""Called on the event loop; it must be quick."""


BeginTrace: TypeAlias = Callable[[Mapping[str, str]], Trace | Unsampled]
"""Called with the header fields of a request that begins."""


class Observer:
    """The listeners of one gateway."""

    __slots__ = ("begin_trace", "listeners", "of_own")

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners
        """Whoever notes that requests ended calls each of them, with one or more, in the order of their ends."""
        self.begin_trace: BeginTrace | None = None
        """Begins the trace of a request; None if no traces are made."""
        self.of_own = listeners
        """Those that are told of OWN operations too."""

    def add(self, listener: Listener, *, of_own: bool = True) -> None:
        """Tell a further listener from now on; without `of_own` of other operations only."""
        self.listeners = (*self.listeners, listener)
        if of_own:
            self.of_own = (*self.of_own, listener)

    def remove(self, listener: Listener) -> None:
        """Tell a listener no more."""
        self.listeners = tuple(each for each in self.listeners if each != listener)
        self.of_own = tuple(each for each in self.of_own if each != listener)
