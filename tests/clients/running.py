"""How each client is run: its program, its environment, and how its answer is read."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from tests.clients.programs.jobs import TOOL_RESULT
from tests.paths import ROOT
from tests.wires.lab import CLIENT_KEY
from tests.wires.play import Tool

NOTE: Final = "note.txt"
"""A file in the folder where coding agents work: what their tool reads."""
ALL_JOBS_S: Final = 300
ONE_RUN_S: Final = 120
AT_ONCE: Final = 3
"""Runs of a command-line client beside each other."""


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to ask."""

    kind: Literal["plain", "stream"]
    model: str


@dataclass(frozen=True, slots=True)
class Said:
    """What the client made of it: its final text, or its own error."""

    text: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the clients are."""

    python: Path
    node_modules: Path
    home: Path
    """An empty home, so that nobody's settings play a part."""

    @property
    def work(self) -> Path:
        return self.home / "work"

    def environ(self, root_url: str) -> dict[str, str]:
        """Return what every client is told: where its vendor is, and a key. The rest keeps it off the network."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "OPENAI_BASE_URL": f"{root_url}/v1",
            "OPENAI_API_KEY": CLIENT_KEY,
            "ANTHROPIC_BASE_URL": root_url,
            "ANTHROPIC_API_KEY": CLIENT_KEY,
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
        }


Run = Callable[[Installed, str, Sequence[Job]], list[Said]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program that people use."""

    name: str
    package: str
    """The package whose version is shown: `pip:NAME` or `npm:NAME`."""
    wire: Literal["responses", "messages"]
    run: Run
    """Do jobs with this base URL, without `/v1`."""
    tool: Tool = field(default_factory=lambda: Tool("weather", {"city": "Bern"}))
    """Called by the scripted model; its result holds `TOOL_RESULT`."""
    kinds: tuple[Literal["plain", "stream"], ...] = ("plain", "stream")

    def version(self, installed: Installed) -> str:
        """Return the version that is installed."""
        kind, _, name = self.package.partition(":")
        if kind == "npm":
            version: str = json.loads((installed.node_modules / name / "package.json").read_text())["version"]
            return version
        asked = f"import importlib.metadata as m; print(m.version({name!r}))"
        return subprocess.check_output([installed.python, "-c", asked], text=True).strip()


def _by_lines(command: Sequence[str | Path], environ: Mapping[str, str], jobs: Sequence[Job]) -> list[Said]:
    """Run a program that takes all jobs at once and writes a line for each."""
    given = json.dumps([{"kind": job.kind, "model": job.model} for job in jobs])
    done = subprocess.run(
        command,
        input=given,
        env=dict(environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ALL_JOBS_S,
        check=False,
    )
    said = [Said(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(said) != len(jobs):
        raise RuntimeError(f"{command}: {len(said)} answers to {len(jobs)} jobs: {done.stderr[-2000:]}")
    return said


def python_program(module: str, *words: str) -> Run:
    """Return how to run one of our programs with the clients' own Python."""

    def run(installed: Installed, root_url: str, jobs: Sequence[Job]) -> list[Said]:
        environ = {**installed.environ(root_url), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return _by_lines([installed.python, "-m", f"tests.clients.programs.{module}", *words], environ, jobs)

    return run


def node_program(name: str, provider: str, *, anthropic_base: str = "") -> Run:
    """Return how to run one of our programs with the clients' own packages of Node."""

    def run(installed: Installed, root_url: str, jobs: Sequence[Job]) -> list[Said]:
        environ = {
            **installed.environ(root_url),
            "ANTHROPIC_BASE_URL": f"{root_url}{anthropic_base}",
            "CLIENTS_NODE_MODULES": str(installed.node_modules),
        }
        return _by_lines(["node", ROOT / "tests/clients/programs" / name, provider], environ, jobs)

    return run


def codex(installed: Installed, root_url: str, jobs: Sequence[Job]) -> list[Said]:
    """Run `codex exec` for each job: its base URL is a setting, its key is in CODEX_API_KEY."""
    environ = {**installed.environ(root_url), "CODEX_API_KEY": CLIENT_KEY, "CODEX_HOME": str(installed.home / ".codex")}

    def one(job: Job) -> Said:
        words = ["exec", "--skip-git-repo-check", "--json", "-m", job.model, "-c", f'openai_base_url="{root_url}/v1"']
        output = _output([installed.node_modules / ".bin/codex", *words, "hello"], environ, installed.work)
        events: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        texts = [
            event["item"]["text"]
            for event in events
            if event["type"] == "item.completed" and event["item"]["type"] == "agent_message"
        ]
        if any(event["type"] == "turn.completed" for event in events):
            return Said(texts[-1] if texts else "")
        told = next(
            (str(event["error"]["message"]) for event in events if event["type"] == "turn.failed"), output[-300:]
        )
        return Said("", told or "no output")

    return _all(one, jobs)


def claude_code(installed: Installed, root_url: str, jobs: Sequence[Job]) -> list[Said]:
    """Run `claude -p` for each job."""
    environ = {**installed.environ(root_url), "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}

    def one(job: Job) -> Said:
        words = ["-p", "hello", "--model", job.model, "--output-format", "json"]
        output = _output([installed.node_modules / ".bin/claude", *words], environ, installed.work)
        try:
            result = json.loads(output)
        except ValueError:
            return Said("", output[-300:] or "no output")
        return Said("", result["result"]) if result["is_error"] else Said(result["result"])

    return _all(one, jobs)


def _output(command: Sequence[str | Path], environ: Mapping[str, str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, env=dict(environ), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=ONE_RUN_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end within {ONE_RUN_S} s"
    return done.stdout or done.stderr


def _all(one: Callable[[Job], Said], jobs: Sequence[Job]) -> list[Said]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, jobs))


def clients(installed: Installed) -> list[Client]:
    """Return all clients. Coding agents have a tool that reads a file."""
    note = installed.work / NOTE
    return [
        Client(name="Agents SDK", package="pip:openai-agents", wire="responses", run=python_program("agents_sdk")),
        Client(
            name="pydantic-ai, openai", package="pip:pydantic-ai-slim", wire="responses",
            run=python_program("pydantic_agent", "openai"),
        ),
        Client(
            name="pydantic-ai, anthropic", package="pip:pydantic-ai-slim", wire="messages",
            run=python_program("pydantic_agent", "anthropic"),
        ),
        Client(
            name="openai for Node", package="npm:openai", wire="responses", run=node_program("node_sdk.mjs", "openai")
        ),
        Client(
            name="anthropic for Node", package="npm:@anthropic-ai/sdk", wire="messages",
            run=node_program("node_sdk.mjs", "anthropic"),
        ),
        Client(
            name="AI SDK, openai", package="npm:@ai-sdk/openai", wire="responses",
            run=node_program("ai_sdk.mjs", "openai"),
        ),
        Client(
            name="AI SDK, anthropic", package="npm:@ai-sdk/anthropic", wire="messages",
            run=node_program("ai_sdk.mjs", "anthropic", anthropic_base="/v1"),
        ),
        Client(
            name="Codex CLI", package="npm:@openai/codex", wire="responses", run=codex, kinds=("stream",),
            tool=Tool("exec_command", {"cmd": f"cat {NOTE}"}),
        ),
        Client(
            name="Claude Code", package="npm:@anthropic-ai/claude-code", wire="messages", run=claude_code,
            kinds=("stream",), tool=Tool("Read", {"file_path": str(note)}),
        ),
    ]  # fmt: skip


def prepare(installed: Installed) -> None:
    """Make the folders that coding agents want."""
    installed.work.mkdir(parents=True)
    (installed.home / ".codex").mkdir()
    (installed.work / NOTE).write_text(f"{TOOL_RESULT}\n")
