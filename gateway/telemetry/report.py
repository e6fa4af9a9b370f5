"""What happened to one request: its attempts, target, tokens and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from gateway.policy.failures import Kind
from gateway.policy.target import Target
from gateway.wire.json import JsonObject

PassedOver: TypeAlias = Literal["cooldown", "unsupported"]
PASSED_OVER: Final[frozenset[Kind | PassedOver | None]] = frozenset({"cooldown", "unsupported"})
"""Why a target is not called: it rests after failures, or it cannot be asked for the operation."""


@dataclass(slots=True)
class Attempt:
    """One call of one target, or its being passed over, for the log, the metrics and the error's `attempts`."""

    target: str
    label: str
    kind: Kind | PassedOver | None
    """None when the target answered; why it was passed over when it was not called at all."""
    status: int | None
    ms: float

    @property
    def was_called(self) -> bool:
        """The target was called, not passed over."""
        return self.kind not in PASSED_OVER

    def public(self) -> JsonObject:
        """Return what a client may see."""
        return {"target": self.target, "kind": self.kind, "status": self.status, "ms": round(self.ms * 10) / 10}


@dataclass(slots=True)
class CallReport:
    """What became of one request, filled in while it runs, so that a cancelled one is told as well."""

    request_id: str = ""
    alias: str = ""
    """As the file writes it: the pattern of a wildcard. Empty while none was found."""
    generation: int = 0
    target: Target | None = None
    """Who answered."""
    calling: Target | None = None
    """Whose answer is being waited for."""
    attempts: list[Attempt] = field(default_factory=list)
    first_content_s: float | None = None
    """Streams only: seconds from the request's arrival to commit."""
    tokens: Mapping[str, int] | None = None
    """The `prompt` and `completion` counts as the answering target reported them; None without a report."""
    calls: int = 0
    """How many times a target was called: the attempts without those that were passed over."""
