"""The drill of docs/drill.md is played: page, terminal, log and trace answer the four questions as it says.

Each command has the ten seconds that the page gives an answer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.browser import browser as browser
from tests.browser import needs_chromium, opened
from tests.drill import alike, drill, play
from tests.otlp_receiver import FAST, otlp_receiver
from tests.server.conftest import until

pytestmark = pytest.mark.timeout(60)


async def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    """`python -m tests.drill` writes the page anew; read every line of the difference afterwards."""
    async with drill(tmp_path) as run:
        played = [(command, alike(shown), alike(printed)) async for command, shown, printed in play(run)]
    assert len(played) == 7
    for command, shown, printed in played:
        assert shown == printed, command


async def test_the_terminal_answers_each_question(tmp_path: Path) -> None:
    async with drill(tmp_path) as run:
        found = {command: printed async for command, _, printed in play(run, until="gateway status")}
    printed = found["gateway top --once"]
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "the last edit was refused" in lines[0]
    assert lines[2].startswith("drill.yaml:8:10: no-provider: models.draft: ")
    first_target = lines[lines.index("targets, worst first") + 2]
    assert first_target.startswith("main/gpt-5.5 at rest 4m")
    newest, before = lines[lines.index("last requests") + 2 :][:2]
    assert "main/gpt-5.5 passed over: cooldown > backup/claude-sonnet-4-5 ok" in newest
    assert "main/gpt-5.5 overloaded 503 " in before
    assert "> backup/claude-sonnet-4-5 ok " in before


async def test_the_log_answers_each_question(tmp_path: Path) -> None:
    async with drill(tmp_path) as run:
        found = {command: printed async for command, _, printed in play(run) if command.startswith("grep ")}
    request, rest, edit = [orjson.loads(printed) for printed in found.values()]
    assert request["target"] == "backup/claude-sonnet-4-5"
    assert [(each["target"], each["kind"]) for each in request["attempts"]] == [
        ("main/gpt-5.5", "cooldown"), ("backup/claude-sonnet-4-5", None),
    ]  # fmt: skip
    assert (rest["event"], rest["target"], rest["failures"]) == ("a target rests", "main/gpt-5.5", 3)
    assert 299 < rest["for_s"] <= 300
    assert rest["until"] > rest["time"]
    assert edit["event"] == "routes refused"
    assert edit["problems"].startswith("drill.yaml:8:10: no-provider: models.draft: ")


async def test_a_trace_answers_what_a_trace_can(tmp_path: Path) -> None:
    with otlp_receiver() as collector:
        async with drill(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **FAST}) as run:
            async for _ in play(run, until="sed"):
                pass
            await until(lambda: len(collector.trees()) == 4, within_s=10.0)
        trees = sorted(collector.trees(), key=lambda tree: tree[0].start_ns)
    for request, _ in trees:
        assert request.attributes["gateway.target"] == "backup/claude-sonnet-4-5"
        assert request.attributes["gateway.generation"] == 1
        assert request.attributes["gateway.request_id"] in (tmp_path / "gateway.log").read_text()
    for _, calls in trees[:3]:
        told = [(each.attributes["gateway.target"], each.attributes.get("error.type")) for each in calls]
        assert told == [("main/gpt-5.5", "overloaded"), ("backup/claude-sonnet-4-5", None)]
    last, calls = trees[3]
    assert last.attributes["gateway.passed_over"] == ["main/gpt-5.5 cooldown"]
    assert [each.attributes["gateway.target"] for each in calls] == ["backup/claude-sonnet-4-5"]


@needs_chromium
async def test_the_page_answers_each_question_without_a_click_or_scrolling(tmp_path: Path, browser: Any) -> None:
    async with drill(tmp_path) as run:
        async for _ in play(run, until="gateway top"):
            pass
        tab = await opened(browser, run.url, width=1280)
        assert "✕ the last edit was refused" in await tab.text("#truth")
        assert "drill.yaml:8:10: no-provider: models.draft: " in await tab.text("#refused pre")
        assert "Generation 1 of " in await tab.text("#refused")
        down = await tab.text("#targets tbody tr")
        assert down.startswith("main/gpt-5.5")
        assert re.search(r"✕ at rest (?:5 min 0|4 min \d+) s left", " ".join(down.split()))
        rows = await tab.page.locator("#requests tbody tr").all_inner_texts()
        newest, before = [" ".join(row.split()) for row in rows[:2]]
        assert "main/gpt-5.5 passed over: cooldown backup/claude-sonnet-4-5 ✓" in newest
        assert "main/gpt-5.5 overloaded 503 " in before
        assert "backup/claude-sonnet-4-5 ✓" in before
        for answer in ("#refused pre", "#targets tbody tr >> nth=0", "#requests tbody tr >> nth=1"):
            box = await tab.page.locator(answer).bounding_box()
            assert box["y"] + box["height"] <= 900, answer
        assert tab.complaints == []
