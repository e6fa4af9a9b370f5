"""Runs the part of LiteLLM's call functions that comes before a request is written, once for each request shape.

That part looks up provider, address, key and headers, and maps the parameters. What it hands to the provider's handler
is captured instead of called, and used again for requests that differ in their messages, or their input, only.
"""

from __future__ import annotations

import contextvars
import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from gateway.adapters.litellm.sdks import without_sdk
from gateway.adapters.litellm.translate import Function, copied
from gateway.wire.json import Json

MAX_REMEMBERED: Final = 512
"""Request shapes whose prelude is remembered."""
MAX_REMEMBERED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of JSON that the parameters of all of them have at most."""
LONG_CHARS: Final = 128 * 1024
"""Messages with more text are put into a provider's words in a thread."""

_MARK: Final = "gateway_captured"
_METHODS: Final = ("completion", "embedding", "embeddings", "batch_embeddings", "multimodal_embedding")
"""What LiteLLM's call functions call of a provider's handler."""
_FRESH: Final = frozenset({"messages", "input", "client", "logging_obj"})
"""Arguments of a handler that belong to one call."""
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
    arguments: Mapping[str, Any]
    """Those that all requests of the shape share. Its dicts are copied for each call."""
    function: Function
    given: Json
    """The first request's messages or input, if the prelude changed them; None if it does not."""

    @property
    def model(self) -> str:
        """The model's name as the handler gets it."""
        return str(self.arguments.get("model", ""))

    def call(self, given: Json, client: Any, *, model_response: Any) -> Any:
        """Call the handler; return the coroutine of its answer. `given` are the messages, or the input."""
        arguments = {**self.arguments, self.function.given: given, "client": client, "logging_obj": Unlogged(given)}
        arguments["optional_params"] = copied(arguments.get("optional_params") or {})
        for name in ("litellm_params", "headers", "extra_headers"):
            if arguments.get(name):
                arguments[name] = {**arguments[name]}
        if model_response is not None:
            arguments["model_response"] = model_response
        return self.handler(**arguments)


class Unlogged:
    """Stands where LiteLLM's logging object does. Keeps nothing but what was asked, which some handlers look up."""

    stream_options = None
    messages = None
    stream = None
    litellm_call_id = ""
    dynamic_success_callbacks = ()
    dynamic_async_success_callbacks = ()
    dynamic_failure_callbacks = ()
    stream_usage_injected = False

    def __init__(self, given: Json = None) -> None:
        self.model_call_details: dict[str, Any] = {"input": given}
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

    def find(self, function: Function, kwargs: Mapping[str, Any]) -> tuple[Shape | None, Prelude | None]:
        """Return the shape of a request, None if it has none that may be remembered, and its prelude if known."""
        shape = _shape_of(function, kwargs)
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

    def run(self, main: Any, function: Function, kwargs: Mapping[str, Any], shape: Shape | None) -> Prelude | None:
        """Run the prelude of a request; return None if LiteLLM does not get as far as a handler.

        `main` is LiteLLM's module with its call functions. May block. Raises what LiteLLM raises.
        """
        blocking = getattr(getattr(main, function.function.removeprefix("a"), None), "__wrapped__", None)
        if blocking is None:
            return None
        given = kwargs[function.given]
        token = _is_capturing.set(True)
        try:
            answer = blocking(
                **{
                    **kwargs,
                    function.given: copied(given),
                    function.function: True,
                    "litellm_logging_obj": Unlogged(),
                }
            )
        except Captured as captured:
            prelude = _prelude_of(captured, function, given, main)
        else:
            close = getattr(answer, "close", None)  # a coroutine that nobody awaits
            if close is not None:
                close()
            return None
        finally:
            _is_capturing.reset(token)
        if shape is not None and prelude.given is None:
            self._remember(shape, prelude)
        return prelude


def capture_handlers(main: Any) -> None:
    """Let the handlers in LiteLLM's module `main` be captured. Only preludes of ours are."""
    for handler in list(vars(main).values()):
        if not type(handler).__module__.startswith("litellm.llms.") or hasattr(handler, _MARK):
            continue
        for name in _METHODS:
            method = getattr(handler, name, None)
            if callable(method):
                setattr(handler, name, _capturing(method))
                setattr(handler, _MARK, True)


def _capturing(method: Callable[..., Any]) -> Callable[..., Any]:
    def captured_or_called(*args: Any, **kwargs: Any) -> Any:
        if _is_capturing.get() and not args:
            raise Captured(method, kwargs)
        return method(*args, **kwargs)

    return captured_or_called


def _prelude_of(captured: Captured, function: Function, given: Json, main: Any) -> Prelude:
    handler, arguments = without_sdk(main, function, captured.handler, captured.arguments)
    if function.function not in arguments and function.function in inspect.signature(handler).parameters:
        arguments = {**arguments, function.function: True}  # else it would block
    changed = arguments.get(function.given)
    return Prelude(
        handler,
        {name: value for name, value in arguments.items() if name not in _FRESH},
        function,
        None if changed == given else changed,
    )


def is_long(given: Json) -> bool:
    """Tell whether messages, or an input, have more than LONG_CHARS of text, data URLs included."""
    left = LONG_CHARS
    for message in given if isinstance(given, list) else [given]:
        if isinstance(message, str | list):  # an input: a text or the numbers of its tokens
            left -= len(message)
            continue
        content = message.get("content") if isinstance(message, dict) else None
        for said in content if isinstance(content, list) else [content]:
            text = said
            if isinstance(said, dict):
                image = said.get("image_url")
                text = image.get("url") if isinstance(image, dict) else said.get("text")
            left -= len(text) if isinstance(text, str) else 0
    return left < 0


def _shape_of(function: Function, kwargs: Mapping[str, Any]) -> Shape | None:
    """Return a digest of all that a prelude depends on but the request's own words; None for unusual requests.

    A prelude that changes messages or input is not remembered, so what it would change must show in the shape: which
    roles, fields and types of values they have.
    """
    given = kwargs[function.given]
    forms = _forms_of(given) if function.given == "messages" else {_form_of(given)}
    if forms is None or (len(forms) > 1 and any(form[3] for form in forms) and not _REASONING.isdisjoint(kwargs)):
        return None
    rest = {name: value for name, value in kwargs.items() if name not in (function.given, "timeout")}
    try:
        encoded = orjson.dumps([function.function, rest, sorted(forms)])
    except TypeError:
        return None
    return Shape(hashlib.blake2b(encoded, digest_size=16).digest(), len(encoded))


def _form_of(given: Json) -> tuple[str, str, str, bool]:
    """Return the types of an input and of what is in it, in the form of messages."""
    inner = sorted({type(one).__name__ for one in given}) if isinstance(given, list) else []
    return type(given).__name__, ",".join(inner), "", False


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
