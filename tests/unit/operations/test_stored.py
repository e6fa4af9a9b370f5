"""Requests about responses that an upstream keeps."""

from __future__ import annotations

import pytest

from gateway.operations.stored import CancelledResponse, DeletedResponse, InputItems, StoredResponse
from gateway.policy.failures import UpstreamError
from gateway.wire.json import JsonObject


def test_each_has_a_method_and_a_path() -> None:
    kinds = (StoredResponse, DeletedResponse, CancelledResponse, InputItems)
    assert [f"{one.method} {one.path}" for one in (kind("resp_1") for kind in kinds)] == [
        "GET /responses/resp_1",
        "DELETE /responses/resp_1",
        "POST /responses/resp_1/cancel",
        "GET /responses/resp_1/input_items",
    ]
    assert StoredResponse("a/b?c#d e").path == "/responses/a%2Fb%3Fc%23d%20e"


def test_a_response_that_failed_is_an_answer_and_an_error_alone_is_none() -> None:
    operation = StoredResponse("resp_1")
    operation.check_reply({"id": "resp_1", "status": "failed", "error": {"code": "server_error"}})
    operation.check_reply({"id": "resp_1", "deleted": True})
    with pytest.raises(UpstreamError):
        operation.check_reply({"error": {"message": "no", "type": "server_error"}})


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete", "response.failed", "error"])
def test_a_stream_is_whole_at_its_last_event_whatever_that_says(end: str) -> None:
    judge = StoredResponse("resp_1").judge()
    events: list[JsonObject] = [{"type": "response.queued"}, {"type": end, "response": {}}]
    judge.see(events[0])
    assert (judge.has_content, judge.is_whole) == (True, False)
    judge.see(events[1])
    assert judge.is_whole


def test_tokens_are_counted_once_when_the_response_is_made() -> None:
    response = {"id": "resp_1", "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2}}
    operation = StoredResponse("resp_1")
    judge = operation.judge()
    judge.see({"type": "response.completed", "response": response})
    assert operation.tokens(response) is judge.tokens is None


def test_an_error_without_a_type_is_a_failure() -> None:
    with pytest.raises(UpstreamError):
        StoredResponse("resp_1").judge().see({"error": {"message": "no", "type": "server_error"}})
