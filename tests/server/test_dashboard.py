"""The dashboard, the alerts and the page of metrics against what a running gateway says, and a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.gateway_process import GatewayProcess, gateway_process
from tests.paths import ROOT
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, save

pytestmark = pytest.mark.timeout(60)

ALERTS: Final = ROOT / "deploy" / "prometheus" / "alerts.yaml"
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text("utf-8"))
PANELS: Final[list[dict[str, Any]]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
OPEN: Final = {"accept": "application/openmetrics-text"}
OF_PROMETHEUS: Final = frozenset({"instance", "job", "le"})
"""Labels that a scrape adds, or that every histogram has."""
WITH_A_FLAG: Final = frozenset(
    {
        "gateway_limits_counted_alone",
        "gateway_worker_restarts_total",
        "gateway_workers",
    }
)
"""Metrics that a gateway without `--workers` does not have."""
ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 1, for: 10m}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  keys: {kind: openai, base_url: "BASE_URL", api_key: [sk-first-key, sk-second-key]}
clients: {default: {limits: [8 requests/hour]}}
models:
  pair: [up/a, up/b]
  limited: [up/limited, mock/echo]
  kept: {chain: [mock/echo], cache: 1h}
  keyed: keys/k
  down: mock/status-503
  cut: mock/cut
  hedged: {chain: [up/slow, mock/echo], hedge: 300ms, shadow: {target: mock/echo, share: 100%}}
"""
FLAGS: Final = ("--max-in-flight", "50", "--max-connections", "50", "--state", "redis://127.0.0.1:1")
"""Nobody listens at that address."""


def queries(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def alerts() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"][0]["rules"]
    return rules


DASHBOARD_QUERIES: Final = [query for panel in PANELS for query in queries(panel)]
ALL_QUERIES: Final = [*DASHBOARD_QUERIES, *(rule["expr"] for rule in alerts())]


def filled_in(query: str) -> str:
    """Return a query of the dashboard with all of each variable, and a window that a quick test fills."""
    for name in ("instance", "alias", "target"):
        query = query.replace(f"${name}", ".*")
    return query.replace("$__rate_interval", "30s")


@dataclass
class Seen:
    """What the gateway and Prometheus said, once for all tests."""

    text: str = ""
    open_text: str = ""
    empty: list[str] = field(default_factory=list)
    """Queries that failed, or returned nothing."""
    exemplars: list[Any] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)


async def _work(session: aiohttp.ClientSession, url: str, config: Path, upstream: ScriptedOpenAI) -> None:
    """Have all happen that the metrics tell of: fallbacks, limits, broken streams, a refused edit."""

    async def chat(model: str, *, stream: bool = False) -> None:
        body = {"model": model, "stream": stream, "messages": HELLO}
        trace = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
        async with session.post(f"{url}/v1/chat/completions", json=body, headers=trace) as answer:
            try:
                await answer.read()
            except aiohttp.ClientPayloadError:
                assert model == "cut"

    upstream.script("a", status=500).script("limited", status=429, retry_after=600)
    upstream.script_key("sk-first-key", status=429, retry_after=600)
    upstream.script("slow", delay_s=0.5, usage={"prompt_tokens": 3, "completion_tokens": 2})
    for model in ("pair", "limited", "keyed", "down", "missing", "hedged", "kept", "kept"):
        await chat(model)
    for model in ("pair", "cut", "pair"):
        await chat(model, stream=True)
    save(config, "version: 1\nmodels: 1\n")
    async with session.post(f"{url}/-/reload") as answer:
        assert answer.status == 422


@asynccontextmanager
async def _prometheus(folder: Path, gateway: GatewayProcess) -> AsyncIterator[str]:
    """Run Prometheus, which scrapes the gateway five times a second; yield its address."""
    settings = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{gateway.port}"]}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage",
            stdout=subprocess.DEVNULL, stderr=output,
        )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while not (found := re.search(r"Listening on.*?127\.0\.0\.1:(\d+)", log.read_text())):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _data(session: aiohttp.ClientSession, url: str, path: str, **params: str) -> Any:
    async with session.get(f"{url}/api/v1/{path}", params=params) as answer:
        told = await answer.json(content_type=None)
        return told.get("data") if told.get("status") == "success" else None


async def _ask_prometheus(session: aiohttp.ClientSession, url: str, seen: Seen) -> None:
    """Ask until all queries have data, or some time has passed."""
    ends_s, now_s = time.monotonic() + 15, time.monotonic()
    seen.empty = [filled_in(query) for query in DASHBOARD_QUERIES]
    while (seen.empty or not seen.exemplars or not seen.rules) and now_s < ends_s:
        answers = [await _data(session, url, "query", query=query) for query in seen.empty]
        seen.empty = [
            query for query, data in zip(seen.empty, answers, strict=True) if data is None or not data["result"]
        ]
        at = {"start": str(time.time() - 60), "end": str(time.time() + 60)}
        name = "gateway_target_first_content_seconds_bucket"
        seen.exemplars = await _data(session, url, "query_exemplars", query=name, **at) or []
        groups = (await _data(session, url, "rules") or {"groups": []})["groups"]
        seen.rules = [rule for group in groups for rule in group["rules"] if rule["health"] != "unknown"]
        await asyncio.sleep(0.2)
        now_s = time.monotonic()


async def _look(folder: Path) -> Seen:
    seen = Seen()
    config = folder / "routes.yaml"
    async with ScriptedOpenAI() as upstream, aiohttp.ClientSession() as session:
        config.write_text(ROUTES.replace("BASE_URL", upstream.base_url))
        async with gateway_process(config, log=folder / "gateway.log", flags=FLAGS) as gateway:
            if shutil.which("prometheus"):
                async with _prometheus(folder, gateway) as url:
                    await _work(session, gateway.url, config, upstream)
                    await _ask_prometheus(session, url, seen)
            else:
                await _work(session, gateway.url, config, upstream)
            async with session.get(f"{gateway.url}/metrics") as answer:
                seen.text = await answer.text()
            async with session.get(f"{gateway.url}/metrics", headers=OPEN) as answer:
                seen.open_text = await answer.text()
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(_look(tmp_path_factory.mktemp("dashboard")))


@pytest.fixture(scope="module")
def labels(seen: Seen) -> dict[str, set[str]]:
    """Name of each sample → its labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(seen.open_text):  # type: ignore[no-untyped-call]  # as the library is
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool on this machine: it is in Debian's package prometheus")
    return found


def run(*command: str, given: str | None = None, folder: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def selectors(query: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each metric that a query names, with the labels that it is matched by."""
    for name, matchers in re.findall(r"\b((?:gateway|process)_[a-z_]+)\b(?:\{([^}]*)\})?", query):
        yield name, re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)


@pytest.mark.parametrize("query", ALL_QUERIES)
def test_each_metric_and_label_of_a_query_is_there(query: str, labels: dict[str, set[str]]) -> None:
    known = set(OF_PROMETHEUS) | set(re.findall(r'label_replace\(.*?, "(\w+)"', query))
    for name, matched in selectors(query):
        assert name in labels
        assert set(matched) <= labels[name] | OF_PROMETHEUS, name
        known |= labels[name]
    grouped = {label.strip() for group in re.findall(r"(?:by|on) \(([^)]*)\)", query) for label in group.split(",")}
    assert grouped <= known
    assert any(selectors(query))


def test_the_page_of_metrics_has_all_of_them_with_their_labels(seen: Seen, labels: dict[str, set[str]]) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(gateway_\w+)` \| ([^|]*)\|", page, re.MULTILINE)
    told = {name: re.findall(r"`(\w+)`", cell) for name, cell in rows}
    names = set(re.findall(r"^# TYPE (gateway_\w+(?<!_created)) ", seen.text, re.MULTILINE))
    assert told.keys() == names | WITH_A_FLAG
    assert all(named == sorted(named) for named in told.values())
    for sample, shown in labels.items():
        name = re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", sample)
        if name in told and not sample.endswith(("_count", "_sum")):
            assert set(told[name]) == shown - {"le"}, name
    assert len(labels.keys() & told.keys()) > 25


def test_promtool_has_nothing_against_the_metrics(seen: Seen, promtool: str) -> None:
    run(promtool, "check", "metrics", given=seen.text)


def test_promtool_takes_the_alerts_and_their_tests_pass(promtool: str) -> None:
    run(promtool, "check", "rules", str(ALERTS))
    run(promtool, "test", "rules", "alerts.test.yaml", folder=ALERTS.parent)


def test_a_real_prometheus_has_data_for_each_query_of_the_dashboard(seen: Seen, promtool: str) -> None:
    assert seen.empty == []


def test_a_real_prometheus_keeps_the_traces(seen: Seen, promtool: str) -> None:
    found = {exemplar["labels"]["trace_id"] for series in seen.exemplars for exemplar in series["exemplars"]}
    assert found == {TRACE_ID}


def test_a_real_prometheus_evaluates_each_alert(seen: Seen, promtool: str) -> None:
    assert {rule["name"]: rule["health"] for rule in seen.rules} == {rule["alert"]: "ok" for rule in alerts()}
    begun = {rule["name"] for rule in seen.rules if rule["state"] != "inactive"}
    assert {"GatewayAliasDown", "GatewayTargetResting", "GatewayKeyResting", "GatewayReloadRefused"} <= begun


def test_each_alert_says_what_to_do_and_where_to_read_on() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    tests = ALERTS.with_name("alerts.test.yaml").read_text("utf-8")
    for rule in alerts():
        assert rule["for"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert ": " in rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/metrics.md#{rule['alert'].lower()}"
        assert f"\n### {rule['alert']}\n" in page
        assert f"alertname: {rule['alert']}\n" in tests


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_each_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert queries(panel)
    for target in panel["targets"]:
        assert re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_lie_side_by_side_in_rows() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]
    assert DASHBOARD["panels"][0]["type"] == "row"
    assert sum(panel["type"] == "row" for panel in DASHBOARD["panels"]) == 11
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_the_data_source_is_chosen_and_variables_are_used() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "instance", "alias", "target"]
    uids = set(re.findall(r'"uid": "([^"]*)"', json.dumps(DASHBOARD["panels"] + DASHBOARD["templating"]["list"])))
    assert uids == {"${datasource}"}
    assert all("$instance" in query for query in DASHBOARD_QUERIES)
    used = " ".join(DASHBOARD_QUERIES)
    assert "$alias" in used
    assert "$target" in used


def test_the_variables_ask_for_labels_that_are_there(labels: dict[str, set[str]]) -> None:
    asked = [each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    for query in asked:
        found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", query)
        assert found
        assert found[2] in labels[found[1]] | OF_PROMETHEUS
