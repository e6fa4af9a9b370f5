"""From what LiteLLM raises to the kinds of failure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NoReturn

import aiohttp
import httpx
import litellm
import openai
import pydantic
import pytest
from litellm import exceptions
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.litellm.errors import map_error
from gateway.policy.failures import Kind, UpstreamError
from tests.litellm_calls import QUIET, ask, failure, make_call, patched

pytestmark = [pytest.mark.timeout(30), *QUIET]


@pytest.fixture
def adapter() -> LiteLLMAdapter:
    return LiteLLMAdapter(own_process=False)


def response(status: int, body: Any = None, **headers: str) -> Any:
    """Return a response of httpx, whatever the installed OpenAI SDK is typed with: newer ones have a fork of it."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=names, request=httpx.Request("POST", "http://127.0.0.1/"))


REQUEST: Final[Any] = httpx.Request("POST", "http://127.0.0.1/")
WHOSE: Final[dict[str, Any]] = {"llm_provider": "openai", "model": "m"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.Timeout("slow", **WHOSE), Kind.TIMEOUT),
        (exceptions.APIConnectionError("down", **WHOSE), Kind.CONNECTION),
        (exceptions.RateLimitError("slow down", **WHOSE), Kind.RATE_LIMIT),
        (exceptions.AuthenticationError("who", **WHOSE), Kind.AUTH),
        (exceptions.PermissionDeniedError("no", response=response(403), **WHOSE), Kind.AUTH),
        (exceptions.NotFoundError("where", **WHOSE), Kind.NOT_FOUND),
        (exceptions.BadRequestError("what", **WHOSE), Kind.BAD_REQUEST),
        (exceptions.BadRequestError("LLM Provider NOT provided. You passed x", **WHOSE), Kind.NOT_FOUND),
        (exceptions.BadRequestError("'LLM Provider NOT provided' is no role", **WHOSE), Kind.BAD_REQUEST),
        (exceptions.UnprocessableEntityError("what", response=response(422), **WHOSE), Kind.BAD_REQUEST),
        (exceptions.ContextWindowExceededError("long", **WHOSE), Kind.CONTEXT_WINDOW),
        (exceptions.ContentPolicyViolationError("rude", **WHOSE), Kind.CONTENT_FILTER),
        (exceptions.UnsupportedParamsError("unknown", **WHOSE), Kind.BAD_RESPONSE),
        (exceptions.ServiceUnavailableError("busy", **WHOSE), Kind.OVERLOADED),
        (exceptions.BadGatewayError("oops", **WHOSE), Kind.SERVER_ERROR),
        (exceptions.InternalServerError("oops", **WHOSE), Kind.SERVER_ERROR),
        (exceptions.InternalServerError("AnthropicError - Overloaded", **WHOSE), Kind.OVERLOADED),
        (exceptions.APIError(529, "oops", **WHOSE), Kind.OVERLOADED),
        (exceptions.APIError(418, "oops", **WHOSE), Kind.BAD_REQUEST),
        (exceptions.BudgetExceededError(2.0, 1.0), Kind.BILLING),
        (exceptions.APIResponseValidationError("odd", **WHOSE), Kind.BAD_RESPONSE),
        (openai.APITimeoutError(REQUEST), Kind.TIMEOUT),
        (openai.APIConnectionError(request=REQUEST), Kind.CONNECTION),
        (openai.RateLimitError("x", response=response(429, {"error": {"code": "insufficient_quota"}}), body=None),
         Kind.BILLING),
        (httpx.ConnectError("down"), Kind.CONNECTION),
        (httpx.ReadTimeout("slow"), Kind.TIMEOUT),
        (TimeoutError(), Kind.TIMEOUT),
        (ConnectionResetError(), Kind.CONNECTION),
    ],
)  # fmt: skip
async def test_exceptions_have_their_kinds(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: Kind
) -> None:
    patched(monkeypatch, error)
    assert (await failure(adapter, make_call())).kind is kind


def test_http_that_cannot_be_parsed_is_a_bad_response_and_a_proxys_refusal_a_connection() -> None:
    info = aiohttp.RequestInfo(URL("http://127.0.0.1/"), "POST", CIMultiDictProxy(CIMultiDict()))
    for error, kind in (
        (aiohttp.ClientResponseError(info, (), status=400), Kind.BAD_RESPONSE),
        (aiohttp.ClientHttpProxyError(info, (), status=407), Kind.CONNECTION),
    ):
        mapped = map_error(error, opened=False)
        assert isinstance(mapped, UpstreamError)
        assert mapped.kind is kind


async def test_retry_after_and_limits_are_read_from_the_response(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = response(429, {"error": {"message": "slow"}}, retry_after="3", x_ratelimit_limit_requests="9", server="x")
    patched(monkeypatch, exceptions.RateLimitError("x", response=reply, **WHOSE))
    error = await failure(adapter, make_call())
    assert (error.kind, error.status, error.retry_after_s) == (Kind.RATE_LIMIT, 429, 3.0)
    assert error.headers == {"retry-after": "3", "x-ratelimit-limit-requests": "9"}


async def test_litellms_prefixes_go_and_keys_are_masked(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = '{"type": "error", "error": {"type": "invalid_request_error", "message": "key secret-9 or sk-abcdefgh bad"}}'
    patched(monkeypatch, exceptions.BadRequestError(f"AnthropicException - {said}", **WHOSE))
    error = await failure(adapter, make_call(key="secret-9"))  # the engine masks the endpoint's own key
    assert error.body is not None
    assert json.loads(error.body) == {
        "error": {"message": "key secret-9 or *** bad", "type": "invalid_request_error", "param": None, "code": None}
    }
    assert "secret" not in str(error)


@pytest.mark.parametrize("bug", [TypeError("a bug"), AttributeError("a bug"), RuntimeError("a bug"), KeyError("bug")])
async def test_a_bug_surfaces_as_it_is(
    adapter: LiteLLMAdapter, monkeypatch: pytest.MonkeyPatch, bug: Exception
) -> None:
    patched(monkeypatch, bug)
    with pytest.raises(type(bug)) as caught:
        await ask(adapter, make_call())
    assert caught.value is bug


def test_what_a_library_cannot_read_of_an_open_stream_is_a_bad_response() -> None:
    with pytest.raises(ValueError, match="int") as caught:
        pydantic.TypeAdapter(int).validate_python("nonsense")
    mapped = map_error(caught.value, opened=True)
    assert isinstance(mapped, UpstreamError)
    assert mapped.kind is Kind.BAD_RESPONSE
    assert map_error(caught.value, opened=False) is caught.value


def wrapped(outer: Exception, inner: Callable[[], object]) -> Exception:
    """Return `outer` as LiteLLM raises it: while it handles what `inner` raised."""

    def raise_both() -> None:
        try:
            inner()
        except (AttributeError, TypeError, ValueError):
            raise outer  # noqa: B904 - the context is what is tested

    with pytest.raises(type(outer)) as caught:
        raise_both()
    return caught.value


def unreadable() -> object:
    return pydantic.TypeAdapter(int).validate_python("nonsense")


def test_a_made_up_bad_request_over_an_unreadable_event_is_a_bad_response() -> None:
    """LiteLLM answers an event that it cannot read with an error 400 of its own (seen for Ollama and Databricks)."""
    error = wrapped(exceptions.BadRequestError("Got unexpected response", **WHOSE), unreadable)
    mapped = map_error(error, opened=True)
    assert isinstance(mapped, UpstreamError)
    assert mapped.kind is Kind.BAD_RESPONSE
    before = map_error(error, opened=False)
    assert isinstance(before, UpstreamError)
    assert before.kind is Kind.BAD_REQUEST


def test_a_breakage_of_a_librarys_own_surfaces() -> None:
    error = wrapped(exceptions.APIConnectionError("odd", **WHOSE), lambda: litellm.no_such_thing)
    assert isinstance(map_error(error, opened=False), AttributeError)


def test_litellms_reading_of_the_text_does_not_refine_a_response() -> None:
    """It also reads echoed prompts, and the relay would say otherwise."""
    reply = response(400, {"error": {"message": "9 > 8 tokens"}})
    mapped = map_error(exceptions.ContextWindowExceededError("long", response=reply, **WHOSE), opened=False)
    assert isinstance(mapped, UpstreamError)
    assert (mapped.kind, mapped.status) == (Kind.BAD_REQUEST, 400)


def test_a_body_that_was_never_read_is_not_waited_for() -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    reply: Any = httpx.Response(503, headers={"x": "y"}, content=never(), request=REQUEST)
    mapped = map_error(openai.APIStatusError("x", response=reply, body=None), opened=False)
    assert isinstance(mapped, UpstreamError)
    assert mapped.kind is Kind.OVERLOADED
    assert message_of(mapped) == "the upstream answered with status 503"


@pytest.mark.parametrize("text", ["{broken", "{'a': }", "b'{}'", "{'error': {'message': 'said so'}}"])
def test_a_message_that_looks_like_an_object_is_taken_apart_if_it_is_one(text: str) -> None:
    mapped = map_error(exceptions.BadRequestError(f"AnthropicException - {text}", **WHOSE), opened=False)
    assert message_of(mapped) == ("said so" if "said" in text else text)


@pytest.mark.parametrize("opened", [True, False])
def test_a_bug_of_the_hosts_that_litellm_wrapped_surfaces_too(opened: bool) -> None:
    """LiteLLM turns whatever a callback raises into an APIConnectionError with status 500."""

    def callback() -> NoReturn:
        raise TypeError("a bug in a callback")

    error = wrapped(exceptions.APIConnectionError("a bug", **WHOSE), callback)
    surfaced = map_error(error, opened=opened)
    assert type(surfaced) is TypeError


def test_what_the_caller_was_handling_is_not_the_upstreams() -> None:
    before = openai.NotFoundError("another service", response=response(404, {"error": {}}), body=None)

    def call_litellm() -> NoReturn:
        try:
            raise before
        except openai.NotFoundError:
            raise exceptions.APIConnectionError("down", **WHOSE)  # noqa: B904 - the context is what is tested

    with pytest.raises(exceptions.APIConnectionError) as caught:
        call_litellm()
    mapped = map_error(caught.value, opened=False, handled=before)
    assert isinstance(mapped, UpstreamError)
    assert mapped.kind is Kind.CONNECTION


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"detail": [{"loc": ["body"]}]}, Kind.BAD_REQUEST,
         "the upstream answered with status 400"),
        (404, {"message": "no such model"}, Kind.NOT_FOUND, "no such model"),
        (400, {"error": "too bad"}, Kind.BAD_REQUEST, "too bad"),
        (400, {"error": {"message": "API key not valid. Pass a valid one."}}, Kind.AUTH,
         "API key not valid. Pass a valid one."),
        (500, [], Kind.SERVER_ERROR, "the upstream answered with status 500"),
        (200, {}, Kind.BAD_RESPONSE, None),
    ],
)  # fmt: skip
def test_bodies_of_other_shapes_become_envelopes(status: int, body: Any, kind: Kind, message: str | None) -> None:
    error = openai.APIStatusError("x", response=response(status, body), body=None)
    mapped = map_error(error, opened=False)
    assert isinstance(mapped, UpstreamError)
    assert mapped.kind is kind
    assert message is None or message_of(mapped) == message


def test_a_long_message_is_cut() -> None:
    error = openai.APIStatusError("x", response=response(400, {"error": {"message": "a" * 99_999}}), body=None)
    mapped = map_error(error, opened=False)
    assert isinstance(mapped, UpstreamError)
    assert len(mapped.body or b"") < 65_536


def message_of(error: Exception) -> str:
    assert isinstance(error, UpstreamError)
    assert error.body is not None
    message: str = json.loads(error.body)["error"]["message"]
    return message


def test_a_machine_without_an_aws_account_has_no_key() -> None:
    error = pytest.importorskip("botocore.exceptions").NoCredentialsError()
    found = map_error(error, opened=False)
    assert isinstance(found, UpstreamError)
    assert found.kind is Kind.AUTH
