"""Every provider of LiteLLM, with and without an address: none connects to a host that the table does not mean."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import Final
from urllib.parse import urlsplit

from gateway.config.compiler.known_hosts import NO_ADDRESS, hosts_of
from gateway.config.compiler.known_providers import LITELLM_KINDS
from tests.audit.probes._litellm_hosts import BASE_URL
from tests.paths import ROOT

_IN_PROCESS: Final = frozenset({"petals", "vllm"})
"""Kinds for which LiteLLM would load a model into the process."""
_MACHINES: Final = frozenset({"169.254.169.254", "169.254.170.2"})
"""Where Amazon's library asks for the account of the machine. No prompt and no key of the file goes there."""
_ENVIRONMENT: Final = ("_KEY", "_TOKEN", "_BASE", "_URL", "_ENDPOINT", "_PROXY", "_proxy")
_LEAST: Final = 4
_TIMEOUT_S: Final = 300


def probe(scale: float = 1.0) -> list[str]:
    """Return what connected elsewhere. At a small `scale` a part of the kinds is asked, the same in each run."""
    kinds = sorted(LITELLM_KINDS - _IN_PROCESS)
    few = random.Random(14).sample(kinds, max(_LEAST, round(len(kinds) * min(scale, 1.0))))
    found = []
    for mode, kind, operation, hosts in _connections(sorted({*few, "openai", "litellm_proxy"})):
        found += [
            f"{kind}, {operation}, {mode}: connected to {host}"
            for host in hosts
            if host not in _MACHINES and not _is_meant(mode, kind, host)
        ]
        if mode == "known" and kind == "openai" and hosts != ["api.openai.com"]:
            found.append(f"{kind}, {operation}: the probe saw {hosts}, so it proves nothing")
    return found


def _is_meant(mode: str, kind: str, host: str) -> bool:
    if mode == "closed" or (mode == "known" and kind in NO_ADDRESS):
        return False
    own = mode == "own"
    if own and host == urlsplit(BASE_URL).hostname:
        return True
    return any(_fits(host, urlsplit(origin).hostname or "") for origin in hosts_of(kind, own_base_url=own))


def _fits(host: str, pattern: str) -> bool:
    start, star, end = pattern.partition("*")
    return host == pattern if not star else host.startswith(start) and host.endswith(end.lstrip("*"))


def _connections(kinds: list[str]) -> list[tuple[str, str, str, list[str]]]:
    environ = {name: value for name, value in os.environ.items() if not name.endswith(_ENVIRONMENT)}
    program = [sys.executable, "-m", "tests.audit.probes._litellm_hosts", *kinds]
    done = subprocess.run(
        program, cwd=ROOT, env={**environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=_TIMEOUT_S, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'["')]
