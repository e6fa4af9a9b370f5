"""Targets: an upstream model, its endpoint and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from gateway.policy.echoes import Echoes
from gateway.policy.failures import Kind
from gateway.policy.keys import NO_KEY, KeyList, KeySource
from gateway.policy.limits import Limit
from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.secrets import mask_url
from gateway.policy.wires import ALL_WIRES, OPENAI_WIRES, TRANSLATED, Wire, operations_of
from gateway.wire.json import EMPTY, Json, JsonObject

AdapterName: TypeAlias = Literal["relay", "litellm", "mock", "anthropic", "gemini", "translated"]
"""Carries chat to an endpoint. `anthropic` puts it into Messages and relays that, `gemini` into Gemini's own API.

`translated` is only of calls.
"""

CARRIED: Final[Mapping[AdapterName, frozenset[str]]] = MappingProxyType(
    {
        "relay": frozenset(),
        "litellm": frozenset({"chat", "embeddings"}),
        "anthropic": frozenset(),
        "gemini": frozenset(),
        "mock": operations_of(ALL_WIRES) - TRANSLATED,
    }
)
"""By an endpoint's adapter: the operations that it carries whatever the endpoint's `wires` are."""

GEMINI_OPERATIONS: Final = ("generate_content", "batch_embed", "count_contents")
"""Operations of Gemini's own API, into which others are put. No client asks for them."""

_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")

FRAMING_HEADERS: Final = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Lower-case names that the file's `headers` may not set: the HTTP client sets them for each request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds that one attempt may take; all above zero."""

    connect_s: float
    """Until the connection is set up, TLS included."""
    first_token_s: float
    """Streams only: from the start of the attempt to the first content."""
    idle_s: float
    """Streams only: between two events after the first content."""
    total_s: float
    """Plain answers only: the whole attempt."""
    stream_total_s: float | None = None
    """Streams only: the whole attempt; None if the file sets no `total`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooldown:
    """When `failures` requests failed within `within_s` seconds, a target rests for `for_s` seconds."""

    failures: int = 3
    share: float = 0.5
    """From 0 to 1: the failed requests must be at least this share of those that called it."""
    within_s: float = 30.0
    for_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedOutcome:
    """The outcome of a scripted call. A status of 400 or above, a `kind` or a `code` fails; else it answers `text`.

    A mock provider's `script` sets only `text, status, retry_after_s, delay_s, cut, stall`; test cases set all fields.
    """

    text: str | None = "Hello from the mock provider."
    """None: a greeting that names the target."""
    status: int = 200
    kind: Kind | None = None
    """None: by status and body."""
    code: str | None = None
    """The error body's code. With a good status the error is inside the answer."""
    body: JsonObject | None = None
    """The whole body, instead of `text` or the error for `code`."""
    tokens: tuple[int, int] | None = None
    """Of input and output, which the answer tells as its usage; None: by the words."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Response headers that may go back to the client, with lower-case names."""
    retry_after_s: float | None = None
    delay_s: float = 0.0
    """Seconds before the answer begins. Infinite (not in files): until a limit stops the attempt."""
    pace_s: float = 0.0
    """Streams only: seconds before each content chunk."""
    cut: int | None = None
    """Break off after this many content chunks; a plain answer breaks off at once."""
    stall: int | None = None
    """Stall for ever after this many content chunks; a plain answer never comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One upstream service: a provider entry of the file, or a well-known provider."""

    provider: str
    """The entry's name: the part of a target before the first `/`."""
    kind: str
    """`openai` for any OpenAI-wire server, `mock`, or LiteLLM's provider name. Empty: LiteLLM gets the bare name."""
    adapter: AdapterName
    """Carries chat."""
    wires: frozenset[Wire] | None = None
    """The wires that the endpoint speaks itself, so they are relayed. None: OpenAI's if the relay carries chat."""
    wires_written: bool = False
    """The file names the wires, so a path of theirs is never taken to be missing."""
    library_adapter: AdapterName | None = None
    """What the Python library uses where that is another one: it relays only if the file says `adapter: relay`."""
    base_url: str | None = None
    """Without a trailing slash, such as `https://api.openai.com/v1`; None means LiteLLM's own."""
    relay_url: str | None = None
    """The base URL of relayed requests, where that is another one: with the version in its path."""
    api_version: str | None = None
    """Azure only: the `api-version` of relayed requests."""
    own_base_url: bool = False
    """The file sets the base URL, so only the entry's own key may be sent there."""
    hosts: tuple[str, ...] = ()
    """Origins that LiteLLM may reach beside the base URL's: `scheme://host:port`, `*` for one label, `**` for any."""
    api_key: KeySource = NO_KEY
    key_names: tuple[str, ...] = ()
    """Of a list of keys, the names of all sources that the file names, those without a key too."""
    key_required: bool = False
    """Calls without a key fail with `auth`: the file names a key, or the vendor requires one."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Sent with every call. Not in `repr`, as they may be secret."""
    params: Params = NO_PARAMS
    """The provider entry's own `params`, for instance LiteLLM's `api_version`. Already merged into each step's."""
    script: tuple[ScriptedOutcome, ...] = ()
    """Mock only: outcomes in order, the last one repeated; empty: by the model's name."""
    cooldown: Cooldown = field(default_factory=Cooldown)
    limits: tuple[Limit, ...] = ()
    """Of all calls that leave for it, whichever key they take."""
    written: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """The entry for an output: variables as written, secrets masked. Empty without variables."""
    adapters: Mapping[str, AdapterName] = field(init=False, repr=False, compare=False)
    """Operation that it can be asked for → what carries it."""
    has_own_paths: bool = field(init=False, repr=False, compare=False)
    """The paths of its operations differ from OpenAI's: the model is in them, or the API's version."""
    wants_plain_ids: bool = field(init=False, repr=False, compare=False)
    """Ids of tool calls go there without Gemini's signatures.

    A server of the file's own address may be a gateway in front of Gemini, which needs them.
    """
    echoes: Echoes = field(init=False, repr=False, compare=False)
    """Masks its secrets in what the upstream sends back: those of all its keys, whichever was sent."""
    by_key: tuple[Endpoint, ...] = field(init=False, repr=False, compare=False, default=())
    """Where it has several keys, the same endpoint with each of them, in file order: these are called."""

    def __post_init__(self) -> None:
        wires = self.wires
        if wires is None:
            wires = OPENAI_WIRES if self.adapter == "relay" else frozenset()
        object.__setattr__(self, "adapters", _adapters(self.adapter, wires))
        object.__setattr__(self, "has_own_paths", self.api_version is not None or self.adapter == "gemini")
        object.__setattr__(self, "wants_plain_ids", self.kind == "azure" or not self.own_base_url)
        echoes = Echoes(source=self.api_key, headers=self.headers, base_url=self.base_url, params=self.params.sent)
        object.__setattr__(self, "echoes", echoes)
        if isinstance(self.api_key, KeyList):
            by_key = tuple([replace(self, api_key=source) for source in self.api_key.sources])
            for one in by_key:
                object.__setattr__(one, "echoes", echoes)
            object.__setattr__(self, "by_key", by_key)

    @property
    def shown_url(self) -> str | None:
        """The base URL for an output: variables as written, secrets masked."""
        written: str = self.written.get("base_url", "")
        return written if "${" in written else self.base_url and mask_url(self.base_url)

    def __repr__(self) -> str:
        return f"Endpoint({self.provider!r}, kind={self.kind!r}, adapter={self.adapter!r})"


@lru_cache(maxsize=256)
def _adapters(adapter: AdapterName, wires: frozenset[Wire]) -> Mapping[str, AdapterName]:
    """Return what carries each operation to an endpoint: the relay on its own wires, else a translation of chat."""
    found: dict[str, AdapterName] = dict.fromkeys(CARRIED[adapter], adapter)
    found |= dict.fromkeys(operations_of(wires), "relay")
    if adapter == "anthropic":
        found.setdefault("chat", "translated")
    elif adapter == "gemini":
        found |= dict.fromkeys(GEMINI_OPERATIONS, "relay")
        found |= dict.fromkeys(("chat", "embeddings", "count_tokens"), "translated")
    if "chat" in found:
        found |= dict.fromkeys(TRANSLATED - found.keys(), "translated")
    return MappingProxyType(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One upstream model that a chain may call."""

    name: str
    """`provider/model`, with a wildcard's star filled in."""
    model: str
    """The upstream's name of the model."""
    label: str
    """`name` as written in the file, star included: bounded in number, so fit for metrics."""
    endpoint: Endpoint
    identity: tuple[str, str, str] = field(init=False, repr=False, compare=False)
    """The key of its health: unchanged by a reload that does not touch this target."""
    header: str = field(init=False, repr=False, compare=False)
    """`name` as the value of a header field."""

    def __post_init__(self) -> None:
        endpoint = self.endpoint
        quoted = quote(self.name, safe=_HEADER_SAFE, errors="replace")
        object.__setattr__(self, "header", self.name if quoted == self.name else quoted)
        object.__setattr__(self, "identity", (self.name, endpoint.base_url or "", endpoint.api_key.name))

    @property
    def by_key(self) -> tuple[Target, ...]:
        """The same target with each of its endpoint's keys, in file order; empty unless there are several."""
        return tuple([replace(self, endpoint=endpoint) for endpoint in self.endpoint.by_key])
