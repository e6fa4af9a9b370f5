"""For clients that speak Messages, when the target speaks chat. See the package above for how the three are used."""

from __future__ import annotations

from gateway.adapters.anthropic.to_chat.answer import answer
from gateway.adapters.anthropic.to_chat.events import Events
from gateway.adapters.anthropic.to_chat.request import reading, request

__all__ = ["Events", "answer", "reading", "request"]
