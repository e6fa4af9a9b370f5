"""A client of one wire in front of targets of another: tools, streams, a conversation that falls over in its middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from anthropic.types import Message
from openai.types.responses import Response

from tests.wires import gemini
from tests.wires.lab import SECOND_TEXT, Lab, Place
from tests.wires.play import Tool

WEATHER: Final = Tool("weather", {"city": "Bern", "days": 3})
SCHEMA: Final[Any] = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
CHAT_TOOL: Final[Any] = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
MESSAGES_TOOL: Final[Any] = {"name": "weather", "input_schema": SCHEMA}
RESPONSES_TOOL: Final[Any] = {"type": "function", "name": "weather", "strict": False, "parameters": SCHEMA}
STREAMED: Final = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
SUNNY: Final = "sunny-4711"


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[Place]:
    with Place(lab, direct=False) as place:
        yield place


@pytest.fixture(autouse=True)
def _forget(lab: Lab) -> None:
    lab.first.forget()
    lab.second.forget()


def _message(gateway: Place, model: str, asked: list[Any], *, stream: bool) -> Message:
    client = gateway.anthropic
    options: Any = {"model": model, "max_tokens": 99, "system": "be brief", "tools": [MESSAGES_TOOL]}
    if not stream:
        message: Message = client.messages.create(messages=asked, **options)
        return message
    with client.messages.stream(messages=asked, **options) as events:
        whole: Message = events.get_final_message()
    return whole


def _completion(gateway: Place, model: str, asked: Any, *, stream: bool) -> Any:
    """Return the message of a chat."""
    client = gateway.openai
    options: Any = {"model": model, "messages": asked, "tools": [CHAT_TOOL]}
    if not stream:
        return client.chat.completions.create(**options).choices[0].message
    with client.chat.completions.stream(**options) as events:
        return events.get_final_completion().choices[0].message


def _response(gateway: Place, model: str, asked: list[Any], *, stream: bool) -> Response:
    client = gateway.openai
    options: Any = {"model": model, "input": asked, "instructions": "be brief", "tools": [RESPONSES_TOOL]}
    if not stream:
        response: Response = client.responses.create(**options)
        return response
    with client.responses.stream(**options) as events:
        whole: Response = events.get_final_response()
    return whole


def _after_use(asked: list[Any], message: Message) -> list[Any]:
    """Return the conversation with the model's tool call and our result."""
    [use] = [block for block in message.content if block.type == "tool_use"]
    assert (use.name, use.input) == ("weather", WEATHER.arguments)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": SUNNY}
    content = [block.to_dict() for block in message.content]
    return [*asked, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]


def _after_call(asked: list[Any], response: Response) -> list[Any]:
    [call] = [item for item in response.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("weather", WEATHER.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": SUNNY}
    return [*asked, *(item.to_dict() for item in response.output), result]


def _text(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@STREAMED
def test_messages_on_chat(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", text="let me look", tools=[WEATHER]).script("m", text="it is sunny")
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    message = _message(gateway, "one-m", asked, stream=stream)
    assert (_text(message), message.stop_reason) == ("let me look", "tool_use")
    message = _message(gateway, "one-m", _after_use(asked, message), stream=stream)
    assert (_text(message), message.stop_reason) == ("it is sunny", "end_turn")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (5, 2)
    second = lab.first.asked("m")[1].body["messages"]
    assert [said["role"] for said in second] == ["system", "user", "assistant", "tool"]
    assert second[3]["tool_call_id"] == second[2]["tool_calls"][0]["id"]
    assert second[3]["content"] == SUNNY


@STREAMED
def test_responses_on_chat(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", text="let me look", tools=[WEATHER]).script("m", text="it is sunny")
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    response = _response(gateway, "chat-one-m", asked, stream=stream)
    assert response.output_text == "let me look"
    response = _response(gateway, "chat-one-m", _after_call(asked, response), stream=stream)
    assert (response.output_text, response.status) == ("it is sunny", "completed")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens_details.reasoning_tokens) == (7, 1)
    second = lab.first.asked("m")[1]
    assert second.path == "/v1/chat/completions"
    assert [said["role"] for said in second.body["messages"]] == ["system", "user", "assistant", "tool"]
    assert second.body["messages"][3]["content"] == SUNNY


@STREAMED
def test_responses_on_messages(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", text="let me look", tools=[WEATHER]).script("m", text="it is sunny")
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    response = _response(gateway, "claude-one-m", asked, stream=stream)
    assert response.output_text == "let me look"
    response = _response(gateway, "claude-one-m", _after_call(asked, response), stream=stream)
    assert (response.output_text, response.status) == ("it is sunny", "completed")
    assert response.to_dict()["store"] is False
    second = lab.first.asked("m")[1].body["messages"]
    assert second[-1]["content"][0]["type"] == "tool_result"
    assert SUNNY in str(second[-1])


@STREAMED
def test_chat_on_messages(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", text="let me look", tools=[WEATHER])
    asked: Any = [{"role": "user", "content": "how is the weather?"}]
    message = _completion(gateway, "claude-one-m", asked, stream=stream)
    assert (message.content, message.tool_calls[0].function.name) == ("let me look", "weather")
    assert lab.first.asked("m")[0].path == "/v1/messages"


@STREAMED
def test_chat_on_gemini(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", text="let me look", tools=[WEATHER, Tool("time", {})]).script("m", text="it is sunny")
    asked: Any = [{"role": "user", "content": "how is the weather?"}]
    message = _completion(gateway, "gemini-one-m", asked, stream=stream)
    assert (message.content, [call.function.name for call in message.tool_calls]) == (
        "let me look",
        ["weather", "time"],
    )
    results = [{"role": "tool", "tool_call_id": call.id, "content": SUNNY} for call in message.tool_calls]
    assert _completion(gateway, "gemini-one-m", [*asked, message, *results], stream=stream).content == "it is sunny"
    request = lab.first.asked("m")[1]
    assert request.path.startswith("/v1beta/models/m:")
    _, said, told = request.body["contents"]
    assert [part.get("thoughtSignature") for part in said["parts"]] == [None, gemini.SIGNATURE, None]
    assert [part["functionResponse"]["name"] for part in told["parts"]] == ["weather", "time"]


@STREAMED
def test_messages_on_gemini(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", text="let me look", tools=[WEATHER]).script("m", text="it is sunny")
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    message = _message(gateway, "gemini-one-m", asked, stream=stream)
    assert (_text(message), message.stop_reason) == ("let me look", "tool_use")
    message = _message(gateway, "gemini-one-m", _after_use(asked, message), stream=stream)
    assert (_text(message), message.stop_reason) == ("it is sunny", "end_turn")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (5, 2)
    assert gemini.SIGNATURE in str(lab.first.asked("m")[1].body["contents"])


@STREAMED
def test_responses_on_gemini(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", text="let me look", tools=[WEATHER]).script("m", text="it is sunny")
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    response = _response(gateway, "gemini-one-m", asked, stream=stream)
    assert response.output_text == "let me look"
    response = _response(gateway, "gemini-one-m", _after_call(asked, response), stream=stream)
    assert (response.output_text, response.status) == ("it is sunny", "completed")
    second = str(lab.first.asked("m")[1].body["contents"])
    assert SUNNY in second
    assert gemini.SIGNATURE in second


@STREAMED
def test_a_conversation_with_gemini_goes_on_with_gpt(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", thinking="let me see", tools=[WEATHER]).script("m", status=503)
    asked: Any = [{"role": "user", "content": "how is the weather?"}]
    message = _completion(gateway, "gemini-to-gpt-m", asked, stream=stream)
    results = [{"role": "tool", "tool_call_id": call.id, "content": SUNNY} for call in message.tool_calls]
    assert _completion(gateway, "gemini-to-gpt-m", [*asked, message, *results], stream=stream).content == SECOND_TEXT
    [request] = lab.second.asked("m")
    assert request.body["messages"][-1]["tool_call_id"] == request.body["messages"][-2]["tool_calls"][0]["id"]


@STREAMED
def test_a_conversation_with_claude_goes_on_with_gemini(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", thinking="let me see", tools=[WEATHER]).script("m", status=529)
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    message = _message(gateway, "claude-to-gemini-m", asked, stream=stream)
    message = _message(gateway, "claude-to-gemini-m", _after_use(asked, message), stream=stream)
    assert _text(message) == SECOND_TEXT
    [request] = lab.second.asked("m")
    assert "let me see" not in request.raw.decode()
    assert SUNNY in str(request.body["contents"][-1])


@STREAMED
def test_a_conversation_with_claude_goes_on_with_gpt(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", thinking="let me see", tools=[WEATHER]).script("m", status=529)
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    message = _message(gateway, "claude-to-gpt-m", asked, stream=stream)
    assert [block.type for block in message.content] == ["thinking", "tool_use"]
    message = _message(gateway, "claude-to-gpt-m", _after_use(asked, message), stream=stream)
    assert _text(message) == SECOND_TEXT
    [request] = lab.second.asked("m")
    assert request.path == "/v1/chat/completions"
    assert "let me see" not in request.raw.decode()
    assert request.body["messages"][-1]["content"] == SUNNY


@STREAMED
def test_a_conversation_with_gpt_goes_on_with_claude(lab: Lab, gateway: Place, stream: bool) -> None:
    lab.first.script("m", tools=[WEATHER]).script("m", status=503)
    asked: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    response = _response(gateway, "gpt-to-claude-m", asked, stream=stream)
    response = _response(gateway, "gpt-to-claude-m", _after_call(asked, response), stream=stream)
    assert response.output_text == SECOND_TEXT
    [request] = lab.second.asked("m")
    assert request.path == "/v1/messages"
    assert SUNNY in str(request.body["messages"][-1])
