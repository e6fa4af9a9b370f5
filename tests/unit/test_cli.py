"""The command line: what it prints, what it exits with, and where it takes its settings from."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import pytest

from gateway.cli import build_parser, main
from gateway.cli.render import Painter, as_text, report, silence
from gateway.cli.serve import announce, curl, read_options, without_key
from gateway.cli.settings import Settings, boolean, config_path, duration_s, log_level, port, size
from gateway.compiler import Compiler
from gateway.config import schema
from gateway.errors import UsageError
from gateway.server.app import ServeOptions
from gateway.table import Route, RoutingTable
from gateway.types import Problem

GOOD = "version: 1\nmodels:\n  demo: [mock/echo, mock/status-503]\n  'a/*': 'mock/*'\n"
BAD = "version: 1\nmodels:\n  fast: nowhere\n  slow: [mock/echo, nothing]\n"
KEYLESS = """\
version: 1
providers:
  vllm: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${NO_SUCH_KEY}"}
models:
  a: vllm/x
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*os.environ]:
        if name.startswith(("GATEWAY_", "LITELLM_")) or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


@contextmanager
def closed_pipe() -> Iterator[TextIO]:
    """Give a file that nobody reads from any more."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        yield file


def problem(**changes: Any) -> Problem:
    values: dict[str, Any] = {
        "line": 14,
        "column": 9,
        "code": "unknown-target",
        "path": "models.fast.chain[1]",
        "message": "no target named 'gpt-mni'",
        "source": "routes.yaml",
        "excerpt": "      - gpt-mni",
    }
    return Problem(**{**values, **changes})


class TestRender:
    def test_the_line_at_fault_is_shown_with_a_caret_below(self) -> None:
        assert as_text(problem()) == (
            "routes.yaml:14:9: unknown-target: models.fast.chain[1]: no target named 'gpt-mni'\n"
            "  14 |       - gpt-mni\n"
            "     |         ^"
        )

    def test_a_warning_says_so(self) -> None:
        assert as_text(problem(severity="warning", excerpt=None)).startswith(
            "routes.yaml:14:9: warning: unknown-target: models"
        )

    def test_a_problem_without_a_place_has_no_line(self) -> None:
        text = as_text(problem(line=0, column=0, path="", code="unreadable-file", message="cannot read"))
        assert text == "routes.yaml: unreadable-file: cannot read"

    @pytest.mark.parametrize(
        ("excerpt", "column", "line", "caret_at"),
        [
            ("a: b", 4, "a: b", 3),
            ("a:\tb", 4, "a:  b", 4),
            ("模型: b", 5, "模型: b", 6),
            ("a: b", 99, "a: b", 4),
            ("a: b\r\n", 1, "a: b", 0),
            ("a: \x1b[2Jb", 4, "a: \\x1b[2Jb", 3),
            ("\u202ea: b", 5, "\\u202ea: b", 9),
        ],
    )
    def test_the_caret_stands_under_its_character_on_a_terminal(
        self, excerpt: str, column: int, line: str, caret_at: int
    ) -> None:
        _, shown, below = as_text(problem(excerpt=excerpt, column=column)).split("\n")
        assert shown == f"  14 | {line}"
        assert below == f"     | {' ' * caret_at}^"

    @pytest.mark.parametrize("column", [1, 30, 150, 290, 300])
    def test_a_long_line_is_cut_around_its_caret(self, column: int) -> None:
        excerpt = "x" * (column - 1) + "!" + "y" * (300 - column)
        _, shown, below = as_text(problem(excerpt=excerpt, column=column)).split("\n")
        assert len(shown) <= 130
        assert shown[below.index("^")] == "!"

    def test_a_caret_given_with_the_excerpt_goes_before_the_column(self) -> None:
        text = as_text(problem(excerpt="{api_key: ***, base: 1}", column=40, caret=16))
        assert text.endswith(f"| {' ' * 15}^")

    def test_no_caret_is_guessed_behind_a_masked_secret(self) -> None:
        assert as_text(problem(excerpt="{api_key: ***, base: 1}", column=40)).count("\n") == 1

    def test_control_characters_of_a_strangers_file_are_escaped(self) -> None:
        text = as_text(problem(path="models.\x1b[31m", message="bad\nroutes.yaml:1:1: fake", excerpt=None))
        assert "\x1b" not in text
        assert "\n" not in text

    def test_colour_is_for_terminals_without_no_color(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        assert "\x1b[" in Painter.of(Terminal(), {}).error("x")
        assert Painter.of(Terminal(), {"NO_COLOR": "1"}).error("x") == "x"
        assert Painter.of(Terminal(), {"TERM": "dumb"}).error("x") == "x"
        assert Painter.of(io.StringIO(), {}).error("x") == "x"
        assert as_text(problem(), Painter.of(Terminal(), {})).count("\x1b[") == 6

    def test_a_report_counts_up_what_it_shows(self, capsys: pytest.CaptureFixture[str]) -> None:
        report([problem(), problem(severity="warning", excerpt=None)])
        out, err = capsys.readouterr()
        assert (out, err.splitlines()[-1]) == ("", "1 problem, 1 warning in routes.yaml")
        report([])
        assert capsys.readouterr() == ("", "")

    def test_json_holds_every_field(self) -> None:
        assert problem(severity="warning").as_json() == {
            "line": 14,
            "column": 9,
            "code": "unknown-target",
            "severity": "warning",
            "path": "models.fast.chain[1]",
            "message": "no target named 'gpt-mni'",
            "source": "routes.yaml",
            "excerpt": "      - gpt-mni",
            "text": "routes.yaml:14:9: unknown-target: models.fast.chain[1]: no target named 'gpt-mni'",
        }


class TestSettings:
    @pytest.mark.parametrize(
        ("parse", "text", "value"),
        [
            (port, "0", 0),
            (port, "65535", 65535),
            (port, "0" * 5000 + "80", 80),
            (size, "1", 1),
            (size, "512k", 512 * 1024),
            (size, "32MiB", 32 * 1024**2),
            (size, "10 MB", 10**7),
            (size, "2G", 2 * 1024**3),
            (size, "7B", 7),
            (duration_s, "250ms", 0.25),
            (duration_s, "10", 10.0),
            (duration_s, "1.5s", 1.5),
            (duration_s, "2m", 120.0),
            (duration_s, "1h", 3600.0),
            (duration_s, "0", 0.0),
            (boolean, "Yes", True),
            (boolean, "0", False),
            (log_level, "WARNING", "warning"),
        ],
    )
    def test_what_is_understood(self, parse: Callable[[str], object], text: str, value: object) -> None:
        assert parse(text) == value

    @pytest.mark.parametrize(
        ("parse", "text"),
        [
            (port, "65536"),
            (port, "-1"),
            (port, "http"),
            (port, "٣"),
            (port, "1" * 5000),
            (port, "000000080800"),
            (port, ""),
            (size, "0"),
            (size, "-1"),
            (size, "many"),
            (size, "1.5M"),
            (duration_s, "soon"),
            (duration_s, "-1s"),
            (duration_s, "inf"),
            (duration_s, "9" * 400),
            (boolean, "maybe"),
            (log_level, "loud"),
        ],
    )
    def test_what_is_refused(self, parse: Callable[[str], object], text: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            parse(text)

    def test_a_flag_goes_before_its_variable_and_an_empty_variable_is_unset(self) -> None:
        environ = {"GATEWAY_MAX_BODY": "2k", "GATEWAY_PORT": " "}
        assert Settings(Namespace(max_body="1k"), environ).get("max-body", size, 0) == 1024
        assert Settings(Namespace(max_body=None), environ).get("max-body", size, 0) == 2048
        assert Settings(Namespace(), environ).get("port", port, 8080) == 8080

    @pytest.mark.parametrize(
        ("args", "environ", "named"),
        [
            (Namespace(port="x"), {}, "--port is 'x'; it must be a port number"),
            (Namespace(), {"GATEWAY_PORT": "x"}, "GATEWAY_PORT is 'x'; it must be a port number"),
        ],
    )
    def test_a_refused_text_is_told_with_where_it_came_from(
        self, args: Namespace, environ: dict[str, str], named: str
    ) -> None:
        with pytest.raises(UsageError, match=re.escape(named)):
            Settings(args, environ).get("port", port, 8080)

    def test_the_config_file_is_the_argument_then_the_flag_then_the_variable_then_the_folders(self) -> None:
        args, environ = Namespace(file="a", config="b"), {"GATEWAY_CONFIG": "c"}
        assert config_path(args, environ) == Path("a")
        assert config_path(Namespace(file=None, config="b"), environ) == Path("b")
        assert config_path(Namespace(file=None, config=None), environ) == Path("c")
        assert config_path(Namespace(file=None, config=None), {"GATEWAY_CONFIG": ""}) == Path("routes.yaml")


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
            "problems": [],
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


class TestSchema:
    def test_it_is_the_one_that_files_are_judged_by(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["schema"]) == 0
        assert json.loads(capsys.readouterr().out) == schema()

    @pytest.mark.parametrize(("name", "title"), [("routes", "routes.yaml"), ("test", "routes.test.yaml")])
    def test_each_file_has_one(self, name: str, title: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["schema", name]) == 0
        assert json.loads(capsys.readouterr().out)["title"] == title


class TestCommandLine:
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


def options(*argv: str) -> ServeOptions:
    return read_options(build_parser().parse_args(["serve", *argv]))


class TestServeOptions:
    def test_what_is_not_said_is_built_in(self) -> None:
        assert options() == ServeOptions(config=Path("routes.yaml"))

    def test_every_flag(self) -> None:
        argv = (
            "a.yaml --host 0.0.0.0 --port 1 --unix-socket s --max-body 1k --client-keys-file k --insecure"
            " --allow-origin http://a --allow-origin http://b --drain 5s --log-level debug"
        )
        assert options(*argv.split()) == ServeOptions(
            config=Path("a.yaml"),
            host="0.0.0.0",
            port=1,
            unix_socket=Path("s"),
            max_body_bytes=1024,
            client_keys_file=Path("k"),
            insecure=True,
            allow_origins=("http://a", "http://b"),
            drain_s=5.0,
            log_level="debug",
        )

    def test_every_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        variables = {
            "CONFIG": "a.yaml",
            "HOST": "0.0.0.0",
            "PORT": "1",
            "UNIX_SOCKET": "s",
            "MAX_BODY": "1k",
            "CLIENT_KEYS_FILE": "k",
            "INSECURE": "1",
            "ALLOW_ORIGIN": "http://a, http://b",
            "DRAIN": "5s",
            "LOG_LEVEL": "debug",
        }
        for name, value in variables.items():
            monkeypatch.setenv(f"GATEWAY_{name}", value)
        assert options() == ServeOptions(
            config=Path("a.yaml"),
            host="0.0.0.0",
            port=1,
            unix_socket=Path("s"),
            max_body_bytes=1024,
            client_keys_file=Path("k"),
            insecure=True,
            allow_origins=("http://a", "http://b"),
            drain_s=5.0,
            log_level="debug",
        )

    def test_the_port_that_kubernetes_invents_is_ignored_with_a_log_line(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("GATEWAY_PORT", "tcp://10.0.0.1:8080")
        assert options().port == 8080
        assert options("--port", "9").port == 9
        assert "GATEWAY_PORT is ignored" in caplog.text


@pytest.mark.parametrize(
    ("text", "environ", "named"),
    [
        (
            "models: {a: openai/x, b: anthropic/y, c: mock/echo}",
            {},
            ["openai (OPENAI_API_KEY)", "anthropic (ANTHROPIC_API_KEY)"],
        ),
        ("models: {a: openai/x}", {"OPENAI_API_KEY": "k"}, []),
        ("models: {a: openai/x}\nproviders: {openai: {api_key: k}}", {}, []),
        ("models: {a: vllm/x}\nproviders: {vllm: {kind: openai, base_url: http://127.0.0.1:1}}", {}, []),
    ],
)
def test_the_banner_names_the_providers_without_a_key(text: str, environ: dict[str, str], named: list[str]) -> None:
    compiled = Compiler(environ=environ).compile(f"version: 1\n{text}\n".encode(), source="routes.yaml")
    assert compiled.table is not None
    assert without_key(compiled.table) == named


def table(*aliases: str) -> RoutingTable:
    wildcards = {alias[:-1]: Route(alias=alias, steps=()) for alias in aliases if alias.endswith("*")}
    routes = {alias: Route(alias=alias, steps=()) for alias in aliases if not alias.endswith("*")}
    return RoutingTable(generation=1, routes=routes, wildcards=wildcards)


class TestCurl:
    def test_it_is_a_line_to_paste(self) -> None:
        assert curl("http://127.0.0.1:8080", table("first", "demo"), with_key=False) == (
            "curl -i http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' "
            """-d '{"model": "demo", "messages": [{"role": "user", "content": "hello"}]}'"""
        )

    @pytest.mark.parametrize(
        ("url", "start"),
        [
            ("http://0.0.0.0:80", "curl -i http://127.0.0.1:80/v1"),
            ("http://[::]:80", "curl -i http://127.0.0.1:80/v1"),
            ("http://[::1]:80", "curl -i 'http://[::1]:80/v1"),
            ("unix:/run/g.sock", "curl -i --unix-socket /run/g.sock http://localhost/v1"),
        ],
    )
    def test_it_reaches_every_sort_of_listener(self, url: str, start: str) -> None:
        assert curl(url, table("a"), with_key=False).startswith(start)

    @pytest.mark.parametrize(("aliases", "model"), [(("it's", "b"), "it's"), (("team/*",), "team/NAME"), ((), "NAME")])
    def test_it_asks_for_an_alias_that_there_is(self, aliases: tuple[str, ...], model: str) -> None:
        words = shlex.split(curl("http://h:1", table(*aliases), with_key=True))
        assert json.loads(words[-1])["model"] == model
        assert any("Bearer" in word for word in words)


def test_many_aliases_are_not_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    aliases = table(*(f"a{number}" for number in range(25)))
    announce(ServeOptions(config=Path("routes.yaml")), "http://127.0.0.1:1", aliases)
    assert ", a19 and 5 more\n" in capsys.readouterr().out


def test_a_closed_standard_output_stops_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_pipe() as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        announce(ServeOptions(config=Path("routes.yaml")), "http://127.0.0.1:1", table("a"))
        silence(stdout)


def gateway(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *argv]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=9, check=False)


class TestServe:
    def test_a_refused_flag_is_told_before_anything_is_begun(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["serve", "--log-level", "loud"]) == 2
        assert capsys.readouterr().err.startswith("gateway: --log-level is 'loud'")

    def test_it_says_where_it_listens_serves_and_stops(self) -> None:
        write("a.yaml", "version: 1\nmodels:\n  demo: [mock/status-404, mock/echo]\n  'mine/*': 'mock/*'\n")
        command = [sys.executable, "-m", "gateway", "serve", "a.yaml", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            banner = [process.stdout.readline().strip() for _ in range(4)]
            assert banner[1:3] == ["aliases: demo, mine/*", "try:"]
            assert "serves a.yaml on http://127.0.0.1:" in banner[0]
            words = shlex.split(banner[3])
            address = urlsplit(words[2])
            assert address.hostname is not None
            with closing(http.client.HTTPConnection(address.hostname, address.port, timeout=5)) as client:
                client.request("POST", address.path, words[-1], {"content-type": "application/json"})
                response = client.getresponse()
                body = json.loads(response.read())
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=9)
        assert (response.status, response.headers["x-gateway-target"]) == (200, "mock/echo")
        assert body["choices"][0]["message"]["content"] == "hello"
        assert (process.returncode, out) == (0, "")
        events = [json.loads(line)["event"] for line in err.splitlines()]
        assert events[0] == "routes loaded"

    def test_a_bad_file_is_exit_1_with_every_problem(self) -> None:
        done = gateway("serve", write("a.yaml", BAD), "--port", "0")
        assert (done.returncode, done.stdout) == (1, "")
        assert "  3 |   fast: nowhere\n    |         ^\n" in done.stderr
        assert done.stderr.endswith("2 problems in a.yaml\n")

    @pytest.mark.parametrize(
        ("argv", "told"),
        [
            (["none.yaml"], "gateway: cannot read none.yaml: no such file or directory\n"),
            (["--port", "x"], "gateway: --port is 'x'; it must be a port number from 0 to 65535\n"),
            (["--log-level", "loud"], "gateway: --log-level is 'loud'; it must be debug, info, warning or error\n"),
        ],
    )
    def test_wrong_usage_is_exit_2_and_one_line(self, argv: list[str], told: str) -> None:
        done = gateway("serve", *argv)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", told)
