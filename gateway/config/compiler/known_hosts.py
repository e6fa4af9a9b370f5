"""Where LiteLLM may send a provider's requests, and which kinds have no address of their own.

Listed here so that `validate` knows both without importing LiteLLM. `tests/audit/probes/hosts.py` asks the installed
LiteLLM, kind by kind, where it would connect to, and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NO_ADDRESS: Final = frozenset(
    {
        "a2a", "ai21", "azure", "azure_ai", "azure_text", "custom", "custom_openai", "gdc", "heroku", "infinity",
        "litellm_proxy", "oobabooga", "openai_like", "petals", "ragflow", "triton", "xinference",
    }
)  # fmt: skip
"""Kinds that need a `base_url`. For some LiteLLM would use OpenAI's address, others it refuses or loads in-process."""

INSTEAD: Final[Mapping[str, str]] = MappingProxyType({"ai21": "ai21_chat"})
"""Kinds of NO_ADDRESS → a kind for the same vendor that has an address."""

# Vendors whose addresses have a region, an account or a project in them get a pattern; `*` stands for one label of the
# host name, `**` for several. A scheme is written only for plain HTTP, a port only if it is not the scheme's own.
_HOSTS: Final = """
abliteration api.abliteration.ai
ai21_chat api.ai21.com
aihubmix aihubmix.com
aiml api.aimlapi.com
aiohttp_openai api.openai.com
amazon_nova api.nova.amazon.com
anthropic api.anthropic.com
anthropic_text api.anthropic.com
apertis api.stima.tech
assemblyai llm-gateway.assemblyai.com
baseten inference.baseten.co *.api.baseten.co
bedrock bedrock-runtime.*.amazonaws.com bedrock-runtime.*.amazonaws.com.cn bedrock-agent-runtime.*.amazonaws.com \
    bedrock-agentcore.*.amazonaws.com bedrock-mantle.*.api.aws
bedrock_mantle bedrock-mantle.*.api.aws
bytez api.bytez.com
cerebras api.cerebras.ai
charity_engine api.charityengine.services
chatgpt chatgpt.com
chutes llm.chutes.ai
clarifai api.clarifai.com
cloudflare api.cloudflare.com
codestral codestral.mistral.ai
cognition api.cognition.ai
cohere api.cohere.com api.cohere.ai
cohere_chat api.cohere.com api.cohere.ai
cometapi api.cometapi.com
compactifai api.compactif.ai
cortecs api.cortecs.ai
crusoe api.inference.crusoecloud.com
darkbloom api.darkbloom.dev
dashscope dashscope.aliyuncs.com dashscope-intl.aliyuncs.com
databricks *.cloud.databricks.com *.gcp.databricks.com *.*.azuredatabricks.net
datarobot app.datarobot.com
deepinfra api.deepinfra.com
deepseek api.deepseek.com
docker_model_runner http://localhost:22088
edenai api.edenai.run
empiriolabs api.empiriolabs.ai
empower app.empower.dev
fal_ai fal.run queue.fal.run
featherless_ai api.featherless.ai
fireworks_ai api.fireworks.ai
friendliai api.friendli.ai
galadriel api.galadriel.com
gemini generativelanguage.googleapis.com
gigachat gigachat.devices.sberbank.ru
github models.inference.ai.azure.com models.github.ai
github_copilot api.githubcopilot.com api.*.githubcopilot.com
gmi api.gmi-serving.com
gradient_ai inference.do-ai.run *.agents.do-ai.run
groq api.groq.com
helicone ai-gateway.helicone.ai
huggingface router.huggingface.co api-inference.huggingface.co
hyperbolic api.hyperbolic.xyz
inception api.inceptionlabs.ai
jina_ai api.jina.ai
lambda_ai api.lambda.ai
langflow http://localhost:7860
langgraph http://localhost:2024
lemonade http://localhost:8000
libertai api.libertai.io
llamafile http://127.0.0.1:8080
llamagate api.llamagate.dev
lm_studio http://127.0.0.1:1234
maritalk chat.maritaca.ai
meta api.meta.ai
meta_llama api.llama.com
minimax api.minimax.io api.minimaxi.com
mistral api.mistral.ai
modelscope api-inference.modelscope.cn
moonshot api.moonshot.ai api.moonshot.cn
morph api.morphllm.com
nadir api.getnadir.com
nano-gpt nano-gpt.com
nebius api.studio.nebius.ai api.studio.nebius.com
neosantara api.neosantara.xyz
nlp_cloud api.nlpcloud.io
novita api.novita.ai
nscale inference.api.nscale.com
nvidia_nim integrate.api.nvidia.com
oci inference.generativeai.*.oci.oraclecloud.com
ollama http://localhost:11434
ollama_chat http://localhost:11434
openai api.openai.com
openrouter openrouter.ai
ovhcloud oai.endpoints.kepler.ai.cloud.ovh.net
parasail api.parasail.io
perplexity api.perplexity.ai
pinstripes pinstripes.io
poe api.poe.com
predibase serving.app.predibase.com
prism api.prisminference.com
publicai api.publicai.co
qwen_ai_platform dashscope.aliyuncs.com
qwencloud dashscope-intl.aliyuncs.com
reka api.reka.ai
replicate api.replicate.com stream.replicate.com *.replicate.net
sagemaker runtime.sagemaker.*.amazonaws.com runtime.sagemaker.*.amazonaws.com.cn
sagemaker_chat runtime.sagemaker.*.amazonaws.com runtime.sagemaker.*.amazonaws.com.cn
sagemaker_nova runtime.sagemaker.*.amazonaws.com runtime.sagemaker.*.amazonaws.com.cn
sail api.sailresearch.com
sambanova api.sambanova.ai
sap **.ml.hana.ondemand.com
sarvam api.sarvam.ai
scaleway api.scaleway.ai
scx-ai api.scx.ai
snowflake *.snowflakecomputing.com *.*.snowflakecomputing.com
synthetic api.synthetic.new
tencent tokenhub-intl.tencentcloudmaas.com
tensormesh serverless.tensormesh.ai
text-completion-codestral codestral.mistral.ai
text-completion-inception api.inceptionlabs.ai
text-completion-openai api.openai.com
together_ai api.together.ai api.together.xyz
v0 api.v0.dev
veniceai api.venice.ai
vercel_ai_gateway ai-gateway.vercel.sh
vertex_ai aiplatform.googleapis.com *-aiplatform.googleapis.com aiplatform.*.rep.googleapis.com
vertex_ai_beta aiplatform.googleapis.com *-aiplatform.googleapis.com aiplatform.*.rep.googleapis.com
volcengine ark.cn-beijing.volces.com
voyage api.voyageai.com
wandb api.inference.wandb.ai
watsonx *.ml.cloud.ibm.com
watsonx_text *.ml.cloud.ibm.com
xai api.x.ai
xiaomi_mimo api.xiaomimimo.com
zai api.z.ai
"""
"""One line a kind: the hosts of its vendor, which are allowed where the file names no `base_url`."""

_SIGN_IN: Final = """
chatgpt auth.openai.com
databricks *.cloud.databricks.com *.gcp.databricks.com *.*.azuredatabricks.net
gigachat ngw.devices.sberbank.ru:9443
github_copilot api.github.com github.com
huggingface huggingface.co
sap **.hana.ondemand.com
watsonx iam.cloud.ibm.com
watsonx_text iam.cloud.ibm.com
"""
"""The same for the vendor's hosts that LiteLLM asks first, for a token or a model's task: allowed at any `base_url`."""


def _origin(text: str) -> str:
    scheme, mark, host = text.rpartition("://")
    scheme = scheme if mark else "https"
    return f"{scheme}://{host}" if ":" in host else f"{scheme}://{host}:{80 if scheme == 'http' else 443}"


def _read(lines: str) -> Mapping[str, tuple[str, ...]]:
    words = (line.split() for line in lines.strip().splitlines())
    return MappingProxyType({kind: tuple(map(_origin, hosts)) for kind, *hosts in words})


HOSTS: Final = _read(_HOSTS)
"""By LiteLLM's kind: its vendor's origins, `scheme://host:port`, with `*` or `**` for labels of the host name."""
SIGN_IN: Final = _read(_SIGN_IN)
"""By LiteLLM's kind: further origins that are allowed at any base URL."""


def hosts_of(kind: str, *, own_base_url: bool) -> tuple[str, ...]:
    """Return the origins that LiteLLM may reach for a kind, beside that of the `base_url`, if the file has one."""
    vendors = () if own_base_url else HOSTS.get(kind, ())
    return (*vendors, *SIGN_IN.get(kind, ()))
