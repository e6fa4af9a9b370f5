"""The command line as a whole: its commands, their help, and wrong usage."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from gateway.cli import build_parser, main
from gateway.config.model.read import schema
from tests.command_line import gateway

COMMANDS = next(action.choices for action in build_parser()._actions if isinstance(action.choices, dict))


class TestSchema:
    def test_it_is_the_one_that_files_are_judged_by(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["schema"]) == 0
        assert json.loads(capsys.readouterr().out) == schema()

    @pytest.mark.parametrize(("name", "title"), [("routes", "routes.yaml"), ("test", "routes.test.yaml")])
    def test_each_file_has_one(self, name: str, title: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["schema", name]) == 0
        assert json.loads(capsys.readouterr().out)["title"] == title


class TestCommandLine:
    def test_a_command_loads_no_other_command(self) -> None:
        code = (
            "import sys; from gateway.cli import main; main(['schema'])\n"
            "print(sorted(name for name in sys.modules if name.startswith('gateway.cli.')))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=9, check=True)
        assert done.stdout.splitlines()[-1] == "['gateway.cli.schema', 'gateway.cli.settings']"

    @pytest.mark.parametrize("argv", [["--version"], ["schema", "test"], ["unknown"], []])
    def test_the_package_can_be_run_as_a_module(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        done = gateway(*argv)
        try:
            code = main(argv)
        except SystemExit as exc:
            code = int(exc.code or 0)
        assert (done.returncode, done.stdout, done.stderr) == (code, *capsys.readouterr())

    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_command_shows_examples_and_exit_codes(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        out = capsys.readouterr().out
        assert "\nexamples:\n" in out
        assert re.search(r"\nexit codes:\n  (0  |the command's own)", out)

    @pytest.mark.parametrize(
        "argv",
        [
            [],
            ["unknown"],
            ["serve", "--unknown"],
            ["serve", "a", "b"],
            ["validate", "--format", "xml"],
            ["validate", "--conf", "a"],
            ["schema", "tests"],
        ],
    )
    def test_wrong_usage_is_exit_2(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(argv)
        assert caught.value.code == 2
        assert "usage: gateway" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (
                ["--help"],
                ["serve", "validate", "schema", "examples:", "GATEWAY_CONFIG", "LITELLM_TIMEOUT", "exit codes"],
            ),
            (["serve", "--help"], ["GATEWAY_UNIX_SOCKET", "GATEWAY_INSECURE", "GATEWAY_ALLOW_ORIGIN", "32MiB"]),
            (["validate", "--help"], ["--skip-hooks", "hooks_skipped", "exit codes"]),
            (["--version"], ["gateway 0."]),
        ],
    )
    def test_help_tells_what_there_is(
        self, argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            main(argv)
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert [word for word in words if word not in out] == []
        assert max(map(len, out.splitlines())) <= 120
