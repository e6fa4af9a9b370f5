"""Settings of the command line, from flags and environment variables."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli.settings import Settings, boolean, config_path, duration_s, log_level, port, size, size_or_none
from gateway.errors import UsageError


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
            (size_or_none, "0", 0),
            (size_or_none, "64MiB", 64 * 1024**2),
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
            (size_or_none, "0k"),
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
