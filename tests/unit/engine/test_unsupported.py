"""The engine with targets that cannot be asked for a request: their adapter says so before a call is made."""

from __future__ import annotations

import asyncio

import pytest

from gateway.adapters.base import Adapter, Call, NotSupported, Reply
from gateway.adapters.events import Stream
from gateway.adapters.mock import MockAdapter
from gateway.engine.attempts import Engine
from gateway.engine.health import Health
from gateway.engine.request import RoutedRequest
from gateway.errors import Unsupported, UpstreamFailed
from gateway.operations import CHAT
from gateway.policy.table import Route, Step
from gateway.policy.target import AdapterName, Cooldown, Endpoint, Limits, Target
from gateway.telemetry.report import CallReport

LIMITS = Limits(connect_s=2, first_token_s=2, idle_s=2, total_s=2)


class Unable:
    """An adapter whose targets support nothing."""

    async def prepare(self) -> None:
        return

    async def complete(self, call: Call) -> Reply:
        raise NotSupported(f"does not support {call.target.model}")

    async def stream(self, call: Call) -> Stream:
        raise NotSupported(f"does not support {call.target.model}")

    async def close(self) -> None:
        return


class Unready(Unable):
    """An adapter whose preparation fails."""

    async def prepare(self) -> None:
        raise NotSupported("needs a library that is broken")


def step(name: str, *, retries: int = 0) -> Step:
    provider, _, model = name.partition("/")
    adapter: AdapterName = "litellm" if provider == "no" else "mock"
    endpoint = Endpoint(provider=provider, kind="mock", adapter=adapter, cooldown=Cooldown(failures=1, for_s=60))
    return Step(target=Target(name=name, model=model, label=name, endpoint=endpoint), limits=LIMITS, retries=retries)


class Bench:
    """An engine whose `no/…` targets are unable, and the report of its last request."""

    def __init__(self, unable: Adapter) -> None:
        self.health = Health()
        self.engine = Engine(adapters={"mock": MockAdapter(), "litellm": unable}, health=self.health)
        self.report = CallReport()

    async def ask(self, *names: str, streaming: bool = False, retries: int = 0) -> None:
        self.report = CallReport()
        request = RoutedRequest(
            operation=CHAT,
            model="smart",
            route=Route(alias="smart", steps=tuple(step(name, retries=retries) for name in names)),
            params={"messages": [{"role": "user", "content": "hi"}]},
            headers={},
            started_s=asyncio.get_running_loop().time(),
            report=self.report,
        )
        if streaming:
            stream = await self.engine.open_stream(request)
            await stream.aclose()
        else:
            await self.engine.complete(request)

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        return [(attempt.target, attempt.kind) for attempt in self.report.attempts]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_target_that_cannot_be_asked_is_passed_over_and_never_rests(streaming: bool) -> None:
    bench = Bench(Unable())
    for _ in range(3):
        await bench.ask("no/x", "no/y", "mock/echo", streaming=streaming, retries=2)
        assert bench.attempts == [("no/x", "unsupported"), ("no/y", "unsupported"), ("mock/echo", None)]
        assert bench.report.calls == 1
    assert not bench.health.at_rest


async def test_it_is_passed_over_between_failures_too() -> None:
    bench = Bench(Unable())
    await bench.ask("mock/status-500", "no/x", "mock/echo")
    assert bench.attempts == [("mock/status-500", "server_error"), ("no/x", "unsupported"), ("mock/echo", None)]
    await bench.ask("mock/status-500", "no/x", "mock/echo")
    assert bench.attempts == [("mock/status-500", "cooldown"), ("no/x", "unsupported"), ("mock/echo", None)]


async def test_a_failure_decides_what_the_client_gets_when_the_others_cannot_be_asked() -> None:
    bench = Bench(Unable())
    with pytest.raises(UpstreamFailed) as caught:
        await bench.ask("mock/status-503", "no/x")
    assert caught.value.status == 503
    assert bench.attempts == [("mock/status-503", "overloaded"), ("no/x", "unsupported")]


async def test_a_chain_that_cannot_be_asked_says_what_each_target_lacks() -> None:
    bench = Bench(Unable())
    with pytest.raises(Unsupported) as caught:
        await bench.ask("no/x", "no/y")
    assert (caught.value.status, caught.value.code) == (400, "unsupported")
    said = "no/x does not support x; no/y does not support y"
    assert str(caught.value) == f"no target of 'smart' can be asked for this: {said}"
    assert [attempt.kind for attempt in caught.value.attempts] == ["unsupported", "unsupported"]


async def test_an_adapter_that_cannot_be_prepared_leaves_the_other_targets() -> None:
    bench = Bench(Unready())
    await bench.ask("no/x", "mock/echo")
    assert bench.attempts == [("no/x", "unsupported"), ("mock/echo", None)]
    with pytest.raises(Unsupported, match="no/x needs a library that is broken"):
        await bench.ask("no/x")
