"""Which kinds of provider go by LiteLLM's classes: the table in `docs/providers.md`, asked of the installed LiteLLM.

python -m tests.litellm_table     # writes the table anew
"""

from __future__ import annotations

import asyncio
import re
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from gateway.adapters.base import NotSupported
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.config.compiler.known_providers import LITELLM_KINDS
from gateway.policy.failures import UpstreamError
from tests.litellm_upstreams import make_call
from tests.paths import ROOT

PAGE: Final = ROOT / "docs" / "providers.md"
_TABLE: Final = re.compile(r"(?<=\n)\| carried by \| kinds \|\n(?:\|.*\n)+")
_MODELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "anthropic": "claude-sonnet-4-5", "bedrock": "amazon.nova-pro-v1:0", "cohere": "command-r",
        "cohere_chat": "command-r", "gemini": "gemini-2.5-pro",
    }
)  # fmt: skip
_ACCOUNTS: Final = frozenset({"vertex_ai", "vertex_ai_beta"})
"""Kinds whose dry run needs an account of Google's and its package. `test_litellm_both_ways` tries them."""
_SECONDS: Final = 20.0
_BOTH: Final = "LiteLLM's classes and our HTTP client"
_PLAIN: Final = "the same for plain answers, LiteLLM's function for streams"
_FUNCTION: Final = "LiteLLM's function"


async def table(adapter: LiteLLMAdapter) -> str:
    """Return the table for the installed LiteLLM."""
    found: dict[str, list[str]] = {_BOTH: [], _PLAIN: [], _FUNCTION: []}
    for kind in sorted(LITELLM_KINDS):
        plain, stream = [kind in _ACCOUNTS or await _goes(adapter, kind, stream=stream) for stream in (False, True)]
        found[_BOTH if plain and stream else _PLAIN if plain else _FUNCTION].append(f"`{kind}`")
    rows = [f"| {way} | {', '.join(kinds)} |\n" for way, kinds in found.items() if kinds]
    return "| carried by | kinds |\n|---|---|\n" + "".join(rows)


async def _goes(adapter: LiteLLMAdapter, kind: str, *, stream: bool) -> bool:
    """Tell whether a tiny request to a kind would go by classes. Nothing is sent."""
    overrides: dict[str, Any] = {"aws_region_name": "us-east-1"} if kind == "bedrock" else {}
    call = make_call("http://127.0.0.1:9", kind, _MODELS.get(kind, "m"), overrides=overrides)
    try:
        async with asyncio.timeout(_SECONDS):
            return await adapter.goes_by_classes(call, stream=stream)
    except (NotSupported, UpstreamError, TimeoutError):
        return False


def shown(page: Path = PAGE) -> str:
    """Return the table on the page."""
    match = _TABLE.search(page.read_text(encoding="utf-8"))
    return match[0] if match is not None else ""


async def _write() -> None:
    adapter = LiteLLMAdapter(own_process=True)
    await adapter.prepare()
    made = await table(adapter)
    await adapter.close()
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda _: made, text), encoding="utf-8")
    print(textwrap.shorten(made, 200))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(_write())
