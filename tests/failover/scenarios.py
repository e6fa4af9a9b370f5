"""The list of scenarios on chat. There are two targets unless said otherwise, and the second is healthy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from tests.failover.client import Leave
from tests.failover.faults import Fault, error_body
from tests.failover.scenario import SECRET, Answered, BrokenOff, Left, Refused, Scenario
from tests.stream_forms import FORMS

OK: Final = Fault()
TWO: Final = Fault(choices=2)
LATE: Final = Fault(delay_s=60)
FIRST: Final = Answered(by=(1,))
SECOND: Final = Answered(by=(2,))
SOON_S: Final = 3.0
"""For one silence of LIMIT_S and whatever else a busy machine needs, but not for two."""
STALE_TOO: Final = range(3, 5)
"""All retries, and one more when the first call went over a connection that had been used before."""
LONG: Final = 60
"""Chunks of a long stream."""

CONTEXT: Final = error_body("maximum context length is 8192 tokens", "context_length_exceeded", "invalid_request_error")
TOO_LARGE: Final = error_body("the request is too large", None, "invalid_request_error")
FILTERED: Final = error_body("the prompt was refused", "content_filter", "invalid_request_error")
QUOTA: Final = error_body("you exceeded your quota", "insufficient_quota", "insufficient_quota")
BAD_KEY: Final = error_body(f"incorrect API key provided: {SECRET}", "invalid_api_key", "invalid_request_error")
NO_MODEL: Final = error_body("the model does not exist", "model_not_found", "invalid_request_error")
ACCOUNT: Final = error_body("Your credit balance is too low to access the API.", None, "invalid_request_error")
RETIRED: Final = error_body("The model has been decommissioned.", "model_decommissioned", "invalid_request_error")
BAD_TOOL_USE: Final = error_body("Failed to call a function.", "tool_use_failed", "invalid_request_error")
HOT: Final = error_body("temperature is above 2", "invalid_value", "invalid_request_error")
ENGINE: Final = error_body("the engine failed", None, "server_error")
OVERLOADED: Final = {"message": "overloaded", "type": "overloaded_error", "code": None}

TOOL: Final = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TOOL_DELTAS: Final[tuple[Mapping[str, Any], ...]] = (
    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
    *({"index": 0, "function": {"arguments": part}} for part in ('{"ci', 'ty": ', '"Oslo"}')),
)

READ: Final = (
    "done-blank", "done-bare", "labelled-json", "labelled-not",
    "coding-none", "mark", "finish-null", "usage-beside-an-empty-choice", "usage-in-each", "plain",
    "plain-labelled-a-stream",
)  # fmt: skip
"""Streams that every SDK reads, and plain answers instead of a stream."""
REFUSED: Final = (
    "words-labelled-html", "plain-unfinished", "plain-unfinished-labelled-a-stream", "plain-cut", "plain-other",
)  # fmt: skip
"""Responses without content that look like an answer."""
BROKEN: Final = ("cut-labelled-json", "index-unfinished", "index-unfinished-of-two", "finish-null-only")
"""Streams with content that look whole."""

Targets = tuple[Fault, ...] | Fault | None


def _scripts(*targets: Targets) -> tuple[tuple[Fault, ...] | None, ...]:
    return tuple((target,) if isinstance(target, Fault) else target for target in targets)


def plain(name: str, *targets: Targets, **fields: Any) -> Iterator[Scenario]:
    """Yield the scenario for a plain answer. Without a second target there is a healthy one."""
    yield _scenario(f"plain-{name}", "plain", targets, fields)


def stream(name: str, *targets: Targets, **fields: Any) -> Iterator[Scenario]:
    """Yield the scenario for a stream."""
    yield _scenario(f"stream-{name}", "stream", targets, fields)


def both(name: str, *targets: Targets, **fields: Any) -> Iterator[Scenario]:
    """Yield it for a plain answer and for a stream."""
    yield from plain(name, *targets, **fields)
    yield from stream(name, *targets, **fields)


def alone(name: str, *faults: Fault, modes: tuple[str, ...] = ("plain", "stream"), **fields: Any) -> Iterator[Scenario]:
    """Yield a scenario of one target only, which does these things call after call."""
    for mode in modes:
        yield _scenario(f"{mode}-alone-{name}", mode, (faults,), {"scripts": (faults,), "expect": FIRST, **fields})


def late(name: str, *targets: Fault, held_calls: tuple[int, ...] = (1, 1), **fields: Any) -> Iterator[Scenario]:
    """Yield a fault after the first content, once as it comes and once with the whole answer held back."""
    (scenario,) = stream(name, *targets, expect=BrokenOff(), calls=(1, 0), **fields)
    yield scenario
    yield replace(scenario, name=f"held-{name}", hold=True, ours_only=True, expect=SECOND, calls=held_calls)


def _scenario(name: str, mode: Any, targets: tuple[Targets, ...], fields: Mapping[str, Any]) -> Scenario:
    scripts = _scripts(*targets, *([OK] if len(targets) == 1 else []))
    return Scenario(**{"name": name, "mode": mode, "scripts": scripts, "expect": SECOND, "calls": (1, 1), **fields})


def _long(**fields: Any) -> Fault:
    return Fault(chunks=LONG, **fields)


def _wire(headers: str, body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}\r\n\r\n".encode() + body


def _statuses() -> Iterator[Scenario]:
    once = {"expect": FIRST, "calls": (2, 0)}
    waits = {**once, "gap_s": (0.95, 4)}
    yield from both("healthy", OK, expect=FIRST, calls=(1, 0))
    yield from both("500-once", (Fault(status=500), OK), **once, gap_s=(0, 4))
    yield from both("503-for-ever", Fault(status=503), calls=(3, 1))
    yield from both("529-for-ever", Fault(status=529), calls=(3, 1))
    yield from plain("504", Fault(status=504))
    yield from plain("redirect", Fault(status=302, headers={"location": "http://127.0.0.1:9/"}))
    yield from both("429-once-retry-after", (Fault(status=429, retry_after=1), OK), **waits)
    yield from plain("429-once-retry-after-date", (Fault(status=429, retry_after_date_s=2), OK), **waits)
    yield from plain(
        "429-once-retry-after-ms", (Fault(status=429, headers={"retry-after-ms": "600"}), OK), **once, gap_s=(0.55, 4)
    )
    yield from both("429-for-ever", Fault(status=429), calls=(2, 1))
    yield from both("429-retry-after-too-long", Fault(status=429, retry_after=30), within_s=SOON_S)
    yield from both("429-body-breaks", Fault(status=429, retry_after=30, short_body=True), within_s=SOON_S)
    yield from both("429-body-stalls", Fault(status=429, retry_after=30, stall_after=5), within_s=SOON_S)
    yield from plain(
        "429-odd-retry-after",
        tuple(Fault(status=429, retry_after=text) for text in ("nan", "-1", "soon")),
        calls=(2, 1),
    )
    yield from both("401", Fault(status=401, body=BAD_KEY), again_helps=False)
    yield from both("404", Fault(status=404, body=NO_MODEL), again_helps=False)
    yield from both("quota", Fault(status=429, body=QUOTA), again_helps=False)
    yield from both("context-too-long", Fault(status=400, body=CONTEXT), again_helps=False)
    yield from both("account-told-with-400", Fault(status=400, body=ACCOUNT), again_helps=False)
    yield from both("model-retired-400", Fault(status=400, body=RETIRED), again_helps=False)
    yield from both("tool-use-failed", Fault(status=400, body=BAD_TOOL_USE))
    yield from both("424", Fault(status=424), calls=(3, 1))
    yield from plain(
        "429-once-only-a-reset",
        (Fault(status=429, headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}), OK),
        **waits,
    )
    refused = {"calls": (1, 0), "again_helps": False}
    yield from both(
        "content-filter", Fault(status=400, body=FILTERED), expect=Refused(400, code="content_filter"), **refused
    )
    yield from both("bad-request", Fault(status=400, body=HOT), expect=Refused(400, code="invalid_value"), **refused)


def _connections() -> Iterator[Scenario]:
    yield from both("refused", None, calls=(0, 1))
    yield from both("reset-before-headers", Fault(reset=True), calls=(STALE_TOO, 1))
    yield from both("reset-once", (Fault(reset=True), OK), expect=FIRST, calls=(2, 0))
    unread = Fault(status=413, body=TOO_LARGE, unread=True)
    told = {"expect": Refused(413), "calls": (1, 0), "again_helps": False}
    yield from both("early-413", unread, **told, prompt="x" * 1_000_000)
    yield from both("not-http", Fault(wire=b"220 mail.example.com ESMTP ready\r\n"))
    yield from both("never-answers", LATE, within_s=SOON_S)
    yield from both("headers-drip", Fault(drip="head"), within_s=SOON_S)
    yield from both("hints-for-ever", Fault(drip="hints"), within_s=SOON_S)
    yield from both("body-drips", Fault(drip="body"), within_s=SOON_S)
    yield from plain("stall-in-body", Fault(reply="x" * 1000, stall_after=500), within_s=SOON_S)


def _bodies() -> Iterator[Scenario]:
    first = {"expect": FIRST, "calls": (1, 0)}
    yield from both("html-200", Fault(html=True))
    yield from both("empty-200", Fault(empty=True))
    yield from both("error-in-200", Fault(body=ENGINE), calls=(3, 1))
    yield from plain("204", Fault(status=204))
    yield from both("bad-gzip", Fault(wire=_wire("content-encoding: gzip\r\ncontent-length: 9", b'{"id": 1}')))
    yield from both("bad-chunking", Fault(wire=_wire("transfer-encoding: chunked", b"data: {}\n\n")))
    yield from plain("no-choices", Fault(body={"id": "x", "object": "chat.completion", "choices": []}))
    yield from plain("not-json", Fault(body=b'{"id": "chatcmpl-1", "choices": [{"index": 0, "mess'))
    yield from plain("finish-error", Fault(finish_reason="error"))
    yield from stream("finish-error", Fault(chunks=0, finish_reason="insufficient_system_resource"))
    yield from plain("short-body", Fault(short_body=True))
    yield from plain(
        "long-body", Fault(wire=_wire("content-length: 20", b'{"choices": [{"index": 0, "finish_reason": "stop"}]}'))
    )
    yield from plain("cut-in-body", Fault(reply="x" * 1000, cut_after=500))
    yield from plain("reset-in-body", Fault(reply="x" * 1000, cut_after=500, reset=True))
    yield from both("gzip", Fault(gzip=True), **first)
    yield from both("split-at-every-byte", Fault(split_bytes=1), **first)
    yield from both("one-megabyte", Fault(reply="x" * 1_000_000), **first)
    yield from both("no-text", Fault(chunks=0), **first)
    yield from plain("tool-call", Fault(tool_calls=[TOOL]), **first, tools=True)
    yield from both("two-choices", TWO, TWO, **first, params={"n": 2})


def _streams() -> Iterator[Scenario]:
    first = {"expect": FIRST, "calls": (1, 0)}
    yield from stream("tool-call", Fault(tool_calls=TOOL_DELTAS), **first, tools=True)
    yield from stream("crlf", _long(crlf=True), **first)
    yield from stream("comments", _long(comments=True), **first)
    yield from stream("no-done", _long(no_done=True), **first)
    yield from stream("usage", _long(), **first, params={"stream_options": {"include_usage": True}}, usage_last=True)
    yield from stream(
        "usage-beside", _long(usage_beside=True), **first, params={"stream_options": {"include_usage": True}},
        usage_last=True,
    )  # fmt: skip
    yield from stream("slow-but-alive", Fault(chunks=8, chunk_delay_s=0.3), **first, first_content_s=1.8)
    yield from stream("slow-first-token", Fault(chunks=3, stall_after=0), within_s=SOON_S)
    yield from stream("only-comments", _long(only_comments_after=0), within_s=SOON_S)
    yield from stream("cut-0", _long(cut_after=0))
    yield from stream("reset-0", _long(cut_after=0, reset=True))
    yield from stream("empty-deltas", Fault(chunks=[""] * 5, cut_after=5))
    yield from stream("malformed-0", _long(malformed_after=0))
    yield from stream("error-event-first", _long(error_event_after=0, error=OVERLOADED), calls=(3, 1))
    yield from stream("only-done", Fault(chunks=0, no_finish=True))
    yield from late("cut-1", _long(cut_after=1))
    yield from late("cut-40", _long(cut_after=40))
    yield from late("reset-40", _long(cut_after=40, reset=True))
    yield from late("stall-1", _long(stall_after=1))
    yield from late("stall-40", _long(stall_after=40))
    yield from late("only-comments-40", _long(only_comments_after=40))
    yield from late("malformed-40", _long(malformed_after=40))
    yield from late("error-event-40", _long(error_event_after=40, error=OVERLOADED), held_calls=(3, 1))
    named = _long(error_event_after=40, error_event_name="error", error=OVERLOADED)
    yield from late("named-error-event-40", named, held_calls=(3, 1))
    bare = _long(error_event_after=40, error_event_bare=True, error=OVERLOADED)
    yield from late("bare-error-40", bare, held_calls=(3, 1))
    yield from late("torn-end", _long(no_done=True, torn=True))
    yield from late("one-of-two-finished", Fault(choices=2, finishes=1), TWO, params={"n": 2})
    (large,) = stream("too-large", _long(), expect=Refused(502, code="hold_exceeded"), calls=(1, 0), ours_only=True)
    yield replace(large, name="held-too-large", hold=True, hold_bytes=4000)
    yield from late("no-finish", _long(no_finish=True))
    yield from late("no-finish-no-done", _long(no_finish=True, no_done=True))


def _forms() -> Iterator[Scenario]:
    forms = {form.name: form for form in FORMS}
    for name in (*READ, *REFUSED, *BROKEN):
        form = forms[name]
        fault = Fault(**form.outcome, reply="one two", is_broken=not form.whole)
        second = TWO if "n" in form.params else OK
        if name in READ:
            fields: dict[str, Any] = {"expect": FIRST, "calls": (1, 0), "usage_last": True}
            yield from stream(name, fault, second, params=form.params, **fields)
        elif name in REFUSED:
            yield from stream(name, fault, second, params=form.params)
        else:
            yield from late(name, fault, second, params=form.params)


def _chains() -> Iterator[Scenario]:
    down, html = Fault(status=503), Fault(html=True)
    yield from both("fallback-fails-too", Fault(status=500), html, OK, expect=Answered(by=(3,)), calls=(3, 1, 1))
    yield from stream(
        "fallback-breaks-too", _long(cut_after=0), _long(stall_after=0), OK, expect=Answered(by=(3,)), calls=(1, 1, 1)
    )
    yield from both("all-down", down, down, expect=Refused(503), calls=(3, 3))
    yield from both("all-silent", LATE, LATE, expect=Refused(502), calls=(1, 1), within_s=2 * SOON_S)
    yield from both("all-html", html, html, expect=Refused(502), calls=(1, 2))
    yield from plain(
        "all-rate-limited-broken-bodies",
        Fault(status=429, retry_after=30, short_body=True), Fault(status=429, retry_after=20, short_body=True),
        expect=Refused(429, retry_after="20"), within_s=SOON_S,
    )  # fmt: skip
    yield from stream("all-cut-0", _long(cut_after=0), _long(cut_after=0), expect=Refused(502), calls=(1, 2))
    yield from both(
        "all-rate-limited", Fault(status=429, retry_after=30), Fault(status=429, retry_after=20),
        expect=Refused(429, retry_after="20"), within_s=SOON_S,
    )  # fmt: skip
    bad_key, too_long = Fault(status=401, body=BAD_KEY), Fault(status=400, body=CONTEXT)
    yield from both("all-401", bad_key, bad_key, expect=Refused(502), again_helps=False)
    yield from plain(
        "all-too-long", too_long, too_long, expect=Refused(400, code="context_length_exceeded"), again_helps=False
    )
    yield from both(
        "deadline", LATE, OK, expect=Refused(504), calls=(1, 0), deadline_s=1.0, within_s=SOON_S, ours_only=True
    )
    yield from both("flapping", (Fault(status=500), OK) * 2, expect=Answered(by=(1, 1)), calls=(4, 0), pauses_s=(0, 0))
    weaker = {"expect": Refused(503), "calls": (3, 1)}
    yield from both("down-and-fallback-without-model", down, Fault(status=404, body=NO_MODEL), **weaker)
    yield from plain("down-and-fallback-too-small", down, too_long, **weaker)
    once = {"calls": (2,)}
    yield from alone("cut-once", Fault(short_body=True), OK, modes=("plain",), **once)
    (cut,) = alone("cut-once", _long(cut_after=40), OK, modes=("stream",), hold=True, ours_only=True, **once)
    yield replace(cut, name="held-alone-cut-once")
    yield from alone("down-twice", down, down, OK, calls=(3,))
    yield from alone(
        "asks-for-a-pause", Fault(status=429, retry_after=30), expect=Refused(429), calls=(1,), pauses_s=(0,) * 3,
        within_s=SOON_S, again_helps=False,
    )  # fmt: skip
    yield from alone("short-pause", Fault(status=503, retry_after=1), OK, calls=(2,), gap_s=(0.95, 4), modes=("plain",))
    six = {"expect": Answered(by=(2,) * 6), "calls": (9, 6), "pauses_s": (0,) * 6}
    yield from both("outage", down, **six, again_helps=False)
    yield from plain(
        "recovers", (*(down,) * 9, OK),
        expect=Answered(by=(2, 2, 2, 2, 1, 1)), calls=(11, 4), pauses_s=(0, 0, 0, 0, 2.2, 0),
    )  # fmt: skip


def _leaving() -> Iterator[Scenario]:
    once = {"calls": (1, 0), "again_helps": False}
    soon = Left(Leave(after_s=0.8))
    in_backoff = Left(Leave(after_s=0.8), watch_s=1.2)
    flowing = _long(chunk_delay_s=0.05)
    yield from both("client-leaves-waiting", LATE, expect=soon, **once)
    yield from plain("client-leaves-backoff", Fault(status=429, retry_after=1), expect=in_backoff, **once)
    yield from stream("client-leaves-streaming", flowing, expect=Left(Leave(at=b"chunk3")), **once)
    yield from stream("client-leaves-stall", _long(stall_after=2), expect=Left(Leave(at=b"chunk1")), **once)
    (held,) = stream("client-leaves", flowing, expect=soon, **once, hold=True, ours_only=True)
    yield replace(held, name="held-client-leaves")


SCENARIOS: Final[tuple[Scenario, ...]] = (
    *_statuses(), *_connections(), *_bodies(), *_streams(), *_forms(), *_chains(), *_leaving(),
)  # fmt: skip
