"""A declarative LLM routing gateway: one hot-reloaded routes.yaml is the whole routing policy.

The public names are loaded when they are first used, so that `import gateway` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gateway._version import __version__ as __version__

if TYPE_CHECKING:
    from gateway.errors import BadRequest as BadRequest
    from gateway.errors import ConfigError as ConfigError
    from gateway.errors import GatewayError as GatewayError
    from gateway.errors import HookFailed as HookFailed
    from gateway.errors import StreamBroken as StreamBroken
    from gateway.errors import UnknownModel as UnknownModel
    from gateway.errors import UpstreamFailed as UpstreamFailed
    from gateway.errors import UpstreamRefused as UpstreamRefused
    from gateway.errors import UsageError as UsageError
    from gateway.library.provider import Provider as Provider

    provider = Provider()
    complete_chat = provider.complete_chat
    stream_chat = provider.stream_chat

__all__ = [
    "BadRequest",
    "ConfigError",
    "GatewayError",
    "HookFailed",
    "Provider",
    "StreamBroken",
    "UnknownModel",
    "UpstreamFailed",
    "UpstreamRefused",
    "UsageError",
    "complete_chat",
    "provider",
    "stream_chat",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use. `provider` is one for the process; its methods are looked up each time."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in {"complete_chat", "stream_chat"}:
        return getattr(import_module(__name__).provider, name)
    if name == "provider":
        value = import_module("gateway.library.provider").Provider()
    else:
        module = "gateway.library.provider" if name == "Provider" else "gateway.errors"
        value = getattr(import_module(module), name)
    globals()[name] = value
    return value
