"""What holds for all requests, answers and streams."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters import gemini
from gateway.adapters.base import NotSupported
from gateway.operations.generate import GenerateContent
from gateway.policy.failures import UpstreamError
from gateway.wire import sse
from gateway.wire.json import Json, JsonObject, decode_json, encode_json
from tests.unit.adapters.anthropic.summed import chat_sum
from tests.unit.adapters.anthropic.written import CHAT_REQUESTS
from tests.unit.adapters.gemini.shapes import answered, called, candidate, chunks_of, machine, piece, read, said, text

_QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
_TEXTS = st.text(alphabet='abc é\n"\\', min_size=1, max_size=8)
_GENERATE = GenerateContent()

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "inlineData",
                 "mimeType", "data", "finishReason", "index", "usageMetadata", "promptTokenCount", "error", "code",
                 "promptFeedback", "blockReason", "thoughtSignature", "logprobsResult", "chosenCandidates"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip
"""Anything, with Gemini's fields."""


@st.composite
def _parts(draw: st.DrawFn) -> JsonObject:
    kind = draw(st.sampled_from(["text", "text", "thought", "call"]))
    if kind == "call":
        signature = draw(st.sampled_from([None, "c2ln"]))
        return called(draw(st.sampled_from(["weather", "time"])), signature=signature, city=draw(_TEXTS))
    return text(draw(_TEXTS), **({"thought": True} if kind == "thought" else {}))


@st.composite
def _streams(draw: st.DrawFn) -> list[JsonObject]:
    pieces = draw(st.lists(st.lists(_parts(), max_size=3), max_size=6))
    finish = draw(st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY"]))
    return [*(piece(*parts) for parts in pieces), said(text(""), finish=finish)]


def _fed(events: list[JsonObject]) -> list[JsonObject]:
    made = machine()
    return [chunk for event in events for chunk in made.feed(event)]


@_QUICK
@given(_streams(), st.data())
def test_a_stream_cut_anywhere_has_no_finish_reason(events: list[JsonObject], data: st.DataObject) -> None:
    whole = chat_sum(chunks_of(events))
    assert whole["finish"] is not None
    assert whole["usage"] is not None
    found = chat_sum(_fed(events[: data.draw(st.integers(0, len(events)))]))
    assert (found["finish"], found["usage"]) == (None, None)
    assert whole["text"].startswith(found["text"])


@_QUICK
@given(_streams())
def test_a_stream_says_what_the_plain_answer_says(events: list[JsonObject]) -> None:
    parts = [part for event in events for part in event["candidates"][0]["content"]["parts"]]
    plain = read(said(*parts, finish=events[-1]["candidates"][0]["finishReason"]))["choices"][0]
    streamed = chat_sum(chunks_of(events))
    message = plain["message"]
    assert streamed["text"] == (message["content"] or "")
    assert streamed["reasoning"] == message.get("reasoning_content", "")
    assert streamed["finish"] == plain["finish_reason"]
    assert [call[1:] for call in streamed["calls"]] == [
        (call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())
    ]
    ids = [call[0] for call in streamed["calls"]]
    assert len(set(ids)) == len(ids)


@_QUICK
@given(st.lists(_TEXTS, min_size=1, max_size=5))
def test_a_run_is_the_same_as_its_events(texts: list[str]) -> None:
    events = [piece(text(one)) for one in texts]
    fed, ran = machine(), machine()
    for made in (fed, ran):
        made.feed(piece(text("first")))
    raw = ran.run(b"".join(sse.encode(encode_json(event)) for event in events))
    assert raw is not None
    chunks = [decode_json(sse.event_data(one) or b"") for one in sse.Splitter().split(raw)]
    assert chunks == [chunk for event in events for chunk in fed.feed(event)]
    assert ran.end() == fed.end()


@_QUICK
@given(CHAT_REQUESTS)
def test_a_request_is_translated_or_refused_and_never_changed(body: JsonObject) -> None:
    before = copy.deepcopy(body)
    with suppress(NotSupported):
        sent = gemini.request(body).body
        encode_json(sent)
        for content in sent["contents"]:
            assert content["role"] in ("user", "model")
            assert content["parts"]
        calls = sum("functionCall" in part for content in sent["contents"] for part in content["parts"])
        answers = sum("functionResponse" in part for content in sent["contents"] for part in content["parts"])
        assert answers == sum(message["role"] == "tool" for message in body["messages"])
        assert calls >= 0
    assert body == before


@_QUICK
@given(st.lists(_JSON, max_size=4))
def test_anything_is_an_answer_or_a_failure(events: list[Json]) -> None:
    made = machine()
    judge = _GENERATE.judge()
    with suppress(UpstreamError):
        for event in events:
            if isinstance(event, dict):
                judge.see(event)
                _GENERATE.varying(event)
                encode_json(made.feed(event))
        encode_json(made.end())


@_QUICK
@given(_JSON)
def test_any_body_is_an_answer_or_a_failure(data: Json) -> None:
    if isinstance(data, dict):
        with suppress(UpstreamError):
            _GENERATE.check_reply(data)
            encode_json(read(data))


@_QUICK
@given(st.dictionaries(st.sampled_from(["messages", "tools", "tool_choice", "stop", "response_format", "n", "thinking",
                                        "reasoning_effort", "max_tokens", "modalities", "model", "service_tier"]),
                       _JSON | st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]),
                                                               "content": _JSON}), max_size=3)))  # fmt: skip
def test_any_request_is_translated_or_refused(body: dict[str, Any]) -> None:
    with suppress(NotSupported):
        encode_json(gemini.request(body).body)


@_QUICK
@given(_streams(), st.data())
def test_an_answer_is_whole_with_its_finish_reasons_only(events: list[JsonObject], data: st.DataObject) -> None:
    judge = _GENERATE.judge()
    for event in events[:-1]:
        judge.see(event)
        assert not judge.is_whole
    second = answered(candidate(text("x"), index=1))
    if data.draw(st.booleans()):
        judge.see(second)
        judge.see(events[-1])
        assert not judge.is_whole
        judge.see(answered(candidate(finish="STOP", index=1)))
    else:
        judge.see(events[-1])
    assert judge.is_whole
