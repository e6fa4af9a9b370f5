"""Chat on Gemini: our translation beside LiteLLM's classes, and where they differ, each with its reason."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any, Final

import httpx
import litellm  # noqa: F401 - imported here, where its warnings are no errors
import pytest
from litellm.llms.gemini.chat.transformation import GoogleAIStudioGeminiConfig
from litellm.llms.vertex_ai.gemini.transformation import transform_request_body
from litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini import ModelResponseIterator
from litellm.types.utils import ModelResponse

from gateway.adapters import gemini
from gateway.adapters.base import NotSupported
from gateway.adapters.litellm.translate import answer_data
from gateway.policy.failures import UpstreamError
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import CHAT_TOOL, SCHEMA, assistant, chat_call, png, system, tool, user
from tests.unit.adapters.anthropic.shapes import text as text_part
from tests.unit.adapters.anthropic.summed import chat_sum
from tests.unit.adapters.gemini.shapes import (
    IN_ID,
    SIGNATURE,
    answered,
    called,
    candidate,
    chunks_of,
    piece,
    read,
    said,
    text,
)

pytestmark = pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning")
"""Pydantic says so of LiteLLM's classes when the first answer is made."""

MODELS: Final = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3.8-flash")
NEW: Final = MODELS[2:]
OTHER_TOOL: Final = {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}
SIGNED: Final = chat_call(f"call_1__thought__{SIGNATURE}")
PDF: Final[JsonObject] = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0x"}}
WAV: Final[JsonObject] = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
SMALL: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
BESIDE: Final = {"thought_signature": SIGNATURE}
CALLED: Final = [
    user(),
    assistant("x", tool_calls=[chat_call("a"), chat_call("b", "{}")]),
    tool("a"),
    tool("b", '{"x": 1}'),
]

SAME: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "system": {"messages": [system("a"), system("b"), user()]},
    "late system": {"messages": [user(), system("a"), assistant(), user("b")]},
    "system alone": {"messages": [system("a")]},
    "same side": {"messages": [user("a"), user("b"), assistant("c"), assistant("d"), user("e")]},
    "tools": {"tools": [CHAT_TOOL, OTHER_TOOL], "tool_choice": "auto"},
    "no tool": {"tools": [CHAT_TOOL], "tool_choice": "none"},
    "any tool": {"tools": [CHAT_TOOL], "tool_choice": "required"},
    "one tool": {"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "one call at a time": {"tools": [CHAT_TOOL], "parallel_tool_calls": False},
    "history": {"messages": [*CALLED, user("and?")], "tools": [CHAT_TOOL]},
    "two rounds": {"messages": [*CALLED, assistant(None, tool_calls=[chat_call("c")]), tool("c")]},
    "late result": {"messages": [*CALLED, user(), tool("a", "late")]},
    "result that is a list": {"messages": [*CALLED[:2], tool("a", "[1]"), tool("b")]},
    "signed": {"messages": [user(), assistant(None, tool_calls=[SIGNED]), tool(SIGNED["id"])], "tools": [CHAT_TOOL]},
    "signed beside": {
        "messages": [
            user(),
            assistant(None, tool_calls=[{**chat_call("a"), "provider_specific_fields": BESIDE}]),
            tool("a"),
        ],
    },
    "signed text": {
        "messages": [user(), assistant("x", provider_specific_fields={"thought_signatures": [SIGNATURE]}), user()],
    },
    "function": {
        "messages": [user(), assistant(None, function_call={"name": "f", "arguments": "{}"}),
                     {"role": "function", "name": "f", "content": "r"}],
    },
    "image": {"messages": [user([text_part("a"), png()])]},
    "image alone": {"messages": [user([png()])]},
    "pdf": {"messages": [user([text_part("a"), PDF])]},
    "audio": {"messages": [user([text_part("a"), WAV])]},
    "result with image": {
        "messages": [*CALLED[:2], tool("a", [text_part("r"), png()]), tool("b")], "tools": [CHAT_TOOL]
    },
    "result with reference": {"messages": [*CALLED[:2], tool("a", '{"$ref": "#/x"}'), tool("b")]},
    "stop": {"stop": "END"},
    "stops": {"stop": ["a", "b"]},
    "max_tokens": {"max_tokens": 10},
    "max_completion_tokens": {"max_completion_tokens": 10},
    "sampling": {"temperature": 0.2, "top_p": 0.5, "top_k": 3},
    "penalties": {"presence_penalty": 0.2, "frequency_penalty": 0.5},
    "seed": {"seed": 7},
    "n": {"n": 2},
    "logprobs": {"logprobs": True},
    "json": {"response_format": {"type": "json_object"}},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
    "images wanted": {"modalities": ["text", "image"]},
    "minimal": {"reasoning_effort": "minimal"},
    "low": {"reasoning_effort": "low"},
    "medium": {"reasoning_effort": "medium"},
    "high": {"reasoning_effort": "high"},
    "none": {"reasoning_effort": "none", "models": [MODELS[0], *NEW]},
    "effort with summary": {"reasoning_effort": {"effort": "low", "summary": "auto"}},
    "budget": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    "flex": {"service_tier": "flex"},
    "default tier": {"service_tier": "default"},
    "safety": {"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
}  # fmt: skip
"""Both send the same."""

DIFFERENT: Final[dict[str, tuple[dict[str, Any], set[str], str]]] = {
    "developer": (
        {"messages": [{"role": "developer", "content": "s"}, user()]},
        {"systemInstruction", "contents"},
        "LiteLLM's class does not know OpenAI's newer word for it",
    ),
    "reasoning in the history": (
        {"messages": [user(), assistant("x", reasoning_content="hm"), user()]},
        {"contents"},
        "Gemini reads only its own thoughts, and whoever wrote these, they would be billed",
    ),
    "empty": (
        {"messages": [user(""), user([text_part(""), text_part("a")]), assistant(""), user("z")]},
        {"contents"},
        "a part without text is refused",
    ),
    "arguments that are none": (
        {"messages": [user(), assistant(None, tool_calls=[chat_call("a", "")]), tool("a")]},
        {"contents"},
        "LiteLLM tells the model that it called with {'type': 'object'}",
    ),
    "arguments that are no object": (
        {"messages": [user(), assistant(None, tool_calls=[chat_call("a", "[1]")]), tool("a")]},
        {"contents"},
        "args is an object; another value is refused",
    ),
    "broken arguments": (
        {"messages": [user(), assistant(None, tool_calls=[chat_call("a", "{")]), tool("a")]},
        {"contents"},
        "LiteLLM fails on what was the model's own mistake",
    ),
    "result without its call": (
        {"messages": [user(), tool("zz")]},
        {"not supported"},
        "ours names it, theirs is an exception of no kind",
    ),
    "no thinking on a model that always thinks": (
        {"reasoning_effort": "none", "models": MODELS[1:2]},
        {"generationConfig"},
        "a budget of zero is refused, so it is the least one",
    ),
    "effort beyond high": (
        {"reasoning_effort": "xhigh"},
        {"generationConfig", "contents"},
        "LiteLLM refuses; ours is the nearest that the model has",
    ),
    "thinking disabled": (
        {"thinking": {"type": "disabled"}},
        {"generationConfig"},
        "LiteLLM only hides the thoughts, which are billed",
    ),
    "automatic tier": (
        {"service_tier": "auto"},
        {"serviceTier"},
        "LiteLLM asks for the tier that costs more",
    ),
    "resolution": (
        {"messages": [user([SMALL])], "models": NEW},
        {"contents"},
        "a hint, for which a client of Gemini sets media_resolution; LiteLLM means medium by low",
    ),
    "resolution of an older model": (
        {"messages": [user([SMALL])], "models": MODELS[:1]},
        {"generationConfig"},
        "the same",
    ),
    "top logprobs": (
        {"logprobs": True, "top_logprobs": 3},
        {"generationConfig"},
        "LiteLLM does not send how many",
    ),
    "schema of a tool": (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {
            **SCHEMA, "additionalProperties": False, "$defs": {"x": {"enum": [1, 2]}}}}}]},
        {"tools"},
        "LiteLLM rewrites JSON Schema into a part of OpenAPI's, and loses what that cannot say",
    ),
    "name of a tool": (
        {"tools": [{"type": "function", "function": {"name": "a" * 65}}]},
        {"tools"},
        "longer names are refused; ours is the client's again in the answer",
    ),
    "web search": (
        {"web_search_options": {}},
        {"tools", "contents", "not supported"},
        "left to LiteLLM, which takes over",
    ),
    "six stops": (
        {"stop": list("abcdef")},
        {"generationConfig", "contents", "not supported"},
        "refused by Gemini, so the next target is better",
    ),
}  # fmt: skip
"""Case → what differs there, and why."""

_CAMEL: Final = {
    "system_instruction": "systemInstruction", "inline_data": "inlineData", "mime_type": "mimeType",
    "file_data": "fileData", "file_uri": "fileUri", "function_call": "functionCall",
    "function_response": "functionResponse", "function_declarations": "functionDeclarations",
    "allowed_function_names": "allowedFunctionNames", "max_output_tokens": "maxOutputTokens",
    "stop_sequences": "stopSequences", "candidate_count": "candidateCount", "top_p": "topP", "top_k": "topK",
    "response_mime_type": "responseMimeType", "response_json_schema": "responseJsonSchema",
    "presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty",
}  # fmt: skip
"""LiteLLM's spelling of a field → Google's; the API takes both."""


def _camel(value: Json) -> Json:
    if isinstance(value, list):
        return [_camel(one) for one in value]
    if isinstance(value, dict):
        return {_CAMEL.get(name, name): _camel(one) for name, one in value.items()}
    return value


def ours(body: JsonObject) -> JsonObject:
    try:
        return gemini.request(copy.deepcopy(body)).body
    except NotSupported as unsupported:
        return {"not supported": str(unsupported)}


def theirs(body: JsonObject) -> JsonObject:
    params = copy.deepcopy(body)
    model, messages = params.pop("model"), params.pop("messages")
    config = GoogleAIStudioGeminiConfig()
    known = {*config.get_supported_openai_params(model), "top_k", "thinking"}
    if not config.supports_sampling_params(model):
        known -= {"top_k"}
    own = {"safety_settings": params["safety_settings"]} if "safety_settings" in params else {}
    try:
        given = config.map_openai_params({name: params[name] for name in params if name in known}, own, model, True)
        if "top_k" in params and "top_k" in known:
            given["top_k"] = params["top_k"]
        sent = transform_request_body(messages, model, given, "gemini", {}, None)
    except Exception as error:  # noqa: BLE001 - of any type
        return {"refused": str(error)[:80]}
    found: JsonObject = _camel(json.loads(json.dumps(sent)))
    if not found.get("generationConfig"):
        found.pop("generationConfig", None)
    return found


def _without_schemas(sent: JsonObject) -> JsonObject:
    """Return a request without the schemas of its tools, which are never alike."""
    for tools in sent.get("tools", ()):
        for one in tools.get("functionDeclarations", ()):
            one.pop("parameters", None)
            one.pop("parametersJsonSchema", None)
    return sent


def _cases(table: dict[str, Any]) -> list[Any]:
    found = []
    for name, entry in table.items():
        params, *rest = entry if isinstance(entry, tuple) else (entry,)
        for model in params.get("models", MODELS):
            own = {key: value for key, value in params.items() if key != "models"}
            found.append(pytest.param({"model": model, "messages": [user()], **own}, *rest, id=f"{name}-{model}"))
    return found


@pytest.mark.parametrize("body", _cases(SAME))
def test_both_send_the_same(body: JsonObject) -> None:
    assert _without_schemas(copy.deepcopy(ours(body))) == _without_schemas(theirs(body))


@pytest.mark.parametrize(("body", "fields", "why"), _cases(DIFFERENT))
def test_both_differ_as_listed(body: JsonObject, fields: set[str], why: str) -> None:
    mine, their = ours(body), theirs(body)
    differing = {name for name in mine.keys() | their.keys() if mine.get(name) != their.get(name)} - {"refused"}
    assert differing == fields, why


LOGGING: Final[Any] = SimpleNamespace(optional_params={}, model_call_details={}, litellm_params={})
"""What LiteLLM's classes ask of its log of a call."""
IMAGE: Final = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
ANSWERS: Final = {
    "text": said(text("Hel"), text("lo")),
    "calls": said(text("x"), called(city="Rome"), called("time")),
    "call alone": said(called(city="Rome")),
    "thoughts": said(text("hm", thought=True), text("a")),
    "cut": said(text("x"), finish="MAX_TOKENS"),
    "filtered": said(finish="SAFETY"),
    "recited": said(finish="RECITATION"),
    "language": said(finish="LANGUAGE"),
    "unknown": said(text("x"), finish="SOMETHING_NEW"),
    "two": answered(candidate(text("a"), finish="STOP"), candidate(text("b"), finish="STOP", index=1)),
    "cached": {
        **said(text("x")),
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 5, "cachedContentTokenCount": 8,
                          "totalTokenCount": 25},
    },
    "thought of": {
        **said(text("x")),
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 7,
                          "totalTokenCount": 32},
    },
    "thought of, inclusive": {
        **said(text("x")),
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 12, "thoughtsTokenCount": 7,
                          "totalTokenCount": 32},
    },
    "used tools": {
        **said(text("x")),
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 5, "toolUsePromptTokenCount": 9,
                          "totalTokenCount": 34},
    },
    "image": said(text("see"), IMAGE),
    "signed text": said(text("a", thoughtSignature=SIGNATURE)),
}  # fmt: skip


def _read(data: JsonObject) -> JsonObject:
    config: Any = GoogleAIStudioGeminiConfig()

    made = config._transform_google_generate_content_to_openai_model_response(
        completion_response=copy.deepcopy(data), model_response=ModelResponse(), model="gemini-x",
        logging_obj=LOGGING, raw_response=httpx.Response(200),
    )  # fmt: skip
    return answer_data(made)


def _counts(usage: JsonObject | None) -> tuple[Any, ...]:
    usage = usage or {}
    details, more = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return (
        usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens"),
        details.get("cached_tokens") or 0, more.get("reasoning_tokens"),
    )  # fmt: skip


def _made(value: Any) -> Any:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in value or ()]


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS.keys())
def test_both_read_the_same_in_an_answer(data: JsonObject) -> None:
    their, mine = _read(data), read(data)
    assert len(mine["choices"]) == len(their["choices"])
    for said_, says in zip(their["choices"], mine["choices"], strict=True):
        assert (says["finish_reason"], says["index"]) == (said_["finish_reason"], said_["index"])
        for field in ("content", "reasoning_content"):
            assert (says["message"].get(field) or None) == (said_["message"].get(field) or None), field
        assert _made(says["message"].get("tool_calls")) == _made(said_["message"].get("tool_calls"))
        urls = [[one["image_url"]["url"] for one in made["message"].get("images") or ()] for made in (says, said_)]
        assert urls[0] == urls[1]
        signatures = [(made["message"].get("provider_specific_fields") or {}).get("thought_signatures")
                      for made in (says, said_)]  # fmt: skip
        assert signatures[0] == signatures[1]
    assert _counts(mine["usage"]) == _counts(their["usage"])


def test_the_id_of_a_signed_call_is_read_by_both() -> None:
    data = said(called(signature=SIGNATURE))
    [mine], [their] = (one["choices"][0]["message"]["tool_calls"] for one in (read(data), _read(data)))
    assert mine["id"].endswith(f"__thought__{IN_ID}")
    assert their["id"].endswith(f"__thought__{SIGNATURE}")
    for call in (mine, their):
        history = {"model": "gemini-3-pro", "messages": [user(), assistant(None, tool_calls=[call]), tool(call["id"])]}
        assert ours(history)["contents"][1]["parts"][0]["thoughtSignature"] == SIGNATURE


@pytest.mark.parametrize("finish", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"])
def test_a_failed_answer_is_one_for_litellm_and_none_for_us(finish: str) -> None:
    data = said(finish=finish)
    assert _read(data)["choices"][0]["finish_reason"] == "stop"
    with pytest.raises(UpstreamError):
        read(data)


def test_what_was_said_before_a_filter_is_kept_as_in_a_stream() -> None:
    """LiteLLM leaves it out of plain answers only."""
    data = said(text("x"), finish="SAFETY")
    assert _read(data)["choices"][0]["message"]["content"] is None
    assert read(data)["choices"][0]["message"]["content"] == "x"


def test_a_cut_answer_with_a_call_was_cut() -> None:
    """Its call may not be the one that the model would have made; LiteLLM calls it `tool_calls`."""
    data = said(called(city="Rome"), finish="MAX_TOKENS")
    assert _read(data)["choices"][0]["finish_reason"] == "tool_calls"
    assert read(data)["choices"][0]["finish_reason"] == "length"


STREAMS: Final = {
    "text": [piece(text("Hel")), piece(text("lo")), said(text(""))],
    "thoughts": [piece(text("h", thought=True)), piece(text("m", thought=True)), piece(text("a")), said(text(""))],
    "tools": [piece(text("x")), piece(called(city="Rome"), called("time")), said(text(""))],
    "tools at the end": [piece(text("x")), said(called(city="Rome"))],
    "two events of tools": [piece(called(city="Rome")), piece(called("time")), said(text(""))],
    "cut": [piece(text("x")), said(text("y"), finish="MAX_TOKENS")],
    "filtered": [piece(text("x")), {**said(finish="SAFETY"), "candidates": [{"finishReason": "SAFETY", "index": 0}]}],
}


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS.keys())
def test_both_read_the_same_in_a_stream(events: list[JsonObject]) -> None:
    their, mine = chat_sum(_streamed(events)), chat_sum(chunks_of(events))
    assert _counts(mine.pop("usage")) == _counts(their.pop("usage"))
    for found in (mine, their):
        found["calls"] = [call[1:] for call in found["calls"]]
        found["calls"] = [(name, json.loads(arguments)) for name, arguments in found["calls"]]
    assert mine == their


def _streamed(events: list[JsonObject]) -> list[JsonObject]:
    reader: Any = ModelResponseIterator(None, sync_stream=False, logging_obj=LOGGING)
    found = []
    for event in events:
        made = reader.chunk_parser(copy.deepcopy(event)).model_dump()
        for choice in made["choices"]:
            # LiteLLM's wrapper does this: a reason counts only with the upstream's own.
            if not any(one.get("finishReason") for one in event["candidates"]):
                choice["finish_reason"] = None
        found.append(made)
    return found
