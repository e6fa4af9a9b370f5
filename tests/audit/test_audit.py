"""Every probe at a small scale, and that the program tells what a probe finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.audit import SMOKE, Findings
from tests.audit.__main__ import Result, main, names, run, table
from tests.audit.hostile import huge_bodies
from tests.audit.measured import Lags
from tests.audit.probes import hooks, http, model_names
from tests.audit.probes._http_payloads import payloads

SLOW: Final = frozenset({"litellm_hosts"})
"""Probes of what the tests of `tests/integration/test_litellm_hosts.py` see faster."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in names()]
)
def test_a_probe_finds_nothing(name: str) -> None:
    result = run(name, SMOKE)
    assert result.findings == []
    assert result.description


def test_the_table_shows_what_was_tried_and_found() -> None:
    good = Result("good", "Tries much.", Findings(tried=4000, figures=["1 ms"]), 1.26)
    bad = Result("bad", "Tries.", Findings([f"way {n}" for n in range(25)]), 10.0)
    assert table([good, bad]).splitlines()[:7] == [
        "probe  what it tries  tried  findings  seconds",
        "-----  -------------  -----  --------  -------",
        "good   Tries much.    4,000         0      1.3",
        "bad    Tries.                      25     10.0",
        "good: 1 ms",
        "FOUND by bad: way 0",
        "FOUND by bad: way 1",
    ]
    assert table([bad]).endswith("FOUND by bad: 5 more")


def test_an_unknown_probe_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"]) == 2
    assert "http" in capsys.readouterr().err


def test_probes_are_listed_with_what_they_try(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "model_*"]) == 0
    assert capsys.readouterr().out.startswith("model_names: Odd model names")


def test_a_share_of_the_payloads_has_one_of_each_sort() -> None:
    every, few = payloads(1.0), payloads(SMOKE)
    assert len(every) > 4000
    assert {payload.sort for payload in few} == {payload.sort for payload in every}
    assert len(few) < 100
    assert few == payloads(SMOKE)


@pytest.mark.parametrize(
    ("ours", "aiohttps", "agree"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 no\r\n\r\n", b"HTTP/1.1 400 no\r\n\r\n", True),
        (b"HTTP/1.1 400 no\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 no\r\n\r\n", False),
    ],
)
def test_readers_agree_when_they_answer_the_same_requests(ours: bytes, aiohttps: bytes, *, agree: bool) -> None:
    assert http.agree(http.Heard(ours, closed=True), http.Heard(aiohttps, closed=True)) is agree


def test_a_connection_left_open_is_a_difference() -> None:
    assert not http.agree(http.Heard(b"", closed=True), http.Heard(b"", closed=False))


def test_there_are_448_hooks_to_try() -> None:
    assert len(hooks.TRIES) == len(set(map(str, hooks.TRIES))) == 448
    assert {each.kind for each in hooks.TRIES} >= {"system_exit", "keyboard_interrupt", "cancelled", "other"}


def test_what_is_wrong_with_the_answer_after_a_failed_hook_is_told() -> None:
    fail = next(each for each in hooks.TRIES if each.on_error == "fail" and each.place == "post" and each.stream)
    error = json.dumps({"error": {"code": "hook_failed", "message": f"hook {fail.hook} failed"}})
    assert hooks.failed(fail, hooks.Answer(500, error)) == []
    assert hooks.failed(fail, hooks.Answer(200, f"data: {error}\n\n")) == []
    assert hooks.failed(fail, hooks.Answer(200, f"data: {error}\n\ndata: [DONE]\n\n")) == ["the stream looks whole"]
    assert hooks.failed(fail, hooks.Answer(499, "")) == ["499 although the hook failed"]
    assert hooks.failed(fail, hooks.Answer(500, error.replace(fail.hook, "?")))


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("team-x/y", ("/base/v1/chat/completions", "x/y")),
        ("open-x", ("/base/v1/chat/completions", "vendor/x")),
        ("azure-x/y", ("/openai/deployments/x%2Fy/chat/completions?api-version=2024-10-21", "x/y")),
        ("team-x/../y", None),
        ("team-x?y", None),
        (f"team-{'x' * 252}", None),
        ("azure-.", None),
        (["exact"], None),
    ],
)
def test_what_a_name_may_send_upstream(name: object, sent: tuple[str, str] | None) -> None:
    assert model_names.sent_for(name) == sent


def test_a_stop_of_the_loop_counts_for_as_long_as_it_lasted(tmp_path: Path) -> None:
    (tmp_path / "lags").write_text(json.dumps({"late": [0.0] * 99 + [1.0], "waited": [0.0] * 99 + [0.6]}))
    lags = Lags.load(tmp_path / "lags")
    assert lags.own_s(0.0) == 0.0
    assert lags.own_s(0.9) == pytest.approx(0.26, abs=0.03)
    assert lags.all_s(1.0) == 1.0
    assert lags.all_s(0.6) == pytest.approx(0.2, abs=0.03)


def test_huge_bodies_have_the_size_asked_for() -> None:
    assert all(0.8e6 < len(body) <= 1e6 for body in huge_bodies(1_000_000))
