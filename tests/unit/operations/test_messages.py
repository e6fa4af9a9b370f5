from __future__ import annotations

import pytest

from gateway.operations.messages import Messages, MessagesJudge
from gateway.wire.json import JsonObject


def _delta(**delta: object) -> JsonObject:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


@pytest.mark.parametrize(
    ("delta", "is_content"),
    [
        ({"type": "text_delta", "text": "one"}, True),
        ({"type": "text_delta", "text": ""}, False),
        ({"type": "thinking_delta", "thinking": "so"}, True),
        ({"type": "thinking_delta", "thinking": ""}, False),
        ({"type": "input_json_delta", "partial_json": ""}, False),
        ({"type": "citations_delta", "citation": {"type": "page_location"}}, True),
        ({"type": "signature_delta", "signature": "signed"}, False),
    ],
)
def test_deltas_that_are_content(delta: JsonObject, is_content: bool) -> None:
    judge = MessagesJudge()
    judge.see(_delta(**delta))
    assert judge.has_content is is_content


def test_an_empty_delta_is_no_part_of_a_run() -> None:
    assert Messages().varying(_delta(type="text_delta", text="one")) == {"text": "one"}
    assert Messages().varying(_delta(type="text_delta", text="")) is None
