"""All that a model wrote is counted, on each wire, plain and in events: by it limits go where no usage is told."""

from __future__ import annotations

from typing import Any, Final

import pytest

from gateway.operations import CHAT, OPERATIONS
from gateway.wire.json import Json, JsonObject

TEXT: Final = "é" * 2048
"""4 kB."""
CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": TEXT}}
SAID: Final[dict[str, tuple[JsonObject, int]]] = {
    "content": ({"role": "assistant", "content": TEXT}, 4096),
    "parts": ({"content": [{"type": "text", "text": TEXT}, "and", None, {"type": "image_url"}]}, 4099),
    "thinking": ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": TEXT}]}]}, 4096),
    "refusal": ({"content": None, "refusal": TEXT}, 4096),
    "reasoning_content": ({"content": "", "reasoning_content": TEXT}, 4096),
    "reasoning": ({"content": "ok", "reasoning": TEXT}, 4098),
    "both, with the same text": ({"reasoning": TEXT, "reasoning_content": TEXT}, 4096),
    "tool_calls": ({"content": None, "tool_calls": [CALL, CALL]}, 8200),
    "custom tool": ({"tool_calls": [{"type": "custom", "custom": {"name": "find", "input": TEXT}}]}, 4100),
    "arguments as an object": ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, 8),
    "function_call": ({"content": None, "function_call": {"name": "find", "arguments": TEXT}}, 4100),
    "sound": ({"content": None, "audio": {"id": "a", "data": "QUJD" * 99, "transcript": TEXT}}, 4096),
    "a lone surrogate": ({"content": "\ud83d"}, 3),
    "nothing": ({"role": "assistant"}, 0),
}


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("finish", [None, "stop"])
def test_what_chat_says_plain_and_in_a_stream(name: str, finish: str | None) -> None:
    said, size = SAID[name]
    assert CHAT.written_bytes({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}) == size
    event = {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}
    assert CHAT.written_bytes(event) == size, "that of the last chunk, too"


@pytest.mark.parametrize("field", ["message", "delta"])
def test_all_choices_of_chat_count(field: str) -> None:
    choices: list[Json] = [{"index": index, field: {"content": TEXT}} for index in range(4)]
    assert CHAT.written_bytes({"choices": [*choices, None, {"index": 4}]}) == 4 * 4096


@pytest.mark.parametrize("count", [1, 4])
def test_all_choices_of_completions_count(count: int) -> None:
    data = {"choices": [{"index": index, "text": TEXT, "finish_reason": "stop"} for index in range(count)]}
    assert OPERATIONS["completions"].written_bytes(data) == count * 4096


MESSAGE: Final[JsonObject] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "a", "stop_reason": "end_turn",
    "content": [
        {"type": "thinking", "thinking": "12345", "signature": "s" * 99}, {"type": "text", "text": "1234567"},
        {"type": "redacted_thinking", "data": "x" * 99},
        {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
        {"type": "server_tool_use", "id": "2", "name": "g", "input": {"b": 22}},
        {"type": "web_search_tool_result", "content": [{"type": "web_search_result", "title": "x" * 99}]},
        {"type": "compaction", "content": "123"},
    ],
}  # fmt: skip
RESPONSE: Final[JsonObject] = {
    "id": "resp", "object": "response", "status": "completed", "model": "a", "error": None,
    "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "12"}], "encrypted_content": "x" * 99,
         "content": [{"type": "reasoning_text", "text": "123"}]},
        {"type": "message", "id": "m", "content": [
            {"type": "output_text", "text": "1234567", "annotations": [{"title": "x" * 99}]},
            {"type": "refusal", "refusal": "12345"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a":1}'},
        {"type": "custom_tool_call", "call_id": "2", "name": "g", "input": "12345"},
        {"type": "code_interpreter_call", "code": "1 + 1", "outputs": [{"type": "logs", "logs": "x" * 99}]},
        {"type": "web_search_call", "action": {"a": 1}},
        {"type": "shell_call_output", "name": "no", "output": [{"stdout": "x" * 99}]},
    ],
}  # fmt: skip
_SAID: Final = {"content": "a", "tool_calls": [CALL]}
PLAIN: Final = {
    "chat": ({"choices": [{"index": 0, "message": _SAID, "finish_reason": "stop"}]}, 4101),
    "completions": ({"choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}]}, 5),
    "messages": (MESSAGE, 5 + 7 + 1 + 7 + 1 + 8 + 3),
    "responses": (RESPONSE, 2 + 3 + 7 + 5 + 1 + 7 + 1 + 5 + 5 + 7),
    "transcriptions": ({"text": "hello", "segments": [{"text": "hello"}]}, 5),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_answer_has_as_much_as_its_events(name: str) -> None:
    operation, (data, size) = OPERATIONS[name], PLAIN[name]
    assert operation.written_bytes(data) == size
    events: list[Any] = [event.data for event in operation.as_events(data)]
    assert sum(map(operation.written_bytes, events)) == size


@pytest.mark.parametrize(
    ("delta", "size"),
    [
        ({"type": "text_delta", "text": "12345"}, 5),
        ({"type": "thinking_delta", "thinking": "12345"}, 5),
        ({"type": "input_json_delta", "partial_json": '{"a":'}, 5),
        ({"type": "compaction_delta", "content": "12345"}, 5),
        ({"type": "signature_delta", "signature": "12345"}, 0),
        (None, 0),
    ],
)
def test_the_deltas_of_messages(delta: Json, size: int) -> None:
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    assert OPERATIONS["messages"].written_bytes(event) == size


@pytest.mark.parametrize(
    "kind",
    [
        "output_text", "refusal", "reasoning_text", "reasoning_summary_text", "function_call_arguments",
        "custom_tool_call_input", "code_interpreter_call_code", "mcp_call_arguments",
    ],
)  # fmt: skip
def test_the_deltas_of_responses_without_what_hides_their_length(kind: str) -> None:
    operation = OPERATIONS["responses"]
    event = {"type": f"response.{kind}.delta", "sequence_number": 7, "delta": "12345", "obfuscation": "x" * 16}
    assert operation.written_bytes(event) == 5
    assert operation.written_bytes({"type": f"response.{kind}.done", "text": "12345", "arguments": "12345"}) == 0


def test_a_transcript_counts_its_deltas_and_vllm_s() -> None:
    operation = OPERATIONS["transcriptions"]
    assert operation.written_bytes({"choices": [{"delta": {"content": "hello"}, "finish_reason": "stop"}]}) == 5
    assert operation.written_bytes({"type": "transcript.text.done", "text": "hello"}) == 0


@pytest.mark.parametrize("name", ["embeddings", "rerank", "moderations", "images", "speech", "count_tokens"])
def test_where_no_model_writes_there_is_nothing(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation.written_bytes(operation.reply("hello", dict(operation.example))) == 0
