"""What operators see of limits: `/-/state`, the page, `/-/explain`, metrics, and `gateway top`."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.limits.store import Fill, bucket
from gateway.policy.limits import Limit
from gateway.reports.problems import PLAIN
from gateway.reports.top import MAX_LIMITS, top_lines
from gateway.server.live import fills
from gateway.server.live.fills import MAX_FILLS, Fills, ServedLimits, fullest, joined_fills, owner_of
from gateway.server.live.part import Part
from tests.compiling import table
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start

ROUTES = """\
version: 1
defaults: {retries: 0}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
clients:
  default: {limits: [2 requests/minute, 1M tokens/day]}
  search:
    models: [fast]
    limits: [4 requests/minute, {tokens: 40, per: day, then: {alias: small}}]
    share: true
models:
  fast: up/a
  small: mock/echo
"""
KEYS = "ann ann-key\ncat cat-key group=search\nops ops-key admin\n"
OPS = {"authorization": "Bearer ops-key"}


@pytest.fixture
async def limited(start: Start, tmp_path: Path, upstream: ScriptedOpenAI) -> RunningGateway:
    (tmp_path / "keys").write_text(KEYS)
    usage = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}
    upstream.script("a", usage=usage)
    gateway: RunningGateway = await start(ROUTES, client_keys_file=tmp_path / "keys")
    return gateway


async def chat(gateway: RunningGateway, client: str, model: str = "fast") -> int:
    answer = await gateway.chat(model, headers={"authorization": f"Bearer {client}-key"}, max_tokens=10)
    return answer.status


async def state(gateway: RunningGateway) -> Any:
    return (await gateway.get("/-/state", headers=OPS)).json


async def explained(gateway: RunningGateway, query: str) -> Any:
    answer = await gateway.get(f"/-/explain?{query}", headers=OPS)
    assert answer.status == 200
    return answer.json


async def test_the_state_tells_the_fullest_limits_first_and_until_when(limited: RunningGateway) -> None:
    assert (await state(limited))["limits"] == []
    assert [await chat(limited, name) for name in ("cat", "ann", "ann", "ann")] == [200, 200, 200, 429]
    told = await state(limited)
    first, second, *others = told["limits"]
    assert (first["owner"], first["name"], first["limit"]) == ("group", "search", "40 tokens/day")
    assert (first["used"], first["amount"], first["share"], first["reservations"]) == (50, 40, 1.25, 0)
    midnight = datetime.fromisoformat(first["free_at"])
    assert (midnight.hour, midnight.minute, midnight.second, midnight.microsecond) == (0, 0, 0, 0)
    assert (second["owner"], second["name"], second["limit"]) == ("client", "ann", "2 requests/minute")
    assert 1.5 < second["used"] <= 2
    assert 0 < datetime.fromisoformat(second["free_at"]).timestamp() - time.time() <= 61
    assert [one["limit"] for one in others] == ["4 requests/minute", "1M tokens/day"]
    assert told["limits_not_listed"] == 0


async def test_the_page_shows_limits_once_some_are_in_use(limited: RunningGateway) -> None:
    async def page() -> str:
        return (await limited.get("/-/", headers=OPS)).body.decode()

    assert "Limits in use" not in await page()
    await chat(limited, "cat")
    shown = await page()
    assert "Limits in use" in shown
    [cells] = re.findall(r"<b>group search</b></td>(.*?40 tokens/day.*?)</tr>", shown)
    assert "50 of 40, 125%" in cells
    assert 'class="bad"' in cells
    assert 'data-show="free">at 0' in cells or 'data-show="free">at 2' in cells


async def test_explain_tells_what_a_request_would_get_now_and_takes_nothing(limited: RunningGateway) -> None:
    fresh = (await explained(limited, "model=fast&client=ann"))["client"]
    assert (fresh["group"], fresh["refused"]) == ("default", None)
    assert [(one["takes"], one["used"]) for one in fresh["limits"]] == [(1, 0), (1000, 0)]
    assert (await state(limited))["limits"] == []
    for _ in range(2):
        assert await chat(limited, "ann") == 200
    full = await explained(limited, "model=fast&client=ann")
    refused = full["client"]["refused"]
    assert (refused["status"], refused["code"], refused["limit"]) == (429, "limited", "2 requests/minute")
    assert 0 < refused["retry_after_s"] <= 30
    assert (full["walk"]["status"], full["walk"]["error"], full["walk"]["calls"]) == (429, "limited", [])
    assert round(full["client"]["limits"][0]["used"]) == 2
    metrics = (await limited.get("/metrics")).body.decode()
    assert 'gateway_limited_total{group="default"' not in metrics


async def test_explain_follows_a_budget_that_is_used_up(limited: RunningGateway) -> None:
    assert await chat(limited, "cat") == 200
    told = await explained(limited, "model=fast&client=cat")
    assert told["client"]["sent_on"] == "40 tokens/day"
    assert told["walk"]["answered"] == "mock/echo"
    other = await explained(limited, "model=small&client=eve&group=search")
    assert other["client"]["refused"]["code"] == "model_not_allowed"
    unknown = await explained(limited, "model=small&group=gone")
    assert (unknown["client"]["refused"]["code"], unknown["walk"]["status"]) == ("unknown_group", 403)


async def test_metrics_count_refusals_by_limit_and_tell_how_full_limits_are(limited: RunningGateway) -> None:
    before = (await limited.get("/metrics")).body.decode()
    assert 'gateway_limit_used_ratio{limit="40 tokens/day",name="search",owner="group"} 0.0' in before
    for name in ("ann", "ann", "ann", "cat", "cat"):
        await chat(limited, name)
    text = (await limited.get("/metrics")).body.decode()
    assert 'gateway_limited_total{group="default",limit="2 requests/minute",outcome="refused"} 1.0' in text
    assert 'gateway_limited_total{group="search",limit="40 tokens/day",outcome="sent_on"} 1.0' in text
    assert 'gateway_limit_used_ratio{limit="40 tokens/day",name="search",owner="group"} 1.25' in text
    [ratio] = re.findall(r'gateway_limit_used_ratio{limit="2 requests/minute",name="",owner="client"} (\S+)', text)
    assert 0.9 < float(ratio) <= 1
    assert "ann" not in text


async def test_the_last_requests_name_the_limit_that_they_met(limited: RunningGateway) -> None:
    for name in ("ann", "ann", "ann", "cat", "cat"):
        await chat(limited, name)
    told = (await limited.get("/-/requests", headers=OPS)).json
    assert [one.get("limited") for one in told["requests"]] == [None, None, "2 requests/minute", None, "40 tokens/day"]
    shown = (await limited.get("/-/", headers=OPS)).body.decode()
    assert '<div class="bad">the limit of 2 requests/minute is full</div>' in shown
    assert '<div class="warn">sent on: the limit of 40 tokens/day is full</div>' in shown
    text = "\n".join(top_lines(await state(limited), told, PLAIN, url="http://gw", now=time.time()))
    assert re.search(r"429 limited .* ann +the limit of 2 requests/minute is full\n", text)
    assert re.search(r"mock/echo ok \S+, sent on: 40 tokens/day is full\n", text)


async def test_top_has_a_row_for_each_of_the_fullest_limits(limited: RunningGateway) -> None:
    for name in ("ann", "cat"):
        await chat(limited, name)
    told = await state(limited)
    requests = (await limited.get("/-/requests", headers=OPS)).json
    text = "\n".join(top_lines(told, requests, PLAIN, url="http://gw", now=time.time()))
    assert "limits, fullest first" in text
    assert re.search(r"group search +40 tokens/day +50 of 40 +125% +0 +\d", text)
    told["limits"] *= 4
    text = "\n".join(top_lines(told, requests, PLAIN, url="http://gw", now=time.time()))
    assert f"limits, fullest first ({MAX_LIMITS} of 16)" in text


async def test_an_edited_limit_is_shown_as_the_file_has_it_before_anybody_asks_again(
    limited: RunningGateway,
) -> None:
    for name in ("ann", "cat"):
        await chat(limited, name)
    edited = limited.config.read_text().replace("tokens: 40", "tokens: 100").replace("[4 requests/minute, ", "[")
    limited.config.write_text(edited.replace("2 requests/minute", "8 requests/minute"))
    assert (await limited.request("POST", "/-/reload", headers=OPS)).status == 200
    rows = {(one["name"], one["limit"]): one["share"] for one in (await state(limited))["limits"]}
    assert rows.keys() == {("ann", "8 requests/minute"), ("ann", "1M tokens/day"), ("search", "100 tokens/day")}
    assert rows["search", "100 tokens/day"] == 0.5
    metrics = (await limited.get("/metrics")).body.decode()
    assert 'gateway_limit_used_ratio{limit="100 tokens/day",name="search",owner="group"} 0.5' in metrics
    assert "40 tokens/day" not in metrics
    assert '"4 requests/minute"' not in metrics


def fill(name: str, used: float, amount: float = 100.0) -> Fill:
    limit = Limit(unit="requests", amount=amount, per="hour", text=f"{amount:g} requests/hour")
    return Fill(bucket("client", name, limit).key, amount, used, 1.0, 0)


class Looked:
    """A store with very many buckets in use."""

    def __init__(self, number: int) -> None:
        self.number = number

    def look(self) -> Any:
        return (fill(f"c{place}", place % 1000 + 1, 1000.0) for place in range(self.number))


async def test_of_very_many_limits_the_fullest_are_told_and_the_rest_is_counted() -> None:
    limits = ServedLimits(table("clients: {default: {limits: [1k requests/hour]}}\nmodels: {a: mock/a}\n"))
    found = await fullest(Looked(5 * fills.AT_ONCE + 7), limits)  # type: ignore[arg-type]  # nothing else is asked
    assert (len(found.rows), found.number) == (MAX_FILLS, 5 * fills.AT_ONCE + 7)
    assert [one.used for one in found.rows[:2]] == [1000, 999]
    assert found.rows[-1].used > 800


def test_workers_are_joined_by_the_fullest_of_each_bucket() -> None:
    parts = [Fills([fill("ann", 10), fill("bob", 90)], 2), Fills([fill("ann", 30)], 7)]
    found = joined_fills(parts)
    assert [(owner_of(one).name, one.used) for one in found.rows] == [("bob", 90), ("ann", 30)]
    assert found.number == 7


def test_a_worker_tells_its_limits_over_the_channel() -> None:
    part = Part(
        worker=1, requests=0, in_flight=0, waiting_for=(), is_draining=False, counted_since=0.0, busy={}, minute={},
        quarter={}, failures={}, fills=Fills([fill("ann", 10)], 3),
    )  # fmt: skip
    assert Part.heard(part.told()) == part


@pytest.mark.parametrize(
    ("key", "amount", "owner"),
    [
        ("client/ann tokens/day", 5e6, ("client", "ann", "5M tokens/day")),
        ("client/ requests/minute", 60, ("client", "", "60 requests/minute")),
        ("group/search spend/month", 0.5, ("group", "search", "$0.5/month")),
        ("provider/openai concurrent", 20, ("provider", "openai", "20 concurrent")),
    ],
)
def test_a_bucket_is_told_as_the_file_has_it(key: str, amount: float, owner: tuple[str, str, str]) -> None:
    assert owner_of(Fill(key, amount, 1.0, None, 0)) == owner
