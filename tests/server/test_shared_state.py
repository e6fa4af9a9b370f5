"""`--state`: gateways as processes of their own over one Redis, which is killed, paused and slow in mid-load."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.state.limits import FLUSH_S
from gateway.state.link import READY_S
from gateway.state.looks import TURN_S
from gateway.state.owners import LOOK_S
from tests.gateway_process import GatewayProcess, gateway_process
from tests.keeping_responses import KeepingResponses
from tests.redis_server import RedisServer, SlowProxy, redis_server
from tests.server.conftest import until

pytestmark = pytest.mark.timeout(60)

ROUTES = """\
version: 1
defaults: {retries: 0}
clients:
  default: {limits: [LIMITS]}
providers:
PROVIDERS  slow: {kind: mock, script: [{text: hello, delay: 300ms}]}
models:
  fast: mock/echo
  slow: slow/any
"""
BODY = {"messages": [{"role": "user", "content": "x" * 20}], "max_tokens": 5}
ESTIMATE = 10
"""Tokens of BODY: its text over 4, and `max_tokens`."""
TIMEOUT_S = 0.2
"""Longer than the flag's own, since tests share the processors."""
PATIENT = ("--state-timeout", "10s")
"""For tests that no outage may disturb."""
BUSY_S = 5.0
"""What a busy machine may add. Redis is away for as long as a test wants."""


class Replicas:
    """Gateways with one Redis, whatever is between them and it."""

    def __init__(self, folder: Path, stack: AsyncExitStack, redis: RedisServer) -> None:
        self._folder = folder
        self._stack = stack
        self.redis = redis
        self.started: list[GatewayProcess] = []

    async def open(self) -> None:
        self.session = await self._stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )

    async def start(
        self,
        limits: str,
        *flags: str,
        count: int = 2,
        state: str | None = None,
        ready: bool = True,
        more: str = "",
        providers: str = "",
    ) -> None:
        config = self._folder / "routes.yaml"
        config.write_text(ROUTES.replace("LIMITS", limits).replace("PROVIDERS", providers) + more)
        flags = ("--state-timeout", f"{TIMEOUT_S}s", *flags)
        environ = {"GATEWAY_STATE": state or self.redis.url}
        for _ in range(count):
            log = self._folder / f"gateway-{len(self.started)}.log"
            started = gateway_process(config, log=log, flags=flags, environ=environ)
            self.started.append(await self._stack.enter_async_context(started))
        for number in range(len(self.started) if ready else 0):
            await until(partial(self.is_ready, number), within_s=10)
            await self.until_up(number)

    async def is_ready(self, number: int = 0) -> bool:
        async with self.session.get(f"{self.started[number].url}/readyz") as answer:
            return answer.status == 200

    async def chat(self, number: int = 0, model: str = "fast") -> tuple[int, str | None, float]:
        """Return status, code of the error, and seconds."""
        began_s = time.monotonic()
        url = f"{self.started[number % len(self.started)].url}/v1/chat/completions"
        async with self.session.post(url, json={"model": model, **BODY}) as answer:
            body = await answer.json()
            return answer.status, body.get("error", {}).get("code"), time.monotonic() - began_s

    async def post(self, number: int, path: str, body: Any) -> tuple[int, Any]:
        async with self.session.post(self.started[number].url + path, json=body) as answer:
            return answer.status, await answer.json()

    async def get(self, number: int, path: str) -> tuple[int, Any]:
        async with self.session.get(self.started[number].url + path) as answer:
            return answer.status, await answer.json()

    async def states(self, number: int) -> dict[str, str]:
        """Return the state of each target."""
        _, body = await self.get(number, "/-/targets")
        return {row["target"]: row["state"] for row in body["targets"]}

    async def many(self, count: int, model: str = "fast") -> Counter[int]:
        """Ask so many at once, of all gateways in turn; return how many had each status."""
        answers = await asyncio.gather(*[self.chat(number, model) for number in range(count)])
        return Counter(status for status, _, _ in answers)

    async def bucket(self, name: str, *, of: str = "client/") -> float:
        """Return what a bucket holds, as Redis has it."""
        text = await self.redis.ask("HGET", f"gateway:{{{of}}}", name)
        return float(text.split()[0]) if text else 0.0

    async def metric(self, sample: str, number: int = 0) -> float:
        async with self.session.get(f"{self.started[number].url}/metrics") as answer:
            lines = dict(line.rpartition(" ")[::2] for line in (await answer.text()).splitlines())
        return float(lines.get(sample, 0))

    async def until_up(self, number: int = 0, *, up: bool = True) -> None:
        async def reached() -> bool:
            return await self.metric("gateway_state_up", number) == up

        await until(reached, within_s=5)

    def told(self, number: int = 0) -> list[dict[str, Any]]:
        """Return what the log says about the link for limits."""
        lines = [json.loads(line) for line in self.started[number].log.read_bytes().splitlines() if line[:1] == b"{"]
        return [line for line in lines if line.get("carries") == "limits"]


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(tmp_path))
        made = Replicas(tmp_path, stack, redis)
        await made.open()
        yield made


async def test_two_hundred_at_once_get_what_is_for_a_hundred(replicas: Replicas) -> None:
    """Over two processes of two workers each. What answers use is within their estimate."""
    limits = f"200 requests/hour, {100 * ESTIMATE} tokens/day"
    await replicas.start(limits, "--workers", "2", *PATIENT)
    statuses = await replicas.many(200, "slow")
    assert statuses.keys() <= {200, 429}
    assert statuses[200] >= 100, "more where some ended before others came, and gave back what they had not used"
    await asyncio.sleep(2 * FLUSH_S)
    used = await replicas.bucket("tokens/day")
    assert statuses[200] <= used <= 100 * ESTIMATE
    assert await replicas.redis.ask("KEYS", "*:r:*") == [], "all is settled"
    assert await replicas.bucket("requests/hour") == pytest.approx(statuses[200], abs=1)


async def test_after_a_burst_operators_see_what_redis_holds(replicas: Replicas) -> None:
    """Nobody asks afterwards: each replica was told of the peak by its last request."""
    await replicas.start(f"{40 * ESTIMATE} tokens/day, 50 concurrent", *PATIENT)
    assert await replicas.many(40, "slow") == {200: 40}

    async def is_settled() -> bool:
        return not await replicas.redis.ask("KEYS", "*:r:*")

    await until(is_settled)
    used = await replicas.bucket("tokens/day")
    assert used < 30 * ESTIMATE, "they have used less than they took"

    async def is_seen(number: int) -> bool:
        labels = 'name="",owner="client"'
        day = await replicas.metric(f'gateway_limit_used_ratio{{limit="400 tokens/day",{labels}}}', number)
        at_once = await replicas.metric(f'gateway_limit_used_ratio{{limit="50 concurrent",{labels}}}', number)
        return (round(day * 40 * ESTIMATE), at_once) == (used, 0)

    for number in range(2):
        await until(partial(is_seen, number), within_s=LOOK_S + TURN_S + BUSY_S)
    rows = (await replicas.get(0, "/-/state"))[1]["limits"]
    assert [(row["limit"], row["used"]) for row in rows] == [("400 tokens/day", used)]


async def test_a_hundred_requests_are_let_in_whoever_is_asked(replicas: Replicas) -> None:
    await replicas.start("100 requests/day", *PATIENT)
    assert await replicas.many(200) == {200: 100, 429: 100}


@pytest.mark.parametrize("on_error", ["local", "allow", "deny"])
async def test_redis_is_killed_in_mid_load(replicas: Replicas, on_error: str) -> None:
    await replicas.start("20 requests/day", "--on-state-error", on_error, count=1)
    assert await replicas.many(5) == {200: 5}
    await replicas.redis.kill()
    asked = await asyncio.gather(*[replicas.chat() for _ in range(30)])
    await replicas.until_up(up=False)
    asked += await asyncio.gather(*[replicas.chat() for _ in range(10)])
    expected = {"local": {200: 20, 429: 20}, "allow": {200: 40}, "deny": {503: 40}}[on_error]
    assert Counter(status for status, _, _ in asked) == expected
    assert {code for status, code, _ in asked if status == 503} <= {"state_unavailable"}
    await replicas.redis.start()
    await replicas.until_up()
    assert await replicas.bucket("requests/day") == (20 if on_error == "local" else 0), "what Redis lost stays lost"
    assert await replicas.many(1) == ({429: 1} if on_error == "local" else {200: 1})
    assert [line["event"] for line in replicas.told()] == [
        "the state in Redis is out of reach",
        "the state in Redis is back",
    ]


async def test_redis_is_paused_in_mid_load(replicas: Replicas) -> None:
    """Nobody waits longer than the timeout, and after it nobody waits; all counts are right again."""
    await replicas.start("1000 requests/day", count=1)
    assert await replicas.many(10) == {200: 10}
    replicas.redis.pause()
    first = await asyncio.gather(*[replicas.chat() for _ in range(20)])
    errors = await replicas.metric('gateway_state_errors_total{reason="timeout"}')
    assert errors >= 20, "and what ended just before"
    then = [await replicas.chat() for _ in range(10)]
    assert {status for status, _, _ in [*first, *then]} == {200}
    assert max(seconds for _, _, seconds in first) < TIMEOUT_S + BUSY_S
    assert await replicas.metric('gateway_state_errors_total{reason="timeout"}') == errors, "nobody asked again"
    replicas.redis.go_on()
    await replicas.until_up()

    async def is_right() -> bool:
        return await replicas.bucket("requests/day") == 40

    await until(is_right)
    assert await replicas.many(10) == {200: 10}
    assert await replicas.bucket("requests/day") == 50


async def test_redis_is_slow_in_mid_load(replicas: Replicas) -> None:
    async with SlowProxy(replicas.redis.port).listening() as proxy:
        await replicas.start("1000 requests/day", count=1, state=str(proxy.address))
        assert await replicas.many(10) == {200: 10}
        proxy.delay_s = TIMEOUT_S
        asked = [await replicas.chat() for _ in range(20)]
        assert {status for status, _, _ in asked} == {200}
        assert max(seconds for _, _, seconds in asked) < TIMEOUT_S + BUSY_S
        proxy.delay_s = 0.0
        await replicas.until_up()

        async def is_right() -> bool:
            return await replicas.bucket("requests/day") == 30

        await until(is_right)


async def test_a_gateway_starts_without_its_redis(replicas: Replicas) -> None:
    await replicas.redis.kill()
    await replicas.start("5 requests/day", count=1, ready=False)
    async with replicas.session.get(f"{replicas.started[0].url}/readyz") as answer:
        assert (answer.status, (await answer.json())["waiting_for"]) == (503, ["state"])
    assert await replicas.many(6) == {200: 5, 429: 1}, "by its own buckets"
    await replicas.redis.start()
    await replicas.until_up()
    assert await replicas.is_ready()
    assert await replicas.bucket("requests/day") == 5


@pytest.mark.slow
async def test_the_page_and_the_state_tell_that_redis_is_out_of_reach(replicas: Replicas) -> None:
    await replicas.start("1000 requests/day", count=1)
    address = replicas.redis.url
    assert (await replicas.get(0, "/-/state"))[1]["redis"] == {"address": address, "is_up": True}
    await replicas.redis.kill()
    await replicas.until_up(up=False)
    assert (await replicas.get(0, "/-/state"))[1]["redis"] == {"address": address, "is_up": False}
    async with replicas.session.get(f"{replicas.started[0].url}/-/") as page:
        assert f"{address} is out of reach" in await page.text()


async def test_it_is_ready_without_redis_after_a_while(replicas: Replicas) -> None:
    await replicas.redis.kill()
    began_s = time.monotonic()
    await replicas.start("5 requests/day", count=1, ready=False)
    await until(replicas.is_ready, within_s=10)
    assert time.monotonic() - began_s > READY_S


async def test_what_ends_with_the_process_is_settled(replicas: Replicas) -> None:
    await replicas.start("1000 tokens/day, 5 concurrent", "--drain", "5s", count=1)
    asked = asyncio.gather(*[replicas.chat(model="slow") for _ in range(3)])
    await asyncio.sleep(0.15)
    replicas.started[0].process.terminate()
    assert [status for status, _, _ in await asked] == [200] * 3
    await replicas.started[0].process.wait()
    assert await replicas.redis.ask("KEYS", "*:r:*") == []


async def test_the_url_of_the_state_is_told_without_its_password(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(tmp_path, password="right-password"))
        replicas = Replicas(tmp_path, stack, redis)
        await replicas.open()
        wrong = redis.url.replace("right", "wrong")
        await replicas.start("5 requests/day", count=1, state=wrong, ready=False)
        await until(replicas.told)
        (line,) = replicas.told()
        assert line["state"] == f"redis://127.0.0.1:{redis.port}/0"
        assert "AuthenticationError" in line["reason"]
        assert "password" not in replicas.started[0].log.read_text().replace(line["reason"], "")
        assert "wrong-password" not in line["reason"]


RESTING = """\
  broken: {chain: [mock/status-503, mock/hello]}
"""


async def test_a_provider_that_redis_called_full_is_told_and_passed_over(replicas: Replicas) -> None:
    providers = "  few: {kind: mock, limits: [1 requests/day]}\n"
    await replicas.start("900 requests/day", *PATIENT, providers=providers, more="  pair: [few/a, mock/echo]\n")

    async def model(number: int) -> str:
        _, answer = await replicas.post(number, "/v1/chat/completions", {"model": "pair", **BODY})
        return str(answer["model"])

    async def is_shown() -> bool:
        """Ask, which tells the replica that the provider is full; a busy machine may be too late to look."""
        assert await model(1) == "echo"
        _, state = await replicas.get(1, "/-/state")
        [pair] = [row for row in state["aliases"] if row["alias"] == "pair"]
        return pair["now"] == "mock/echo" and [step["state"] for step in pair["chain"]] == ["limited", "ok"]

    assert await model(0) == "a"
    await until(is_shown, within_s=10)
    _, told = await replicas.get(1, "/-/explain?model=pair")
    assert told["walk"]["not_called"][0]["why"] == "passed over: its provider's limits have no room"


async def test_a_target_that_rests_for_one_replica_rests_for_all(replicas: Replicas) -> None:
    """Those who start later, and those who come back, hear of it too."""
    await replicas.start("1000 requests/day", *PATIENT, more=RESTING)
    for _ in range(3):
        assert (await replicas.chat(0, "broken"))[0] == 200

    async def rests(number: int) -> bool:
        return (await replicas.states(number))["mock/status-503"] == "cooldown"

    assert await rests(0)
    await until(partial(rests, 1))
    await replicas.start("1000 requests/day", more=RESTING, count=1)
    await until(partial(rests, 2))
    assert (await replicas.post(1, "/-/targets/reset?target=mock/status-503", None))[0] == 200

    async def is_over(number: int) -> bool:
        return not await rests(number)

    for number in range(3):
        await until(partial(is_over, number))
    assert "status-503" not in str(await replicas.redis.ask("HGETALL", "gateway:{rests}")), "only hashes"


async def test_a_request_that_names_an_id_goes_to_its_maker_from_any_replica(replicas: Replicas) -> None:
    async with KeepingResponses() as kept:
        providers = (
            f"  one: {{kind: openai, base_url: '{kept.url}/one/v1', api_key: sk-one}}\n"
            f"  two: {{kind: openai, base_url: '{kept.url}/two/v1', api_key: sk-two}}\n"
        )
        smart = "  smart: {chain: [{pool: {one/m: 1, two/m: 1}}]}\n"
        await replicas.start("1000 requests/day", *PATIENT, more=smart, providers=providers)
        for number in range(8):
            status, made = await replicas.post(number % 2, "/v1/responses", {"model": "smart", "input": "hi"})
            assert status == 200
            again = {"model": "smart", "input": "more", "previous_response_id": made["id"]}
            assert (await replicas.post((number + 1) % 2, "/v1/responses", again))[0] == 200
            assert (await replicas.get((number + 1) % 2, f"/v1/responses/{made['id']}"))[1]["id"] == made["id"]
        keys = await replicas.redis.ask("KEYS", "gateway:made:*")
        assert len(keys) >= 16
        assert not [key for key in keys if made["id"] in key], "only hashes"
        await replicas.redis.kill()
        await replicas.until_up(up=False)
        status, made = await replicas.post(0, "/v1/responses", {"model": "smart", "input": "hi"})
        assert (await replicas.get(0, f"/v1/responses/{made['id']}"))[0] == 200, "known where it was made"
        await replicas.redis.start()
        await replicas.until_up(1)
        await replicas.until_up(0)
        assert (await replicas.get(1, f"/v1/responses/{made['id']}"))[1]["id"] == made["id"], "told afterwards"


async def test_an_answer_that_one_replica_keeps_serves_the_other(replicas: Replicas) -> None:
    await replicas.start("1000 requests/day", *PATIENT, more="  faq: {chain: [slow/any], cache: 1h}\n")
    body = {"model": "faq", **BODY}
    told = []
    for number in (0, 1, 0):
        url = f"{replicas.started[number].url}/v1/chat/completions"
        async with replicas.session.post(url, json=body) as answer:
            told.append((answer.headers["cache-status"], await answer.read()))
        async with asyncio.timeout(10):
            while not await replicas.redis.ask("KEYS", "gateway:{kept}:*"):  # told after the answer  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert "stored" in told[0][0]
    assert all("hit" in status for status, _ in told[1:]), told
    assert {text for _, text in told} == {told[0][1]}


async def test_kept_answers_have_a_connection_of_their_own(replicas: Replicas) -> None:
    """They are large: nobody waits behind one for the limits."""
    await replicas.start("1000 requests/day", *PATIENT, count=1, more="  faq: {chain: [mock/status-503], cache: 1h}\n")
    assert (await replicas.chat(0, "faq"))[0] == 503, "so nothing is kept after it was asked for"
    last = set(re.findall(r" cmd=(\S+)", await replicas.redis.ask("CLIENT", "LIST")))
    assert {"pttl", "evalsha"} <= last, last
