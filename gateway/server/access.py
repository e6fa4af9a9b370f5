"""Access rules: origins of web pages, host names, media types of bodies, clients' keys, and who is an operator."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from socket import AF_UNIX, socket
from types import MappingProxyType
from typing import Final

from gateway.errors import BadRequest, GatewayError, UsageError
from gateway.policy.clients import Client
from gateway.policy.keys import KeySource
from gateway.server.client_keys import ClientKeys
from gateway.server.request import Request
from gateway.server.request_head import MAX_KEPT
from gateway.wire.json import EMPTY
from gateway.words import cut, printable

PREFLIGHT_AGE_S: Final = 600
MAX_ORIGIN: Final = 512
"""Characters of the longest `Origin` that is told back. A host name has at most 253."""
MAX_WANTED: Final = 2048
"""Characters of the header names that a preflight may ask for, all of which are told back."""
EXPOSED_HEADERS: Final = (
    "x-request-id, x-gateway-target, x-gateway-attempts, x-gateway-generation, x-gateway-limited, retry-after,"
    " x-should-retry, ratelimit-policy, ratelimit, cache-status, age"
)
KEY_HEADERS: Final = ("x-api-key", "api-key")
"""Headers that may carry a client's key beside `authorization`: Anthropic's SDKs send the first, Azure's the second."""

_OPEN_PATHS: Final = frozenset({"/", "/v1", "/healthz", "/readyz", "/metrics"})
_ADMIN: Final = "/-/"
_JSON: Final = "application/json"
_LOCAL_NAMES: Final = frozenset({"localhost", "host.docker.internal"})
"""Names that public DNS never resolves. The second is Docker's name for its host."""

_FOREIGN: Final = "this host name is not the gateway's: it listens to this machine only"
_NEAR: Final = "the operators' paths answer on the gateway's own machine only, as --admin-token-file is not set"
_HOW: Final = "as `Authorization: Bearer`, `x-api-key`, `api-key`, or as the password of HTTP Basic"
_OPERATORS: Final = 'Basic realm="gateway", Bearer'
"""Challenge of the operators' paths. Basic comes first, as some browsers ask for a password only then."""

_FORWARDING: Final = frozenset(
    {
        "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-original-forwarded-for",
        "true-client-ip", "cf-connecting-ip", "fastly-client-ip", "cdn-loop",
    }
)  # fmt: skip
_FORWARDING_STARTS: Final = ("x-forwarded", "x-envoy-")
"""Header fields that proxies add to what they pass on."""

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]{0,31}://[^/\s@?#]+", re.IGNORECASE)
_PORT: Final = re.compile(r":\d*$")


class Forbidden(GatewayError):
    """The peer or web page may not use the path."""

    status = 403
    code = "forbidden"
    type = "invalid_request_error"


class Unauthorized(GatewayError):
    """The request carries no key that the gateway knows, or none that its path wants."""

    status = 401
    code = "invalid_api_key"
    type = "invalid_request_error"

    def __init__(self, message: str, *, challenge: str = "Bearer") -> None:
        super().__init__(message)
        self.headers = {"www-authenticate": challenge}


class UnsupportedMediaType(BadRequest):
    """The body is declared as something that its path does not take."""

    status = 415
    code = "unsupported_media_type"


class Guards:
    """Admits or refuses a request before its body is read. Raises GatewayError to refuse it."""

    def __init__(
        self,
        *,
        loopback: bool,
        allow_origins: tuple[str, ...],
        keys: ClientKeys | None,
        admin_token: KeySource | None = None,
    ) -> None:
        """`loopback`: the server listens on this machine only, so a foreign `Host` means DNS rebinding by a web page.

        With `keys` or `admin_token` the operators' paths want the token or the key of an admin, whoever asks.
        Raises UsageError for a malformed origin.
        """
        for origin in allow_origins:
            if origin not in {"*", "null"} and not _ORIGIN.fullmatch(origin):
                raise UsageError(f"{origin!r} is not an origin: write scheme://host or scheme://host:port, or *")
        self._loopback = loopback
        self._origins = frozenset(origin.lower() for origin in allow_origins)
        self.keys = self._keys = keys
        """If their file has changed they must be refreshed before a request is checked."""
        self._admin_token = admin_token
        self._admitted: dict[int, Mapping[str, str]] = {}
        """The shared header fields of known heads that no key is asked of and nothing else is wrong with, by id()."""

    def cors(self, request: Request) -> Mapping[str, str]:
        """Return the CORS response headers; none without an `Origin`.

        Raises Forbidden for a page not allowed, BadRequest for a preflight with too many names of headers.
        """
        headers = request.headers
        origin = headers.get("origin")
        if origin is None:
            return EMPTY
        # An allowed page may make model requests, but not use the operators' endpoints.
        if request.path.startswith(_ADMIN):
            raise Forbidden("web pages may not use the operators' paths, whatever --allow-origin says")
        if len(origin) > MAX_ORIGIN or self._origins.isdisjoint({origin.lower(), "*"}):
            raise Forbidden("web pages of this origin may not use the gateway; --allow-origin allows one")
        answer = {"access-control-allow-origin": origin, "vary": "Origin"}
        if not is_preflight(request):
            return {**answer, "access-control-expose-headers": EXPOSED_HEADERS}
        wanted = headers.get("access-control-request-headers", "authorization, content-type")
        if len(wanted) > MAX_WANTED:
            raise BadRequest(f"a preflight may ask for header names of at most {MAX_WANTED} characters in all")
        return {
            **answer,
            "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
            "access-control-allow-headers": wanted,
            "access-control-max-age": str(PREFLIGHT_AGE_S),
        }

    def check(self, request: Request, media_types: tuple[str, ...] = (_JSON,)) -> Client | None:
        """Return the client, or None where no key is needed. Raises GatewayError to refuse the request.

        `media_types`: what the body of a POST may be.
        """
        # A known head has one mapping, with which its path and method are the same too (request_head.py).
        if self._admitted.get(id(request.headers)) is request.headers:
            return None
        client = self._operator(request) if request.path.startswith(_ADMIN) else self._caller(request)
        declared = request.headers.get("content-type") in media_types or request.content_type in media_types
        if not declared and request.has_body and request.method == "POST":
            found = printable(cut(request.content_type, 64)) or "nothing"
            wanted = " or ".join(media_types)
            raise UnsupportedMediaType(f"the content-type header says {found}; the body must be {wanted}")
        if self._keys is None and type(request.headers) is MappingProxyType and not request.path.startswith(_ADMIN):
            if len(self._admitted) >= MAX_KEPT:
                self._admitted.clear()
            self._admitted[id(request.headers)] = request.headers
        return client

    def _caller(self, request: Request) -> Client | None:
        """Admit a request for a path that is not the operators'."""
        headers = request.headers
        is_foreign = self._loopback and _names_another(headers)
        is_open = request.path in _OPEN_PATHS
        # A web page that lets a host name lead here has no key: who shows one may call the gateway what they like.
        needs_key = self._keys is not None and (is_foreign or not is_open)
        client = self._client(_shown_keys(headers)) if needs_key else None
        if is_foreign and client is None:
            raise Forbidden(_FOREIGN if self._keys is None else f"{_FOREIGN}, unless a client key is sent")
        if needs_key and client is None:
            raise Unauthorized("a key is needed: send it as `Authorization: Bearer <key>`, `x-api-key` or `api-key`")
        return client

    def _client(
        self, shown: list[str], *, unknown: str = "the key is not known to this gateway", challenge: str = "Bearer"
    ) -> Client | None:
        """Return the client of these keys; None without a key.

        One known key is enough, since SDKs fill the other headers with keys of their own. Raises Unauthorized if no
        key is known, or if two are and belong to different clients.
        """
        if not shown or self._keys is None:
            return None
        clients = [client for client in map(self._keys.client_of, shown) if client is not None]
        if not clients:
            raise Unauthorized(unknown, challenge=challenge)
        if len({client.name for client in clients}) > 1:
            message = "the keys in the headers are of different clients: send one of them"
            raise Unauthorized(message, challenge=challenge)
        return next((client for client in clients if client.is_admin), clients[0])

    def _operator(self, request: Request) -> Client | None:
        """Admit an operator: by token or key where the gateway has any, else by being on this machine."""
        if self._keys is None and self._admin_token is None:
            _check_neighbour(request)
            return None
        shown = [*_shown_keys(request.headers), *_basic_password(request.headers)]
        if not shown and self._loopback and _names_another(request.headers):
            # Not 401: a browser would ask its user for the password, on a page that leads a name of its own here.
            raise Forbidden(f"{_FOREIGN}, unless an operator's key is sent: {self._wanted()}")
        token = None if self._admin_token is None else self._admin_token.read()
        if token is not None and any(_equal(token.reveal(), key) for key in shown):
            return None
        wanted = self._wanted()
        unknown = f"the key is not known to this gateway: {wanted}"
        client = self._client(shown, unknown=unknown, challenge=_OPERATORS)
        if client is None:
            raise Unauthorized(unknown if shown else wanted, challenge=_OPERATORS)
        if not client.is_admin:
            raise Forbidden(f"this key is not an operator's: {wanted}")
        return client

    def _wanted(self) -> str:
        """Say what an operator has to send, and what the gateway must be given where nothing will do."""
        ways = [] if self._admin_token is None else ["the token of --admin-token-file"]
        if self._keys is not None and (self._keys.has_admin or not ways):
            ways.append("a client key whose line is marked `admin`")
        hint = ""
        if self._admin_token is None and self._keys is not None and not self._keys.has_admin:
            hint = "; no line of the client keys file is, and --admin-token-file is not set"
        elif self._admin_token is not None and self._admin_token.read() is None:
            hint = "; the token's file holds none at present"
        return f"the operators' paths want {' or '.join(ways)}, {_HOW}{hint}"


def is_preflight(request: Request) -> bool:
    """Tell whether this is a CORS preflight request (https://fetch.spec.whatwg.org/#cors-preflight-fetch)."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener on `host`. The only name accepted is `localhost`."""
    return host.lower() == "localhost" or _is_loopback_address(host)


def _check_neighbour(request: Request) -> None:
    """Raise Forbidden unless the peer is on this machine, calls it by its name, and is no proxy.

    A proxy that adds no header of its own cannot be told from a local program, but for HTTP/1.0: nginx speaks that to
    its upstreams unless told otherwise (`proxy_http_version`), and no tool of an operator does.
    """
    if not is_near(request.transport.get_extra_info("peername"), request.transport.get_extra_info("socket")):
        raise Forbidden(_NEAR)
    if _names_another(request.headers):
        raise Forbidden(f"{_NEAR}: this `Host` is another's; call it localhost")
    sign = next((name for name in request.headers if _is_forwarding(name)), None)
    if sign is not None:
        raise Forbidden(f"{_NEAR}, and not through a proxy: the request has `{printable(cut(sign, 64))}`")
    if not request.is_http11:
        raise Forbidden(f"{_NEAR}, and not through a proxy: the request is HTTP/1.0, as of one")


def _names_another(headers: Mapping[str, str]) -> bool:
    host = headers.get("host")
    return host is not None and not _is_local(host)


def _is_forwarding(name: str) -> bool:
    return name in _FORWARDING or name.startswith(_FORWARDING_STARTS)


def _shown_keys(headers: Mapping[str, str]) -> list[str]:
    """Return the keys in the headers, each once."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    shown = [key.strip()] if scheme.lower() == "bearer" else []
    shown += [headers[name].strip() for name in KEY_HEADERS if name in headers]
    return list(dict.fromkeys(filter(None, shown)))


def _basic_password(headers: Mapping[str, str]) -> list[str]:
    """Return the password of HTTP Basic (RFC 7617), in a list; empty without one. The user's name does not matter."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        decoded = base64.b64decode(text.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return []
    password = decoded.partition(":")[2]
    return [password] if password else []


def _equal(token: str, shown: str) -> bool:
    """Compare in a time that tells nothing about the token."""
    return hmac.compare_digest(token.encode(), shown.encode("utf-8", "surrogateescape"))


def is_near(peer: object, listener: socket | None) -> bool:
    """Tell whether a connection's peer, given as by the socket module, is on this machine."""
    if listener is not None and listener.family == AF_UNIX:
        return True
    return isinstance(peer, tuple) and _is_loopback_address(str(peer[0]))


def check_exposure(*, private: bool, has_keys: bool, insecure: bool) -> None:
    """Raise UsageError when the network could use the gateway without a key and the operator has not allowed that."""
    if not (private or has_keys or insecure):
        raise UsageError(
            "listening beyond this machine needs --client-keys-file, or --insecure to let anybody in who can connect"
        )


def check_admin_exposure(*, private: bool, has_keys: bool, insecure: bool) -> None:
    """Raise UsageError when the network could read the metrics and the operator has not allowed that."""
    if not (private or has_keys or insecure):
        raise UsageError(
            "an --admin-host beyond this machine needs --admin-token-file or --client-keys-file, or --insecure:"
            " whoever can connect may read /metrics"
        )


def _is_loopback_address(text: str) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


@lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
    """Tell whether a `Host` header names this machine, whatever its port."""
    name = _PORT.sub("", host.lower())
    if "%" in name:  # a zone, which an address of the system may have, and no host name
        return False
    if name.startswith("[") and name.endswith("]"):
        return _is_loopback_address(name[1:-1])
    name = name.removesuffix(".")
    return name in _LOCAL_NAMES or name.endswith(".localhost") or _is_loopback_address(name)
