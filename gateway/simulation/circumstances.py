"""What is supposed about a request beside its body: header fields, the client, the time of arrival, and draws."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from gateway.adapters.base import Operation
from gateway.engine.facts import RequestFacts
from gateway.errors import UsageError
from gateway.policy.clients import Client
from gateway.policy.params import upstream_params
from gateway.simulation.walk import SEED
from gateway.wire.json import EMPTY, Json

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A field name of RFC 9110, section 5.1."""
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_YEARS: Final = range(1970, 3000)
"""Years in which every zone can tell the time of day."""
_MAX_SEED: Final = 2**32 - 1
_DIGITS: Final = len(str(_MAX_SEED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is supposed about a request beside its body."""

    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """The client's header fields, names in lower case."""
    client: str | None = None
    group: str | None = None
    """The group of the client's keys; None for the group `default`."""
    at: datetime | None = None
    """The time of arrival, with its zone; None for now."""
    seed: int = SEED
    """Of the draws in pools."""

    @property
    def caller(self) -> Client | None:
        """Who asks; None for a request without a client key."""
        return caller(self.client, self.group)

    def facts(self, operation: Operation, body: Mapping[str, Json], *, stream: bool) -> RequestFacts:
        """Return the facts of a request with this body, as pre hooks leave it; `stream`: whether it asks for one."""
        at = self.at
        return RequestFacts(
            operation,
            upstream_params({**body}),
            arrived=time.time if at is None else at.timestamp,
            stream=stream,
            headers=self.headers,
            client=None if self.caller is None else self.caller.name,
        )


def caller(client: str | None, group: str | None) -> Client | None:
    """Return the client of a name and a group; one of a group alone is named by it, None without either."""
    if client is None and group is None:
        return None
    return Client(name=client or f"client-of-{group}", group=group)


NOW: Final = Circumstances()
"""Nothing is supposed."""


def read_circumstances(
    headers: Sequence[str],
    client: str | None,
    at: str | None,
    seed: str | None,
    *,
    group: str | None = None,
    dashes: str = "",
) -> Circumstances:
    """Read the values of the options of these names; `dashes` precede their names in messages.

    Raises UsageError, which says what is wrong with which option and what would be right.
    """
    found: dict[str, str] = {}
    for text in headers:
        name, value = _header(text, f"{dashes}header")
        if name in found:
            raise UsageError(f"{dashes}header has {name!r} twice; give each header field once")
        found[name] = value
    if client == "":
        raise UsageError(f"{dashes}client is empty; give the name of a client, or leave it out")
    if group == "":
        raise UsageError(f"{dashes}group is empty; give the name of a group of `clients`, or leave it out")
    moment = None if at is None else read_moment(at)
    if isinstance(moment, str):
        raise UsageError(f"{dashes}at is {shortened(at)}, {moment}")
    return Circumstances(headers=found, client=client, group=group, at=moment, seed=_seed(seed, f"{dashes}seed"))


def _seed(text: str | None, option: str) -> int:
    if text is None:
        return SEED
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= _MAX_SEED):
        raise UsageError(f"{option} is {shortened(text)}; write a whole number from 0 to {_MAX_SEED}")
    return int(text)


def _header(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{option} is {shortened(text)}; write NAME=VALUE, such as x-tier=paid")
    if fault := header_fault(name, value):
        raise UsageError(f"{option} is {shortened(text)}: {fault}")
    return name.lower(), value.strip(" \t")


def header_fault(name: str, value: str) -> str | None:
    """Return what makes this no header field that a client can send; None if it is one."""
    if not _NAME.fullmatch(name):
        return f"{shortened(name)} is no name of a header field; write letters, digits and dashes, such as x-tier"
    if not _VALUE.fullmatch(value):
        return f"the value of {shortened(name)} has a control character, which no header field may have"
    return None


def read_moment(text: str) -> datetime | str:
    """Return the moment that an ISO 8601 text with a zone is, or what is wrong with it."""
    example = "write it in ISO 8601 with its zone, such as 2026-11-29T09:00Z or 2026-11-29T10:00+01:00"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return f"which is no time; {example}"
    if moment.tzinfo is None:
        return f"which has no zone; {example}"
    if moment.year not in _YEARS:
        return f"which is too far away; write a year from {_YEARS[0]} to {_YEARS[-1]}"
    return moment.astimezone(UTC)


def shortened(text: str | None) -> str:
    """Return a text in quotes, cut to what a message can hold."""
    return repr((text or "")[:128])
