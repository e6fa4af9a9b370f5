"""Which wires of a provider are relayed, where to, and the faults of `wires` and `api_version`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.config.compiler.known_providers import WELL_KNOWN, WellKnown
from gateway.config.model.specs import ProviderSpec
from gateway.config.problems import Fault
from gateway.policy.target import AdapterName
from gateway.policy.wires import OPENAI_WIRES, Wire

_NONE: Final = frozenset[Wire]()
_SIGNED: Final = frozenset({"bedrock", "sagemaker", "sagemaker_chat", "sagemaker_nova", "vertex_ai", "vertex_ai_beta"})
"""Kinds whose requests are signed, or carry tokens that expire: only LiteLLM makes both."""

_GEMINI_URL: Final = "https://generativelanguage.googleapis.com"
_GEMINI_VERSION: Final = "v1beta"
"""Of Gemini's own API: the one that has all of it. Source: https://ai.google.dev/gemini-api/docs/api-versions"""
_ENDS_IN_VERSION: Final = re.compile(r"/v\d+\w*$")

_AZURE_ROOT: Final = re.compile(r"(?:/openai)?(?:/v1)?$")
_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
_V1: Final = "v1"
"""An `api_version` that only names the v1 API, whose requests have none."""


@dataclass(frozen=True, slots=True)
class Relays:
    """What of a provider is relayed."""

    wires: frozenset[Wire] = _NONE
    url: str | None = None
    """Base URL of relayed requests; None for the endpoint's own."""
    api_version: str | None = None
    """Azure only."""


def relays_of(spec: ProviderSpec, known: WellKnown, adapter: AdapterName, base_url: str | None) -> Relays:
    """Return what is relayed of an entry without faults. `base_url` is the file's own; None for the vendor's."""
    if known.wire == "mock":
        return Relays()
    wires = spec.wires or _speaks(spec, known, adapter, base_url)
    if adapter == "gemini":
        return Relays(url=_gemini_url(base_url))
    url = _relay_url(known, base_url)
    if known.wire == "openai" and adapter == "litellm" and base_url is None:
        url = _named(spec, known).base_url
    if known.name != "azure" or not wires or base_url is None:
        return Relays(wires, url)
    version = azure_version(spec)
    root = _AZURE_ROOT.sub("/openai", base_url, count=1)
    if version is not None and _DATED.fullmatch(version):
        return Relays(wires, root, version)
    return Relays(wires, f"{root}/v1", None if version == _V1 else version)


def azure_version(spec: ProviderSpec) -> str | None:
    """Return the `api-version` of an entry of `kind: azure`; None if it names none."""
    given = spec.api_version or spec.params.sent.get("api_version")
    return str(given) if given else None


def _speaks(spec: ProviderSpec, known: WellKnown, adapter: AdapterName, base_url: str | None) -> frozenset[Wire]:
    """Return what an entry without `wires` is taken to speak; with `adapter: litellm` all goes there."""
    if spec.adapter == "litellm" or (known.wire == "openai" and adapter == "litellm"):
        return _NONE
    if known.name == "openai" and base_url is not None:
        return OPENAI_WIRES
    known = _named(spec, known)
    return known.wires if base_url is None or _is_at_v1(known) else _NONE


def _named(spec: ProviderSpec, known: WellKnown) -> WellKnown:
    """Return the vendor of an entry: `kind: openai` under a vendor's own name is that vendor."""
    return WELL_KNOWN.get(spec.name, known) if known.name == "openai" else known


def _relay_url(known: WellKnown, base_url: str | None) -> str | None:
    """Return where requests to a vendor behind LiteLLM are relayed: LiteLLM wants another base URL, or none."""
    if known.relay_url is None:
        return None
    if base_url is None:
        return known.relay_url
    return base_url if _ENDS_IN_VERSION.search(base_url) or not _is_at_v1(known) else f"{base_url}/v1"


def _gemini_url(base_url: str | None) -> str:
    """Return the base URL of Gemini's own API, with its version; also from that of its OpenAI-compatible address."""
    url = (base_url or _GEMINI_URL).removesuffix("/openai")
    return url if _ENDS_IN_VERSION.search(url) else f"{url}/{_GEMINI_VERSION}"


def _is_at_v1(known: WellKnown) -> bool:
    """Tell whether the vendor's relayed wires are below `/v1`, so that they are known to be there at any host."""
    return known.relay_url is None or urlsplit(known.relay_url).path == "/v1"


def relay_faults(spec: ProviderSpec, known: WellKnown) -> Iterator[tuple[str, Fault]]:
    """Yield the faults of an entry's `wires` and `api_version`, each with its key."""
    if spec.api_version is not None and known.name != "azure":
        yield "api_version", Fault("bad-api-version", f"only `kind: azure` has an api-version, not {known.name!r}")
    if not spec.wires:
        return
    if known.wire == "mock":
        yield "wires", Fault("bad-wires", "a mock answers on every wire; leave `wires` out")
    elif known.name in _SIGNED:
        message = f"requests to {known.name!r} are signed, which only LiteLLM does; leave `wires` out"
        yield "wires", Fault("bad-wires", message)
    elif known.wire == "litellm" and known.relay_url is None and spec.base_url is None:
        message = f"where {known.name!r} speaks these is not known here; say it with a `base_url`"
        yield "wires", Fault("bad-wires", message)
