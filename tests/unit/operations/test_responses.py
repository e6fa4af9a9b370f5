from __future__ import annotations

import pytest

from gateway.operations.responses import ResponsesJudge


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
    judge.see({"type": kind})
    assert judge.has_content is is_content
