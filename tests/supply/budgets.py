"""Reads budgets.toml, and measures what it limits. Figures are counts, KB of 1,000 bytes and MB of a million."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.gateway_process import gateway_process
from tests.paths import ROOT

FILE: Final = ROOT / "tests" / "supply" / "budgets.toml"
RELAYED: Final = """\
version: 1
providers:
  up: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-none}
models:
  fast: up/a
"""
"""A file whose targets are all relayed."""
_IMPORTED: Final = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One limit."""

    most: float
    unit: str
    changes: tuple[str, ...]
    """A line for each figure that it has had, the newest last: date, figure, reason."""


def read() -> Mapping[str, Budget]:
    """Return the budgets by name."""
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            name: Budget(most=table["most"], unit=table["unit"], changes=tuple(table["changes"]))
            for name, table in tables.items()
        }
    )


def modules_of(log: str) -> list[str]:
    """Return the modules in the output of `python -X importtime`, each once."""
    return list(dict.fromkeys(_IMPORTED.findall(log)))


async def modules_of_serve(folder: Path) -> list[str]:
    """Return the modules that are imported before the server says that it listens."""
    config, log = folder / "routes.yaml", folder / "log"
    config.write_text(RELAYED)
    async with gateway_process(config, log=log, command=("-X", "importtime", "-m", "gateway", "serve")):
        return modules_of(log.read_text())


def modules_of_validate(folder: Path) -> list[str]:
    """Return the modules that a check of a file imports."""
    config = folder / "routes.yaml"
    config.write_text(RELAYED)
    command = [sys.executable, "-X", "importtime", "-m", "gateway", "validate", str(config)]
    return modules_of(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stderr)


def advice(name: str, measured: float, *, seen: Sequence[str] = ()) -> str:
    """Return what to say when a budget is exceeded."""
    budget = read()[name]
    where = FILE.relative_to(ROOT)
    more = f"; from outside the standard library: {', '.join(seen)}" if seen else ""
    return f"{name}: {measured:g}, and at most {budget.most:g} {budget.unit}. {where} says what to do{more}"
