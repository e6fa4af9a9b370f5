"""LiteLLMAdapter inside a host's process, with the real LiteLLM: one subprocess each, as settings are for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Final

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.timeout(60)

HOST: Final = """
    import asyncio, os, sys
    from gateway.adapters.litellm.adapter import LiteLLMAdapter
    from gateway.operations import CHAT
    from gateway.policy.failures import UpstreamError
    from gateway.adapters.base import Call
    from gateway.operations import CHAT
    from gateway.policy.keys import KeySource, Secret
    from gateway.policy.target import Endpoint, Limits, Target
    from tests.scripted_openai import ScriptedOpenAI

    PLAIN = (bool, int, float, str, list, dict, set, type(None))
    MESSAGES = [{"role": "user", "content": "hi"}]

    def settings(litellm):
        public = {name: value for name, value in vars(litellm).items() if not name.startswith("_")}
        return {name: repr(value) for name, value in public.items() if isinstance(value, PLAIN)}

    def call(upstream, kind):
        endpoint = Endpoint(provider="up", kind=kind, adapter="litellm", base_url=upstream.base_url, own_base_url=True,
                            api_key=KeySource(name="t", value=Secret("k")))
        limits = Limits(connect_s=2, first_token_s=5, idle_s=5, total_s=5)
        return Call(operation=CHAT, target=Target(name="up/m", model="m", label="up/m", endpoint=endpoint),
                    params={"messages": MESSAGES}, limits=limits)

    async def main(preloaded):
        loop = asyncio.get_running_loop()
        if preloaded:
            import litellm
            before = settings(litellm)
        environment = dict(os.environ)
        adapter = LiteLLMAdapter(own_process=False)
        await adapter.prepare()
        assert loop._default_executor is None
        import litellm
        assert dict(os.environ) == environment
        assert not preloaded or settings(litellm) == before
        async with ScriptedOpenAI() as upstream:
            upstream.script("m", status=400)
            for kind in ("openai", "groq", "no_such_provider"):
                for ask in (adapter.complete, adapter.stream):
                    try:
                        await ask(call(upstream, kind))
                    except UpstreamError as error:
                        print(kind, error.kind)
            assert len(upstream.requests) == 4
            assert not [request for request in upstream.requests if "org-of-the-host" in str(request.headers)]
            try:
                await litellm.acompletion(model="openai/m", api_base=upstream.base_url, api_key="k", max_retries=0,
                                          messages=MESSAGES)
            except litellm.BadRequestError:
                print("the host's own")
        assert not preloaded or before.items() <= settings(litellm).items()
        await litellm.close_litellm_async_clients()
        await adapter.close()

    asyncio.run(main(sys.argv[1] == "preloaded"))
"""


@pytest.mark.parametrize("how", ["preloaded", "fresh"])
def test_a_host_keeps_its_settings_and_its_stdout(how: str) -> None:
    """Our calls print no banner; the host's own call, with its own settings, prints as it always did."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HOST), how],
        cwd=ROOT,
        env={**os.environ, "OPENAI_ORG_ID": "org-of-the-host", "OPENAI_PROJECT_ID": "org-of-the-host"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[:6] == ["openai bad_request"] * 2 + ["groq bad_request"] * 2 + ["no_such_provider not_found"] * 2
    assert any("Give Feedback" in line for line in lines[6:-1])
    assert lines[-1] == "the host's own"
