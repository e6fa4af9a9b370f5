"""The units of `deploy/systemd`, judged by systemd's own tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import pytest

from gateway.cli import build_parser
from gateway.cli.serve import read_options
from tests.supply.tools import DEPLOY, run, tool

UNITS: Final = DEPLOY / "systemd"
PROGRAM: Final = "/opt/gateway/.venv/bin/gateway"
MOST_EXPOSED: Final = 13
"""In tenths of systemd's scale, where a unit without any protection has 96. What is left is mostly the network."""
HOW: Final = "Debian's package systemd has it"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units, whose program exists."""
    for path in UNITS.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, sys.executable))
    return tmp_path


def settings(name: str) -> dict[str, list[str]]:
    """Return the values of a unit's settings."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def seconds(name: str) -> float:
    return float(settings("gateway.service")[name][0])


def test_systemd_finds_nothing_wrong(units: Path) -> None:
    program = tool("systemd-analyze", how=HOW)
    done = run(program, "verify", "--man=no", *(str(path) for path in sorted(units.iterdir())))
    ours = [line for line in done.stderr.splitlines() if "gateway" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_a_setting_that_systemd_does_not_know_is_found(units: Path) -> None:
    program = tool("systemd-analyze", how=HOW)
    path = units / "gateway.service"
    path.write_text(path.read_text().replace("NoNewPrivileges=yes", "NoMorePrivileges=yes"))
    assert "NoMorePrivileges" in run(program, "verify", "--man=no", str(path)).stderr


def test_the_service_is_hardly_exposed(units: Path) -> None:
    program = tool("systemd-analyze", how=HOW)
    done = run(
        program, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", "--json=short",
        str(units / "gateway.service"),
    )  # fmt: skip
    assert done.returncode == 0, [
        (line["name"], line["exposure"]) for line in json.loads(done.stdout) if line["exposure"]
    ]


def test_the_gateway_takes_the_command_and_has_time_to_drain() -> None:
    (command,) = settings("gateway.service")["ExecStart"]
    program, *words = command.split()
    assert program == PROGRAM
    assert settings("gateway.service")["StateDirectory"] == ["gateway"]
    options = read_options(build_parser(["serve"]).parse_args(words))
    assert str(options.state_dir) == "%S/gateway"
    assert seconds("TimeoutStopSec") >= options.drain_delay_s + options.drain_s + 5


def test_systemd_is_told_when_the_gateway_is_ready() -> None:
    service = settings("gateway.service")
    assert (service["Type"], service["NotifyAccess"]) == (["notify"], ["main"])
    assert service["Requires"] == ["gateway.socket"]


def test_the_socket_is_this_machines() -> None:
    assert settings("gateway.socket")["ListenStream"] == ["127.0.0.1:8080"]
