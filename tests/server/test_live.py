"""What operators look at: `/-/state`, `/-/requests`, and the page without JavaScript."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.server.live import recent, watching
from gateway.server.live.state import MAX_ROWS
from tests.gateway_process import gateway_process
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Answer, RunningGateway, Start, save, until

BAD = "version: 1\nmodels:\n  fast: openai\n"
HOSTILE = """\
version: 1
defaults: {retries: 0}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream-secret}
models:
  "<script>alert(1)</script>": up/a
  '"onmouseover="x': {description: "<img src=x onerror=alert(2)> {{truth}}", chain: [up/<b>]}
  "{{requests}}": up/c
"""


async def state(gateway: RunningGateway) -> Any:
    answer = await gateway.get("/-/state")
    assert answer.status == 200
    return answer.json


async def requests(gateway: RunningGateway, query: str = "") -> Any:
    answer = await gateway.get(f"/-/requests{query}")
    assert answer.status == 200
    return answer.json


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_state_tells_what_runs_and_what_each_alias_would_take(gateway: RunningGateway) -> None:
    told = await state(gateway)
    assert (told["state"], told["in_flight"], told["last_request"], told["workers"]) == ("ready", 0, 0, None)
    config = told["config"]
    assert (config["generation"], config["in_sync"], config["refused"], config["aliases"]) == (1, True, None, 4)
    assert {one["alias"]: one["now"] for one in told["aliases"]} == {
        "fast": "up/a", "pair": "up/a", "echo": "mock/echo", "team/*": "up/*",
    }  # fmt: skip
    by_name = {one["target"]: one for one in told["targets"]}
    assert by_name["up/a"]["aliases"] == ["fast", "pair"]
    assert by_name["up/a"]["last_minute"]["success_share"] is None
    assert told["reloads"][0]["result"] == "loaded"
    assert "sk-upstream" not in str(told)


async def test_a_target_at_rest_comes_first_with_the_end_of_its_rest(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503)
    for _ in range(3):
        await gateway.chat("pair")
    told = await state(gateway)
    worst = told["targets"][0]
    assert (worst["target"], worst["state"]) == ("up/a", "cooldown")
    assert 5 < at(worst["rest_ends_at"]) - time.time() <= 15
    assert (worst["last_failure"]["kind"], worst["last_failure"]["status"]) == ("overloaded", 503)
    assert worst["last_minute"] == {
        "calls": 3, "failed": 3, "success_share": 0.0, "first_content_ms": {"p50": None, "p95": None},
    }  # fmt: skip
    pair = next(one for one in told["aliases"] if one["alias"] == "pair")
    assert pair["now"] == "up/b"
    assert [step["state"] for step in pair["chain"]] == ["cooldown", "ok"]
    assert pair["last_quarter"] == {"requests": 3, "fell_over": 3}
    answered = next(one for one in told["targets"] if one["target"] == "up/b")
    assert answered["last_minute"]["success_share"] == 1.0
    assert answered["last_minute"]["first_content_ms"]["p95"] >= 0


POOLS = """\
version: 1
models:
  spread: [{pool: {mock/a: 3, mock/b: 1}}]
  long: [{target: mock/long, when: {tokens: "> 100k"}}, mock/short]
  never: [{target: mock/x, when: {stream: true}}]
"""


async def test_pools_have_shares_and_steps_whose_condition_an_empty_request_misses_are_told(start: Start) -> None:
    gateway = await start(POOLS)
    told = {one["alias"]: one for one in (await state(gateway))["aliases"]}
    assert told["spread"]["shares"] == {"mock/a": 0.75, "mock/b": 0.25}
    assert told["spread"]["now"] in {"mock/a", "mock/b"}
    assert [(step["target"], step["state"]) for step in told["long"]["chain"]] == [
        ("mock/long", "condition"), ("mock/short", "ok"),
    ]  # fmt: skip
    assert (told["long"]["now"], told["never"]["now"]) == ("mock/short", None)


KEYS = """\
version: 1
defaults: {retries: 0, cooldown: {for: 10m}}
providers: {up: {kind: openai, base_url: "BASE_URL", api_key: [sk-first-0123456789, sk-second-0123456789]}}
models: {fast: up/m}
"""


async def test_of_several_keys_those_at_rest_are_told_with_the_end_of_each(
    start: Start, upstream: ScriptedOpenAI
) -> None:
    gateway = await start(KEYS)
    upstream.script_key("sk-first-0123456789", status=429, retry_after=120)
    assert (await gateway.chat("fast")).status == 200
    [target] = (await state(gateway))["targets"]
    assert target["state"] == "ok"
    assert [key["state"] for key in target["keys"]] == ["cooldown", "ok"]
    page = (await gateway.get("/-/")).body.decode()
    assert "1 of 2 keys at rest" in page
    assert f'key {target["keys"][0]["key"]} <time datetime="{target["keys"][0]["rest_ends_at"][:16]}' in page
    assert "sk-first" not in page


async def test_a_refused_edit_is_told_in_the_words_of_validate(gateway: RunningGateway) -> None:
    save(gateway.config, BAD)
    await gateway.request("POST", "/-/reload")
    config = (await state(gateway))["config"]
    assert config["in_sync"] is False
    assert config["refused"]["text"].startswith(f"{gateway.config}:3:9: no-provider: models.fast")
    assert config["refused"]["text"].splitlines()[1:3] == ["  3 |   fast: openai", "    |         ^"]


async def unchanged_tag(gateway: RunningGateway) -> str:
    """Return an ETag that a second question confirms: not one at the end of a slot of ten seconds."""

    async def twice() -> str | None:
        tag = (await gateway.get("/-/state")).headers["etag"]
        return tag if (await gateway.get("/-/state", headers={"if-none-match": tag})).status == 304 else None

    tag: str = await until(twice)
    return tag


async def test_the_etag_changes_with_events_and_not_by_being_asked(gateway: RunningGateway) -> None:
    tag = await unchanged_tag(gateway)
    answer = await gateway.get("/-/state", headers={"if-none-match": f'"other", {tag}'})
    assert tag.startswith('W/"')
    if answer.status == 304:
        assert answer.body == b""
        assert "content-length" not in answer.headers
    assert (await gateway.get("/-/state", headers={"if-none-match": "*"})).status == 304
    await gateway.chat("fast")
    after = await gateway.get("/-/state", headers={"if-none-match": tag})
    assert (after.status, after.headers["etag"] != tag) == (200, True)
    tag = await unchanged_tag(gateway)
    save(gateway.config, BAD)
    await gateway.request("POST", "/-/reload")
    assert (await gateway.get("/-/state", headers={"if-none-match": tag})).status == 200
    page = await gateway.get("/-/")
    again = await gateway.get("/-/", headers={"if-none-match": page.headers["etag"]})
    assert again.status in {200, 304}


async def test_requests_have_their_attempts_but_no_prompt_answer_or_key(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=429).script("b", reply="the secret answer")
    await gateway.chat("pair", user="the secret user", headers={"x-request-id": "req-1"})
    told = await requests(gateway)
    assert told["last"] == 1
    [one] = told["requests"]
    assert (one["n"], one["alias"], one["target"], one["status"]) == (1, "pair", "up/b", 200)
    assert (one["request_id"], one["broken"], one["stream"]) == ("req-1", False, False)
    kinds = [(each["target"], each["kind"], each["status"]) for each in one["attempts"]]
    assert kinds == [("up/a", "rate_limit", 429), ("up/b", None, 200)]
    first, second = one["attempts"]
    assert first["start_ms"] + first["ms"] <= second["start_ms"] + 1
    assert abs(at(one["at"]) - time.time()) < 60
    text = str(told)
    assert not any(word in text for word in ("hello", "the secret", "sk-upstream"))
    assert (await requests(gateway))["last"] == 1  # looking is no request


async def test_a_stream_that_broke_after_its_begin_is_marked(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", reply="hello", cut_after=1)
    with pytest.raises(aiohttp.ClientError):
        await gateway.chat("fast", stream=True)
    told: Any = await until(lambda: requests(gateway, "?after=0"))
    [one] = told["requests"]
    assert (one["broken"], one["stream"], one["error"] is not None) == (True, True, True)
    target = next(each for each in (await state(gateway))["targets"] if each["target"] == "up/a")
    assert target["last_failure"]["kind"] == one["attempts"][-1]["kind"]
    assert (target["last_minute"]["failed"], target["last_minute"]["success_share"]) == (1, 0.0)


async def test_one_who_waits_hears_of_the_next_request_at_once(gateway: RunningGateway) -> None:
    await gateway.chat("fast")
    waiting = asyncio.ensure_future(gateway.get("/-/requests?after=1"))  # noqa: TID251 - a client beside the test
    await until(lambda: gateway.parts.watching.recent.waiting)
    for path in ("/-/requests", "/-/state", "/healthz"):
        await gateway.get(path)
    assert not waiting.done()
    await gateway.chat("echo")
    answer: Answer = await waiting
    assert [(one["n"], one["alias"]) for one in answer.json["requests"]] == [(2, "echo")]


async def test_only_the_last_requests_are_kept_and_a_number_of_another_process_gets_all(
    gateway: RunningGateway,
) -> None:
    await requests(gateway)
    for _ in range(recent.KEPT + 3):
        await gateway.chat("echo")
    told = await requests(gateway, "?after=1")
    assert [told["requests"][0]["n"], told["requests"][-1]["n"]] == [4, recent.KEPT + 3]
    assert len((await requests(gateway, "?after=99999"))["requests"]) == recent.KEPT
    assert [one["n"] for one in (await requests(gateway, f"?after={recent.KEPT + 2}"))["requests"]] == [recent.KEPT + 3]


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣", "1" * 19])
async def test_a_number_that_is_none_is_a_400(gateway: RunningGateway, text: str) -> None:
    answer = await gateway.get("/-/requests", params={"after": text})
    assert (answer.status, answer.error["param"]) == (400, "after")


async def test_requests_come_as_events_too_and_go_on_after_the_last_one(gateway: RunningGateway) -> None:
    for _ in range(2):
        await gateway.chat("echo")
    fields = {"accept": "text/event-stream", "last-event-id": "1"}
    async with gateway.session.get(f"{gateway.url}/-/requests", headers=fields) as response:
        assert response.content_type == "text/event-stream"
        events: list[Any] = []

        async def read() -> None:
            async for line in response.content:
                if line.startswith(b"data: "):
                    events.append(orjson.loads(line[6:]))
                    return

        await read()
        await gateway.chat("fast")
        await read()
    assert [(one["n"], one["alias"]) for one in events] == [(2, "echo"), (3, "fast")]
    await until(lambda: not gateway.parts.watching.recent.waiting or None)


async def test_who_waits_beyond_the_bound_is_answered_at_once(gateway: RunningGateway) -> None:
    kept = gateway.parts.watching.recent
    kept.waiting |= {asyncio.get_running_loop().create_future() for _ in range(recent.MAX_WAITING)}
    assert (await requests(gateway, "?after=0"))["requests"] == []


async def test_nothing_is_counted_until_somebody_looks_and_the_last_requests_then_are(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.chat("fast")
    watched = gateway.parts.watching
    assert not watched.is_counting
    told = await state(gateway)
    assert watched.is_counting
    assert next(one for one in told["targets"] if one["target"] == "up/a")["last_minute"]["calls"] == 1
    monkeypatch.setattr(watching, "UNWATCHED_S", -1.0)
    monkeypatch.setattr("gateway.server.live.counts.SLOT_S", 1)
    watched.look()._turn(time.time())
    assert not watched.is_counting


async def test_pages_of_other_sites_are_refused(gateway: RunningGateway) -> None:
    for path in ("/-/state", "/-/requests"):
        assert (await gateway.get(path, headers={"sec-fetch-site": "cross-site"})).status == 403
        assert (await gateway.get(path, headers={"sec-fetch-site": "same-origin"})).status == 200
    assert (await gateway.get("/-/", headers={"origin": "https://evil.example"})).status == 403
    assert (await gateway.get("/-/", headers={"x-forwarded-for": "10.0.0.1"})).status == 403
    assert (await gateway.request("POST", "/-/state")).status == 405


async def test_the_page_has_all_without_javascript(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=503)
    for _ in range(4):
        await gateway.chat("pair")
    await gateway.chat("nobody")
    save(gateway.config, BAD)
    await gateway.request("POST", "/-/reload")
    answer = await gateway.get("/-/")
    page = answer.body.decode()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for text in (
        "the last edit was refused", "no-provider: models.fast", "generation <b>1</b>",
        "✕ at rest", "until ", "passed over: cooldown", "overloaded 503", "model_not_found", "✕ refused", "<svg ",
    ):  # fmt: skip
        assert text in page
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert not re.search(r"<[^>]* (?:style|on\w+)=", page)


async def test_names_and_texts_of_others_are_escaped(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(HOSTILE)
    upstream.script("a", status=500)
    for name in ("<script>alert(1)</script>", '"onmouseover="x', "{{requests}}", "<i>nobody</i>"):
        await gateway.chat(name, headers={"x-request-id": "id-<u>-'\""})
    await gateway.get("/<h1>/x")
    save(gateway.config, HOSTILE + '  "<s>": [<s>]\n')
    await gateway.request("POST", "/-/reload")
    page = (await gateway.get("/-/")).body.decode()
    body = page[page.index("<body") : page.index("<script>\n")]
    for tag in ("<script>", "<img", "<b>&", "<i>", "<u>", "<h1>/", "<s>"):
        assert tag not in body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "{{requests}}" in body
    assert 'data-alias="&quot;onmouseover=&quot;x"' in body


async def test_an_admin_port_has_them_and_the_other_listener_not(start: Start) -> None:
    gateway = await start(admin_port=0)
    assert (await gateway.get("/-/")).status == 404


@pytest.mark.parametrize("fields", [{}, {"accept": "text/event-stream"}], ids=["poll", "events"])
async def test_a_stop_does_not_wait_for_those_who_watch(tmp_path: Path, fields: dict[str, str]) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text("version: 1\nmodels: {echo: mock/echo}\n")
    async with gateway_process(config, log=tmp_path / "log") as gateway, aiohttp.ClientSession() as session:

        async def watch() -> None:
            with suppress(aiohttp.ClientError):
                async with session.get(f"{gateway.url}/-/requests?after=0", headers=fields) as response:
                    await response.read()

        watching_it = asyncio.ensure_future(watch())  # noqa: TID251 - a client beside the test

        async def is_watched() -> bool:
            async with session.get(f"{gateway.url}/-/state") as response:
                return bool(response.status == 200)

        await until(is_watched)
        gateway.process.terminate()
        began_s = time.monotonic()
        await gateway.process.wait()
        assert time.monotonic() - began_s < 5
        await watching_it


async def test_very_many_aliases_are_counted_beyond_the_bound(start: Start) -> None:
    names = "".join(f"  a{number}: mock/m{number}\n" for number in range(MAX_ROWS + 7))
    gateway = await start(f"version: 1\nmodels:\n{names}")
    told = await state(gateway)
    assert (len(told["targets"]), told["targets_not_listed"]) == (MAX_ROWS, 7)
    assert (len(told["aliases"]), told["aliases_not_listed"], told["config"]["aliases"]) == (MAX_ROWS, 7, MAX_ROWS + 7)
    assert "and 7 aliases more" in (await gateway.get("/-/")).body.decode()
