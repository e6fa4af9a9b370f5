"""How the answers of command-line clients are read, from outputs that they really wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.clients.running import Client, Installed, Job, Run, Said, claude_code, clients, codex, prepare

JOBS: Final = [Job("stream", "m")]
_BEGUN: Final = '{"type":"thread.started","thread_id":"1"}\n{"type":"turn.started"}\n'
_TEXT: Final = '{"type":"item.completed","item":{"id":"item_1","type":"agent_message","text":"one two three"}}\n'
_FAILED: Final = '{"type":"turn.failed","error":{"message":"unexpected status 502 Bad Gateway"}}\n'


def _installed(folder: Path, name: str, output: str) -> Installed:
    """Install a program that writes an output."""
    installed = Installed(folder / "bin/python", folder / "node_modules", folder / "home")
    prepare(installed)
    program = installed.node_modules / ".bin" / name
    program.parent.mkdir(parents=True)
    (folder / "output").write_text(output)
    program.write_text(f"#!/bin/sh\ncat '{folder}/output'\n")
    program.chmod(0o755)
    return installed


@pytest.mark.parametrize(
    ("run", "name", "output", "said"),
    [
        (codex, "codex", f'{_BEGUN}{_TEXT}{{"type":"turn.completed"}}\n', Said("one two three")),
        (codex, "codex", f"{_BEGUN}{_TEXT}{_FAILED}", Said("", "unexpected status 502 Bad Gateway")),
        (codex, "codex", f"{_BEGUN}{_TEXT}", Said("", _BEGUN + _TEXT)),
        (codex, "codex", "", Said("", "no output")),
        (claude_code, "claude", '{"is_error": false, "result": "one two three"}', Said("one two three")),
        (claude_code, "claude", '{"is_error": true, "result": "API Error: 502"}', Said("", "API Error: 502")),
        (claude_code, "claude", "cannot run", Said("", "cannot run")),
    ],
)
def test_an_answer_counts_only_when_its_turn_is_complete(
    tmp_path: Path, run: Run, name: str, output: str, said: Said
) -> None:
    assert run(_installed(tmp_path, name, output), "http://127.0.0.1:1", JOBS) == [said]


def test_every_client_names_its_package_in_the_lists(tmp_path: Path) -> None:
    """So that `make clients` installs what it runs, in a version of its own."""
    folder = Path(__file__).parent
    lists = {
        "pip": [line.partition("==")[0].partition("[")[0] for line in (folder / "python.txt").read_text().split()],
        "npm": [line.rpartition("@")[0] for line in (folder / "npm.txt").read_text().split()],
    }
    for client in clients(Installed(tmp_path, tmp_path, tmp_path)):
        kind, _, name = client.package.partition(":")
        assert name in lists[kind]


def test_the_version_shown_is_the_installed_one(tmp_path: Path) -> None:
    package = tmp_path / "node_modules" / "@openai" / "codex" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"version": "0.171.0"}))
    client = Client(name="Codex CLI", package="npm:@openai/codex", wire="responses", run=codex)
    assert client.version(Installed(tmp_path, tmp_path / "node_modules", tmp_path)) == "0.171.0"
