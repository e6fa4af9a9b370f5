"""`/v1/models` for Anthropic's clients: their shape, their pages, their errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.server.conftest import Answer, RunningGateway, Start
from tests.server.test_models import ROUTES, litellms

NAMES = [f"m{number}" for number in range(45)]
MANY = "version: 1\nmodels:\n" + "".join(f"  {name}: mock/echo\n" for name in NAMES)
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES)
    return started


@pytest.fixture
async def many(start: Start) -> RunningGateway:
    started: RunningGateway = await start(MANY)
    return started


def client_of(gateway: RunningGateway) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=gateway.url, api_key="unused", max_retries=0)


@pytest.fixture
async def client(many: RunningGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with client_of(many) as client:
        yield client


async def page(gateway: RunningGateway, query: str) -> Answer:
    return await gateway.get(f"/v1/models?{query}", headers=VERSION)


async def test_a_model_has_the_abilities_of_its_chain(gateway: RunningGateway) -> None:
    async with client_of(gateway) as client:
        listed = {model.id: model async for model in client.models.list()}
        one = await client.models.retrieve("open/gpt-5")
    large = listed["large"]
    entry = litellms("gpt-5")
    for model in (large, one):
        assert (model.type, model.lifecycle) == ("model", "active")
        assert (model.max_input_tokens, model.max_tokens) == (entry["max_input_tokens"], entry["max_output_tokens"])
        told = model.capabilities
        assert told is not None
        assert (told.image_input.supported, told.pdf_input.supported, told.thinking.supported) == (True, True, True)
        assert told.citations is None  # the data does not tell
        assert model.to_dict()["supported_parameters"] == ["tools", "reasoning"]
    assert (one.id, one.display_name) == ("open/gpt-5", "open/gpt-5")
    assert abs((datetime.now(UTC) - large.created_at).total_seconds()) < 60
    small, unknown = listed["nested"].capabilities, listed["partly"]
    assert small is not None
    assert (small.image_input.supported, small.thinking.supported) == (False, False)
    assert (unknown.max_input_tokens, unknown.max_tokens, unknown.capabilities) == (None, None, None)


async def test_the_client_walks_all_pages_forwards_and_backwards(client: anthropic.AsyncAnthropic) -> None:
    assert [model.id async for model in client.models.list()] == NAMES
    assert [model.id async for model in client.models.list(limit=7, after_id="m9")] == NAMES[10:]
    backwards = await client.models.list(limit=20, before_id="m44")
    pages = [[model.id for model in backwards.data]]
    while backwards.has_next_page():
        backwards = await backwards.get_next_page()
        pages.append([model.id for model in backwards.data])
    assert pages == [NAMES[24:44], NAMES[4:24], NAMES[:4]]


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", NAMES[:20], True),
        ("limit=45", NAMES, False),
        ("limit=1000", NAMES, False),
        ("limit=44", NAMES[:44], True),
        ("limit=2&after_id=m42", NAMES[43:], False),
        ("after_id=m44", [], False),
        ("limit=2&before_id=m2", NAMES[:2], False),
        ("limit=2&before_id=m3", NAMES[1:3], True),
        ("before_id=m0", [], False),
        ("limit=1&lifecycle[]=active&lifecycle[]=retired", NAMES[:1], True),
        ("lifecycle=retired", [], False),
        ("lifecycle=retired&after_id=m1", [], False),
        ("lifecycle=retired&before_id=m1", [], False),
    ],
)
async def test_a_page(many: RunningGateway, query: str, ids: list[str], more: bool) -> None:
    answer = (await page(many, query)).json
    assert [model["id"] for model in answer.pop("data")] == ids
    assert answer == {
        "has_more": more, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "message"),
    [
        *(
            (f"limit={limit}", "limit must be a number from 1 to 1000")
            for limit in ("0", "1001", "-1", "x", "1e3", "٣")
        ),
        ("after_id=gone", "after_id names no model of the list"),
        ("before_id=gone", "before_id names no model of the list"),
        ("after_id=m1&before_id=m3", "after_id and before_id exclude each other"),
    ],
)
async def test_a_page_that_there_is_not_is_a_400(many: RunningGateway, query: str, message: str) -> None:
    answer = await page(many, query)
    param = "before_id" if "before_id" in query else query.partition("=")[0]
    error = {"type": "invalid_request_error", "message": message, "code": "bad_request", "param": param}
    request_id = answer.headers["x-request-id"]
    assert (answer.status, answer.json) == (400, {"type": "error", "error": error, "request_id": request_id})


async def test_no_query_matters_to_openai_s_clients(many: RunningGateway) -> None:
    assert len((await many.get("/v1/models?limit=0&after_id=gone")).json["data"]) == len(NAMES)


async def test_errors_have_the_client_s_own_types(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await client.models.retrieve("m45")
    body: Any = unknown.value.body
    assert body["error"]["type"] == "not_found_error"
    assert body["error"]["message"].startswith("the model 'm45' does not exist; did you mean ")
    with pytest.raises(anthropic.BadRequestError, match="limit must be"):
        await client.models.list(limit=0)


async def test_a_client_without_a_key_gets_the_client_s_own_error(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("ann ann-key\n")
    gateway = await start(MANY, client_keys_file=keys)
    async with client_of(gateway) as client:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            await client.models.list()
        body: Any = refused.value.body
        message = "the key is not known to this gateway"
        assert body["error"] == {"type": "authentication_error", "message": message, "code": "invalid_api_key"}
        with_key = client.with_options(api_key="ann-key")
        assert [model.id async for model in with_key.models.list()] == NAMES
    assert (await gateway.get("/v1/models")).error["code"] == "invalid_api_key"


async def test_a_refusal_at_a_path_of_nobody_s_is_in_the_client_s_own_envelope(many: RunningGateway) -> None:
    answer = await many.get("/v1/nowhere", headers={**VERSION, "origin": "https://evil.example"})
    assert (answer.status, answer.json["type"], answer.error["type"]) == (403, "error", "permission_error")
    chat = await many.request("POST", "/v1/chat/completions", headers=VERSION, json={"model": "m45", "messages": []})
    assert chat.error["type"] == "invalid_request_error"
    assert "type" not in chat.json  # the path tells: this is OpenAI's wire
