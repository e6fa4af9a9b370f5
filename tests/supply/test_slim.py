"""routes-gateway-slim: the same code without LiteLLM, installed and run."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from packaging.utils import canonicalize_name

from tests.gateway_process import gateway_process
from tests.paths import ROOT
from tests.supply import installs, locked, slim
from tests.supply.declared import dependencies
from tests.wires.upstream import WireUpstream

pytestmark = pytest.mark.timeout(60)

CONFIG = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "URL/v1", api_key: sk-upstream}
  claude: {kind: anthropic, base_url: "URL", api_key: sk-upstream}
  google: {kind: gemini, base_url: "URL", api_key: sk-upstream}
  aws: {kind: bedrock, api_key: sk-upstream, params: {aws_region_name: eu-west-1}}
models:
  gpt: up/gpt-5.4-mini
  claude: claude/claude-sonnet-5
  gemini: google/gemini-3.6-flash
  mixed: [aws/amazon.nova-pro-v1:0, claude/claude-sonnet-5]
  lone: aws/amazon.nova-pro-v1:0
"""
WITHOUT = CONFIG[: CONFIG.index("  mixed")].replace(CONFIG[CONFIG.index("  aws") : CONFIG.index("models")], "")
NEEDS = "needs LiteLLM, which is not installed here"


@pytest.fixture(scope="module")
def python(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with routes-gateway-slim."""
    folder = tmp_path_factory.mktemp("slim") / "venv"
    return installs.environment(folder, installs.here(slim.read()), wheels[slim.NAME])


def unpacked(wheel: Path) -> tuple[dict[str, bytes], Message]:
    """Return the files of a wheel outside its metadata, and the metadata."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (metadata,) = (text for name, text in files.items() if name.endswith(".dist-info/METADATA"))
    return {name: data for name, data in files.items() if ".dist-info/" not in name}, message_from_bytes(metadata)


def inside(wheel: Path, name: str) -> bytes:
    """Return a file of a wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith(f".dist-info/{name}"))
        return archive.read(path)


def test_both_wheels_hold_the_same_code_and_differ_in_what_they_need(wheels: dict[str, Path]) -> None:
    (files, whole), (slim_files, lean) = unpacked(wheels["routes-gateway"]), unpacked(wheels[slim.NAME])
    assert files == slim_files
    assert (lean["Name"], lean["Version"]) == (slim.NAME, whole["Version"])
    needed = whole.get_all("Requires-Dist") or []
    assert lean.get_all("Requires-Dist") == [
        line
        for line in needed
        if not line.startswith("litellm")
        and ("extra ==" not in line or line.endswith(("extra == 'otel'", "extra == 'redis'")))
    ]
    for field in ("Requires-Python", "License-Expression", "Classifier", "License-File"):
        assert lean.get_all(field) == whole.get_all(field), field
    assert lean.get_payload() == whole.get_payload()
    for name in ("entry_points.txt", "licenses/LICENSE"):
        assert inside(wheels[slim.NAME], name) == inside(wheels["routes-gateway"], name)


def test_its_lock_is_cut_out_of_the_whole_one() -> None:
    assert slim.LOCK.read_text(encoding="utf-8") == slim.text(locked.read(), dependencies()), "run `make lock`"


def test_its_bill_of_materials_holds_its_lock() -> None:
    run = [sys.executable, "-m", "tests.supply", "sbom-slim"]
    document = json.loads(subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert document["metadata"]["component"]["name"] == slim.NAME
    assert {component["name"] for component in document["components"]} == slim.read().keys()
    (ours,) = (entry for entry in document["dependencies"] if entry["ref"].startswith(f"pkg:pypi/{slim.NAME}@"))
    names = {ref.removeprefix("pkg:pypi/").partition("@")[0] for ref in ours["dependsOn"]}
    assert names == {canonicalize_name(each.name) for each in dependencies()} - {"litellm"}


def test_pip_finds_it_complete_and_litellm_is_not_there(python: Path) -> None:
    assert installs.pip(python, "check") == "No broken requirements found.\n"
    names = {entry["name"] for entry in json.loads(installs.pip(python, "list", "--format=json"))}
    assert slim.NAME in names
    assert not {"litellm", "openai", "routes-gateway"} & names


def command_line(python: Path, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(python.parent / "gateway"), *words]
    return subprocess.run(command, cwd=config.parent, env={}, capture_output=True, text=True, check=False)


def test_validate_and_explain_say_which_targets_need_litellm(python: Path, tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(WITHOUT.replace("URL", "https://llm.example.com"))
    done = command_line(python, config, "validate", str(config))
    assert (done.returncode, done.stderr, "missing-package" in done.stdout) == (0, "", False), done
    config.write_text(CONFIG.replace("URL", "https://llm.example.com"))
    done = command_line(python, config, "validate", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"missing-package: models.mixed[0]: bedrock {NEEDS}" in done.stdout
    done = command_line(python, config, "explain", "mixed", "--config", str(config))
    assert [line.split()[0] for line in done.stdout.splitlines() if "LiteLLM is not installed here" in line] == ["1"]


async def ask(url: str, model: str, *, stream: bool = False) -> tuple[int, str]:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "stream": stream}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=body) as response:
        return response.status, await response.text()


async def ready(url: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as response:
        return response.status == 200


async def test_it_serves_openai_anthropic_and_gemini_and_passes_over_what_needs_litellm(
    python: Path, tmp_path: Path
) -> None:
    config, log = tmp_path / "routes.yaml", tmp_path / "log"
    async with WireUpstream() as upstream:
        config.write_text(CONFIG.replace("URL", upstream.root_url))
        command = ("-I", "-m", "gateway", "serve")
        async with gateway_process(config, log=log, command=command, python=python) as gateway:
            for model in ("gpt", "claude", "gemini"):
                status, text = await ask(gateway.url, model)
                assert (status, json.loads(text)["choices"][0]["message"]["content"]) == (200, "one two three")
                status, text = await ask(gateway.url, model, stream=True)
                assert (status, text.endswith("data: [DONE]\n\n")) == (200, True)
            status, text = await ask(gateway.url, "mixed")
            assert (status, upstream.models[-1]) == (200, "claude-sonnet-5")
            status, text = await ask(gateway.url, "lone")
            error = json.loads(text)["error"]
            assert (status, error["code"]) == (400, "unsupported")
            assert f"aws/amazon.nova-pro-v1:0 {NEEDS}" in error["message"]
            assert await ready(gateway.url)
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    (warned,) = (line for line in lines if line["event"] == "targets are passed over: a package is not installed")
    assert (warned["providers"], warned["reason"]) == (["aws"], NEEDS)
    assert not [line for line in lines if line["level"] == "error"]
