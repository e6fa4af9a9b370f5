"""`gateway serve`: its flags and variables, its banner, and its exit codes."""

from __future__ import annotations

import http.client
import json
import shlex
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from gateway.cli import build_parser, main
from gateway.cli.serve import announce, curl, read_options, without_key
from gateway.config.compiler.compiler import Compiler
from gateway.errors import UsageError
from gateway.policy.table import Route, RoutingTable
from gateway.reports.problems import silence
from gateway.server.wiring import ServeOptions
from gateway.telemetry.access_log import ALL, NOTEWORTHY, OFF, AccessLog
from tests.command_line import BAD, closed_pipe, gateway, write

pytestmark = pytest.mark.usefixtures("clean_environment")


def options(*argv: str) -> ServeOptions:
    """Return the options of a command line; `arguments` has pytest's own."""
    return replace(read_options(build_parser().parse_args(["serve", *argv])), arguments=())


EVERY_OPTION: Final = ServeOptions(
    config=Path("a.yaml"),
    host="0.0.0.0",
    port=1,
    unix_socket=Path("s"),
    admin_host="::1",
    admin_port=2,
    default_model="m",
    max_body_bytes=1024,
    max_body_in_flight_bytes=2048,
    max_parsed_body_bytes=3072,
    cache_bytes=0,
    client_keys_file=Path("k"),
    admin_token_file=Path("t"),
    insecure=True,
    allow_origins=("http://a", "http://b"),
    max_connections=6,
    max_in_flight=7,
    drain_delay_s=1.5,
    drain_s=5.0,
    log_level="debug",
    log_format="text",
    access_log=AccessLog(0.05, has_noteworthy=True),
    log_file=Path("l"),
)
"""The settings that the flags and the variables of these tests set."""


class TestServeOptions:
    def test_what_is_not_said_is_built_in(self) -> None:
        assert options() == ServeOptions(config=Path("routes.yaml"))

    def test_every_flag(self) -> None:
        argv = (
            "a.yaml --host 0.0.0.0 --port 1 --unix-socket s --max-body 1k --max-body-in-flight 2k --max-parsed-body 3k"
            " --default-model m --cache-size 0"
            " --client-keys-file k --insecure"
            " --admin-token-file t --admin-port 2 --admin-host ::1"
            " --max-connections 6 --max-in-flight 7 --drain-delay 1500ms --log-file l"
            " --allow-origin http://a --allow-origin http://b --drain 5s --log-level debug"
            " --log-format text --access-log 5%"
        )
        assert options(*argv.split()) == EVERY_OPTION

    def test_every_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        variables = {
            "CONFIG": "a.yaml",
            "HOST": "0.0.0.0",
            "PORT": "1",
            "UNIX_SOCKET": "s",
            "ADMIN_HOST": "::1",
            "ADMIN_PORT": "2",
            "MAX_CONNECTIONS": "6",
            "MAX_IN_FLIGHT": "7",
            "DRAIN_DELAY": "1.5",
            "LOG_FILE": "l",
            "DEFAULT_MODEL": "m",
            "MAX_BODY": "1k",
            "MAX_BODY_IN_FLIGHT": "2k",
            "MAX_PARSED_BODY": "3k",
            "CACHE_SIZE": "0",
            "CLIENT_KEYS_FILE": "k",
            "ADMIN_TOKEN_FILE": "t",
            "INSECURE": "1",
            "ALLOW_ORIGIN": "http://a, http://b",
            "DRAIN": "5s",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "Text",
            "ACCESS_LOG": "0.05",
        }
        for name, value in variables.items():
            monkeypatch.setenv(f"GATEWAY_{name}", value)
        assert options() == EVERY_OPTION

    def test_the_port_that_kubernetes_invents_is_ignored_with_a_log_line(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("GATEWAY_PORT", "tcp://10.0.0.1:8080")
        assert options().port == 8080
        assert options("--port", "9").port == 9
        assert "GATEWAY_PORT is ignored" in caplog.text

    def test_so_is_the_one_of_a_service_named_gateway_admin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GATEWAY_ADMIN_PORT", "tcp://10.0.0.1:8080")
        assert options().admin_port is None

    def test_the_port_file(self) -> None:
        assert options("--port-file", "p").port_file == Path("p")

    @pytest.mark.parametrize(
        ("text", "meant"),
        [("all", ALL), ("100%", ALL), ("errors", NOTEWORTHY), ("0", NOTEWORTHY), ("OFF", OFF)],
    )
    def test_the_words_of_the_access_log(self, text: str, meant: AccessLog) -> None:
        assert options("--access-log", text).access_log == meant

    @pytest.mark.parametrize(
        ("argv", "why"),
        [
            (["--port-file", "p", "--unix-socket", "s"], "no port for --port-file"),
            (["--admin-host", "::1"], "--admin-host without --admin-port"),
            (["--access-log", "some"], "'some'; it must be all, errors, off, or a share: 5%, or a number from 0 to 1"),
            (["--access-log", "101%"], "it must be all, errors, off, or a share"),
            (["--access-log", "nan"], "it must be all, errors, off, or a share"),
            (["--log-format", "xml"], "--log-format is 'xml'; it must be json or text"),
            (["--max-in-flight", "0"], "a whole number above zero"),
            (["--max-connections", "-1"], "a whole number above zero"),
            (["--max-connections", "1e3"], "a whole number above zero"),
            (["--max-in-flight", "9" * 5000], "a whole number above zero"),
        ],
    )
    def test_what_makes_no_sense_is_told(self, argv: list[str], why: str) -> None:
        with pytest.raises(UsageError, match=why):
            options(*argv)


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
