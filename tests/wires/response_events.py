"""One event of every type that a stream of OpenAI's Responses can have, by the SDK's types."""

from __future__ import annotations

from typing import Any, Final

_AT: Final[dict[str, Any]] = {"item_id": "item_1", "output_index": 0}
_CONTENT: Final[dict[str, Any]] = {**_AT, "content_index": 0}
_SUMMARY: Final[dict[str, Any]] = {**_AT, "summary_index": 0}
_SHELL: Final[dict[str, Any]] = {"output_index": 0, "command_index": 0}
_OUTCOME: Final[dict[str, Any]] = {"stdout": "out", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
_TEXT: Final[dict[str, Any]] = {"type": "output_text", "text": "one", "annotations": []}
_SUMMARY_PART: Final[dict[str, Any]] = {"type": "summary_text", "text": "one"}
_REASONING: Final[dict[str, Any]] = {"id": "item_1", "type": "reasoning", "summary": []}
_CALLS: Final = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
    "mcp_call": ("in_progress", "failed", "completed"),
    "mcp_list_tools": ("in_progress", "failed", "completed"),
}

MIDDLE: Final[dict[str, dict[str, Any]]] = {
    "output_item.added": {"output_index": 0, "item": _REASONING},
    "content_part.added": {**_CONTENT, "part": {**_TEXT, "text": ""}},
    "reasoning_summary_part.added": {**_SUMMARY, "part": {**_SUMMARY_PART, "text": ""}},
    "reasoning_summary_text.delta": {**_SUMMARY, "delta": "one"},
    "reasoning_summary_text.done": {**_SUMMARY, "text": "one"},
    "reasoning_summary_part.done": {**_SUMMARY, "part": _SUMMARY_PART},
    "reasoning_text.delta": {**_CONTENT, "delta": "one"},
    "reasoning_text.done": {**_CONTENT, "text": "one"},
    "output_text.delta": {**_CONTENT, "delta": "one", "logprobs": []},
    "output_text.annotation.added": {
        **_CONTENT, "annotation_index": 0, "annotation": {"type": "file_path", "file_id": "file_1", "index": 0}
    },
    "output_text.done": {**_CONTENT, "text": "one", "logprobs": []},
    "refusal.delta": {**_CONTENT, "delta": "no"},
    "refusal.done": {**_CONTENT, "refusal": "no"},
    "content_part.done": {**_CONTENT, "part": _TEXT},
    "function_call_arguments.delta": {**_AT, "delta": "{}"},
    "function_call_arguments.done": {**_AT, "name": "f", "arguments": "{}"},
    "custom_tool_call_input.delta": {**_AT, "delta": "in"},
    "custom_tool_call_input.done": {**_AT, "input": "in"},
    "mcp_call_arguments.delta": {**_AT, "delta": "{}"},
    "mcp_call_arguments.done": {**_AT, "arguments": "{}"},
    "code_interpreter_call_code.delta": {**_AT, "delta": "1"},
    "code_interpreter_call_code.done": {**_AT, "code": "1"},
    "shell_call_command.added": {**_SHELL, "command": ""},
    "shell_call_command.delta": {**_SHELL, "delta": "ls"},
    "shell_call_command.done": {**_SHELL, "command": "ls"},
    "shell_call_output_content.delta": {**_SHELL, "item_id": "item_1", "delta": {"stdout": "out"}},
    "shell_call_output_content.done": {**_SHELL, "item_id": "item_1", "output": [_OUTCOME]},
    "image_generation_call.partial_image": {**_AT, "partial_image_b64": "aW1n", "partial_image_index": 0},
    "audio.delta": {"delta": "c291bmQ="},
    "audio.done": {},
    "audio.transcript.delta": {"delta": "one"},
    "audio.transcript.done": {},
    "compaction.compacting": _AT,
    **{f"{call}.{state}": _AT for call, states in _CALLS.items() for state in states},
    "output_item.done": {"output_index": 0, "item": _REASONING},
}  # fmt: skip
"""Fields by type without `response.`, in an order in which they could come."""

FIRST: Final = ("response.created", "response.queued", "response.in_progress")
LAST: Final = ("response.completed", "response.incomplete", "response.failed", "error")
"""One of these ends a stream."""


def every_event(response: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a stream that has every type once, but of those in `LAST` only the end of this response."""
    begun = {**response, "status": "in_progress", "output": []}
    told = [{"type": kind, "response": begun} for kind in FIRST]
    told += [{"type": f"response.{kind}", **fields} for kind, fields in MIDDLE.items()]
    told.append({"type": "response.completed", "response": response})
    return [{**event, "sequence_number": number} for number, event in enumerate(told)]
