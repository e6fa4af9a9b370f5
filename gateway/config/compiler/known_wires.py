"""What each well-known provider speaks itself, so that it is relayed, and where, as the vendors' own pages say.

Chat is left to LiteLLM where a plain relay of it would fail (`known_providers` says why), and so are embeddings with
other field names than OpenAI's (Mistral, Voyage, Jina, Cohere). Anthropic's and Gemini's own are translated into. A
wire of other field names or events is left out: Voyage's rerank, Mistral's speech, OpenRouter's transcriptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, get_args

from gateway.policy.wires import Wire


@dataclass(frozen=True, slots=True)
class KnownWires:
    """What one provider speaks itself."""

    wires: frozenset[Wire]
    relay_url: str | None
    """Base URL of relayed requests; None for the provider's usual one."""
    source: str
    """URL of the vendor's page with these facts."""


# Not here, although they are there: Gemini's chat, embeddings and images on OpenAI's wire, which know less than
# Gemini's own (https://ai.google.dev/gemini-api/docs/openai), xAI's Messages, which xAI has deprecated
# (https://docs.x.ai/docs/api-reference), and DeepSeek's completions, which are a beta at another address.
_LINES: Final = """
openai - chat completions responses embeddings moderations images speech transcriptions \
    https://platform.openai.com/docs/api-reference
anthropic https://api.anthropic.com/v1 messages https://platform.claude.com/docs/en/api/messages
azure - chat completions responses embeddings images speech transcriptions \
    https://learn.microsoft.com/azure/foundry/openai/latest
cerebras - chat completions https://inference-docs.cerebras.ai/resources/openai
cohere https://api.cohere.com/v2 rerank https://docs.cohere.com/reference/rerank
cohere_chat https://api.cohere.com/v2 rerank https://docs.cohere.com/reference/rerank
deepinfra - chat completions embeddings images speech transcriptions https://deepinfra.com/docs/advanced/openai_api
deepseek https://api.deepseek.com/anthropic/v1 messages https://api-docs.deepseek.com/guides/anthropic_api
gemini https://generativelanguage.googleapis.com/v1beta/openai - https://ai.google.dev/gemini-api/docs/openai
groq - chat responses speech transcriptions https://console.groq.com/docs/openai
hosted_vllm - chat completions responses messages embeddings rerank transcriptions \
    https://docs.vllm.ai/en/stable/serving/online_serving.html
hyperbolic - chat completions https://docs.hyperbolic.xyz/docs/rest-api
jina_ai https://api.jina.ai/v1 rerank https://jina.ai/reranker
llamafile - chat completions responses messages embeddings rerank \
    https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
lm_studio - chat completions responses messages embeddings https://lmstudio.ai/docs/developer
mistral https://api.mistral.ai/v1 moderations transcriptions https://docs.mistral.ai/api/
moonshot https://api.moonshot.ai/anthropic/v1 messages https://platform.moonshot.ai/docs/guide/agent-support
nvidia_nim - chat completions embeddings https://docs.api.nvidia.com/nim/reference
ollama http://localhost:11434/v1 completions responses messages speech transcriptions \
    https://docs.ollama.com/api/openai-compatibility
ollama_chat http://localhost:11434/v1 completions responses messages speech transcriptions \
    https://docs.ollama.com/api/openai-compatibility
openrouter - chat completions responses messages embeddings rerank speech \
    https://openrouter.ai/docs/api/reference/overview
perplexity - chat https://docs.perplexity.ai/docs/sonar/openai-compatibility
together_ai - chat completions embeddings images speech transcriptions rerank \
    https://docs.together.ai/docs/inference/openai-compatibility
vllm - chat completions responses messages embeddings rerank transcriptions \
    https://docs.vllm.ai/en/stable/serving/online_serving.html
xai https://api.x.ai/v1 responses images https://docs.x.ai/docs/api-reference
"""
"""One line a provider: name; base URL of relayed requests or `-`; wires or `-`; source."""


def _read(line: str) -> tuple[str, KnownWires]:
    name, url, *words, source = line.split()
    wires: frozenset[Wire] = frozenset(wire for wire in get_args(Wire) if wire in words)
    return name, KnownWires(wires, None if url == "-" else url, source)


KNOWN_WIRES: Final[Mapping[str, KnownWires]] = MappingProxyType(dict(map(_read, _LINES.strip().splitlines())))
"""By the provider's name. A provider without a line speaks chat, or nothing if LiteLLM carries that."""
