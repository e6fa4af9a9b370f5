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

from gateway.adapters.base import Call, NotSupported
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.config.compiler.known_providers import LITELLM_KINDS
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import EMPTY
from tests.litellm_upstreams import make_call
from tests.paths import ROOT

PAGE: Final = ROOT / "docs" / "providers.md"
_TABLE: Final = re.compile(r"(?<=\n)\| (?:\| )?carried by \| kinds \|\n(?:\|.*\n)+")
_MODELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "anthropic": "claude-sonnet-4-5", "bedrock": "amazon.nova-pro-v1:0", "cohere": "command-r",
        "cohere_chat": "command-r", "gemini": "gemini-2.5-pro", "clarifai": "user/app/model",
        "ragflow": "chat/1/m",
    }
)  # fmt: skip
_EMBEDDERS: Final[Mapping[str, str]] = MappingProxyType(
    {"bedrock": "amazon.titan-embed-text-v2:0", "gemini": "gemini-embedding-001", "vertex_ai": "text-embedding-005"}
)
_PARAMS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "bedrock": {"aws_region_name": "us-east-1"},
        "predibase": {"tenant_id": "t"},
        "watsonx": {"project_id": "p", "token": "t"},
        "watsonx_text": {"project_id": "p", "token": "t"},
    }
)
"""What the file has to say of a kind."""
_URLS: Final[Mapping[str, str]] = MappingProxyType({"triton": "http://127.0.0.1:9/v2/models/m/generate"})
_ACCOUNTS: Final = frozenset({("vertex_ai", "chat"), ("vertex_ai_beta", "chat"), ("vertex_ai", "embeddings")})
"""What has a dry run that needs an account of Google's and its package. Other tests, without these, try it."""
_SECONDS: Final = 20.0
_BOTH: Final = "LiteLLM's classes and our HTTP client"
_PLAIN: Final = "the same for plain answers, LiteLLM's function for streams"
_FUNCTION: Final = "LiteLLM's function"


async def table(adapter: LiteLLMAdapter) -> str:
    """Return the table for the installed LiteLLM."""
    found: dict[tuple[str, str], list[str]] = {
        ("chat", _BOTH): [], ("chat", _PLAIN): [], ("chat", _FUNCTION): [],
        ("embeddings", _BOTH): [], ("embeddings", _FUNCTION): [],
    }  # fmt: skip
    functions = LiteLLMAdapter(own_process=True, by_classes=False)
    for kind in sorted(LITELLM_KINDS):
        is_account = (kind, "chat") in _ACCOUNTS
        plain, stream = [is_account or await _goes(adapter, kind, stream=stream) for stream in (False, True)]
        if plain or await _has(functions, kind, "chat"):
            found["chat", _BOTH if plain and stream else _PLAIN if plain else _FUNCTION].append(f"`{kind}`")
        embeds = (kind, "embeddings") in _ACCOUNTS or await _goes(adapter, kind, "embeddings")
        if embeds or await _has(functions, kind, "embeddings"):
            found["embeddings", _BOTH if embeds else _FUNCTION].append(f"`{kind}`")
    await functions.close()
    told = [f"| {what} | {way} | {', '.join(kinds)} |\n" for (what, way), kinds in found.items() if kinds]
    return "| | carried by | kinds |\n|---|---|---|\n" + "".join(told)


async def _has(functions: LiteLLMAdapter, kind: str, operation: str) -> bool:
    """Tell whether LiteLLM's function knows a kind. It is asked for one where nobody listens."""
    try:
        async with asyncio.timeout(_SECONDS):
            await functions.complete(_call(kind, operation))
    except UpstreamError as error:
        return error.kind is not Kind.NOT_FOUND
    except (NotSupported, TimeoutError):
        return True
    return True


async def _goes(adapter: LiteLLMAdapter, kind: str, operation: str = "chat", *, stream: bool = False) -> bool:
    """Tell whether a tiny request to a kind would go by classes. Nothing is sent."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await adapter.goes_by_classes(_call(kind, operation), stream=stream)
    except (NotSupported, UpstreamError, TimeoutError):
        return False


def _call(kind: str, operation: str) -> Call:
    models = _MODELS if operation == "chat" else _EMBEDDERS
    url, overrides = _URLS.get(kind, "http://127.0.0.1:9"), _PARAMS.get(kind, EMPTY)
    given: dict[str, Any] = {"input": "hi"} if operation == "embeddings" else {}
    return make_call(url, kind, models.get(kind, "m"), operation=operation, overrides=overrides, **given)


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
