"""A path that a server lacks, and a model that it lacks, in the words of servers and vendors."""

from __future__ import annotations

import json

import pytest

from gateway.policy.failures.missing_path import is_missing_in, is_missing_path

_HTML = "<!DOCTYPE html>\n<html><body><pre>Cannot POST /v1/responses</pre></body></html>"


def _error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


PATHS = [
    # status, body: who answers so
    (405, {"detail": "Method Not Allowed"}),  # Starlette behind a static site
    (405, ""),
    (404, ""),  # axum (text-generation-inference), DeepSeek
    (404, "{}"),
    (404, {"detail": "Not Found"}),  # FastAPI: vLLM, SGLang, LiteLLM's proxy, NIM
    (404, "404 page not found"),  # gin and Go: Ollama, LocalAI, Traefik
    (404, "Not Found\n"),
    (404, _HTML),  # Express, and the web pages of proxies
    (404, {"statusCode": 404, "message": "Cannot POST /v1/responses", "error": "Not Found"}),  # NestJS
    (404, _error("File Not Found", type="not_found_error", code=404)),  # llama.cpp, KoboldCpp
    (404, _error("Invalid URL (POST /v1/responses)", type="invalid_request_error", param=None, code=None)),  # OpenAI
    (404, _error("Invalid URL (POST /v1/responses) (request id: 2025071815)", type="invalid_request_error")),  # one-api
    (404, _error("Unknown request URL: POST /openai/v1/responses. Please check the URL for typos, or see the docs at "
                 "https://console.groq.com/docs/", type="invalid_request_error", code="unknown_url")),  # Groq
    (404, {"message": "no Route matched with those values"}),  # Kong: Mistral
    (404, {"error_msg": "404 Route Not Found"}),  # APISIX
    (404, _error("Resource not found", code="404")),  # Azure
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}}),  # Anthropic
    (404, {"error": "Unexpected endpoint or method. (POST /v1/responses)"}),  # LM Studio
    (404, _error("unknown endpoint: POST /v1/responses; this gateway has POST /v1/chat/completions")),  # this gateway
    (404, _error("Route not found", type="invalid_request_error", code="404")),
    (404, _error("The path /v1/responses is not available here")),
    (501, _error("This server does not support reranking. Start it with `--reranking`", code=501,
                 type="not_supported_error")),  # llama.cpp
]  # fmt: skip

MODELS = [
    (404, _error("The model `llama-3.1` does not exist or you do not have access to it.", code="model_not_found")),
    (404, _error("The model `llama-3.1` does not exist.", type="NotFoundError", code=404)),  # vLLM
    (404, {"object": "error", "message": "The model `llama-3.1` does not exist.", "type": "NotFoundError"}),
    (404, _error('model "llama-3.1" not found, try pulling it first', type="api_error")),  # Ollama
    (404, {"error": "model 'llama-3.1' not found"}),
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: llama-3.1"}}),  # Anthropic
    (404, _error("No endpoints found for llama-3.1.", code=404)),  # OpenRouter
    (404, _error("The API deployment for this resource does not exist.", code="DeploymentNotFound")),  # Azure
    (404, _error("This is not a chat model and thus not supported in the v1/chat/completions endpoint.",
                 type="invalid_request_error", param="model", code=None)),  # OpenAI
    (404, _error("llama-3.1 is not served at /responses")),
    (404, "model not found"),
    (404, _error("nothing here", type="invalid_request_error")),
    (404, {"error": {"code": 404}}),
    (400, _error("Invalid URL (POST /v1/responses)")),
    (501, _error("not implemented", type="server_error")),
    (500, ""),
    (403, ""),
]  # fmt: skip


def _is_path(status: int, body: object) -> bool:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return is_missing_path(status, raw, path="/responses", model="llama-3.1")


@pytest.mark.parametrize(("status", "body"), PATHS)
def test_a_missing_path(status: int, body: object) -> None:
    assert _is_path(status, body)


@pytest.mark.parametrize(("status", "body"), MODELS)
def test_what_is_no_missing_path(status: int, body: object) -> None:
    assert not _is_path(status, body)


def test_a_short_name_of_a_model_is_found_as_a_word_only() -> None:
    raw = json.dumps(_error("a thing at /responses is not here")).encode()
    assert not is_missing_path(404, raw, path="/responses", model="a")
    assert is_missing_path(404, raw, path="/responses", model="e")
    assert is_missing_path(404, raw, path="/responses", model="")


def test_lm_studio_says_so_with_a_good_status() -> None:
    assert is_missing_in({"error": "Unexpected endpoint or method. (POST /v1/messages/count_tokens?beta=true)"})
    assert not is_missing_in({"error": {"message": "Unexpected endpoint or method."}})
    assert not is_missing_in({"choices": []})
    assert not is_missing_in(["error"])
