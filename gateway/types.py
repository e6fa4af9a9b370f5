"""The values that cross module borders: calls, replies, targets, keys, problems; and the Protocols between parts."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import quote

Json: TypeAlias = Any
"""Any value that JSON can hold."""

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object as a plain dict."""

Operation: TypeAlias = Literal["chat", "embeddings"]
AdapterName: TypeAlias = Literal["relay", "litellm", "mock"]
Severity: TypeAlias = Literal["error", "warning"]

_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")

EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
"""The one empty frozen mapping, for defaults."""


class Kind(StrEnum):
    """The class of an upstream failure: one closed vocabulary for YAML, logs, metrics and tests."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    BAD_RESPONSE = "bad_response"
    AUTH = "auth"
    BILLING = "billing"
    NOT_FOUND = "not_found"
    CONTEXT_WINDOW = "context_window"
    CONTENT_FILTER = "content_filter"
    BAD_REQUEST = "bad_request"


RETRY_ON: Final = frozenset({Kind.CONNECTION, Kind.RATE_LIMIT, Kind.OVERLOADED, Kind.SERVER_ERROR})
"""The kinds that are tried again on the same target unless the file says otherwise."""

FALLBACK_ON: Final = frozenset(Kind) - {Kind.CONTENT_FILTER, Kind.BAD_REQUEST}
"""The kinds after which the next target is tried unless the file says otherwise."""

CLIENT_FAULTS: Final = frozenset({Kind.BAD_REQUEST, Kind.CONTENT_FILTER, Kind.CONTEXT_WINDOW})
"""The kinds that say nothing about a target's health: they never count towards its cooldown."""

FORBIDDEN_PARAMS: Final = frozenset(
    {
        "api_base", "api_key", "api_type", "api_version", "aws_access_key_id", "aws_region_name",
        "aws_secret_access_key", "aws_session_token", "azure_ad_token", "azure_ad_token_provider", "base_url", "cache",
        "callbacks", "client", "client_id", "client_secret", "context_window_fallback_dict", "custom_llm_provider",
        "content_policy_fallbacks", "context_window_fallbacks", "aws_bedrock_runtime_endpoint", "aws_profile_name",
        "aws_role_name", "aws_session_name", "aws_sts_endpoint", "aws_web_identity_token",
        "mock_testing_content_policy_fallbacks", "mock_testing_context_fallbacks", "mock_testing_fallbacks",
        "mock_testing_rate_limit_error", "models", "route", "stream_timeout", "user_config",
        "default_headers", "deployment_id", "extra_body", "extra_headers", "extra_query", "fallbacks",
        "force_timeout", "headers", "http_client", "input_cost_per_token", "litellm_call_id", "litellm_metadata",
        "litellm_params", "logger_fn", "max_retries", "mock_delay", "mock_response", "mock_timeout",
        "mock_tool_calls", "model_info", "model_list", "num_retries", "organization", "output_cost_per_token",
        "provider", "proxy_server_request", "region_name", "request_timeout", "retry_policy", "retry_strategy",
        "router", "shared_session", "ssl_verify", "tenant_id", "timeout", "vertex_credentials", "vertex_location",
        "vertex_project",
    }
)  # fmt: skip
"""Fields of a request that would choose a host, a key or LiteLLM's own behaviour. They reach no upstream."""


RESERVED_CAPABILITY_NAMES: Final = frozenset(
    {
        "add_model_fallback", "add_model_mapping", "add_post_process_hook", "add_pre_process_hook", "answer", "close",
        "complete_chat", "map_model_name", "open_stream", "register_capability", "reload", "stream_chat", "tables",
    }
)  # fmt: skip
"""What already means something on a provider, so that a capability of that name could never be reached."""

_KEY: Final = re.compile(r"[!-~]+")


class Secret:
    """A value that prints as `***`. `reveal()` is called where it goes on the wire, nowhere else."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class KeySource:
    """Where an upstream's key comes from: a value of the config file, a file of its own, or nowhere."""

    __slots__ = ("_file", "_read", "_stamp", "name")

    def __init__(self, *, name: str, value: Secret | None = None, file: Path | None = None) -> None:
        self.name = name
        """Tells two sources apart without showing either: the text as written, a path, or a digest."""
        self._file = file
        self._read = _usable(value.reveal()) if value is not None else None
        self._stamp: tuple[int, int, int] | None = None

    def read(self) -> Secret | None:
        """Return the key in force now, or None when there is none.

        A key file is read again whenever its stat changes; while it is missing or empty there is no key. Whatever
        cannot stand in a header as a key, such as a line break within, is no key either.
        """
        if self._file is None:
            return self._read
        try:
            stat = os.stat(self._file)
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._read, self._stamp = _usable(self._file.read_text(encoding="utf-8")), stamp
        except (OSError, UnicodeDecodeError):
            self._read, self._stamp = None, None
        return self._read

    def __eq__(self, other: object) -> bool:
        """Whether both are the same value, or the same file whatever it holds by now."""
        if not isinstance(other, KeySource):
            return NotImplemented
        same = (self.name, self._file) == (other.name, other._file)
        return same and (self._file is not None or self._read == other._read)

    def __hash__(self) -> int:
        return hash((self.name, self._file))

    def __repr__(self) -> str:
        return f"KeySource({self.name!r})"


def _usable(text: str) -> Secret | None:
    """Return the key that a text holds, white space around it left out; None when it is no visible ASCII text."""
    text = text.strip()
    return Secret(text) if _KEY.fullmatch(text) else None


NO_KEY: Final = KeySource(name="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long one attempt may take, in seconds; every value is above zero."""

    connect_s: float
    """Until the connection stands, TLS included."""
    first_token_s: float
    """Streams only: from the start of the attempt to the first content."""
    idle_s: float
    """Streams only: between two events after the first content."""
    total_s: float
    """Plain answers only: the whole attempt."""
    stream_total_s: float | None = None
    """Streams only: the whole attempt; None where the file writes no `total`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooldown:
    """After how many failures a target is left alone, and for how long."""

    failures: int = 3
    within_s: float = 30.0
    for_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedOutcome:
    """What a mock provider does on one call. A status of 400 and above fails; else `text` is the answer."""

    text: str = "Hello from the mock provider."
    status: int = 200
    retry_after_s: float | None = None
    delay_s: float = 0.0
    """Waited before anything is answered."""
    cut: int | None = None
    """Break off after so many content chunks (a plain answer breaks off at once)."""
    stall: int | None = None
    """Fall silent for ever after so many content chunks (a plain answer never comes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One upstream service: a provider entry of the file, or a well-known provider without one."""

    provider: str
    """The entry's name: what stands before the first `/` of a target."""
    kind: str
    """`openai` for any OpenAI-wire server, `mock`, or LiteLLM's name of the provider.

    Empty in embedded use, for a name that goes to LiteLLM as it is.
    """
    adapter: AdapterName
    base_url: str | None = None
    """Without a trailing slash, such as `https://api.openai.com/v1`; None leaves it to LiteLLM."""
    own_base_url: bool = False
    """The file names the base URL, so no key but the entry's own may go there."""
    api_key: KeySource = NO_KEY
    key_required: bool = False
    """Calls without a key are `auth` failures: the file names one, or the vendor answers nothing without."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Sent with every call. May hold secrets, so they are kept out of `repr`."""
    params: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """The provider entry's own `params`, for instance LiteLLM's `api_version`. Already merged into each step's."""
    script: tuple[ScriptedOutcome, ...] = ()
    """Mock only: played in order, the last one for ever; empty lets the model's name decide."""
    cooldown: Cooldown = field(default_factory=Cooldown)

    def __repr__(self) -> str:
        return f"Endpoint({self.provider!r}, kind={self.kind!r}, adapter={self.adapter!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One upstream model that a chain may call."""

    name: str
    """`provider/model`, as it is called: a wildcard's star is filled in."""
    model: str
    """What the upstream knows the model as. A name LiteLLM gets as it is has no provider before it."""
    label: str
    """`name` as the file writes it, star and all: bounded in number, so fit for metrics."""
    endpoint: Endpoint
    identity: tuple[str, str, str] = field(init=False, repr=False, compare=False)
    """What health is kept under: unchanged by a reload that does not touch this target."""
    header: str = field(init=False, repr=False, compare=False)
    """`name` as the value of a header field."""

    def __post_init__(self) -> None:
        endpoint = self.endpoint
        quoted = quote(self.name, safe=_HEADER_SAFE, errors="replace")
        object.__setattr__(self, "header", self.name if quoted == self.name else quoted)
        object.__setattr__(self, "identity", (self.name, endpoint.base_url or "", endpoint.api_key.name))


# Neither frozen nor by keywords only, like Reply, Attempt and CallReport: each request makes one, and that would take
# several times as long.
@dataclass(slots=True)
class Call:
    """One attempt as an adapter sees it. Nothing changes it."""

    operation: Operation
    target: Target
    params: Mapping[str, Json]
    """The request after its hooks. Holds neither `model` nor `stream` nor anything of FORBIDDEN_PARAMS."""
    limits: Limits
    overrides: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """The file's `params` for this target: they win over `params`, and None removes one. Trusted."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """What goes upstream of the request's own headers: `x-request-id` and `traceparent`."""


@dataclass(slots=True)
class Reply:
    """A plain answer."""

    data: JsonObject
    """The body in OpenAI's shape."""
    raw: bytes | None = None
    """The body as the upstream sent it; None when there is none or `data` was changed since."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """What may go back to the client: `retry-after`, `x-ratelimit-*`, `openai-*`. Lower-case names."""


@dataclass(slots=True)
class Chunk:
    """One event of a stream. `[DONE]` is never a chunk: a stream that is whole just ends."""

    data: JsonObject | None
    """The event in OpenAI's shape; None for a comment or an event without data."""
    raw: bytes | None = None
    """The event as it came, blank line included; None when there is none or `data` was changed since."""


class Chunks(Protocol):
    """The events of one stream, in order. An async generator of chunks is one; `aclose()` closes the upstream."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """Return itself."""

    async def __anext__(self) -> Chunk:
        """Return the next event; StopAsyncIteration at the end."""

    async def aclose(self) -> None:
        """Close the stream, whole or not. Safe to call twice, and before the first event."""


Push: TypeAlias = Callable[[list[Chunk]], bool]
"""Takes what has come of a stream, within a callback of the event loop; says whether it takes more."""


async def _no_flow(push: Push) -> None:
    """Everything has to be asked for."""


@dataclass(slots=True)
class ChunkStream:
    """An upstream's stream, open: its response headers have arrived. Whoever holds it closes `chunks`."""

    chunks: Chunks
    """Ends when the upstream ended; raises UpstreamError on any break. Adapters do not judge wholeness."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    take: Callable[[], list[Chunk]] = list
    """Return the next of `chunks` that are there already, in order; none where each has to be waited for.

    What is taken comes no more from `chunks`. Events that carry nothing but text may come as one chunk, whose data is
    empty. Never raises: a break is left for `chunks` to tell.
    """
    ended: Callable[[], bool] = bool
    """Tell whether the stream has ended well and all of it was taken: there is nothing left to ask `chunks` for.

    It is closed then, too. False where only waiting would tell.
    """
    flow: Callable[[Push], Coroutine[Any, Any, None]] = _no_flow
    """Hand on what comes, as `take` would return it, the moment it comes and without waking a task for it.

    Returns, at once or after a while, where `chunks` have to be asked again: when `push` said so, or something has come
    that ends or breaks the stream. Cancelling leaves the stream as it is.
    """


@dataclass(slots=True)
class Attempt:
    """One call of one target, or its being passed over, for the log, the metrics and the error's `attempts`."""

    target: str
    label: str
    kind: Kind | Literal["cooldown"] | None
    """None when the target answered; `cooldown` when it was passed over and not called at all."""
    status: int | None
    ms: float

    def public(self) -> JsonObject:
        """Return what a client may see."""
        return {"target": self.target, "kind": self.kind, "status": self.status, "ms": round(self.ms * 10) / 10}


@dataclass(slots=True)
class CallReport:
    """What became of one request, filled in while it runs, so that a cancelled one is told as well."""

    request_id: str = ""
    alias: str = ""
    """As the file writes it: the pattern of a wildcard. Empty while none was found."""
    generation: int = 0
    target: Target | None = None
    """Who answered."""
    calling: Target | None = None
    """Whose answer is being waited for."""
    attempts: list[Attempt] = field(default_factory=list)
    first_content_s: float | None = None
    """Streams only: seconds from the request's arrival to commit."""
    tokens: Mapping[str, int] | None = None
    """The `prompt` and `completion` counts as the answering target reported them; None without a report."""
    calls: int = 0
    """How many times a target was called: the attempts without those that were passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault found in a config file."""

    line: int
    """From 1; 0 when the fault has no place in the file."""
    column: int
    """From 1, in characters."""
    code: str
    """Never changes once released, for instance `unknown-target`."""
    path: str
    """Where in the document, for instance `models.fast.chain[1]`."""
    message: str
    """Lower case, no full stop: what was found and what would be right. Never holds a secret."""
    severity: Severity = "error"
    source: str = "routes.yaml"
    """The file's name as it was given."""
    excerpt: str | None = None
    """The line as the file has it, secrets masked."""
    caret: int | None = None
    """Where `column` stands in the excerpt, from 1, masking and cutting done; None where nobody said."""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.source}:{self.line}:{self.column}: {self.code}: {where}{self.message}"

    def as_json(self) -> JsonObject:
        """Return what `validate --format json` and the server's admin paths show."""
        return {
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "severity": self.severity,
            "path": self.path,
            "message": self.message,
            "source": self.source,
            "excerpt": self.excerpt,
            "text": str(self),
        }


class Adapter(Protocol):
    """Reaches one sort of upstream. Raises UpstreamError for whatever the upstream does wrong."""

    async def prepare(self) -> None:
        """Make ready what a call needs, such as a slow import. Counts against no attempt's limits."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer. Whoever waits for it keeps the limits and cancels it when one has passed."""

    async def stream(self, call: Call) -> ChunkStream:
        """Return the stream once its response headers are there. Cancelling closes the upstream."""

    async def close(self) -> None:
        """Give back connections. Nothing is called afterwards."""


Adapters: TypeAlias = Mapping[AdapterName, Adapter]
Problems: TypeAlias = Sequence[Problem]
