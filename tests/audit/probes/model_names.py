"""Odd model names, asked for through wildcards: no foreign path or host, and nothing that they make grow.

A wildcard carries a part of the client's name over to the upstream, into the body or, for Azure, into the path.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson

from tests.audit import SMOKE, Findings
from tests.audit.probes._odd_names import LONGEST, NO_TEXTS, may_match, odd_names
from tests.gateway_process import GatewayProcess, gateway_process
from tests.raw_http import Peer, serving, whole

NAMES: Final = 10_000
LONG_NAMES: Final = 100
LONG_BYTES: Final = 2**20
AZURE_EVERY: Final = 20
PATH: Final = "/base/v1/chat/completions"
AZURE_PATH: Final = "/openai/deployments/{}/chat/completions?api-version=2024-10-21"
PREFIXES: Final = {"team-": "", "open-": "vendor/", "azure-": ""}
"""By the wildcard's text before the star: what its target has before it."""
LABELS: Final = ("", "exact", "team-*", "open-*", "azure-*", "up/exact", "up/*", "up/vendor/*", "az/*")
"""What the metrics may name: the config file's own words."""
GROWTH_BYTES: Final = 10e6
"""The process may grow by this from the first quarter of the names to the end."""
LONGEST_LOG_LINE: Final = 4096
LONGEST_HEAD: Final = 4096
_ANSWER: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@dataclass(slots=True)
class Seen:
    """The upstream's last request."""

    line: str = ""
    host: str = ""
    model: Any = None
    calls: int = 0


@dataclass(slots=True)
class _Asked:
    """The probe's state."""

    session: aiohttp.ClientSession
    seen: Seen
    host: str
    wrong: list[str] = field(default_factory=list)
    tried: int = 0

    async def ask(self, name: Any) -> None:
        """Ask for a model and look at what reaches the upstream and what comes back."""
        self.tried += 1
        before = self.seen.calls
        data = json.dumps({"model": name, "messages": [{"role": "user", "content": "hi"}]}).encode()
        headers = {"content-type": "application/json"}
        try:
            async with self.session.post("/v1/chat/completions", data=io.BytesIO(data), headers=headers) as response:
                body = await response.read()
        except aiohttp.ClientError as error:
            self.wrong.append(f"{_shown(name)}: {str(error)[:120]}")
            return
        head = sum(len(field) + len(value) for field, value in response.raw_headers)
        if head > LONGEST_HEAD or (response.status != 200 and len(body) > LONGEST_HEAD):
            self.wrong.append(f"{_shown(name)}: a head of {head} bytes, a body of {len(body)}")
        expected = sent_for(name)
        if expected is None:
            if response.status not in (400, 404) or self.seen.calls != before:
                self.wrong.append(f"{_shown(name)}: {response.status}, upstream got {self._upstream(before)}")
        elif response.status != 200 or (self.seen.line, self.seen.host, self.seen.model) != (
            f"POST {expected[0]} HTTP/1.1", self.host, expected[1],
        ):  # fmt: skip
            self.wrong.append(f"{_shown(name)}: {response.status}, upstream got {self._upstream(before)}")

    def _upstream(self, before: int) -> str:
        return "nothing" if self.seen.calls == before else f"{self.seen.line!r} for {_shown(self.seen.model)}"


async def probe(scale: float) -> Findings:
    """Ask for every name, and compare the process, its metrics and its log before and after."""
    seen = Seen()

    async def handle(peer: Peer) -> None:
        while True:
            head = (await peer.head()).decode("latin-1")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n"))}
            body = orjson.loads(await peer.reader.readexactly(int(fields["content-length"])))
            seen.line, seen.host, seen.model = head.partition("\r\n")[0], fields["host"], body.get("model")
            seen.calls += 1
            await peer.send(whole(orjson.dumps(_ANSWER), headers="content-type: application/json\r\n"))

    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder) / "routes.yaml", Path(folder) / "log"
        async with serving(handle) as upstream:
            config.write_text(_routes(upstream.port, azure=scale > SMOKE))
            async with gateway_process(config, log=log) as gateway:
                timeout = aiohttp.ClientTimeout(total=60)
                async with aiohttp.ClientSession(gateway.url, timeout=timeout) as session:
                    asked = _Asked(session, seen, f"127.0.0.1:{upstream.port}")
                    figures, grown = await _all(asked, gateway, scale)
        lines = log.read_bytes().splitlines()
        longest = max(map(len, lines), default=0)
        figures.append(f"log: {sum(map(len, lines)) / 1e6:.1f} MB, longest line {longest} bytes")
        if longest > LONGEST_LOG_LINE:
            grown.append(f"a log line of {longest} bytes: {lines[[*map(len, lines)].index(longest)][:200]!r} …")
    return Findings([*asked.wrong, *grown], tried=asked.tried, figures=figures)


async def _all(asked: _Asked, gateway: GatewayProcess, scale: float) -> tuple[list[str], list[str]]:
    """Ask for all names and return the figures, and what has grown since the first quarter of each sort."""
    for value in NO_TEXTS:
        await asked.ask(value)
    short = list(odd_names(max(1, round(NAMES * scale))))
    azure = [f"azure-{name.partition('-')[2]}" for name in short[::AZURE_EVERY]] if scale > SMOKE else []
    long = [f"team-{number}-{'x' * LONG_BYTES}" for number in range(max(1, round(LONG_NAMES * scale)))]
    for names in (short, azure, long):
        for name in names[: len(names) // 4]:
            await asked.ask(name)
    memory, series = gateway.memory_bytes(), await _series(asked.session)
    for names in (short, azure, long):
        for name in names[len(names) // 4 :]:
            await asked.ask(name)
    grown_bytes, later = gateway.memory_bytes() - memory, await _series(asked.session)
    figures = [f"memory {memory / 1e6:.0f} MB, {grown_bytes / 1e6:+.1f} MB at the end; {len(later)} series in /metrics"]
    wrong = [f"the process is gone after {asked.tried} names"] if gateway.has_ended else []
    if scale > SMOKE and grown_bytes > GROWTH_BYTES:
        wrong.append(f"the process grew by {grown_bytes / 1e6:.0f} MB")
    if odd := [line for line in later if line not in series and not _is_ours(line)]:
        wrong.append(f"new series in /metrics: {odd[:3]}")
    return figures, wrong


def sent_for(name: Any) -> tuple[str, str | None] | None:
    """Return the path and the model that the upstream must get for a name; None if it must get nothing."""
    if name == "exact":
        return PATH, "exact"
    for prefix, vendor in PREFIXES.items():
        if isinstance(name, str) and name.startswith(prefix) and may_match(rest := name[len(prefix) :], name=name):
            if prefix == "azure-":
                if rest == ".":  # as a part of a path it means the folder itself
                    return None
                return AZURE_PATH.format(quote(rest, safe=":@")), rest
            return PATH, vendor + rest
    return None


def _routes(port: int, *, azure: bool) -> str:
    """Return the config. Azure has the model in its path: not in the smoke test, for time."""
    host = f"http://127.0.0.1:{port}"
    lines = [
        "version: 1",
        "defaults: {retries: 0, cooldown: {failures: 1000000}}",
        "providers:",
        f'  up: {{kind: openai, base_url: "{host}/base/v1", api_key: sk-upstream-key}}',
    ]
    lines += [
        f'  az: {{kind: azure, base_url: "{host}", api_key: sk-azure-key, params: {{api_version: "2024-10-21"}}}}'
    ] * azure
    lines += ["models:", "  exact: up/exact", '  "team-*": "up/*"', '  "open-*": "up/vendor/*"']
    return "\n".join([*lines, *(['  "azure-*": "az/*"'] * azure)]) + "\n"


async def _series(session: aiohttp.ClientSession) -> Sequence[str]:
    async with session.get("/metrics") as response:
        return [line.rpartition(" ")[0] for line in (await response.text()).splitlines() if line[:1] != "#"]


def _is_ours(line: str) -> bool:
    """Tell whether a new series has labels of the config file only."""
    return any(f'="{label}"' in line for label in LABELS)


def _shown(name: Any) -> str:
    return repr(name) if len(repr(name)) <= LONGEST else f"{repr(name)[:80]} … of {len(name):,} characters"
