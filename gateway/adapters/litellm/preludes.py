"""Runs the part of LiteLLM's `completion` that comes before a request is written, once for each request shape.

That part looks up provider, address, key and headers, and maps the parameters. What it hands to the provider's handler
is captured instead of called, and used again for requests that differ in their messages only.
"""

from __future__ import annotations

import contextvars
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from gateway.adapters.litellm.parts import part
from gateway.adapters.litellm.translate import copied
from gateway.wire.json import Json

MAX_REMEMBERED: Final = 512
"""Request shapes whose prelude is remembered."""
MAX_REMEMBERED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of JSON that the parameters of all of them have at most."""
LONG_CHARS: Final = 128 * 1024
"""Messages with more text are put into a provider's words in a thread."""

_MARK: Final = "gateway_captured"
_FRESH: Final = frozenset({"messages", "client", "logging_obj"})
"""Arguments of a handler that belong to one call."""
_SDK: Final = "OpenAIChatCompletion"
"""The handler that sends by OpenAI's SDK."""
_SDK_KEPT: Final = frozenset(
    {
        "messages",
        "model",
        "api_base",
        "api_key",
        "custom_llm_provider",
        "model_response",
        "timeout",
        "litellm_params",
        "acompletion",
    }
)
_UNSHAPED: Final = frozenset({"messages", "timeout"})
_SIMPLE: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
"""Fields of messages that no provider's parameters depend on, unless the request asks for reasoning."""
_TEXT_PART: Final = frozenset({"type", "text"})
_REASONING: Final = frozenset({"thinking", "reasoning_effort"})

_is_capturing: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("gateway_litellm_capturing", default=False)


class Captured(BaseException):
    """What `completion` handed to a provider's handler."""

    def __init__(self, handler: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.handler = handler
        self.arguments = arguments


class Shape(NamedTuple):
    """All that a prelude depends on."""

    digest: bytes
    size: int
    """Bytes of its parameters."""


@dataclass(frozen=True, slots=True)
class Prelude:
    """A handler of LiteLLM's, and its arguments for requests of one shape."""

    handler: Callable[..., Any]
    owner: str
    """The name of the handler's class."""
    arguments: Mapping[str, Any]
    """Those that all requests of the shape share. Its dicts are copied for each call."""
    messages: list[Json] | None
    """The first request's messages, if the prelude changed them; None if it does not."""

    @property
    def model(self) -> str:
        """The model's name as the handler gets it."""
        return str(self.arguments.get("model", ""))

    def call(self, messages: list[Json], client: Any, *, model_response: Any) -> Any:
        """Call the handler; return the coroutine of its answer."""
        arguments = {**self.arguments, "messages": messages, "client": client, "logging_obj": Unlogged()}
        arguments["optional_params"] = copied(arguments.get("optional_params") or {})
        for name in ("litellm_params", "headers", "extra_headers"):
            if arguments.get(name):
                arguments[name] = {**arguments[name]}
        if model_response is not None:
            arguments["model_response"] = model_response
        return self.handler(**arguments)


class Unlogged:
    """Stands where LiteLLM's logging object does. Keeps nothing."""

    stream_options = None
    messages = None
    stream = None
    litellm_call_id = ""
    dynamic_success_callbacks = ()
    dynamic_async_success_callbacks = ()
    dynamic_failure_callbacks = ()
    stream_usage_injected = False

    def __init__(self) -> None:
        self.model_call_details: dict[str, Any] = {}
        self.optional_params: dict[str, Any] = {}
        self.litellm_params: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return _nothing


def _nothing(*_: object, **__: object) -> None:
    pass


class Preludes:
    """Runs preludes and remembers them."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[Prelude, int]] = OrderedDict()
        """Digest of a shape → its prelude, and the bytes of its parameters. The one used last is the last."""
        self._size = 0

    def find(self, kwargs: Mapping[str, Any]) -> tuple[Shape | None, Prelude | None]:
        """Return the shape of a request, None if it has none that may be remembered, and its prelude if known."""
        shape = _shape_of(kwargs)
        known = self._known.get(shape.digest) if shape is not None else None
        if shape is None or known is None:
            return shape, None
        self._known.move_to_end(shape.digest)
        return shape, known[0]

    def _remember(self, shape: Shape, prelude: Prelude) -> None:
        if shape.size > MAX_REMEMBERED_BYTES or shape.digest in self._known:
            return
        self._known[shape.digest] = prelude, shape.size
        self._size += shape.size
        while len(self._known) > MAX_REMEMBERED or self._size > MAX_REMEMBERED_BYTES:
            _, (_, size) = self._known.popitem(last=False)
            self._size -= size

    def run(self, main: Any, kwargs: Mapping[str, Any], shape: Shape | None) -> Prelude | None:
        """Run the prelude of a request; return None if LiteLLM does not get as far as a handler.

        `main` is LiteLLM's module with `completion`. May block. Raises what LiteLLM raises.
        """
        completion = getattr(main.completion, "__wrapped__", None)
        if completion is None:
            return None
        messages = kwargs["messages"]
        token = _is_capturing.set(True)
        try:
            answer = completion(
                **{**kwargs, "messages": copied(messages), "acompletion": True, "litellm_logging_obj": Unlogged()}
            )
        except Captured as captured:
            prelude = _prelude_of(captured, messages, main)
        else:
            close = getattr(answer, "close", None)  # a coroutine that nobody awaits
            if close is not None:
                close()
            return None
        finally:
            _is_capturing.reset(token)
        if shape is not None and prelude.messages is None:
            self._remember(shape, prelude)
        return prelude


def capture_handlers(main: Any) -> None:
    """Let the handlers in LiteLLM's module `main` be captured. Only preludes of ours are."""
    for handler in list(vars(main).values()):
        kind = type(handler)
        if kind.__module__.startswith("litellm.llms.") and not hasattr(handler, _MARK):
            completion = getattr(handler, "completion", None)
            if callable(completion):
                handler.completion = _capturing(completion)
                setattr(handler, _MARK, True)


def _capturing(completion: Callable[..., Any]) -> Callable[..., Any]:
    def captured_or_called(*args: Any, **kwargs: Any) -> Any:
        if _is_capturing.get() and not args:
            raise Captured(completion, kwargs)
        return completion(*args, **kwargs)

    return captured_or_called


def _prelude_of(captured: Captured, messages: list[Json], main: Any) -> Prelude:
    handler, arguments = captured.handler, captured.arguments
    owner = type(getattr(handler, "__self__", None)).__name__
    if owner == _SDK:
        handler, arguments = main.base_llm_http_handler.completion, _without_sdk(arguments)
    changed = arguments.get("messages")
    return Prelude(
        handler,
        owner,
        {name: value for name, value in arguments.items() if name not in _FRESH},
        None if changed == messages else changed,
    )


def _without_sdk(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for OpenAI's SDK as those of LiteLLM's own handler, which takes our client.

    LiteLLM does the same if EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER is set. Raises ValueError for a
    provider without a class.
    """
    litellm = part()
    provider, model = arguments["custom_llm_provider"], arguments["model"]
    config = litellm.utils.ProviderConfigManager.get_provider_chat_config(model, litellm.LlmProviders(provider))
    if config is None:
        raise ValueError("a provider without a class")
    params = {**arguments["optional_params"]}
    organization = arguments.get("organization")
    headers = {
        **({"OpenAI-Organization": organization} if organization else {}),
        **(arguments.get("headers") or {}),
        **(params.pop("extra_headers", None) or {}),
    }
    params.pop("max_retries", None)
    kept = {name: value for name, value in arguments.items() if name in _SDK_KEPT}
    return {
        **kept,
        "optional_params": params,
        "headers": headers,
        "provider_config": config,
        "encoding": None,
        "stream": params.get("stream"),
    }


def is_long(messages: Sequence[Json]) -> bool:
    """Tell whether messages have more than LONG_CHARS of text, data URLs included."""
    left = LONG_CHARS
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for said in content if isinstance(content, list) else [content]:
            text = said
            if isinstance(said, dict):
                image = said.get("image_url")
                text = image.get("url") if isinstance(image, dict) else said.get("text")
            left -= len(text) if isinstance(text, str) else 0
    return left < 0


def _shape_of(kwargs: Mapping[str, Any]) -> Shape | None:
    """Return a digest of all that a prelude depends on but the messages' own words; None for unusual requests.

    A prelude that changes messages is not remembered, so what it would change must show in the shape: which roles,
    fields and types of values they have.
    """
    forms = _forms_of(kwargs["messages"])
    if forms is None or (len(forms) > 1 and any(form[3] for form in forms) and not _REASONING.isdisjoint(kwargs)):
        return None
    rest = {name: value for name, value in kwargs.items() if name not in _UNSHAPED}
    try:
        encoded = orjson.dumps([rest, sorted(forms)])
    except TypeError:
        return None
    return Shape(hashlib.blake2b(encoded, digest_size=16).digest(), len(encoded))


def _forms_of(messages: Sequence[Json]) -> set[tuple[str, str, str, bool]] | None:
    """Return role, type of content and fields of the messages, and whether they belong to tool calls."""
    forms: set[tuple[str, str, str, bool]] = set()
    for message in messages:
        if type(message) is not dict or not message.keys() <= _SIMPLE:
            return None
        role, content = message.get("role"), message.get("content")
        kind = _kind_of(content)
        if type(role) is not str or kind is None:
            return None
        has_tools = role == "tool" or bool(message.get("tool_calls"))
        fields = "" if len(message) == 2 and "content" in message else _fields_of(message)
        forms.add((role, kind, fields, has_tools))
    return forms


def _fields_of(message: Mapping[str, Json]) -> str:
    """Return the names of a message's fields, with a mark for those without a value, which LiteLLM leaves out."""
    return ",".join(sorted(name if value is not None else f"{name}=" for name, value in message.items()))


def _kind_of(content: Json) -> str | None:
    """Return what the content of a message is; None if it is more than text."""
    if isinstance(content, str):
        return "text" if content else "empty"
    if content is None:
        return "null"
    is_text = isinstance(content, list) and all(
        type(part) is dict and part.get("type") == "text" and part.keys() == _TEXT_PART for part in content
    )
    return "parts" if is_text else None
