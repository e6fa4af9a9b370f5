"""A prompt that is too long, in everyone's words."""

from __future__ import annotations

from typing import Final

from tests.vendor_failures.case import CONTEXT, Refusal, error, google

TOO_LONG: Final = [
    Refusal(vendor="openai", status=400, body=error("9 tokens", "context_length_exceeded"), **CONTEXT),
    Refusal(vendor="openai text", status=400, body=error("your input exceeds the context window of m"), **CONTEXT),
    Refusal(
        vendor="llama.cpp",
        status=400,
        **CONTEXT,
        says="try increasing it",
        body={
            "error": {
                "code": 400,
                "message": "request (9 tokens) exceeds the context here, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9,
                "n_ctx": 8,
            }
        },
    ),
    Refusal(
        vendor="llama.cpp of old",
        status=500,
        **CONTEXT,
        body={"error": {"code": 500, "message": "too large", "type": "exceed_context_size_error"}},
    ),
    Refusal(
        vendor="llama.cpp text",
        status=400,
        **CONTEXT,
        body=error("the request exceeds the available context size, try increasing it"),
    ),
    Refusal(
        vendor="lm studio",
        status=400,
        **CONTEXT,
        says="n_keep",
        body={"error": "The number of tokens to keep is greater than the context length (n_keep: 9>= n_ctx: 8)."},
    ),
    Refusal(
        vendor="lm studio of old",
        status=400,
        **CONTEXT,
        body={"error": "Trying to keep the first 9 tokens when context the overflows."},
    ),
    Refusal(vendor="lm studio mlx", status=400, body={"error": "Context size has been exceeded."}, **CONTEXT),
    Refusal(
        vendor="sglang",
        status=400,
        **CONTEXT,
        body={
            "object": "error",
            "message": "The input (9 tokens) is longer than the model's context length (8 tokens).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    Refusal(
        vendor="vllm",
        status=400,
        **CONTEXT,
        body=error(
            "You passed 9 input tokens. However, the model's context length is only 8 tokens.", 400, "BadRequestError"
        ),
    ),
    Refusal(
        vendor="vllm of old",
        status=400,
        **CONTEXT,
        body={
            "object": "error",
            "message": "The decoder prompt (length 9) is longer than the maximum model length of 8.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    Refusal(
        vendor="together",
        status=422,
        **CONTEXT,
        body=error("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8. Given: 9"),
    ),
    Refusal(
        vendor="tgi",
        status=422,
        **CONTEXT,
        says="must have less than",
        body={
            "error": "Input validation error: `inputs` must have less than 8 tokens. Given: 9",
            "error_type": "validation",
        },
    ),
    Refusal(
        vendor="xai",
        status=400,
        **CONTEXT,
        says="maximum prompt length",
        body={
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 8 but the request contains 9 tokens.",
        },
    ),
    Refusal(
        vendor="gemini",
        status=400,
        **CONTEXT,
        body=google(
            400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."
        ),
    ),
    Refusal(
        vendor="ollama",
        status=400,
        body={"error": "the input length exceeds the context length"},
        **CONTEXT,
    ),
    Refusal(vendor="bedrock", status=400, body={"message": "Input is too long for requested model."}, **CONTEXT),
    Refusal(
        vendor="cerebras",
        status=400,
        **CONTEXT,
        says="Current length",
        body={
            "message": "Please shorten. Current length is 9, the limit is 8",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        },
    ),
    Refusal(
        vendor="anthropic",
        status=400,
        **CONTEXT,
        body={"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens"}},
    ),
    Refusal(vendor="anthropic 413", status=413, body=error("too big", None, "request_too_large"), **CONTEXT),
    Refusal(vendor="groq", status=400, body=error("Please reduce the length of the messages."), **CONTEXT),
    Refusal(
        vendor="mistral",
        status=400,
        **CONTEXT,
        body={
            "object": "error",
            "type": "invalid_request_prompt",
            "code": "3051",
            "param": None,
            "message": "Prompt contains 9 tokens, too large for model with 8 maximum context length",
        },
    ),
    Refusal(
        vendor="deepseek",
        status=400,
        body=error("This model's maximum context length is 8 tokens.", "invalid_request_error"),
        **CONTEXT,
    ),
    Refusal(
        vendor="moonshot",
        status=400,
        body=error("Invalid request: Your request exceeded model token limit: 8"),
        **CONTEXT,
    ),
    Refusal(vendor="zhipu", status=400, body={"error": {"code": "1261", "message": "Prompt too much"}}, **CONTEXT),
    Refusal(
        vendor="dashscope",
        status=400,
        **CONTEXT,
        body=error(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 8]",
            "invalid_parameter_error",
        ),
    ),
    Refusal(vendor="cohere", status=400, body={"message": "too many tokens: the prompt cannot exceed 8"}, **CONTEXT),
    Refusal(vendor="fireworks", status=400, body=error("The prompt is too long: 9, model maximum: 8"), **CONTEXT),
    Refusal(vendor="sambanova", status=400, body=error("The maximum context length of m is 8."), **CONTEXT),
    Refusal(
        vendor="nvidia",
        status=400,
        **CONTEXT,
        body={"status": 400, "title": "Bad Request", "detail": "maximum context length is 8 tokens"},
    ),
    Refusal(
        vendor="openrouter",
        status=400,
        **CONTEXT,
        body={
            "error": {
                "code": 400,
                "message": "Provider returned error",
                "metadata": {
                    "provider_name": "Up",
                    "raw": '{"error":{"message":"the maximum context length is 8 tokens"}}',
                },
            }
        },
    ),
    Refusal(vendor="github", status=413, body=error("Request body too large", "tokens_limit_reached"), **CONTEXT),
    Refusal(
        vendor="fastapi",
        status=422,
        **CONTEXT,
        says="body.prompt: prompt is too long",
        body={"detail": [{"loc": ["body", "prompt"], "msg": "prompt is too long", "input": "hi"}]},
    ),
]
