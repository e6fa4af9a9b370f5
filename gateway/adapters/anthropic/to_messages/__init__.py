"""For clients that speak chat, when the target speaks Messages. See the package above for how the three are used."""

from __future__ import annotations

from gateway.adapters.anthropic.to_messages.answer import answer
from gateway.adapters.anthropic.to_messages.events import Events
from gateway.adapters.anthropic.to_messages.request import reading, request

__all__ = ["Events", "answer", "reading", "request"]
