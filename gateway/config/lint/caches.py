"""Rules for caches: what is never kept, a shadow that hits keep from its share, hooks that make no requests equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

from gateway.config.lint.subject import Finding, Policy

_VARYING: Final = frozenset(
    {
        "choice", "getrandbits", "now", "randbytes", "randint", "random", "randrange", "time", "time_ns", "today",
        "token_bytes", "token_hex", "token_urlsafe", "urandom", "utcnow", "uuid1", "uuid4", "uuid6", "uuid7",
    }
)  # fmt: skip
"""Names of the standard library whose calls give another value each time."""


def caches_beside_shadows(policy: Policy) -> Iterator[Finding]:
    """Find aliases with a cache and a shadow."""
    for chain in policy.chains:
        if chain.route.cache is not None and chain.route.shadow is not None:
            message = "the shadow gets its share of what the cache does not answer, not of all requests"
            yield Finding(code="cache-shadow", place=(*chain.place, "cache"), message=message, at_key=True)


def caches_that_keep_nothing(policy: Policy) -> Iterator[Finding]:
    """Find caches of aliases whose answers may never be kept."""
    for chain in policy.chains:
        if chain.route.cache is not None and (why := policy.outside.never_kept(chain.route)) is not None:
            yield Finding(code="cache-never", place=(*chain.place, "cache"), message=why, at_key=True)


def caches_that_never_hit(policy: Policy) -> Iterator[Finding]:
    """Find caches behind a pre hook whose code asks for the time or for something random."""
    for chain in policy.chains:
        for hook in chain.route.pre if chain.route.cache is not None else ():
            name = _varying(hook.call)
            if name is not None:
                message = (
                    f"the pre hook {hook.path} calls {name}(): if that goes into the request, no two requests are "
                    "equal, and none is answered from the cache"
                )
                yield Finding(code="cache-varying-hook", place=(*chain.place, "cache"), message=message, at_key=True)


def _varying(call: Callable[..., Any]) -> str | None:
    """Return a name in a hook's code that stands for another value each time, or None."""
    code = getattr(call, "__code__", None)
    return _named(code) if isinstance(code, CodeType) else None


def _named(code: CodeType) -> str | None:
    found = sorted(_VARYING.intersection(code.co_names))
    if found:
        return found[0]
    return next((name for inner in code.co_consts if isinstance(inner, CodeType) and (name := _named(inner))), None)
