"""Answers over 1 MiB: relayed as they came, not decoded whole, and as sound and as free of secrets as short ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import litellm  # noqa: F401 - its warnings must not come in a thread of the gateway
import pytest

from gateway.library.provider import Provider
from tests.raw_http import Peer, Server, serving, whole
from tests.server.conftest import HELLO, Answer, RunningGateway, Start

MIB: Final = 1024 * 1024
KEY: Final = "qv7+Zr/2mKd9_4TbW-8xLsN"
ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 30s}
providers:
  up: {kind: openai, base_url: "URL", api_key: "KEY", wires: [chat, embeddings, images]}
models:
  fast: up/a
  pair: [up/a, up/b]
  hooked: {chain: [up/a], hooks: {post: [HOOKS.note]}}
"""
HOOKS: Final = (
    "def note(reply):\n    reply['length'] = len(reply['choices'][0]['message']['content'])\n    return reply\n"
)


class Upstream:
    """Answers each request with the next of `answers`, in pieces."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.headers = "content-type: application/json\r\n"
        self.url = ""

    async def handle(self, peer: Peer) -> None:
        while True:
            await peer.request()
            body = self.answers.pop(0)
            await peer.send(whole(body, headers=self.headers), by=200_001)


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    async with serving(upstream.handle) as server:
        upstream.url = url(server)
        yield upstream


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/v1"


@pytest.fixture
async def gateway(start: Start, up: Upstream) -> RunningGateway:
    running: RunningGateway = await start(ROUTES.replace("URL", up.url).replace("KEY", KEY), hooks=HOOKS)
    return running


def chat(text: str, *, finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return json.dumps({"id": "c1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


async def ask(gateway: RunningGateway, model: str = "fast", *, path: str = "chat/completions", **more: Any) -> Answer:
    return await gateway.request("POST", f"/v1/{path}", json={"model": model, **(more or {"messages": HELLO})})


TEXT: Final = 'It was a "dark" night;\nthe rain fell. ' * (2 * MIB // 40) + "iVBORw0KGgo" * (MIB // 11)


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_a_long_answer_passes_byte_for_byte_and_its_tokens_are_counted(
    coding: str, gateway: RunningGateway, up: Upstream
) -> None:
    body = chat(TEXT)
    up.answers.append(gzip.compress(body, 1) if coding else body)
    up.headers += f"content-encoding: {coding}\r\n" if coding else ""
    answer = await ask(gateway)
    assert (answer.status, answer.body == body) == (200, True)
    assert await gateway.metric('gateway_tokens_total{alias="fast",direction="prompt",target="up/a"}') == 3


@pytest.mark.parametrize(
    ("path", "asked", "value"),
    [
        ("embeddings", {"input": ["a"] * 100}, {"embedding": [0.01234567] * 3000, "object": "embedding"}),
        ("embeddings", {"input": ["a"] * 100}, {"embedding": "iVBORw0KGgo" * 2000, "object": "embedding"}),
        ("images/generations", {"prompt": "a"}, {"b64_json": "iVBORw0KGgo" * 3000}),
    ],
)
async def test_embeddings_and_images_do_too(
    path: str, asked: dict[str, Any], value: Any, gateway: RunningGateway, up: Upstream
) -> None:
    body = json.dumps({"object": "list", "created": 1, "data": [value] * 100, "usage": {"prompt_tokens": 3}}).encode()
    up.answers.append(body)
    answer = await ask(gateway, path=path, **asked)
    assert (answer.status, answer.body == body) == (200, True), answer.body[:300]


async def test_a_missing_embedding_of_a_long_answer_is_seen(gateway: RunningGateway, up: Upstream) -> None:
    body = json.dumps({"object": "list", "data": [{"embedding": [0.01234567] * 3000}] * 99}).encode()
    up.answers.append(body)
    assert (await ask(gateway, path="embeddings", input=["a"] * 100)).status == 502


@pytest.mark.parametrize(
    "bad",
    [
        chat(TEXT)[:-1],
        chat(TEXT).replace(b"KGgoiV", b"KGgo\xff", 1),
        chat(TEXT).replace(b"KGgoiV", b"KGgo\n", 1),
        chat(TEXT, finish="error"),
        json.dumps({"error": {"message": TEXT, "code": "server_error"}}).encode(),
        b"[" + chat(TEXT) + b"]",
    ],
    ids=["cut", "no UTF-8", "a bare line feed", "failed", "an error", "no object"],
)
async def test_a_long_answer_that_is_none_is_asked_for_elsewhere(
    bad: bytes, gateway: RunningGateway, up: Upstream
) -> None:
    up.answers += [bad, chat("good")]
    answer = await ask(gateway, "pair")
    assert (answer.status, answer.text, answer.headers["x-gateway-attempts"]) == (200, "good", "2")


async def test_hooks_see_all_of_a_long_answer(gateway: RunningGateway, up: Upstream) -> None:
    up.answers.append(chat(TEXT))
    answer = await ask(gateway, "hooked")
    assert (answer.json["length"], answer.text == TEXT) == (len(TEXT), True)


async def test_a_translation_has_all_of_a_long_answer(gateway: RunningGateway, up: Upstream) -> None:
    up.answers.append(chat(TEXT))
    answer = await ask(gateway, path="messages", max_tokens=10, messages=HELLO)
    assert answer.json["content"] == [{"type": "text", "text": TEXT}]


async def test_the_library_has_all_of_a_long_answer(up: Upstream, tmp_path: Any) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES.split("  hooked")[0].replace("URL", up.url).replace("KEY", KEY))
    up.answers.append(chat(TEXT))
    provider = Provider.from_file(tmp_path / "routes.yaml")
    assert (await provider.complete_chat("fast", HELLO))["choices"][0]["message"]["content"] == TEXT


@pytest.mark.parametrize("spelt", [KEY, KEY.replace("+", "\\u002b").replace("/", "\\/")])
@pytest.mark.parametrize("before", [10, MIB // 2, 2 * MIB, *range(200_001 * 8 - 120, 200_001 * 8 - 30, 13)])
async def test_the_key_in_a_long_answer_is_masked_wherever_it_is(
    before: int, spelt: str, gateway: RunningGateway, up: Upstream
) -> None:
    """Also where it begins in one part and ends in the next."""
    up.answers.append(chat("A" * before + "KEY" + "B" * 2 * MIB).replace(b"KEY", spelt.encode()))
    answer = await ask(gateway)
    assert (answer.status, KEY in answer.text, "***" in answer.text) == (200, False, True)
