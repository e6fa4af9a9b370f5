"""The wires that clients and upstreams speak, and the operations of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Wire: TypeAlias = Literal[
    "chat", "completions", "responses", "messages", "embeddings", "rerank", "moderations", "images", "speech",
    "transcriptions",
]  # fmt: skip

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

TRANSLATED: Final = frozenset({"messages", "responses"})
"""Operations that are put into chat for an endpoint that speaks only that."""


def operations_of(wires: Collection[Wire]) -> frozenset[str]:
    """Return the names of all operations of these wires."""
    return frozenset(name for wire in wires for name in OPERATIONS_OF[wire])
