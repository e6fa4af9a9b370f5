"""Odd responses with an error: the same failure kind behind LiteLLM as on the relay, so the chain goes on alike."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Final

import litellm  # noqa: F401 - its import may warn, which is an error in the loading thread
import pytest
import pytest_asyncio

from gateway.adapters.base import Adapter, Call
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.policy.failures import Kind, UpstreamError
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import make_call
from tests.relay_calls import a_call
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    # LiteLLM drops clients without closing them.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    *QUIET,
]

_ERROR: Final = json.dumps({"error": {"message": "m", "type": "t", "param": None, "code": None}}).encode()
_LONG: Final = json.dumps({"error": {"message": "m" * 70_000, "type": "t", "param": None, "code": None}}).encode()
_BAD_GZIP: Final = gzip.compress(_ERROR)[:-12] + b"\0" * 12


def _response(status: int, body: bytes = b"", headers: str = "", *, length: bool = True) -> bytes:
    sized = f"content-length: {len(body)}\r\n" if length else ""
    return f"HTTP/1.1 {status} Odd\r\n{headers}{sized}\r\n".encode() + body


def _bare(status: int) -> bytes:
    return f"HTTP/1.1 {status} Odd\r\n\r\n".encode()


_SEEN: Final = {
    400: Kind.BAD_REQUEST, 401: Kind.AUTH, 402: Kind.BILLING, 403: Kind.AUTH, 404: Kind.NOT_FOUND,
    405: Kind.BAD_REQUEST, 408: Kind.TIMEOUT, 409: Kind.SERVER_ERROR, 410: Kind.NOT_FOUND, 413: Kind.BAD_REQUEST,
    418: Kind.BAD_REQUEST, 422: Kind.BAD_REQUEST, 424: Kind.SERVER_ERROR, 425: Kind.SERVER_ERROR,
    429: Kind.RATE_LIMIT, 451: Kind.BAD_REQUEST, 498: Kind.SERVER_ERROR, 499: Kind.SERVER_ERROR,
    500: Kind.SERVER_ERROR, 501: Kind.SERVER_ERROR, 502: Kind.SERVER_ERROR, 503: Kind.OVERLOADED, 504: Kind.TIMEOUT,
    507: Kind.SERVER_ERROR, 520: Kind.SERVER_ERROR, 529: Kind.OVERLOADED, 599: Kind.SERVER_ERROR,
    600: Kind.SERVER_ERROR, 777: Kind.SERVER_ERROR, 999: Kind.SERVER_ERROR,
}  # fmt: skip
_NO_ANSWER: Final = (102, 103, 199, 201, 204, 205, 206, 226, 299, 300, 301, 302, 303, 304, 307, 308, 399)
_MALFORMED: Final = (b"000", b"099", b"1000", b"2x0", b"-50")

CASES: Final = {
    **{f"{status} with nothing at all": (_bare(status), kind) for status, kind in _SEEN.items()},
    **{f"{status} with an empty body": (_response(status), kind) for status, kind in _SEEN.items()},
    **{f"{status} with an error": (_response(status, _ERROR), kind) for status, kind in _SEEN.items()},
    **{
        f"{status} with a long error": (_response(status, _LONG), _SEEN[status]) for status in (400, 429, 500, 529, 599)
    },
    **{
        f"{status} with broken gzip": (_response(status, _BAD_GZIP, "content-encoding: gzip\r\n"), _SEEN[status])
        for status in (400, 429, 500, 529, 599)
    },
    **{
        f"{status} in an unknown coding": (_response(status, _ERROR, "content-encoding: br9\r\n"), _SEEN[status])
        for status in (429, 500, 529)
    },
    **{f"{status} cut off": (_response(status, _ERROR)[:-9], _SEEN[status]) for status in (429, 500, 529)},
    **{f"{status}, nothing after it": (_bare(status), None) for status in _NO_ANSWER},
    **{f"{status} with a body": (_response(status, _ERROR), None) for status in (300, 302, 399)},
    **{f"status {text.decode()}": (b"HTTP/1.1 " + text + b" Odd\r\n\r\n", None) for text in _MALFORMED},
    "nothing": (b"", Kind.CONNECTION),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", None),
}
"""A response's bytes, and its kind; None for `bad_response` or `connection`: whatever is no answer moves on."""
LITELLM_KINDS: Final = (
    "openai",
    "groq",
    "hosted_vllm",
    "mistral",
    "perplexity",
    "anthropic",
    "cohere_chat",
    "ollama_chat",
)
"""Providers of different classes in LiteLLM: OpenAI's SDK, its own HTTP handler, its own wires."""
_MOVES_ON: Final = {Kind.BAD_RESPONSE, Kind.CONNECTION}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def relay() -> AsyncIterator[RelayAdapter]:
    adapter = RelayAdapter()
    yield adapter
    await adapter.close()


async def _kind(adapter: Adapter, call: Call, *, stream: bool) -> Kind:
    try:
        if not stream:
            await adapter.complete(call)
        elif not await data_of(await adapter.stream(call)):
            return Kind.BAD_RESPONSE  # the engine's verdict on a stream without an event
    except UpstreamError as error:
        return error.kind
    pytest.fail("this is no answer")


@pytest.mark.parametrize("name", CASES)
async def test_an_odd_response_is_the_same_kind_on_both_adapters(
    adapter: LiteLLMAdapter, relay: RelayAdapter, openai: ScriptedOpenAI, name: str
) -> None:
    wire, kind = CASES[name]
    openai.script("a", wire=wire)
    found = {}
    for stream in (False, True):
        found["relay", stream] = await _kind(relay, a_call(openai.base_url), stream=stream)
        for provider in LITELLM_KINDS:
            call = make_call(openai, provider, "a")
            found[provider, stream] = await _kind(adapter, call, stream=stream)
    wrong = {who: str(one) for who, one in found.items() if (one not in _MOVES_ON if kind is None else one is not kind)}
    assert not wrong
