"""Finds the endpoint of a path as clients spell it, and says which endpoints there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.adapters.base import ErrorShape
from gateway.adapters.content_types import JSON
from gateway.operations.errors import ANTHROPIC_ERRORS, OPENAI_ERRORS
from gateway.server.exchange import Exchange
from gateway.server.request import Request
from gateway.words import cut, did_you_mean, meant, printable

Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]
"""Sends the response to a request, or raises GatewayError."""

_VERSION: Final = "/v1"
AZURE: Final = "/openai/"
"""The start of the paths that Azure's clients ask for."""
_DEPLOYMENTS: Final = f"{AZURE}deployments/"
_OPERATORS: Final = "/-/"
_METRICS: Final = "/metrics"
_BASES: Final = frozenset({"/", _VERSION})
"""Base URLs: they are answered, and no list names them."""
_ALIKE: Final = 0.8
"""A path is taken for a slip of another from this share of equal text on: `/v1/messages` is not `/v1/models`."""
_LONGEST_PATH: Final = 256
_LONGEST_METHOD: Final = 20


@dataclass(frozen=True, slots=True)
class PathHandlers:
    """The handlers of a path."""

    operation: str
    """For log and metrics."""
    methods: Mapping[str, Handler]
    """Method → handler. HEAD uses GET's, and OPTIONS is answered with the methods."""
    errors: ErrorShape = OPENAI_ERRORS
    """The shape of errors on the path's wire."""
    media_types: tuple[str, ...] = (JSON,)
    """The content types that a POST's body may have."""
    told: tuple[str, ...] = ()
    """Methods and paths for lists, of a prefix below which there is more than one path."""
    of_both: bool = False
    """OpenAI's and Anthropic's clients ask for the same path: a header tells the shape."""

    def errors_for(self, request: Request) -> ErrorShape:
        """Return the shape of errors for a request of this path."""
        return ANTHROPIC_ERRORS if self.of_both and request.is_anthropic else self.errors

    @property
    def allowed(self) -> str:
        """The value of an `allow` header."""
        return ",".join(sorted({*self.methods, "OPTIONS", *(("HEAD",) if "GET" in self.methods else ())}))


NO_ENDPOINT: Final = PathHandlers("other", {}, of_both=True)
"""What stands for an unknown path in log and metrics."""


class Paths:
    """All endpoints, by path."""

    def __init__(
        self,
        exact: Mapping[str, PathHandlers],
        below: Mapping[str, PathHandlers],
        *,
        moved: Collection[str] = (),
    ) -> None:
        """`exact` has whole paths; `below` has prefixes, from slash to slash, of paths that continue behind them.

        `moved`: paths that are not here, but on the listener of `--admin-port`.
        """
        self._exact = exact
        self._moved = moved
        self._below = below
        shown = [*exact.items(), *((f"{start}NAME", at) for start, at in below.items())]
        self._shown = [
            (text, path)
            for path, at in shown
            if path not in _BASES
            for text in at.told or [f"{method} {path}" for method in at.methods]
        ]

    def find(self, path: str) -> tuple[str, PathHandlers | None]:
        """Return the path as the endpoint knows it, and its handlers; the path as it is and None if there are none.

        Endpoints under `/v1` are found without it, with it twice, and with slashes too many: base URLs are written with
        and without `/v1`, and clients append to both. The probes and the operators' paths have one spelling, so that a
        proxy can keep them from the outside.
        """
        found = self._find(path)
        if found is None:
            path_found = canonical(path)
            found = self._find(path_found)
            path = path_found if found is not None else path
        return path, found

    def route_of(self, path: str) -> str | None:
        """Return the path of an endpoint with a placeholder for what a client chooses; None if there is none."""
        if path not in self._exact:
            path = canonical(path)
        if path in self._exact:
            return path
        found = next(((start, at) for start, at in self._below.items() if path.startswith(start)), None)
        if found is None:
            return None
        start, at = found
        tail = path.removeprefix(start).partition("/")[2]
        is_told = any(text.endswith(f"/ID/{tail}") for text in at.told)
        return f"{start}{{id}}/{tail}" if is_told else f"{start}{{id}}"

    def of_azure(self, path: str) -> tuple[str, str | None]:
        """Return a path of Azure's clients without what Azure has before `/v1` or instead, and the model in it.

        `/openai/v1/responses` and `/openai/responses` are `/v1/responses`, and so is the end of
        `/openai/deployments/MODEL/chat/completions`; a model may contain slashes. Other paths stay as they are.
        """
        rest = path.removeprefix(_DEPLOYMENTS)
        if rest == path:
            inner = canonical(path.removeprefix(AZURE))
            return (path if self._find(inner) is None else inner), None
        known = (path.removeprefix(_VERSION) for path in self._exact if path.startswith(f"{_VERSION}/"))
        end = max((end for end in known if rest.endswith(end)), key=len, default=rest)
        return (path, None) if end == rest else (f"{_VERSION}{end}", rest.removesuffix(end))

    def answering_posts(self) -> Iterator[tuple[str, PathHandlers]]:
        """Yield the whole paths that take a POST, each in its usual spellings."""
        for path, handlers in self._exact.items():
            if "POST" in handlers.methods:
                yield path, handlers
                if path.startswith(f"{_VERSION}/"):
                    yield path.removeprefix(_VERSION), handlers

    def unknown(self, method: str, path: str) -> str:
        """Return the message for a path that has no endpoint."""
        known = [each for _, each in self._shown if not each.endswith("/NAME")]
        # Such as a proxy's own prefix before a path of ours.
        inner = max((each for each in known if path.endswith(each)), key=len, default=None)
        hint = meant(inner) if inner is not None else did_you_mean(path, known, alike=_ALIKE)
        are_operators = path.startswith(_OPERATORS)
        there = ", ".join(text for text, each in self._shown if each.startswith(_OPERATORS) is are_operators)
        asked = printable(f"{cut(method, _LONGEST_METHOD)} {cut(path, _LONGEST_PATH)}")
        if self._moved and is_for_operators(path):
            return f"unknown endpoint: {asked}; metrics and the operators' paths are at --admin-port"
        return f"unknown endpoint: {asked}{hint or ';'} this gateway has {there}"

    def index(self) -> list[str]:
        """Return method and path of every endpoint for clients."""
        return [text for text, path in self._shown if not path.startswith(_OPERATORS)]

    def _find(self, path: str) -> PathHandlers | None:
        found = self._exact.get(path)
        if found is not None:
            return found
        return next((at for start, at in self._below.items() if path.startswith(start) and path != start), None)


def is_for_operators(path: str) -> bool:
    """Tell whether a path is one that `--admin-port` moves to a listener of its own."""
    return path == _METRICS or path.startswith(_OPERATORS)


def canonical(path: str) -> str:
    """Return a path with one `/v1` in front and single slashes, none at its end."""
    parts = [part for part in path.split("/") if part]
    first = next((number for number, part in enumerate(parts) if part != "v1"), len(parts))
    return "/".join([_VERSION, *parts[first:]])


def wrong_method(method: str, path: str, handlers: PathHandlers) -> str:
    """Return the message for a method that a path does not take."""
    asked = printable(f"{cut(method, _LONGEST_METHOD)} {cut(path, _LONGEST_PATH)}")
    return f"wrong method: {asked}; this endpoint takes {' and '.join(handlers.methods)}"
