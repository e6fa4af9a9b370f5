"""Whatever a hook raises is an error of that hook, named in the log; only the request's own cancellation is one."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import signal
from pathlib import Path
from typing import Final

import pytest

from gateway.server.ending import MARGIN_S
from tests.log_lines import logging_to
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, until
from tests.server.test_process import running

HOOKS: Final = """\
import asyncio
import sys
import threading
import time

from gateway import BadRequest


class Own(BaseException):
    pass


RAISED = {
    "exit": lambda: sys.exit("the prompt"),
    "interrupt": lambda: _raise(KeyboardInterrupt("the prompt")),
    "cancelled": lambda: _raise(asyncio.CancelledError("the prompt")),
    "generator": lambda: _raise(GeneratorExit("the prompt")),
    "own": lambda: _raise(Own("the prompt")),
    "value": lambda: _raise(ValueError("the prompt")),
}


def _raise(error):
    raise error


def _sync(act):
    def hook(data):
        data["touched"] = True
        act()
    return hook


def _async(act):
    async def hook(data):
        await asyncio.sleep(0)
        data["touched"] = True
        act()
    return hook


globals().update({f"sync_{name}": _sync(act) for name, act in RAISED.items()})
globals().update({f"async_{name}": _async(act) for name, act in RAISED.items()})


async def await_cancelled(data):
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def exit_at_timeout(data):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        sys.exit("the prompt")


async def swallow_once(data):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return data


async def start_exit(data):
    async def end():
        sys.exit("the prompt")
    asyncio.get_running_loop().create_task(end())
    await asyncio.sleep(0.01)
    return data


def fail_in_thread(data):
    thread = threading.Thread(target=lambda: _raise(ValueError("the prompt")))
    thread.start()
    thread.join()
    class Broken:
        def __del__(self):
            raise ValueError("the prompt")
    Broken()
    return data


async def stubborn(data):
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


def blocked(data):
    while True:
        time.sleep(3600)


async def in_a_thread(data):
    await asyncio.to_thread(blocked, data)
"""

RAISED: Final = {
    "exit": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "cancelled": "CancelledError",
    "generator": "GeneratorExit",
    "own": "Own",
    "value": "ValueError",
}
NAMES: Final = tuple(itertools.product(("sync", "async"), RAISED))

ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  plain: up/a
"""


def routes(hooks: list[str]) -> str:
    """Return a file with aliases for each hook: it fails or is skipped; before, after, or in a nested alias."""
    text = ROUTES
    for name, on_error, place in itertools.product(hooks, ("fail", "skip"), ("pre", "post")):
        hook = f"{{{place}: [{{path: HOOKS.{name}, on_error: {on_error}}}]}}"
        text += f"  {name}-{place}-{on_error}: {{chain: [up/a], hooks: {hook}}}\n"
        text += f"  outer-{name}-{place}-{on_error}: [{{alias: {name}-{place}-{on_error}}}]\n"
    return text


@pytest.fixture
async def faulty(start: Start) -> RunningGateway:
    started: RunningGateway = await start(routes([f"{way}_{name}" for way, name in NAMES]), hooks=HOOKS)
    return started


@pytest.mark.parametrize(("way", "name"), NAMES)
async def test_whatever_a_hook_raises_is_its_error(
    faulty: RunningGateway, upstream: ScriptedOpenAI, way: str, name: str
) -> None:
    lines = io.StringIO()
    with logging_to(lines):
        for outer, place in itertools.product(("", "outer-"), ("pre", "post")):
            upstream.calls.clear()
            failed = await faulty.chat(f"{outer}{way}_{name}-{place}-fail")
            assert (failed.status, failed.error["code"]) == (500, "hook_failed")
            assert f"{way}_{name} failed: {RAISED[name]}" in failed.error["message"]
            assert len(upstream.calls) == (place == "post")
            skipped = await faulty.chat(f"{outer}{way}_{name}-{place}-skip")
            assert skipped.status == 200
            assert "touched" not in skipped.json
        streamed = await faulty.chat(f"{way}_{name}-post-skip", stream=True)
        assert streamed.events[-1] == "[DONE]"
        refused = await faulty.chat(f"{way}_{name}-pre-fail", stream=True)
        assert (refused.status, refused.error["code"]) == (500, "hook_failed")
        broken = await faulty.chat(f"{way}_{name}-post-fail", stream=True)
        assert broken.status == 500 or broken.events[-1]["error"]["code"] == "hook_failed"
    assert (await faulty.chat("plain")).status == 200
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    told = {(line["error"], line["on_error"]) for line in logged if line["event"] == "hook failed"}
    assert told == {(RAISED[name], "fail"), (RAISED[name], "skip")}
    assert 499 not in {line["status"] for line in logged if line["event"] == "request"}
    assert "the prompt" not in lines.getvalue()


async def test_a_cancelled_future_that_a_hook_awaits_is_no_cancellation(start: Start) -> None:
    gateway = await start(routes(["await_cancelled"]), hooks=HOOKS)
    assert (await gateway.chat("await_cancelled-pre-fail")).error["code"] == "hook_failed"
    assert (await gateway.chat("await_cancelled-pre-skip")).status == 200


async def test_a_hook_that_exits_at_its_timeout_has_failed(start: Start) -> None:
    hook = "[{path: HOOKS.exit_at_timeout, timeout: 50ms, on_error: skip}]"
    gateway = await start(f"{ROUTES}  slow: {{chain: [up/a], hooks: {{pre: {hook}}}}}\n", hooks=HOOKS)
    assert (await gateway.chat("slow")).status == 200


async def test_a_hook_cannot_swallow_that_its_client_left(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(routes(["swallow_once"]), hooks=HOOKS)
    lines = io.StringIO()
    with logging_to(lines):
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(gateway.chat("swallow_once-pre-skip"))
            await until(lambda: _is(gateway, "gateway_in_flight", 1.0))
            asking.cancel()
        await until(lambda: _is(gateway, "gateway_in_flight", 0.0))
    assert not upstream.calls
    assert '"status":499' in lines.getvalue()


async def _is(gateway: RunningGateway, sample: str, value: float) -> bool:
    return await gateway.metric(sample) == value


@pytest.fixture
def config(tmp_path: Path, upstream: ScriptedOpenAI) -> Path:
    (tmp_path / "faulty.py").write_text(HOOKS)
    names = ["start_exit", "fail_in_thread", "sync_exit", "stubborn", "blocked", "in_a_thread"]
    text = routes(names).replace("HOOKS", "faulty").replace("BASE_URL", upstream.base_url)
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    return path


async def test_the_process_outlives_what_hooks_do_and_their_texts_are_not_on_stderr(config: Path) -> None:
    async with running(config) as server:
        for hook, status in (("sync_exit", 500), ("start_exit", 200), ("fail_in_thread", 200)):
            async with server.chat(f"{hook}-pre-fail") as response:
                assert response.status == status
        assert await server.get("/readyz") == 200
        assert await server.end() == 0
    events = [line["event"] for line in server.log]
    assert events.count("a task tried to end the process") == 1
    assert events.count("exception in a thread or destructor") == 2
    assert "the prompt" not in server.err


@pytest.mark.parametrize(
    "hook", ["blocked", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stubborn", "in_a_thread"))]
)
async def test_a_stop_signal_ends_the_process_whatever_its_hooks_do(config: Path, hook: str) -> None:
    async with running(config, drain_s=0.2) as server, asyncio.TaskGroup() as group:
        asking = group.create_task(_ask(server.url, hook))
        await asyncio.sleep(0.5)  # until the hook runs; a blocked process cannot tell
        began_s = asyncio.get_running_loop().time()
        assert await server.end(signal.SIGTERM) == 1
        assert asyncio.get_running_loop().time() - began_s < 0.2 + MARGIN_S + 2.0
        await asking
    [last] = [line for line in server.log if line["event"].startswith("the process is ended")]
    assert last["hooks"] == (["faulty." + hook] if hook != "in_a_thread" else [])


async def _ask(url: str, hook: str) -> None:
    """Ask, and take the end of the connection for the answer."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"model": f"{hook}-pre-fail", "messages": [{"role": "user", "content": "hi"}]})
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    await reader.read()
    writer.close()
