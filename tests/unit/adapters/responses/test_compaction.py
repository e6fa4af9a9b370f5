from __future__ import annotations

from typing import Any

import pytest

from gateway.adapters.base import NotSupported
from gateway.adapters.responses import Events, answer, request
from gateway.adapters.responses.compaction import PROMPT, encoded
from gateway.policy.failures import UpstreamError
from gateway.wire.json import JsonObject
from tests.unit.adapters.responses.checked import checked_response, chunk, played, types, usage_chunk

TRIGGER = {"type": "compaction_trigger"}
SAID: list[JsonObject] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."}]
TOOL: JsonObject = {"type": "function", "name": "f", "parameters": {}, "strict": False}


def asked_to_compact(**params: Any) -> Any:
    return request({"input": [*SAID, TRIGGER], "tools": [TOOL], **params}, stream=True)


def test_the_model_is_asked_for_a_summary_and_calls_no_tools() -> None:
    body, asked = asked_to_compact(tool_choice="required", text={"format": {"type": "json_object"}})
    assert body["messages"] == [*SAID, {"role": "user", "content": PROMPT}]
    assert (body["tool_choice"], len(body["tools"]), "response_format" in body) == ("none", 1, False)
    assert asked.compacts


def test_a_plain_summary_is_the_only_item() -> None:
    message = {"content": "All è said.", "reasoning_content": "hm"}
    reply = {"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]}
    found = answer(reply, asked_to_compact()[1], serial="s", now=1)
    checked_response(found)
    assert found["output"] == [{"id": "cmp_s_0", "type": "compaction", "encrypted_content": encoded("All è said.")}]
    assert found["status"] == "completed"


def test_a_streamed_summary_is_counted_while_it_comes_and_told_at_the_end() -> None:
    chunks = [chunk(reasoning_content="hm"), chunk("All "), chunk([{"type": "text", "text": "said."}])]
    events = played([*chunks, chunk(finish="stop"), usage_chunk()], asked_to_compact()[1])
    assert types(events) == [
        "created", "in_progress", "output_item.added", "compaction.compacting", "compaction.compacting",
        "output_item.done", "completed",
    ]  # fmt: skip
    assert events[2]["item"] == {"id": "cmp_s_0", "type": "compaction", "encrypted_content": ""}
    assert events[5]["item"] == {**events[2]["item"], "encrypted_content": encoded("All said.")}
    assert events[-1]["response"]["output"] == [events[5]["item"]]


def test_a_summary_that_became_too_long_is_incomplete() -> None:
    events = played([chunk("All "), chunk(finish="length")], asked_to_compact()[1])
    assert (types(events)[-1], len(events[-1]["response"]["output"])) == ("incomplete", 1)


def test_a_cut_summary_is_none() -> None:
    events = Events(asked_to_compact()[1], serial="s", now=1)
    events.feed(chunk("All "))
    assert events.end(now=2) == []


def test_without_a_text_there_is_no_summary() -> None:
    events = Events(asked_to_compact()[1], serial="s", now=1)
    events.feed(chunk(" ", finish="stop"))
    with pytest.raises(UpstreamError):
        events.end(now=2)


def test_a_summary_stands_for_what_was_before() -> None:
    item = {"type": "compaction", "id": "cmp_s_0", "encrypted_content": encoded("All è said.")}
    message, _ = request({"input": [item, {"role": "user", "content": "and?"}]})[0]["messages"]
    assert message["role"] == "user"
    assert message["content"].endswith(":\n\nAll è said.")


@pytest.mark.parametrize("content", ["gAAAAA", None, "chat-summary.é", "chat-summary.abc", "chat-summary._w=="])
def test_a_summary_of_another_server_cannot_be_read(content: str | None) -> None:
    with pytest.raises(NotSupported, match="compaction that another server made"):
        request({"input": [{"type": "compaction", "encrypted_content": content}]})


def test_a_trigger_is_the_last_item() -> None:
    with pytest.raises(NotSupported, match="not the last item"):
        request({"input": [TRIGGER, *SAID]})
