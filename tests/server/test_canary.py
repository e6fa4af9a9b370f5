"""`--canary`: a version whose test cases fail never serves."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.errors import ConfigError
from gateway.policy.table import RoutingTable
from gateway.server.canary import Canary
from tests.server.conftest import Start, until

ROUTES: Final = "version: 1\nmodels:\n  fast: [mock/a, mock/b]\n"
CASES: Final = """\
cases:
  - name: a answers first
    request: fast
    expect: {target: mock/a}
  - name: b steps in
    request: fast
    upstream: {mock/a: [{status: 503}]}
    expect: {target: mock/b, status: 200}
"""


def table(text: str = ROUTES, folder: Path | None = None) -> RoutingTable:
    found = (
        Compiler(environ={})
        .compile(text.encode(), source="routes.yaml", folder=None if folder is None else str(folder))
        .table
    )
    assert found is not None
    return found


def problems(canary: Canary, of: RoutingTable) -> list[str]:
    return [str(problem) for problem in canary(of)]


def test_it_says_which_cases_fail_and_where(tmp_path: Path) -> None:
    path = tmp_path / "routes.test.yaml"
    path.write_text(CASES)
    assert problems(Canary(path), table()) == []
    swapped = table("version: 1\nmodels:\n  fast: [mock/b, mock/a]\n")
    assert problems(Canary(path), swapped) == [
        f"{path}:2:5: canary-failed: case 'a answers first' fails: target (line 4): expected mock/a, got mock/b"
    ]
    [missing] = problems(Canary(path), table("version: 1\nmodels:\n  fast: mock/a\n"))
    assert missing.startswith(
        f"{path}:5:5: canary-failed: case 'b steps in' fails: target (line 8): expected mock/b, got (none); "
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "unreadable-file: cannot read the test cases of --canary: no such file or directory"),
        ("", "empty-file"),
        ("cases: []\n", "no-cases"),
        ("cases: [", "yaml-syntax"),
        ("\x00", "not-utf8"),
    ],
)
def test_a_file_of_cases_with_problems_refuses_too(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "routes.test.yaml"
    if text is not None:
        path.write_text(text)
    [problem] = problems(Canary(path), table())
    assert problem.startswith(str(path))
    assert said in problem


def test_the_groups_of_clients_are_those_of_the_client_keys_file(tmp_path: Path) -> None:
    path, keys = tmp_path / "routes.test.yaml", tmp_path / "keys"
    path.write_text("cases:\n  - {name: cat may not, client: cat, request: fast, expect: {status: 403}}\n")
    policy = table(f"{ROUTES}clients: {{search: {{models: []}}}}\n")
    assert len(problems(Canary(path), policy)) == 1
    keys.write_text("cat a-key-of-cat group=search\n")
    assert problems(Canary(path, client_keys_file=keys), policy) == []
    keys.unlink()
    [problem] = problems(Canary(path, client_keys_file=keys), policy)
    assert f"unreadable-file: for the clients of --canary: cannot read the client keys file {keys}" in problem


BLOCKING: Final = """\
import time
from pathlib import Path

def wait(params):
    while Path(__file__).with_suffix(".block").exists():
        time.sleep(0.005)
    return params
"""


def test_cases_that_take_too_long_refuse_and_are_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "canary_blocking.py").write_text(BLOCKING)
    block, path = tmp_path / "canary_blocking.block", tmp_path / "routes.test.yaml"
    block.touch()
    path.write_text(CASES)
    slow = table(f"{ROUTES}hooks: {{pre: [canary_blocking.wait]}}\n", tmp_path)
    canary = Canary(path, limit_s=0.1)
    began_s = time.monotonic()
    [problem] = problems(canary, slow)
    assert problem == (
        f"{path}:2:5: canary-failed: case 'a answers first' took too long: 0 of 2 cases ended within 100ms; "
        "play fewer, or a hook blocks"
    )
    [problem] = problems(canary, table())
    assert "the cases of an earlier edit are still being played" in problem
    assert time.monotonic() - began_s < 2
    block.unlink()
    canary = Canary(path, limit_s=5)
    assert problems(canary, slow) == []


async def test_an_edit_that_fails_its_cases_is_refused_and_other_cases_let_it_in(start: Start, tmp_path: Path) -> None:
    cases = tmp_path / "routes.test.yaml"
    cases.write_text(CASES)
    gateway = await start(ROUTES, canary=cases)
    gateway.config.write_text("version: 1\nmodels:\n  fast: [mock/b, mock/a]\n")
    answer = await gateway.request("POST", "/-/reload")
    assert (answer.status, [one["code"] for one in answer.json["problems"]]) == (422, ["canary-failed"])
    assert answer.json["problems"][0]["source"] == str(cases)
    assert (await gateway.get("/-/config")).json["generation"] == 1
    cases.write_text(
        CASES.replace("mock/a}", "mock/b}").replace("mock/a:", "mock/b:").replace("mock/b, st", "mock/a, st")
    )

    async def is_in() -> bool:
        return bool((await gateway.get("/-/config")).json["generation"] == 2)

    await until(is_in, within_s=5)


async def test_at_the_start_a_failing_case_is_a_problem_of_the_config(start: Start, tmp_path: Path) -> None:
    cases = tmp_path / "routes.test.yaml"
    cases.write_text(CASES.replace("mock/a}", "mock/b}"))
    with pytest.raises(ConfigError, match="canary-failed: case 'a answers first' fails"):
        await start(ROUTES, canary=cases)


async def test_requests_are_answered_while_the_cases_are_played(start: Start, tmp_path: Path) -> None:
    case = "  - {name: n%d, request: fast, upstream: {mock/a: [{status: 503}]}, expect: {target: mock/b}}\n"
    cases = tmp_path / "routes.test.yaml"
    cases.write_text("cases:\n" + "".join(case % number for number in range(300)))
    gateway = await start(ROUTES, canary=cases)
    answered = 0
    async with asyncio.TaskGroup() as group:
        reload = group.create_task(gateway.request("POST", "/-/reload"))
        while not reload.done():
            assert (await gateway.chat("fast")).status == 200
            answered += 1
    assert reload.result().status == 200
    assert answered > 10
