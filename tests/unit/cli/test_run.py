"""`gateway run`: its command line. What it does with a command is in `tests/server/test_run.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import build_parser, main
from tests.command_line import GOOD, write

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["--", "true"], ["true"]),
        (["true"], ["true"]),
        (["--port", "1", "--", "true", "--port", "2", "--", "x"], ["true", "--port", "2", "--", "x"]),
        (["--config", "a.yaml", "--", "sh", "-c", "exit 3"], ["sh", "-c", "exit 3"]),
    ],
)
def test_what_follows_the_dashes_is_the_command(argv: list[str], command: list[str]) -> None:
    assert build_parser().parse_args(["run", *argv]).command == command


def test_without_a_command_it_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["run", "--port", "1"])
    assert left.value.code == 2
    assert "CMD" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "code", "why"),
    [
        ("no-such-command-anywhere", 127, "there is no such command"),
        ("./here/nothing", 127, "there is no such command"),
        ("./routes.yaml", 126, "it cannot be executed"),
        ("/", 126, "it cannot be executed"),
        ("", 127, "there is no such command"),
    ],
)
def test_a_command_that_cannot_be_run_has_the_exit_codes_of_shells(
    capsys: pytest.CaptureFixture[str], command: str, code: int, why: str
) -> None:
    write("routes.yaml", GOOD)
    assert main(["run", "--", command]) == code
    assert capsys.readouterr().err == f"gateway: cannot run {command}: {why}\n"


def test_a_config_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--", "true"]) == 2
    assert capsys.readouterr().err.startswith("gateway: cannot read routes.yaml: no such file or directory")


def test_a_unix_socket_is_no_base_url(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write("routes.yaml", GOOD)
    monkeypatch.setenv("GATEWAY_UNIX_SOCKET", str(Path("s")))
    assert main(["run", "--", "true"]) == 2
    assert "a base URL cannot name the Unix socket" in capsys.readouterr().err
