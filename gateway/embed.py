"""The composition root of the library: `Provider()` with its adapters and its file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.mock import MockAdapter
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.config.compiler.compiler import Compiler
from gateway.config.reload import Reloader, ReloadReport
from gateway.engine.health import State
from gateway.errors import ConfigError
from gateway.library.provider import Provider as _Provider
from gateway.policy.table import NO_OVERLAY, Overlay, Reloaded, RoutingTable, Tables
from gateway.types import Adapters

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
"""How often, at most, a file's stat is looked at."""

_NO_FILE: Final = b"version: 1\nmodels: {}\n"


class Provider(_Provider):
    """A provider for programs: holds the built-in mapping, or the file that GATEWAY_CONFIG names.

    The file is read at first use and again when it changed. Names that are not mapped go to LiteLLM as they are.
    """

    def __init__(self) -> None:
        self._hold(_FirstUse())

    @classmethod
    def from_file(cls, path: str | Path) -> Provider:
        """Return a provider that serves only what the file declares. Raises ConfigError or UsageError at once."""
        made = cls.__new__(cls)
        made._hold(_FileTables(Path(path), bare_names=False))
        return made

    def _hold(self, tables: Tables) -> None:
        adapters: Adapters = {
            "litellm": LiteLLMAdapter(own_process=False),
            "relay": RelayAdapter(),
            "mock": MockAdapter(),
        }
        super().__init__(tables=tables, adapters=adapters, state=State())


class _FirstUse:
    """Decides at first use, not at import, what a `Provider()` holds."""

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
            self._tables = _FileTables(Path(path), bare_names=True) if path else _BuiltIn()
        return self._tables


class _FileTables:
    """The live table of a file whose stat is looked at when the table is asked for."""

    def __init__(self, path: Path, *, bare_names: bool) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._looked_s = time.monotonic()
        self._reloader = Reloader(path, _compiler(bare_names=bare_names))
        self._reloader.load()

    @property
    def current(self) -> RoutingTable:
        now_s = time.monotonic()
        if now_s - self._looked_s >= STAT_EVERY_S:
            self._looked_s = now_s
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                self._reloader.reload(force=False)
        return self._reloader.current

    def set_overlay(self, overlay: Overlay) -> None:
        self._reloader.set_overlay(overlay)

    def reload(self) -> Reloaded:
        return self._reloader.reload()


class _BuiltIn:
    """The built-in mapping under what the program added."""

    def __init__(self) -> None:
        self._compiler = _compiler(bare_names=True)
        self.current = RoutingTable(generation=0, routes={})
        self.set_overlay(NO_OVERLAY)

    def set_overlay(self, overlay: Overlay) -> None:
        both = Overlay(
            mappings={**BUILT_IN.mappings, **overlay.mappings},
            fallbacks={**BUILT_IN.fallbacks, **overlay.fallbacks},
            pre=overlay.pre,
            post=overlay.post,
            capabilities=overlay.capabilities,
        )
        compiled = self._compiler.compile(
            _NO_FILE, source="built-in", overlay=both, generation=self.current.generation + 1, now=time.time()
        )
        if compiled.table is None:
            raise ConfigError(compiled.problems)
        self.current = compiled.table

    def reload(self) -> Reloaded:
        """There is no file: nothing to do."""
        return ReloadReport(ok=True, at=self.current.loaded_at, digest=None, generation=self.current.generation)


def _compiler(*, bare_names: bool) -> Compiler:
    return Compiler(environ=os.environ, openai_adapter="litellm", strict_env=True, bare_names=bare_names)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
