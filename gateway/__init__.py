"""A declarative LLM routing gateway: one hot-reloaded routes.yaml is the whole routing policy.

The public names are loaded when they are first used, so that `import gateway` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.embed import Provider as Provider
    from gateway.errors import BadRequest as BadRequest
    from gateway.errors import ConfigError as ConfigError
    from gateway.errors import GatewayError as GatewayError
    from gateway.errors import HookFailed as HookFailed
    from gateway.errors import StreamBroken as StreamBroken
    from gateway.errors import UnknownModel as UnknownModel
    from gateway.errors import UpstreamFailed as UpstreamFailed
    from gateway.errors import UpstreamRefused as UpstreamRefused
    from gateway.errors import UsageError as UsageError

    provider = Provider()
    complete_chat = provider.complete_chat
    stream_chat = provider.stream_chat

__version__ = "0.1.0"

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


class _Package(ModuleType):
    """This package: its `provider` is the process-wide Provider, made at first use.

    The import system sets a package's attribute to each submodule it loads; `gateway/provider.py` must not take the
    place of the public name.
    """

    _provider: Provider | None = None

    @property
    def provider(self) -> Provider:
        if self._provider is None:
            self._provider = import_module("gateway.embed").Provider()
        return self._provider

    @provider.setter
    def provider(self, value: Any) -> None:
        if not isinstance(value, ModuleType):
            self._provider = value

    def __getattr__(self, name: str) -> Any:
        if name in {"complete_chat", "stream_chat"}:
            return getattr(self.provider, name)
        if name == "Provider":
            return import_module("gateway.embed").Provider
        if name in __all__:
            return getattr(import_module("gateway.errors"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Package
