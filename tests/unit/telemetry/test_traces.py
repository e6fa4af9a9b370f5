"""What is kept of a request for its trace."""

from __future__ import annotations

from gateway.policy.target import Endpoint, Target
from gateway.telemetry.traces import Trace

TARGET = Target(name="up/a", model="a", label="up/a", endpoint=Endpoint(provider="up", kind="openai", adapter="relay"))


def test_each_call_has_an_id_of_its_own_that_its_upstream_gets() -> None:
    trace = Trace(0xABC, 7, "vendor=1")
    ids = []
    for _ in range(3):
        headers = trace.call_headers(TARGET, {"x-request-id": "r"})
        call = trace.call
        assert call is not None
        assert headers == {
            "x-request-id": "r",
            "traceparent": f"00-{'abc':0>32}-{call.span_id:016x}-01",
            "tracestate": "vendor=1",
        }
        ids.append(call.span_id)
    assert len({*ids, trace.span_id}) == 4


def test_calls_beside_others_keep_their_own() -> None:
    trace = Trace(0xABC, 7, None)
    trace.call_headers(TARGET, {})
    beside = trace.beside()
    assert (beside.trace_id, beside.span_id, beside.call) == (trace.trace_id, trace.span_id, None)
    beside.call_headers(TARGET, {})
    assert beside.call is not trace.call
