"""The tables of a `Provider`: the built-in mapping, or a file that is read again when its stat changes."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.config.compiler.compiler import Compiler
from gateway.config.reload import Reloader
from gateway.config.reload_report import ReloadReport
from gateway.config.saves import QUIET_S, Save
from gateway.errors import ConfigError
from gateway.policy.overlay import NO_OVERLAY, Overlay, Reloaded, Tables
from gateway.policy.table import RoutingTable

BUILT_IN: Final = Overlay(
    mappings={
        "gpt-4o-mini": "openai/gpt-4o-mini",
        "gpt-4o": "openai/gpt-4o",
        "gpt-4": "openai/gpt-4-turbo",
        "gpt-3.5-turbo": "openai/gpt-3.5-turbo",
        "claude-3-opus": "anthropic/claude-3-opus",
        "claude-3-sonnet": "anthropic/claude-3-sonnet",
        "claude-3-haiku": "anthropic/claude-3-haiku",
    },
    fallbacks={"gpt-4o-mini": ("openai/gpt-4o-mini", "openai/gpt-3.5-turbo")},
)
"""The aliases of a `Provider()` without a file."""

STAT_EVERY_S: Final = 1.0
"""Seconds between two checks of a file's stat."""

_NO_FILE: Final = b"version: 1\nmodels: {}\n"


class FirstUse:
    """Chooses the table of a `Provider()` at first use, not at import."""

    def __init__(self) -> None:
        self._tables: Tables | None = None

    @property
    def current(self) -> RoutingTable:
        return self._chosen().current

    def set_overlay(self, overlay: Overlay) -> None:
        self._chosen().set_overlay(overlay)

    def reload(self) -> Reloaded:
        return self._chosen().reload()

    def _chosen(self) -> Tables:
        if self._tables is None:
            path = os.environ.get("GATEWAY_CONFIG")
            self._tables = FileTables(Path(path), bare_names=True) if path else _BuiltIn()
        return self._tables


class FileTables:
    """The live table of a file, whose stat is checked when the table is read."""

    def __init__(self, path: Path, *, bare_names: bool) -> None:
        self._path = path.absolute()
        self._checked_s = time.monotonic()
        self._save: Save | None = None
        """The save that has begun and is not complete."""
        self._reloader = Reloader(path, _compiler(bare_names=bare_names))
        self._reloader.load()
        self._stamps = self._reloader.read_stamps

    @property
    def current(self) -> RoutingTable:
        now_s = time.monotonic()
        if now_s - self._checked_s >= STAT_EVERY_S:
            self._checked_s = now_s
            if self._reloader.stamps() == self._stamps:
                self._save = None
            else:
                self._read_if_complete(now_s)
        return self._reloader.current

    def _read_if_complete(self, now_s: float) -> None:
        """Read the changed files if their save is complete; otherwise leave that to the next check."""
        looks = self._reloader.looks()
        self._save = self._save or Save(self._path, now_s=now_s)
        # A caller does not wait: usually the files' own times tell at once that they have been quiet. Of one that was
        # deleted there are none.
        is_old = (looks.age_s(now=time.time()) or 0) >= QUIET_S and looks.stamps.keys() >= self._stamps.keys()
        if self._save.is_complete(looks, now_s=now_s, quiet_s=0 if is_old else QUIET_S):
            self._save, self._stamps = None, looks.stamps
            self._reloader.reload(force=False, complete=looks)

    def set_overlay(self, overlay: Overlay) -> None:
        self._reloader.set_overlay(overlay)

    def reload(self) -> Reloaded:
        return self._reloader.reload()


class _BuiltIn:
    """The built-in mapping, overridden by the program's overlay."""

    def __init__(self) -> None:
        self._compiler = _compiler(bare_names=True)
        self.current = RoutingTable(generation=0, routes={})
        self.set_overlay(NO_OVERLAY)

    def set_overlay(self, overlay: Overlay) -> None:
        mappings = {**BUILT_IN.mappings, **overlay.mappings}
        both = replace(overlay, mappings=mappings, fallbacks={**BUILT_IN.fallbacks, **overlay.fallbacks})
        compiled = self._compiler.compile(
            _NO_FILE, source="built-in", overlay=both, generation=self.current.generation + 1, now=time.time()
        )
        if compiled.table is None:
            raise ConfigError(compiled.problems)
        self.current = compiled.table

    def reload(self) -> Reloaded:
        """Do nothing: there is no file."""
        return ReloadReport(ok=True, at=self.current.loaded_at, digest=None, generation=self.current.generation)


def _compiler(*, bare_names: bool) -> Compiler:
    return Compiler(environ=os.environ, openai_adapter="litellm", strict_env=True, bare_names=bare_names)
