"""What vendors and servers call their failures: codes, phrases and finish reasons, with the source beside each.

This is the only such table; both adapters read it through `classify` and `choice_error`. Codes are compared in lower
case. Messages may repeat parts of the request, so phrases that blame the account or the model, which rest a target,
must begin the message (`phrases`). All quantifiers are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.policy.failures.kinds import Kind
from gateway.policy.failures.phrases import Phrase, anywhere, at_the_start

KIND_OF_CODE: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # OpenAI: https://platform.openai.com/docs/guides/error-codes and
        # https://help.openai.com/en/articles/6614457-troubleshooting-api-usage-and-spend-limits
        "insufficient_quota": Kind.BILLING,
        "credit_balance_exhausted": Kind.BILLING,
        "organization_spend_limit_exceeded": Kind.BILLING,
        "organization_usage_limit_exceeded": Kind.BILLING,
        "project_spend_limit_exceeded": Kind.BILLING,
        "billing_hard_limit_reached": Kind.BILLING,
        "billing_not_active": Kind.BILLING,
        "context_length_exceeded": Kind.CONTEXT_WINDOW,
        "content_policy_violation": Kind.CONTENT_FILTER,
        "content_filter": Kind.CONTENT_FILTER,
        "invalid_prompt": Kind.CONTENT_FILTER,
        "moderation_blocked": Kind.CONTENT_FILTER,
        "model_not_found": Kind.NOT_FOUND,
        "rate_limit_exceeded": Kind.RATE_LIMIT,
        "invalid_api_key": Kind.AUTH,
        "account_deactivated": Kind.AUTH,
        "server_error": Kind.SERVER_ERROR,
        # Azure OpenAI: https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter (`innererror.code`)
        "responsibleaipolicyviolation": Kind.CONTENT_FILTER,
        "deploymentnotfound": Kind.NOT_FOUND,
        "modeldeprecated": Kind.NOT_FOUND,
        # Anthropic: https://platform.claude.com/docs/en/api/errors (`details.error_code`: the tier's spend cap, as 429)
        "authentication_error": Kind.AUTH,
        "permission_error": Kind.AUTH,
        "billing_error": Kind.BILLING,
        "enforced_spend_limit_reached": Kind.BILLING,
        "not_found_error": Kind.NOT_FOUND,
        "rate_limit_error": Kind.RATE_LIMIT,
        "api_error": Kind.SERVER_ERROR,
        "timeout_error": Kind.TIMEOUT,
        "overloaded_error": Kind.OVERLOADED,
        "request_too_large": Kind.CONTEXT_WINDOW,
        "invalid_request_error": Kind.BAD_REQUEST,
        # Google: https://cloud.google.com/apis/design/errors (`status`, and `reason` in `details`)
        "api_key_invalid": Kind.AUTH,
        "unauthenticated": Kind.AUTH,
        "permission_denied": Kind.AUTH,
        "billing_disabled": Kind.BILLING,
        "resource_exhausted": Kind.RATE_LIMIT,
        "unavailable": Kind.OVERLOADED,
        # Amazon Bedrock: https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html (`__type`)
        "accessdeniedexception": Kind.AUTH,
        "expiredtokenexception": Kind.AUTH,
        "incompletesignature": Kind.AUTH,
        "invalidsignatureexception": Kind.AUTH,
        "requestexpired": Kind.AUTH,
        "unrecognizedclientexception": Kind.AUTH,
        "resourcenotfoundexception": Kind.NOT_FOUND,
        "servicequotaexceededexception": Kind.RATE_LIMIT,
        "throttlingexception": Kind.RATE_LIMIT,
        # Groq: https://console.groq.com/docs/errors and /docs/tool-use, https://github.com/groq/groq-typescript/issues/28.
        # The model wrote a tool call, or JSON, that is none: told with 400, and no fault of the request's.
        "tool_use_failed": Kind.BAD_RESPONSE,
        "json_validate_failed": Kind.BAD_RESPONSE,
        "model_decommissioned": Kind.NOT_FOUND,
        "model_not_active": Kind.NOT_FOUND,
        "model_terms_required": Kind.AUTH,
        # llama.cpp: https://github.com/ggml-org/llama.cpp/pull/15780
        "exceed_context_size_error": Kind.CONTEXT_WINDOW,
        # GitHub Models and Copilot: https://github.com/marketplace/models
        "tokens_limit_reached": Kind.CONTEXT_WINDOW,
        "model_max_prompt_tokens_exceeded": Kind.CONTEXT_WINDOW,
        "unknown_model": Kind.NOT_FOUND,
        "unavailable_model": Kind.NOT_FOUND,
        # Mistral and Perplexity (`type`): https://docs.mistral.ai/api and https://docs.perplexity.ai/guides/errors
        "invalid_model": Kind.NOT_FOUND,
        # Together: https://docs.together.ai/docs/error-codes, https://github.com/HeyPuter/puter/issues/3168
        "model_not_available": Kind.NOT_FOUND,
        # Hugging Face's router: https://github.com/cline/cline/issues/5098
        "model_not_supported": Kind.NOT_FOUND,
        # Moonshot: https://platform.moonshot.ai/docs/api/chat#error-description
        "exceeded_current_quota_error": Kind.BILLING,
        "invalid_authentication_error": Kind.AUTH,
        "incorrect_api_key_error": Kind.AUTH,
        "permission_denied_error": Kind.AUTH,
        "resource_not_found_error": Kind.NOT_FOUND,
        "engine_overloaded_error": Kind.OVERLOADED,
        "rate_limit_reached_error": Kind.RATE_LIMIT,
        # Zhipu (business codes): https://docs.z.ai/api-reference/api-code
        "1110": Kind.AUTH,
        "1111": Kind.AUTH,
        "1112": Kind.AUTH,
        "1113": Kind.BILLING,
        "1121": Kind.AUTH,
        "1211": Kind.NOT_FOUND,
        "1261": Kind.CONTEXT_WINDOW,
        "1301": Kind.CONTENT_FILTER,
        # Alibaba's Model Studio (DashScope, Qwen): https://www.alibabacloud.com/help/en/model-studio/error-code
        "arrearage": Kind.BILLING,
        "accessdenied.unpurchased": Kind.AUTH,
        "invalidapikey": Kind.AUTH,
        "datainspectionfailed": Kind.CONTENT_FILTER,
        "data_inspection_failed": Kind.CONTENT_FILTER,
        "modelnotfound": Kind.NOT_FOUND,
        "throttling.allocationquota": Kind.RATE_LIMIT,
        "throttling.ratequota": Kind.RATE_LIMIT,
        # one-api and new-api, in front of many resold upstreams: https://github.com/QuantumNous/new-api
        "insufficient_user_quota": Kind.BILLING,
        "sensitive_words_detected": Kind.CONTENT_FILTER,
        "prompt_blocked": Kind.CONTENT_FILTER,
        # Ours: a choice whose finish reason is none of an answer.
        "failed_finish": Kind.BAD_RESPONSE,
    }
)
"""A word of an error body, from any of its fields that hold one, → the failure's kind."""


PHRASES: Final[tuple[Phrase, ...]] = (
    at_the_start(
        Kind.AUTH,
        r"(?:incorrect|invalid) api[- ]key(?: provided|[.:,]|\s{0,3}\Z)",  # xAI, as 400
        r"api key (?:not valid|not found|expired)",  # Gemini: https://github.com/continuedev/continue/issues/11336
        r"user location is not supported",  # Gemini: https://ai.google.dev/gemini-api/docs/troubleshooting
        r"this organization has been disabled",  # Anthropic, as 400
        r"function '[^']{1,100}': not found for account",  # NVIDIA, as 404: names the account
    ),
    at_the_start(
        Kind.BILLING,
        r"your credit balance is too low",  # Anthropic: https://github.com/continuedev/continue/issues/5499
        r"you have reached your specified (?:\w{1,20} )?api usage limits",
        # https://github.com/anthropics/claude-code/issues/38035
        r"(?:extra usage is|usage credits are) required",
        # Anthropic, as 429: https://github.com/anthropics/claude-code/issues/64982
        r"your (?:[\w-]{1,40} ){0,2}teams? .{0,100}(?:available|any|no) credits",
        # xAI, as 403 and 429: https://github.com/continuedev/continue/issues/10373
        r"your prepayment credits are depleted",  # Gemini, as 429
        r"(?:the )?gemini api free tier is not available",  # https://ai.google.dev/gemini-api/docs/troubleshooting
        r"this (?:api )?method requires billing",  # Google, as 403
        r"access denied, \w{1,10} make sure your account is in good standing",  # DashScope
        r"account \S{1,100} is suspended",
        # Fireworks, as 412: https://github.com/pollinations/pollinations/issues/12136
        r"your account \S{1,100} (?:\S{1,100} )?is suspended",  # Moonshot
        r"you've reached your (?:usage|spending) limit for this billing",
        # Kimi: https://www.kimi.com/code/docs/en/kimi-code/error-reference.html
        r"insufficient (?:account )?(?:balance|credits|funds)",
        # DeepSeek: https://api-docs.deepseek.com/quick_start/error_codes
    ),
    at_the_start(
        Kind.NOT_FOUND,
        r"(?:the )?(?:requested )?model \S{1,256} (?:has been (?:decommissioned|deprecated|retired)"
        r"|has reached its end of life|is not (?:available|supported)|is no longer|does not exist|(?:was )?not found)",
        # Groq, NVIDIA, Hugging Face, Ollama
        r"model not (?:found|exists?|supported)",  # xAI, DeepSeek, Hugging Face, as 400
        r"[\w./:@~\+-]{1,256} is not a valid model",  # OpenRouter
        r"(?:invalid|unknown) model(?: id| name)?(?:[:.]| ?['\"`]|\s{0,3}\Z)",  # Perplexity, Mistral
        r"unable to access non-serverless model",  # Together
        r"the provided model identifier is invalid",  # Bedrock
        r"invocation of model id \S{1,256} with on-demand throughput is(?:n['’]t| not) supported",  # Bedrock
        r"this model version has reached the end of its life",  # Bedrock
    ),
    anywhere(
        Kind.CONTENT_FILTER,
        r"content violates usage guidelines",  # xAI, as 403: https://github.com/UKGovernmentBEIS/inspect_ai/pull/2267
        r"content exists risk",  # DeepSeek: https://github.com/deepseek-ai/awesome-deepseek-integration/issues/13
        r"was considered high risk",  # Moonshot: https://github.com/666ghj/BettaFish/issues/228
        r"your input was flagged",  # OpenRouter: https://openrouter.ai/docs/api/reference/errors-and-debugging
        r"blocked by content filtering policy",  # Anthropic
        r"flagged as potentially violating",  # OpenAI
        r"as a result of our safety system",  # OpenAI's images
        r"content management policy",  # Azure: https://github.com/Gitlawb/openclaude/issues/273
        r"may contain (?:inappropriate|sensitive) content|data_inspection_failed",  # DashScope
        r"unsafe or sensitive content",  # Zhipu
        r"input new_sensitive|output new_sensitive",  # MiniMax
        r"blocked by (?:a |the )?(?:content filter|guardrail)",  # Bedrock
    ),
    at_the_start(
        Kind.RATE_LIMIT,
        r"request too large .{0,400}\btokens per min(?:ute)?",
        # Groq, as 413: https://github.com/continuedev/continue/issues/10218
    ),
    anywhere(
        Kind.CONTEXT_WINDOW,
        r"maximum context length|context window|context[ _.]length[ _.]exceeded",
        # OpenAI, OpenRouter, DeepSeek, SambaNova, Mistral, MiniMax, Perplexity, NVIDIA
        r"prompt is too long|exceed context limit",
        # Anthropic, Fireworks: https://github.com/continuedev/continue/issues/6136
        r"context length is only|longer than the maximum model length",
        # vLLM: https://github.com/vllm-project/vllm/issues/33418
        r"longer than the model's context length",  # SGLang: https://github.com/sgl-project/sglang/issues/8096
        r"exceeds the available context size|context size has been exceeded",  # llama.cpp, LM Studio's MLX
        r"greater than the context length|when context the overflows|reached context length of",
        # LM Studio: https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/237 and /1251
        r"input length (?:\d{1,9} )?exceeds (?:the |maximum )?context length",
        # Ollama: https://github.com/nano-step/nano-brain/issues/208
        r"maximum (?:prompt|input) length is \d",  # xAI
        r"input token count.{0,40}exceeds the maximum number of tokens",  # Gemini
        r"input (?:is too long|too long:)|too many (?:input )?tokens|expected maxlength: \d"
        r"|input tokens exceed the configured limit",
        # Bedrock, Cohere: https://github.com/aws-samples/bedrock-chat/issues/95
        r"`inputs` tokens \+ `max_new_tokens` must be|`inputs` must have less than \d",
        # TGI, Together: https://github.com/huggingface/chat-ui/issues/340
        r"exceeded model token limit",  # Moonshot: https://github.com/MoonshotAI/kimi-cli/issues/2011
        r"range of input length should be",  # DashScope: https://github.com/QwenLM/qwen-code/issues/2068
        r"current length is \d{1,9} while limit is|reduce the length of the (?:messages|input|prompt)",
        # Groq, Cerebras: https://github.com/cline/cline/issues/5140
        r"prompt token count.{0,40}exceeds the limit",  # GitHub Copilot
        r"prompt exceeds max length|prompt 超长",  # Zhipu
    ),
)
"""In the order in which they are tried."""

QUOTA_PHRASE: Final = at_the_start(Kind.BILLING, r"you exceeded your current quota")
"""Billing with 400 only. With 429 Gemini says the same of a limit per minute, and OpenAI has a code for it."""
FILE_PHRASE: Final = at_the_start(Kind.BAD_REQUEST, r"you do not have permission to access the file \S{1,100}")
"""Gemini, with 403: a file that the client named. Source: https://github.com/googleapis/python-genai/issues/1218"""
OVERLOADED_PHRASE: Final = anywhere(Kind.OVERLOADED, r"\boverloaded\b")
"""Anthropic and Moonshot, with 500 or inside a good response."""

WHOLE: Final = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})
"""OpenAI's finish reasons, all of whole answers: https://platform.openai.com/docs/api-reference/chat/object"""

_FAILED: Final = frozenset(
    {
        "insufficient_system_resource",  # DeepSeek: https://api-docs.deepseek.com/api/create-chat-completion
        "network_error",  # Zhipu: https://docs.z.ai/api-reference/llm/chat-completion
        "timeout", "user_cancel",  # Cohere: https://docs.cohere.com/reference/chat
        "cancelled", "canceled",
        "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature",
        # Gemini: https://ai.google.dev/api/generate-content#FinishReason
    }
)  # fmt: skip
_FAILED_PATTERN: Final = re.compile(r"(?:^|[^a-z])(?:error|abort(?:ed)?|fail(?:ed|ure)?|malformed)(?:[^a-z]|$)")
"""OpenRouter's, Mistral's and vLLM's `error`, SGLang's `abort`, Gemini's MALFORMED_FUNCTION_CALL, Bedrock's
`malformed_model_output` and `malformed_tool_use`
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html), and their like."""
_WHOLE_ALL_THE_SAME: Final = frozenset({"error_toxic", "error_limit"})
"""Cohere's older words for a filtered and for a cut answer."""


def is_failed_finish(reason: object) -> bool:
    """Tell whether a finish reason says that the answer failed. Reasons that nobody knows are those of an answer."""
    if not isinstance(reason, str) or reason in WHOLE:
        return False
    plain = reason[:64].lower()
    return plain in _FAILED or (_FAILED_PATTERN.search(plain) is not None and plain not in _WHOLE_ALL_THE_SAME)
