"""`--state-dir`, on real processes: what a start serves when the config file is unfit."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.gateway_process import DidNotStartError, GatewayProcess, gateway_process
from tests.paths import ROOT
from tests.server.conftest import save, until

BROKEN: Final = "version: 1\nmodels: {fast: nowhere}\n"


def good(model: str) -> str:
    return f"version: 1\nmodels:\n  fast: mock/{model}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(good("one"))
    return path


async def get(process: GatewayProcess, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(process.url + path) as response:
        text = await response.text()
    return json.loads(text) if text.startswith("{") else text


async def status(process: GatewayProcess, *flags: str) -> tuple[int | None, str]:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "status", "--url", process.url, *flags,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await run.communicate()
    return run.returncode, out.decode()


async def test_after_a_kill_the_last_accepted_version_serves_a_start_with_a_broken_file(
    config: Path, tmp_path: Path
) -> None:
    flags, log = ["--state-dir", str(tmp_path / "state")], tmp_path / "log"
    async with gateway_process(config, log=log, flags=flags) as process:
        save(config, good("two"))

        async def is_in() -> bool:
            return bool((await get(process, "/-/config"))["generation"] == 2)

        await until(is_in)
        process.process.kill()
        await process.process.wait()
    save(config, BROKEN)
    async with gateway_process(config, log=log, flags=flags) as process:
        shown = await get(process, "/-/config")
        assert (shown["config"]["models"], shown["in_sync"]) == ({"fast": "mock/two"}, False)
        assert shown["last_good_of"] is not None
        assert [problem["code"] for problem in shown["last_reload"]["problems"]] == ["no-provider"]
        assert "gateway_config_last_reload_successful 0" in await get(process, "/metrics")
        code, out = await status(process)
        assert (code, f"serving the last good version of {shown['last_good_of']}" in out) == (1, True)
        assert "no-provider: models.fast: " in out
        assert (await status(process, "--live"))[0] == 0
        save(config, good("three"))

        async def is_healed() -> bool:
            return bool((await get(process, "/-/config"))["in_sync"])

        await until(is_healed)
        assert (await get(process, "/-/config"))["last_good_of"] is None
    told = log.read_text()
    assert "the config file cannot be served: the last good version is" in told
    assert f"{config}:2:16: no-provider: models.fast: " in told
    assert "gateway: serving the last good version of 20" in told
    save(config, None)
    async with gateway_process(config, log=log, flags=flags) as process:
        assert (await get(process, "/-/config"))["config"]["models"] == {"fast": "mock/three"}


async def test_what_is_kept_and_damaged_is_not_served(config: Path, tmp_path: Path) -> None:
    flags, log = ["--state-dir", str(tmp_path / "state")], tmp_path / "log"
    async with gateway_process(config, log=log, flags=flags):
        pass
    [kept] = (tmp_path / "state").iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    save(config, BROKEN)
    with pytest.raises(DidNotStartError) as caught:
        async with gateway_process(config, log=log, flags=flags):
            pass
    told = str(caught.value)
    assert "no-provider: models.fast: " in told
    assert "warning: last-good: the last good version in" in told
    assert "is damaged: its digest differs" in told


async def test_without_it_a_broken_file_ends_the_start_with_its_problems(config: Path, tmp_path: Path) -> None:
    save(config, BROKEN)
    with pytest.raises(DidNotStartError, match=r"no-provider: models\.fast: "):
        async with gateway_process(config, log=tmp_path / "log"):
            pass


async def test_a_folder_that_others_can_write_is_refused(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(DidNotStartError, match="is not safe: others may write to it"):
        async with gateway_process(config, log=tmp_path / "log", flags=["--state-dir", str(state)]):
            pass
