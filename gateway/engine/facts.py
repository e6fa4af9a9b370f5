"""What conditions and sticky pools ask of a request. Each fact is found when it is first asked for, and once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

from gateway.adapters.base import Operation
from gateway.concurrency.steps import at_once, in_turns
from gateway.operations.content import BYTES_PER_TOKEN
from gateway.policy.pools import StickyKey
from gateway.wire.json import EMPTY, Json, RawJson
from gateway.wire.multipart import Form

WallClock: TypeAlias = Callable[[], float]
"""Returns the present in seconds since the epoch."""

SESSION_HEADERS: Final = (
    "x-claude-code-session-id", "session_id", "session-id", "x-opencode-session", "x-session-id",
)  # fmt: skip
"""Header fields in which Claude Code, Codex, OpenCode and others name their session."""

_MEDIA: Final = frozenset({"images", "audio", "files"})
_READ: Final = _MEDIA | {"tokens"}
"""Facts for which the whole request is read."""
_MAX_SMALL: Final = 64 * 1024
"""A long value up to this size is decoded where a small one is expected."""


class Sticky(NamedTuple):
    """The key of a request for sticky pools."""

    source: str
    """Where it is from, for log and `explain`."""
    key: bytes
    """Enters no log."""


class RequestFacts:
    """The facts of one request, as the asked alias' pre hooks leave it."""

    # What is found is kept in the instance. These defaults are the class', so that a request pays for what it asks.
    _at: datetime | None = None
    _metadata: Mapping[str, Json] | None = None
    _media: frozenset[str] | None = None
    _tokens: int | None = None
    _usual_key: Sticky | None = None
    _is_usual_key_known = False

    def __init__(
        self,
        operation: Operation,
        params: Mapping[str, Json],
        *,
        arrived: WallClock,
        stream: bool = False,
        headers: Mapping[str, str] = EMPTY,
        client: str | None = None,
        form: Form | None = None,
    ) -> None:
        """`headers` are the client's, with lower-case names; `arrived` tells when the request came."""
        self.wire = operation
        self.operation = operation.name
        self.params = params
        self.headers = headers
        self.client = client
        self.form = form
        self.is_stream = stream
        """It asks for a stream."""
        self._arrived = arrived

    @property
    def at(self) -> datetime:
        """The time of arrival."""
        if self._at is None:
            self._at = datetime.fromtimestamp(self._arrived(), UTC)
        return self._at

    @property
    def metadata(self) -> Mapping[str, Json]:
        """The request's `metadata`; empty if it is no object."""
        if self._metadata is None:
            found = _small(self.params.get("metadata"))
            self._metadata = found if isinstance(found, dict) else EMPTY
        return self._metadata

    @property
    def tokens(self) -> int:
        """An estimate of the input's tokens: bytes of text, base64 left out, over 4."""
        if self._tokens is None:
            size = self.wire.text_bytes(self.params)
            self._tokens = (size if isinstance(size, int) else at_once(size)) // BYTES_PER_TOKEN
        return self._tokens

    @property
    def max_tokens(self) -> int | None:
        """The wire's own limit of the output."""
        return self.wire.max_tokens(self.params)

    def has(self, feature: str) -> bool:
        """Tell whether the request asks for a stream, or has tools, images, audio or files."""
        if feature == "stream":
            return self.is_stream
        if feature == "tools":
            return bool(self.params.get("tools") or self.params.get("functions"))
        if self._media is None:
            self._media = at_once(self.wire.media(self.params, self.form))
        return feature in self._media

    async def read_ahead(self, asked: Collection[str]) -> None:
        """Find those of the `asked` facts for which a large body is read, letting other requests run meanwhile."""
        if _READ.isdisjoint(asked) or not any(type(value) is RawJson for value in self.params.values()):
            return
        if "tokens" in asked:
            size = self.wire.text_bytes(self.params)
            self._tokens = (size if isinstance(size, int) else await in_turns(size)) // BYTES_PER_TOKEN
        if not _MEDIA.isdisjoint(asked):
            self._media = await in_turns(self.wire.media(self.params, self.form))

    def sticky(self, key: StickyKey | None) -> Sticky | None:
        """Return the request's key for a sticky pool; None if it has none. Without `key` it is the first of the usual.

        Those are the headers of a session, `prompt_cache_key`, `metadata.user_id`, `safety_identifier`, `user`, and how
        the prompt begins.
        """
        if key is not None:
            return self._named(key)
        if not self._is_usual_key_known:
            self._usual_key = self._usual()
            self._is_usual_key_known = True
        return self._usual_key

    def _named(self, key: StickyKey) -> Sticky | None:
        if key.client:
            return _key("client", self.client)
        if key.header is not None:
            return _key(f"header {key.header}", self.headers.get(key.header))
        assert key.metadata is not None, "a key has one of the three"
        return _key(f"metadata.{key.metadata}", self.metadata.get(key.metadata))

    def _usual(self) -> Sticky | None:
        headers, params = self.headers, self.params
        for name in SESSION_HEADERS:
            if name in headers and (found := _key(f"header {name}", headers[name])):
                return found
        if "prompt_cache_key" in params and (found := _key("prompt_cache_key", params["prompt_cache_key"])):
            return found
        if "metadata" in params and (found := _key("metadata.user_id", self.metadata.get("user_id"))):
            return found
        for name in ("safety_identifier", "user"):
            if name in params and (found := _key(name, params[name])):
                return found
        opening = self.wire.opening(params)
        return Sticky("prompt", opening) if opening else None


def _key(source: str, value: Json) -> Sticky | None:
    """Return the key that a text or a number is; None for anything else."""
    value = _small(value)
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        value = str(value)
    return Sticky(source, value.encode("utf-8", "surrogatepass")) if value else None


def _small(value: Json) -> Json:
    """Return a value that may be RawJson decoded; None for one that is too long."""
    if type(value) is not RawJson:
        return value
    if len(value.encoded) > _MAX_SMALL:
        return None
    try:
        return value.decode()
    except (ValueError, RecursionError):
        return None
