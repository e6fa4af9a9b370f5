"""Targets: one upstream model, the endpoint it is reached at, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from gateway.policy.failures import Kind
from gateway.policy.keys import NO_KEY, KeySource
from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.secrets import mask_url
from gateway.wire.json import EMPTY, Json, JsonObject

AdapterName: TypeAlias = Literal["relay", "litellm", "mock"]

CARRIED: Final[Mapping[AdapterName, frozenset[str] | None]] = MappingProxyType(
    {"relay": None, "mock": None, "litellm": frozenset({"chat", "embeddings"})}
)
"""By adapter: the operations that it carries; None for all that the endpoint speaks."""


_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")

FRAMING_HEADERS: Final = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""What the file's `headers` cannot set, in lower case: they say how one request is sent, and the sender sets them."""


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
    """What a scripted call does. A status of 400 and above, a `kind` or a `code` fails; else `text` is the answer.

    A mock provider's `script` says no more than `text, status, retry_after_s, delay_s, cut, stall`; test cases say all.
    """

    text: str | None = "Hello from the mock provider."
    """None says hello and names the target."""
    status: int = 200
    kind: Kind | None = None
    """None lets the status and the body decide."""
    code: str | None = None
    """The error body's code. With a good status the error comes inside the answer."""
    body: JsonObject | None = None
    """The whole body in place of `text` or the error that `code` makes."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """What may go back to the client, with lower-case names."""
    retry_after_s: float | None = None
    delay_s: float = 0.0
    """Waited before anything is answered. Infinite, which no file can say: until a limit stops the attempt."""
    pace_s: float = 0.0
    """Streams only: waited before each content chunk."""
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
    library_adapter: AdapterName | None = None
    """What the Python library uses where that is another one: it relays only if the file says `adapter: relay`."""
    base_url: str | None = None
    """Without a trailing slash, such as `https://api.openai.com/v1`; None leaves it to LiteLLM."""
    own_base_url: bool = False
    """The file names the base URL, so no key but the entry's own may go there."""
    api_key: KeySource = NO_KEY
    key_required: bool = False
    """Calls without a key are `auth` failures: the file names one, or the vendor answers nothing without."""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Sent with every call. May hold secrets, so they are kept out of `repr`."""
    params: Params = NO_PARAMS
    """The provider entry's own `params`, for instance LiteLLM's `api_version`. Already merged into each step's."""
    script: tuple[ScriptedOutcome, ...] = ()
    """Mock only: played in order, the last one for ever; empty lets the model's name decide."""
    cooldown: Cooldown = field(default_factory=Cooldown)
    written: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    """The entry as an output may show it: variables as written, secrets as stars; empty without variables."""
    operations: frozenset[str] | None = field(init=False, repr=False, compare=False)
    """The names of the operations that it can be asked for; None for all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", CARRIED[self.adapter])

    @property
    def shown_url(self) -> str | None:
        """The base URL as an output may show it."""
        written: str = self.written.get("base_url", "")
        return written if "${" in written else self.base_url and mask_url(self.base_url)

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
