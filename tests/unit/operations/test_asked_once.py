"""When a stream that broke off must not be asked for again."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.operations import OPERATIONS
from gateway.policy.failures import UpstreamError
from gateway.wire.json import EMPTY, JsonObject

RESPONSES, MESSAGES = OPERATIONS["responses"], OPERATIONS["messages"]
CREATED: JsonObject = {"type": "response.created", "response": {}}
SEARCHING: JsonObject = {"type": "response.web_search_call.searching"}
CALLING: JsonObject = {"type": "response.function_call_arguments.delta", "delta": "{"}


@pytest.mark.parametrize(
    ("params", "overrides", "reason"),
    [
        ({}, EMPTY, ""),
        ({"store": False, "background": False}, EMPTY, ""),
        ({"store": True}, EMPTY, "the request says store: true"),
        ({"background": True}, EMPTY, "the request says background: true"),
        ({}, {"store": True}, "the request says store: true"),
        ({"store": True}, {"store": False}, ""),
    ],
)
def test_a_response_that_the_request_keeps_is_asked_for_once(params: Any, overrides: Any, reason: str) -> None:
    judge = RESPONSES.judge()
    judge.see(CREATED)
    assert RESPONSES.asked_once(judge, params, overrides) == reason


@pytest.mark.parametrize(
    "told",
    [
        {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
        {"type": "error", "code": "server_error"},
        {"type": "response.completed", "response": {"status": "failed"}},
    ],
)
def test_a_response_that_its_upstream_ended_may_be_asked_for_again(told: JsonObject) -> None:
    judge = RESPONSES.judge()
    with pytest.raises(UpstreamError):
        judge.see(told)
    assert RESPONSES.asked_once(judge, {"store": True}, EMPTY) == ""


def test_a_tool_that_ran_upstream_runs_once() -> None:
    judge = RESPONSES.judge()
    judge.see(CALLING)
    assert RESPONSES.asked_once(judge, EMPTY, EMPTY) == ""
    judge.see(SEARCHING)
    assert RESPONSES.asked_once(judge, EMPTY, EMPTY) == "a hosted tool ran upstream"
    for kind, reason in (("tool_use", ""), ("server_tool_use", "a tool ran upstream")):
        judge = MESSAGES.judge()
        judge.see({"type": "content_block_start", "content_block": {"type": kind}})
        assert MESSAGES.asked_once(judge, EMPTY, EMPTY) == reason


def test_chat_may_be_asked_again() -> None:
    chat = OPERATIONS["chat"]
    assert (chat.can_bind, chat.asked_once(chat.judge(), {"store": True}, EMPTY)) == (False, "")
