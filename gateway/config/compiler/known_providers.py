"""The providers we know by name: how each is spoken to, where it lives, and which variable holds its key.

Written down here so that a config file is checked without importing LiteLLM. A test compares both lists with the
LiteLLM that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class WellKnown:
    """One provider that needs no entry in the file."""

    name: str
    """What stands before the first `/` of a target. LiteLLM's name, save for `mock`."""
    wire: Literal["openai", "litellm", "mock"]
    """`openai` where a plain relay of `/chat/completions` with a bearer key is all that is needed."""
    base_url: str | None = None
    """OpenAI wire only; None where every installation has an address of its own."""
    key_variables: tuple[str, ...] = ()
    """The vendor's variables that may hold its key; the first one set is used."""
    source: str = ""
    """The vendor's page that says so."""
    key_required: bool = True
    """Nothing is answered without a key. False for local servers and where there are other credentials."""
    litellm_kind: str = ""
    """The provider as LiteLLM calls it, where that is not `name`."""

    @property
    def kind(self) -> str:
        """The provider as LiteLLM calls it."""
        return self.litellm_kind or self.name


# Left to LiteLLM although they offer an OpenAI wire, because LiteLLM mends what a plain relay would trip over:
# deepseek and sambanova (refuse content given as parts), xai (empty finish reasons), mistral (parts in answers, other
# words for tool choice), fireworks_ai (short model names), moonshot, dashscope.
_ALL: Final = (
    WellKnown("mock", "mock", key_required=False),
    # OpenAI wire, hosted
    WellKnown(
        "openai", "openai", "https://api.openai.com/v1", ("OPENAI_API_KEY",),
        "https://platform.openai.com/docs/api-reference/chat",
    ),
    WellKnown(
        "cerebras", "openai", "https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",),
        "https://inference-docs.cerebras.ai/resources/openai",
    ),
    WellKnown(
        "deepinfra", "openai", "https://api.deepinfra.com/v1/openai", ("DEEPINFRA_API_KEY",),
        "https://deepinfra.com/docs/advanced/openai_api",
    ),
    WellKnown(
        "groq", "openai", "https://api.groq.com/openai/v1", ("GROQ_API_KEY",), "https://console.groq.com/docs/openai",
    ),
    WellKnown(
        "hyperbolic", "openai", "https://api.hyperbolic.xyz/v1", ("HYPERBOLIC_API_KEY",),
        "https://docs.hyperbolic.xyz/docs/rest-api",
    ),
    WellKnown(
        "nvidia_nim", "openai", "https://integrate.api.nvidia.com/v1", ("NVIDIA_NIM_API_KEY", "NVIDIA_API_KEY"),
        "https://docs.api.nvidia.com/nim/reference",
    ),
    WellKnown(
        "openrouter", "openai", "https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY", "OR_API_KEY"),
        "https://openrouter.ai/docs/api/reference/overview",
    ),
    WellKnown(
        "perplexity", "openai", "https://api.perplexity.ai", ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
        "https://docs.perplexity.ai/docs/sonar/openai-compatibility",
    ),
    WellKnown(
        "together_ai", "openai", "https://api.together.ai/v1",
        ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
        "https://docs.together.ai/docs/inference/openai-compatibility",
    ),
    # OpenAI wire, one's own server: no key is asked for
    WellKnown(
        "hosted_vllm", "openai", None, ("HOSTED_VLLM_API_KEY",),
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html", key_required=False,
    ),
    # LiteLLM's `vllm` loads the model into this process, which is never meant here.
    WellKnown(
        "vllm", "openai", None, (), "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        key_required=False, litellm_kind="hosted_vllm",
    ),
    WellKnown(
        "llamafile", "openai", "http://127.0.0.1:8080/v1", ("LLAMAFILE_API_KEY",),
        "https://github.com/Mozilla-Ocho/llamafile", key_required=False,
    ),
    WellKnown(
        "lm_studio", "openai", "http://127.0.0.1:1234/v1", ("LM_STUDIO_API_KEY",),
        "https://lmstudio.ai/docs/developer/openai-compat", key_required=False,
    ),
    # LiteLLM
    WellKnown("ai21", "litellm", None, ("AI21_API_KEY",), "https://docs.ai21.com/reference"),
    WellKnown("anthropic", "litellm", None, ("ANTHROPIC_API_KEY",), "https://docs.anthropic.com/en/api/overview"),
    WellKnown(
        "azure", "litellm", None, ("AZURE_API_KEY",), "https://learn.microsoft.com/azure/ai-services/openai/reference",
        key_required=False,
    ),
    WellKnown(
        "azure_ai", "litellm", None, ("AZURE_AI_API_KEY",), "https://learn.microsoft.com/azure/ai-foundry/",
        key_required=False,
    ),
    WellKnown(
        "bedrock", "litellm", None, (), "https://docs.aws.amazon.com/bedrock/latest/APIReference/", key_required=False
    ),
    WellKnown("codestral", "litellm", None, ("CODESTRAL_API_KEY",), "https://docs.mistral.ai/api/"),
    WellKnown("cohere", "litellm", None, ("COHERE_API_KEY", "CO_API_KEY"), "https://docs.cohere.com/reference/chat"),
    WellKnown(
        "cohere_chat", "litellm", None, ("COHERE_API_KEY", "CO_API_KEY"), "https://docs.cohere.com/reference/chat"
    ),
    WellKnown(
        "dashscope", "litellm", None, ("DASHSCOPE_API_KEY",), "https://help.aliyun.com/zh/model-studio/api-reference"
    ),
    WellKnown("deepseek", "litellm", None, ("DEEPSEEK_API_KEY",), "https://api-docs.deepseek.com/"),
    WellKnown(
        "fireworks_ai", "litellm", None,
        ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
        "https://docs.fireworks.ai/api-reference/post-chatcompletions",
    ),
    WellKnown(
        "gemini", "litellm", None, ("GOOGLE_API_KEY", "GEMINI_API_KEY"), "https://ai.google.dev/gemini-api/docs/api-key"
    ),
    WellKnown("mistral", "litellm", None, ("MISTRAL_API_KEY",), "https://docs.mistral.ai/api/"),
    WellKnown("moonshot", "litellm", None, ("MOONSHOT_API_KEY",), "https://platform.moonshot.ai/docs/guide/"),
    WellKnown(
        "ollama", "litellm", None, ("OLLAMA_API_KEY",), "https://docs.ollama.com/api/introduction", key_required=False
    ),
    WellKnown(
        "ollama_chat", "litellm", None, ("OLLAMA_API_KEY",), "https://docs.ollama.com/api/introduction",
        key_required=False,
    ),
    WellKnown(
        "sagemaker", "litellm", None, (), "https://docs.aws.amazon.com/sagemaker/latest/APIReference/",
        key_required=False,
    ),
    WellKnown("sambanova", "litellm", None, ("SAMBANOVA_API_KEY",), "https://docs.sambanova.ai/cloud/api-reference/"),
    WellKnown(
        "vertex_ai", "litellm", None, (), "https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest",
        key_required=False,
    ),
    WellKnown("voyage", "litellm", None, ("VOYAGE_API_KEY",), "https://docs.voyageai.com/reference/embeddings-api"),
    WellKnown("xai", "litellm", None, ("XAI_API_KEY",), "https://docs.x.ai/docs/api-reference"),
)  # fmt: skip

WELL_KNOWN: Final[Mapping[str, WellKnown]] = MappingProxyType({provider.name: provider for provider in _ALL})
"""By name. `mock` is always among them."""

LITELLM_VERSION: Final = "1.106.2"
"""The release that LITELLM_KINDS was written down from."""

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
"""What `kind:` accepts."""


def find(name: str) -> WellKnown | None:
    """Return what is known of a provider's name; None when neither we nor LiteLLM know it.

    Of a provider that only LiteLLM knows nothing is said here: LiteLLM finds its address and its key by itself.
    """
    known = WELL_KNOWN.get(name)
    if known is None and name in LITELLM_KINDS:
        return WellKnown(name, "litellm", key_required=False)
    return known
