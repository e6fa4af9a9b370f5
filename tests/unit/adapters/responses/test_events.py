from __future__ import annotations

import pytest

from gateway.adapters.responses import Events, request
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject
from tests.unit.adapters.responses.checked import asked, call, chunk, played, types, usage_chunk

BEGIN = ["created", "in_progress"]
MESSAGE = ["output_item.added", "content_part.added"]
MESSAGE_END = ["output_text.done", "content_part.done", "output_item.done"]


def test_a_text() -> None:
    events = played([chunk("", role="assistant"), chunk("Hel"), chunk("lo"), chunk(finish="stop"), usage_chunk()])
    assert types(events) == [*BEGIN, *MESSAGE, *2 * ["output_text.delta"], *MESSAGE_END, "completed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["delta"] for event in events if "delta" in event] == ["Hel", "lo"]
    whole = events[-1]["response"]
    assert whole["output"] == [
        {
            "id": "msg_s_0",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
            "status": "completed",
        }
    ]
    assert events[-2]["item"] == whole["output"][0]
    assert (whole["usage"]["input_tokens"], whole["usage"]["output_tokens"]) == (7, 5)
    assert (whole["status"], whole["completed_at"], whole["model"]) == ("completed", 1700000002, "m-1")
    first = events[0]["response"]
    assert (first["status"], first["id"], first["created_at"], first["output"]) == (
        "in_progress", "resp_s", 1700000000, [],
    )  # fmt: skip


def test_the_first_chunk_tells_that_the_answer_began() -> None:
    events = Events(asked(), serial="s", now=3)
    assert events.sequence_number == 0
    assert types(events.feed({})) == BEGIN
    assert events.feed({"choices": []}) == []
    assert events.sequence_number == 2


def test_reasoning_then_text() -> None:
    chunks = [chunk(reasoning_content="a"), chunk(reasoning="b"), chunk("c"), chunk(finish="stop")]
    events = played(chunks)
    assert types(events)[2:9] == [
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done",
    ]  # fmt: skip
    reasoning, message = events[-1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "ab"}]
    assert message["content"][0]["text"] == "c"


def test_who_asks_for_a_summary_gets_the_reasoning_as_one() -> None:
    chunks = [chunk(reasoning_content="a"), chunk(reasoning_content="b"), chunk("c", finish="stop")]
    events = played(chunks, asked(reasoning={"summary": "auto"}))
    assert types(events)[2:9] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
        "output_item.done",
    ]  # fmt: skip
    assert events[-1]["response"]["output"][0]["summary"] == [{"type": "summary_text", "text": "ab"}]


def test_text_in_parts_is_reasoning_and_text() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}
    events = played([chunk([thinking]), chunk([{"type": "text", "text": "b"}]), chunk(finish="stop")])
    assert [event["delta"] for event in events if "delta" in event] == ["a", "b"]


def test_text_and_refusal_are_parts_of_one_message() -> None:
    events = played([chunk("Well."), chunk(refusal="I "), chunk(refusal="cannot."), chunk(finish="stop")])
    assert types(events)[2:] == [
        *MESSAGE, "output_text.delta", "output_text.done", "content_part.done",
        "content_part.added", "refusal.delta", "refusal.delta", "refusal.done", "content_part.done",
        "output_item.done", "completed",
    ]  # fmt: skip
    assert [part["type"] for part in events[-1]["response"]["output"][0]["content"]] == ["output_text", "refusal"]
    assert [event["content_index"] for event in events if event["type"].endswith("part.added")] == [0, 1]


def test_a_call() -> None:
    chunks = [
        chunk("Now."),
        chunk(tool_calls=[call(0, id="call_a", name="f")]),
        chunk(tool_calls=[call(0, '{"x":')]),
        chunk(tool_calls=[call(0, " 1}")]),
        chunk(finish="tool_calls"),
    ]
    events = played(chunks)
    assert types(events)[5:] == [
        *MESSAGE_END,
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert events[8]["item"] == {
        "id": "fc_s_1", "type": "function_call", "call_id": "call_a", "name": "f", "status": "in_progress",
        "arguments": "",
    }  # fmt: skip
    assert events[-2]["item"]["arguments"] == '{"x": 1}'
    assert events[-1]["response"]["output"][1] == events[-2]["item"]


def test_parallel_calls_may_come_in_turns() -> None:
    chunks = [
        chunk(tool_calls=[call(0, id="a", name="f"), call(1, id="b", name="g")]),
        chunk(tool_calls=[call(1, "[2"), call(0, "[1")]),
        chunk("meanwhile", tool_calls=[call(0, "]")]),
        chunk(tool_calls=[call(1, "]")]),
        chunk(finish="tool_calls"),
    ]
    output = played(chunks)[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["function_call", "function_call", "message"]
    assert [(item["call_id"], item["arguments"]) for item in output[:2]] == [("a", "[1]"), ("b", "[2]")]


def test_calls_that_are_all_numbered_0_are_told_apart_by_their_ids() -> None:
    whole = [call(0, "{}", id=name, name=name) for name in ("a", "b")]
    output = played([chunk(tool_calls=whole), chunk(tool_calls=[call(0, " ", id="b")]), chunk(finish="stop")])[-1]
    assert [(item["call_id"], item["arguments"]) for item in output["response"]["output"]] == [
        ("a", "{}"),
        ("b", "{} "),
    ]


def test_calls_without_a_number_or_an_id() -> None:
    nameless = [{"function": {"name": "f", "arguments": "{}"}}]
    (item,) = played([chunk(tool_calls=nameless), chunk(finish="stop")])[-1]["response"]["output"]
    assert item["call_id"] == "call_s_0"


def test_a_repeated_name_and_id_begin_no_second_call() -> None:
    chunks = [chunk(tool_calls=[call(0, part, id="a", name="f")]) for part in ("{", "}")]
    (item,) = played([*chunks, chunk(finish="tool_calls")])[-1]["response"]["output"]
    assert item["arguments"] == "{}"


def test_a_name_that_comes_late_is_waited_for() -> None:
    chunks = [
        chunk(tool_calls=[call(0, "{")]),
        chunk(tool_calls=[call(0, "}", id="a", name="f")]),
        chunk(tool_calls=[call(1, id="b")]),
        chunk(tool_calls=[call(1, name="g")]),
        chunk(finish="tool_calls"),
    ]
    output = played(chunks)[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("a", "{}"), ("b", "{}")]


def test_values_of_other_types_say_nothing() -> None:
    odd = chunk({"text": "a"}, refusal=["no"], reasoning_content=5, annotations="x", tool_calls="f")
    odder = chunk(tool_calls=[{"index": "0", "id": 5, "function": {"name": "f", "arguments": {}}}])
    odder["choices"][0]["logprobs"] = "x"
    del odder["choices"][0]["finish_reason"]
    (item,) = played([odd, odder, chunk(tool_calls=[{"function": "x"}]), chunk(finish="stop")])[-1]["response"][
        "output"
    ]
    assert (item["call_id"], item["arguments"]) == ("call_s_0", "{}")


def test_a_call_without_a_name_is_no_answer() -> None:
    events = Events(asked(), serial="s", now=0)
    events.feed(chunk(tool_calls=[call(0, "{}", id="a")]))
    events.feed(chunk(finish="tool_calls"))
    with pytest.raises(UpstreamError) as caught:
        events.end(now=0)
    assert caught.value.kind is Kind.BAD_RESPONSE


def test_a_call_without_arguments_has_an_empty_object() -> None:
    events = played([chunk(tool_calls=[call(0, id="a", name="f")]), chunk(finish="tool_calls")])
    assert [event["delta"] for event in events if "delta" in event] == ["{}"]
    assert events[-2]["item"]["arguments"] == "{}"


def test_free_text_comes_as_it_is_written() -> None:
    asked_ = request({"input": "", "tools": [{"type": "custom", "name": "apply_patch"}]})[1]
    chunks = [
        chunk(tool_calls=[call(0, id="a", name="apply_patch")]),
        *(chunk(tool_calls=[call(0, part)]) for part in ('{"inp', 'ut": "a', "\\", 'n\\u00e9"', "}")),
        chunk(finish="tool_calls"),
    ]
    events = played(chunks, asked_)
    assert types(events)[2:] == [
        "output_item.added", *2 * ["custom_tool_call_input.delta"], "custom_tool_call_input.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert "".join(event["delta"] for event in events if "delta" in event) == "a\né"
    assert events[-3]["input"] == events[-2]["item"]["input"] == "a\né"
    assert events[-2]["item"]["type"] == "custom_tool_call"


def test_free_text_without_json_around_it_is_told_at_the_end() -> None:
    asked_ = request({"input": "", "tools": [{"type": "custom", "name": "apply_patch"}]})[1]
    chunks = [chunk(tool_calls=[call(0, part, id="a", name="apply_patch")]) for part in ("*** Begin", " Patch")]
    events = played([*chunks, chunk(finish="tool_calls")], asked_)
    assert [event["delta"] for event in events if "delta" in event] == ["*** Begin Patch"]


def test_a_search_for_tools_has_an_object() -> None:
    asked_ = request({"input": "", "tools": [{"type": "tool_search", "execution": "client"}]})[1]
    chunks = [chunk(tool_calls=[call(0, part, id="a", name="tool_search")]) for part in ('{"query":', '"x"}')]
    events = played([*chunks, chunk(finish="tool_calls")], asked_)
    assert types(events)[2:] == ["output_item.added", "output_item.done", "completed"]
    assert events[-2]["item"]["arguments"] == {"query": "x"}


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_a_cut_answer_is_incomplete(finish: str, reason: str) -> None:
    events = played([chunk(reasoning="hm"), chunk("Once"), chunk(finish=finish), usage_chunk()])
    assert types(events)[-1] == "incomplete"
    whole = events[-1]["response"]
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert [item["status"] for item in whole["output"]] == ["completed", "incomplete"]
    assert events[-2]["item"]["status"] == "incomplete"


def test_free_text_that_was_cut_is_what_came() -> None:
    asked_ = request({"input": "", "tools": [{"type": "custom", "name": "apply_patch"}]})[1]
    cut = chunk(tool_calls=[call(0, '{"input": "*** Begin\\', id="a", name="apply_patch")])
    events = played([cut, chunk(finish="length")], asked_)
    assert events[-2]["item"]["input"] == "*** Begin"
    assert events[-2]["item"]["status"] == "incomplete"


def test_an_empty_answer_has_an_empty_message() -> None:
    events = played([chunk("", role="assistant"), chunk(finish="stop")])
    assert types(events) == [*BEGIN, *MESSAGE, *MESSAGE_END, "completed"]


def test_a_stream_that_was_cut_has_no_end() -> None:
    events = Events(asked(), serial="s", now=0)
    assert events.end(now=0) == []
    events.feed(chunk("Hel"))
    events.feed(usage_chunk())
    assert not events.is_whole
    assert events.end(now=0) == []


def test_what_comes_after_the_finish_reason_counts() -> None:
    events = played([chunk("a", finish="stop"), chunk("b"), usage_chunk(1, 1), usage_chunk(2, 3)])
    whole = events[-1]["response"]
    assert (whole["output"][0]["content"][0]["text"], whole["usage"]["total_tokens"]) == ("ab", 5)


def test_only_the_choice_that_was_asked_for_counts() -> None:
    other = chunk("other", finish="stop")
    other["choices"][0]["index"] = 1
    events = Events(asked(), serial="s", now=0)
    assert types(events.feed(other)) == BEGIN
    assert not events.is_whole


def test_a_tier_that_the_upstream_tells_is_told() -> None:
    events = played([{**chunk("a"), "service_tier": "default"}, chunk(finish="stop")])
    assert events[-1]["response"]["service_tier"] == "default"


def test_citations_and_log_probabilities() -> None:
    cited = {"url": "https://x", "title": "X", "start_index": 0, "end_index": 1}
    token = {"token": "a", "logprob": -1.0, "bytes": [97]}
    first = chunk("a")
    first["choices"][0]["logprobs"] = {"content": [{**token, "top_logprobs": [token]}]}
    annotated = chunk(annotations=[{"type": "url_citation", "url_citation": cited}])
    events = played([first, annotated, chunk(finish="stop")])
    brief = {"token": "a", "logprob": -1.0}
    assert events[4]["logprobs"] == events[6]["logprobs"] == [{**brief, "top_logprobs": [brief]}]
    assert types(events)[5] == "output_text.annotation.added"
    assert events[5]["annotation"] == {"type": "url_citation", **cited}
    part = events[-1]["response"]["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **cited}]
    assert part["logprobs"] == [{**token, "top_logprobs": [token]}]


def test_a_citation_before_any_text() -> None:
    annotated = chunk(annotations=[{"type": "url_citation", "url_citation": {"url": "u", "title": "", "start_index": 0,
                                                                             "end_index": 0}}])  # fmt: skip
    assert types(played([annotated, chunk(finish="stop")]))[2:5] == [*MESSAGE, "output_text.annotation.added"]


def test_a_change_of_one_event_changes_no_later_one() -> None:
    events = Events(asked(), serial="s", now=0)
    told = events.feed(chunk("a"))
    told[0]["response"]["metadata"]["tag"] = told[2]["item"]["content"] = told[3]["part"]["text"] = "changed"
    events.feed(chunk(finish="stop"))
    for event in (last := events.end(now=0))[:-1]:
        for value in event.values():
            if isinstance(value, dict):
                value.clear()
    whole = last[-1]["response"]
    assert whole["metadata"] == {}
    assert whole["output"][0]["content"] == [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, Kind.RATE_LIMIT),
        ({"error": "bad"}, Kind.SERVER_ERROR),
        (chunk("a", finish="error"), Kind.BAD_RESPONSE),
        ({"choices": [{"delta": {}, "error": {"message": "x", "code": 502}}]}, Kind.SERVER_ERROR),
        ({"choices": {"a": 1}}, Kind.BAD_RESPONSE),
        ({"choices": ["a"]}, Kind.BAD_RESPONSE),
        ({"choices": [{"delta": "a"}]}, Kind.BAD_RESPONSE),
        (chunk(tool_calls=["f"]), Kind.BAD_RESPONSE),
    ],
)
def test_what_is_no_part_of_an_answer_is_a_failure(data: JsonObject, kind: Kind) -> None:
    events = Events(asked(), serial="s", now=0)
    with pytest.raises(UpstreamError) as caught:
        events.feed(data)
    assert caught.value.kind is kind


def test_an_error_that_is_null_is_none() -> None:
    assert types(Events(asked(), serial="s", now=0).feed({**chunk("a"), "error": None}))[-1] == "output_text.delta"
