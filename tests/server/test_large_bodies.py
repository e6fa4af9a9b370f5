"""Bodies over 1 MiB: read by their top level, relayed as they are, decoded within a bound where that is needed."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import time
import zlib
from pathlib import Path
from typing import Any, Final

import litellm  # noqa: F401 - its warnings must not come in a thread of the gateway
import pytest

from tests.raw_http import answering, serving, whole
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, until
from tests.server.test_process import running

MIB: Final = 1024 * 1024
CHAT: Final = "/v1/chat/completions"
JSON: Final = {"content-type": "application/json"}

ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 60s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  claude: {kind: anthropic, base_url: "BASE_URL", api_key: sk-upstream}
models:
  fast: up/a
  tuned: {chain: [{target: up/a, params: {temperature: 0, user: null}}]}
  echo: mock/echo
  other: [claude/b, up/a]
  translated: claude/b
  hooked: {chain: [up/a], hooks: {pre: [HOOKS.note]}}
"""
HOOKS: Final = "def note(params):\n    params['messages'][0]['content'] = 'changed'\n    return params\n"


def body(content: bytes, *, model: str = "fast", more: bytes = b"") -> bytes:
    return b'{"model":"%b","messages":[{"role":"user","content":%b}]%b}' % (model.encode(), content, more)


def text(size: int) -> bytes:
    return b'"%b"' % (b"x" * size)


BIG: Final = text(2 * MIB)
SMALL_VALUES: Final = b"[%b0]" % (b"[]," * (2 * MIB // 3))


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES, hooks=HOOKS, max_parsed_body_bytes=MIB)
    return started


async def post(gateway: RunningGateway, data: Any, **options: Any) -> Any:
    return await gateway.request("POST", CHAT, data=io.BytesIO(data), **{"headers": JSON, **options})


@pytest.mark.parametrize("content", [BIG, SMALL_VALUES, b'["%b"]' % (rb"\ud83d" * (MIB // 4)), b"[" * MIB + b"]" * MIB])
async def test_a_large_body_is_relayed_as_it_is_with_the_targets_model(
    content: bytes, gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await post(gateway, body(content, more=b',"n":1,"api_key":"sk-own","stream":false'))
    assert answer.status == 200, answer.body
    assert upstream.requests[0].raw == body(content, model="a", more=b',"n":1')


async def test_the_files_params_and_the_last_of_equal_fields_count(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    more = b',"temperature":1,"user":"me","mo\\u0064el":"tuned","messages":[{"role":"user","content":"last"}]'
    answer = await post(gateway, body(BIG, more=more))
    assert answer.status == 200
    sent = upstream.requests[0].body
    assert sent == {"model": "a", "messages": [{"role": "user", "content": "last"}], "temperature": 0}


async def test_a_large_body_is_streamed_and_its_stream_options_are_read(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=["one ", "two"], usage={"prompt_tokens": 3, "completion_tokens": 2})
    more = b',"stream_options":{"include_usage":true},"stream":true'
    answer = await post(gateway, body(BIG, more=more))
    assert answer.status == 200
    assert answer.events[-1] == "[DONE]"
    assert answer.events[-2]["usage"]["prompt_tokens"] == 3
    assert upstream.requests[0].raw.endswith(b',"stream_options":{"include_usage":true},"stream":true}')


async def test_a_large_body_falls_over_whole(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(ROUTES.replace("fast: up/a", "fast: [up/down, up/a]"), hooks=HOOKS)
    upstream.script("down", status=500)
    assert (await post(gateway, body(BIG))).status == 200
    assert [len(request.raw) for request in upstream.requests] == [len(body(BIG)) + 0, len(body(BIG)) - 3]


@pytest.mark.parametrize(
    ("data", "status", "param"),
    [
        (body(BIG)[:-1], 400, None),
        (body(BIG) + b"}", 400, None),
        (b"[%b]" % BIG, 400, None),
        (body(BIG).replace(b"xxx", b"\xff\xff\xff", 1), 400, None),
        (b'{"messages":[%b]}' % BIG, 400, "model"),
        (b'{"model":7,"messages":[%b]}' % BIG, 400, "model"),
        (b'{"model":%b,"messages":[1]}' % BIG, 404, "model"),
        (b'{"model":"fast","messages":%b}' % BIG, 400, "messages"),
        (b'{"model":"fast","messages":[],"x":%b}' % BIG, 400, "messages"),
        (body(BIG, more=b',"stream":"yes"'), 400, "stream"),
        (body(BIG, more=b',"stream_options":[%b]' % text(9000)), 400, "stream_options"),
        (body(BIG, model="nobody"), 404, "model"),
        (b"{%b}" % b",".join(b'"f%d":1' % number for number in range(200_000)), 400, None),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_large_body_is_told(
    data: bytes, status: int, param: str | None, gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await post(gateway, data)
    assert (answer.status, answer.error["param"], upstream.calls) == (status, param, [])
    assert len(answer.body) < 1000


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/v1/completions", b"prompt", BIG),
        ("/v1/completions", b"prompt", b"[%b]" % BIG),
        ("/v1/completions", b"prompt", b"[%b1]" % (b"1234," * (MIB // 4))),
        ("/v1/embeddings", b"input", BIG),
        ("/v1/embeddings", b"input", b"[%b]" % BIG),
    ],
)
async def test_other_operations_take_large_bodies(
    path: str, field: bytes, value: bytes, gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    data = b'{"model":"fast","%b":%b}' % (field, value)
    answer = await gateway.request("POST", path, data=io.BytesIO(data), headers=JSON)
    assert answer.status == 200, answer.body
    assert upstream.requests[0].raw == data.replace(b'"fast"', b'"a"')
    refused = await gateway.request(
        "POST", path, data=io.BytesIO(b'{"model":"fast","%b":{"a":%b}}' % (field, value)), headers=JSON
    )
    assert (refused.status, refused.error["param"]) == (400, field.decode())


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, about LiteLLM
async def test_hooks_mocks_and_translations_get_a_large_text_whole(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    """A text over 64 KiB, such as an image, is not counted."""
    answer = await post(gateway, body(BIG, model="hooked"))
    assert (answer.status, upstream.requests[0].body["messages"][0]["content"]) == (200, "changed")
    answer = await post(gateway, body(BIG, model="echo"))
    assert (answer.status, len(answer.text)) == (200, 2 * MIB)
    upstream.script("b", status=500)
    answer = await post(gateway, body(BIG, model="other", more=b',"max_tokens":5'))
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/a")
    assert answer.headers["x-gateway-attempts"] == "2"


@pytest.mark.parametrize("model", ["hooked", "echo", "translated"])
async def test_what_is_too_large_to_be_decoded_is_a_413_that_names_the_flag(
    model: str, gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await post(gateway, body(SMALL_VALUES, model=model))
    assert (answer.status, answer.error["code"], upstream.calls) == (413, "body_too_large", [])
    assert "larger than 1MiB, --max-parsed-body" in answer.error["message"]
    assert answer.headers["x-should-retry"] == "false"


async def test_a_target_that_can_take_it_as_it_is_is_asked_instead(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await post(gateway, body(SMALL_VALUES, model="other"))
    assert (answer.status, answer.headers["x-gateway-target"], upstream.calls) == (200, "up/a", ["a"])


async def test_a_long_value_that_is_not_json_is_a_400_where_it_is_decoded(gateway: RunningGateway) -> None:
    for model in ("hooked", "echo"):
        answer = await post(gateway, body(BIG, model=model, more=b',"tools":[%b 1 2]' % (b"1," * 5000)))
        assert (answer.status, "not JSON" in answer.error["message"]) == (400, True)


async def test_small_bodies_are_answered_beside_large_ones(start: Start, upstream: ScriptedOpenAI) -> None:
    """The whole of this process stands still for no second; before, one such body took it for several."""
    gateway = await start(ROUTES, hooks=HOOKS)
    data = body(b"[%b0]" % (b"[]," * (8 * MIB // 3)))
    stops: list[float] = []

    async def watch() -> None:
        while True:
            before_s = time.thread_time()
            await asyncio.sleep(0)
            stops.append(time.thread_time() - before_s)

    upstream.script("a", reply="small")
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        large = group.create_task(post(gateway, data.replace(b'"fast"', b'"nobody"')))
        answers = [await gateway.chat("fast") for _ in range(5)]
        assert (await large).status == 404
        watching.cancel()
    assert {answer.status for answer in answers} == {200}
    assert max(stops) < 0.25


async def test_memory_stays_within_twice_the_body(tmp_path: Path) -> None:
    size = 16 * MIB
    data = body(b"[%b0]" % (b"[]," * (size // 3)))

    def peak_bytes(pid: int) -> int:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    config = tmp_path / "routes.yaml"
    async with serving(answering(whole(b'{"error":{"message":"no"}}', status="400 Bad Request"))) as upstream:
        config.write_text(
            "version: 1\ndefaults: {timeout: 60s}\nmodels: {fast: up/a}\nproviders:\n"
            f"  up: {{kind: openai, base_url: 'http://127.0.0.1:{upstream.port}/v1', api_key: k}}\n"
        )
        async with running(config) as server:
            assert await server.get("/healthz") == 200
            before = peak_bytes(server.process.pid)
            for _ in range(3):
                async with server.session.post(server.url + CHAT, data=io.BytesIO(data), headers=JSON) as response:
                    assert (response.status, response.headers["x-gateway-target"]) == (400, "up/a")
            assert upstream.requests[0].endswith(b"[],0]}]}")
            assert peak_bytes(server.process.pid) - before < 2 * size


# Bytes in flight


def held(gateway: RunningGateway) -> int:
    return gateway.parts.bodies_in_flight.held_bytes


async def send_part(gateway: RunningGateway, length: int, *, chunked: bool = False) -> asyncio.StreamWriter:
    """Open a connection and send the head of a body of this length, and a byte of it."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % length
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n%b\r\n\r\n"
        % framing
    )
    writer.write(b"%x\r\n%b\r\n" % (length, b"{" * length) if chunked else b"{")
    await writer.drain()
    return writer


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "chunked"])
async def test_bodies_beyond_the_limit_get_503_and_small_ones_never(
    start: Start, upstream: ScriptedOpenAI, *, chunked: bool
) -> None:
    gateway = await start(ROUTES, hooks=HOOKS, max_body_in_flight_bytes=8 * MIB)
    writer = await send_part(gateway, 5 * MIB, chunked=chunked)
    await until(lambda: held(gateway) == 5 * MIB)

    # Two MiB would leave less than the quarter that is kept for bodies up to 1 MiB.
    refused = await post(gateway, body(BIG))
    assert (refused.status, refused.error["code"]) == (503, "too_many_bodies")
    assert refused.headers["retry-after"] == "1"
    assert "--max-body-in-flight" in refused.error["message"]
    assert (await post(gateway, gzip.compress(body(BIG)), headers={**JSON, "content-encoding": "gzip"})).status == 503
    assert (await post(gateway, body(text(900_000)))).status == 200
    assert (await gateway.chat("fast")).status == 200

    writer.close()
    await until(lambda: not held(gateway))
    assert (await post(gateway, body(BIG))).status == 200
    assert held(gateway) == 0


async def test_one_body_alone_is_always_taken(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(ROUTES, hooks=HOOKS, max_body_in_flight_bytes=MIB)
    for data in (body(BIG), gzip.compress(body(BIG))):
        coding = {} if data[:1] == b"{" else {"content-encoding": "gzip"}
        assert (await post(gateway, data, headers={**JSON, **coding})).status == 200
    assert held(gateway) == 0


async def test_a_refused_body_leaves_its_connection_usable(start: Start) -> None:
    gateway = await start(ROUTES, hooks=HOOKS, max_body_in_flight_bytes=2 * MIB)
    blocking = await send_part(gateway, MIB)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    data = body(BIG)
    writer.write(head + b"content-length: %d\r\n\r\n" % len(data) + data)
    small = body(b'"hello"', model="nobody")
    writer.write(head + b"content-length: %d\r\n\r\n" % len(small) + small)
    for status in (b"503", b"404"):
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.split()[1] == status
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert json.loads(await reader.readexactly(length))["error"]
    blocking.close()
    writer.close()


# Content codings


async def test_a_bomb_is_refused_as_it_unpacks(gateway: RunningGateway) -> None:
    """1 GB in 1 MB: no more of it is unpacked than --max-body."""
    pack = zlib.compressobj(wbits=31)
    head = pack.compress(b" ") + pack.flush(zlib.Z_FULL_FLUSH)
    bomb = head + (pack.compress(b" " * 16 * MIB) + pack.flush(zlib.Z_FULL_FLUSH)) * 64
    before_s = time.thread_time()
    answer = await post(gateway, bomb, headers={**JSON, "content-encoding": "gzip"})
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert time.thread_time() - before_s < 1.5


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-gzip"])
async def test_a_packed_body_is_unpacked(coding: str, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    packed = zlib.compress(body(BIG)) if coding == "deflate" else gzip.compress(body(BIG))
    answer = await post(gateway, packed, headers={**JSON, "content-encoding": coding})
    assert (answer.status, upstream.requests[0].raw) == (200, body(BIG, model="a"))
    cut = await post(gateway, packed[:-20], headers={**JSON, "content-encoding": coding})
    assert (cut.status, cut.error["code"]) == (400, "bad_request")


async def test_an_unknown_coding_is_a_415_that_says_which_are_known(gateway: RunningGateway) -> None:
    answer = await post(gateway, b"...", headers={**JSON, "content-encoding": "br"})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_content_encoding")
    assert answer.headers["accept-encoding"] == "gzip, deflate"
