"""The providers known by name: who carries chat, base URL, wires, and the variable with the key.

Listed here so that a config file is checked without importing LiteLLM. A test compares both lists with the installed
LiteLLM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from gateway.config.compiler.known_hosts import NO_ADDRESS
from gateway.config.compiler.known_wires import KNOWN_WIRES
from gateway.policy.wires import Wire


@dataclass(frozen=True, slots=True)
class WellKnown:
    """One provider that needs no entry in the file."""

    name: str
    """The part of a target before its first `/`; LiteLLM's name, except `mock`."""
    wire: Literal["openai", "litellm", "mock"]
    """`openai` if a plain relay of `/chat/completions` with a bearer key is enough."""
    base_url: str | None = None
    """OpenAI wire only; None if every installation has its own address."""
    key_variables: tuple[str, ...] = ()
    """Environment variables for the vendor's key; the first one set is used."""
    source: str = ""
    """URL of the vendor's page with these facts."""
    key_required: bool = True
    """False for local servers and for vendors with other credentials than a key."""
    litellm_kind: str = ""
    """LiteLLM's name of the provider, if it is not `name`."""

    @property
    def kind(self) -> str:
        """LiteLLM's name of the provider."""
        return self.litellm_kind or self.name

    @property
    def wires(self) -> frozenset[Wire]:
        """What it speaks itself, so that it is relayed."""
        found = KNOWN_WIRES.get(self.name)
        return found.wires if found is not None else _CHAT if self.wire == "openai" else frozenset()

    @property
    def relay_url(self) -> str | None:
        """Base URL of relayed requests, if it is another one than `base_url`."""
        found = KNOWN_WIRES.get(self.name)
        return found.relay_url if found is not None else None


_CHAT: Final = frozenset[Wire]({"chat"})

# LiteLLM's own `vllm` loads the model into this process, which is never meant here.
_OPENAI_WIRE: Final = """
openai https://api.openai.com/v1 https://platform.openai.com/docs/api-reference/chat OPENAI_API_KEY
cerebras https://api.cerebras.ai/v1 https://inference-docs.cerebras.ai/resources/openai CEREBRAS_API_KEY
deepinfra https://api.deepinfra.com/v1/openai https://deepinfra.com/docs/advanced/openai_api DEEPINFRA_API_KEY
groq https://api.groq.com/openai/v1 https://console.groq.com/docs/openai GROQ_API_KEY
hyperbolic https://api.hyperbolic.xyz/v1 https://docs.hyperbolic.xyz/docs/rest-api HYPERBOLIC_API_KEY
nvidia_nim https://integrate.api.nvidia.com/v1 https://docs.api.nvidia.com/nim/reference NVIDIA_NIM_API_KEY \
    NVIDIA_API_KEY
openrouter https://openrouter.ai/api/v1 https://openrouter.ai/docs/api/reference/overview OPENROUTER_API_KEY \
    OR_API_KEY
perplexity https://api.perplexity.ai https://docs.perplexity.ai/docs/sonar/openai-compatibility PERPLEXITYAI_API_KEY \
    PERPLEXITY_API_KEY
together_ai https://api.together.ai/v1 https://docs.together.ai/docs/inference/openai-compatibility TOGETHER_API_KEY \
    TOGETHER_AI_API_KEY TOGETHERAI_API_KEY TOGETHER_AI_TOKEN
azure - https://learn.microsoft.com/azure/foundry/openai/latest keyless AZURE_API_KEY
hosted_vllm - https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html keyless HOSTED_VLLM_API_KEY
vllm=hosted_vllm - https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html keyless
llamafile http://127.0.0.1:8080/v1 https://github.com/Mozilla-Ocho/llamafile keyless LLAMAFILE_API_KEY
lm_studio http://127.0.0.1:1234/v1 https://lmstudio.ai/docs/developer/openai-compat keyless LM_STUDIO_API_KEY
"""
"""One line a provider: name, or name=LiteLLM's name; base URL or `-`; source; `keyless`; key variables."""

# Some vendors with an OpenAI wire are left to LiteLLM, because it corrects what a plain relay would fail on:
# deepseek and sambanova (refuse content given as parts), xai (empty finish reasons), mistral (parts in answers, other
# words for tool choice), fireworks_ai (short model names), moonshot, dashscope.
_LITELLM_WIRE: Final = """
ai21 https://docs.ai21.com/reference AI21_API_KEY
anthropic https://docs.anthropic.com/en/api/overview ANTHROPIC_API_KEY
azure_ai https://learn.microsoft.com/azure/ai-foundry/ keyless AZURE_AI_API_KEY
bedrock https://docs.aws.amazon.com/bedrock/latest/APIReference/ keyless
codestral https://docs.mistral.ai/api/ CODESTRAL_API_KEY
cohere https://docs.cohere.com/reference/chat COHERE_API_KEY CO_API_KEY
cohere_chat https://docs.cohere.com/reference/chat COHERE_API_KEY CO_API_KEY
dashscope https://help.aliyun.com/zh/model-studio/api-reference DASHSCOPE_API_KEY
deepseek https://api-docs.deepseek.com/ DEEPSEEK_API_KEY
fireworks_ai https://docs.fireworks.ai/api-reference/post-chatcompletions FIREWORKS_API_KEY FIREWORKS_AI_API_KEY \
    FIREWORKSAI_API_KEY FIREWORKS_AI_TOKEN
gemini https://ai.google.dev/gemini-api/docs/api-key GOOGLE_API_KEY GEMINI_API_KEY
jina_ai https://jina.ai/reranker JINA_AI_API_KEY JINA_API_KEY
mistral https://docs.mistral.ai/api/ MISTRAL_API_KEY
moonshot https://platform.moonshot.ai/docs/guide/ MOONSHOT_API_KEY
ollama https://docs.ollama.com/api/introduction keyless OLLAMA_API_KEY
ollama_chat https://docs.ollama.com/api/introduction keyless OLLAMA_API_KEY
sagemaker https://docs.aws.amazon.com/sagemaker/latest/APIReference/ keyless
sambanova https://docs.sambanova.ai/cloud/api-reference/ SAMBANOVA_API_KEY
vertex_ai https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest keyless
voyage https://docs.voyageai.com/reference/embeddings-api VOYAGE_API_KEY
xai https://docs.x.ai/docs/api-reference XAI_API_KEY
"""
"""The same without a base URL."""


def _read(wire: Literal["openai", "litellm"], line: str) -> WellKnown:
    names, *words = line.split()
    name, _, litellm_kind = names.partition("=")
    base_url = words.pop(0) if wire == "openai" else "-"
    variables = tuple(word for word in words[1:] if word != "keyless")
    return WellKnown(
        name, wire, None if base_url == "-" else base_url, variables, words[0], "keyless" not in words, litellm_kind
    )


_ALL: Final = (
    WellKnown("mock", "mock", key_required=False),
    *(_read("openai", line) for line in _OPENAI_WIRE.strip().splitlines()),
    *(_read("litellm", line) for line in _LITELLM_WIRE.strip().splitlines()),
)
WELL_KNOWN: Final[Mapping[str, WellKnown]] = MappingProxyType({known.name: known for known in _ALL})
"""By name. `mock` is always among them."""

LITELLM_VERSION: Final = "1.106.2"
"""The release from which LITELLM_KINDS was copied."""

_LITELLM_NAMES: Final = """
a2a a2a_agent abliteration ai21 ai21_chat aihubmix aiml aiohttp_openai amazon_nova anthropic anthropic_text apertis
assemblyai auto_router aws_polly aws_textract azure azure_ai azure_speech azure_text baseten bedrock bedrock_mantle
black_forest_labs bytez cerebras charity_engine chatgpt chutes clarifai cloudflare codestral cognition cohere
cohere_chat cometapi compactifai cortecs crusoe cursor custom custom_openai darkbloom dashscope databricks datarobot
deepgram deepinfra deepseek docker_model_runner dotprompt edenai elevenlabs empiriolabs empower fal_ai featherless_ai
fireworks_ai friendliai galadriel gdc gemini gigachat github github_copilot gmi gradient_ai groq helicone heroku
hosted_vllm huggingface humanloop hyperbolic inception infinity jina_ai lambda_ai langflow langfuse langgraph lemonade
libertai litellm_agent litellm_proxy llamafile llamagate lm_studio manus maritalk meta meta_llama milvus minimax
mistral modelscope mongodb moonshot morph nadir nano-gpt nebius neosantara nlp_cloud novita nscale nvidia_nim
nvidia_riva oci ollama ollama_chat oobabooga openai openai_like openrouter ovhcloud parasail perplexity petals
pg_vector pinstripes poe predibase prism publicai qwen_ai_platform qwencloud ragflow recraft reducto reka replicate
runwayml s3_vectors sagemaker sagemaker_chat sagemaker_nova sail sambanova sap sarvam scaleway scx-ai snowflake soniox
stability strands_decider synthetic tencent tensormesh text-completion-codestral text-completion-inception
text-completion-openai together_ai topaz transcribe triton typesafe v0 valkey veniceai vercel_ai_gateway vertex_ai
vertex_ai_beta vllm volcengine voyage wandb watsonx watsonx_text xai xiaomi_mimo xinference zai
"""

LITELLM_KINDS: Final = frozenset(_LITELLM_NAMES.split())
"""Every provider that LiteLLM knows: `litellm.provider_list` and the names of its `openai_like/providers.json`."""

KINDS: Final = LITELLM_KINDS | WELL_KNOWN.keys()
"""The values that `kind:` accepts."""


def needs_base_url(known: WellKnown) -> bool:
    """Tell whether requests to this provider have no address unless the file names one."""
    return known.kind in NO_ADDRESS or (known.wire == "openai" and known.base_url is None)


def find(name: str) -> WellKnown | None:
    """Return the provider of a name; None if neither we nor LiteLLM know it.

    For a provider that only LiteLLM knows, it has no address and no key variables: LiteLLM finds both.
    """
    known = WELL_KNOWN.get(name)
    if known is None and name in LITELLM_KINDS:
        return WellKnown(name, "litellm", key_required=False)
    return known
