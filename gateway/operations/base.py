"""The common parts of the operations on OpenAI's wire: streams, errors, token counts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

from gateway.adapters.base import Bonds, Translation
from gateway.adapters.content_types import JSON
from gateway.adapters.counts import token_counts
from gateway.adapters.events import Event, StreamJudge
from gateway.errors import BadRequest
from gateway.operations.content import DEFINED, json_bytes, media_in, opening, text_bytes, with_encoded
from gateway.operations.errors import OPENAI_ERRORS, OpenAIErrors
from gateway.operations.written import choices_bytes
from gateway.policy.failures import (
    WHOLE,
    choice_error,
    error_object,
    failed_by,
    no_answer,
)
from gateway.policy.finish import index_of, is_finished
from gateway.policy.target import AdapterName, Endpoint
from gateway.wire import sse
from gateway.wire.json import EMPTY, Json, JsonObject, RawJson, encode_json
from gateway.wire.multipart import Form

HELLO: Final = ({"role": "user", "content": "hello"},)
"""The messages of a small request."""

MAX_CHOICES: Final = 100_000
"""Choices of a stream, whose indexes are remembered to its end. OpenAI's limit is 128 for each prompt."""
_ARRAYS: Final = (list, tuple)
STREAM_OPTIONS: Final = "stream_options"


class OpenAIOperation:
    """The common part of `adapters.base.Operation` on OpenAI's wire; an operation that streams overrides more."""

    method: ClassVar[str] = "POST"
    has_body: ClassVar[bool] = True
    errors: ClassVar[OpenAIErrors] = OPENAI_ERRORS
    request_headers: ClassVar[tuple[str, ...]] = ()
    queries: ClassVar[frozenset[str]] = frozenset()
    same_model_only: ClassVar[bool] = False
    media_types: ClassVar[tuple[str, ...]] = (JSON,)
    other_paths: ClassVar[tuple[str, ...]] = ()
    model_is_optional: ClassVar[bool] = False
    model_is_in_path: ClassVar[bool] = False
    stream_path: ClassVar[str] = ""
    translation: Translation | None = None
    """How to put it into another operation."""
    translations: Mapping[AdapterName, Translation] = MappingProxyType({})
    """By an endpoint's adapter: what goes before `translation` there."""
    usage_on_demand: ClassVar[bool] = False
    generates_text: ClassVar[bool] = False
    only_counts: ClassVar[bool] = False
    can_bind: ClassVar[bool] = False
    read_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that the model has to read."""
    limit_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that limit the output. Of several the greatest counts: servers differ in which they read."""
    part_kinds: ClassVar[Mapping[str, str]] = EMPTY
    """Type of a part of `read_fields` → `images`, `audio` or `files`."""
    form_media: ClassVar[frozenset[str]] = frozenset()
    """What the files of a form are."""
    streams: ClassVar[bool] = False
    """Whether requests can ask for a stream of events."""
    stream_fields: ClassVar[Mapping[str, Json]] = MappingProxyType({"stream": True})
    byte_types: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[Mapping[str, Json]] = EMPTY
    id_prefix: ClassVar[str] = ""
    stream_end: ClassVar[bytes] = sse.encode(sse.DONE)
    keepalive: ClassVar[bytes] = b": keepalive\n\n"
    """A comment (https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes)."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def wants_stream(self, body: Mapping[str, Json]) -> bool:
        """Tell whether the request asks for a stream."""
        return self.streams and bool(body.get("stream"))

    def translation_for(self, endpoint: Endpoint) -> Translation | None:
        """Return how to put it into an operation that the endpoint is asked for; None if it cannot be."""
        return self.translations.get(endpoint.adapter, self.translation)

    def check_count(self, data: JsonObject, params: Mapping[str, Json]) -> None:
        """Do nothing: how many results an answer has depends on more than the request."""

    def bound_to(self, params: Mapping[str, Json]) -> Bonds:
        """Return nothing: no account keeps what a request needs."""
        return ()
        yield

    def made(self, data: JsonObject) -> Iterable[str]:
        """Return nothing."""
        return ()

    def max_tokens(self, params: Mapping[str, Json]) -> int | None:
        """Return the request's own limit of the output in tokens; None without one."""
        most = 0
        for name in self.limit_fields:
            if type(limit := params.get(name)) is int and limit > most:
                most = limit
        return most or None

    def texts(self, params: Mapping[str, Json]) -> int:
        """Return the number of texts that an answer may have: `n`, or 1."""
        count = params.get("n")
        return 1 if count is None else max(positive(count), 1)

    def text_bytes(self, params: Mapping[str, Json]) -> int | Generator[None, None, int]:
        """Return the bytes of text that the model has to read, base64 left out; in short steps, where that is long."""
        total = 0
        long: list[RawJson] | None = None
        for name in self.read_fields:
            value = params.get(name)
            if value is None:
                continue
            if type(value) is not RawJson:
                total += json_bytes(value) if name in DEFINED else text_bytes(value)
            elif long is None:
                long = [value]
            else:
                long.append(value)
        return total if long is None else with_encoded(total, long)

    def media(self, params: Mapping[str, Json], form: Form | None) -> Generator[None, None, frozenset[str]]:
        """Return which of `images`, `audio` and `files` the request has, in short steps."""
        found = yield from media_in(params, self.read_fields, self.part_kinds)
        return found if form is None or not form.file_names else found | self.form_media

    def opening(self, params: Mapping[str, Json]) -> bytes:
        """Return a checksum of how the first field that is read begins."""
        return opening(messages=params.get(self.read_fields[0]) if self.read_fields else None)

    def asked_once(self, judge: StreamJudge, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> str:
        """Return an empty text: nothing is kept or done upstream before the content."""
        return ""

    def judge(self, *, one_choice: bool = False) -> StreamJudge:
        """Return a judge of events with `choices`. `one_choice`: the request asked for one only."""
        return ChoicesJudge(self.has_content, self.is_own, one_choice=one_choice)

    def judge_for(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> StreamJudge:
        """Return a judge of the stream that this request asks for."""
        return self.judge(one_choice=self.one_choice_asked(params, overrides))

    def one_choice_asked(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> bool:
        """Tell whether the request asks for one choice; the file's `overrides` win."""
        count = overrides["n"] if "n" in overrides else params.get("n")
        return count is None or count == 1

    def has_content(self, choice: JsonObject) -> bool:
        """Tell whether a choice of an event carries content."""
        return False

    def is_own(self, choice: JsonObject) -> bool:
        """Tell whether a choice of an event has this operation's shape."""
        return False

    def varying(self, data: JsonObject) -> Mapping[str, Json] | None:
        """Return the fields in which events with text only differ: the text, and padding that hides its length."""
        choices = data.get("choices")
        if not isinstance(choices, list) or len(choices) != 1:
            return None
        choice = choices[0]
        if not isinstance(choice, dict) or choice.get("finish_reason"):
            return None
        name, text = self.lone_text(choice)
        if not text:
            return None
        return {name: text, "obfuscation": data["obfuscation"]} if "obfuscation" in data else {name: text}

    def lone_text(self, choice: JsonObject) -> tuple[str, Json]:
        """Return the name of the text field in an event's choice, and the text."""
        return "", None

    def event(self, text: str, finish_reason: str | None = None, *, first: bool = False) -> JsonObject:
        """Return an empty event."""
        return {}

    def is_last(self, event: Event) -> bool:
        """Return False: `[DONE]` follows the last event."""
        return False

    def is_answer(self, data: JsonObject) -> bool:
        """Tell whether a body has choices."""
        return bool(data.get("choices"))

    def as_events(self, data: JsonObject) -> list[Event]:
        """Return a plain reply as the events of a whole stream."""
        return [Event(data)]

    def is_text_event(self, data: JsonObject) -> bool:
        """Tell whether a choice of an event carries content."""
        return any(map(self.has_content, choices_of(data)))

    def is_final_event(self, data: JsonObject) -> bool:
        """Tell whether a choice of an event has a finish reason, or the event has token counts."""
        return bool(data.get("usage")) or any(choice.get("finish_reason") for choice in choices_of(data))

    def usage_wanted(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> bool:
        """Tell whether a stream is asked for with `stream_options.include_usage`; the file's `overrides` win.

        Not with vLLM's `continuous_usage_stats`, which asks for a usage in each event.
        """
        options = overrides[STREAM_OPTIONS] if STREAM_OPTIONS in overrides else params.get(STREAM_OPTIONS)
        if not isinstance(options, dict):
            return False
        return bool(options.get("include_usage")) and not options.get("continuous_usage_stats")

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the token counts of a plain reply or an event; None if it has none."""
        usage = data.get("usage")
        return token_counts(usage, is_text=self.generates_text) if isinstance(usage, dict) and usage else None

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return an empty text."""
        return ""

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return an empty reply."""
        return {}

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return no counts."""
        return {}

    def mock_events(self, text: str, params: Mapping[str, Json]) -> list[Event] | None:
        """Return None: its stream is made of `event`s."""
        return None

    def mock_bytes(self, text: str, params: Mapping[str, Json]) -> tuple[str, bytes] | None:
        """Return None."""
        return None

    def text(self, data: JsonObject) -> str | None:
        """Return None."""
        return None

    def written_bytes(self, data: JsonObject) -> int:
        """Return the bytes of what a model wrote in all choices of a reply or an event."""
        return choices_bytes(data)

    def break_event(self, envelope: JsonObject, number: int) -> bytes:
        """Return the error envelope as an event."""
        return sse.encode(encode_json(envelope))


def is_text_to_judge(operation: OpenAIOperation, data: JsonObject) -> bool:
    """Tell whether a judge that sees this event alone finds content in it."""
    judge = operation.judge()
    judge.see(data)
    return judge.has_content


class ChoicesJudge:
    """Checks a stream whose events have `choices`."""

    __slots__ = ("_finished", "_has_content", "_has_own", "_is_own", "_one_choice", "_seen", "_usage", "has_content")

    next_number: Final = 0
    hears_runs: Final = False

    def __init__(
        self,
        has_content: Callable[[JsonObject], bool],
        is_own: Callable[[JsonObject], bool],
        *,
        one_choice: bool = False,
    ) -> None:
        """`has_content` tells whether a choice carries content, `is_own` whether it has this operation's shape.

        With `one_choice` the indexes do not matter: some servers count them up with each event, or finish another one
        than they began.
        """
        self._one_choice = one_choice
        self._has_content = has_content
        self._is_own = is_own
        self._has_own = False
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self.has_content = False
        self._usage: JsonObject | None = None

    def see(self, data: JsonObject) -> None:
        """Check the next event. Raises UpstreamError if it is an error or malformed."""
        if "error" in data:
            raise_error(data)
        for choice in choices_of(data):
            index = 0 if self._one_choice else choice.get("index")
            if type(index) is not int:
                index = index_of(index)
            self._seen.add(index)
            if len(self._seen) > MAX_CHOICES:
                raise no_answer()
            finish = choice.get("finish_reason")
            if finish:
                if type(finish) is str and finish in WHOLE:
                    self._finished.add(index)
                else:
                    raise_choice_error(choice)
                    if is_finished(choice):
                        self._finished.add(index)
            if "error" in choice:
                raise_choice_error(choice)
            if not self.has_content:
                self.has_content = self._has_content(choice)
                self._has_own = self._has_own or self._is_own(choice)
        usage = data.get("usage")
        if isinstance(usage, dict):
            self._usage = usage

    def skip(self, run: bytes) -> None:
        """Do nothing: a run has no finish reason."""

    @property
    def tokens(self) -> dict[str, int] | None:
        """The newest token counts."""
        return token_counts(self._usage) if self._usage else None

    @property
    def is_whole(self) -> bool:
        """There is a choice of this operation's shape, and all choices have a finish reason."""
        return self._has_own and self._seen <= self._finished


class UsageLast:
    """A stage that moves a stream's newest usage to the end.

    Upstreams send it with the finish reason, in every event, or in an event of its own before others. Clients that add
    up what they are told would count it twice, so it is told once. A stream without usage is not changed.
    """

    __slots__ = ("_is_told", "_newest")

    def __init__(self, *, is_told: bool = True) -> None:
        """`is_told`: the client asked for the usage; else it is left out."""
        self._is_told = is_told
        self._newest: Event | None = None
        """The last event with a usage. It is held back if it has nothing else."""

    def passing(self, events: list[Event]) -> list[Event]:
        """Return the events without those that have only a usage, the others with none."""
        return [passed for event in events if (passed := self._passed(event)) is not None]

    def last(self) -> list[Event]:
        """Return an event with the newest usage and no choices; an empty list if there was no usage to tell."""
        newest, self._newest = self._newest, None
        if newest is None or newest.data is None or not self._is_told:
            return []
        alone = newest.data.get("choices") == []
        return [newest if alone else Event({**newest.data, "choices": []}, name=newest.name)]

    def _passed(self, event: Event) -> Event | None:
        data = event.data
        if data is None or not isinstance(data.get("usage"), dict):
            return event
        self._newest = event
        if data.get("error"):
            return event
        if not data.get("choices"):
            return None
        data = {**data, "usage": None}
        if not self._is_told:
            del data["usage"]
        return Event(data, name=event.name)


def word(data: JsonObject, name: str = "type") -> str:
    """Return a field that holds a word of the wire; empty if it is missing or no text."""
    value = data.get(name)
    return value if isinstance(value, str) else ""


def objects(value: Json) -> list[JsonObject]:
    """Return the objects in a list; none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def is_long_list(value: Json) -> bool:
    """Tell whether this is a list of a large body, which is not decoded."""
    return isinstance(value, RawJson) and value.is_array


def is_long_text(value: Json) -> bool:
    """Tell whether this is a text of a large body, which is not decoded."""
    return isinstance(value, RawJson) and value.is_text


def check_stream_fields(body: Mapping[str, Json]) -> None:
    """Raise BadRequest for a `stream` or `stream_options` of the wrong type."""
    stream, options = body.get("stream"), body.get(STREAM_OPTIONS)
    if stream is not None and not isinstance(stream, bool):
        raise BadRequest("stream must be true or false", param="stream")
    if options is not None and not isinstance(options, dict):
        raise BadRequest("stream_options must be an object", param=STREAM_OPTIONS)


def raise_error(data: JsonObject) -> None:
    """Raise UpstreamError if a body or event with a good status is an error."""
    error = error_object(data)
    if error is not None:
        raise failed_by(error)


def raise_choice_error(choice: JsonObject) -> None:
    """Raise UpstreamError if a choice failed: it has an error, or a finish reason of a failure."""
    error = choice_error(choice)
    if error is not None:
        raise failed_by(error)


def choices_of(data: JsonObject) -> Sequence[JsonObject]:
    """Return the choices of a reply or an event. Raises UpstreamError unless they are a list of objects."""
    choices = data.get("choices") or ()
    if not isinstance(choices, _ARRAYS):
        raise no_answer()
    for choice in choices:
        if not isinstance(choice, dict):
            raise no_answer()
    return choices


def check_choices(data: JsonObject, field: str, kind: type) -> None:
    """Raise UpstreamError unless a choice has a finish reason and a `field` of this type, and none has failed."""
    if "error" in data:
        raise_error(data)
    found = False
    for choice in choices_of(data):
        finish = choice.get("finish_reason")
        usual = type(finish) is str and finish in WHOLE
        if not usual or "error" in choice or "provider_specific_fields" in choice:
            raise_choice_error(choice)
        if not found:
            found = (finish == "stop" or is_finished(choice)) and isinstance(choice.get(field), kind)
    if not found:
        raise no_answer()


def first_choice(data: JsonObject) -> JsonObject:
    """Return the first choice of a reply or an event; an empty dict if it has none."""
    choices = data.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def usage_of(prompt: int, completion: int) -> JsonObject:
    """Return a reply's `usage`."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def positive(value: Json) -> int:
    """Return a whole number above 0 as it is, anything else as 0."""
    return value if type(value) is int and value > 0 else 0


def words_in(text: Json) -> int:
    """Count tokens roughly: each word, and each number in a list of tokens, is one."""
    if isinstance(text, list):
        return sum(words_in(item) if isinstance(item, str | list) else 1 for item in text)
    return len(text.split()) if isinstance(text, str) else 0


def messages_of(params: Mapping[str, Json]) -> list[JsonObject]:
    """Return the messages of a request; those that are no objects are left out."""
    return objects(params.get("messages"))


def last_said(params: Mapping[str, Json]) -> str:
    """Return the text of the last user message."""
    said = [text_of(message.get("content")) for message in messages_of(params) if message.get("role") == "user"]
    return said[-1] if said else ""


def text_of(content: Json) -> str:
    """Return a message's text: the content itself, or its text parts joined."""
    if isinstance(content, list):
        texts = (part.get("text") for part in objects(content))
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""
