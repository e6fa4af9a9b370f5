"""Vendors' words over real HTTP through the relay: the same table as behind LiteLLM."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.adapters.base import Call
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.policy.failures import Kind, UpstreamError
from tests.relay_calls import a_call, failure_of
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of
from tests.vendor_failures import FAILED, REFUSALS, WHOLE_ANSWERS, Failed, Refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def adapter() -> AsyncIterator[RelayAdapter]:
    adapter = RelayAdapter()
    yield adapter
    await adapter.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as upstream:
        yield upstream


@pytest.mark.parametrize("case", REFUSALS, ids=str)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal(adapter: RelayAdapter, upstream: ScriptedOpenAI, case: Refusal, stream: bool) -> None:
    upstream._scripts.clear()
    upstream.script("a", status=case.status, body=case.raw, headers=case.headers)
    failure = await failure_of(adapter, a_call(upstream.base_url), stream=stream)
    assert (failure.kind, failure.status, failure.retry_after_s) == (case.kind, case.status, case.wait_s)
    if failure.kind in {Kind.AUTH, Kind.BILLING}:
        return  # neither passes through
    assert failure.body is not None
    error = json.loads(failure.body)["error"]
    assert error["code"] == case.code
    assert case.says is None or case.says in error["message"]
    if case.wait_s is not None:
        assert "retry-after" in failure.headers
    elif not case.headers.get("retry-after", "1").isdecimal():
        assert "retry-after" not in failure.headers


async def test_openais_own_envelope_passes_as_it_came(adapter: RelayAdapter, upstream: ScriptedOpenAI) -> None:
    raw = b'{"error" : {"message":"m", "code":null, "more": [1]}, "id":"x"}'
    upstream._scripts.clear()
    upstream.script("a", status=400, body=raw)
    assert (await failure_of(adapter, a_call(upstream.base_url))).body == raw


@pytest.mark.parametrize("case", FAILED, ids=str)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_choice(adapter: RelayAdapter, upstream: ScriptedOpenAI, case: Failed, stream: bool) -> None:
    upstream._scripts.clear()
    kind = "text/event-stream" if stream else "application/json"
    upstream.script("a", body=case.body(stream=stream), content_type=kind)
    call = a_call(upstream.base_url)
    with pytest.raises(UpstreamError) as caught:
        await _checked(adapter, call, stream=stream)
    assert (caught.value.kind, caught.value.status) == (case.kind, 200)


@pytest.mark.parametrize("reason", WHOLE_ANSWERS)
async def test_an_answer(adapter: RelayAdapter, upstream: ScriptedOpenAI, reason: str) -> None:
    upstream._scripts.clear()
    upstream.script("a", reply="hello", finish_reason=reason)
    call = a_call(upstream.base_url)
    await _checked(adapter, call, stream=False)
    await _checked(adapter, call, stream=True)


async def _checked(adapter: RelayAdapter, call: Call, *, stream: bool) -> None:
    """Make the call and check the answer as the engine does."""
    if not stream:
        call.operation.check_reply((await adapter.complete(call)).data)
        return
    judge = call.operation.judge()
    for data in await data_of(await adapter.stream(call)):
        judge.see(data)
    assert judge.is_whole
