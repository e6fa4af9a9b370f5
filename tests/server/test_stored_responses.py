"""What upstreams keep: got, deleted, cancelled and listed by the client that made it, at the account that has it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from tests.keeping_responses import KeepingResponses
from tests.server.conftest import Client, RunningGateway, Start, read_until_broken

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  one: {kind: openai, base_url: "BASE_URL/one/v1", api_key: sk-one}
  two: {kind: openai, base_url: "BASE_URL/two/v1", api_key: sk-two}
models:
  pair: [one/a, two/b]
  second: two/b
  "team/*": "two/*"
"""

POST_HOOK = """
def shout(response):
    for item in response.get("output", ()):
        for part in item.get("content", ()):
            part["text"] = part["text"].upper()
    return response

def refuse(request):
    raise AssertionError("there is no body to ask about")
"""

HOOKED = f"""{ROUTES}
hooks:
  pre: [{{path: HOOKS.refuse, operations: [chat]}}]
  post: [{{path: HOOKS.shout, operations: [responses]}}]
"""


@pytest.fixture
async def server() -> AsyncIterator[KeepingResponses]:
    async with KeepingResponses() as server:
        yield server


@pytest.fixture
async def gateway(start: Start, server: KeepingResponses, tmp_path: Path) -> RunningGateway:
    keys = tmp_path / "keys"
    keys.write_text("alice sk-alice\nbob sk-bob\n")
    running: RunningGateway = await start(ROUTES.replace("BASE_URL", server.url), client_keys_file=keys)
    return running


async def test_a_response_is_got_listed_and_deleted_at_its_maker(client_of: Client, server: KeepingResponses) -> None:
    alice = client_of("alice")
    first = await alice.responses.create(model="pair", input="one")
    second = await alice.responses.create(model="second", input="two")
    assert (await alice.responses.retrieve(first.id)).output_text == "from one"
    assert (await alice.responses.retrieve(second.id)).output_text == "from two"
    items = await alice.responses.input_items.list(
        second.id, limit=5, order="asc", include=["message.input_image.image_url"]
    )
    assert [item.id for item in items.data] == ["msg_in"]
    await alice.responses.delete(second.id)
    assert "resp_two_1" not in server["two"].kept
    assert server.calls[2:] == [
        "one GET /responses/resp_one_1",
        "two GET /responses/resp_two_1",
        "two GET /responses/resp_two_1/input_items?include%5B%5D=message.input_image.image_url&limit=5&order=asc",
        "two DELETE /responses/resp_two_1",
    ]
    assert server.keys[2:] == ["Bearer sk-one", "Bearer sk-two", "Bearer sk-two", "Bearer sk-two"]
    with pytest.raises(openai.NotFoundError, match="Response with id 'resp_two_1' not found"):
        await alice.responses.retrieve(second.id)
    assert len(server.calls) == 6


async def test_another_client_s_response_is_not_found(client_of: Client, server: KeepingResponses) -> None:
    made = await client_of("alice").responses.create(model="pair", input="one")
    server.calls.clear()
    bob = client_of("bob").responses
    for asked in (bob.retrieve, bob.delete, bob.cancel, bob.input_items.list):
        with pytest.raises(openai.NotFoundError, match="Response with id 'resp_one_1' not found") as caught:
            await asked(made.id)
        assert caught.value.type == "invalid_request_error"
    assert server.calls == []


async def test_a_background_response_is_streamed_from_a_number_on_and_cancelled(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    made = await alice.responses.create(model="pair", input="one", background=True)
    assert made.status == "queued"
    stream = await alice.responses.retrieve(made.id, stream=True, starting_after=4)
    assert [event.sequence_number async for event in stream] == [5, 6, 7]
    assert server.calls[-1] == "one GET /responses/resp_one_1?starting_after=4&stream=true"
    assert (await alice.responses.cancel(made.id)).status == "cancelled"
    answer = await gateway.get("/metrics")
    assert b'gateway_requests_total{alias="",operation="stored_responses",status="200"} 2.0' in answer.body


async def test_a_stream_of_a_kept_response_that_breaks_ends_with_an_error(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    made = await client_of("alice").responses.create(model="pair", input="one")
    server["one"].cut_after = 2
    gateway.session.headers["authorization"] = "Bearer sk-alice"
    body = await read_until_broken(gateway, f"/v1/responses/{made.id}?stream=true", method="GET")
    last = json.loads(body.decode().rstrip().split("\n\n")[-1].partition("data: ")[2])
    assert (last["type"], last["sequence_number"]) == ("error", 2)


async def test_a_stream_of_a_failed_response_is_whole(client_of: Client, server: KeepingResponses) -> None:
    alice = client_of("alice")
    made = await alice.responses.create(model="pair", input="one")
    failed = {"status": "failed", "error": {"code": "server_error", "message": "it broke"}}
    server["one"].kept[made.id] |= failed
    assert (await alice.responses.retrieve(made.id)).status == "failed"
    server["one"].end = "response.failed"
    stream = await alice.responses.retrieve(made.id, stream=True)
    assert [event.type async for event in stream][-1] == "response.failed"


async def test_the_upstream_s_own_refusal_comes_back(client_of: Client, server: KeepingResponses) -> None:
    alice = client_of("alice")
    made = await alice.responses.create(model="pair", input="one")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await alice.responses.cancel(made.id)
    server["one"].status = 429
    with pytest.raises(openai.RateLimitError):
        await alice.responses.retrieve(made.id)
    server["one"].status = 401
    with pytest.raises(openai.InternalServerError) as caught:
        await alice.responses.retrieve(made.id)
    assert caught.value.status_code == 502
    server["one"].status = None
    assert (await alice.responses.create(model="pair", input="one")).output_text == "from one", "no cooldown of it"


async def test_a_response_that_is_not_kept_is_not_found(client_of: Client, server: KeepingResponses) -> None:
    alice = client_of("alice")
    made = await alice.responses.create(model="pair", input="one", store=False)
    with pytest.raises(openai.NotFoundError):
        await alice.responses.retrieve(made.id)
    assert len(server.calls) == 1


async def test_ids_of_streams_are_known_too(client_of: Client, server: KeepingResponses) -> None:
    alice = client_of("alice")
    async with alice.responses.stream(model="pair", input="hi") as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                assert (await alice.responses.retrieve("resp_one_1")).id == "resp_one_1"
    assert server.calls == ["one POST /responses", "one GET /responses/resp_one_1"]


async def test_a_connection_is_tried_again_to_get_and_not_to_delete(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    alice = client_of("alice")
    made = await alice.responses.create(model="pair", input="one")
    await server.__aexit__(None, None, None)
    headers = {"authorization": "Bearer sk-alice"}
    got = await gateway.get(f"/v1/responses/{made.id}", headers=headers)
    deleted = await gateway.request("DELETE", f"/v1/responses/{made.id}", headers=headers)
    assert (got.status, deleted.status) == (502, 502)
    assert [each["kind"] for each in got.error["attempts"]] == ["connection"] * 3
    assert [each["kind"] for each in deleted.error["attempts"]][-1:] == ["connection"]
    assert len(deleted.error["attempts"]) <= 2, "a pooled connection that went stale is tried anew"


async def test_the_key_of_today_is_used_and_another_account_is_not_asked(
    start: Start, server: KeepingResponses, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("sk-first")
    gateway = await start(ROUTES.replace("BASE_URL", server.url).replace("api_key: sk-one", f"api_key_file: {key}"))
    body = {"model": "pair", "input": "hi"}
    made = (await gateway.request("POST", "/v1/responses", json=body)).json["id"]
    key.write_text("sk-second")
    assert (await gateway.get(f"/v1/responses/{made}")).status == 200
    assert server.keys == ["Bearer sk-first", "Bearer sk-second"]
    gateway.config.write_text(gateway.config.read_text().replace(f"api_key_file: {key}", "api_key: sk-other"))
    assert gateway.parts.reloader.reload().problems == ()
    answer = await gateway.get(f"/v1/responses/{made}")
    assert (answer.status, len(server.keys)) == (404, 2)


async def test_an_alias_that_is_gone_leaves_its_responses(start: Start, server: KeepingResponses) -> None:
    gateway = await start(ROUTES.replace("BASE_URL", server.url))
    body = {"model": "team/x", "input": "hi"}
    made = (await gateway.request("POST", "/v1/responses", json=body)).json["id"]
    answer = await gateway.get(f"/v1/responses/{made}")
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "two/x")
    gateway.config.write_text(gateway.config.read_text().replace('"team/*": "two/*"', "more: one/a"))
    assert gateway.parts.reloader.reload().problems == ()
    assert (await gateway.get(f"/v1/responses/{made}")).status == 200


async def test_post_hooks_see_a_response_that_is_got(start: Start, server: KeepingResponses) -> None:
    gateway = await start(HOOKED.replace("BASE_URL", server.url), hooks=POST_HOOK)
    body = {"model": "pair", "input": "hi"}
    refused = await gateway.request("POST", "/v1/responses", json=body)
    assert refused.status == 400, "a pre hook does not know the operation"
    gateway.config.write_text(gateway.config.read_text().replace("pre: [{", "pre: [] # {"))
    assert gateway.parts.reloader.reload().problems == ()
    made = (await gateway.request("POST", "/v1/responses", json=body)).json["id"]
    got = await gateway.get(f"/v1/responses/{made}")
    assert got.json["output"][1]["content"][0]["text"] == "FROM ONE"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/responses/resp_1", 405),
        ("DELETE", "/v1/responses/resp_1/cancel", 405),
        ("PUT", "/v1/responses/resp_1", 405),
        ("GET", "/v1/responses/resp_1/nothing", 404),
        ("GET", "/v1/responses/resp_1", 404),
        ("GET", "/responses/resp_1", 404),
        ("GET", f"/v1/responses/{'x' * 300}", 404),
        ("GET", "/v1/responses/resp_1/input_items", 404),
    ],
)
async def test_other_paths_are_refused(
    start: Start, server: KeepingResponses, method: str, path: str, status: int
) -> None:
    gateway = await start(ROUTES.replace("BASE_URL", server.url))
    answer = await gateway.request(method, path)
    assert (answer.status, server.calls) == (status, [])
    assert len(answer.error["message"]) < 400


async def test_a_query_is_bounded_and_passes_by_name_only(
    client_of: Client, gateway: RunningGateway, server: KeepingResponses
) -> None:
    made = await client_of("alice").responses.create(model="pair", input="one")
    headers = {"authorization": "Bearer sk-alice"}
    path = f"/v1/responses/{made.id}/input_items"
    assert (await gateway.get(f"{path}?limit=5&api_key=x&limit=%26a=b", headers=headers)).status == 200
    assert server.calls[-1] == "one GET /responses/resp_one_1/input_items?limit=5&limit=%26a%3Db"
    for query in (f"after={'x' * 300}", "&".join(["include=a"] * 17)):
        assert (await gateway.get(f"{path}?{query}", headers=headers)).status == 400


async def test_a_response_that_is_gone_upstream_leaves_the_path_as_it_is(
    start: Start, server: KeepingResponses
) -> None:
    """A 404 for the response is none for the path, which would be remembered."""
    gateway = await start(ROUTES.replace("BASE_URL", server.url))
    body = {"model": "pair", "input": "hi"}
    made = (await gateway.request("POST", "/v1/responses", json=body)).json["id"]
    server["one"].kept.clear()
    answer = await gateway.get(f"/v1/responses/{made}")
    assert (answer.status, answer.error["message"]) == (404, "Response with id 'resp_one_1' not found.")
    assert (await gateway.request("POST", "/v1/responses", json=body)).headers["x-gateway-target"] == "one/a"


async def test_azure_gets_its_version_beside_the_query(start: Start, server: KeepingResponses) -> None:
    azure = 'one: {kind: azure, base_url: "BASE_URL/one", api_version: preview, api_key: sk-one}'
    routes = ROUTES.replace('one: {kind: openai, base_url: "BASE_URL/one/v1", api_key: sk-one}', azure)
    gateway = await start(routes.replace("BASE_URL", server.url))
    made = (await gateway.request("POST", "/v1/responses", json={"model": "pair", "input": "hi"})).json["id"]
    await gateway.get(f"/v1/responses/{made}/input_items?limit=2")
    assert server.calls == [
        "one POST /responses?api-version=preview",
        "one GET /responses/resp_one_1/input_items?api-version=preview&limit=2",
    ]


async def test_a_draining_gateway_asks_for_no_response(start: Start, server: KeepingResponses) -> None:
    gateway = await start(ROUTES.replace("BASE_URL", server.url))
    made = (await gateway.request("POST", "/v1/responses", json={"model": "pair", "input": "hi"})).json["id"]
    gateway.parts.lifecycle.draining = True
    answer = await gateway.get(f"/v1/responses/{made}")
    assert (answer.status, answer.error["code"], len(server.calls)) == (503, "shutting_down", 1)
