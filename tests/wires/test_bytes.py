"""A relayed stream reaches the client as the bytes that the upstream sent, with all that no SDK of today knows."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest

from tests.wires import chat, messages, response_events, responses
from tests.wires.lab import CLIENT_KEY, Lab
from tests.wires.play import Play, WireRequest, data_event, named_event

HELLO: Final = [{"role": "user", "content": "hello"}]
_AT: Final = {"index": 0}
_BLOCKS: Final[list[tuple[dict[str, Any], list[dict[str, Any]]]]] = [
    ({"type": "thinking", "thinking": "", "signature": ""}, [{"type": "thinking_delta", "thinking": "hm"}]),
    ({"type": "redacted_thinking", "data": "c2VhbGVk"}, []),
    (
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        [{"type": "input_json_delta", "partial_json": '{"query": "x"}'}],
    ),
    ({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}, []),
    (
        {"type": "text", "text": "", "citations": []},
        [
            {"type": "text_delta", "text": "said"},
            {"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "x"}},
        ],
    ),
    ({"type": "of_tomorrow", "what": "?"}, [{"type": "of_tomorrow_delta", "more": "!"}]),
]
"""Content blocks and their deltas, one that nobody knows yet among them."""


def _asked(path: str) -> WireRequest:
    body = {"model": "bytes", "stream_options": {"include_usage": True}, "stream": True}
    return WireRequest(method="POST", path=path, query={}, headers={}, raw=b"", body=body, form=())


def _message_parts() -> list[bytes]:
    start, *_, delta, stop = messages.events(messages.message(_asked("/v1/messages"), Play()))
    told: list[dict[str, Any]] = [start, {"type": "ping"}]
    for index, (block, deltas) in enumerate(_BLOCKS):
        told.append({"type": "content_block_start", "index": index, "content_block": block})
        told += [{"type": "content_block_delta", "index": index, "delta": part} for part in deltas]
        told.append({"type": "content_block_stop", "index": index})
    told += [{"type": "note_of_tomorrow", "text": "?"}, {"type": "ping"}, delta, stop]
    return list(map(named_event, told))


def _response_parts() -> list[bytes]:
    told = response_events.every_event(responses.response(_asked("/v1/responses"), Play()))
    unknown = {"type": "response.of_tomorrow.delta", "delta": "?", "sequence_number": len(told)}
    return list(map(named_event, [*told[:-1], unknown, told[-1]]))


def _chat_parts() -> list[bytes]:
    answer = chat.chat(_asked("/v1/chat/completions"), Play(thinking="hm"))
    assert answer.parts is not None
    unknown = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "obfuscation": "padding"}
    return [b": a comment\n\n", answer.parts[0], data_event(unknown), *answer.parts[1:]]


STREAMS: Final[dict[str, tuple[str, str, dict[str, Any], list[bytes]]]] = {
    "chat": ("/v1/chat/completions", "one-bytes", {"messages": HELLO}, _chat_parts()),
    "responses": ("/v1/responses", "one-bytes", {"input": "hello"}, _response_parts()),
    "messages": ("/v1/messages", "claude-one-bytes", {"messages": HELLO, "max_tokens": 9}, _message_parts()),
}
"""By operation: path, alias, request, and what the upstream sends."""


@pytest.mark.parametrize("operation", STREAMS)
def test_a_stream_is_passed_on_as_it_came(lab: Lab, operation: str) -> None:
    path, alias, body, parts = STREAMS[operation]
    lab.first.forget()
    lab.first.script("bytes", parts=parts)
    options = {"stream_options": {"include_usage": True}} if operation == "chat" else {}
    data = json.dumps({**body, **options, "model": alias, "stream": True}).encode()
    headers = {"content-type": "application/json", "x-api-key": CLIENT_KEY}
    request = Request(lab.gateway_url + path, data=data, headers=headers)  # noqa: S310 - the loopback
    with urlopen(request, timeout=5) as response:  # noqa: S310 - the same
        heard = response.read()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert [part for part in parts if part not in heard] == []
    assert heard.replace(b": a comment\n\n", b"") == b"".join(part for part in parts if not part.startswith(b":"))
