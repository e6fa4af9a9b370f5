"""Overlay: what a program adds to the file in code. Tables: the interface to the live table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.policy.problem import Problems
from gateway.policy.table import Hook, RoutingTable
from gateway.wire.json import EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """Mappings, hooks and capabilities added in code. They survive reloads and override the file."""

    mappings: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Alias → its first target."""
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    """Alias → the targets after the first; repeats are left out."""
    pre: tuple[Hook, ...] = ()
    """Run after the file's hooks for all requests and before an alias' own."""
    post: tuple[Hook, ...] = ()
    capabilities: Mapping[str, object] = field(default_factory=lambda: EMPTY)


NO_OVERLAY: Final = Overlay()


class Reloaded(Protocol):
    """The result of reading the file."""

    @property
    def problems(self) -> Problems:
        """Errors and warnings, in file order."""


class Tables(Protocol):
    """Owns the live table."""

    @property
    def current(self) -> RoutingTable:
        """The live table. Read it once per request and pass it down."""

    def set_overlay(self, overlay: Overlay) -> None:
        """Compile with `overlay` and swap the table in. Raises ConfigError, and keeps the old table, on problems."""

    def reload(self) -> Reloaded:
        """Read the file again and swap its table in. On an error in the file the live table stays."""
