"""A server with two accounts that keep Responses, each its own, as OpenAI does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web

ENCRYPTED = "gAAAA-of-{}"
"""The encrypted content of an account's reasoning items."""


@dataclass
class Account:
    """What one provider keeps, and what it does next."""

    name: str
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    status: int | None = None
    """Every request gets this error."""
    cut_after: int | None = None
    """Streams break off after so many events."""
    tool: str | None = None
    """The type of an event that streams have after the first."""
    end: str = "response.completed"
    """The type of the last event of streams."""
    serial: int = 0


class KeepingResponses:
    """Providers `one` and `two` at `{url}/one/v1` and `{url}/two/v1`."""

    def __init__(self) -> None:
        self.accounts = {name: Account(name) for name in ("one", "two")}
        self.calls: list[str] = []
        """Account, method and path with query of each request, from its base URL on."""
        self.keys: list[str] = []
        self.bodies: list[Any] = []
        self.url = ""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        base = "/{account}{base:/v1|/openai/v1}"
        app.router.add_post(f"{base}/responses", self._create)
        app.router.add_post(f"{base}/responses/input_tokens", self._count)
        app.router.add_post(f"{base}/responses/compact", self._compact)
        app.router.add_get(f"{base}/responses/{{id}}", self._get)
        app.router.add_delete(f"{base}/responses/{{id}}", self._delete)
        app.router.add_post(f"{base}/responses/{{id}}/cancel", self._cancel)
        app.router.add_get(f"{base}/responses/{{id}}/input_items", self._items)
        app.router.add_post(f"{base}/messages", self._message)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> KeepingResponses:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def __getitem__(self, name: str) -> Account:
        return self.accounts[name]

    async def _begin(self, request: web.Request) -> tuple[Account, web.Response | None]:
        account = self.accounts[request.match_info["account"]]
        base = f"/{account.name}{request.match_info['base']}"
        self.calls.append(f"{account.name} {request.method} {request.path_qs.removeprefix(base)}")
        self.keys.append(request.headers.get("authorization", ""))
        if request.method == "POST" and request.can_read_body:
            self.bodies.append(await request.json())
        if account.status is not None:
            return account, _error(account.status, "no", "server_error")
        return account, None

    async def _create(self, request: web.Request) -> web.StreamResponse:
        account, refused = await self._begin(request)
        body = self.bodies[-1]
        if refused is not None:
            return refused
        previous = body.get("previous_response_id")
        if previous is not None and previous not in account.kept:
            message = f"Previous response with id '{previous}' not found."
            return _error(400, message, "previous_response_not_found")
        account.serial += 1
        response = _response(account, body)
        if body.get("store", True):
            account.kept[response["id"]] = response
            account.inputs[response["id"]] = body.get("input")
        return await self._stream(request, account, response) if body.get("stream") else web.json_response(response)

    async def _stream(
        self, request: web.Request, account: Account, response: dict[str, Any], *, after: int = -1
    ) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        events = _events(response)
        events[-1] = {"type": account.end, "response": {**response, "status": account.end.partition(".")[2]}}
        if account.tool is not None:
            events.insert(1, {"type": account.tool, "output_index": 0, "item_id": "ws_1"})
        sent = events if account.cut_after is None else events[: account.cut_after]
        for number, event in enumerate(sent):
            if number > after:
                data = json.dumps({**event, "sequence_number": number})
                await stream.write(f"event: {event['type']}\ndata: {data}\n\n".encode())
        if len(sent) < len(events) and request.transport is not None:
            request.transport.close()
        return stream

    async def _get(self, request: web.Request) -> web.StreamResponse:
        account, refused = await self._begin(request)
        kept = account.kept.get(request.match_info["id"])
        if refused is not None or kept is None:
            return refused or _not_found(request)
        if request.query.get("stream") == "true":
            return await self._stream(request, account, kept, after=int(request.query.get("starting_after", -1)))
        return web.json_response(kept)

    async def _delete(self, request: web.Request) -> web.Response:
        account, refused = await self._begin(request)
        response_id = request.match_info["id"]
        if refused is not None or account.kept.pop(response_id, None) is None:
            return refused or _not_found(request)
        return web.json_response({"id": response_id, "object": "response", "deleted": True})

    async def _cancel(self, request: web.Request) -> web.Response:
        account, refused = await self._begin(request)
        kept = account.kept.get(request.match_info["id"])
        if refused is not None or kept is None:
            return refused or _not_found(request)
        if not kept["background"]:
            return _error(400, "Cannot cancel a synchronous response.", None)
        return web.json_response({**kept, "status": "cancelled"})

    async def _items(self, request: web.Request) -> web.Response:
        account, refused = await self._begin(request)
        response_id = request.match_info["id"]
        if refused is not None or response_id not in account.inputs:
            return refused or _not_found(request)
        item = {
            "id": "msg_in", "type": "message", "role": "user", "status": "completed",
            "content": [{"type": "input_text", "text": account.inputs[response_id]}],
        }  # fmt: skip
        page = {"object": "list", "data": [item], "first_id": "msg_in", "last_id": "msg_in", "has_more": False}
        return web.json_response(page)

    async def _count(self, request: web.Request) -> web.Response:
        _, refused = await self._begin(request)
        return refused or web.json_response({"object": "response.input_tokens", "input_tokens": 3})

    async def _compact(self, request: web.Request) -> web.Response:
        account, refused = await self._begin(request)
        item = {"type": "compaction", "id": "cmp_1", "encrypted_content": ENCRYPTED.format(account.name)}
        return refused or web.json_response({"id": "resp_c", "object": "response.compaction", "output": [item]})

    async def _message(self, request: web.Request) -> web.Response:
        account, refused = await self._begin(request)
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": f"from {account.name}"}],
            "usage": {"input_tokens": 1, "output_tokens": 1},
            "container": {"id": f"container_{account.name}", "expires_at": "2027-01-01T00:00:00Z"},
        }  # fmt: skip
        return refused or web.json_response(message)


def _response(account: Account, body: dict[str, Any]) -> dict[str, Any]:
    name, serial = account.name, account.serial
    text = {"type": "output_text", "text": f"from {name}", "annotations": []}
    reasoning = {"type": "reasoning", "id": f"rs_{name}_{serial}", "summary": [], "status": "completed"}
    conversation = body.get("conversation")
    return {
        "id": f"resp_{name}_{serial}", "object": "response", "created_at": 1, "model": body["model"], "error": None,
        "status": "queued" if body.get("background") else "completed", "background": bool(body.get("background")),
        "store": body.get("store", True), "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "conversation": None if conversation is None else {"id": conversation},
        "output": [
            {**reasoning, "encrypted_content": ENCRYPTED.format(name)},
            {"type": "message", "id": f"msg_{name}_{serial}", "role": "assistant", "status": "completed",
             "content": [text]},
        ],
    }  # fmt: skip


def _events(response: dict[str, Any]) -> list[dict[str, Any]]:
    begun = {**response, "status": "in_progress", "output": []}
    reasoning, message = response["output"]
    at = {"item_id": message["id"], "output_index": 1, "content_index": 0, "logprobs": []}
    text = message["content"][0]
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **at, "part": {**text, "text": ""}},
        {"type": "response.output_text.delta", **at, "delta": text["text"]},
        {"type": "response.output_text.done", **at, "text": text["text"]},
        {"type": "response.completed", "response": {**response, "status": "completed"}},
    ]


def _error(status: int, message: str, code: str | None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


def _not_found(request: web.Request) -> web.Response:
    return _error(404, f"Response with id '{request.match_info['id']}' not found.", None)
