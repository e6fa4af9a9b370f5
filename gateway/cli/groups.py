"""`--client-keys-file` of `test`, `diff` and `explain`: the groups of the clients that these name."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.settings import Settings, add_flag
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.simulation.cases.play import GroupByClient


def add_client_keys(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    add_flag(parser, "client-keys-file", "FILE", "the file of client keys, for the groups of clients by their names")


def groups_by_client(args: argparse.Namespace, environ: Mapping[str, str]) -> GroupByClient | None:
    """Return the groups that the file of `--client-keys-file` gives its clients; None without it.

    Raises UsageError, also for a malformed file.
    """
    name = Settings(args, environ).get("client-keys-file", str, None)
    if name is None:
        return None
    from gateway.server.client_keys import inspect  # loads the server's part

    found = inspect(Path(name))
    if found.faults:
        line, fault = found.faults[0]
        raise UsageError(f"{name}:{line}: {fault}")
    return found.by_name
