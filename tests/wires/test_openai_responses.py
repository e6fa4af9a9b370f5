"""OpenAI's client on the Responses wire, in its default mode: straight at the upstream, then through the gateway."""

from __future__ import annotations

from typing import Any, Final, get_args

import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from tests.wires import response_events, responses
from tests.wires.lab import UPSTREAM_KEY, Place
from tests.wires.play import Play, Tool, WireRequest, named_event

WEATHER: Final = Tool("weather", {"city": "Bern", "days": 3})
TOOL: Final[Any] = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


class City(pydantic.BaseModel):
    """What `parse` is asked for."""

    name: str
    people: int


def _asked(model: str) -> WireRequest:
    body = {"model": model}
    return WireRequest(method="POST", path="/v1/responses", query={}, headers={}, raw=b"", body=body, form=())


def test_an_answer(place: Place) -> None:
    client = place.openai
    response = client.responses.create(model=place.model("r-plain"), input="hello", instructions="be brief")
    assert (response.status, response.output_text, response.model) == ("completed", "one two three", "r-plain")
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 2
    [asked] = place.upstream.asked("r-plain")
    assert (asked.path, asked.body["instructions"]) == ("/v1/responses", "be brief")
    if not place.direct:
        assert asked.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"


def test_a_stream(place: Place) -> None:
    client = place.openai
    place.upstream.script("r-stream", text="four five six", thinking="let me see")
    stream = client.responses.create(model=place.model("r-stream"), input="hello", stream=True)
    seen = list(stream)
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert [event.delta for event in seen if event.type == "response.output_text.delta"] == ["four ", "five ", "six"]
    assert [event.type for event in seen[:2]] == ["response.created", "response.in_progress"]
    assert seen[-1].type == "response.completed"
    assert seen[-1].response.output_text == "four five six"


def test_the_stream_helper_puts_a_response_together(place: Place) -> None:
    client = place.openai
    place.upstream.script("r-helper", text="four five six")
    with client.responses.stream(model=place.model("r-helper"), input="hello") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert ("".join(deltas), final.output_text) == ("four five six", "four five six")


def test_every_type_of_event_passes(place: Place) -> None:
    client = place.openai
    told = response_events.every_event(responses.response(_asked("r-every"), Play()))
    place.upstream.script("r-every", parts=[named_event(event) for event in told])
    seen = list(client.responses.create(model=place.model("r-every"), input="hello", stream=True))
    assert [event.type for event in seen] == [event["type"] for event in told]
    assert [event.sequence_number for event in seen] == list(range(len(told)))


def test_the_upstream_knows_every_type_of_event() -> None:
    union = get_args(ResponseStreamEvent)[0]
    types = {get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(union)}
    told = response_events.every_event({"status": "completed"})
    assert {event["type"] for event in told} | set(response_events.LAST) == types


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_tool_call_and_its_result(place: Place, stream: bool) -> None:
    client, name = place.openai, f"r-tool-{stream}"
    place.upstream.script(name, tools=[WEATHER]).script(name, text="it is sunny")
    asked: Any = [{"role": "user", "content": "how is the weather?"}]
    for _ in range(2):
        with client.responses.stream(model=place.model(name), input=asked, tools=[TOOL]) as events:
            response: Response = events.get_final_response()
        if not stream:
            response = client.responses.create(model=place.model(name), input=asked, tools=[TOOL])
        calls = [item for item in response.output if item.type == "function_call"]
        if calls:
            assert (calls[0].name, calls[0].arguments) == ("weather", WEATHER.text)
            answer = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "sunny"}
            asked = [*asked, *(item.to_dict() for item in response.output), answer]
    assert response.output_text == "it is sunny"


def test_parse(place: Place) -> None:
    client = place.openai
    place.upstream.script("r-parse", text='{"name": "Bern", "people": 137000}')
    response = client.responses.parse(model=place.model("r-parse"), input="which city?", text_format=City)
    assert response.output_parsed == City(name="Bern", people=137000)
    assert place.upstream.asked("r-parse")[0].body["text"]["format"]["type"] == "json_schema"


def test_a_refusal(place: Place) -> None:
    client = place.openai
    place.upstream.script("r-refusal", refusal="I will not")
    with client.responses.stream(model=place.model("r-refusal"), input="hello") as stream:
        deltas = [event.delta for event in stream if event.type == "response.refusal.delta"]
    assert "".join(deltas) == "I will not"


def test_an_incomplete_answer_is_an_answer(place: Place) -> None:
    client = place.openai
    place.upstream.script("r-incomplete", stop="incomplete")
    plain = client.responses.create(model=place.model("r-incomplete"), input="hello")
    *_, last = client.responses.create(model=place.model("r-incomplete"), input="hello", stream=True)
    assert last.type == "response.incomplete"
    for response in (plain, last.response):
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"


def test_the_sub_resources_of_a_response(place: Place) -> None:
    client = place.openai
    made = client.responses.create(model=place.model("r-made"), input="what I asked")
    assert client.responses.retrieve(made.id).output_text == "one two three"
    [item] = client.responses.input_items.list(made.id).data
    assert item.type == "message"
    assert "what I asked" in item.to_json()
    *_, last = client.responses.retrieve(made.id, stream=True, starting_after=3)
    assert last.type == "response.completed"
    more = client.responses.create(model=place.model("r-made"), input="more", previous_response_id=made.id)
    assert more.previous_response_id == made.id
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_cancelling_a_background_response(place: Place) -> None:
    client = place.openai
    place.upstream.script("r-background", stop="queued")
    made = client.responses.create(model=place.model("r-background"), input="hello", background=True)
    assert made.status == "queued"
    assert client.responses.cancel(made.id).status == "cancelled"


def test_counting_the_tokens_of_an_input(place: Place) -> None:
    client = place.openai
    counted = client.responses.input_tokens.count(model=place.model("r-count"), input="hello")
    assert counted.input_tokens > 0


def test_compacting(place: Place) -> None:
    client = place.openai
    compacted = client.responses.compact(model=place.model("r-compact"), input="hello")
    assert [item.type for item in compacted.output] == ["compaction"]


def test_a_failed_response_is_told(place: Place) -> None:
    """A plain 200 with `status: failed` is what the upstream's wire says; the gateway makes an error of it."""
    client = place.openai.with_options(max_retries=0)
    place.upstream.script("r-failed", stop="failed")
    if place.direct:
        response = client.responses.create(model=place.model("r-failed"), input="hello")
        assert response.status == "failed"
        *_, last = client.responses.create(model=place.model("r-failed"), input="hello", stream=True)
        assert last.type == "response.failed"
    else:
        with pytest.raises(openai.APIStatusError):
            client.responses.create(model=place.model("r-failed"), input="hello")
        with pytest.raises(openai.APIError):
            list(client.responses.create(model=place.model("r-failed"), input="hello", stream=True))


def test_an_error_event_is_told(place: Place) -> None:
    """The client does not raise for the wire's own event; for the gateway's it does."""
    client = place.openai.with_options(max_retries=0)
    place.upstream.script("r-error", error_after=6)
    stream = client.responses.create(model=place.model("r-error"), input="hello", stream=True)
    if place.direct:
        *_, last = stream
        assert (last.type, last.sequence_number) == ("error", 6)
    else:
        with pytest.raises(openai.APIError, match="broke off"):
            list(stream)


def test_a_refused_request_has_the_wire_s_error(place: Place) -> None:
    client = place.openai
    place.upstream.script("r-400", status=400, error={"message": "too hot", "param": "temperature"})
    with pytest.raises(openai.BadRequestError, match="too hot") as refused:
        client.responses.create(model=place.model("r-400"), input="hello", temperature=9)
    assert refused.value.param == "temperature"
