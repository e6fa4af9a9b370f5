"""Spans and metrics over OTLP, as a collector on the loopback gets them."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import aiohttp
import orjson
import pytest

from tests.gateway_process import gateway_process
from tests.log_lines import logging_to
from tests.otlp_receiver import FAST, OtlpReceiver, SentSpan, otlp_receiver, wait_for
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start, until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  fast: up/a
  pair: [up/a, up/b]
  retried: {chain: [{target: up/a, retries: 1}]}
  hedged: {chain: [up/a, up/b], hedge: 100ms}
  shadowed: {chain: [up/a], shadow: {target: up/s, share: 100%}}
  images-only: {chain: [{target: up/a, when: {images: true}}, up/b]}
  held: {chain: [up/a], stream: {hold: full, max_bytes: 1024}}
  "team/*": "up/*"
"""


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    """Run a collector until nothing sends any more: what draws delays later disturbs hypothesis in the next file."""
    with otlp_receiver() as receiver:
        yield receiver
        receiver.hurry.set()
        for thread in threading.enumerate():
            if thread.name.startswith("Otel"):
                thread.join(5)
                assert not thread.is_alive()


@pytest.fixture
def started(collector: OtlpReceiver, start: Start, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start gateways that send to the collector: `await started(otel={variables}, clients="more of the file")`."""

    async def start_one(*, otel: dict[str, str] | None = None, clients: str = "") -> RunningGateway:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **FAST, **(otel or {})}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)  # the SDK reads them itself
        gateway: RunningGateway = await start(ROUTES + clients, environ=environ)
        await until(lambda: is_ready(gateway))
        return gateway

    return start_one


async def is_ready(gateway: RunningGateway) -> bool:
    return (await gateway.get("/readyz")).status == 200


@pytest.fixture
async def traced(started: Start) -> RunningGateway:
    gateway: RunningGateway = await started()
    return gateway


def values_are(collector: OtlpReceiver, metric: str, value: float) -> bool:
    """Tell whether a metric came with this one value."""
    return [each.value for each in collector.metrics.get(metric, ())] == [value]


def got_posts(collector: OtlpReceiver, count: int) -> bool:
    return len(collector.posts) >= count


async def tree(collector: OtlpReceiver) -> tuple[SentSpan, list[SentSpan]]:
    """Return the span of the one request, and those of its calls."""
    await until(collector.trees)
    (found,) = collector.trees()
    return found


async def test_a_request_is_a_span_with_one_below_it_for_each_call(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503)
    answer = await traced.chat("pair", temperature=0.5, max_tokens=10, headers={"x-request-id": "r-1"})
    assert answer.status == 200
    server, (first, second) = await tree(collector)
    assert (server.name, server.parent_id, server.is_error) == ("POST /v1/chat/completions", "", False)
    assert server.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": traced.port,
        "gateway.alias": "pair",
        "gateway.attempts": 2,
        "gateway.generation": 1,
        "gateway.operation": "chat",
        "gateway.request_id": "r-1",
        "gateway.target": "up/b",
    }
    shared = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.temperature": 0.5,
        "gateway.alias": "pair",
        "gateway.generation": 1,
        "gateway.operation": "chat",
        "server.address": "127.0.0.1",
        "server.port": upstream.port,
    }
    assert (first.name, first.is_error) == ("chat a", True)
    assert first.attributes == {
        **shared,
        "error.type": "overloaded",
        "gateway.attempt": 1,
        "gateway.outcome": "overloaded",
        "gateway.target": "up/a",
        "gen_ai.request.model": "a",
        "http.response.status_code": 503,
    }
    assert (second.name, second.is_error) == ("chat b", False)
    assert second.attributes == {
        **shared,
        "gateway.attempt": 2,
        "gateway.outcome": "ok",
        "gateway.target": "up/b",
        "gen_ai.request.model": "b",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.id": answer.json["id"],
        "gen_ai.response.model": "b",
        "gen_ai.usage.input_tokens": answer.json["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": answer.json["usage"]["completion_tokens"],
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
    }
    assert server.start_ns <= first.start_ns <= first.end_ns <= second.end_ns <= server.end_ns
    assert {server.trace_id, first.trace_id, second.trace_id} == {server.trace_id}
    assert collector.schemas == {"https://opentelemetry.io/schemas/gen-ai/0.1.0"}
    assert collector.resources[0]["service.name"] == "routes-gateway"
    assert HELLO[0]["content"] not in repr(collector.spans)
    assert "sk-upstream" not in repr(collector.spans)


async def test_each_upstream_gets_the_span_of_its_call_and_the_client_s_trace_goes_on(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503)
    await traced.chat("pair", headers={"traceparent": SAMPLED, "tracestate": "vendor=1,other=x"})
    server, calls = await tree(collector)
    assert (server.trace_id, server.parent_id, server.state) == (TRACE, PARENT, "vendor=1,other=x")
    got = [request.headers["traceparent"] for request in upstream.requests]
    assert got == [f"00-{TRACE}-{call.span_id}-01" for call in calls]
    assert {request.headers["tracestate"] for request in upstream.requests} == {"vendor=1,other=x"}
    assert [call.attributes["gateway.target"] for call in calls] == ["up/a", "up/b"]


@pytest.mark.parametrize(
    ("sent", "sampler"),
    [({"traceparent": UNSAMPLED}, {}), ({}, {"OTEL_TRACES_SAMPLER": "always_off"}),
     ({"traceparent": SAMPLED}, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}),
     ({}, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"})],
)  # fmt: skip
async def test_what_is_not_sampled_has_no_span_and_its_upstream_is_told_so(
    started: Start, collector: OtlpReceiver, upstream: ScriptedOpenAI, sent: dict[str, str], sampler: dict[str, str]
) -> None:
    gateway = await started(otel=sampler)
    log = io.StringIO()
    with logging_to(log):
        await gateway.chat("fast", headers=sent)
    version, trace, span, flags = upstream.requests[0].headers["traceparent"].split("-")
    assert (version, flags, span == PARENT) == ("00", "00", False)
    assert (trace == TRACE) is ("traceparent" in sent)
    assert "trace_id" not in log.getvalue()
    await until(lambda: "gen_ai.client.inference.duration" in collector.metrics)
    assert collector.spans == []


async def test_a_sampled_parent_is_followed_whatever_the_ratio(started: Start, collector: OtlpReceiver) -> None:
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    gateway = await started(otel=ratio)
    log = io.StringIO()
    with logging_to(log):
        await gateway.chat("fast", headers={"traceparent": SAMPLED})
        server, _ = await tree(collector)
    assert (server.trace_id, server.parent_id) == (TRACE, PARENT)
    assert [line["trace_id"] for line in map(orjson.loads, log.getvalue().splitlines()) if "trace_id" in line] == [
        TRACE
    ]


@pytest.mark.parametrize("state", ["x" * 513, "no such thing"])
async def test_a_tracestate_that_is_none_is_no_reason_to_fail(
    traced: RunningGateway, collector: OtlpReceiver, state: str
) -> None:
    answer = await traced.chat("fast", headers={"traceparent": SAMPLED, "tracestate": state})
    assert answer.status == 200
    server, _ = await tree(collector)
    assert server.state == ""


async def test_a_stream_s_call_lasts_to_its_end(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script(
        "a", chunks=["one ", "two ", "three"], chunk_delay_s=0.05, usage={"prompt_tokens": 7, "completion_tokens": 3}
    )
    answer = await traced.chat("fast", stream=True, stream_options={"include_usage": True})
    assert answer.events[-1] == "[DONE]"
    server, (call,) = await tree(collector)
    assert call.attributes["gen_ai.request.stream"] is True
    assert call.attributes["gen_ai.response.model"] == "a"
    assert call.attributes["gen_ai.usage.output_tokens"] == 3
    seconds = (call.end_ns - call.start_ns) / 1e9
    assert 0 < call.attributes["gen_ai.response.time_to_first_chunk"] < seconds
    assert seconds >= 0.1
    assert call.end_ns == server.end_ns
    assert server.attributes["gateway.first_content"] < seconds


async def test_a_stream_that_breaks_is_an_error_of_call_and_request(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["one ", "two"], cut_after=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await traced.chat("fast", stream=True)
    server, (call,) = await tree(collector)
    assert (call.is_error, call.attributes["error.type"]) == (True, "bad_response")
    assert (server.is_error, server.attributes["error.type"]) == (True, "bad_response")


async def test_the_two_calls_of_a_hedge_are_told_apart(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", delay_s=60)
    await traced.chat("hedged")
    _, (slow, quick) = await tree(collector)
    assert (slow.attributes["gateway.target"], slow.attributes["gateway.outcome"]) == ("up/a", "hedged_out")
    assert (quick.attributes["gateway.target"], quick.attributes["gateway.outcome"]) == ("up/b", "ok")
    assert (slow.is_error, "gateway.hedge" in slow.attributes) == (False, False)
    assert quick.attributes["gateway.hedge"] is True
    assert slow.start_ns < quick.start_ns < slow.end_ns
    got = {request.model: request.headers["traceparent"].split("-")[2] for request in upstream.requests}
    assert got == {"a": slow.span_id, "b": quick.span_id}


async def test_calls_are_numbered_in_the_order_in_which_they_began(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", delay_s=0.3, reply="from a").script("b", delay_s=60)
    await traced.chat("hedged")
    _, calls = await tree(collector)
    found = {one.attributes["gateway.target"]: one.attributes for one in calls}
    assert {name: one["gateway.attempt"] for name, one in found.items()} == {"up/a": 1, "up/b": 2}
    assert ("http.request.resend_count" in found["up/a"], found["up/b"]["http.request.resend_count"]) == (False, 1)


async def test_a_stream_that_is_too_long_to_be_held_is_one_call(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["word " * 100] * 10)
    assert (await traced.chat("held", stream=True)).status == 502
    server, (call,) = await tree(collector)
    assert call.attributes["gateway.outcome"] == server.attributes["error.type"] == "bad_response"


async def test_a_client_that_leaves_ends_the_call(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", delay_s=60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await traced.chat("fast")
    server, (call,) = await tree(collector)
    assert (server.attributes["http.response.status_code"], server.is_error) == (499, False)
    assert (call.attributes["gateway.outcome"], call.is_error) == ("client_gone", False)
    assert call.span_id == upstream.requests[0].headers["traceparent"].split("-")[2]
    assert call.end_ns - call.start_ns >= 0.2e9


async def test_when_all_fail_the_request_has_the_last_one_s_kind(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503).script("a", status=429)
    answer = await traced.chat("retried")
    server, calls = await tree(collector)
    assert [call.attributes["error.type"] for call in calls] == ["overloaded", "rate_limit"]
    assert [call.attributes.get("http.request.resend_count") for call in calls] == [None, 1]
    assert server.attributes["http.response.status_code"] == answer.status
    assert server.attributes.get("error.type") == ("rate_limit" if answer.status >= 500 else None)


async def test_a_request_that_calls_nobody_is_a_span_alone(traced: RunningGateway, collector: OtlpReceiver) -> None:
    assert (await traced.chat("nothing")).status == 404
    server, calls = await tree(collector)
    assert (server.attributes["http.response.status_code"], server.is_error, calls) == (404, False, [])
    assert "gateway.alias" not in server.attributes


async def test_a_path_that_is_not_there_gives_no_route_and_no_key(
    traced: RunningGateway, collector: OtlpReceiver
) -> None:
    await traced.get("/v1/sk-proj-0123456789abcdefghijklmnopqrstuvwxyz")
    server, _ = await tree(collector)
    assert (server.name, "http.route" in server.attributes) == ("GET", False)
    assert "0123456789abcdef" not in server.attributes["url.path"]


async def test_a_method_that_a_client_made_up_names_no_span(traced: RunningGateway, collector: OtlpReceiver) -> None:
    await traced.request("PURGE", "/v1/models")
    server, _ = await tree(collector)
    assert (server.name, server.attributes["http.request.method"]) == ("HTTP /v1/models", "_OTHER")


async def test_data_that_is_no_request_has_neither_path_nor_route(
    traced: RunningGateway, collector: OtlpReceiver
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", traced.port)
    writer.write(b"no request\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    server, _ = await tree(collector)
    assert (server.name, server.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert server.attributes.keys().isdisjoint({"url.path", "http.route"})


async def test_probes_and_operators_make_no_spans(traced: RunningGateway, collector: OtlpReceiver) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/-/state", "/-/config"):
        await traced.get(path)
    await traced.get("/v1/models")
    server, _ = await tree(collector)  # of the last alone
    assert server.name == "GET /v1/models"


async def test_a_limit_that_refuses_is_named(started: Start, collector: OtlpReceiver) -> None:
    gateway = await started(clients="clients: {default: {limits: [1 requests/hour]}}\n")
    statuses = [(await gateway.chat("fast")).status for _ in range(2)]
    assert statuses == [200, 429]
    await until(lambda: len(collector.trees()) == 2)
    found = {server.attributes["http.response.status_code"]: server.attributes for server, _ in collector.trees()}
    assert [found[status].get("gateway.limited") for status in statuses] == [None, "1 requests/hour"]
    assert {each["gateway.group"] for each in found.values()} == {"default"}


async def test_targets_that_were_passed_over_are_named(traced: RunningGateway, collector: OtlpReceiver) -> None:
    await traced.chat("images-only")
    server, calls = await tree(collector)
    assert server.attributes["gateway.passed_over"] == ["up/a condition"]
    assert [call.attributes["gateway.attempt"] for call in calls] == [1]


async def test_a_shadow_s_call_is_in_the_request_s_trace(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    await traced.chat("shadowed")
    await until(lambda: len(collector.spans) == 3)
    (_, calls), shadow = await tree(collector), next(each for each in collector.spans if each.name == "chat s")
    assert shadow in calls
    assert shadow.attributes["gateway.shadow"] is True
    got = {request.model: request.headers["traceparent"].split("-")[2] for request in upstream.requests}
    assert got["s"] == shadow.span_id


async def test_other_operations_have_names_of_their_own(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    body = {"model": "fast", "input": "hello there", "dimensions": 3}
    assert (await traced.request("POST", "/v1/embeddings", json=body)).status == 200
    server, (call,) = await tree(collector)
    assert (server.name, call.name) == ("POST /v1/embeddings", "embeddings a")
    assert call.attributes["gen_ai.embeddings.dimension.count"] == 3
    assert call.attributes["gen_ai.usage.input_tokens"] > 0
    await until(lambda: "gen_ai.client.operation.duration" in collector.metrics)
    assert "gen_ai.client.inference.duration" not in collector.metrics


async def test_metrics_have_the_labels_of_the_table(
    traced: RunningGateway, collector: OtlpReceiver, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503).script("a", reply="hello")
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    upstream.script("team-model", reply="hi there you", usage=usage)
    await traced.chat("pair")
    await traced.chat("team/team-model", stream=True, stream_options={"include_usage": True})
    await until(lambda: "gen_ai.client.inference.time_to_first_chunk" in collector.metrics)
    server = {"server.address": "127.0.0.1", "server.port": upstream.port}
    named = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gateway.operation": "chat", **server}
    of_calls = {
        point.attributes["gateway.target"]: (point.attributes, point.value)
        for point in collector.metrics["gen_ai.client.inference.duration"]
    }
    assert of_calls == {
        "up/a": ({**named, "gateway.target": "up/a", "gen_ai.request.model": "a", "error.type": "overloaded"}, 1),
        "up/b": ({**named, "gateway.target": "up/b", "gen_ai.request.model": "b"}, 1),
        "up/*": ({**named, "gateway.target": "up/*", "gen_ai.request.model": "*"}, 1),
    }
    of_requests = {
        point.attributes["gateway.alias"]: point.attributes
        for point in collector.metrics["gen_ai.server.request.duration"]
    }
    assert of_requests["team/*"] == {
        **named, "gateway.alias": "team/*", "gen_ai.request.model": "team/*", "gen_ai.response.model": "*",
    }  # fmt: skip
    tokens = collector.metrics["gen_ai.client.inference.usage.output_tokens"]
    assert [point.value for point in tokens if point.attributes["gateway.target"] == "up/*"] == [3]
    assert {"gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"} <= collector.metrics.keys()
    assert [point.value for point in collector.metrics["gateway.config.generation"]] == [1]
    assert "gen_ai.client.token.usage" not in collector.metrics


async def test_a_refused_edit_is_told(traced: RunningGateway, collector: OtlpReceiver) -> None:
    name = "gateway.config.last_reload_successful"
    await until(partial(values_are, collector, name, 1))
    traced.config.write_text("version: 1\nmodels: {fast: nothing}\n")
    await asyncio.to_thread(traced.parts.reloader.reload)
    await until(partial(values_are, collector, name, 0))
    assert [each.value for each in collector.metrics["gateway.config.generation"]] == [1]


async def test_old_names_are_there_too_if_they_are_asked_for(started: Start, collector: OtlpReceiver) -> None:
    gateway = await started(otel={"OTEL_SEMCONV_STABILITY_OPT_IN": "http,gen_ai/dup"})
    await gateway.chat("fast")
    _, (call,) = await tree(collector)
    assert call.attributes["gen_ai.system"] == call.attributes["gen_ai.provider.name"] == "openai"
    assert call.attributes["gen_ai.usage.prompt_tokens"] == call.attributes["gen_ai.usage.input_tokens"]
    await until(lambda: "gen_ai.client.token.usage" in collector.metrics)
    kinds = {point.attributes["gen_ai.token.type"] for point in collector.metrics["gen_ai.client.token.usage"]}
    assert kinds == {"input", "output"}
    assert {"gen_ai.client.operation.duration", "gen_ai.client.inference.duration"} <= collector.metrics.keys()


@pytest.mark.parametrize("preference", ["cumulative", "delta"])
async def test_metrics_tell_all_or_what_is_new(started: Start, collector: OtlpReceiver, preference: str) -> None:
    gateway = await started(otel={"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": preference})
    name = "gen_ai.server.request.duration"
    for number in (1, 2):
        collector.metrics.clear()
        await gateway.chat("fast")
        wanted = 1 if preference == "delta" else number
        await until(partial(values_are, collector, name, wanted))


@pytest.mark.parametrize("signal", ["traces", "metrics"])
async def test_one_signal_alone_may_be_sent(started: Start, collector: OtlpReceiver, signal: str) -> None:
    other = {"traces": "METRICS", "metrics": "TRACES"}[signal]
    gateway = await started(otel={f"OTEL_{other}_EXPORTER": "none"})
    await gateway.chat("fast")
    await until(
        lambda: collector.spans if signal == "traces" else collector.metrics.get("gen_ai.server.request.duration")
    )
    assert set(collector.posts) == {f"/v1/{signal}"}


async def test_a_collector_that_fails_costs_one_line_and_no_request(started: Start, collector: OtlpReceiver) -> None:
    log = io.StringIO()
    with logging_to(log):
        collector.status = 400
        gateway = await started(otel={"OTEL_METRICS_EXPORTER": "none"})
        for calls in (1, 2, 3):
            assert (await gateway.chat("fast")).status == 200
            await until(partial(got_posts, collector, calls))
        collector.status = 200
        assert (await gateway.chat("fast")).status == 200
        await until(lambda: "takes what is sent again" in log.getvalue())
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    about = [line for line in lines if "collector" in line["event"] or line["logger"].startswith("opentelemetry")]
    assert [line["level"] for line in about] == ["warning", "info"]
    assert (about[0]["signal"], about[0]["endpoint"], about[1]["lost"] >= 2) == ("traces", collector.url, True)
    assert "batch code: 400" in about[0]["reason"]


async def test_a_slow_collector_delays_no_request_and_the_end_by_little(
    started: Start, collector: OtlpReceiver
) -> None:
    gateway = await started(otel={"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"})
    collector.delay_s = 30
    began = time.monotonic()
    for _ in range(20):
        assert (await gateway.chat("fast")).status == 200
    assert time.monotonic() - began < 3
    telemetry = gateway.parts._telemetry
    assert telemetry is not None
    began = time.monotonic()
    await telemetry.close()
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("otel", "told"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is grpc: only http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is zipkin: only otlp and none"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "soon"}, "Unable to parse value for OTEL_BSP_SCHEDULE_DELAY as integer"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "max_queue_size must be a positive integer"),
    ],
)
async def test_settings_that_do_not_do_are_told(started: Start, otel: dict[str, str], told: str) -> None:
    log = io.StringIO()
    with logging_to(log):
        gateway = await started(otel=otel)
        assert (await gateway.chat("fast")).status == 200
    assert told in log.getvalue()


async def test_without_the_package_it_serves_and_says_what_to_install(
    started: Start, collector: OtlpReceiver, upstream: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    # LiteLLM brings the API alone.
    monkeypatch.delitem(sys.modules, "gateway.telemetry.otel.exporting", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    log = io.StringIO()
    with logging_to(log):
        gateway = await started()
        assert (await gateway.chat("fast", headers={"traceparent": SAMPLED})).status == 200
    (line,) = [line for line in map(orjson.loads, log.getvalue().splitlines()) if "not installed" in line["event"]]
    assert (line["level"], line["install"]) == ("warning", 'pip install ".[otel]"')
    assert upstream.requests[0].headers["traceparent"] == SAMPLED
    assert collector.posts == []


async def test_disabled_it_is_off(started: Start, collector: OtlpReceiver, upstream: ScriptedOpenAI) -> None:
    gateway = await started(otel={"OTEL_SDK_DISABLED": "true"})
    await gateway.chat("fast", headers={"traceparent": SAMPLED})
    assert upstream.requests[0].headers["traceparent"] == SAMPLED
    assert collector.posts == []


SECOND_WORKER_IMPORTS_SLOWLY = """\
import json, os, sys, time
from importlib.abc import MetaPathFinder

class Slow(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "opentelemetry.sdk.trace":
            time.sleep(1)

if json.loads(os.environ.get("GATEWAY_SUPERVISED_PROCESS", "{}")).get("number") == 1:
    sys.meta_path.insert(0, Slow())
"""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("workers", [1, 2])
async def test_requests_right_after_readyz_are_there_and_sigterm_sends_what_waits(
    tmp_path: Path, collector: OtlpReceiver, workers: int
) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text("version: 1\nmodels: {echo: mock/echo}\n")
    # Neither clock strikes: what comes was sent at the end.
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=mine,deployment.environment.name=test",
        "OTEL_SERVICE_NAME": "our-gateway",
    }
    flags: tuple[str, ...] = ()
    if workers == 2:
        flags = ("--workers", "2")
        (tmp_path / "sitecustomize.py").write_text(SECOND_WORKER_IMPORTS_SLOWLY)
        environ["PYTHONPATH"] = str(tmp_path)
    async with gateway_process(config, log=tmp_path / "log", environ=environ, flags=flags) as started:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            while True:
                async with session.get(f"{started.url}/readyz") as answer:
                    if answer.status == 200:
                        break
            for _ in range(20):
                body = {"model": "echo", "messages": HELLO}
                async with session.post(f"{started.url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
        assert collector.posts == []
    assert len(collector.trees()) == 20
    assert all(len(calls) == 1 for _, calls in collector.trees())
    assert {each["service.name"] for each in collector.resources} == {"our-gateway"}
    assert {each["deployment.environment.name"] for each in collector.resources} == {"test"}
    wanted = {"mine"} if workers == 1 else {"mine-0", "mine-1"}
    assert {each["service.instance.id"] for each in collector.resources} <= wanted
    wait_for(lambda: "gen_ai.server.request.duration" in collector.metrics)
