"""The benchmark measures what it says: real runs with small counts. No figure is judged here."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.bench import __main__ as command
from tests.bench import cache, limits, measures, own, peers, picks, tables, vendors, wires
from tests.bench.figures import Run, load, save
from tests.bench.lab import Settings
from tests.bench.load import Request, Wrk, read_streams
from tests.bench.messages import EVENTS, LAST, TEXT, answer, event, question
from tests.bench.processes import Cores

needs_tools = pytest.mark.skipif(
    shutil.which("wrk") is None or shutil.which("nginx") is None, reason="wrk or nginx is not installed"
)
pytestmark = pytest.mark.timeout(60)

TINY: Final = Settings(
    rounds=1,
    seconds=0.1,
    warm_up_s=0.1,
    connections=(1, 32),
    slow_streams=5,
    slow_every_s=0.005,
    alias_counts=(3,),
    wildcards=2,
    reloaded_aliases=3,
    streams_of_each=64,
    stamped_streams=5,
    sizes=("1 KB",),
    peers=(peers.NGINX, peers.RELAY, peers.GATEWAY),
)
CORES: Final = Cores.split()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Upstreams]:
    with peers.upstreams(tmp_path_factory.mktemp("bench"), CORES) as upstreams:
        yield upstreams


def body(request: Request) -> bytes:
    parts = urlsplit(request.url)
    assert parts.hostname
    headers = {"content-type": "application/json", **request.headers}
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)) as connection:
        connection.request("POST", parts.path, request.bodies[0], headers)
        return connection.getresponse().read()


@pytest.mark.parametrize("builder", [peers.direct, peers.relay, peers.gateway])
def test_bytes_pass_unchanged(builder: peers.Builder, up: peers.Upstreams, tmp_path: Path) -> None:
    peer = builder(tmp_path, up)
    assert peer is not None
    with peer.running(CORES):
        assert body(peer.request("sized")) == answer()
        assert body(peer.request("sized", length=100_000)) == answer(100_000)
        assert body(peer.request("stream")) == event("because ") * EVENTS + LAST
        read = read_streams(peer.request("stream"), connections=2, seconds=0.1, cores=CORES.rest)
        assert (read.broken, read.streams >= 2, len(read.first_ms)) == (0, True, read.streams)


def test_questions_and_answers_are_as_long_as_they_should_be() -> None:
    for length in (1_000, 100_000):
        assert length <= len(question("sized", length=length)) <= length + 8
        assert 0.9 * length < len(answer(length)) < 1.1 * length
    assert json.loads(question("m", stream=True))["stream"] is True


@pytest.mark.parametrize("path", ["messages", "responses"])
def test_streams_of_a_wire_have_a_chat_stream_of_as_many_events_and_bytes_beside(path: str) -> None:
    stream = wires.spoken_at(f"/v1/{path}".encode()).stream()
    chat = wires.spoken_at(f"/like-{path}/v1/chat/completions".encode()).stream()
    assert (len(chat), chat.count(b"\n\n")) == (len(stream), stream.count(b"\n\n"))


@pytest.mark.parametrize("vendor", vendors.VENDORS, ids=lambda vendor: vendor.name)
def test_targets_of_vendors_are_answered_on_their_wire(
    vendor: vendors.Vendor, up: peers.Upstreams, tmp_path: Path
) -> None:
    peer = peers.gateway(tmp_path, up, routes=vendors.routes_yaml(up, [vendor]))
    with peer.running(CORES):
        assert json.loads(body(peer.request("sized", models=["relayed-sized"])))["id"] == "chatcmpl-bench"
        answered = json.loads(body(peer.request("sized", models=[f"{vendor.name}-sized"])))
        assert answered["choices"][0]["message"]["content"] == TEXT
        asked = peer.request("stream", models=[f"{vendor.name}-stream"])
        read = read_streams(asked, connections=2, seconds=0, cores=CORES.rest)
        assert (read.broken, read.streams) == (0, 2)
        assert body(asked).count(wires.WORD.encode()) == EVENTS


@needs_tools
def test_a_load_may_end_after_some_answers(up: peers.Upstreams, tmp_path: Path) -> None:
    request = peers.direct(tmp_path, up).request("sized")
    counted = Wrk(request, connections=2, seconds=30, cores=CORES.rest, answers=50).result()
    assert counted.requests >= 50
    assert counted.seconds < 30


@needs_tools
def test_requests_are_measured_of_every_peer_and_the_tables_show_them(tmp_path: Path) -> None:
    run = command.measure(TINY, ["requests"])
    names = {peers.NGINX, peers.RELAY, peers.GATEWAY}
    assert {figure.peer for figure in run.figures if figure.measure == "requests"} == {peers.DIRECT, *names}
    assert {figure.peer for figure in run.figures if figure.measure == "memory"} == names
    assert all(value > 0 for figure in run.figures for value in figure.rounds if figure.unit not in ("µs", "%"))
    save(run, tmp_path / "run.json")
    assert tables.report(load(tmp_path / "run.json")) == tables.report(run)
    assert "| requests/s ÷ nginx | ≥ 0.25 | " in tables.report(run)


@needs_tools
@pytest.mark.parametrize(
    ("measure", "name", "case", "peer"),
    [
        ("streams", "streams", "first event p99, ms", peers.GATEWAY),
        ("slow-streams", "slow streams", "event late by p99, ms", peers.GATEWAY),
        ("bodies", "bodies", "1 KB, /s", peers.GATEWAY),
        ("hooks", "hooks", "streams, /s", "a pre and a post hook"),
        ("aliases", "aliases", "memory, MB", "2 wildcards"),
        ("reload", "reload", "p99, ms", own.RELOADING),
        ("vendors", "vendors", vendors.LATE_BUSY, "gateway, Gemini target"),
        ("wires", "wires", measures.CPU_OF_STREAM, vendors.LIKE_RESPONSES),
        ("picks", "picks", picks.STICKY_BY_PROMPT, peers.GATEWAY),
        ("limits", "limits", limits.FOUR, peers.GATEWAY),
        ("cache", "cache", measures.CPU_OF_STREAM, cache.HIT),
    ],
)
def test_measures_yield_their_figures(measure: str, name: str, case: str, peer: str) -> None:
    run = command.measure(replace(TINY, peers=(peers.GATEWAY,)), [measure])
    assert run.value(name, case, peer), run.notes
    assert f"**{name}**" in tables.report(run)


@needs_tools
def test_a_peer_that_does_not_start_is_left_out_and_the_reader_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway/__init__.py").write_text("")
    settings = replace(TINY, peers=(peers.RELAY,), connections=(2,), beside=(tmp_path,))
    run = command.measure(settings, ["requests"])
    assert f"gateway of {tmp_path} is left out" in run.notes[0]
    assert run.value("requests", "2 connections, /s", peers.RELAY)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--measure", "speed"], "'speed' is none of requests, "),
        (["--peers", "gateway,apache"], "'apache' is none of nginx, "),
        (["--rounds", "0"], "'0' is no whole number above zero"),
        (["--beside", "/nowhere"], "'/nowhere' is no checkout of this repository"),
        (["--table", "/nowhere"], "/nowhere is no saved run"),
        (["--table", __file__], "is no saved run"),
    ],
)
def test_odd_arguments_are_refused(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(arguments) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("others_percent", "verdict"),
    [(0.0, "| 2 (by CPU time 1.5) | met |"), (40.0, "| 2 (by CPU time 1.5) | **missed** |")],
)
def test_cpu_time_is_judged_when_other_work_disturbed_the_rates(others_percent: float, verdict: str) -> None:
    run = Run({"others_percent": others_percent}, {})
    for peer, rate, cpu_us in ((peers.GATEWAY, 2000.0, 100.0), (peers.RELAY, 1000.0, 150.0)):
        run.add("requests", measures.RATE, peer, "/s", [rate])
        run.add("requests", measures.CPU, peer, "µs", [cpu_us])
    run.add("slow streams", "event late by p99, ms", peers.GATEWAY, "ms", [20.0])
    table = tables.expectations(run)
    assert f"| requests/s ÷ aiohttp relay | ≥ 1.7 {verdict}" in table
    assert ("| 20 ms | met |" in table) == (others_percent == 0.0)
    assert ("| 20 ms | not judged: disturbed |" in table) == (others_percent == 40.0)


@needs_tools
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(["--save", "/nowhere/out.json"]) == 2
    assert "cannot write /nowhere/out.json: No such file or directory" in capsys.readouterr().err


def exit_code(arguments: list[str]) -> object:
    try:
        return command.main(arguments)
    except SystemExit as stop:
        return stop.code


def test_a_ratio_is_taken_within_the_rounds() -> None:
    run = Run({}, {})
    run.add("requests", "all", "ours", "/s", [100.0, 10.0, 400.0])
    run.add("requests", "all", "theirs", "/s", [50.0, 5.0, 100.0])
    assert run.ratio("requests", "all", "ours", "theirs") == 2.0
    assert run.value("requests", "all", "ours") == 100.0
    assert run.ratio("requests", "all", "ours", "nobody") is None
