"""The first target's stream breaks anywhere: a client gets a whole answer, or an error that its own SDK raises."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any, Final

import anthropic
import openai
import pytest

from tests.wires import breaks
from tests.wires.lab import CLIENT_KEY, SECOND_TEXT, Lab
from tests.wires.media import PIECE_BYTES, PNG, SOUND
from tests.wires.play import TEXT

HELLO: Final[Any] = [{"role": "user", "content": "hello"}]
UNFINISHED: Final = "UNFINISHED"
"""What a reader adds to an answer that has not ended as its wire says, if its SDK raised nothing."""


@dataclass(frozen=True, slots=True)
class Clients:
    """The vendors' clients, without retries of their own: each break is seen once."""

    openai: openai.OpenAI
    anthropic: anthropic.Anthropic


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """One kind of stream, as one client reads it."""

    read: Callable[[Clients, str], Iterator[str]]
    """Ask for a model and yield what is said, and `UNFINISHED` if the end never came."""
    first_content: int
    """Index of the first part with content: before it, a break moves to the second target."""
    whole: str = TEXT
    second: str = SECOND_TEXT
    alias: str = "pair"
    breaks: tuple[str, ...] = breaks.BREAKS
    flows: bool = True
    """The client hands out what has come before the rest is there."""


def _responses(clients: Clients, model: str) -> Iterator[str]:
    ended = False
    for event in clients.openai.responses.create(model=model, input="hello", stream=True):
        if event.type == "response.output_text.delta":
            yield event.delta
        ended = event.type == "response.completed"
    yield "" if ended else UNFINISHED


def _responses_helper(clients: Clients, model: str) -> Iterator[str]:
    with clients.openai.responses.stream(model=model, input="hello") as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                yield event.delta
        stream.get_final_response()


def _messages(clients: Clients, model: str) -> Iterator[str]:
    ended = False
    for event in clients.anthropic.messages.create(model=model, max_tokens=99, messages=HELLO, stream=True):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            yield event.delta.text
        ended = event.type == "message_stop"
    yield "" if ended else UNFINISHED


def _messages_helper(clients: Clients, model: str) -> Iterator[str]:
    """What most programs do: nobody looks whether the end came."""
    with clients.anthropic.messages.stream(model=model, max_tokens=99, messages=HELLO) as stream:
        yield from stream.text_stream


def _chat(clients: Clients, model: str) -> Iterator[str]:
    ended = False
    for chunk in clients.openai.chat.completions.create(model=model, messages=HELLO, stream=True):
        for choice in chunk.choices:
            yield choice.delta.content or ""
            ended = choice.finish_reason is not None
    yield "" if ended else UNFINISHED


def _completions(clients: Clients, model: str) -> Iterator[str]:
    ended = False
    for chunk in clients.openai.completions.create(model=model, prompt="hello", stream=True):
        yield chunk.choices[0].text
        ended = bool(chunk.choices[0].finish_reason)
    yield "" if ended else UNFINISHED


def _transcripts(clients: Clients, model: str) -> Iterator[str]:
    ended = False
    for event in clients.openai.audio.transcriptions.create(model=model, file=("a.mp3", SOUND), stream=True):
        if event.type == "transcript.text.delta":
            yield event.delta
        ended = event.type == "transcript.text.done"
    yield "" if ended else UNFINISHED


def _images(clients: Clients, model: str) -> Iterator[str]:
    ended = False
    for event in clients.openai.images.generate(model=model, prompt="a cat", stream=True, partial_images=2):
        assert base64.b64decode(event.b64_json) == PNG
        yield f"{event.type} "
        ended = event.type == "image_generation.completed"
    yield "" if ended else UNFINISHED


def _image_edits(clients: Clients, model: str) -> Iterator[str]:
    ended = False
    for event in clients.openai.images.edit(
        model=model, image=("a.png", PNG), prompt="a hat", stream=True, partial_images=2
    ):
        yield f"{event.type} "
        ended = event.type == "image_edit.completed"
    yield "" if ended else UNFINISHED


def _speech(clients: Clients, model: str) -> Iterator[str]:
    yield clients.openai.audio.speech.create(model=model, voice="alloy", input="hello").content.hex()


_PICTURES: Final = "image_generation.partial_image image_generation.partial_image image_generation.completed "
_EDITED: Final = _PICTURES.replace("image_generation", "image_edit")
_FIRST: Final = breaks.FIRST_CONTENT
KINDS: Final = {
    "responses": Streamed(read=_responses, first_content=_FIRST["responses"]),
    "responses helper": Streamed(read=_responses_helper, first_content=_FIRST["responses"]),
    "messages": Streamed(read=_messages, first_content=_FIRST["messages"], alias="claude-pair"),
    "messages helper": Streamed(read=_messages_helper, first_content=_FIRST["messages"], alias="claude-pair"),
    "messages on chat": Streamed(read=_messages, first_content=_FIRST["chat"]),
    "responses on chat": Streamed(read=_responses, first_content=_FIRST["chat"], alias="chat-pair"),
    "responses on messages": Streamed(read=_responses, first_content=_FIRST["messages"], alias="claude-pair"),
    "chat on messages": Streamed(read=_chat, first_content=_FIRST["messages"], alias="claude-pair"),
    "chat on gemini": Streamed(read=_chat, first_content=_FIRST["gemini"], alias="gemini-pair"),
    "messages on gemini": Streamed(read=_messages, first_content=_FIRST["gemini"], alias="gemini-pair"),
    "responses on gemini": Streamed(read=_responses, first_content=_FIRST["gemini"], alias="gemini-pair"),
    "messages, then chat": Streamed(read=_messages, first_content=_FIRST["messages"], alias="claude-to-gpt"),
    "responses, then messages": Streamed(read=_responses, first_content=_FIRST["responses"], alias="gpt-to-claude"),
    "chat": Streamed(read=_chat, first_content=_FIRST["chat"]),
    "completions": Streamed(read=_completions, first_content=_FIRST["completions"]),
    "transcriptions": Streamed(read=_transcripts, first_content=0),
    "images": Streamed(read=_images, first_content=0, whole=_PICTURES, second=_PICTURES),
    "image edits": Streamed(read=_image_edits, first_content=0, whole=_EDITED, second=_EDITED),
    "speech": Streamed(
        read=_speech,
        first_content=2**14 // PIECE_BYTES - 1,
        whole=SOUND.hex(),
        second=SOUND.hex(),
        breaks=("cut_after", "cut_inside"),
        flows=False,
    ),
}


@pytest.fixture(scope="module")
def clients(lab: Lab) -> Iterator[Clients]:
    with (
        openai.OpenAI(base_url=f"{lab.gateway_url}/v1", api_key=CLIENT_KEY, max_retries=0) as one,
        anthropic.Anthropic(base_url=lab.gateway_url, api_key=CLIENT_KEY, max_retries=0) as two,
    ):
        yield Clients(one, two)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_break_never_makes_an_answer_look_whole(lab: Lab, clients: Clients, kind: Streamed) -> None:
    lab.first.forget()
    assert "".join(kind.read(clients, f"{kind.alias}-whole")) == kind.whole
    faults = [
        f"{how}={place}: {fault}"
        for how in kind.breaks
        for place in breaks.places(how, lab.first.part_counts["whole"])
        if (fault := _fault(lab, clients, kind, how, place))
    ]
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in KINDS.items() if kind.flows])
def test_what_has_come_is_passed_on_before_the_rest_is_there(lab: Lab, clients: Clients, kind: Streamed) -> None:
    lab.first.forget()
    go_on = Event()
    lab.first.script("slow", stall_after=kind.first_content + 1, go_on=go_on)
    said = ""
    for piece in kind.read(clients, f"{kind.alias}-slow"):
        said += piece
        if said:
            go_on.set()
    assert said == kind.whole


PLAIN: Final[dict[str, Callable[[Clients, str], object]]] = {
    "responses": lambda clients, model: clients.openai.responses.create(model=model, input="hi").output_text,
    "messages": lambda clients, model: (
        clients.anthropic.messages.create(model=f"claude-{model}", max_tokens=9, messages=HELLO).content[0].to_dict()
    ),
    "chat": lambda clients, model: (
        clients.openai.chat.completions.create(model=model, messages=HELLO).choices[0].message.content
    ),
    "completions": lambda clients, model: clients.openai.completions.create(model=model, prompt="hi").choices[0].text,
    "embeddings": lambda clients, model: len(clients.openai.embeddings.create(model=model, input="hi").data),
    "moderations": lambda clients, model: clients.openai.moderations.create(model=model, input="hi").results[0].flagged,
    "images": lambda clients, model: clients.openai.images.generate(model=model, prompt="a cat").created,
    "transcriptions": lambda clients, model: (
        clients.openai.audio.transcriptions.create(model=model, file=("a.mp3", SOUND)).text
    ),
}
"""What a client reads off a plain answer."""


@pytest.mark.parametrize("operation", PLAIN)
def test_a_plain_answer_that_breaks_is_asked_for_elsewhere(lab: Lab, clients: Clients, operation: str) -> None:
    lab.first.forget()
    lab.second.forget()
    lab.first.script("torn", cut_inside=0)
    assert PLAIN[operation](clients, "pair-torn") is not None
    assert (len(lab.first.asked("torn")), len(lab.second.asked("torn"))) == (1, 1)


def _fault(lab: Lab, clients: Clients, kind: Streamed, how: str, place: int) -> str | None:
    """Break the first target's stream at a place; return what is wrong with what the client then saw."""
    model = f"{how}-{place}"
    lab.first.script(model, **{how: place})
    said, error = "", None
    try:
        for piece in kind.read(clients, f"{kind.alias}-{model}"):
            said += piece
    except (openai.APIError, anthropic.APIError) as raised:
        error = str(raised)
    except Exception as raised:  # noqa: BLE001 - any other class is what this looks for
        return f"raised {type(raised).__module__}.{type(raised).__qualname__}: {raised}"
    return breaks.fault(
        said, error, place=place, first_content=kind.first_content, whole=kind.whole, second=kind.second
    )
