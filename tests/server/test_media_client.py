"""Images and sound as the openai package sees them, wherever the upstream breaks."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from gateway.adapters.relay.byte_stream import HEAD_BYTES
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway

SOUND = bytes(n * 7 % 251 for n in range(4 * HEAD_BYTES))
PNG = b"\x89PNG\r\n\x1a\nscripted\r\n--image"
EVENTS = "text/event-stream"
BROKEN = (openai.APIError, httpx2.HTTPError)


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as client:
        yield client


def told(*events: Any) -> list[bytes]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


IMAGES = told(
    {"type": "image_edit.partial_image", "partial_image_index": 0, "b64_json": "AAAA"},
    {"type": "image_edit.completed", "b64_json": "BBBB", "usage": {"input_tokens": 1, "output_tokens": 2}},
)
TRANSCRIPT = told(
    {"type": "transcript.text.delta", "delta": "one "},
    {"type": "transcript.text.delta", "delta": "two"},
    {"type": "transcript.text.done", "text": "one two"},
)


async def edit(client: openai.AsyncOpenAI) -> list[str]:
    stream = await client.images.edit(model="pair", image=[("a.png", PNG), ("b.png", PNG)], prompt="x", stream=True)
    return [event.type.partition(".")[2] async for event in stream]


async def transcribe(client: openai.AsyncOpenAI) -> list[str]:
    stream = await client.audio.transcriptions.create(model="pair", file=("a.mp3", SOUND), stream=True)
    return [event.type.rpartition(".")[2] async for event in stream]


@pytest.mark.parametrize(
    ("ask", "events", "place"),
    [
        (ask, events, place)
        for ask, events in ((edit, IMAGES), (transcribe, TRANSCRIPT))
        for place in range(len(events) + 1)
    ],
)
async def test_a_stream_is_whole_or_the_client_raises(
    client: openai.AsyncOpenAI, upstream: ScriptedOpenAI, ask: Any, events: list[bytes], place: int
) -> None:
    whole = [event.split(b"\n")[0].decode().rpartition(".")[2] for event in events]
    upstream.script("a", body=b"".join(events[:place]), content_type=EVENTS)
    upstream.script("b", body=b"".join(events), content_type=EVENTS)
    if place in (0, len(events)):
        assert await ask(client) == whole
        assert upstream.calls[-1] == ("a" if place else "b")
    else:
        with pytest.raises(BROKEN):
            await ask(client)


@pytest.mark.parametrize("cut_after", [0, 1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, len(SOUND) - 1, None])
async def test_a_speech_is_whole_or_the_client_raises(
    client: openai.AsyncOpenAI, upstream: ScriptedOpenAI, cut_after: int | None
) -> None:
    upstream.script("a", body=SOUND, content_type="audio/mpeg", cut_after=cut_after)
    upstream.script("b", body=SOUND[::-1], content_type="audio/mpeg")
    try:
        answer = await client.audio.speech.create(model="pair", voice="alloy", input="hello")
    except BROKEN:
        assert cut_after is not None
        assert cut_after >= HEAD_BYTES
    else:
        assert answer.content == (SOUND if cut_after is None else SOUND[::-1])


async def test_moderations_embeddings_and_images(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    picture = base64.b64encode(PNG).decode()
    upstream.script("a", status=503, body={})
    upstream.script("b", body={"results": [{"flagged": False}] * 2, "data": [{"b64_json": picture}], "text": "one"})
    judged = await client.moderations.create(model="pair", input=["a", "b"])
    assert [result.flagged for result in judged.results] == [False, False]
    made = await client.images.generate(model="pair", prompt="a cat")
    edited = await client.images.edit(model="pair", image=("a.png", PNG), prompt="a hat")
    for images in (made, edited):
        assert [base64.b64decode(image.b64_json or "") for image in images.data or ()] == [PNG]
    heard = await client.audio.transcriptions.create(model="pair", file=("a.mp3", SOUND), language="en")
    assert heard.text == "one"
