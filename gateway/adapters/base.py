"""The interface between engine and adapters: calls, replies, operations, and their protocols. Events: `events`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeAlias

from gateway.adapters.events import Event, Stream, StreamJudge
from gateway.adapters.text_runs import Shape
from gateway.policy.failures import UpstreamError
from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.target import AdapterName, Endpoint, Limits, Target
from gateway.policy.wires import UpstreamWire
from gateway.wire.json import (
    EMPTY,
    Json,
    JsonObject,
    RawJson,
    Spliced,
    decode_json,
)
from gateway.wire.multipart import Form
from gateway.words import shown_size

MAX_REPLY_BYTES: Final = 256 * 1024 * 1024
"""A longer plain answer is a `bad_response`."""
MAX_ERROR_BYTES: Final = 64 * 1024
"""A longer error body is not read: the status alone decides the kind."""
ERROR_BODY_S: Final = 1.0
"""Seconds that the body of an error may take, else the status alone decides the kind."""
MAX_NAMED: Final = 8
"""Things that a message names of what a target does not support: a client chooses how many there are."""
MAX_TOOLS: Final = 10_000
"""Tools that are translated. A body of 4 MiB may have a million, which take seconds.

Anthropic takes as many: https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool
"""


class NotSupported(Exception):
    """A target cannot be asked for this request, so nothing was sent. The target is passed over as `unsupported`.

    `str()` is safe for the client. It completes a sentence about the target, such as `does not support tools`.
    """


class NotInstalled(NotSupported):
    """A package that an adapter needs is not installed here: it is never ready, and its targets are passed over."""


def lacks(names: Iterable[str]) -> NotSupported:
    """Return the exception that names what a target does not support: each once, and the first MAX_NAMED of many."""
    told = list(dict.fromkeys(names))
    more = len(told) - MAX_NAMED
    if more > 0:
        told[MAX_NAMED:] = [f"{more:,} more"]
    return NotSupported(f"does not support {' and '.join(told)}")


class NotWhole(NotSupported):
    """A long value of the request's body cannot be decoded: it is too large for that, or not JSON."""

    def __init__(self, message: str, *, is_too_large: bool) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


class PathMissing(NotSupported):
    """The upstream has no path for the operation: it said so, and no model saw the request."""

    def __init__(self, status: int) -> None:
        super().__init__("has no path for it")
        self.status = status


# Neither frozen nor keyword-only, like Reply, Attempt and CallReport: made for each request, which would take several
# times as long.
@dataclass(slots=True)
class Call:
    """One attempt as an adapter sees it. Never changed."""

    operation: Operation
    target: Target
    params: Mapping[str, Json]
    """The request after its hooks, without `model`, `stream` and FORBIDDEN_PARAMS.

    The long values of a body over 1 MiB are RawJson: an adapter sends them as they are, or decodes them with `whole`.
    """
    limits: Limits
    overrides: Params = NO_PARAMS
    """The file's `params` for this target, which override `params`. Trusted."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """The request's own headers that are sent upstream: `x-request-id`, `traceparent`, and what its wire names."""
    query: str = ""
    """The query of the relayed request, without `?`; one of those that the operation names."""
    form: Form | None = None
    """The multipart form that the request is; `params` are its texts. None for a request in JSON."""
    loop: asyncio.AbstractEventLoop | None = None
    """The running loop, where it is known: looking it up is a system call before Python 3.12."""


def whole(params: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return `params` with the long values of a large body decoded, which are RawJson. Raises NotWhole."""
    long = {name: value for name, value in params.items() if type(value) is RawJson}
    if not long:
        return params
    source = next(iter(long.values())).source
    if source.parsed_bytes > source.max_parsed_bytes:
        limit = shown_size(source.max_parsed_bytes)
        raise NotWhole(f"needs the body decoded, which is larger than {limit}, --max-parsed-body", is_too_large=True)
    try:
        return {**params, **{name: value.decode() for name, value in long.items()}}
    except (ValueError, RecursionError):
        raise NotWhole("needs the body decoded, and it is not JSON", is_too_large=False) from None


@dataclass(slots=True)
class Reply:
    """A plain answer."""

    data: JsonObject
    """The body in OpenAI's shape. Where `raw` is in parts, long texts and lists of numbers in it are shortened."""
    raw: bytes | Spliced | None = None
    """The body as the upstream sent it; None if there is none or `data` was changed.

    One in parts has been searched for echoes.
    """
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Headers for the client: `retry-after`, `x-ratelimit-*`, `openai-*`. Lower-case names."""
    body: Stream | None = None
    """The answer if it is no JSON but bytes or events; `data` is empty then."""

    def whole(self) -> JsonObject:
        """Return `data` with nothing shortened."""
        whole: JsonObject = decode_json(bytes(self.raw)) if type(self.raw) is Spliced else self.data
        return whole


class Bond(NamedTuple):
    """What binds a request to one account."""

    by: str
    """The field that has it, for the client's error."""
    id: str
    """What was made there: an id, or a hash of encrypted content."""
    is_kept: bool = False
    """An account of Gemini's keeps it, in whatever words that is asked; else one that the operation is relayed to."""


Bonds: TypeAlias = Generator[None, None, Sequence[Bond]]
"""A search for bonds in short steps, since a large body takes some."""


class ErrorShape(Protocol):
    """How errors look on a wire."""

    def envelope(self, error: JsonObject, status: int, request_id: str) -> JsonObject:
        """Return OpenAI's envelope `error` in this shape."""

    def body(self, body: bytes, status: int, request_id: str) -> bytes:
        """Return an upstream's error body in this shape."""


class Translator(Protocol):
    """Translates the events of one stream."""

    def feed(self, data: JsonObject) -> list[JsonObject]:
        """Return what the next event becomes; the events of the result have a `type`, which is their name too."""

    def run(self, raw: bytes, shape: Shape) -> bytes | None:
        """Return a run of events of this shape as a run of translated ones; None if its events have to be fed.

        `shape.data` was fed before, and whatever came between.
        """

    def end(self) -> list[JsonObject]:
        """Return the last events. Called once, and only if the source is whole."""


class Translated(Protocol):
    """One request in another operation's words, and what reading its answer takes."""

    @property
    def params(self) -> Mapping[str, Json]:
        """The request's fields."""

    def answer(self, data: JsonObject) -> JsonObject:
        """Return the answer, which the other operation found to be one, in the first operation's words."""

    def events(self) -> Translator:
        """Return a new translator of the answer as a stream."""


class Translation(Protocol):
    """Puts an operation's requests into another operation, and the answers back."""

    @property
    def operation(self) -> Operation:
        """The other operation."""

    @property
    def params_are_own(self) -> bool:
        """Whether the file's parameters are in the first operation's words, so that they are translated too."""

    @property
    def tells_usage(self) -> bool:
        """Whether a stream comes with its usage also where the client did not ask for that."""

    def request(self, params: Mapping[str, Json], target: Target, *, stream: bool) -> Translated:
        """Return a request in the other operation's words. Raises NotSupported for what it cannot say."""


class Operation(Protocol):
    """One kind of request, on one wire. The operations are in `gateway/operations/`; only they know their wire."""

    @property
    def name(self) -> str:
        """Its name in logs, metrics and the config file."""

    @property
    def wire(self) -> UpstreamWire:
        """The wire that it belongs to."""

    @property
    def path(self) -> str:
        """Its path below `/v1` here, and below a base URL upstream."""

    @property
    def stream_path(self) -> str:
        """Its path upstream for a stream, where that is another one; else empty."""

    @property
    def model_is_in_path(self) -> bool:
        """Its path upstream follows that of the model, which its body does not name."""

    @property
    def same_model_only(self) -> bool:
        """It falls over only to the same model: answers of another one are no use where those of the first are kept."""

    @property
    def media_types(self) -> tuple[str, ...]:
        """The content types that its requests may have."""

    @property
    def other_paths(self) -> tuple[str, ...]:
        """Whole paths that it is asked for at as well."""

    @property
    def model_is_optional(self) -> bool:
        """A request may leave the model out."""

    @property
    def method(self) -> str:
        """The method of its requests."""

    @property
    def has_body(self) -> bool:
        """Its requests have a body. Those of an operation without one have each a path of its own."""

    @property
    def errors(self) -> ErrorShape:
        """How errors look on its wire."""

    @property
    def request_headers(self) -> tuple[str, ...]:
        """Lower-case names of the client's header fields that go upstream."""

    @property
    def queries(self) -> frozenset[str]:
        """The queries of clients that go upstream; others are left out."""

    @property
    def field(self) -> str | None:
        """A request field that tells its requests from others; None if there is none."""

    @property
    def params(self) -> frozenset[str]:
        """The fields of a request without `model` and `stream`."""

    @property
    def example(self) -> Mapping[str, Json]:
        """The fields of a small request, without model."""

    @property
    def id_prefix(self) -> str:
        """The prefix of its replies' ids; empty if they have none."""

    @property
    def stream_end(self) -> bytes:
        """The last bytes of a whole stream."""

    @property
    def stream_fields(self) -> Mapping[str, Json]:
        """Fields that ask for a stream in a JSON body, where they are not among its `params`."""

    @property
    def byte_types(self) -> tuple[str, ...]:
        """Beginnings of the content types that its answers may have beside JSON and events; empty if none."""

    @property
    def keepalive(self) -> bytes:
        """What keeps a silent stream alive: bytes that its clients ignore."""

    def translation_for(self, endpoint: Endpoint) -> Translation | None:
        """Return how to put it into an operation that the endpoint is asked for; None if it cannot be."""

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept."""

    def wants_stream(self, body: Mapping[str, Json]) -> bool:
        """Tell whether the request asks for a stream."""

    def usage_wanted(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> bool:
        """Tell whether the client wants a stream to end with its token counts."""

    @property
    def usage_on_demand(self) -> bool:
        """A stream ends with its token counts only if `stream_options.include_usage` asks for that."""

    @property
    def generates_text(self) -> bool:
        """Its answers are text that a model wrote."""

    @property
    def only_counts(self) -> bool:
        """It counts tokens and uses none."""

    @property
    def can_bind(self) -> bool:
        """Whether a request may be bound, or an answer may make something that binds later ones."""

    def bound_to(self, params: Mapping[str, Json]) -> Bonds:
        """Return what binds the request to one account, the most telling first; empty if nothing does."""

    def max_tokens(self, params: Mapping[str, Json]) -> int | None:
        """Return the request's own limit of the output in tokens, above 0; None without one."""

    def texts(self, params: Mapping[str, Json]) -> int:
        """Return the number of texts, each of so many tokens, that are written for a request; at least 1."""

    def text_bytes(self, params: Mapping[str, Json]) -> int | Generator[None, None, int]:
        """Return the bytes of text that the model has to read, base64 left out; in short steps, where that is long."""

    def media(self, params: Mapping[str, Json], form: Form | None) -> Generator[None, None, frozenset[str]]:
        """Return which of `images`, `audio` and `files` the request has, in short steps."""

    def opening(self, params: Mapping[str, Json]) -> bytes:
        """Return a checksum of how system prompt, tools and first user message begin; empty if there are none of them.

        The turns of one conversation have the same. Little is read, however long the request is.
        """

    def made(self, data: JsonObject) -> Iterable[str]:
        """Return the ids that a relayed answer or event tells of, by which later requests are bound."""

    def asked_once(self, judge: StreamJudge, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> str:
        """Return why a stream that broke off before its commit must not be asked for again; empty if it may be.

        `judge` has seen what came of it; the file's `overrides` win over `params`.
        """

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError for a plain reply with a good status that is an error or no answer."""

    def check_count(self, data: JsonObject, params: Mapping[str, Json]) -> None:
        """Raise UpstreamError for an answer, found good, without a result for each input of the request."""

    def one_choice_asked(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> bool:
        """Tell whether the client asks for one choice only; the file's `overrides` win."""

    def judge(self, *, one_choice: bool = False) -> StreamJudge:
        """Return a new judge for one stream. `one_choice`: the client asked for one only."""

    def judge_for(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> StreamJudge:
        """Return a new judge for the stream that a request asks for; the file's `overrides` win."""

    def is_last(self, event: Event) -> bool:
        """Tell whether no event follows this one."""

    def is_answer(self, data: JsonObject) -> bool:
        """Tell whether a plain body in place of a stream is an answer, with no look at whether it is a good one."""

    def as_events(self, data: JsonObject) -> list[Event]:
        """Return a plain reply as the events of a whole stream."""

    def is_text_event(self, data: JsonObject) -> bool:
        """Tell whether an event has content, for post hooks with `events: text`."""

    def is_final_event(self, data: JsonObject) -> bool:
        """Tell whether an event has a finish reason or token counts, or ends the stream, for `events: final`."""

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the counts that a reply or an event tells, as in `CallReport.tokens`; None if it has none."""

    def break_event(self, envelope: JsonObject, number: int) -> bytes:
        """Return the event for the client when a stream breaks. `number` is its number on a wire that has them."""

    def varying(self, data: JsonObject) -> Mapping[str, Json] | None:
        """Return the fields in which events that carry text only differ, with their values; None for other events."""

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the text that the mock echoes."""

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a mock's reply with `text`, without the fields that `signed` adds."""

    def event(self, text: str, finish_reason: str | None = None, *, first: bool = False) -> JsonObject:
        """Return an event of a mock's stream."""

    def mock_events(self, text: str, params: Mapping[str, Json]) -> list[Event] | None:
        """Return a mock's whole stream; None if it is made of `event`s, a word each."""

    def mock_bytes(self, text: str, params: Mapping[str, Json]) -> tuple[str, bytes] | None:
        """Return content type and bytes of a mock's answer to a request for bytes; None for others."""

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a mock's token counts."""

    def text(self, data: JsonObject) -> str | None:
        """Return the text of a reply or an event; None if it has none."""

    def written_bytes(self, data: JsonObject) -> int:
        """Return the bytes of all that a model wrote in a reply or an event: each once in the events of a stream.

        That is text, reasoning, refusals, and names and arguments of tool calls, of all choices; no images or sound.
        """


def plain_answer(value: Json, operation: Operation) -> list[Event] | None:
    """Return a plain answer to a request for a stream as the events of a stream; None if it is no answer."""
    if not isinstance(value, dict) or not operation.is_answer(value):
        return None
    try:
        operation.check_reply(value)
        return operation.as_events(value)
    except UpstreamError:
        return None


_PASSED_BACK: Final = frozenset({"anthropic-organization-id", "request-id", "retry-after", "retry-after-ms"})


def passed_back(name: str) -> bool:
    """Tell whether an upstream's response header of this lower-case name may go back to the client."""
    return name.startswith(("x-ratelimit-", "openai-", "anthropic-ratelimit-")) or name in _PASSED_BACK


class Adapter(Protocol):
    """Calls one sort of upstream. Raises UpstreamError for every fault of the upstream, NotSupported before a call."""

    async def prepare(self) -> None:
        """Do slow preparations, such as an import. They count against no attempt's limits."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer. The caller cancels it when a limit has passed."""

    async def stream(self, call: Call) -> Stream:
        """Return the stream once its response headers have arrived. Cancelling closes the upstream."""

    async def close(self) -> None:
        """Close all connections. Nothing is called afterwards."""


Adapters: TypeAlias = Mapping[AdapterName, Adapter]


def signed(operation: Operation, model: str, data: JsonObject, *, serial: object, created: int) -> JsonObject:
    """Return a mock's reply or event with `id`, `created` and `model` added."""
    prefix = operation.id_prefix
    fields: JsonObject = {"id": f"{prefix}{serial}", "created": created} if prefix else {}
    return {**fields, "model": model, **data}
