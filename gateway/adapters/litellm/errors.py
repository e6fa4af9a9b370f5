"""Maps exceptions of LiteLLM to UpstreamError: by the HTTP response or socket error first, by message text last.

LiteLLM wraps an upstream's failure two or three times, classifies it by words in its text, and invents statuses. Each
wrapper is raised while the inner exception is handled, so the chain of contexts ends at the original HTTP response or
socket error. Exceptions are recognised by class name, so LiteLLM need not be loaded.
"""

from __future__ import annotations

import ast
import json
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import aiohttp

from gateway.adapters.base import NotSupported
from gateway.adapters.hosts import not_fetched
from gateway.adapters.litellm.bodies import error_in
from gateway.adapters.litellm.translate import headers_back
from gateway.policy.failures import (
    PAUSING,
    Kind,
    LimitName,
    UpstreamError,
    by_text,
    classify,
    envelope,
    error_code,
    error_object,
    failed_by,
    refusal,
    retry_after_s,
    told_headers,
)
from gateway.policy.packages import PACKAGES
from gateway.wire.json import Json, JsonObject
from gateway.wire.local_faults import note_local_fault

_KIND_OF_TYPE: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "Timeout": Kind.TIMEOUT,
        "APITimeoutError": Kind.TIMEOUT,
        "ContextWindowExceededError": Kind.CONTEXT_WINDOW,
        "ContentPolicyViolationError": Kind.CONTENT_FILTER,
        "PaymentRequiredError": Kind.BILLING,
        "BudgetExceededError": Kind.BILLING,
        "UnsupportedParamsError": Kind.BAD_RESPONSE,
        "LiteLLMUnknownProvider": Kind.NOT_FOUND,
        "AuthenticationError": Kind.AUTH,
        "PermissionDeniedError": Kind.AUTH,
        "RateLimitError": Kind.RATE_LIMIT,
        "NotFoundError": Kind.NOT_FOUND,
        "ServiceUnavailableError": Kind.OVERLOADED,
        "BadGatewayError": Kind.SERVER_ERROR,
        "APIResponseValidationError": Kind.BAD_RESPONSE,
        "BadRequestError": Kind.BAD_REQUEST,
        "UnprocessableEntityError": Kind.BAD_REQUEST,
    }
)
"""LiteLLM's and OpenAI's exceptions with one meaning. The others wrap any failure."""

_NO_PROVIDER: Final = "LLM Provider NOT provided"
"""The beginning of LiteLLM's message for an unknown model."""

_READING: Final = frozenset(
    {
        "__anext__", "__stream__", "_parse", "_process_response", "_transform_response", "chunk_creator",
        "chunk_parser", "convert_to_model_response_object", "make_openai_chat_completion_request", "parse",
        "transform_embedding_response", "transform_response",
    }
)  # fmt: skip
"""Functions of LiteLLM and of OpenAI's SDK that read a response: a failure in them is the upstream's."""

_RESPONSES: Final = ("raw_response", "response")
_WHAT_THEY_READ: Final = ("chunk", *_RESPONSES, "response_object")
"""These functions' local variables that hold a body, an event or a response."""

_KINDS_OF_ANSWERS: Final = frozenset({Kind.CONTENT_FILTER, Kind.CONTEXT_WINDOW})
"""What LiteLLM may find in an answer with a good status."""

_UNFIT_REQUEST: Final = (ValueError, TypeError, KeyError, IndexError)
_OF_JSON: Final = (type(None), bool, int, float, str, list, dict)
_LIBRARIES: Final = frozenset({"botocore", "httpx", "httpx2", "litellm", "openai", "pydantic"})
_SENDERS: Final = frozenset({"httpx", "httpx2", "openai"})
"""Packages whose exceptions hold only responses that an upstream sent."""
_NO_CREDENTIALS: Final = frozenset({"CredentialRetrievalError", "NoCredentialsError", "PartialCredentialsError"})
"""Botocore's exceptions for a machine without an AWS account. Nothing was sent."""
_BLOCKED_URL: Final = "SSRFError"
"""LiteLLM's exception for media that a client named by a URL of a private network."""
_STANDARD: Final = frozenset({"ast", "asyncio", "concurrent", "contextlib", "functools", "json", "re", "typing"})
"""Packages of the standard library whose failures are attributed to their caller."""

_PREFIX: Final = re.compile(r"(?:(?:litellm\.)?\w*(?:Exception|Error|Timeout)(?: \w*(?:Error|Timeout))?\s*+[:-]\s++)*+")
"""All of LiteLLM's prefixes before a message, if any."""
_SUFFIX: Final = re.compile(r"\. Handle with `litellm\.\w+`\.$")


def map_error(
    error: Exception,
    *,
    opened: bool,
    handled: BaseException | None = None,
) -> Exception:
    """Return the UpstreamError or NotSupported for what LiteLLM raised, or the exception if no upstream is at fault.

    `opened`: the response's headers had arrived. `handled`: the exception that the caller was handling before the call;
    the chain is read up to it.
    """
    chain = list(_chain(error, handled))
    seen = next((link for link in chain if isinstance(link, UpstreamError | NotSupported)), None)
    if seen is not None:
        return seen
    if not opened and any(_root_module(link) == "litellm" and type(link).__name__ == _BLOCKED_URL for link in chain):
        return not_fetched()
    if any(_root_module(link) == "botocore" and type(link).__name__ in _NO_CREDENTIALS for link in chain):
        return UpstreamError(Kind.AUTH)
    typed = next((kind for link in chain if (kind := _typed(link)) is not None), None)
    read = next((found for link in chain if (found := _read(link)) is not None), None)
    if read:
        return failed_by(read)
    if read is not None and not opened and typed not in _KINDS_OF_ANSWERS:
        return UpstreamError(Kind.BAD_RESPONSE, status=200)
    response = next((found for link in reversed(chain) if (found := _wire_response(link)) is not None), None)
    if response is not None:
        return _from_response(response)
    transport = _transport_kind(chain, opened=opened)
    if transport is not None:
        if not opened:
            note_local_fault(error, doing="connect")
        # LiteLLM's other limits are longer than the engine's.
        limit: LimitName | None = "connect_s" if transport is Kind.TIMEOUT else None
        return UpstreamError(transport, limit=limit)
    cause = next((link for link in chain if isinstance(link, Exception) and not _is_wrapper(link)), None)
    judged = _from_cause(cause, opened=opened) if cause is not None else None
    if typed is not None:
        if isinstance(judged, UpstreamError) and judged.kind is Kind.BAD_RESPONSE:
            return judged
        return _from_message(typed, _status(chain[0]), _message(chain))
    if cause is error and not opened and not _is_of_json(error):
        return error
    said = _error_said(chain)
    if said is None and opened and cause is None:
        said = {"message": _message(chain)}
    if said is not None and (opened or cause is None):
        return failed_by(said)
    return judged or _from_wrapper(chain)


def missing_package(error: Exception, kind: str, *, handled: BaseException | None = None) -> str | None:
    """Return what NotSupported says if LiteLLM could not import a package that it needs for a provider kind."""
    if not any(isinstance(link, ImportError) for link in _chain(error, handled)):
        return None
    package = PACKAGES.get(kind)
    return f"needs {f'the package {package.name}' if package else 'a package'}, which is not installed here"


def error_inside(response: Any) -> UpstreamError | None:
    """Return the failure if the body of a response with a good status is an error; else None."""
    said = error_object(_json(_text_of(response)))
    return None if said is None else failed_by(said)


def _chain(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, outermost first, without `handled`."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        link = queue.pop(0)
        if link is None or link is handled or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        queue.append(getattr(link, "original_exception", None))
        queue.append(link.__cause__ or link.__context__)


def _root_module(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _names(error: BaseException) -> Iterator[str]:
    """Yield the names of an exception's classes from LiteLLM, OpenAI or httpx, most specific first."""
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] in {"litellm", "openai", "httpx", "httpx2"}:
            yield kind.__name__


def _typed(error: BaseException) -> Kind | None:
    """Return the kind that the exception's type stands for; None for a wrapper of any failure."""
    names = list(_names(error)) if _root_module(error) in {"litellm", "openai"} else []
    if "MidStreamFallbackError" in names:
        return None
    return next((_KIND_OF_TYPE[name] for name in names if name in _KIND_OF_TYPE), None)


def _is_wrapper(error: BaseException) -> bool:
    """Tell whether it is an exception of LiteLLM or OpenAI, or a bare one to which LiteLLM added a status."""
    bare = type(error) is Exception and hasattr(error, "status_code")
    return bare or _root_module(error) in {"litellm", "openai"}


def _is_providers(error: BaseException) -> bool:
    """Tell whether one of LiteLLM's provider modules raised this: the exchange had begun."""
    return type(error).__module__.startswith("litellm.llms.")


def _wire_response(error: BaseException) -> Any:
    """Return the HTTP response that an exception holds.

    Those that LiteLLM makes up have neither headers nor a body, and stand in exceptions of its own.
    """
    response: Any = getattr(error, "response", None)
    try:
        holds = _root_module(error) in _SENDERS or bool(response.headers or response.content)
        real = holds and isinstance(response.status_code, int)
    except Exception:  # noqa: BLE001 - it may be any object; an unread body raises too
        return None
    return response if real else None


def _from_response(response: Any) -> UpstreamError:
    """Return the failure for a real response, by the same words as on the relay: LiteLLM also reads echoed prompts."""
    status: int = response.status_code
    if status < 400:
        return UpstreamError(Kind.BAD_RESPONSE, status=status)
    text = _text_of(response)
    headers = {str(name).lower(): str(value) for name, value in response.headers.items()}
    error = refusal(_json(text), text, status)
    kind = classify(status, {"error": error})
    now = time.time()
    wait_s = retry_after_s(headers, now=now, status=status, error=error)
    return UpstreamError(
        kind,
        status=status,
        code=error_code(error),
        retry_after_s=wait_s,
        body=envelope(error, kind),
        headers=told_headers(headers_back(headers), wait_s if kind in PAUSING else None, now=now),
    )


def _read(error: BaseException) -> JsonObject | None:
    """Return the error object, sent with a good status, that LiteLLM was reading when it raised.

    Empty for a response with a good status that is no error: LiteLLM could not read the answer. Read from the frames'
    variables: LiteLLM's exception lacks the error's `type` and has an invented status.
    """
    good = False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module, known = str(frame.f_globals.get("__name__", "")), frame.f_code.co_name in _READING
        if module.partition(".")[0] not in _LIBRARIES or not (known or module.startswith("litellm.llms.")):
            continue
        for name in _WHAT_THEY_READ if known else _RESPONSES:
            body = frame.f_locals.get(name)
            status = getattr(body, "status_code", None)
            is_good = isinstance(status, int) and status < 400
            good = good or is_good
            said = error_in(_json(_text_of(body)) if is_good else body)
            if said is not None:
                return said
    return {} if good else None


def _from_message(kind: Kind, status: int | None, message: str) -> UpstreamError:
    """Return the failure for a message of LiteLLM's own; there is no response."""
    error = _parsed(message) or {"message": message}
    is_unknown = kind is Kind.BAD_REQUEST and message.startswith(_NO_PROVIDER)
    kind = Kind.NOT_FOUND if is_unknown else by_text(kind, message)
    return UpstreamError(kind, status=status, code=error_code(error), body=envelope(error, kind))


def _transport_kind(chain: list[BaseException], *, opened: bool) -> Kind | None:
    """Return the kind of a transport failure: timeout, no connection, or a broken response. None if it is none."""
    names = {name for link in chain for name in _names(link)}
    if "TimeoutException" in names or any(isinstance(link, TimeoutError) for link in chain):
        return Kind.TIMEOUT
    broken = next((link for link in chain if isinstance(link, aiohttp.ClientError | ConnectionError)), None)
    if broken is None and names.isdisjoint({"RequestError", "InvalidURL"}):
        return None
    is_connect_error = isinstance(broken, aiohttp.ClientConnectorError)
    malformed = isinstance(broken, aiohttp.ClientResponseError) and not isinstance(broken, aiohttp.ClientHttpProxyError)
    in_body = opened or malformed or isinstance(broken, aiohttp.ClientPayloadError) or "DecodingError" in names
    return Kind.BAD_RESPONSE if in_body and not is_connect_error else Kind.CONNECTION


def _error_said(chain: list[BaseException]) -> JsonObject | None:
    """Return the error object of a response with a good status, as far as LiteLLM kept it."""
    for link in chain:
        body = getattr(link, "body", None)
        if isinstance(body, dict) and body:
            return error_object(body) or body
        code = getattr(link, "status_code", None)
        message = str(getattr(link, "message", "") or link)
        said = _parsed(message) if _is_providers(link) else None
        if said is not None or isinstance(code, str):
            return {"code": code, **(said or {"message": _without_prefix(message)})}
    return None


def _from_wrapper(chain: list[BaseException]) -> UpstreamError:
    """Return the failure for a wrapper of LiteLLM's with no response and no ordinary exception in its chain."""
    if any(_is_providers(link) for link in chain):
        return UpstreamError(Kind.BAD_RESPONSE, status=200)
    if "APIConnectionError" in _names(chain[0]):
        return UpstreamError(Kind.CONNECTION)
    status, message = _status(chain[0]), _message(chain)
    return _from_message(classify(status or 500), status, message)


def _from_cause(cause: Exception, *, opened: bool) -> Exception:
    """Classify an ordinary exception by where it was raised: while reading a response, or while building a request."""
    frames = [frame for frame, _ in traceback.walk_tb(cause.__traceback__)]
    packages = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in frames]
    culprit = next((name for name in reversed(packages) if name not in _STANDARD), None)
    if culprit not in _LIBRARIES:
        return cause
    if opened or not _READING.isdisjoint(frame.f_code.co_name for frame in frames):
        return UpstreamError(Kind.BAD_RESPONSE, status=200)
    if isinstance(cause, _UNFIT_REQUEST) or type(cause) is Exception or _is_of_json(cause):
        message = f"the request cannot be put into this provider's words ({type(cause).__name__})"
        return UpstreamError(Kind.BAD_REQUEST, body=envelope({"message": message}, Kind.BAD_REQUEST))
    return cause


def _is_of_json(error: Exception) -> bool:
    """Tell whether LiteLLM took a value of the request for one of another type, as in `None.strip()`."""
    return isinstance(error, AttributeError) and type(error.obj) in _OF_JSON


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and not isinstance(status, bool) else None


def _message(chain: list[BaseException]) -> str:
    """Return the upstream's message as LiteLLM passes it on."""
    return _without_prefix(str(getattr(chain[0], "message", None) or chain[0]))


def _without_prefix(message: str) -> str:
    prefix = _PREFIX.match(message)
    return _SUFFIX.sub("", message[prefix.end() :] if prefix else message)


def _parsed(message: str) -> JsonObject | None:
    """Return the error object that a message spells: as JSON, or as the `repr` of a dict or of bytes. None if none."""
    text = message.strip()
    if not text.startswith(("{", "b'", 'b"')):
        return None
    value = _json(text)
    if value is None:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        value = _json(value.decode("utf-8", "replace")) if isinstance(value, bytes) else value
    return error_object(value) or (value if isinstance(value, dict) and value.get("message") else None)


def _text_of(response: Any) -> str:
    try:
        text = response.text
    except Exception:  # noqa: BLE001 - a body that was never read, or in no known encoding
        return ""
    return text if isinstance(text, str) else ""


def _json(text: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
