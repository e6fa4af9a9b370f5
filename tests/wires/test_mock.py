"""A mock answers the vendors' clients on their wires: so a policy can be tried with no upstream at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.wires.lab import Lab, Place
from tests.wires.media import PNG, SOUND

HELLO: Final[Any] = [{"role": "user", "content": "say this again"}]
SAID: Final = "say this again"


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[Place]:
    with Place(lab, direct=False) as place:
        yield place


def test_responses(gateway: Place) -> None:
    client = gateway.openai
    assert client.responses.create(model="echo", input=SAID).output_text == SAID
    with client.responses.stream(model="echo", input=SAID) as stream:
        assert stream.get_final_response().output_text == SAID


def test_messages(gateway: Place) -> None:
    client = gateway.anthropic
    [block] = client.messages.create(model="echo", max_tokens=9, messages=HELLO).content
    assert block.type == "text"
    assert block.text == SAID
    with client.messages.stream(model="echo", max_tokens=9, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == SAID
    assert client.messages.count_tokens(model="echo", messages=HELLO).input_tokens > 0


def test_chat_and_completions(gateway: Place) -> None:
    client = gateway.openai
    assert client.chat.completions.create(model="echo", messages=HELLO).choices[0].message.content == SAID
    assert client.completions.create(model="echo", prompt=SAID).choices[0].text == SAID
    with client.chat.completions.stream(model="echo", messages=HELLO) as stream:
        assert stream.get_final_completion().choices[0].message.content == SAID


def test_counts_and_lists(gateway: Place) -> None:
    assert gateway.openai.responses.input_tokens.count(model="echo", input=SAID).input_tokens > 0
    assert len(gateway.openai.embeddings.create(model="echo", input=["one", "two"]).data) == 2
    moderated = gateway.openai.moderations.create(model="echo", input=["one", "two"])
    assert len(moderated.results) == 2


def test_images(gateway: Place) -> None:
    client = gateway.openai
    assert client.images.generate(model="echo", prompt=SAID).data
    *_, last = client.images.generate(model="echo", prompt=SAID, stream=True)
    assert last.type == "image_generation.completed"


def test_edits_of_images(gateway: Place) -> None:
    assert gateway.openai.images.edit(model="echo", image=("a.png", PNG), prompt=SAID).data


def test_speech(gateway: Place) -> None:
    assert gateway.openai.audio.speech.create(model="echo", voice="alloy", input=SAID).content


def test_transcriptions(gateway: Place) -> None:
    client = gateway.openai
    assert client.audio.transcriptions.create(model="echo", file=("a.mp3", SOUND), prompt=SAID).text == SAID
    *_, last = client.audio.transcriptions.create(model="echo", file=("a.mp3", SOUND), stream=True)
    assert last.type == "transcript.text.done"


def test_rerank(gateway: Place) -> None:
    body = {"model": "echo", "query": "q", "documents": ["a", "b"]}
    answer: Any = gateway.openai.post("/rerank", cast_to=object, body=body)
    assert len(answer["results"]) == 2
