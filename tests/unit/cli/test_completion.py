"""Completion in real shells: the offers after TAB."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.completion import names_under
from gateway.errors import UsageError
from tests.paths import ROOT

CONFIG = """\
version: 1
models:
  smart: mock/echo
  small: mock/echo
  own:7b: mock/echo
  "$(touch${IFS}pwned)": mock/echo
  "team-a/*": "mock/*"
  "with space": mock/echo
clients:
  search: {}
  slow: {}
"""
SHOW = r"gateway() { if [[ $1 == completion ]]; then ./real-gateway $@; else printf '<%s>' $@; fi; }; "
"""A `gateway` that prints the arguments that the shell passes to it."""

shells = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))
    for name in ("bash", "zsh", "fish")
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.delenv("GATEWAY_CLIENT_KEYS_FILE", raising=False)
    Path("routes.yaml").write_text(CONFIG)
    Path("other.yaml").write_text("models: {odd: mock/echo, even: mock/echo}\nclients: {batch: {}}\n")
    Path("keys.txt").write_text("ann ann-key group=search\nadam adam-key\nbob bob-key\nann other-key group=search\n")
    real = Path("real-gateway")
    real.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m gateway "$@"\n')
    real.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gateway").symlink_to(tmp_path / "real-gateway")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    name = f"gateway.{shell}"
    Path(name).write_text(capsys.readouterr().out)
    return name


def offers(shell: str, line: str, file: str) -> list[str]:
    """Return what a shell offers at the end of a line."""
    if shell == "bash":
        asked = 'COMP_LINE=$2 COMP_POINT=${#2}; source "$1"; _gateway; printf "%s\\n" "${COMPREPLY[@]}"'
        command = ["bash", "--norc", "-c", asked, "bash", file, line]
    else:
        command = ["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", file, line]
    out = subprocess.run(command, capture_output=True, text=True, timeout=9, check=True).stdout
    return sorted(offer.split("\t")[0] for offer in out.splitlines() if offer)


@pytest.mark.parametrize("shell", [shells[0], shells[2]])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gateway sc", {"schema"}),
        ("gateway schema ", {"routes", "test"}),
        ("gateway validate --skip", {"--skip-hooks"}),
        ("gateway validate --format j", {"json", "junit"}),
        ("gateway validate --explain bad-n", {"bad-name", "bad-number"}),
        ("gateway explain sm", {"smart", "small"}),
        ("gateway explain --skip-hooks sma", {"smart", "small"}),
        ("gateway explain --config other.yaml ", {"odd", "even"}),
        ("gateway explain --fail mock/echo=503 --config other.yaml o", {"odd"}),
        ("gateway explain smart --group s", {"search", "slow"}),
        ("gateway explain smart --config other.yaml --group ", {"batch"}),
        ("gateway keys new ann --group sl", {"slow"}),
        ("gateway explain smart --client-keys-file keys.txt --client a", {"ann", "adam"}),
        ("gateway explain smart --client a", set()),
        ("gateway completion fi", {"fish"}),
        ("gateway validate routes.y", {"routes.yaml"}),
        ("gateway validate --config oth", {"other.yaml"}),
        ("gateway nothing ", set()),
    ],
)
def test_what_is_offered(shell: str, line: str, expected: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = set(offers(shell, line, script(shell, capsys)))
    assert found == expected or (
        shell == "fish" and expected <= found and all("-" in more for more in found - expected)
    )


def test_bash_offers_what_stands_behind_a_word_break(capsys: pytest.CaptureFixture[str]) -> None:
    file = script("bash", capsys)
    assert offers("bash", "gateway explain own:", file) == ["7b"]
    assert offers("bash", "gateway validate --format=j", file) == ["json", "junit"]
    assert offers("bash", "gateway explain --config=other.yaml e", file) == ["even"]
    assert offers("bash", "gateway explain x --client-keys-file=keys.txt --client=b", file) == ["bob"]


def test_clients_come_from_the_file_of_the_environment_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_CLIENT_KEYS_FILE", "keys.txt")
    assert main(["completion", "clients"]) == 0
    assert capsys.readouterr().out.split() == ["ann", "adam", "bob"]


@pytest.mark.parametrize("shell", shells)
def test_the_shell_reads_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([shell, "-n", script(shell, capsys)], capture_output=True, text=True, timeout=9, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def typed(shell: list[str], text: str) -> str:
    """Return everything that a shell prints on a terminal when a text, with its TABs, is typed."""
    command = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *shell]
    environ = {**os.environ, "TERM": "dumb"}
    return subprocess.run(command, input=text.encode(), env=environ, stdout=-1, timeout=9, check=True).stdout.decode()


@pytest.mark.parametrize(
    ("shell", "start"),
    [
        pytest.param(["bash", "--norc", "-i"], "source", marks=shells[0].marks, id="bash"),
        pytest.param(
            ["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; source", marks=shells[1].marks, id="zsh"
        ),
    ],
)
def test_tab_on_a_terminal(shell: list[str], start: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        f"{SHOW}{start} ./{script(shell[0], capsys)}\n"
        "gateway val\t --format js\t\n"
        "gateway explain smar\t\n"
        "gateway explain own\t\n"
        "gateway explain --config oth\t od\t\n"
        "gateway explain '$'\t\n"
        "gateway explain tea\t\n"
        "exit\n"
    )
    printed = typed(shell, text)
    for line in (
        "<validate><--format><json>",
        "<explain><smart>",
        "<explain><own:7b>",
        "<explain><--config><other.yaml><odd>",
        "<explain><team-a/*>",
    ):
        assert line in printed, printed
    assert not Path("pwned").exists()


def test_names_that_a_shell_cannot_take_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "aliases"]) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == ["smart", "small", "own:7b", "$(touch${IFS}pwned)", "team-a/*"]


@pytest.mark.parametrize("text", ["", "[]", "models: []", "a: [", "version: 1"])
def test_a_file_without_aliases_offers_none(text: str) -> None:
    Path("a.yaml").write_text(text)
    assert names_under("models", Path("a.yaml")) == []


def test_no_file_is_exit_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "aliases", "--config", "none.yaml"]) == 2
    assert capsys.readouterr() == ("", "gateway: cannot read none.yaml: no such file or directory\n")
    Path("latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(UsageError, match=r"cannot read latin\.yaml"):
        names_under("models", Path("latin.yaml"))
