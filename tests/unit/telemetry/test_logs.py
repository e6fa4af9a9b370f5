"""Log lines hold fields and no foreign text; metrics hold labels of the table only; ids are checked before use."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import orjson
import pytest

from gateway.policy.failures import Kind
from gateway.policy.keys import NO_KEY, Secret
from gateway.policy.target import Endpoint, Target
from gateway.telemetry.ids import request_id, sampled_trace_id, traceparent
from gateway.telemetry.logs import JsonFormatter, log_ended, timestamp
from gateway.telemetry.report import Attempt, CallReport
from gateway.wire.json import JsonObject
from tests.log_lines import logging_to

TARGET = Target(
    name="openai/gpt-4o",
    model="gpt-4o",
    label="openai/*",
    endpoint=Endpoint(provider="openai", kind="openai", adapter="relay", api_key=NO_KEY),
)


def lines(stream: io.StringIO) -> list[JsonObject]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def format_record(message: str, *args: object, **extra: object) -> JsonObject:
    record = logging.LogRecord("gateway.x", logging.WARNING, __file__, 1, message, args, None)
    record.__dict__.update(extra)
    line: JsonObject = orjson.loads(JsonFormatter().format(record))
    return line


def test_a_log_line_is_one_object_with_time_level_logger_event_and_fields() -> None:
    line = format_record("routes loaded", generation=3, path=Path("/etc/routes.yaml"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning",
        "logger": "gateway.x",
        "event": "routes loaded",
        "generation": 3,
        "path": "/etc/routes.yaml",
    }


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.0044, "1970-01-01T00:00:01.004Z"),
        (1.9996, "1970-01-01T00:00:02.000Z"),
        (1_764_000_000.05, "2025-11-24T16:00:00.050Z"),
    ],
)
def test_a_point_in_time_is_written_to_the_millisecond(seconds: float, written: str) -> None:
    assert timestamp(seconds) == written


def test_line_breaks_in_values_do_not_break_the_line() -> None:
    record = logging.LogRecord("gateway.x", logging.INFO, __file__, 1, "two\nlines", (), None)
    assert "\n" not in JsonFormatter().format(record)


def test_a_field_cannot_replace_what_every_line_has() -> None:
    assert format_record("event", level="none", event="other")["event"] == "event"


def test_secrets_are_masked_wherever_they_stand() -> None:
    line = format_record("event", key=Secret("sk-1"), headers={"authorization": Secret("sk-2")}, all=[Secret("sk-3")])
    assert (line["key"], line["headers"], line["all"]) == ("***", {"authorization": "***"}, ["***"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Kind.TIMEOUT, "timeout"),
        (ValueError("the prompt"), "ValueError"),
        (frozenset({"b", "a"}), ["a", "b"]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ("half \ud800", "half \ud800"),
        (2**70, 2**70),
        ({1: "one"}, {"1": "one"}),
    ],
)
def test_any_value_can_be_logged(value: object, shown: object) -> None:
    record = logging.LogRecord("gateway.x", logging.INFO, __file__, 1, "event", (), None)
    record.__dict__["value"] = value

    assert json.loads(JsonFormatter().format(record))["value"] == shown


def test_a_message_whose_arguments_do_not_fit_is_still_written() -> None:
    assert format_record("%d items", "many")["event"] == "%d items"


def test_of_an_exception_only_types_and_places_are_written() -> None:
    def fail() -> None:
        try:
            {"a": 1}["the prompt"]
        except KeyError as exc:
            raise ValueError("the prompt again") from exc

    stream = io.StringIO()
    with logging_to(stream):
        try:
            fail()
        except ValueError:
            logging.getLogger("gateway.x").exception("request failed")
    assert "prompt" not in stream.getvalue()
    [line] = lines(stream)
    assert line["exception"] == ["ValueError", "KeyError"]
    assert line["traceback"][-1].endswith(" fail")
    assert "test_logs.py:" in line["traceback"][-1]


def test_an_exception_raised_from_none_hides_its_context() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        try:
            try:
                int("the prompt")
            except ValueError:
                raise KeyError from None
        except KeyError:
            logging.getLogger("gateway.x").exception("request failed")
    assert lines(stream)[0]["exception"] == ["KeyError"]


def test_libraries_that_log_bodies_are_silent_and_others_speak_from_warning_up() -> None:
    stream = io.StringIO()
    with logging_to(stream, "debug"):
        logging.getLogger("LiteLLM").error("the prompt")
        logging.getLogger("httpx").warning("https://host/?key=1")
        logging.getLogger("aiohttp.server").info("hello")
        logging.getLogger("aiohttp.server").warning("took long")
        logging.getLogger("gateway.engine").debug("detail")
    assert [line["event"] for line in lines(stream)] == ["took long", "detail"]


def log_of(report: CallReport, *, operation: str = "chat", status: int = 200, level: str = "info") -> list[JsonObject]:
    stream = io.StringIO()
    with logging_to(stream, level):
        log_ended([(report, operation, status, False, "ann", None, None, 0.01234, 0.0)])
    return lines(stream)


def test_a_request_is_one_line_with_its_attempts_and_tokens() -> None:
    report = CallReport(
        request_id="req_1",
        alias="fast",
        generation=2,
        target=TARGET,
        attempts=[
            Attempt(target="a/b", label="a/*", kind=Kind.OVERLOADED, status=503, ms=1.25),
            Attempt(target="openai/gpt-4o", label="openai/*", kind=None, status=200, ms=10),
        ],
        tokens={"prompt": 3, "completion": 4},
    )
    [line] = log_of(report)
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "gateway.access",
        "event": "request",
        "request_id": "req_1",
        "operation": "chat",
        "alias": "fast",
        "target": "openai/gpt-4o",
        "status": 200,
        "ms": 12.3,
        "stream": False,
        "generation": 2,
        "attempts": [
            {"target": "a/b", "kind": "overloaded", "status": 503, "ms": 1.2},
            {"target": "openai/gpt-4o", "kind": None, "status": 200, "ms": 10},
        ],
        "tokens": {"prompt": 3, "completion": 4},
        "client": "ann",
    }


def test_the_line_of_a_stream_has_the_time_to_its_first_content() -> None:
    assert log_of(CallReport(first_content_s=0.00156))[0]["first_content_ms"] == 1.6
    assert "first_content_ms" not in log_of(CallReport())[0]


def test_half_a_character_in_a_request_s_line_does_not_lose_it() -> None:
    assert log_of(CallReport(request_id="half \ud800"))[0]["request_id"] == "half \ud800"


def test_probes_that_went_well_are_not_logged_at_info() -> None:
    assert log_of(CallReport(), operation="probe") == []
    assert len(log_of(CallReport(), operation="probe", level="debug")) == 1
    assert len(log_of(CallReport(), operation="probe", status=503)) == 1


@pytest.mark.parametrize("given", ["abc", "req-1/2:3", "x" * 128])
def test_a_sane_request_id_of_the_client_is_kept(given: str) -> None:
    assert request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 129, "é", "a\nb", "tab\t", "a\n"])
def test_any_other_request_id_is_replaced(given: str | None) -> None:
    first, second = request_id(given), request_id(given)
    assert first != second
    assert re.fullmatch(r"req_[0-9a-f]{32}", first)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", True),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", False),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", False),
        ("", False),
    ],
)
def test_only_a_well_formed_traceparent_is_kept(given: str, *, kept: bool) -> None:
    assert traceparent(given) == (given if kept else None)


def test_no_traceparent_stays_none() -> None:
    assert traceparent(None) is None


@pytest.mark.parametrize(("flags", "is_sampled"), [("01", True), ("00", False), ("03", True), ("02", False)])
def test_a_trace_id_is_told_of_sampled_traces_only(flags: str, *, is_sampled: bool) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert sampled_trace_id(f"00-{trace}-b7ad6b7169203331-{flags}") == (trace if is_sampled else None)


def test_importing_telemetry_does_not_load_the_metrics_library() -> None:
    code = "import sys, gateway.telemetry; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
