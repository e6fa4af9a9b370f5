"""Access rules: origins of web pages, host names, media types of bodies, and clients' keys."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from socket import AF_UNIX, socket
from typing import Final

from gateway.errors import BadRequest, GatewayError, UsageError
from gateway.server.client_keys import ClientKeys
from gateway.server.request import Request
from gateway.wire.json import EMPTY

log = logging.getLogger(__name__)

PREFLIGHT_AGE_S: Final = 600
EXPOSED_HEADERS: Final = (
    "x-request-id, x-gateway-target, x-gateway-attempts, x-gateway-generation, retry-after, x-should-retry"
)
KEY_HEADERS: Final = ("x-api-key", "api-key")
"""Headers that may carry a client's key beside `authorization`: Anthropic's SDKs send the first, Azure's the second."""

_OPEN_PATHS: Final = frozenset({"/", "/v1", "/healthz", "/readyz", "/metrics"})
_ADMIN: Final = "/-/"
_JSON: Final = "application/json"
_LOCAL_NAMES: Final = frozenset({"localhost", "host.docker.internal"})
"""Names that public DNS never resolves. The second is Docker's name for its host."""

_FOREIGN: Final = "this host name is not the gateway's: it listens to this machine only"

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@?#]+", re.IGNORECASE)
_PORT: Final = re.compile(r":\d*$")


class Forbidden(GatewayError):
    """The peer or web page may not use the path."""

    status = 403
    code = "forbidden"
    type = "invalid_request_error"


class Unauthorized(GatewayError):
    """The request carries no key that the gateway knows."""

    status = 401
    code = "invalid_api_key"
    type = "invalid_request_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers = {"www-authenticate": "Bearer"}


class UnsupportedMediaType(BadRequest):
    """The body is declared as something other than JSON."""

    status = 415
    code = "unsupported_media_type"


class Guards:
    """Admits or refuses a request before its body is read. Raises GatewayError to refuse it."""

    def __init__(self, *, loopback: bool, allow_origins: tuple[str, ...], keys: ClientKeys | None) -> None:
        """`loopback`: the server listens on this machine only, so a foreign `Host` means DNS rebinding by a web page.

        Raises UsageError for a malformed origin.
        """
        for origin in allow_origins:
            if origin not in {"*", "null"} and not _ORIGIN.fullmatch(origin):
                raise UsageError(f"{origin!r} is not an origin: write scheme://host or scheme://host:port, or *")
        self._loopback = loopback
        self._origins = frozenset(origin.lower() for origin in allow_origins)
        self._keys = keys

    def cors(self, request: Request) -> Mapping[str, str]:
        """Return the CORS response headers; none without an `Origin`. Raises Forbidden for a page not allowed."""
        headers = request.headers
        origin = headers.get("origin")
        if origin is None:
            return EMPTY
        # An allowed page may make model requests, but not use the operators' endpoints.
        allowed = not self._origins.isdisjoint({origin.lower(), "*"}) and not request.path.startswith(_ADMIN)
        if not allowed:
            raise Forbidden("web pages of this origin may not use the gateway; --allow-origin allows one")
        answer = {"access-control-allow-origin": origin, "vary": "Origin"}
        if not is_preflight(request):
            return {**answer, "access-control-expose-headers": EXPOSED_HEADERS}
        wanted = headers.get("access-control-request-headers", "authorization, content-type")
        return {
            **answer,
            "access-control-allow-methods": "GET, POST, OPTIONS",
            "access-control-allow-headers": wanted,
            "access-control-max-age": str(PREFLIGHT_AGE_S),
        }

    def check(self, request: Request) -> str | None:
        """Return the client's name, or None where no key is needed. Raises GatewayError to refuse the request."""
        headers, path = request.headers, request.path
        is_admin = path.startswith(_ADMIN)
        host = headers.get("host") if self._loopback or is_admin else None
        is_foreign = host is not None and not _is_local(host)
        is_open = is_admin or path in _OPEN_PATHS
        # A web page that lets a host name lead here has no key: who shows one may call the gateway what they like.
        name = self._client(headers) if self._keys is not None and (is_foreign or not is_open) else None
        if is_foreign and name is None:
            raise Forbidden(_FOREIGN if self._keys is None else f"{_FOREIGN}, unless a client key is sent")
        if self._keys is not None and name is None and not is_open:
            raise Unauthorized("a key is needed: send it as `Authorization: Bearer <key>`, `x-api-key` or `api-key`")
        declared = headers.get("content-type") == _JSON or request.content_type == _JSON
        if not declared and request.has_body and request.method == "POST":
            raise UnsupportedMediaType("the body must be application/json; set the content-type header")
        return name

    def _client(self, headers: Mapping[str, str]) -> str | None:
        """Return the name of the client whose key the headers carry; None without a key.

        One known key is enough, since SDKs fill the other headers with keys of their own. Raises Unauthorized if no
        key is known, or if two are and belong to different clients.
        """
        scheme, _, key = headers.get("authorization", "").partition(" ")
        shown = [key.strip()] if scheme.lower() == "bearer" else []
        shown += [headers[name].strip() for name in KEY_HEADERS if name in headers]
        keys = dict.fromkeys(filter(None, shown))
        if not keys or self._keys is None:
            return None
        names = {name for name in map(self._keys.name_of, keys) if name is not None}
        if not names:
            raise Unauthorized("the key is not known to this gateway")
        if len(names) > 1:
            raise Unauthorized("the keys in the headers are of different clients: send one of them")
        return names.pop()


def is_preflight(request: Request) -> bool:
    """Tell whether this is a CORS preflight request (https://fetch.spec.whatwg.org/#cors-preflight-fetch)."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener on `host`. The only name accepted is `localhost`."""
    return host.lower() == "localhost" or _is_loopback_address(host)


def is_neighbour(request: Request) -> bool:
    """Tell whether the peer is on this machine: over loopback or a Unix socket, and not through a proxy."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    return is_near(request.transport.get_extra_info("peername"), request.transport.get_extra_info("socket"))


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
    if name.startswith("[") and name.endswith("]"):
        return _is_loopback_address(name[1:-1])
    name = name.removesuffix(".")
    return name in _LOCAL_NAMES or name.endswith(".localhost") or _is_loopback_address(name)
