"""Makes the spans of a request after its end: one of the kind SERVER, below it one of the kind CLIENT for each call.

It runs in the exporter's thread, not on the event loop, and only for traces that are sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from gateway.policy.failures import Kind
from gateway.telemetry.observer import Ended, EndedRow
from gateway.telemetry.otel.names import Attributes, operation_name, target_attributes
from gateway.telemetry.report import ABANDONED, CLIENT_GONE, HEDGED_OUT, Attempt
from gateway.telemetry.traces import OTHER_METHOD, Trace, TracedCall

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_FAILED: Final = Status(StatusCode.ERROR)
_FINE: Final = Status(StatusCode.UNSET)
_TOKENS: Final = (
    ("prompt", "gen_ai.usage.input_tokens"),
    ("completion", "gen_ai.usage.output_tokens"),
    ("cached", "gen_ai.usage.cache_read.input_tokens"),
)
_OLD_TOKENS: Final = (("prompt", "gen_ai.usage.prompt_tokens"), ("completion", "gen_ai.usage.completion_tokens"))


class EndedRequest(ReadableSpan):
    """A request that ended, in the queue of spans: it becomes its spans only when they are sent."""

    def __init__(self, row: EndedRow) -> None:
        self.row = row

    @property
    def context(self) -> SpanContext:
        """A context that says `sampled`: the queue asks for nothing else."""
        return _QUEUED


_QUEUED: Final = SpanContext(1, 1, is_remote=False, trace_flags=_SAMPLED)


class Spans:
    """Makes spans of requests that ended."""

    def __init__(self, *, resource: Resource, scope: InstrumentationScope, old_names: bool) -> None:
        """`old_names`: attributes have the names of the conventions up to 1.41 too."""
        self._resource = resource
        self._scope = scope
        self._old_names = old_names

    def of(self, row: EndedRow) -> Iterator[ReadableSpan]:
        """Yield the spans of one request, its own first."""
        ended = Ended(*row)
        trace = ended.report.trace
        if trace is None:
            return
        end_ns = trace.began_ns + int(ended.seconds * 1e9)
        if not trace.is_shadow:
            yield self._server(ended, trace, end_ns)
        attempts = ended.report.attempts
        begins_ns = sorted(attempt.traced.began_ns for attempt in attempts if attempt.traced is not None)
        for attempt in attempts:  # in the order of their ends
            if attempt.traced is not None:
                number = begins_ns.index(attempt.traced.began_ns) + 1
                is_last = attempt is attempts[-1]
                yield self._call(ended, trace, attempt.traced, attempt, number, is_last=is_last, end_ns=end_ns)
        if trace.call is not None and all(attempt.traced is not trace.call for attempt in attempts):
            yield self._call(ended, trace, trace.call, None, len(begins_ns) + 1, is_last=True, end_ns=end_ns)

    def _server(self, ended: Ended, trace: Trace, end_ns: int) -> ReadableSpan:
        report = ended.report
        attributes: Attributes = {
            "http.request.method": trace.method,
            "http.response.status_code": ended.status,
            "url.scheme": "http",
            "gateway.operation": ended.operation,
            "gateway.generation": report.generation,
            "gateway.request_id": report.request_id,
            "gateway.attempts": report.calls,
        }
        if trace.path:
            attributes["url.path"] = trace.path
        if trace.route is not None:
            attributes["http.route"] = trace.route
        attributes |= _host(trace.host)
        if report.alias:
            attributes["gateway.alias"] = report.alias
        if report.target is not None:
            attributes["gateway.target"] = report.target.name
        if report.cache is not None:
            attributes["gateway.cache"] = report.cache
        if report.sticky is not None:
            attributes["gateway.sticky"] = report.sticky
        if report.first_content_s is not None:
            attributes["gateway.first_content"] = report.first_content_s
        passed = [
            f"{each.target} {each.kind}" for each in report.attempts if each.traced is None and not each.was_called
        ]
        if passed:
            attributes["gateway.passed_over"] = passed
        if ended.client is not None:
            attributes["gateway.client"] = ended.client
        if report.limits is not None:
            attributes["gateway.group"] = report.limits.group
            if report.limits.limited is not None:
                attributes["gateway.limited"] = report.limits.limited
        error = _error_type(ended)
        if error is not None:
            attributes["error.type"] = error
        method = "HTTP" if trace.method == OTHER_METHOD else trace.method
        name = method if trace.route is None else f"{method} {trace.route}"
        parent = None if trace.parent_id is None else self._context(trace, trace.parent_id, is_remote=True)
        status = _FINE if error is None else _FAILED
        return self._span(
            name, trace, trace.span_id, parent, SpanKind.SERVER, attributes, status, trace.began_ns, end_ns
        )

    def _call(
        self,
        ended: Ended,
        trace: Trace,
        call: TracedCall,
        attempt: Attempt | None,
        number: int,
        *,
        is_last: bool,
        end_ns: int,
    ) -> ReadableSpan:
        """Return the span of a call; `attempt` is None for one that the request's end cut off."""
        report, target = ended.report, call.target
        operation = operation_name(ended.operation)
        attributes: Attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": target.model,
            **target_attributes(target),
            **call.asked,
            **call.answered,
            "gateway.target": target.name,
            "gateway.alias": report.alias,
            "gateway.attempt": number,
            "gateway.generation": report.generation,
            "gateway.operation": ended.operation,
        }
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
        if ended.stream:
            attributes["gen_ai.request.stream"] = True
        if trace.is_shadow:
            attributes["gateway.shadow"] = True
        outcome = _outcome(ended, attempt, is_last=is_last)
        attributes["gateway.outcome"] = outcome
        until_ns = end_ns
        if attempt is not None:
            if attempt.status is not None:
                attributes["http.response.status_code"] = attempt.status
            if attempt.key is not None:
                attributes["gateway.key"] = attempt.key
            if attempt.hedge:
                attributes["gateway.hedge"] = True
            has_committed = ended.stream and is_last and attempt.status == 200 and report.first_content_s is not None
            if has_committed:
                attributes["gen_ai.response.time_to_first_chunk"] = attempt.ms / 1000
            else:
                until_ns = min(end_ns, call.began_ns + int(attempt.ms * 1e6))
            if attempt.kind == HEDGED_OUT:
                self._add_tokens(attributes, report.closed_tokens)
            elif is_last:
                self._add_tokens(attributes, report.tokens)
        has_failed = outcome in _FAILURES
        if has_failed:
            attributes["error.type"] = outcome
        if self._old_names:
            attributes["gen_ai.system"] = attributes["gen_ai.provider.name"]
        return self._span(
            f"{operation} {target.model}",
            trace,
            call.span_id,
            self._context(trace, trace.span_id),
            SpanKind.CLIENT,
            attributes,
            _FAILED if has_failed else _FINE,
            call.began_ns,
            max(call.began_ns, until_ns),
        )

    def _add_tokens(self, attributes: Attributes, tokens: Mapping[str, int] | None) -> None:
        if tokens is None:
            return
        for ours, theirs in (*_TOKENS, *(_OLD_TOKENS if self._old_names else ())):
            if ours in tokens:
                attributes[theirs] = tokens[ours]

    def _span(
        self,
        name: str,
        trace: Trace,
        span_id: int,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        status: Status,
        start_ns: int,
        end_ns: int,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context=self._context(trace, span_id),
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=kind,
            status=status,
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=self._scope,
        )

    def _context(self, trace: Trace, span_id: int, *, is_remote: bool = False) -> SpanContext:
        state = None if trace.state is None else TraceState.from_header([trace.state])
        return SpanContext(trace.trace_id, span_id, is_remote, _SAMPLED, state)


_FAILURES: Final = frozenset({*map(str, Kind), "unsupported"})
"""Outcomes of calls that are errors: the kinds, and a path that the upstream does not have."""


def _outcome(ended: Ended, attempt: Attempt | None, *, is_last: bool) -> str:
    """Return `ok`, a kind, `hedged_out`, `unsupported`; or, of a call that the request's end cut off, why."""
    if attempt is not None and attempt.kind == ABANDONED:
        attempt = None
    if attempt is not None and attempt.kind is not None:
        return str(attempt.kind)
    if attempt is None or is_last:
        if ended.status == CLIENT_GONE:
            return "client_gone"
        if attempt is None or ended.is_broken:
            return ended.error or "cut_off"
    return "ok"


def _error_type(ended: Ended) -> str | None:
    """Return the kind of the last failure, else the status; None if the server is not at fault."""
    if ended.status < 500 and not ended.is_broken:
        return None
    last = next((each.kind for each in reversed(ended.report.attempts) if isinstance(each.kind, Kind)), None)
    return str(ended.status) if last is None else str(last)


def _host(host: str | None) -> Attributes:
    """Return the attributes of the client's `Host`."""
    if not host:
        return {}
    name, colon, port = host.rpartition(":")
    if colon and port.isdecimal() and len(port) <= len("65535"):
        return {"server.address": name.strip("[]"), "server.port": int(port)}
    return {"server.address": host.strip("[]")}
