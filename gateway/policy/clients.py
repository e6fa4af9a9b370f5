"""Clients: who a key belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.policy.limits import DEFAULT_GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A line of the client keys file without its key."""

    name: str
    group: str | None = None
    """The group that a line of this name gives; lines of a name share it."""
    is_admin: bool = False
    """The key of this line opens the operators' paths."""
    reading: int = field(default=0, compare=False)
    """Serial number of the reading of the file."""

    @property
    def has_own_group(self) -> bool:
        """Its group is not `default`, so the config file has to have it."""
        return self.group is not None and self.group != DEFAULT_GROUP
