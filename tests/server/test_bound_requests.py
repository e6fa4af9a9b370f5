"""Requests that hold what one account alone has go to that account, and to no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import litellm  # noqa: F401 - here, where its warnings are no errors: gateways load it in a thread
import openai
import pytest

from tests.keeping_responses import ENCRYPTED, KeepingResponses
from tests.server.conftest import Client, RunningGateway, Start, read_until_broken

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 1, within: 30s, for: 30s}}
providers:
  one: {kind: openai, base_url: "BASE_URL/one/v1", api_key: sk-one}
  two: {kind: openai, base_url: "BASE_URL/two/v1", api_key: sk-two}
  claude-one: {kind: anthropic, base_url: "BASE_URL/one", api_key: sk-one}
  claude-two: {kind: anthropic, base_url: "BASE_URL/two", api_key: sk-two}
models:
  pair: [one/a, two/b]
  other: two/c
  retried: {retries: 2, chain: [one/a, two/b]}
  demo: [mock/echo, two/b]
  claude: [claude-one/a, claude-two/b]
"""

KEYS = "alice sk-alice\nbob sk-bob\n"


@pytest.fixture
async def server() -> AsyncIterator[KeepingResponses]:
    async with KeepingResponses() as server:
        yield server


@pytest.fixture
async def gateway(start: Start, server: KeepingResponses, tmp_path: Path) -> RunningGateway:
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    running: RunningGateway = await start(ROUTES.replace("BASE_URL", server.url), client_keys_file=keys)
    return running


async def made_by_second(client: openai.AsyncOpenAI, server: KeepingResponses) -> Any:
    """Return a response of the second target, which the first one's failure led to; the first is in cooldown then."""
    server["one"].status = 503
    response = await client.responses.create(model="pair", input="hi")
    server["one"].status = None
    assert response.output_text == "from two"
    server.calls.clear()
    return response


def made(server: KeepingResponses) -> list[str]:
    """Return the accounts that were called since."""
    return [call.partition(" ")[0] for call in server.calls]


async def reset(gateway: RunningGateway) -> None:
    gateway.parts._health.reset("one/a")


async def test_a_response_is_continued_by_its_maker_though_another_target_comes_first(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    first = await made_by_second(alice, server)
    await reset(gateway)
    second = await alice.responses.create(model="pair", input="and?", previous_response_id=first.id)
    assert (second.output_text, made(server)) == ("from two", ["two"])
    free = await alice.responses.create(model="pair", input="hi")
    assert free.output_text == "from one"


async def test_a_streamed_response_is_continued_by_its_maker(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    server["one"].status = 503
    async with alice.responses.stream(model="pair", input="hi") as stream:
        first = await stream.get_final_response()
    server["one"].status = None
    await reset(gateway)
    async with alice.responses.stream(model="pair", input="and?", previous_response_id=first.id) as stream:
        assert (await stream.get_final_response()).output_text == "from two"


@pytest.mark.parametrize(
    "state",
    [
        {"previous_response_id": "resp_two_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"input": [{"type": "item_reference", "id": "msg_two_1"}]},
        {"input": [{"id": "rs_two_1"}]},
        {"input": [{"type": "reasoning", "id": "rs_x", "summary": [], "encrypted_content": ENCRYPTED.format("two")}]},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_each_kind_of_state_leads_to_its_maker(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses, state: dict[str, Any], stream: bool
) -> None:
    first = await client_of("alice").responses.create(model="other", input="hi", conversation="conv_1")
    assert first.id == "resp_two_1"
    server.calls.clear()
    body = {"model": "pair", "input": "hi", "stream": stream, **state}
    answer = await gateway.request("POST", "/v1/responses", json=body, headers={"authorization": "Bearer sk-alice"})
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "two/b")
    assert made(server) == ["two"]


async def test_a_long_value_of_a_large_body_is_searched(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    await made_by_second(alice, server)
    await reset(gateway)
    padding: Any = {"role": "user", "content": 'x "file_id": "file_1" ' * 100_000}
    items: Any = [padding, {"type": "reasoning", "summary": [], "encrypted_content": ENCRYPTED.format("two")}]
    assert (await alice.responses.create(model="pair", input=items)).output_text == "from two"
    assert (await alice.responses.create(model="pair", input=[padding])).output_text == "from one"


async def test_an_item_s_own_id_binds_nothing(client_of: Client, server: KeepingResponses) -> None:
    """Codex CLI gives each item an id of its own, before any answer."""
    server["one"].status = 503
    item: Any = {"type": "message", "role": "user", "id": "msg_9", "content": [{"type": "input_text", "text": "hi"}]}
    answer = await client_of("alice").responses.create(model="pair", input=[item])
    assert answer.output_text == "from two"


async def test_an_unknown_id_goes_to_the_first_target_and_nowhere_else(
    client_of: Client, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    with pytest.raises(openai.BadRequestError, match="Previous response with id 'resp_9' not found"):
        await alice.responses.create(model="pair", input="hi", previous_response_id="resp_9")
    assert made(server) == ["one"]
    server.calls.clear()
    server["one"].status = 500
    with pytest.raises(openai.InternalServerError) as caught:
        await alice.responses.create(model="pair", input="hi", prompt={"id": "pmpt_1"})
    assert made(server) == ["one"]
    error = caught.value.body
    assert isinstance(error, dict)
    assert error["message"] == (
        "no target of 'pair' answered: one/a server_error, two/b bound; "
        "it is bound to one/a by prompt.id, so no other target was asked"
    )
    assert [(each["target"], each["kind"]) for each in error["attempts"]] == [
        ("one/a", "server_error"),
        ("two/b", "bound"),
    ]


async def test_an_unknown_id_goes_to_the_first_target_that_relays(client_of: Client, server: KeepingResponses) -> None:
    answer = await client_of("alice").responses.create(model="demo", input="hi", conversation="conv_9")
    assert answer.output_text == "from two"


async def test_a_bound_request_is_retried_at_its_target(client_of: Client, server: KeepingResponses) -> None:
    alice = client_of("alice")
    server["one"].status = 500
    with pytest.raises(openai.InternalServerError):
        await alice.responses.create(model="retried", input="hi", conversation="conv_9")
    assert made(server) == ["one"] * 3


async def test_a_maker_in_cooldown_is_called_all_the_same(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    first = await alice.responses.create(model="pair", input="hi")
    await made_by_second(alice, server)  # `one` is in cooldown now
    second = await alice.responses.create(model="pair", input="and?", previous_response_id=first.id)
    assert (second.output_text, made(server)) == ("from one", ["one"])


async def test_another_model_of_the_same_account_continues_a_response(
    client_of: Client, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    first = await alice.responses.create(model="other", input="hi")
    second = await alice.responses.create(model="pair", input="and?", previous_response_id=first.id)
    assert (second.output_text, second.model) == ("from two", "b")


async def test_another_client_s_id_is_unknown(client_of: Client, server: KeepingResponses) -> None:
    first = await client_of("alice").responses.create(model="other", input="hi")
    server.calls.clear()
    with pytest.raises(openai.BadRequestError, match="not found"):
        await client_of("bob").responses.create(model="pair", input="hi", previous_response_id=first.id)
    assert made(server) == ["one"]


async def test_an_id_whose_maker_has_another_key_now_is_unknown(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    first = await made_by_second(alice, server)
    await reset(gateway)
    gateway.config.write_text(gateway.config.read_text().replace("sk-two", "sk-three"))
    assert gateway.parts.reloader.reload().problems == ()
    with pytest.raises(openai.BadRequestError, match="not found"):
        await alice.responses.create(model="pair", input="hi", previous_response_id=first.id)
    assert made(server) == ["one"]


async def test_ids_outlive_a_reload(client_of: Client, gateway: RunningGateway, server: KeepingResponses) -> None:
    alice = client_of("alice")
    first = await made_by_second(alice, server)
    await reset(gateway)
    gateway.config.write_text(f"{gateway.config.read_text()}  more: mock/echo\n")
    assert gateway.parts.reloader.reload().problems == ()
    second = await alice.responses.create(model="pair", input="hi", previous_response_id=first.id)
    assert second.output_text == "from two"


async def test_counting_and_compacting_are_bound_by_the_same_fields(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    first = await made_by_second(alice, server)
    await reset(gateway)
    await alice.responses.input_tokens.count(model="pair", input="hi", previous_response_id=first.id)
    compacted = await alice.responses.compact(model="pair", input="hi", previous_response_id=first.id)
    assert made(server) == ["two", "two"]
    item = compacted.output[0].to_dict()
    body = {"model": "pair", "input": [item]}
    answer = await gateway.request("POST", "/v1/responses", json=body, headers={"authorization": "Bearer sk-alice"})
    assert answer.headers["x-gateway-target"] == "two/b"


async def test_a_container_of_messages_leads_to_its_maker(gateway: RunningGateway, server: KeepingResponses) -> None:
    headers = {"x-api-key": "sk-alice", "anthropic-version": "2023-06-01"}
    body = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    server["one"].status = 529
    first = await gateway.request("POST", "/v1/messages", json=body, headers=headers)
    server["one"].status = None
    gateway.parts._health.reset("claude-one/a")
    container = first.json["container"]["id"]
    answer = await gateway.request("POST", "/v1/messages", json={**body, "container": container}, headers=headers)
    assert answer.headers["x-gateway-target"] == "claude-two/b"
    source = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    server["one"].status = 529
    body["messages"] = [{"role": "user", "content": [source]}]
    answer = await gateway.request("POST", "/v1/messages", json=body, headers=headers)
    assert answer.status == 503
    assert answer.error["message"].endswith("; it is bound to claude-one/a by file_id, so no other target was asked")


@pytest.mark.parametrize(
    ("written", "calls"),
    [
        ({}, ["one", "two"]),
        ({"store": False}, ["one", "two"]),
        ({"store": True}, ["one"]),
        ({"background": True}, ["one"]),
    ],
)
async def test_a_stream_cut_before_content_is_not_asked_again_where_the_request_keeps_it(
    gateway: RunningGateway, server: KeepingResponses, written: dict[str, Any], calls: list[str]
) -> None:
    server["one"].cut_after = 2
    body = {"model": "pair", "input": "hi", "stream": True, **written}
    answer = await gateway.request("POST", "/v1/responses", json=body, headers={"authorization": "Bearer sk-alice"})
    assert made(server) == calls
    assert answer.status == (200 if len(calls) > 1 else 502)
    if len(calls) == 1:
        why = f"it was not asked again, as the request says {next(iter(written))}: true"
        assert answer.error["message"] == f"no target of 'pair' answered: one/a bad_response; {why}"


async def test_a_stream_is_not_asked_again_once_a_hosted_tool_ran(start: Start, server: KeepingResponses) -> None:
    routes = ROUTES.replace("BASE_URL", server.url).replace(
        "  other:", "  held: {chain: [one/a, two/b], stream: {hold: full}}\n  other:"
    )
    gateway = await start(routes)
    server["one"].cut_after = 6
    body = {"model": "held", "input": "hi", "stream": True}
    assert (await gateway.request("POST", "/v1/responses", json=body)).status == 200
    assert made(server) == ["one", "two"]
    await reset(gateway)
    server.calls.clear()
    server["one"].tool = "response.web_search_call.searching"
    answer = await gateway.request("POST", "/v1/responses", json=body)
    assert (answer.status, made(server)) == (502, ["one"])
    assert answer.error["message"].endswith("; it was not asked again, as a hosted tool ran upstream")


async def test_a_bound_stream_that_breaks_after_content_ends_with_an_error(
    gateway: RunningGateway, server: KeepingResponses
) -> None:
    gateway.session.headers["authorization"] = "Bearer sk-alice"
    server["one"].cut_after = 6
    body = {"model": "pair", "input": "hi", "stream": True, "conversation": "conv_9"}
    assert b"event: error" in await read_until_broken(gateway, "/v1/responses", body)
    assert made(server) == ["one"]
