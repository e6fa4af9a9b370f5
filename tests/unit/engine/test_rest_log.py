"""The log says what rests, until when, and when that is over."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gateway.engine.health import Health, Identity
from gateway.engine.rest_log import RestLog
from gateway.engine.rests import TargetRest
from gateway.policy.failures import Kind
from tests.compiling import table

STEP = table("defaults: {cooldown: {failures: 2, for: 60s}}\nmodels: {fast: mock/a}\n").routes["fast"].steps[0]


def fail(health: Health, *, now_s: float, kind: Kind = Kind.OVERLOADED, retry_after_s: float | None = None) -> None:
    ticket = health.begin(STEP, now_s=now_s)
    ticket.failed(kind, now_s=now_s, retry_after_s=retry_after_s)
    ticket.left(now_s)
    ticket.done()


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    keys = ("msg", "target", "for_s", "asked", "failures")
    return [{key: vars(line).get(key) for key in keys if key in vars(line)} for line in caplog.records]


async def test_a_rest_is_logged_as_it_begins_and_as_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    health = Health()
    RestLog(health)
    now_s = asyncio.get_running_loop().time()
    fail(health, now_s=now_s)
    assert told(caplog) == []
    for _ in range(5):
        fail(health, now_s=now_s)  # those that arrive together are told once
    ticket = health.begin(STEP, now_s=now_s + 61)
    ticket.answered(now_s + 61)
    ticket.done()
    first, last = told(caplog)
    assert (first["msg"], first["target"], first["asked"], first["failures"]) == ("a target rests", "mock/a", None, 2)
    assert 59 < first["for_s"] <= 60
    assert vars(caplog.records[0])["until"].endswith("Z")
    assert last == {"msg": "a target rests no more", "target": "mock/a"}


async def test_a_longer_rest_is_logged_anew_with_who_asked_for_it(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    RestLog(health)
    now_s = asyncio.get_running_loop().time()
    fail(health, now_s=now_s)
    fail(health, now_s=now_s)
    fail(health, now_s=now_s, kind=Kind.RATE_LIMIT, retry_after_s=300.0)
    assert [(line["asked"], line["failures"]) for line in told(caplog)] == [(None, 2), (Kind.RATE_LIMIT, None)]


async def test_who_else_is_told_still_is(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def tell(identity: Identity, label: str, rest: TargetRest | None) -> None:
        heard.append(label)

    health = Health()
    health.tell = tell
    RestLog(health)
    now_s = asyncio.get_running_loop().time()
    fail(health, now_s=now_s)
    fail(health, now_s=now_s)
    assert (heard, len(told(caplog))) == (["mock/a"], 1)
