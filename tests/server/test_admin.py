"""The operator's endpoints: what runs, how targets do, reload; for this machine only, and without secrets."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import pytest

from tests import written
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, save


def by_rename(path: Path, text: str) -> None:
    fresh = path.with_name(".fresh")
    fresh.write_text(text)
    fresh.replace(path)


BAD = "version: 1\nmodels:\n  fast: openai\n"


async def test_config_tells_what_runs(gateway: RunningGateway) -> None:
    digest = hashlib.sha256(gateway.config.read_bytes()).hexdigest()
    shown = (await gateway.get("/-/config")).json
    assert shown.keys() == {
        "generation", "digest", "source", "loaded_at", "in_sync", "last_good_of", "files", "disk", "last_reload",
        "history", "config",
    }  # fmt: skip
    assert (shown["generation"], shown["digest"], shown["source"]) == (1, digest, str(gateway.config))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["loaded_at"])
    assert shown["disk"] == {"digest": digest, "in_sync": True}
    assert shown["in_sync"] is True
    assert shown["files"] == [{"path": str(gateway.config), "digest": digest, "on_disk": digest}]
    last = shown["last_reload"]
    assert (last["ok"], last["digest"], last["problems"]) == (True, digest, [])
    assert shown["config"]["models"]["fast"] == "up/a"


async def test_config_leaves_the_config_itself_out_on_request(gateway: RunningGateway) -> None:
    shown = (await gateway.get("/-/config")).json
    assert (await gateway.get("/-/config?config=0")).json.keys() == shown.keys() - {"config"}
    assert (await gateway.get("/-/config?config=1")).json.keys() == shown.keys()


async def test_history_tells_each_reload_the_newest_first_and_what_it_changed(gateway: RunningGateway) -> None:
    good = gateway.config.read_text()
    for text in (good.replace("[up/a, up/b]", "[up/b, up/a]"), BAD, good):
        save(gateway.config, text)
        await gateway.request("POST", "/-/reload")
    shown = (await gateway.get("/-/config")).json
    assert [(one["result"], one["generation"], one["changes"], len(one["problems"])) for one in shown["history"]] == [
        ("loaded", 3, ["~ pair: up/b and up/a swap places; up/a is first now"], 0),
        ("refused", 2, [], 1),
        ("loaded", 2, ["~ pair: up/a and up/b swap places; up/b is first now"], 0),
        ("loaded", 1, [], 0),
    ]
    assert shown["history"][1]["problems"][0].startswith(f"{gateway.config}:3:9: no-provider: ")
    assert shown["history"][0]["digest"] == shown["digest"]


async def test_history_is_bounded(gateway: RunningGateway) -> None:
    aliases = "".join(f"  a{number}: mock/m{number}\n" for number in range(60))
    faults = "".join(f"  b{number}: nowhere\n" for number in range(30))
    for number in range(12):
        for text in (f"version: 1\nmodels:\n{aliases}  n: mock/{number}\n", f"version: 1\nmodels:\n{faults}"):
            save(gateway.config, text)
            await gateway.request("POST", "/-/reload")
    history = (await gateway.get("/-/config")).json["history"]
    assert [one["result"] for one in history] == ["refused", "loaded"] * 10
    assert len(history[0]["problems"]) == 21
    assert history[0]["problems"][-1] == "and 10 more"
    gateway.config.write_text(f"version: 1\nmodels:\n{aliases.replace('mock/', 'mock/other-')}")
    changes = (await gateway.request("POST", "/-/reload")).json["changes"]
    assert (len(changes), changes[-1]) == (51, "and 11 lines more")


async def test_reload_acts_only_on_the_text_that_if_match_names(gateway: RunningGateway) -> None:
    digest = (await gateway.get("/-/config")).json["digest"]
    save(gateway.config, "version: 1\nmodels: {new: mock/echo}\n")
    other = "0" * 64
    for field in (f'"{other}"', other, f'"{other}", "{other[:-1]}1"'):
        answer = await gateway.request("POST", "/-/reload", headers={"if-match": field})
        assert (answer.status, answer.error["code"]) == (412, "precondition_failed")
        assert digest in answer.error["message"] or (await gateway.chat("new")).status == 200
    digest = (await gateway.get("/-/config")).json["digest"]
    for field in (f'"{digest}"', digest.upper(), f'"{other}" , "{digest}"', "*"):
        answer = await gateway.request("POST", "/-/reload?dry_run=1", headers={"if-match": field})
        assert answer.status == 200, field


async def test_of_two_reloads_that_expect_the_same_text_one_goes_through(gateway: RunningGateway) -> None:
    digest = (await gateway.get("/-/config")).json["digest"]
    by_rename(gateway.config, "version: 1\nmodels: {new: mock/echo}\n")
    asked = [gateway.request("POST", "/-/reload", headers={"if-match": digest}) for _ in range(4)]
    answers = await asyncio.gather(*asked)
    # None, if the watcher was first.
    assert [answer.status for answer in answers].count(200) <= 1
    assert {answer.status for answer in answers} <= {200, 412}
    assert (await gateway.chat("new")).status == 200


@pytest.mark.parametrize("field", ["", "1", '"', 'W/"' + "0" * 64 + '"', "0" * 65, "é" * 64])
async def test_if_match_takes_digests_only(gateway: RunningGateway, field: str) -> None:
    answer = await gateway.request("POST", "/-/reload", headers={"if-match": field})
    assert (answer.status, answer.error["param"]) == (400, "if-match")


async def test_config_shows_no_secret(start: Start) -> None:
    routes = """\
version: 1
providers:
  up: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: sk-secret, headers: {x-key: h-secret}}
models:
  fast: up/a
"""
    gateway = await start(routes)
    body = (await gateway.get("/-/config")).body + (await gateway.get("/-/targets")).body
    for secret in (b"sk-secret", b"h-secret"):
        assert secret not in body


async def test_targets_tell_health_and_counters(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=503).script("b", reply="fine")
    for _ in range(3):
        await gateway.chat("pair")
    shown = (await gateway.get("/-/targets")).json
    assert shown["generation"] == 1
    by_name = {entry["target"]: entry for entry in shown["targets"]}
    assert by_name.keys() == {"up/a", "up/b", "up/*", "mock/echo"}
    resting = by_name["up/a"]
    assert resting.keys() == {
        "target", "adapter", "base_url", "aliases", "state", "cooldown_ends_in_s", "attempts", "in_flight",
    }  # fmt: skip
    assert (resting["adapter"], resting["base_url"]) == ("relay", upstream.base_url)
    assert resting["aliases"] == ["fast", "pair"]
    assert (resting["state"], resting["attempts"], resting["in_flight"]) == ("cooldown", {"overloaded": 3}, 0)
    assert 0 < resting["cooldown_ends_in_s"] <= 15
    assert (by_name["up/b"]["state"], by_name["up/b"]["cooldown_ends_in_s"]) == ("ok", None)
    assert by_name["up/*"]["aliases"] == ["team/*"]


async def test_reload_swaps_a_good_file_in(gateway: RunningGateway) -> None:
    gateway.config.write_text("version: 1\nmodels: {new: mock/echo}\n")
    answer = await gateway.request("POST", "/-/reload")
    assert answer.status == 200
    assert (answer.json["ok"], answer.json["changed"], answer.json["problems"]) == (True, True, [])
    assert "+ new: new, goes to mock/echo" in answer.json["changes"]
    assert "- fast, pair, echo, team/*: gone, asking for it is a 404 now" in answer.json["changes"]
    assert answer.json["generation"] >= 2
    assert (await gateway.chat("new")).status == 200
    assert (await gateway.chat("fast")).status == 404


async def test_reload_refuses_a_bad_file_with_its_problems_and_the_old_table_stays(gateway: RunningGateway) -> None:
    gateway.config.write_text(BAD)
    answer = await gateway.request("POST", "/-/reload")
    assert answer.status == 422
    assert (answer.json["ok"], answer.json["changed"], answer.json["generation"]) == (False, False, 1)
    assert answer.error["code"] == "config_error"
    [problem] = answer.json["problems"]
    assert problem.keys() == {"line", "column", "code", "path", "message", "severity", "source", "excerpt", "text"}
    assert (problem["line"], problem["code"], problem["severity"]) == (3, "no-provider", "error")
    assert problem["text"].startswith(f"{gateway.config}:3:")
    assert (await gateway.chat("fast")).status == 200
    shown = (await gateway.get("/-/config")).json
    assert (shown["disk"]["in_sync"], shown["last_reload"]["ok"]) == (False, False)
    assert shown["last_reload"]["problems"] == [problem]


@pytest.mark.parametrize(("text", "status"), [(BAD, 422), ("version: 1\nmodels: {new: mock/echo}\n", 200)])
async def test_a_dry_run_changes_nothing(start: Start, text: str, status: int) -> None:
    """What the watcher makes of the file is another matter; that a dry run leaves no trace is a unit test's."""
    gateway = await start()
    gateway.config.write_text(text)
    answer = await gateway.request("POST", "/-/reload?dry_run=1")
    assert (answer.status, answer.json["dry_run"], answer.json["changed"]) == (status, True, False)
    assert bool(answer.json["changes"]) == (status == 200)


async def test_a_file_that_cannot_be_read_is_a_problem_too(gateway: RunningGateway) -> None:
    gateway.config.unlink()
    answer = await gateway.request("POST", "/-/reload")
    assert (answer.status, [problem["line"] for problem in answer.json["problems"]]) == (422, [0])
    assert (await gateway.get("/-/config")).json["disk"] == {"digest": None, "in_sync": False}


async def test_a_dry_run_that_is_neither_yes_nor_no_is_a_400(gateway: RunningGateway) -> None:
    answer = await gateway.request("POST", "/-/reload?dry_run=maybe")
    assert (answer.status, answer.error["param"]) == (400, "dry_run")


@pytest.mark.parametrize("path", ["/-/config", "/-/targets", "/-/reload"])
@pytest.mark.parametrize("header", [{"x-forwarded-for": "10.0.0.1"}, {"forwarded": "for=10.0.0.1"}])
async def test_what_comes_through_a_proxy_is_not_of_this_machine(
    gateway: RunningGateway, path: str, header: dict[str, str]
) -> None:
    answer = await gateway.request("POST" if path == "/-/reload" else "GET", path, headers=header)
    assert (answer.status, answer.error["code"]) == (403, "forbidden")


async def test_explain_tells_the_plan_of_the_running_table(gateway: RunningGateway) -> None:
    answer = await gateway.get("/-/explain?model=pair")
    assert answer.status == 200
    shown = answer.json
    assert (shown["generation"], shown["name"], shown["alias"]) == (1, "pair", "pair")
    assert [step["target"] for step in shown["chain"]] == ["up/a", "up/b"]
    assert (shown["walk"]["answered"], shown["cooldowns"]) == ("up/a", [])
    assert shown["worst_case"]["calls"] >= 2


async def test_explain_knows_the_cooldowns_of_the_moment(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=503).script("b", reply="fine")
    for _ in range(3):
        await gateway.chat("pair")
    shown = (await gateway.get("/-/explain?model=pair")).json
    [resting] = shown["cooldowns"]
    assert (resting["step"], resting["target"]) == (1, "up/a")
    assert 0 < resting["ends_in_s"] <= 15
    assert shown["walk"]["answered"] == "up/b"
    assert shown["walk"]["not_called"] == [{"step": 1, "target": "up/a", "why": "passed over: in cooldown"}]


async def test_explain_counts_the_failures_of_the_moment(start: Start, upstream: ScriptedOpenAI) -> None:
    """Of a target that rests after the requests so far it says so, and what is left until when."""
    routes = """\
version: 1
providers:
  up: {kind: openai, base_url: "%s", cooldown: {failures: 3}}
models:
  once: {chain: [up/a], retries: 0}
  twice: {chain: [up/a, up/b], retries: 1}
"""
    gateway = await start(routes % upstream.base_url)

    async def calls() -> list[tuple[str, str | None]]:
        walk = (await gateway.get("/-/explain?model=twice&fail=up/a=503")).json["walk"]
        return [(call["then"], call["why"]) for call in walk["calls"]]

    assert await calls() == [("retry", None), ("next", "its retry is used up"), ("answers", None)]
    upstream.script("a", status=503)
    for _ in range(2):
        await gateway.chat("once")
    assert len(await calls()) == 3
    await gateway.chat("once")
    assert await calls() == [("answers", None)]
    assert await calls() == [("answers", None)]
    (cooldown,) = (await gateway.get("/-/explain?model=twice")).json["cooldowns"]
    assert (cooldown["step"], cooldown["target"]) == (1, "up/a")
    assert 0 < cooldown["ends_in_s"] <= 15


async def test_a_cooldown_is_ended_by_hand(start: Start, upstream: ScriptedOpenAI) -> None:
    routes = """\
version: 1
providers:
  up: {kind: openai, base_url: "%s", cooldown: {failures: 1}}
models:
  pair: {chain: [up/a, up/b], retries: 0}
"""
    gateway = await start(routes % upstream.base_url)
    upstream.script("a", status=503)
    for _ in range(2):
        assert (await gateway.chat("pair")).status == 200
    assert upstream.calls == ["a", "b", "b"]
    answer = await gateway.request("POST", "/-/targets/reset?target=up/a")
    assert (answer.status, answer.json) == (200, {"target": "up/a", "cooldowns_ended": 1})
    await gateway.chat("pair")
    assert upstream.calls == ["a", "b", "b", "a", "b"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "say whose cooldown to end: /-/targets/reset?target=PROVIDER/MODEL"),
        ("?target=up/z", "no target is named 'up/z'"),
        ("?target=nowhere", "no target is named 'nowhere'"),
    ],
)
async def test_whose_cooldown_to_end_must_be_said_and_known(gateway: RunningGateway, query: str, said: str) -> None:
    answer = await gateway.request("POST", f"/-/targets/reset{query}")
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
    assert said in answer.error["message"]


async def test_a_target_that_was_not_called_has_no_cooldown_to_end(gateway: RunningGateway) -> None:
    answer = await gateway.request("POST", "/-/targets/reset?target=up/a")
    assert (answer.status, answer.json) == (200, {"target": "up/a", "cooldowns_ended": 0})


async def test_explain_of_several_at_once_holds_up_no_request(gateway: RunningGateway) -> None:
    asked = [gateway.get("/-/explain?model=pair&stream=1") for _ in range(8)]
    answers = await asyncio.gather(*asked, gateway.get("/healthz"))
    assert [answer.status for answer in answers] == [200] * 9


async def test_explain_lets_targets_fail_on_request(gateway: RunningGateway) -> None:
    shown = (await gateway.get("/-/explain?model=pair&fail=up/a=rate_limit&fail=up/b=418")).json
    assert [(call["target"], call["kind"]) for call in shown["walk"]["calls"]][-1] == ("up/b", "bad_request")
    assert (shown["walk"]["status"], shown["walk"]["answered"]) == (418, None)


async def test_explain_takes_names_and_patterns_of_wildcards(gateway: RunningGateway) -> None:
    shown = (await gateway.get("/-/explain?model=team/llama")).json
    assert (shown["alias"], shown["chain"][0]["target"]) == ("team/*", "up/llama")
    shown = (await gateway.get("/-/explain?model=team/*")).json
    assert shown["chain"][0]["target"] == "up/*"


@pytest.mark.parametrize(
    ("query", "status", "code", "said"),
    [
        ("", 400, "bad_request", "say what to explain"),
        ("?model=", 400, "bad_request", "say what to explain"),
        ("?model=pairs", 404, "model_not_found", "did you mean 'pair'"),
        ("?model=team/..", 404, "model_not_found", "does not exist"),
        ("?model=pair&fail=up/a", 400, "bad_request", "fail is 'up/a'; write TARGET=KIND, such as up/a=rate_limit"),
        ("?model=pair&fail=up/c=auth", 400, "bad_request", "not in the chain of 'pair'; did you mean"),
        ("?model=pair&fail=up/a=slow", 400, "bad_request", "fail has no kind 'slow'"),
        ("?model=pair&fail=up/a=200", 400, "bad_request", "fail has no kind '200'"),
        ("?model=pair&stream=maybe", 400, "bad_request", "stream must be 1 or 0"),
        ("?model=pair&header=x-tier", 400, "bad_request", "header is 'x-tier'; write NAME=VALUE, such as x-tier=paid"),
        ("?model=pair&client=", 400, "bad_request", "client is empty"),
        ("?model=pair&at=noon", 400, "bad_request", "at is 'noon', which is no time; write it in ISO 8601"),
        ("?model=pair&at=", 400, "bad_request", "at is '', which is no time"),
        ("?model=pair&seed=-1", 400, "bad_request", "seed is '-1'; write a whole number from 0 to 4294967295"),
    ],
)
async def test_explain_says_what_is_wrong_with_the_question(
    gateway: RunningGateway, query: str, status: int, code: str, said: str
) -> None:
    answer = await gateway.get(f"/-/explain{query}")
    assert (answer.status, answer.error["code"]) == (status, code)
    assert said in answer.error["message"]


async def test_explain_supposes_header_fields_a_client_and_a_time(start: Start) -> None:
    routes = """\
version: 1
providers: {own: {kind: mock}}
models:
  smart:
    - {target: own/paid, when: {header: {x-tier: paid}, client: [shop], during: "sun UTC"}}
    - pool: {own/big: 9, own/small: 1}
"""
    gateway = await start(routes)
    query = "/-/explain?model=smart&header=x-tier=paid&client=shop&at="
    shown = (await gateway.get(f"{query}2026-11-29T09:00Z")).json
    assert (shown["walk"]["answered"], shown["conditions"][0]["holds"]) == ("own/paid", True)
    shown = (await gateway.get(f"{query}2026-11-30T00:59%2B01:00")).json
    assert shown["walk"]["answered"] == "own/paid"
    shown = (await gateway.get(f"{query}2026-11-30T09:00Z")).json
    assert shown["conditions"] == [{"steps": [1], "holds": False, "unmet": "during"}]
    assert [member["share"] for member in shown["pools"][0]["members"]] == [0.9, 0.1]
    seeded = [(await gateway.get(f"/-/explain?model=smart&seed={seed}")).json for seed in range(40)]
    assert {one["walk"]["answered"] for one in seeded} == {"own/big", "own/small"}
    assert (await gateway.get("/-/explain?model=smart")).json == seeded[0]


async def test_explain_shows_no_secret(start: Start) -> None:
    routes = """\
version: 1
providers:
  up: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: sk-secret, headers: {x-key: h-secret}}
  az: {kind: azure, base_url: "http://127.0.0.1:1", api_key: sk-secret, params: {extra_body: {auth_token: p-secret}}}
models:
  fast: [up/a, az/b]
"""
    gateway = await start(routes)
    answer = await gateway.get("/-/explain?model=fast")
    assert answer.status == 200
    assert b"secret" not in answer.body


async def test_explain_knows_where_a_mock_is_in_its_script(start: Start) -> None:
    routes = """\
version: 1
providers:
  drill: {kind: mock, script: [{status: 500}, {text: fine}, {status: 404}]}
models:
  fast: {chain: [drill/x, mock/echo]}
"""
    gateway = await start(routes)

    async def calls() -> list[tuple[str, int]]:
        walk = (await gateway.get("/-/explain?model=fast")).json["walk"]
        return [(call["target"], call["status"]) for call in walk["calls"]]

    assert await calls() == [("drill/x", 500), ("drill/x", 200)]
    assert (await gateway.chat("fast")).status == 200
    assert await calls() == [("drill/x", 404), ("mock/echo", 200)]


@pytest.mark.parametrize(
    ("path", "shows"),
    [
        ("/-/config", '"passwd":"${S}"'),
        ("/-/targets", '"base_url":"http://${HOST}:1/v1"'),
        ("/-/explain?model=fast", '"client_secret_x":"${S}"'),
        ("/-/explain?model=w/x", '"user":"${S}"'),
        ("/v1/models", '"fast"'),
    ],
)
async def test_no_path_shows_an_expanded_variable_or_a_literal_secret(start: Start, path: str, shows: str) -> None:
    gateway = await start(written.ROUTES, environ=written.VARIABLES)
    told = (await gateway.get(path)).body.decode()
    assert shows in told
    assert written.VALUE not in told
    assert written.LITERAL not in told
