"""What a reload comes to, and the compiler and the canary that it asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.config.compiler.compiler import Compiled
from gateway.config.include import Include
from gateway.policy.overlay import Overlay
from gateway.policy.problem import Problem
from gateway.policy.stamp import Stamp
from gateway.policy.table import RoutingTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadReport:
    """Result of one reading of the file."""

    ok: bool
    """Whether the live table is that of the file as read, or would be without `dry_run`."""
    at: float
    """Seconds since the epoch."""
    digest: str | None
    """SHA-256 over all files, in hex; None when the main file could not be read."""
    problems: tuple[Problem, ...] = ()
    """In file order; only warnings when `ok`."""
    generation: int
    """Generation of the live table afterwards."""
    changed: bool = False
    """Whether a new table was swapped in."""
    changes: tuple[str, ...] = ()
    """What the new table changes for clients, in lines; with `dry_run` what it would change."""


@dataclass(frozen=True, slots=True)
class FileState:
    """One file of the config."""

    path: str
    """As problems show it."""
    digest: str | None
    """SHA-256 of the version in the live table, in hex; None if it is not in it."""
    on_disk: str | None
    """The same of the version on disk; None if there is none that can be read."""


class Compile(Protocol):
    """The part of `Compiler` that a Reloader calls, one thread at a time."""

    def compile(
        self,
        data: bytes,
        *,
        source: str,
        include: Include | None = ...,
        overlay: Overlay = ...,
        generation: int = ...,
        now: float = ...,
    ) -> Compiled:
        """Return the table of the file's bytes, or all problems when they give none. Exceptions of `include` pass."""


class Canary(Protocol):
    """Judges a table before it goes live, one thread at a time."""

    def __call__(self, table: RoutingTable) -> tuple[Problem, ...]:
        """Return what speaks against the table; an error refuses it. Blocks, for a bounded time."""

    def version(self) -> Stamp | None:
        """Return a value that changes with the file that the table is judged by."""
