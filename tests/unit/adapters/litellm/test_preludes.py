"""Which requests share a prelude: those that differ in words only."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.adapters.litellm.preludes import (
    LONG_CHARS,
    MAX_REMEMBERED,
    MAX_REMEMBERED_BYTES,
    Captured,
    Preludes,
    Unlogged,
    capture_handlers,
    is_long,
)
from gateway.adapters.litellm.translate import FUNCTIONS
from gateway.wire.json import JsonObject

CHAT, EMBEDDINGS = FUNCTIONS["chat"], FUNCTIONS["embeddings"]
HI: JsonObject = {"role": "user", "content": "hi"}
SAID: JsonObject = {"role": "assistant", "content": "hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOLS: list[JsonObject] = [
    HI, {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "x"},
]  # fmt: skip


class Handler:
    """Stands for a provider's handler of LiteLLM's."""

    __module__ = "litellm.llms.x"

    def completion(self, **kwargs: Any) -> Any:
        return kwargs

    def embeddings(self, **kwargs: Any) -> Any:
        return kwargs


class Main:
    """Stands for LiteLLM's module with `completion`."""

    def __init__(self, *, changes: bool = False) -> None:
        self.handler = Handler()
        self.runs = 0
        self.changes = changes
        vars(self)["completion"] = type("Function", (), {"__wrapped__": staticmethod(self.prelude)})()
        vars(self)["embedding"] = type("Function", (), {"__wrapped__": staticmethod(self.embed)})()

    def embed(self, **kwargs: Any) -> Any:
        self.runs += 1
        assert kwargs["aembedding"] is True
        given = [kwargs["input"]] if isinstance(kwargs["input"], str) else kwargs["input"]
        return self.handler.embeddings(input=given, model=kwargs["model"], optional_params={})

    def prelude(self, **kwargs: Any) -> Any:
        self.runs += 1
        try:
            messages = [{**one, "role": "system"} for one in kwargs["messages"]] if self.changes else kwargs["messages"]
            params = {"temperature": kwargs.get("temperature")}
            return self.handler.completion(messages=messages, model=kwargs["model"], optional_params=params)
        except Exception:  # noqa: BLE001 - as LiteLLM does it
            return None


def run(preludes: Preludes, main: Main, messages: list[JsonObject], **params: Any) -> Any:
    kwargs = {"model": "x/m", "messages": messages, "timeout": object(), **params}
    shape, known = preludes.find(CHAT, kwargs)
    return known or preludes.run(main, CHAT, kwargs, shape)


def main_of(**options: Any) -> Main:
    main = Main(**options)
    capture_handlers(main)
    return main


@pytest.mark.parametrize(
    ("first", "second", "runs"),
    [
        ([HI], [{"role": "user", "content": "what else?"}], 1),
        ([HI], [HI, HI], 1),
        ([HI], [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], 2),
        ([HI], [{"role": "system", "content": "hi"}], 2),
        ([HI], [{**HI, "name": "me"}], 2),
        ([{**HI, "name": "me"}], [{**HI, "name": None}], 2),
        ([{**SAID, "tool_calls": []}], [{**SAID, "tool_calls": None}], 2),
        ([{"role": "assistant", "tool_calls": []}], [{"role": "assistant", "content": None}], 2),
        (TOOLS, [*TOOLS, *TOOLS], 1),
        ([HI], [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], 2),
    ],
)
def test_words_alone_make_no_other_shape(first: list[JsonObject], second: list[JsonObject], runs: int) -> None:
    preludes, main = Preludes(), main_of()
    run(preludes, main, first)
    run(preludes, main, second)
    assert main.runs == runs


@pytest.mark.parametrize(
    "messages", [[{**HI, "cache_control": {}}], [{"role": "user", "content": 5}], ["x"], [{"role": 1, "content": "x"}]]
)
def test_unusual_messages_are_not_remembered(messages: Any) -> None:
    preludes = Preludes()
    assert preludes.find(CHAT, {"model": "m", "messages": messages}) == (None, None)


def test_tool_calls_of_a_request_that_asks_for_reasoning_are_not_remembered() -> None:
    preludes = Preludes()
    assert preludes.find(CHAT, {"messages": TOOLS})[0] is not None
    assert preludes.find(CHAT, {"messages": TOOLS, "reasoning_effort": "low"}) == (None, None)
    assert preludes.find(CHAT, {"messages": [HI], "reasoning_effort": "low"})[0] is not None


def test_other_parameters_make_another_shape() -> None:
    preludes, main = Preludes(), main_of()
    for temperature in (0.1, 0.2, 0.1):
        prelude = run(preludes, main, [HI], temperature=temperature)
        assert prelude.arguments["optional_params"] == {"temperature": temperature}
    assert main.runs == 2


def test_a_prelude_that_changes_messages_is_run_each_time() -> None:
    preludes, main = Preludes(), main_of(changes=True)
    for words in ("hi", "hello"):
        prelude = run(preludes, main, [{"role": "user", "content": words}])
        assert prelude.given == [{"role": "system", "content": words}]
    assert main.runs == 2


def test_a_handler_outside_a_prelude_is_called() -> None:
    main = main_of()
    capture_handlers(main)
    assert main.handler.completion(model="m") == {"model": "m"}


def test_each_call_gets_its_own_parameters() -> None:
    preludes, main = Preludes(), main_of()
    prelude = run(preludes, main, [HI], temperature=0.1)
    first = prelude.call([HI], "client", model_response=None)
    first["optional_params"]["stream"] = True
    second = prelude.call([HI], "client", model_response="answer")
    assert second["optional_params"] == {"temperature": 0.1}
    assert (second["client"], second["model_response"]) == ("client", "answer")
    assert isinstance(second["logging_obj"], Unlogged)


def test_without_a_handler_there_is_no_prelude() -> None:
    main = Main()
    assert Preludes().run(main, CHAT, {"model": "m", "messages": [HI]}, None) is None
    assert (
        Preludes().run(type("Other", (), {"completion": print}), CHAT, {"model": "m", "messages": [HI]}, None) is None
    )


def test_what_is_captured_passes_by_whoever_catches_exceptions() -> None:
    assert not issubclass(Captured, Exception)
    assert Unlogged().post_call(1, x=2) is None
    with pytest.raises(AttributeError):
        _ = Unlogged()._private


def test_what_is_remembered_is_bounded_in_number_and_bytes() -> None:
    preludes, main = Preludes(), main_of()
    for number in range(MAX_REMEMBERED + 1):
        run(preludes, main, [HI], temperature=number)
    run(preludes, main, [HI], temperature=MAX_REMEMBERED)
    assert main.runs == MAX_REMEMBERED + 1
    run(preludes, main, [HI], temperature=0)
    assert main.runs == MAX_REMEMBERED + 2
    for _ in range(2):
        run(preludes, main, [HI], tools=["x" * MAX_REMEMBERED_BYTES])
    assert main.runs == MAX_REMEMBERED + 4
    for letter in "abc":
        run(preludes, main, [HI], tools=[letter * (MAX_REMEMBERED_BYTES // 2)])
    run(preludes, main, [HI], tools=["c" * (MAX_REMEMBERED_BYTES // 2)])
    assert main.runs == MAX_REMEMBERED + 7


@pytest.mark.parametrize(
    "content",
    [
        "x" * (LONG_CHARS + 1),
        [{"type": "text", "text": "x" * (LONG_CHARS + 1)}],
        [{"type": "image_url", "image_url": {"url": "x" * (LONG_CHARS + 1)}}],
    ],
)
def test_long_messages_are_told_apart(content: Any) -> None:
    assert is_long([{"role": "user", "content": content}])
    assert not is_long([HI, {"role": "assistant", "content": None}, {"role": "user", "content": [5]}])


def test_inputs_of_one_form_share_a_prelude_and_one_that_is_changed_has_its_own() -> None:
    preludes, main = Preludes(), main_of()

    def embed(given: Any) -> Any:
        kwargs = {"model": "x/m", "input": given, "timeout": object()}
        shape, known = preludes.find(EMBEDDINGS, kwargs)
        return known or preludes.run(main, EMBEDDINGS, kwargs, shape)

    for given in (["one"], ["two", "three"]):
        prelude = embed(given)
        assert (main.runs, prelude.given) == (1, None)
        asked = prelude.call(given, "client", model_response="answer")
        assert (asked["input"], asked["client"], asked["model_response"]) == (given, "client", "answer")
    for number, text in enumerate(("one", "two"), 2):
        assert embed(text).given == [text]
        assert main.runs == number
    embed([1, 2])
    assert main.runs == 4


@pytest.mark.parametrize("given", ["x" * (LONG_CHARS + 1), ["x" * LONG_CHARS, "y"], [1] * 10, [[1] * LONG_CHARS, [2]]])
def test_long_inputs_are_told_apart(given: Any) -> None:
    assert is_long(given) == (given != [1] * 10)
