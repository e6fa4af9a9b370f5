"""`/metrics` of a whole gateway: who serves what, what rests, what is full, and traces in OpenMetrics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.server.endpoints.probes import WHOLE_BYTES
from gateway.server.workers.sums import PIECE
from gateway.telemetry.report import Attempt, CallReport
from tests.gateway_process import gateway_process
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, save

OPEN = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
UNSAMPLED = {"traceparent": "00-1bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}
MALFORMED = {"traceparent": f"00-{'x' * 32}-00f067aa0ba902b7-01"}
COOLED = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 1, for: 10m}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  keys: {kind: openai, base_url: "BASE_URL", api_key: [sk-first-key, sk-second-key]}
models:
  pair: [up/a, up/b]
  alone: up/a
  keyed: keys/k
  "team/*": "up/*"
"""


async def text_of(gateway: RunningGateway, **headers: str) -> str:
    return (await gateway.get("/metrics", headers=headers)).body.decode()


async def test_sampled_traces_are_examples_in_openmetrics_only(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["one"])
    for headers in (SAMPLED, UNSAMPLED, MALFORMED, {}):
        await gateway.chat("fast", stream=True, headers=headers)
    text = await text_of(gateway, **OPEN)
    exemplars = [
        (sample.name, sample.exemplar.labels)
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # as the library has it
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert exemplars == [
        (f"gateway_{name}_bucket", {"trace_id": TRACE_ID})
        for name in ("request_seconds", "first_content_seconds", "target_first_content_seconds")
    ]
    assert text.endswith("# EOF\n")
    assert TRACE_ID not in await text_of(gateway)


async def test_an_alias_rests_once_all_its_targets_do(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway: RunningGateway = await start(COOLED)

    async def resting() -> dict[str, float]:
        lines = (await text_of(gateway)).splitlines()
        found = [line.rpartition(" ") for line in lines if line.startswith("gateway_alias_cooldown{")]
        return {name.split('"')[1]: float(value) for name, _, value in found}

    assert await resting() == {"pair": 0, "alone": 0, "keyed": 0}
    upstream.script("a", status=500)
    await gateway.chat("pair")
    assert await resting() == {"pair": 0, "alone": 1, "keyed": 0}
    upstream.script("b", status=500)
    await gateway.chat("pair")
    assert await resting() == {"pair": 1, "alone": 1, "keyed": 0}
    upstream.script("other", status=500)
    await gateway.chat("team/other")
    assert await gateway.metric('gateway_target_cooldown{target="up/*"}') == 1
    await gateway.request("POST", "/-/targets/reset?target=up/a")
    assert await resting() == {"pair": 0, "alone": 0, "keyed": 0}


async def test_keys_that_rest_and_their_calls_are_told_by_provider(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway: RunningGateway = await start(COOLED)
    upstream.script_key("sk-first-key", status=429, retry_after=120)
    await gateway.chat("keyed")
    lines = (await text_of(gateway)).splitlines()
    rests = [line.rpartition(" ")[2] for line in lines if line.startswith("gateway_key_cooldown{")]
    assert rests == ["1.0", "0.0"]
    kinds = [line.split(",", 1)[1] for line in lines if line.startswith("gateway_key_attempts_total{")]
    assert sorted(kinds) == ['kind="ok",provider="keys"} 1.0', 'kind="rate_limit",provider="keys"} 1.0']
    assert await gateway.metric('gateway_target_cooldown{target="keys/k"}') == 0


async def test_a_file_that_differs_from_what_runs_is_not_in_sync(gateway: RunningGateway) -> None:
    assert await gateway.metric("gateway_config_in_sync") == 1
    good = gateway.config.read_text()
    save(gateway.config, "version: 1\nmodels: 1\n")
    await gateway.request("POST", "/-/reload")
    assert await gateway.metric("gateway_config_in_sync") == 0
    save(gateway.config, None)
    assert await gateway.metric("gateway_config_in_sync") == 0
    save(gateway.config, good)
    await gateway.request("POST", "/-/reload")
    assert await gateway.metric("gateway_config_in_sync") == 1


async def test_limits_and_what_is_used_of_them_are_told(start: Start) -> None:
    gateway: RunningGateway = await start(max_in_flight=7, max_connections=9, max_body_in_flight_bytes=1_000_000)
    lines = await text_of(gateway)
    for line in (
        "gateway_in_flight 0.0",
        "gateway_max_in_flight 7.0",
        "gateway_connections 1.0",
        "gateway_max_connections 9.0",
        "gateway_body_bytes_in_flight 0.0",
        "gateway_max_body_bytes_in_flight 1e+06",
    ):
        assert f"\n{line}\n" in lines
    without = await start()
    assert not {"gateway_max_in_flight", "gateway_max_connections"} & set((await text_of(without)).split())


def count_many(gateway: RunningGateway, number: int) -> None:
    """Count one request of each of so many aliases."""
    attempts = [Attempt("up/m", "up/m", None, 200, 20.0)]
    reports = [CallReport(alias=f"alias-{each}", attempts=attempts) for each in range(number)]
    gateway.parts._metrics.hear([(report, "chat", 200, False, None, None, None, 0.3, 0.0) for report in reports])


async def test_many_metrics_are_a_stream_and_all_of_them(gateway: RunningGateway) -> None:
    number = WHOLE_BYTES // 500
    small = await gateway.get("/metrics")
    assert "content-length" in small.headers
    count_many(gateway, number)
    answer = await gateway.get("/metrics")
    assert "content-length" not in answer.headers
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.body.decode().splitlines()
    assert sum(line.startswith('gateway_request_seconds_count{alias="alias-') for line in lines) == number
    assert lines[-1] == "gateway_connections 1.0"
    head = await gateway.request("HEAD", "/metrics")
    assert (head.status, head.body) == (200, b"")
    assert "content-length" in head.headers
    assert (await gateway.get("/healthz")).status == 200


async def test_a_scrape_that_is_broken_off_loses_nothing(gateway: RunningGateway) -> None:
    number = WHOLE_BYTES // 500
    count_many(gateway, number)
    async with gateway.session.get(f"{gateway.url}/metrics") as response:
        await response.content.readany()
        response.close()
    count_many(gateway, number)
    assert await gateway.metric('gateway_request_seconds_count{alias="alias-0"}') == 2
    assert await gateway.metric(f'gateway_request_seconds_count{{alias="alias-{number - 1}"}}') == 2


async def test_workers_traces_and_rests_are_told_whichever_is_asked(tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(COOLED.replace("BASE_URL", upstream.base_url))
    upstream.script("a", status=500)
    body: dict[str, Any] = {"model": "pair", "messages": [{"role": "user", "content": "hello"}]}
    async with (
        gateway_process(config, log=tmp_path / "gateway.log", flags=("--workers", "2")) as running,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
    ):
        for _ in range(8):
            async with session.post(f"{running.url}/v1/chat/completions", json=body, headers=SAMPLED) as answer:
                assert answer.status == 200

        async def text() -> str:
            async with session.get(f"{running.url}/metrics", headers=OPEN) as answer:
                return await answer.text()

        for found in await asyncio.gather(*(text() for _ in range(4))):
            assert TRACE_ID in found
            for line in (
                'gateway_answers_total{alias="pair",fallback="yes",target="up/b"} 8.0',
                'gateway_alias_cooldown{alias="alone"} 1.0',
                "gateway_config_in_sync 1.0",
            ):
                assert f"\n{line}\n" in found
            list(text_string_to_metric_families(found))  # type: ignore[no-untyped-call]  # as the library has it


async def test_workers_many_metrics_come_in_pieces_and_all_of_them(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    names = [f"{'long-' * 40}{number}" for number in range(2 * PIECE // 200)]
    config.write_text("version: 1\nmodels:\n" + "".join(f"  {name}: mock/echo\n" for name in names))
    async with (
        gateway_process(config, log=tmp_path / "gateway.log", flags=("--workers", "2")) as running,
        aiohttp.ClientSession() as session,
    ):

        async def lines() -> list[str]:
            async with session.get(f"{running.url}/metrics") as answer:
                return (await answer.text()).splitlines()

        for found in await asyncio.gather(lines(), lines()):
            shown = [line for line in found if line.startswith("gateway_alias_cooldown{")]
            assert shown == [f'gateway_alias_cooldown{{alias="{name}"}} 0.0' for name in names]
            assert "gateway_workers 2.0" in found


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
async def test_the_whole_is_the_same_in_both_formats(tmp_path: Path, flags: tuple[str, ...]) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text("version: 1\nmodels: {echo: mock/echo}\n")
    async with (
        gateway_process(config, log=tmp_path / "gateway.log", flags=flags) as running,
        aiohttp.ClientSession() as session,
    ):
        names: list[set[str]] = []
        for headers in ({}, OPEN, {}):  # the first one is counted as a request
            async with session.get(f"{running.url}/metrics", headers=headers) as answer:
                lines = (await answer.text()).splitlines()
            names.append({line.split("{")[0].split()[0] for line in lines if line[0] != "#"})
    assert names[1] == names[2]


async def test_a_scrape_that_begins_as_another_has_read_the_disk_disturbs_it_not(gateway: RunningGateway) -> None:
    scrapes = []
    async with asyncio.TaskGroup() as group:
        for _ in range(300):
            scrapes.append(group.create_task(gateway.get("/metrics")))
            await asyncio.sleep(0.0002)
    assert {scrape.result().status for scrape in scrapes} == {200}
