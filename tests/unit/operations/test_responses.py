from __future__ import annotations

import pytest

from gateway.operations.responses import Responses, ResponsesJudge


@pytest.mark.parametrize(
    ("kind", "is_content"),
    [
        ("response.created", False),
        ("response.output_item.added", False),
        ("response.output_text.delta", True),
        ("response.compaction.compacting", True),  # a part of the summary was written
        ("response.web_search_call.searching", True),
    ],
)
def test_events_that_are_content(kind: str, is_content: bool) -> None:
    judge = ResponsesJudge()
    judge.see({"type": kind, "delta": "one"})
    assert judge.has_content is is_content


def test_an_empty_delta_is_no_content_and_no_part_of_a_run() -> None:
    delta = {"type": "response.output_text.delta", "delta": ""}
    judge = ResponsesJudge()
    judge.see(delta)
    assert not judge.has_content
    assert Responses().varying(delta) is None


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled"])
def test_a_response_that_is_not_at_its_end_does_not_stand_in_for_a_stream(status: str) -> None:
    response = {"object": "response", "status": status, "output": []}
    assert not Responses().is_answer(response)
    assert Responses().is_answer({**response, "status": "incomplete"})
