"""What a program adds to the file in code, and the holder of the live table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.policy.problem import Problems
from gateway.policy.table import Hook, RoutingTable
from gateway.wire.json import EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What a program added in code on top of the file: it survives reloads and wins over the file."""

    mappings: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Alias to its first target."""
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    """Alias to the targets after the first; repeats are left out."""
    pre: tuple[Hook, ...] = ()
    """Run after the file's hooks for every request and before an alias' own."""
    post: tuple[Hook, ...] = ()
    capabilities: Mapping[str, object] = field(default_factory=lambda: EMPTY)


NO_OVERLAY: Final = Overlay()


class Reloaded(Protocol):
    """How a look at the file ended."""

    @property
    def problems(self) -> Problems:
        """Errors and warnings, in file order."""


class Tables(Protocol):
    """Whoever holds the live table: the file's reloader, or a program's own."""

    @property
    def current(self) -> RoutingTable:
        """The live table. Read it once per request and pass it down."""

    def set_overlay(self, overlay: Overlay) -> None:
        """Compile with `overlay` and swap the table in. Raises ConfigError, and keeps the old, when it has problems."""

    def reload(self) -> Reloaded:
        """Read the file again and swap its table in. The live table stays when the file has an error."""
