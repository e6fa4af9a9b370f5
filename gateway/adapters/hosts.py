"""Decides whether a request goes where its table means: the last check before it leaves."""

from __future__ import annotations

import logging
import re
import time
from functools import lru_cache
from typing import Final, TypeAlias

from yarl import URL

from gateway.adapters.base import NotSupported
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.target import Endpoint

log = logging.getLogger(__name__)

Place: TypeAlias = tuple[str, str, int | None]
"""Scheme, host in its wire form without brackets, port."""

LOG_EVERY_S: Final = 60.0
"""At most one log line for the same provider and origin in this many seconds."""
_MAX_LOGGED: Final = 256

_logged: dict[tuple[str, str], float] = {}
"""(provider, origin) → monotonic time of its last log line."""


def place_of(url: URL) -> Place:
    """Return the scheme, host and port of a URL."""
    return url.scheme, (url.raw_host or "").lower(), url.port


def is_meant(endpoint: Endpoint, place: Place) -> bool:
    """Tell whether requests for an endpoint may go to a place: its base URL's, or one of its `hosts`.

    An endpoint without a kind has neither: its bare names are left to LiteLLM.
    """
    if not endpoint.kind:
        return True
    if endpoint.base_url is not None and place == _place_of_text(endpoint.base_url):
        return True
    return bool(endpoint.hosts) and _pattern(endpoint.hosts).fullmatch(origin_of(place)) is not None


def refuse_other_hosts(endpoint: Endpoint, place: Place, *, method: str = "POST") -> None:
    """Raise UpstreamError, and log a line, unless `is_meant`. Nothing was sent then.

    Raises NotSupported, without a line, for a GET: LiteLLM fetches images and files that a client named by URL, and a
    client must neither make the target rest nor fill the log.
    """
    if is_meant(endpoint, place):
        return
    if method == "GET":
        raise not_fetched()
    origin, now_s = origin_of(place), time.monotonic()
    last_s = _logged.get((endpoint.provider, origin))
    if last_s is None or now_s - last_s >= LOG_EVERY_S:
        if len(_logged) >= _MAX_LOGGED:
            _logged.clear()
        _logged[endpoint.provider, origin] = now_s
        log.warning(
            "request not sent: its host is not the provider's; `base_url` says where it is",
            extra={"provider": endpoint.provider, "host": origin, "base_url": endpoint.shown_url},
        )
    raise UpstreamError(Kind.CONNECTION)


def not_fetched() -> NotSupported:
    """Return what a request with media by URL gets of a target whose provider takes them inline only."""
    return NotSupported("does not support media by URL: the gateway fetches nothing")


def origin_of(place: Place) -> str:
    """Return a place as `scheme://host:port`."""
    scheme, host, port = place
    return f"{scheme}://{host}:{port}"


@lru_cache(maxsize=1024)
def _place_of_text(base_url: str) -> Place:
    return place_of(URL(base_url))


@lru_cache(maxsize=256)
def _pattern(hosts: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of origins: `*` is one label, or a part of one, `**` any number of them."""
    texts = (re.escape(host).replace(r"\*\*", "[a-z0-9.-]+").replace(r"\*", "[a-z0-9-]+") for host in hosts)
    return re.compile("|".join(texts))
