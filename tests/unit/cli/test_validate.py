"""`gateway validate`: the files that it checks, its output and its exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.validate import FORMATS
from tests.command_line import BAD, GOOD, KEYLESS, closed_pipe, gateway, write

pytestmark = pytest.mark.usefixtures("clean_environment")


class TestValidate:
    def test_a_good_file_is_counted_up(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", write("a.yaml", GOOD)]) == 0
        assert capsys.readouterr() == ("a.yaml: ok (2 aliases, 3 targets)\n", "")

    def test_every_problem_is_shown_with_its_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", write("a.yaml", BAD)]) == 1
        out, err = capsys.readouterr()
        assert out.splitlines() == [
            out.splitlines()[0],
            "  3 |   fast: nowhere",
            "    |         ^",
            out.splitlines()[3],
            "  4 |   slow: [mock/echo, nothing]",
            "    |                     ^",
            "2 problems in a.yaml",
        ]
        assert out.startswith("a.yaml:3:9: no-provider: models.fast: ")
        assert err == ""

    def test_a_missing_key_is_a_warning_and_with_strict_env_a_problem(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", write("a.yaml", KEYLESS)]) == 0
        out = capsys.readouterr().out
        assert ": warning: " in out
        assert out.endswith("a.yaml: ok (1 alias, 1 target), 1 warning\n")
        assert main(["validate", "a.yaml", "--strict-env"]) == 1
        assert capsys.readouterr().out.endswith("1 problem in a.yaml\n")

    def test_skipped_hooks_are_counted(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = GOOD + "hooks: {pre: [no.such.hook], post: [no.such.other]}\ncapabilities: {c: no.such.thing}\n"
        assert main(["validate", write("a.yaml", text)]) == 1
        assert capsys.readouterr().out.endswith("3 problems in a.yaml\n")
        assert main(["validate", "--skip-hooks", "a.yaml"]) == 0
        assert capsys.readouterr().out == "a.yaml: ok (2 aliases, 3 targets), 3 hooks skipped\n"

    def test_an_unreadable_file_is_exit_2_and_the_others_are_checked(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", "none.yaml", write("bad.yaml", BAD), write("good.yaml", GOOD)]) == 2
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == [
            "none.yaml: unreadable-file: cannot read the file: no such file or directory",
            "1 problem in none.yaml",
        ]
        assert lines[-2:] == ["2 problems in bad.yaml", "good.yaml: ok (2 aliases, 3 targets)"]

    def test_without_any_file_it_says_how_to_name_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate"]) == 2
        assert "set GATEWAY_CONFIG" in capsys.readouterr().out

    def test_the_file_is_looked_up(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("routes.yaml", "b.yaml", "c.yaml"):
            write(name, GOOD)
        assert main(["validate"]) == 0
        monkeypatch.setenv("GATEWAY_CONFIG", "b.yaml")
        assert main(["validate"]) == 0
        assert main(["validate", "--config", "c.yaml"]) == 0
        told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
        assert told == ["routes.yaml", "b.yaml", "c.yaml"]

    def test_json_is_one_object(self, capsys: pytest.CaptureFixture[str]) -> None:
        names = [write("good.yaml", GOOD), write("bad.yaml", BAD), "none.yaml"]
        assert main(["validate", "--format", "json", *names]) == 2
        shown = json.loads(capsys.readouterr().out)
        assert shown["ok"] is False
        good, bad, none = shown["files"]
        digest = good.pop("digest")
        assert len(digest) == 64
        assert good == {
            "file": "good.yaml",
            "ok": True,
            "readable": True,
            "aliases": 2,
            "targets": 3,
            "hooks_skipped": 0,
            "included": [],
            "client_keys": None,
            "problems": [],
            "not_listed": 0,
        }
        assert (bad["ok"], bad["readable"], [one["line"] for one in bad["problems"]]) == (False, True, [3, 4])
        assert bad["problems"][0]["code"] == "no-provider"
        assert (none["ok"], none["readable"], none["digest"]) == (False, False, None)
        assert [one["code"] for one in none["problems"]] == ["unreadable-file"]

    @pytest.mark.parametrize("name", ["LITELLM_TIMEOUT", "LITELLM_MAX_RETRIES"])
    def test_a_malformed_variable_is_wrong_usage(
        self, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv(name, "soon")
        assert main(["validate", write("a.yaml", GOOD)]) == 2
        assert name in capsys.readouterr().err

    def test_several_files_and_patterns_are_each_checked_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("b.yaml", "a.yaml", "a.test.yaml"):
            write(name, GOOD)
        assert main(["validate", "b.yaml", "*.yaml", "./a.yaml"]) == 0
        told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
        assert told == ["b.yaml", "a.yaml"]

    def test_a_pattern_that_matches_nothing_is_told_before_anything_is_checked(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["validate", write("a.yaml", BAD), "routes/*.yaml"]) == 2
        assert capsys.readouterr() == ("", "gateway: no file matches 'routes/*.yaml'\n")

    @pytest.mark.parametrize("form", FORMATS)
    def test_with_strict_a_warning_is_a_problem_in_every_format(
        self, form: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write("a.yaml", KEYLESS)
        assert main(["validate", "a.yaml", "--format", form]) == 0
        assert main(["validate", "a.yaml", "--format", form, "--strict"]) == 1
        assert main(["validate", write("good.yaml", GOOD), "--format", form, "--strict"]) == 0
        assert "unset-variable" in capsys.readouterr().out

    def test_with_strict_a_file_with_warnings_is_not_said_to_be_good(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", "--strict", write("a.yaml", KEYLESS)]) == 1
        assert capsys.readouterr().out.endswith("\n1 warning in a.yaml\n")
        assert main(["validate", "--strict", "--format", "json", "a.yaml"]) == 1
        shown = json.loads(capsys.readouterr().out)
        assert (shown["ok"], shown["files"][0]["ok"], shown["files"][0]["readable"]) == (False, False, True)

    def test_standard_input_is_a_file_as_well(self) -> None:
        done = gateway("validate", "-", stdin=BAD)
        assert done.returncode == 1
        assert done.stdout.startswith("<stdin>:3:9: ")

    def test_neither_aiohttp_nor_litellm_is_loaded(self) -> None:
        write("a.yaml", GOOD)
        code = (
            "import sys; from gateway.cli import main; code = main(['validate', 'a.yaml'])\n"
            "print(code, sorted({'aiohttp', 'litellm', 'uvloop', 'httpx', 'openai'} & sys.modules.keys()))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=9, check=True)
        assert done.stdout.splitlines()[-1] == "0 []"

    def test_a_closed_pipe_is_its_own_exit_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write("a.yaml", GOOD)
        with closed_pipe() as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            assert main(["validate", "a.yaml"]) == 141

    def test_a_full_disk_is_told(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        write("a.yaml", GOOD)
        with open("/dev/full", "w") as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            assert main(["validate", "a.yaml"]) == 2
        assert capsys.readouterr().err == "gateway: cannot write the output: no space left on device\n"

    def test_an_output_that_is_open_for_reading_is_told(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write("a.yaml", GOOD)
        with open("a.yaml") as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            assert main(["validate", "a.yaml"]) == 2
        assert capsys.readouterr().err == "gateway: cannot write the output: not writable\n"

    @pytest.mark.parametrize(("name", "exit_code"), [("stdin", 1), ("stdout", 0), ("stderr", 0)])
    def test_a_stream_that_the_caller_closed_is_the_null_device(
        self, name: str, exit_code: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("a.yaml", GOOD)
        monkeypatch.setattr(sys, name, None)
        assert main(["validate", "-" if name == "stdin" else "a.yaml"]) == exit_code
        getattr(sys, name).close()

    def test_an_interrupt_is_its_own_exit_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Interrupted(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, _: Any) -> int:
                raise KeyboardInterrupt

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Interrupted())))
        assert main(["validate", "-"]) == 130

    def test_a_closed_pipe_is_no_traceback(self) -> None:
        write("a.yaml", BAD)
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "gateway", "validate", "a.yaml"],
                stdout=writer,
                stderr=subprocess.PIPE,
                timeout=9,
                check=False,
            )
        finally:
            os.close(writer)
        assert (done.returncode, done.stderr) == (141, b"")

    def test_an_interrupt_is_quiet(self) -> None:
        os.mkfifo("pipe.yaml")
        command = [sys.executable, "-m", "gateway", "validate", "pipe.yaml"]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
            open("pipe.yaml", "wb"),  # opens once the process reads
        ):
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=9)
        assert (process.returncode, out, err) == (130, b"", b"")
