"""Log lines for people: what matters at a glance, and nobody's text forges a line, a field or a colour."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.failures import Kind
from gateway.policy.keys import Secret
from gateway.policy.problem import Problem, Told
from gateway.reports.log_text import TextFormatter
from gateway.reports.problems import Painter
from gateway.telemetry.logs import log_ended
from gateway.telemetry.observer import Ended
from gateway.telemetry.report import Attempt, CallReport, LimitReport
from tests.log_lines import logging_to

AT: float = 1_764_000_000.05
HOSTILE = "a\n2026-01-01T00:00:00.000Z 200 chat\r\x1b[32m\x00\u202e\u2028\ud800 · x=1"


def logged(ended: Ended, *, colour: bool = False, dated: bool = True, event: str = "request") -> str:
    stream = io.StringIO()
    with logging_to(stream, form=TextFormatter(Painter(colour=colour), dated=dated)):
        log_ended([ended], event=event)
    return stream.getvalue()


def ended(report: CallReport, **changes: Any) -> Ended:
    values: dict[str, Any] = {
        "operation": "chat", "status": 200, "stream": False, "client": None, "error": None, "asked": None,
        "seconds": 0.8123, "ended_at": AT,
    }  # fmt: skip
    return Ended(report, **{**values, **changes})


def report(*attempts: Attempt, **changes: Any) -> CallReport:
    return CallReport(**{"request_id": "req_1", "alias": "smart", "attempts": [*attempts], **changes})


BUSY = Attempt("openai/gpt", "openai/*", Kind.OVERLOADED, 503, 151.02)
RESTING = Attempt("vllm/llama", "vllm/*", "cooldown", None, 0.0)
ANSWERED = Attempt("anthropic/claude", "anthropic/*", None, 200, 660.1)


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (
            ended(
                report(BUSY, RESTING, ANSWERED, tokens={"prompt": 12, "completion": 34}, first_content_s=0.2104),
                stream=True,
                client="ann",
            ),
            (
                "200 chat stream smart: openai/gpt overloaded 503 151ms > vllm/llama passed over: cooldown > "
                "anthropic/claude ok 660.1ms · 812.3ms · first content 210.4ms · 12+34 tokens · client ann · req_1"
            ),
        ),
        (
            ended(report(Attempt("up/b", "up/b", "hedged_out", None, 295.0, hedge=True), ANSWERED)),
            "200 chat smart: up/b as a hedge hedged_out 295ms > anthropic/claude ok 660.1ms · 812.3ms · req_1",
        ),
        (
            ended(report(BUSY), status=503, error="upstream_failed"),
            "503 chat smart: openai/gpt overloaded 503 151ms · upstream_failed · 812.3ms · req_1",
        ),
        (
            ended(report(ANSWERED, first_content_s=0.2), status=502, stream=True, error="upstream_failed"),
            (
                "502 chat stream smart: anthropic/claude ok 660.1ms · upstream_failed after the first content · "
                "812.3ms · first content 200ms · req_1"
            ),
        ),
        (
            ended(report(BUSY, sticky="header session-id"), status=499),
            (
                "499 chat smart: openai/gpt overloaded 503 151ms · the client left · 812.3ms · "
                'sticky by "header session-id" · req_1'
            ),
        ),
        (
            ended(report(alias=""), operation="other", status=404, error="not_found", asked=("GET", "/v1/x")),
            "404 GET /v1/x · not_found · 812.3ms · req_1",
        ),
        (
            ended(
                report(limits=LimitReport("batch", limited="60 requests/minute"), trace_id="4bf92f35"),
                status=429,
                error="rate_limit_exceeded",
                client="ann",
            ),
            (
                '429 chat smart · rate_limit_exceeded · 812.3ms · limited by "60 requests/minute" · client ann · '
                "group batch · trace 4bf92f35 · req_1"
            ),
        ),
        (ended(report(alias=""), operation="models"), "200 models · 812.3ms · req_1"),
        (
            ended(report(tokens={"prompt": 1, "completion": 0, "cached": 9}, closed_tokens={"prompt": 2})),
            "200 chat smart · 812.3ms · 1+0 tokens (9 cached) · 2+0 tokens of closed calls · req_1",
        ),
    ],
)
def test_a_request_is_one_line(one: Ended, line: str) -> None:
    assert logged(one) == f"2025-11-24T16:00:00.050Z {line}\n"
    assert logged(one, dated=False) == f"16:00:00.050Z {line}\n"


def test_a_shadow_s_line_says_so() -> None:
    assert " 200 shadow chat smart: anthropic/claude ok " in logged(ended(report(ANSWERED)), event="shadow")


@pytest.mark.parametrize(
    ("one", "painted"),
    [
        (ended(report(ANSWERED)), "\x1b[32m200\x1b[0m"),
        (ended(report(BUSY, ANSWERED)), "\x1b[33m200\x1b[0m"),
        (ended(report(), status=404, error="model_not_found"), "\x1b[33m404\x1b[0m"),
        (ended(report(BUSY), status=503, error="upstream_failed"), "\x1b[31m503\x1b[0m"),
        (ended(report(ANSWERED, first_content_s=0.2), stream=True, error="stalled"), "\x1b[31m200\x1b[0m"),
    ],
)
def test_the_worse_it_ended_the_louder_its_status(one: Ended, painted: str) -> None:
    assert painted in logged(one, colour=True)


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[\d*m", "", text)


@pytest.mark.parametrize("colour", [False, True])
def test_no_text_of_a_stranger_forges_a_line_or_a_colour(*, colour: bool) -> None:
    attempt = Attempt(HOSTILE, HOSTILE, Kind.OVERLOADED, 503, 1.0, key=HOSTILE)
    values = report(attempt, request_id=HOSTILE, alias=HOSTILE, sticky=HOSTILE)
    line = logged(ended(values, client=HOSTILE, error=HOSTILE, status=500), colour=colour)
    line += logged(ended(report(alias=""), asked=(HOSTILE, HOSTILE), operation="other"), colour=colour)
    stream = io.StringIO()
    log = logging.getLogger("gateway.x")
    with logging_to(stream, form=TextFormatter(Painter(colour=colour))):
        log.warning("%s", HOSTILE, extra={"field": HOSTILE, "more": [HOSTILE, {HOSTILE: HOSTILE}], HOSTILE: 1})
        log.warning("routes refused", extra={"problems": f"{HOSTILE}\n{HOSTILE}"})
    text = line + stream.getvalue()
    assert without_colours(text).replace("\n", "").isprintable()
    plain = without_colours(text).splitlines()
    assert [one.startswith("2") for one in plain] == [True, True, True, True, False, False, False, False]
    assert all(one.startswith("  ") for one in plain[4:])
    painted = set(re.findall(r"\x1b\[\d*m", text))
    assert painted == ({"\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[0m"} if colour else set())


def record(event: str, level: str = "info", name: str = "gateway.x", **extra: object) -> str:
    made = logging.getLogger(name).makeRecord(
        name, getattr(logging, level.upper()), __file__, 1, event, (), None, extra=extra
    )
    made.created = AT
    return TextFormatter(dated=False).format(made)


def test_other_events_have_their_fields_as_words() -> None:
    line = record("routes loaded", generation=3, digest="abc", path=Path("/a b"), ok=True, none=None, names=["a", "b"])
    assert line == '16:00:00.050Z info routes loaded generation=3 digest=abc path="/a b" ok=true names=a,b'


def test_a_secret_and_a_foreign_exception_s_text_stay_hidden() -> None:
    line = record("x", key=Secret("sk-1"), why=ValueError("the prompt"), all=[Secret("sk-2")])
    assert line.endswith(' x key=*** why=ValueError all=["***"]')


def test_another_library_s_line_has_its_logger() -> None:
    assert record("took long", "warning", "aiohttp.server") == "16:00:00.050Z warning took long logger=aiohttp.server"


def test_a_refused_edit_is_shown_as_validate_shows_it() -> None:
    problem = Problem(
        line=3, column=9, code="no-provider", path="models.fast", message="no provider in 'x'", excerpt="  fast: x"
    )
    assert record("routes refused", "warning", problems=Told((problem, problem, problem), most=1)).split("\n") == [
        "16:00:00.050Z warning routes refused",
        "  routes.yaml:3:9: no-provider: models.fast: no provider in 'x'",
        "    3 |   fast: x",
        "      |         ^",
        "  and 2 more",
    ]


def test_of_an_exception_types_and_places_are_below() -> None:
    stream = io.StringIO()
    with logging_to(stream, form=TextFormatter()):
        try:
            int("the prompt")
        except ValueError:
            logging.getLogger("gateway.x").exception("failed")
    first, place = stream.getvalue().splitlines()
    assert first.endswith(" error failed exception=ValueError")
    assert re.fullmatch(r"  \S+test_log_text.py:\d+ test_of_an_exception_types_and_places_are_below", place)


def test_a_host_s_record_of_a_request_looks_the_same() -> None:
    fields: dict[str, Any] = {
        "request_id": "req_1", "operation": "chat", "alias": "smart", "status": 200, "ms": 1.5, "stream": False,
        "attempts": [{"target": "a/b", "kind": None, "status": 200, "ms": 1.2}],
    }  # fmt: skip
    assert record("request", name="gateway.access", **fields) == (
        "16:00:00.050Z 200 chat smart: a/b ok 1.2ms · 1.5ms · req_1"
    )
