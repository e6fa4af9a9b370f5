from __future__ import annotations

from typing import Any

import pytest

from gateway.adapters.responses import Asked, answer, request
from gateway.operations import OPERATIONS
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject
from tests.unit.adapters.responses.checked import asked, checked_response


def reply(content: object = None, *, finish: str | None = "stop", usage: object = None, **more: Any) -> JsonObject:
    message = {"role": "assistant", "content": content, **more}
    data = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "m-1"}
    return {**data, "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}


def made(data: JsonObject, asked_: Asked | None = None) -> JsonObject:
    found = answer(data, asked_ or asked(), serial="s", now=1700000009)
    checked_response(found)
    return found


def test_a_text_is_a_message() -> None:
    found = made(reply("Hello."))
    assert checked_response(found).output_text == "Hello."
    assert found["output"] == [
        {
            "id": "msg_s_0",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": [], "logprobs": []}],
            "status": "completed",
        }
    ]
    told = {name: found[name] for name in ("id", "object", "created_at", "completed_at", "status", "model", "error")}
    assert told == {
        "id": "resp_s", "object": "response", "created_at": 1700000000, "completed_at": 1700000009,
        "status": "completed", "model": "m-1", "error": None,
    }  # fmt: skip


def test_the_answer_repeats_the_request() -> None:
    params = {
        "input": "hi", "instructions": "be brief", "temperature": 0, "top_p": 0.5, "max_output_tokens": 9, "user": "u",
        "metadata": {"a": "b"}, "text": {"verbosity": "low"}, "reasoning": {"effort": "low"}, "tool_choice": "none",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": False}], "parallel_tool_calls": False,
        "prompt_cache_key": "k", "safety_identifier": "i", "service_tier": "flex", "top_logprobs": 2,
    }  # fmt: skip
    found = made({**reply("a"), "service_tier": "default"}, request(params)[1])
    repeated = {name: found[name] for name in params if name not in ("input", "service_tier", "text", "reasoning")}
    assert repeated == {name: params[name] for name in repeated}
    assert found["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert found["reasoning"] == {"effort": "low", "summary": None}
    assert found["service_tier"] == "default"  # the upstream's word wins
    assert (found["store"], found["previous_response_id"]) == (False, None)


def test_no_answer_shares_what_a_hook_may_change() -> None:
    asked_ = asked()
    first = made(reply("a"), asked_)
    first["metadata"]["tag"] = "x"
    first["tools"].append("x")
    assert (made(reply("a"), asked_)["metadata"], made(reply("a"))["tools"]) == ({}, [])


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_comes_first(field: str) -> None:
    reasoning, message = made(reply("42", **{field: "Let me see."}))["output"]
    assert reasoning == {
        "id": "rs_s_0",
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Let me see."}],
        "status": "completed",
    }
    assert message["id"] == "msg_s_1"


def test_who_asks_for_a_summary_gets_the_reasoning_as_one() -> None:
    found = made(reply("42", reasoning_content="Let me see."), asked(reasoning={"summary": "auto"}))
    assert found["output"][0]["summary"] == [{"type": "summary_text", "text": "Let me see."}]
    assert "content" not in found["output"][0]


def test_content_in_parts_is_reasoning_and_text() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    found = checked_response(made(reply([thinking, {"type": "text", "text": "4"}, "x", {"type": "text", "text": "2"}])))
    assert found.output_text == "42"
    assert [item.type for item in found.output] == ["reasoning", "message"]


def test_a_refusal_is_a_part() -> None:
    (message,) = made(reply(None, refusal="I cannot."))["output"]
    assert message["content"] == [{"type": "refusal", "refusal": "I cannot."}]


def test_calls_keep_their_ids() -> None:
    calls = [
        {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"type": "function", "function": {"name": "h", "arguments": "{}"}},
    ]
    found = made(reply("Now.", tool_calls=calls, finish="tool_calls"))
    assert found["status"] == "completed"
    assert found["output"][1:] == [
        {"id": "fc_s_1", "type": "function_call", "call_id": "call_a", "name": "f", "status": "completed",
         "arguments": '{"x": 1}'},
        {"id": "fc_s_2", "type": "function_call", "call_id": "call_b", "name": "g", "status": "completed",
         "arguments": "{}"},
        {"id": "fc_s_3", "type": "function_call", "call_id": "call_s_2", "name": "h", "status": "completed",
         "arguments": "{}"},
    ]  # fmt: skip


def test_calls_are_those_of_the_clients_tools() -> None:
    tools = [
        {"type": "custom", "name": "apply_patch"},
        {"type": "namespace", "name": "crm", "description": "d", "tools": [{"type": "function", "name": "list"}]},
        {"type": "tool_search", "execution": "client"},
    ]
    calls = [
        {"id": "1", "function": {"name": "apply_patch", "arguments": '{"input": "a\\nb"}'}},
        {"id": "2", "function": {"name": "apply_patch", "arguments": "*** Begin Patch"}},
        {"id": "3", "function": {"name": "apply_patch", "arguments": '{"input": 5}'}},
        {"id": "4", "function": {"name": "crm__list", "arguments": "{}"}},
        {"id": "5", "function": {"name": "tool_search", "arguments": '{"query": "x"}'}},
        {"id": "6", "function": {"name": "tool_search", "arguments": "x"}},
    ]
    found = made(reply(None, tool_calls=calls, finish="tool_calls"), request({"input": "", "tools": tools})[1])[
        "output"
    ]
    assert [item["type"] for item in found] == 3 * ["custom_tool_call"] + ["function_call"] + 2 * ["tool_search_call"]
    assert [item["input"] for item in found[:3]] == ["a\nb", "*** Begin Patch", '{"input": 5}']
    assert (found[3]["name"], found[3]["namespace"]) == ("list", "crm")
    assert [(item["arguments"], item["execution"]) for item in found[4:]] == [
        ({"query": "x"}, "client"),
        ({}, "client"),
    ]


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_a_cut_answer_is_incomplete(finish: str, reason: str) -> None:
    found = made(reply("Once upon", reasoning_content="hm", finish=finish))
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert [item["status"] for item in found["output"]] == ["completed", "incomplete"]
    assert "completed_at" not in found


def test_an_empty_answer_has_an_empty_message() -> None:
    assert checked_response(made(reply(""))).output_text == ""
    assert len(made(reply(None))["output"]) == 1


def test_token_counts() -> None:
    usage = {
        "prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }  # fmt: skip
    assert made(reply("a", usage=usage))["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 17,
    }


def test_reasoning_that_is_told_beside_the_completion_is_output() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 30}
    found = made(reply("a", usage=usage))["usage"]
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (9, 21, 30)
    assert OPERATIONS["responses"].tokens({"usage": found}) == {"prompt": 9, "completion": 21}
    assert OPERATIONS["responses"].tokens({"usage": usage | {"input_tokens": 9, "output_tokens": 8}}) == {
        "prompt": 9, "completion": 21,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "total"),
    [({"prompt_tokens": 2, "completion_tokens": 3}, 5), ({"prompt_tokens": -1, "completion_tokens": "x"}, 0)],
)
def test_odd_token_counts(usage: JsonObject, total: int) -> None:
    assert made(reply("a", usage=usage))["usage"]["total_tokens"] == total


def test_without_token_counts_there_are_none() -> None:
    assert made(reply("a"))["usage"] is None


def test_citations_and_log_probabilities() -> None:
    cited = {"url": "https://x", "title": "X", "start_index": 0, "end_index": 1}
    data = reply("a", annotations=[{"type": "url_citation", "url_citation": cited}, {"type": "other"}, 5])
    top = {"token": "b", "logprob": -2, "bytes": None}
    data["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [top]}]}
    (part,) = made(data)["output"][0]["content"]
    assert part["annotations"] == [{"type": "url_citation", **cited}]
    assert part["logprobs"] == [
        {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2, "bytes": []}]}
    ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"error": {"message": "overloaded", "code": "overloaded_error"}}, Kind.OVERLOADED),
        ({"error": "bad", "choices": []}, Kind.SERVER_ERROR),
        ({}, Kind.BAD_RESPONSE),
        ({"choices": [5]}, Kind.BAD_RESPONSE),
        (reply("a", finish=None), Kind.BAD_RESPONSE),
        (reply("a", finish="error"), Kind.BAD_RESPONSE),
        ({"choices": [{"finish_reason": "stop"}]}, Kind.BAD_RESPONSE),
        (reply(None, tool_calls=[{"id": "1", "function": {"arguments": "{}"}}]), Kind.BAD_RESPONSE),
        (reply(None, tool_calls=["f"]), Kind.BAD_RESPONSE),
        (reply(None, tool_calls="f"), Kind.BAD_RESPONSE),
    ],
)
def test_what_is_no_answer_is_a_failure(data: JsonObject, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as caught:
        made(data)
    assert caught.value.kind is kind


def test_an_error_that_is_null_is_none() -> None:
    assert made({**reply("a", finish="eos"), "error": None, "created": "now"})["created_at"] == 1700000009
