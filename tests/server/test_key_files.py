"""Files of keys that are none stop nothing: neither the start, nor a request, nor the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from pathlib import Path
from typing import Final

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.errors import ConfigError, UsageError
from gateway.policy.clients import Client
from gateway.server.client_keys import MAX_FILE_BYTES, ClientKeys, admin_token
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Start, save
from tests.special_files import SPECIAL_FILES

ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key_file: up.key}
models: {fast: up/a}
"""
WHY: Final = "not a regular file|larger than|no such file|too many levels"


def replace(path: Path, kind: str) -> None:
    """Put a special file in place of a file or folder."""
    remove(path)
    SPECIAL_FILES[kind](path)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


@pytest.mark.parametrize("kind", SPECIAL_FILES)
def test_at_the_start_each_is_a_usage_error_with_its_reason(tmp_path: Path, kind: str) -> None:
    SPECIAL_FILES[kind](tmp_path / "keys")
    with pytest.raises(UsageError, match=f"cannot read the client keys file .*keys: ({WHY})"):
        ClientKeys(tmp_path / "keys")
    with pytest.raises(UsageError, match=f"cannot read the admin token file .*keys: ({WHY})"):
        admin_token(tmp_path / "keys")


@pytest.mark.parametrize("kind", SPECIAL_FILES)
async def test_as_an_upstream_s_key_file_each_is_a_problem_with_its_reason(
    start: Start, tmp_path: Path, kind: str
) -> None:
    SPECIAL_FILES[kind](tmp_path / "up.key")
    with pytest.raises(ConfigError, match="missing-key-file"):
        await start(ROUTES)
    compiled = Compiler(environ={}).compile(
        (tmp_path / "routes.yaml").read_bytes(), source=str(tmp_path / "routes.yaml")
    )
    [problem] = [problem for problem in compiled.problems if problem.code == "missing-key-file"]
    why = "does not exist" if kind in {"no file", "dangling link"} else f"cannot be read: ({WHY})"
    assert_matches(problem.message, f"the key file 'up.key' {why}")


def assert_matches(text: str, pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        raise ValueError(text)


async def test_in_place_of_the_files_of_a_running_gateway_none_stops_it(
    start: Start, upstream: ScriptedOpenAI, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upstream_key, clients, token = tmp_path / "up.key", tmp_path / "keys", tmp_path / "token"
    upstream_key.write_text("sk-up")
    clients.write_text("ann ann-key\n")
    token.write_text("the-token")
    gateway = await start(ROUTES, client_keys_file=clients, admin_token_file=token)
    headers = {"authorization": "Bearer ann-key"}
    assert (await gateway.chat("fast", headers=headers)).status == 200
    for kind in SPECIAL_FILES:
        for path in (upstream_key, clients, token):
            replace(path, kind)
        async with asyncio.timeout(2):
            assert (await gateway.chat("fast", headers=headers)).status == 200, kind  # the old keys stay
            admin = await gateway.get("/-/config", headers={"authorization": "Bearer the-token"})
            assert admin.status == 401, kind
            assert (await gateway.get("/healthz")).status == 200
        assert caplog.messages.count("client keys not read again: the old ones stay") == 1, kind
        caplog.clear()
        for path, text in (
            (upstream_key, "sk-up"),
            (clients, f"{kind.replace(' ', '-')} ann-key\n"),
            (token, "the-token"),
        ):
            remove(path)
            path.write_text(text)
        assert (await gateway.chat("fast", headers=headers)).status == 200
        assert (await gateway.get("/-/config", headers={"authorization": "Bearer the-token"})).status == 200
    assert all(request.headers["authorization"] == "Bearer sk-up" for request in upstream.requests)


def many(count: int) -> str:
    """Return a client keys file of so many lines, as long as they get in practice."""
    digests = (hashlib.sha256(b"key-%d" % number).hexdigest() for number in range(count))
    return "".join(f"client-{n}.{'x' * 50} sha256:{digest} group=g{n} admin\n" for n, digest in enumerate(digests))


def test_a_hundred_thousand_lines_fit_and_cost_a_request_nothing(tmp_path: Path) -> None:
    few, lots = tmp_path / "few", tmp_path / "lots"
    few.write_text(many(1))
    lots.write_text(many(100_000))
    assert lots.stat().st_size < MAX_FILE_BYTES
    took_s = {}
    for path in (few, lots):
        keys = ClientKeys(path)
        began_s = time.process_time()
        for _ in range(5000):
            assert not keys.changed()
            assert keys.client_of("key-0") is not None
        took_s[path] = time.process_time() - began_s
    assert took_s[lots] < 3 * took_s[few] + 0.05
    assert keys.client_of("key-99999") == Client(name=f"client-99999.{'x' * 50}", group="g99999", is_admin=True)


async def test_a_hundred_thousand_lines_are_read_again_beside_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    save(path, "ann ann-key\n")
    keys = ClientKeys(path)
    save(path, many(100_000))
    assert keys.changed()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while keys.changed():
            await asyncio.sleep(0.001)
            turns += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(count_turns())
        for _ in range(3):
            group.create_task(keys.refresh())
    assert turns > 30
    assert keys.client_of("ann-key") is None
    assert keys.client_of("key-7") is not None


async def test_a_client_that_leaves_while_the_keys_are_read_takes_nothing_with_it(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    save(path, "ann ann-key\n")
    keys = ClientKeys(path)
    save(path, "bob bob-key\n")
    async with asyncio.TaskGroup() as group:
        first, _ = (group.create_task(keys.refresh()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
    assert keys.client_of("bob-key") == Client(name="bob")
