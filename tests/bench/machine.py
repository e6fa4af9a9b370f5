"""What machine this is, and whether it has the tools that measure."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.bench.figures import Machine
from tests.bench.processes import TICKS_PER_S
from tests.paths import ROOT

_TOOLS: Final = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux"}
"""Commands, and Debian's packages that have them."""


def missing_tools() -> str | None:
    """Return what to install, or None when everything is there."""
    missing = {tool: package for tool, package in _TOOLS.items() if shutil.which(tool) is None}
    if platform.system() != "Linux":
        return f"it reads /proc and pins processes to cores, so it needs Linux, not {platform.system()}"
    if missing:
        return f"{' and '.join(missing)} not found; on Debian: apt-get install {' '.join(missing.values())}"
    return None


def describe() -> Machine:
    """Return what figures depend on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[1]) / 1e6) if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": _says("nginx", "-v").replace("nginx version: nginx/", "nginx "),
        "wrk": " ".join(_says("wrk", "-v").split()[:2]),
        "commit": _says("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
    }


class OtherWork:
    """How much of the machine was busy with what neither this process nor its children did."""

    def __init__(self) -> None:
        self._began = self._now()

    def percent(self) -> float:
        """Return the share since the start. What was started must have ended: it is counted when waited for."""
        busy_s, all_s, own_s = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return max(0.0, 100 * (busy_s - own_s) / max(all_s, 1e-9))

    def _now(self) -> tuple[float, float, float]:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle = ticks[3] + ticks[4]
        return (sum(ticks) - idle) / TICKS_PER_S, sum(ticks) / TICKS_PER_S, sum(os.times()[:4])


def _says(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return f"no {command[0]}"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else f"{command[0]} ?"
