"""Calls for LiteLLMAdapter, and stand-ins for LiteLLM's functions, which programs replace in their tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import litellm
import pytest

from gateway.adapters.base import Call
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.litellm.translate import FUNCTIONS
from gateway.operations import OPERATIONS
from gateway.policy.failures import UpstreamError
from gateway.policy.keys import KeySource, Secret
from gateway.policy.params import Params
from gateway.policy.target import Endpoint, Limits, Target
from gateway.wire.json import EMPTY, JsonObject

QUIET: Final = (
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
)
"""What LiteLLM does with pydantic 2.14 and is warned of, here an error."""

MESSAGES: Final = [{"role": "user", "content": "hi"}]
ANSWER: Final = {"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]}
TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def make_call(
    params: Mapping[str, Any] = EMPTY,
    *,
    kind: str = "openai",
    model: str = "gpt-4o",
    operation: str = "chat",
    base_url: str | None = None,
    key: str | None = None,
    key_required: bool = False,
    overrides: Mapping[str, Any] = EMPTY,
    headers: Mapping[str, str] = EMPTY,
    endpoint_headers: Mapping[str, str] = EMPTY,
) -> Call:
    endpoint = Endpoint(
        provider="up",
        kind=kind,
        adapter="litellm",
        base_url=base_url,
        own_base_url=base_url is not None,
        api_key=KeySource(name="t", value=Secret(key) if key else None),
        key_required=key_required,
        headers=endpoint_headers,
    )
    return Call(
        operation=OPERATIONS[operation],
        target=Target(name=f"up/{model}", model=model, label=f"up/{model}", endpoint=endpoint),
        params={"messages": MESSAGES, **params} if operation == "chat" else params,
        overrides=Params(overrides),
        limits=Limits(connect_s=1, first_token_s=15, idle_s=30, total_s=60),
        headers=headers,
    )


class LiteLLMFunction:
    """Stands where `acompletion` or `aembedding` stood: notes its arguments, then answers or raises."""

    def __init__(self, answer: Any) -> None:
        self.kwargs: list[dict[str, Any]] = []
        self._answer = answer

    async def __call__(self, **kwargs: Any) -> Any:
        self.kwargs.append(kwargs)
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


def patched(monkeypatch: pytest.MonkeyPatch, answer: Any, name: str = "acompletion") -> LiteLLMFunction:
    function = LiteLLMFunction(answer)
    monkeypatch.setattr(litellm, name, function)
    return function


class Dumped:
    """Shows an object of LiteLLM's to the longer way of reading it: it is no pydantic model itself."""

    def __init__(self, item: Any) -> None:
        self._item = item

    def model_dump(self) -> object:
        return self._item.model_dump()


def forget_extras(value: Any) -> None:
    """Make a pydantic model, and those in it, what they are with pydantic 2.12: extras do not count as set."""
    if isinstance(value, list):
        for item in value:
            forget_extras(item)
    elif getattr(value, "__pydantic_extra__", None) is not None:
        value.__pydantic_fields_set__.difference_update(value.__pydantic_extra__)
        forget_extras([*value.__dict__.values(), *value.__pydantic_extra__.values()])


async def ask(adapter: LiteLLMAdapter, call: Call) -> JsonObject:
    return (await adapter.complete(call)).data


async def sent(adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, call: Call) -> dict[str, Any]:
    name = FUNCTIONS[call.operation.name].function
    function = patched(monkeypatch, ANSWER, name)
    await ask(adapter, call)
    return function.kwargs[0]


async def failure(adapter: LiteLLMAdapter, call: Call) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await ask(adapter, call)
    return caught.value
