"""`--admin-port`: metrics and the operators' paths on a listener of their own, with the same guards."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from gateway.errors import UsageError
from gateway.server.listen import listening
from gateway.server.wiring import Gateway, ServeOptions
from tests.server.conftest import Answer, until
from tests.server.test_process import failing, running

ROUTES = "version: 1\nmodels: {echo: mock/echo}\n"
MOVED = ("/metrics", "/-/config", "/-/targets", "/-/explain?model=echo")


class Both:
    """A gateway's two listeners."""

    def __init__(self, url: str, admin_url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.admin_url = url, admin_url
        self._session = session

    async def status(self, url: str, *, method: str = "GET", **headers: str) -> int:
        async with self._session.request(method, url, headers=headers) as response:
            return response.status

    async def answer(self, url: str) -> Answer:
        async with self._session.get(url) as response:
            return Answer(response.status, {}, await response.read())


StartBoth: TypeAlias = Callable[..., Any]


@pytest.fixture
async def start_both(tmp_path: Path) -> AsyncIterator[StartBoth]:
    async with AsyncExitStack() as stack:

        async def started(**options: Any) -> Both:
            config = tmp_path / "routes.yaml"
            config.write_text(ROUTES)
            chosen = ServeOptions(**{"config": config, "port": 0, "admin_port": 0, **options})
            parts = Gateway(chosen, environ={})
            urls = []
            for runner, each in ((parts.runner(), chosen), (parts.admin_runner(), chosen.for_admin())):
                assert runner is not None
                assert each is not None
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                urls.append(await stack.enter_async_context(listening(runner, each)))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Both(urls[0], urls[1].replace("0.0.0.0", "127.0.0.1"), session)

        yield started


async def test_they_are_there_and_no_more_on_the_main_one(start_both: StartBoth) -> None:
    both = await start_both()
    for path in MOVED:
        assert await both.status(both.admin_url + path) == 200
        moved = await both.answer(both.url + path)
        assert (moved.status, "--admin-port" in moved.error["message"]) == (404, True)
    assert await both.status(f"{both.admin_url}/-/reload", method="POST") == 200
    assert await both.status(f"{both.url}/-/reload", method="POST") == 404


async def test_probes_are_on_both_and_models_on_the_main_one_only(start_both: StartBoth) -> None:
    both = await start_both()

    async def answer() -> bool:
        urls = [url + path for url in (both.url, both.admin_url) for path in ("/healthz", "/readyz")]
        return [await both.status(url) for url in urls] == [200] * 4

    await until(answer)
    assert [await both.status(url + "/v1/models") for url in (both.url, both.admin_url)] == [200, 404]
    index = await both.answer(f"{both.url}/")
    assert "GET /metrics" not in index.json["endpoints"]
    unknown = await both.answer(f"{both.admin_url}/nothing")
    assert "GET /metrics" in unknown.error["message"]


async def test_the_guards_are_the_same(start_both: StartBoth, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("the-token\n")
    both = await start_both(admin_token_file=token)
    url = f"{both.admin_url}/-/config"
    assert await both.status(url) == 401
    assert await both.status(url, authorization="Bearer the-token") == 200
    assert await both.status(url, authorization="Bearer the-token", origin="http://a.example") == 403
    assert await both.status(f"{both.admin_url}/metrics") == 200


async def test_without_keys_it_is_for_this_machine_only(start_both: StartBoth) -> None:
    both = await start_both(admin_host="0.0.0.0", insecure=True)
    url = f"{both.admin_url}/-/config"
    assert await both.status(url) == 200
    assert await both.status(url, **{"x-forwarded-for": "1.2.3.4"}) == 403
    assert await both.status(f"{both.admin_url}/metrics", host="gateway.example") == 200
    both = await start_both()
    assert await both.status(f"{both.admin_url}/metrics", host="gateway.example") == 403


@pytest.mark.parametrize(
    "allowed", [{}, {"insecure": True}, {"admin_token_file": "token"}], ids=["none", "word", "token"]
)
async def test_beyond_this_machine_it_wants_a_key_or_a_word(tmp_path: Path, allowed: dict[str, Any]) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    (tmp_path / "token").write_text("the-token\n")
    options: dict[str, Any] = {
        name: tmp_path / "token" if value == "token" else value for name, value in allowed.items()
    }
    chosen = ServeOptions(config=tmp_path / "routes.yaml", admin_host="0.0.0.0", admin_port=0, **options)
    if allowed:
        Gateway(chosen)
    else:
        with pytest.raises(UsageError, match="--admin-host beyond this machine"):
            Gateway(chosen)


async def test_a_process_has_both_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with running(tmp_path / "routes.yaml", admin_port=port) as server:
        assert await server.get("/metrics") == 404
        async with server.session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 200
        assert await server.end(signal.SIGINT) == 0
    [line] = [line for line in server.log if line["event"] == "listening for operators"]
    assert line["url"] == f"http://127.0.0.1:{port}"


async def test_its_port_in_use_names_its_own_flag(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, err = await failing(tmp_path / "routes.yaml", admin_port=taken.getsockname()[1])
    assert (code, "choose another with --admin-port" in err) == (2, True)
