"""LiteLLM as a package, and those that it imports for some providers only and does not install itself."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final, NamedTuple


class Package(NamedTuple):
    """A Python package."""

    module: str
    """The module to look for."""
    name: str
    """Its name for pip."""


LITELLM: Final = Package("litellm", "litellm")
"""What routes-gateway installs and routes-gateway-slim leaves out."""
_GOOGLE: Final = Package("google.auth", "google-auth")
_AWS: Final = Package("boto3", "boto3")

PACKAGES: Final[Mapping[str, Package]] = MappingProxyType(
    {
        "bedrock": _AWS,
        "oci": Package("cryptography", "cryptography"),
        "sagemaker": _AWS,
        "sagemaker_chat": _AWS,
        "vertex_ai": _GOOGLE,
        "vertex_ai_beta": _GOOGLE,
        "vllm": Package("vllm", "vllm"),
    }
)
"""By provider kind. Tested against the LiteLLM that is installed, without the packages."""


def is_installed(package: Package) -> bool:
    """Tell whether a package can be found here, without importing it."""
    try:
        return find_spec(package.module) is not None
    except ImportError:  # the folder above it is missing too
        return False
