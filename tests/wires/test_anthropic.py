"""Anthropic's client in its default mode: straight at the upstream, then through the gateway."""

from __future__ import annotations

from typing import Any, Final

import anthropic
import pydantic
import pytest
from anthropic.types import Message, MessageParam

from tests.wires.lab import CLIENT_KEY, UPSTREAM_KEY, Place
from tests.wires.messages import ERROR_TYPES, HEADERS
from tests.wires.play import Tool

HELLO: Final[list[MessageParam]] = [{"role": "user", "content": "hello"}]
WEATHER: Final = Tool("weather", {"city": "Bern", "days": 3})
TOOL: Final[Any] = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


class City(pydantic.BaseModel):
    """What `parse` is asked for."""

    name: str
    people: int


def _text(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_an_answer(place: Place) -> None:
    client = place.anthropic
    message = client.messages.create(model=place.claude("m-plain"), max_tokens=99, messages=HELLO, system="be brief")
    assert (_text(message), message.stop_reason, message.model) == ("one two three", "end_turn", "m-plain")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (7, 3)
    [asked] = place.upstream.asked("m-plain")
    assert (asked.path, asked.body["system"]) == ("/v1/messages", "be brief")
    assert asked.headers["anthropic-version"] == anthropic._constants.ANTHROPIC_API_VERSION
    if not place.direct:
        assert CLIENT_KEY not in str(asked.headers)
        assert UPSTREAM_KEY in (asked.headers.get("x-api-key"), asked.headers.get("authorization", "")[7:])


def test_a_stream_of_events(place: Place) -> None:
    client = place.anthropic
    place.upstream.script("m-events", text="four five six", thinking="let me see")
    stream = client.messages.create(model=place.claude("m-events"), max_tokens=99, messages=HELLO, stream=True)
    seen = list(stream)
    assert [event.type for event in seen] == [
        "message_start",
        *("content_block_start", *["content_block_delta"] * 4, "content_block_stop"),
        *("content_block_start", *["content_block_delta"] * 3, "content_block_stop"),
        *("message_delta", "message_stop"),
    ]


def test_the_stream_helper_puts_a_message_together(place: Place) -> None:
    client = place.anthropic
    place.upstream.script("m-helper", text="four five six", thinking="let me see", tools=[WEATHER])
    with client.messages.stream(model=place.claude("m-helper"), max_tokens=99, messages=HELLO, tools=[TOOL]) as stream:
        said = "".join(stream.text_stream)
        message = stream.get_final_message()
    thinking, text, use = message.content
    assert (said, text.type, use.type) == ("four five six", "text", "tool_use")
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("let me see", "c2lnbmVk")
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_tool_call_and_its_result(place: Place, stream: bool) -> None:
    client, name = place.anthropic, f"m-tool-{stream}"
    place.upstream.script(name, tools=[WEATHER]).script(name, text="it is sunny")
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    options: Any = {"model": place.claude(name), "max_tokens": 99, "tools": [TOOL]}
    for _ in range(2):
        if stream:
            with client.messages.stream(messages=asked, **options) as events:
                message: Message = events.get_final_message()
        else:
            message = client.messages.create(messages=asked, **options)
        uses = [block for block in message.content if block.type == "tool_use"]
        if uses:
            assert (uses[0].name, uses[0].input) == ("weather", WEATHER.arguments)
            result = {"type": "tool_result", "tool_use_id": uses[0].id, "content": "sunny"}
            asked = [*asked, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert _text(message) == "it is sunny"


def test_parse(place: Place) -> None:
    client = place.anthropic
    place.upstream.script("m-parse", text='{"name": "Bern", "people": 137000}')
    parsed = client.messages.parse(
        model=place.claude("m-parse"), max_tokens=99, messages=HELLO, output_format=City
    ).parsed_output
    assert parsed == City(name="Bern", people=137000)


def test_beta_messages_carry_their_query_and_header(place: Place) -> None:
    """Claude Code and older clients write `?beta=true`."""
    client = place.anthropic
    message = client.beta.messages.create(
        model=place.claude("m-beta"),
        max_tokens=99,
        messages=[{"role": "user", "content": "hi"}],
        betas=["one-2026"],
        extra_query={"beta": "true"},
    )
    assert message.stop_reason == "end_turn"
    [asked] = place.upstream.asked("m-beta")
    assert (asked.query, asked.headers["anthropic-beta"]) == ({"beta": "true"}, "one-2026")


def test_an_old_version_and_an_old_key_header_are_passed_on(place: Place) -> None:
    client = place.anthropic
    headers = {"anthropic-version": "2023-06-01", "x-api-key": CLIENT_KEY}
    client.messages.create(model=place.claude("m-old"), max_tokens=99, messages=HELLO, extra_headers=headers)
    assert place.upstream.asked("m-old")[0].headers["anthropic-version"] == "2023-06-01"


def test_counting_tokens(place: Place) -> None:
    client = place.anthropic
    assert client.messages.count_tokens(model=place.claude("m-count"), messages=HELLO).input_tokens > 0
    assert place.upstream.asked("m-count")[0].path == "/v1/messages/count_tokens"


def test_the_models(place: Place) -> None:
    """In Anthropic's shape, since its client sends `anthropic-version`."""
    page = place.anthropic.models.list()
    if page.has_more is None:
        pytest.skip("the gateway has no models in Anthropic's shape yet")
    assert page.has_more is False
    assert all(model.type == "model" and model.id for model in page.data)


def test_rate_limits_and_the_request_s_id_come_back(place: Place) -> None:
    client = place.anthropic
    raw = client.messages.with_raw_response.create(model=place.claude("m-raw"), max_tokens=99, messages=HELLO)
    for name in ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-input-tokens-remaining"):
        assert raw.headers[name] == HEADERS[name]
    assert raw.headers["request-id"].startswith("req_")
    message = raw.parse()
    assert message._request_id == raw.headers["request-id"]


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, anthropic.BadRequestError),
        (404, anthropic.NotFoundError),
        (413, anthropic.RequestTooLargeError),
        (429, anthropic.RateLimitError),
        (529, anthropic.OverloadedError),
    ],
)
def test_an_error_has_the_client_s_own_type(place: Place, status: int, raised: type[anthropic.APIStatusError]) -> None:
    client = place.anthropic.with_options(max_retries=0)
    place.upstream.script(f"m-{status}", status=status, headers={"retry-after": "1"} if status == 429 else {})
    with pytest.raises(anthropic.APIStatusError) as refused:
        client.messages.create(model=place.claude(f"m-{status}"), max_tokens=99, messages=HELLO)
    body: Any = refused.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == ERROR_TYPES[status]
    if place.direct or status != 529:  # the gateway's own answer is 503
        assert isinstance(refused.value, raised)
    if status == 429:
        assert refused.value.response.headers["retry-after"] == "1"


def test_an_error_event_raises(place: Place) -> None:
    client = place.anthropic
    place.upstream.script("m-error", error_after=5)
    stream = client.messages.create(model=place.claude("m-error"), max_tokens=99, messages=HELLO, stream=True)
    with pytest.raises(anthropic.APIStatusError) as broken:
        list(stream)
    body: Any = broken.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == ("overloaded_error" if place.direct else "api_error")


async def test_the_async_client(place: Place) -> None:
    async with (
        anthropic.AsyncAnthropic(base_url=place.root_url, api_key=CLIENT_KEY) as client,
        client.messages.stream(model=place.claude("m-async"), max_tokens=99, messages=HELLO) as stream,
    ):
        assert "".join([text async for text in stream.text_stream]) == "one two three"
