"""The lock of routes-gateway-slim: the part of the whole lock that it needs, in the same versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT
from tests.supply import locked
from tests.supply.locked import Locked

LEFT_OUT: Final = "litellm"
NAME: Final = "routes-gateway-slim"
PROJECT: Final = ROOT / "deploy" / "slim"
LOCK: Final = ROOT / "deploy" / "constraints-slim.txt"
_HEAD: Final = "# This file is a part of constraints.txt, cut out by the following command:\n#    make lock\n"


def text(whole: Mapping[str, Locked], dependencies: Collection[Requirement]) -> str:
    """Return the lock. `dependencies`: those of routes-gateway."""
    direct: set[str] = {canonicalize_name(requirement.name) for requirement in dependencies}
    direct.discard(LEFT_OUT)
    needed = set(direct)
    while more := {name for name, package in whole.items() if needed & set(package.parents)} - needed:
        needed |= more
    lines = [_HEAD]
    for name in sorted(needed):
        package = whole[name]
        marker = f" ; {package.marker}" if package.marker is not None else ""
        pinned = [f"{name}=={package.version}{marker}", *(f"--hash=sha256:{digest}" for digest in package.sha256)]
        lines.append(" \\\n    ".join(pinned) + "\n")
        parents = sorted({*needed & set(package.parents), *({NAME} if name in direct else ())})
        via = [f"via {parents[0]}"] if len(parents) == 1 else ["via", *(f"  {parent}" for parent in parents)]
        lines += [f"    # {line}\n" for line in via]
    return "".join(lines)


def read() -> dict[str, Locked]:
    """Return the packages of the lock by name."""
    return locked.read(LOCK)
