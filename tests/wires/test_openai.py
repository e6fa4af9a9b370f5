"""OpenAI's client on its other wires, in its default mode: straight at the upstream, then through the gateway."""

from __future__ import annotations

import base64
from typing import Any, Final

import openai
import pydantic
import pytest

from tests.wires.lab import CLIENT_KEY, Place
from tests.wires.lists import VECTOR
from tests.wires.media import PIECE_BYTES, PNG, SOUND
from tests.wires.play import Tool

HELLO: Final[Any] = [{"role": "user", "content": "hello"}]
WEATHER: Final = Tool("weather", {"city": "Bern", "days": 3})
TOOL: Final[Any] = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class City(pydantic.BaseModel):
    """What `parse` is asked for."""

    name: str
    people: int


def test_chat(place: Place) -> None:
    client = place.openai
    answer = client.chat.completions.create(model=place.model("c-plain"), messages=HELLO)
    assert answer.choices[0].message.content == "one two three"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 12


def test_chat_as_a_stream_with_a_tool_call(place: Place) -> None:
    client = place.openai
    place.upstream.script("c-tool", text="four five", tools=[WEATHER])
    with client.chat.completions.stream(
        model=place.model("c-tool"), messages=HELLO, tools=[TOOL], stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == "four five"
    [call] = final.choices[0].message.tool_calls or []
    assert (call.id, call.function.arguments) == ("call_1", WEATHER.text)
    assert final.usage is not None
    assert final.usage.completion_tokens == 5


def test_chat_parsed(place: Place) -> None:
    client = place.openai
    place.upstream.script("c-parse", text='{"name": "Bern", "people": 137000}')
    answer = client.chat.completions.parse(model=place.model("c-parse"), messages=HELLO, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Bern", people=137000)


async def test_chat_with_the_async_client(place: Place) -> None:
    async with openai.AsyncOpenAI(base_url=f"{place.root_url}/v1", api_key=CLIENT_KEY) as client:
        stream = await client.chat.completions.create(model=place.model("c-async"), messages=HELLO, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "one two three"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_completions(place: Place, stream: bool) -> None:
    client = place.openai
    if stream:
        chunks = client.completions.create(model=place.model("c-text"), prompt="count", stream=True)
        text = "".join(chunk.choices[0].text for chunk in chunks)
    else:
        text = client.completions.create(model=place.model("c-text"), prompt="count").choices[0].text
    assert text == "one two three"


def test_embeddings(place: Place) -> None:
    """The client asks for base64 unless told otherwise."""
    client = place.openai
    answer = client.embeddings.create(model=place.model("e-1"), input=["one", "two"])
    assert [tuple(entry.embedding) for entry in answer.data] == [VECTOR, VECTOR]
    assert place.upstream.asked("e-1")[0].body["encoding_format"] == "base64"


def test_moderations(place: Place) -> None:
    client = place.openai
    answer = client.moderations.create(model=place.model("mod-1"), input=["one", "two"])
    assert [result.flagged for result in answer.results] == [False, False]
    mixed: Any = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert len(client.moderations.create(model=place.model("mod-1"), input=mixed).results) == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_rerank(place: Place, version: str) -> None:
    """No client of OpenAI's has it, but its plain `post` sends what Jina's and Cohere's do.

    The gateway serves both paths alike and asks the upstream below its base URL, which is `/v1` here.
    """
    client = place.openai.with_options(base_url=f"{place.root_url}/{version}")
    body = {"model": place.model("rr-1"), "query": "q", "documents": ["a", "b", "c"], "top_n": 2}
    answer: Any = client.post("/rerank", cast_to=object, body=body)
    assert [result["index"] for result in answer["results"]] == [2, 1]
    asked_at = version if place.direct else "v1"
    assert place.upstream.asked("rr-1")[-1].path == f"/{asked_at}/rerank"
    assert answer["meta" if asked_at == "v2" else "usage"]


def test_making_images(place: Place) -> None:
    client = place.openai
    answer = client.images.generate(model=place.model("i-1"), prompt="a cat", n=2)
    assert [base64.b64decode(image.b64_json or "") for image in answer.data or []] == [PNG, PNG]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 30


def test_making_images_as_a_stream(place: Place) -> None:
    client = place.openai
    seen = list(client.images.generate(model=place.model("i-2"), prompt="a cat", stream=True, partial_images=2))
    kinds = ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.type for event in seen] == kinds


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_editing_images_with_a_form(place: Place, stream: bool) -> None:
    client, name = place.openai, f"i-edit-{stream}"
    files: Any = [("one.png", PNG, "image/png"), ("two.png", PNG[::-1], "image/png")]
    options: Any = {"model": place.model(name), "image": files, "prompt": "a hat", "mask": ("m.png", PNG)}
    if stream:
        seen = list(client.images.edit(**options, stream=True, partial_images=1))
        assert [event.type for event in seen] == ["image_edit.partial_image", "image_edit.completed"]
    else:
        assert len(client.images.edit(**options).data or []) == 1
    [asked] = place.upstream.asked(name)
    assert [(part.filename, part.value) for part in asked.form if part.name == "image[]"] == [
        ("one.png", PNG), ("two.png", PNG[::-1])
    ]  # fmt: skip
    assert asked.field("prompt") == "a hat"


def test_editing_images_with_json(place: Place) -> None:
    client = place.openai
    body = {"model": place.model("i-json"), "prompt": "a hat", "images": [{"image_url": "data:image/png;base64,AA=="}]}
    answer: Any = client.post("/images/edits", cast_to=object, body=body)
    assert len(answer["data"]) == 1
    assert place.upstream.asked("i-json")[0].body["images"] == body["images"]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_variations_of_an_image(place: Place) -> None:
    client = place.openai
    answer = client.images.create_variation(model=place.model("i-var"), image=("one.png", PNG), n=2)
    assert len(answer.data or []) == 2


def test_speech(place: Place) -> None:
    client = place.openai
    with client.audio.speech.with_streaming_response.create(
        model=place.model("s-1"), voice="alloy", input="hello"
    ) as response:
        assert response.headers["content-type"] == "audio/mpeg"
        pieces = list(response.iter_bytes(PIECE_BYTES))
    assert b"".join(pieces) == SOUND
    assert client.audio.speech.create(model=place.model("s-1"), voice="alloy", input="hello").content == SOUND


def test_speech_as_events(place: Place) -> None:
    client = place.openai
    with client.audio.speech.with_streaming_response.create(
        model=place.model("s-2"), voice="alloy", input="hello", stream_format="sse"
    ) as response:
        text = response.read().decode()
    assert text.count("event: speech.audio.delta") == 3
    assert text.count("event: speech.audio.done") == 1


def test_transcriptions(place: Place) -> None:
    client = place.openai
    file = ("a.mp3", SOUND, "audio/mpeg")
    plain = client.audio.transcriptions.create(model=place.model("t-1"), file=file, language="en")
    assert plain.text == "one two three"
    text: Any = client.audio.transcriptions.create(model=place.model("t-1"), file=file, response_format="text")
    assert text == "one two three\n"
    verbose = client.audio.transcriptions.create(model=place.model("t-1"), file=file, response_format="verbose_json")
    assert verbose.segments is not None
    for asked in place.upstream.asked("t-1"):
        [sound] = [part for part in asked.form if part.name == "file"]
        assert (sound.filename, sound.content_type, sound.value) == ("a.mp3", "audio/mpeg", SOUND)


def test_transcriptions_as_events(place: Place) -> None:
    client = place.openai
    seen = list(client.audio.transcriptions.create(model=place.model("t-2"), file=("a.mp3", SOUND), stream=True))
    deltas = [event.delta for event in seen if event.type == "transcript.text.delta"]
    assert deltas == ["one ", "two ", "three"]
    assert seen[-1].type == "transcript.text.done"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translations(place: Place) -> None:
    client = place.openai
    answer = client.audio.translations.create(model=place.model("t-3"), file=("a.mp3", SOUND))
    assert answer.text == "one two three"
    assert place.upstream.asked("t-3")[0].path == "/v1/audio/translations"


def test_the_models(place: Place) -> None:
    assert all(model.object == "model" for model in place.openai.models.list())
