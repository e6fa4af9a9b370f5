"""Play one sequence against `gateway serve`, and compare the process with the model after each step."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.cli import main
from tests.gateway_process import DidNotStartError, GatewayProcess, gateway_process
from tests.model import steps
from tests.model.files import Files, modes_bind, prefix
from tests.model.steps import Step
from tests.model.texts import MAIN, Policy
from tests.scripted_openai import ScriptedOpenAI

LIVE_WITHIN_S: Final = 10.0
"""On a machine that does much else. How long it takes is printed by `make model`."""
QUIET_S: Final = 0.3
"""While a file is held open, nothing may happen for this long."""
CLIENTS: Final = 3
PAUSE_S: Final = 0.02
"""Between two requests of a client."""
MOST_STREAMS: Final = 4
HELLO: Final = {"messages": [{"role": "user", "content": "hello"}]}
BY_SIGNAL: Final = '"event":"reloaded at a signal"'


class Differs(AssertionError):
    """The process is not as the model says."""


@dataclass(slots=True)
class Played:
    """What one sequence came to."""

    requests: int = 0
    streams: int = 0
    """Those that stayed open over at least one step."""
    starts: int = 0
    checks: int = 0
    live_s: list[float] = field(default_factory=list)
    """Of each edit that changed what runs, the seconds from it until that was seen."""


@dataclass(slots=True)
class _Stream:
    """A stream that is open."""

    response: aiohttp.ClientResponse
    gate: asyncio.Event
    begun: bytes
    target: str
    age: int = 0


async def play(sequence: steps.Sequence, folder: Path) -> Played:
    """Play a sequence in an empty folder. Raises Differs."""
    async with ScriptedOpenAI() as upstream, aiohttp.ClientSession() as session:
        player = _Player(sequence, folder, upstream, session)
        async with player.traffic():
            for number, step in enumerate(sequence.steps):
                player.at = f"step {number}, {step}"
                await player.take_step(step)
            player.at = "the end"
            await player.finish()
        return player.played


class _Player:
    def __init__(
        self, sequence: steps.Sequence, folder: Path, upstream: ScriptedOpenAI, session: aiohttp.ClientSession
    ) -> None:
        self.played = Played()
        self.at = "the start"
        conf = folder / "conf"
        conf.mkdir()
        self._files = Files(conf, upstream.base_url, config_map=sequence.config_map, modes_bind=modes_bind())
        self._conf = conf
        self._log = folder / "log"
        self._flags = ["--state-dir", str(folder / "state")] if sequence.state_dir else []
        self._has_state = sequence.state_dir
        self._upstream = upstream
        self._session = session
        self._stack = AsyncExitStack()
        self._process: GatewayProcess
        self._up = asyncio.Event()
        self._epoch = 0
        """Number of the process."""
        running = self._files.policy()
        assert running is not None
        self._running: Policy = running
        self._generation = 1
        self._ok = True
        """Whether the files as they were read last are what runs."""
        self._is_kept = False
        """Whether the last good version runs since a start with bad files."""
        self._pending: list[Policy | None] = []
        """Versions that may have been read since the process was compared last."""
        self._edited_s = 0.0
        self._streams: list[_Stream] = []
        self._policies: dict[tuple[int, int], Policy] = {}
        """By epoch and generation, where both are known."""
        self._answers: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
        """Targets that answered, the same way."""
        self._lost: list[str] = []
        self._gone = ""
        """An alias that an earlier version had."""
        self._least = self._most = 1
        """Bounds of the generation, apart from what is pending."""

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Run the gateway and clients that ask one request after the other, until the block ends."""
        async with self._stack:
            try:
                await self._start()
                async with asyncio.TaskGroup() as group:
                    clients = [group.create_task(self._ask_on(stream=bool(number % 2))) for number in range(CLIENTS)]
                    try:
                        yield
                    finally:
                        for client in clients:
                            client.cancel()
            finally:
                self._files.close()
                for stream in self._streams:
                    stream.gate.set()
                    stream.response.close()

    async def take_step(self, step: Step) -> None:
        """Do it, and compare."""
        for stream in self._streams:
            stream.age += 1
        match step:
            case steps.Hold():
                self._edit(steps.Release())
                await self._compare()
                self._files.hold(step)
                self._edited()
            case steps.Write() | steps.Delete():
                self._edit(step)
                if step.hurry:
                    return
            case steps.Mode() | steps.Swap() | steps.SwapFolder() | steps.Checkout() | steps.Release():
                self._edit(step)
            case steps.Post():
                await self._post(step)
            case steps.Hangup():
                await self._hang_up()
            case steps.Kill():
                await self._kill(step)
            case steps.OpenStream():
                await self._open_stream()
            case steps.EndStream():
                if self._streams:
                    await self._end_stream(self._streams.pop(0))
        await self._compare()

    async def finish(self) -> None:
        """End what is open, and see that nothing comes late."""
        self._edit(steps.Release())
        await self._compare()
        while self._streams:
            await self._end_stream(self._streams.pop(0))
        await asyncio.sleep(QUIET_S)
        await self._compare()
        for key, targets in self._answers.items():
            self._check(len(targets) == 1, f"generation {key} had answers of {targets}")
            known = self._policies.get(key)
            if known is not None:
                self._check(targets == {known.aliases["fast"]}, f"generation {key} had answers of {targets}")
        faults = [line for line in self._log.read_text().splitlines() if '"level":"error"' in line]
        self._check(all("the last good version is" in line for line in faults), f"the log has {faults[:3]}")

    # What is done.

    def _edit(self, step: Step) -> None:
        match step:
            case steps.Write():
                self._files.write(step)
            case steps.Delete():
                self._files.delete(step)
            case steps.Mode():
                self._files.mode(step)
            case steps.Swap():
                self._files.swap(step)
            case steps.SwapFolder():
                self._files.swap_folder()
            case steps.Checkout():
                self._files.checkout(step)
            case steps.Release():
                self._files.release(step)
            case _:
                raise AssertionError(step)
        self._edited()

    def _edited(self) -> None:
        self._pending += self._files.take()
        self._edited_s = time.monotonic()

    async def _post(self, step: steps.Post) -> None:
        if step.if_match == "right":
            await self._compare()
        digest = (await self._config())["digest"]
        headers = {"": {}, "right": {"If-Match": f'"{digest}"'}, "wrong": {"If-Match": f'"{"0" * 64}"'}}[step.if_match]
        policy = self._files.policy()
        async with self._session.post(
            f"{self._process.url}/-/reload{'?dry_run=1' if step.dry_run else ''}", headers=headers
        ) as response:
            status, told = response.status, await response.json()
        wanted = 412 if step.if_match == "wrong" else 422 if policy is None else 200
        self._check(status == wanted, f"POST /-/reload was {status}, not {wanted}: {told}")
        if status == 412 or step.dry_run:
            self._check(not told.get("changed"), f"a reload that may not change anything: {told}")
            return
        if policy is None:
            self._check(bool(told["problems"]), f"a refusal without a problem: {told}")
            self._forced(None)
            return
        self._check(told["ok"] and told["changed"], f"a forced reload: {told}")
        self._forced(policy)
        self._check(told["generation"] == (await self._config())["generation"], f"not the running generation: {told}")

    async def _hang_up(self) -> None:
        policy, before = self._files.policy(), self._log.read_text().count(BY_SIGNAL)
        self._process.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(LIVE_WITHIN_S):
            while self._log.read_text().count(BY_SIGNAL) == before:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.01)
        self._forced(policy)

    def _forced(self, policy: Policy | None) -> None:
        """Note that a reload by hand has read the files as they are."""
        if policy is None:
            self._ok = False
            if not self._files.is_held:
                self._pending.append(None)
            return
        self._least = self._generation + 1
        self._most = self._generation + self._most_tables(self._pending) + 1
        self._running, self._ok, self._is_kept, self._pending = policy, True, False, []

    async def _kill(self, step: steps.Kill) -> None:
        self._edit(steps.Release())
        # What runs, or an edit that it had no time for, or had just kept.
        candidates = [self._running, *(policy for policy in self._pending if policy is not None)]
        self._up.clear()
        self._epoch += 1
        self._process.process.kill()
        await self._process.process.wait()
        for stream in self._streams:
            stream.gate.set()
            stream.response.close()
        self._streams.clear()
        await self._stack.aclose()
        for edit in step.edits:
            self._edit(edit)
        self._pending = []
        policy = self._files.policy()
        self._generation = 1
        if policy is not None:
            self._running, self._ok, self._is_kept = policy, True, False
            await self._start()
            return
        if self._has_state:
            await self._start()
            self._ok, self._is_kept = False, True
            served = _served(await self._config(), self._conf)
            found = [each for each in candidates if each.digests == served]
            self._check(bool(found), "the last good version is none of those that were live")
            self._running = found[0]
            return
        try:
            await self._start()
        except DidNotStartError as exc:
            self._check(MAIN in str(exc) or "teams" in str(exc), f"a start without the problems: {exc}")
        else:
            raise Differs(f"{self.at}: a start with bad files")
        self._files.repair()
        self._edited()
        self._pending = []
        repaired = self._files.policy()
        assert repaired is not None
        self._running, self._ok = repaired, True
        await self._start()

    async def _start(self) -> None:
        self.played.starts += 1
        self._process = await self._stack.enter_async_context(
            gateway_process(self._files.config, log=self._log, flags=self._flags, prefix=prefix())
        )
        self._least = self._most = self._generation
        self._up.set()

    async def _open_stream(self) -> None:
        if len(self._streams) >= MOST_STREAMS:
            return
        gate = asyncio.Event()
        for policy in (self._running, *self._pending):
            if policy is not None:
                name = policy.aliases["held"].removeprefix("up/")
                self._upstream.reset_script(name).script(name, chunks=["a", "b", "c"], stall_after=1, gate=gate)
        response = await self._session.post(
            f"{self._process.url}/v1/chat/completions", json={**HELLO, "model": "held", "stream": True}
        )
        self._check(response.status == 200, f"a stream was {response.status}")
        begun = await response.content.readuntil(b'"a"')
        self._streams.append(_Stream(response, gate, begun, response.headers["x-gateway-target"]))

    async def _end_stream(self, stream: _Stream) -> None:
        stream.gate.set()
        text = (stream.begun + await stream.response.content.read()).decode()
        events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
        said = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
        self._check(said == "abc" and text.rstrip().endswith("data: [DONE]"), f"a stream over reloads ended as {text}")
        self.played.streams += stream.age > 1

    async def _ask_on(self, *, stream: bool) -> None:
        """Ask for `fast` again and again. No request may fail unless its process was killed."""
        newest = (0, 0)
        while True:
            await self._up.wait()
            epoch = self._epoch
            try:
                status, headers, text = await self._ask("fast", stream=stream)
            except (aiohttp.ClientError, OSError) as exc:
                if epoch == self._epoch:
                    self._lost.append(f"{type(exc).__name__}: {exc}")
                    await asyncio.sleep(PAUSE_S)
                continue
            self.played.requests += 1
            if status != 200 or (stream and not text.endswith("data: [DONE]\n\n")):
                self._lost.append(f"{status}: {text[:500]}")
            else:
                key = epoch, int(headers["x-gateway-generation"])
                self._answers[key].add(headers["x-gateway-target"])
                if key < newest:
                    self._lost.append(f"an answer of generation {key} after one of {newest}")
                newest = key
            await asyncio.sleep(PAUSE_S)

    async def _ask(self, model: str, *, stream: bool = False) -> tuple[int, dict[str, str], str]:
        async with self._session.post(
            f"{self._process.url}/v1/chat/completions", json={**HELLO, "model": model, "stream": stream}
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, headers, await response.text()

    # What has to be so.

    async def _compare(self) -> None:
        """Wait until the process is as the model says; raises Differs if it never is, or goes past it."""
        self.played.checks += 1
        held = self._files.is_held
        if held:
            await asyncio.sleep(QUIET_S)
        least, most = self._least, self._most
        final = self._pending[-1] if self._pending else None
        may_run = [self._running]
        if final is not None:
            least += final != self._running
            may_run = [final]
        else:
            may_run += [policy for policy in self._pending if policy is not None]
        most += self._most_tables(self._pending)
        ok = final is not None if self._pending else self._ok
        began_s = time.monotonic()
        while True:
            shown = await self._config()
            served = _served(shown, self._conf)
            runs = next((policy for policy in may_run if policy.digests == served), None)
            self._check(shown["generation"] <= most, f"generation {shown['generation']}, at most {most}", shown)
            last = shown["last_reload"]
            is_read = held or last["digest"] == shown["disk"]["digest"]
            if runs is not None and least <= shown["generation"] and last["ok"] == ok and is_read:
                break
            wanted = f"{[policy.digests for policy in may_run]}, generation {least} to {most}, ok {ok}"
            self._check(time.monotonic() - began_s < LIVE_WITHIN_S, f"it never was {wanted}, but {served}", shown)
            await asyncio.sleep(0.01)
        if final is not None and runs != self._running:
            self.played.live_s.append(time.monotonic() - self._edited_s)
        self._running, self._ok, self._pending = runs, ok, []
        self._generation = self._least = self._most = shown["generation"]
        self._is_kept = self._is_kept and not ok
        self._policies[self._epoch, self._generation] = runs
        self._check((shown["last_good_of"] is not None) == self._is_kept, "last_good_of", shown)
        self._check(bool(last["problems"]) == (not ok) or ok, "a refusal without problems", shown)
        await self._compare_metrics(shown)
        await self._compare_status()
        await self._compare_answers()
        self._check(not self._lost, f"requests failed: {self._lost[:3]}")

    def _most_tables(self, versions: Sequence[Policy | None]) -> int:
        """Return how many tables were loaded if each version was read."""
        count, runs = 0, self._running
        for policy in versions:
            if policy is not None and policy != runs:
                count, runs = count + 1, policy
        return count

    async def _compare_metrics(self, shown: Any) -> None:
        """The metrics agree with `/-/config`, and both count the same reloads."""
        end_s = time.monotonic() + LIVE_WITHIN_S
        while True:
            async with self._session.get(f"{self._process.url}/metrics") as response:
                text = await response.text()
            values = dict(re.findall(r"^(gateway_config_[^ \n]+) (\S+)$", text, re.MULTILINE))
            counts = {
                result: int(float(values[f'gateway_config_reloads_total{{result="{result}"}}']))
                for result in ("ok", "refused")
            }
            history = [entry["result"] for entry in shown["history"]]
            agree = {
                "generation": float(values["gateway_config_generation"]) == shown["generation"],
                "ok": float(values["gateway_config_last_reload_successful"]) == shown["last_reload"]["ok"],
                "digest": f'gateway_config_info{{digest="{shown["digest"]}"}}' in values,
                "count": len(history) == min(20, sum(counts.values()) + 1),
                "refused": len(history) == 20
                # The start is in the history, and no reload.
                or history[:-1].count("refused") == counts["refused"],
            }
            if all(agree.values()):
                return
            self._check(time.monotonic() < end_s, f"metrics and /-/config differ: {agree}, {values}", shown)
            await asyncio.sleep(0.02)
            shown = await self._config()

    async def _compare_status(self) -> None:
        """`gateway status` agrees with `/-/config`. A refusal may come in between, if the files were bad before too."""
        while True:
            shown, output = await self._config(), io.StringIO()
            with contextlib.redirect_stdout(output):
                code = await asyncio.to_thread(main, ["status", "--url", self._process.url, "--json"])
            after = await self._config()
            if after["history"] == shown["history"]:
                break
            self._check(not self._ok and after["generation"] == self._generation, "a late reload", after)
        told = json.loads(output.getvalue())
        for key in ("generation", "digest", "in_sync", "last_reload"):
            self._check(told[key] == shown[key], f"gateway status tells another {key}: {told[key]}", shown)
        self._check(code == (not shown["in_sync"]), f"gateway status exits with {code}", shown)
        if not self._files.is_held:
            self._check(shown["in_sync"] == self._ok, "in_sync", shown)

    async def _compare_answers(self) -> None:
        shown = await self._config("")
        models = {
            alias: target if isinstance(target, list) else [target]
            for alias, target in shown["config"]["models"].items()
        }
        wanted = {alias: [target] for alias, target in self._running.aliases.items()}
        self._check(models == wanted, f"/-/config has the aliases {models}, not {wanted}")
        last = list(self._running.aliases)[-1]
        for alias in ("fast", last):
            status, headers, text = await self._ask(alias)
            self._check(status == 200, f"{alias}: {status}: {text}")
            self._check(headers["x-gateway-target"] == self._running.aliases[alias], f"{alias} went to {headers}")
            self._check(
                headers["x-gateway-generation"] == str(self._generation), f"{alias} of another generation: {headers}"
            )
        if self._gone:
            status, _, text = await self._ask(self._gone)
            self._check(
                status == (200 if self._gone in self._running.aliases else 404), f"{self._gone}: {status}: {text}"
            )
        self._gone = last

    async def _config(self, query: str = "?config=0") -> Any:
        async with self._session.get(f"{self._process.url}/-/config{query}") as response:
            return await response.json()

    def _check(self, holds: bool, text: str, shown: Any = None) -> None:
        if not holds:
            lines = self._log.read_text(errors="replace").splitlines()
            log = "\n".join([line for line in lines if '"gateway.access"' not in line][-12:])
            raise Differs(f"{self.at}: {text}\n{json.dumps(shown)}\n{log}")


def _served(shown: Any, folder: Path) -> dict[str, str]:
    """Return the digests of the files that run, by their names."""
    return {
        str(Path(file["path"]).relative_to(folder)): file["digest"]
        for file in shown["files"]
        if file["digest"] is not None
    }
