"""Where the Redis is that replicas share, and what holds without it: `--state` and the flags beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

EXAMPLES: Final = "redis://host:6379/0, rediss://host:6379 for TLS, or unix:///run/redis.sock"
MAX_PREFIX: Final = 64
_SCHEMES: Final = ("redis", "rediss", "unix")
_OPTIONS: Final = {
    "redis": frozenset({"db"}),
    "unix": frozenset({"db", "username", "password"}),
    "rediss": frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}),
}
"""Of redis-py's, by scheme, what a URL's query may say."""
_CERT_REQS: Final = ("none", "optional", "required")
_REFUSED: Final = frozenset({"timeout", "socket_timeout", "socket_connect_timeout", "max_connections", "protocol"})
"""Further options that a message may name. Any other name may be a part of a password with a `?` or `&` in it."""

OnStateError: TypeAlias = Literal["local", "allow", "deny"]
"""What decides while Redis is out of reach: this process' own buckets, or nothing: all are let in, or none."""


@dataclass(frozen=True, slots=True)
class StateAddress:
    """A URL as redis-py reads it. `str()` is safe to show."""

    url: str = field(repr=False)
    """May hold a password."""
    shown: str
    """Without user, password and query."""

    def __str__(self) -> str:
        return self.shown


def read_address(text: str) -> StateAddress:
    """Read the value of `--state`. Raises ValueError, whose text repeats nothing of a URL that may hold a password."""
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in _SCHEMES:
        found = f"{scheme!r} is no scheme of Redis" if separator and scheme.isalnum() else "that is no URL"
        raise ValueError(f"{found}; write {EXAMPLES}")
    if "#" in text:
        raise ValueError("a '#' in a password is written %23")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"its host or port is malformed; write {EXAMPLES}") from None
    _check_options(scheme, parts.query)
    if scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError(f"it names no socket; write {EXAMPLES}")
        return StateAddress(text, f"unix://{parts.path}")
    if not host:
        raise ValueError(f"it names no host; write {EXAMPLES}")
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("the path of a Redis' URL is the number of a database, such as /0")
    named = f"[{host}]" if ":" in host else host
    return StateAddress(text, f"{scheme}://{named}:{port or 6379}/{database or 0}")


def _check_options(scheme: str, query: str) -> None:
    """Raise ValueError for an option that a URL of this scheme does not have, or a value that an option does not."""
    if "@" in query:
        raise ValueError("a '?' in a password is written %3F")
    known = _OPTIONS[scheme]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            named = name if name in _REFUSED.union(*_OPTIONS.values()) else "what stands after '?'"
            options = ", ".join(sorted(known))
            raise ValueError(f"{named} is no option of a {scheme}:// URL; there are {options}; a '&' is written %26")
        if name == "db" and not (value.isascii() and value.isdigit()):
            raise ValueError("db is the number of a database")
        if name == "ssl_cert_reqs" and value not in _CERT_REQS:
            raise ValueError("ssl_cert_reqs is none, optional or required")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOptions:
    """`--state` and the flags beside it."""

    address: StateAddress
    prefix: str = "gateway"
    """All keys begin with it and a colon. In braces it is their hash tag: all lie in one slot of a cluster."""
    timeout_s: float = 0.05
    """The longest that a request waits for Redis."""
    on_error: OnStateError = "local"


def read_prefix(text: str) -> str:
    """Read the value of `--state-prefix`. Raises ValueError."""
    name = text[1:-1] if is_hash_tag(text) else text
    if not (text.isascii() and text.isprintable()) or set(name) & set(" {}") or len(text) > MAX_PREFIX:
        raise ValueError(f"at most {MAX_PREFIX} characters of ASCII, without spaces, and without braces but around it")
    return text


def is_hash_tag(prefix: str) -> bool:
    """Tell whether all keys that begin with a prefix lie in one slot of a cluster."""
    return len(prefix) > 2 and prefix[0] == "{" and prefix[-1] == "}"


def read_on_error(text: str) -> OnStateError:
    """Read the value of `--on-state-error`. Raises ValueError."""
    match text.lower():
        case "local" | "allow" | "deny" as found:
            return found
    raise ValueError("local, allow or deny")
