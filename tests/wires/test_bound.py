"""What holds state at one account goes back there, and nowhere else: as OpenAI's client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import openai
import pytest

from tests.wires.lab import Lab, Place

STREAMED: Final = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@pytest.fixture(scope="module")
def client(lab: Lab) -> Iterator[openai.OpenAI]:
    with Place(lab, direct=False) as place:
        yield place.openai.with_options(max_retries=0)


@pytest.fixture(autouse=True)
def _forget(lab: Lab) -> None:
    lab.first.forget()
    lab.second.forget()


def _made(client: openai.OpenAI, model: str, *, stream: bool, **options: Any) -> Any:
    """Make a response; return it whole."""
    if not stream:
        return client.responses.create(model=model, input="hello", **options)
    *_, last = client.responses.create(model=model, input="hello", stream=True, **options)
    assert last.type == "response.completed"
    return last.response


@STREAMED
def test_a_response_is_read_where_it_was_made(lab: Lab, client: openai.OpenAI, stream: bool) -> None:
    lab.first.script("b", status=503)
    made = _made(client, "pair-b", stream=stream)
    lab.first.forget()
    assert client.responses.retrieve(made.id).output_text == made.output_text
    assert client.responses.input_items.list(made.id).data
    *_, last = client.responses.retrieve(made.id, stream=True)
    assert last.type == "response.completed"
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    assert lab.first.requests == []


@STREAMED
def test_a_conversation_goes_on_where_it_began(lab: Lab, client: openai.OpenAI, stream: bool) -> None:
    lab.first.script("b", status=503)
    made = _made(client, "pair-b", stream=stream)
    lab.first.forget()
    more = _made(client, "pair-b", stream=stream, previous_response_id=made.id)
    assert more.previous_response_id == made.id
    assert lab.first.requests == []


@STREAMED
def test_a_bound_request_does_not_fall_over(lab: Lab, client: openai.OpenAI, stream: bool) -> None:
    made = _made(client, "pair-b", stream=stream)
    lab.first.script("b", status=503)
    with pytest.raises(openai.APIStatusError) as refused:
        _made(client, "pair-b", stream=stream, previous_response_id=made.id)
    assert refused.value.status_code >= 500
    assert lab.second.requests == []


@STREAMED
def test_sealed_reasoning_stays_where_it_was_sealed(lab: Lab, client: openai.OpenAI, stream: bool) -> None:
    """As Codex CLI does: nothing is stored, the reasoning goes back and forth encrypted."""
    options: Any = {"store": False, "include": ["reasoning.encrypted_content"]}
    lab.first.script("b", thinking="let me see").script("b", status=503)
    made = _made(client, "pair-b", stream=stream, **options)
    assert made.output[0].encrypted_content
    asked: Any = [{"role": "user", "content": "hello"}, *(item.to_dict() for item in made.output)]
    with pytest.raises(openai.APIStatusError):
        client.responses.create(model="pair-b", input=asked, **options)
    assert lab.second.requests == []


@STREAMED
def test_ids_that_a_client_made_itself_bind_nothing(lab: Lab, client: openai.OpenAI, stream: bool) -> None:
    """Codex CLI gives each of its own items an `id`."""
    lab.first.script("b", status=503)
    asked: Any = [{"type": "message", "id": "msg_01a2", "role": "user", "content": "hello"}]
    if stream:
        *_, last = client.responses.create(model="pair-b", input=asked, store=False, stream=True)
        assert last.type == "response.completed"
    else:
        assert client.responses.create(model="pair-b", input=asked, store=False).status == "completed"
    assert len(lab.second.requests) == 1


def test_cancelling_goes_to_the_maker(lab: Lab, client: openai.OpenAI) -> None:
    lab.first.script("b", status=503)
    lab.second.script("b", stop="queued")
    made = client.responses.create(model="pair-b", input="hello", background=True)
    lab.first.forget()
    assert client.responses.cancel(made.id).status == "cancelled"
    assert lab.first.requests == []
