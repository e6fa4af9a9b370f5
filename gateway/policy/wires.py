"""The wires that clients and upstreams speak, and the operations of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Wire: TypeAlias = Literal[
    "chat", "completions", "responses", "messages", "embeddings", "rerank", "moderations", "images", "speech",
    "transcriptions",
]  # fmt: skip

UpstreamWire: TypeAlias = Literal[Wire, "gemini"]
"""A wire of an operation: that of Gemini's own API is spoken to upstreams only."""

OPERATIONS_OF: Final[Mapping[Wire, tuple[str, ...]]] = MappingProxyType(
    {
        "chat": ("chat",),
        "completions": ("completions",),
        "responses": ("responses", "input_tokens", "compact"),
        "messages": ("messages", "count_tokens"),
        "embeddings": ("embeddings",),
        "rerank": ("rerank",),
        "moderations": ("moderations",),
        "images": ("images", "image_edits", "image_variations"),
        "speech": ("speech",),
        "transcriptions": ("transcriptions", "translations"),
    }
)
"""Wire → the names of its operations. A wire has the name of its first operation."""

ALL_WIRES: Final[frozenset[Wire]] = frozenset(OPERATIONS_OF)
OPENAI_WIRES: Final[frozenset[Wire]] = ALL_WIRES - {"messages"}
"""What an OpenAI-wire server is taken to speak unless the file or our list says less."""

REFUSING_VERSION: Final = "2026-10-21"
"""From this `anthropic-version` on Anthropic refuses REFUSED_BY_VERSION, even with its own defaults as values.

Source: https://platform.claude.com/docs/en/api/versioning
"""
REFUSED_BY_VERSION: Final = frozenset({"temperature", "top_k", "top_p"})

_MEDIA: Final = frozenset({"images", "audio", "files"})
_STREAM: Final = frozenset({"stream"})
FEATURES_OF: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "chat": _STREAM | _MEDIA,
        "completions": _STREAM,
        "responses": _STREAM | _MEDIA,
        "input_tokens": _MEDIA,
        "compact": _MEDIA,
        "messages": _STREAM | {"images", "files"},
        "count_tokens": frozenset({"images", "files"}),
        "embeddings": frozenset(),
        "rerank": frozenset(),
        "moderations": frozenset({"images"}),
        "images": _STREAM | {"images", "files"},
        "image_edits": _STREAM | {"images", "files"},
        "image_variations": frozenset({"images", "files"}),
        "speech": _STREAM,
        "transcriptions": _STREAM | {"audio", "files"},
        "translations": _STREAM | {"audio", "files"},
    }
)
"""Operation → which of `stream`, `images`, `audio` and `files` its requests can have; any may have `tools`."""

TRANSLATED: Final = frozenset({"messages", "responses"})
"""Operations that are put into chat for an endpoint that does not speak them."""

HOOK_OPERATIONS: Final = frozenset({"chat", "embeddings"})
"""The operations of a hook that names none: those that all hooks see, since before they could name any."""

OPERATION_NAMES: Final[tuple[str, ...]] = tuple([name for names in OPERATIONS_OF.values() for name in names])
"""Every operation, wire by wire."""


def operations_of(wires: Collection[Wire]) -> frozenset[str]:
    """Return the names of all operations of these wires."""
    return frozenset(name for wire in wires for name in OPERATIONS_OF[wire])


def operations_named(names: Iterable[str]) -> frozenset[str]:
    """Return the operations that a list of the file means: a wire's name means all of its operations."""
    wires: Mapping[str, tuple[str, ...]] = dict(OPERATIONS_OF.items())
    return frozenset([operation for name in names for operation in wires.get(name, (name,))])


def as_list(operations: Set[str]) -> list[str]:
    """Return the shortest list that means these operations, in the order of OPERATIONS_OF.

    A wire's first operation without the others cannot be written: the list then names the wire, and means more.
    """
    names: list[str] = []
    for wire, own in OPERATIONS_OF.items():
        found = [name for name in own if name in operations]
        names += [wire] if wire in found else found
    return names
