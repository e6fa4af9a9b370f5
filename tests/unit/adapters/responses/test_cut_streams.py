"""Chat streams of any kind, cut anywhere: an answer that is not finished never looks whole."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.responses import Asked, Events, answer, request
from gateway.wire.json import JsonObject, encode_json
from tests.unit.adapters.responses.checked import call, checked_events, checked_response, chunk, usage_chunk

TOOLS: Final = [
    {"type": "function", "name": "f", "parameters": {}, "strict": False},
    {"type": "custom", "name": "c"},
    {"type": "tool_search", "execution": "client"},
]
NAMES: Final = ("f", "c", "tool_search")
ENDS: Final = ("response.completed", "response.incomplete")


def asked(summary: str | None) -> Asked:
    return request({"input": "", "tools": TOOLS, "reasoning": {"summary": summary}}, stream=True)[1]


_text = st.text(max_size=4)
_deltas = st.one_of(
    st.builds(lambda text: {"content": text}, _text),
    st.builds(lambda text: {"reasoning_content": text}, _text),
    st.builds(lambda text: {"refusal": text}, _text),
    st.builds(
        lambda index, name, text, *, begins: {
            "tool_calls": [call(index, text, **({"id": f"call_{index}", "name": name} if begins else {}))]
        },
        st.integers(0, 2),
        st.sampled_from(NAMES),
        _text,
        begins=st.booleans(),
    ),
)


@st.composite
def streams(draw: st.DrawFn) -> list[JsonObject]:
    """Return chunks in which each call begins with its name and id."""
    chunks: list[JsonObject] = []
    begun: dict[int, str] = {}
    for delta in draw(st.lists(_deltas, max_size=12)):
        for part in delta.get("tool_calls", ()):
            index = part["index"]
            if index not in begun:
                part.update(call(index, part["function"]["arguments"], id=f"call_{index}", name=draw(_names)))
                begun[index] = part["function"]["name"]
            elif "name" in part["function"]:
                part["function"]["name"] = begun[index]
        chunks.append(chunk(**delta))
    chunks.append(chunk(finish=draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))))
    return [*chunks, usage_chunk()] if draw(st.booleans()) else chunks


_names = st.sampled_from(NAMES)


@given(streams(), st.integers(0, 20), st.sampled_from([None, "auto"]))
@settings(deadline=None)
def test_only_a_finished_stream_ends(chunks: list[JsonObject], at: int, summary: str | None) -> None:
    events = Events(asked(summary), serial="s", now=1)
    told: list[JsonObject] = []
    for data in chunks[:at]:
        told += events.feed(data)
    told += events.end(now=2)
    finished = any(choice["finish_reason"] for data in chunks[:at] for choice in data["choices"])
    assert [event["type"] in ENDS for event in told].count(True) == finished
    assert not told or (told[-1]["type"] in ENDS) == finished
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert events.sequence_number == len(told)
    checked_events(told)
    encode_json(told)


@given(streams(), st.sampled_from([None, "auto"]))
@settings(deadline=None)
def test_the_events_are_those_of_the_whole(chunks: list[JsonObject], summary: str | None) -> None:
    """Each item is told once, at its place; its deltas are what it has in the end."""
    events = Events(asked(summary), serial="s", now=1)
    told = [event for data in chunks for event in events.feed(data)] + events.end(now=2)
    whole = told[-1]["response"]
    checked_response(whole)
    added = {event["output_index"]: event["item"] for event in told if event["type"] == "response.output_item.added"}
    done = {event["output_index"]: event["item"] for event in told if event["type"] == "response.output_item.done"}
    assert [done[place] for place in range(len(done))] == whole["output"]
    assert [added[place]["id"] for place in range(len(added))] == [item["id"] for item in whole["output"]]
    for place, item in done.items():
        deltas = "".join(event.get("delta", "") for event in told if event.get("output_index") == place)
        assert deltas == _said(item)


@given(streams(), st.sampled_from([None, "auto"]))
@settings(deadline=None)
def test_a_stream_says_what_the_plain_answer_says(chunks: list[JsonObject], summary: str | None) -> None:
    events = Events(asked(summary), serial="s", now=1)
    told = [event for data in chunks for event in events.feed(data)] + events.end(now=2)
    plain = answer(_joined(chunks), asked(summary), serial="s", now=2)
    streamed = told[-1]["response"]
    assert (streamed["status"], streamed["incomplete_details"]) == (plain["status"], plain["incomplete_details"])
    assert streamed["usage"] == plain["usage"]
    for kind in ("message", "reasoning"):
        assert _of(streamed, kind) == _of(plain, kind)
    assert _calls(streamed) == _calls(plain)


def _joined(chunks: list[JsonObject]) -> JsonObject:
    """Return the plain answer that a stream tells."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "refusal": "", "tool_calls": []}
    reply: JsonObject = {"model": "m-1", "created": 1700000000}
    calls: dict[int, JsonObject] = {}
    for data in chunks:
        for choice in data["choices"]:
            for name, value in choice["delta"].items():
                if name != "tool_calls":
                    message[name] += value
            for part in choice["delta"].get("tool_calls", ()):
                one = calls.setdefault(part["index"], {"id": part.get("id"), "function": {"arguments": ""}})
                one["function"]["arguments"] += part["function"]["arguments"]
                one["function"].setdefault("name", part["function"].get("name"))
            if choice["finish_reason"]:
                reply["choices"] = [{"message": message, "finish_reason": choice["finish_reason"]}]
        reply["usage"] = data.get("usage")
    message["tool_calls"] = list(calls.values())
    return reply


def _said(item: JsonObject) -> str:
    """Return all text of an item."""
    parts = [*item.get("content", ()), *item.get("summary", ())]
    said = "".join(part.get("text", "") + part.get("refusal", "") for part in parts)
    arguments = item.get("arguments", "")
    return said + (arguments if isinstance(arguments, str) else "") + str(item.get("input", ""))


def _of(response: JsonObject, kind: str) -> list[str]:
    """Return the texts, and the refusals, of all items of a type."""
    parts = [part for item in response["output"] if item["type"] == kind for part in
             (*item.get("content", ()), *item.get("summary", ()))]  # fmt: skip
    return ["".join(part.get(name, "") for part in parts) for name in ("text", "refusal")]


def _calls(response: JsonObject) -> list[JsonObject]:
    varied = ("id", "status")
    items = [item for item in response["output"] if "call_id" in item]
    return [{name: value for name, value in item.items() if name not in varied} for item in items]
