"""The server as a process: how it starts, obeys signals, drains, listens, and what it loads and logs."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest

from gateway.server.aiohttp_server import FLUSH_S
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, ROUTES, save, until
from tests.wires.upstream import WireUpstream

CODE = """\
import sys
from pathlib import Path, PosixPath
from gateway.server.process import ServeOptions, serve
options = ServeOptions(config=Path(sys.argv[1]), **eval(sys.argv[2]))
code = serve(options, on_ready=lambda url, table: print(url, *table.routes, flush=True))
print("litellm" in sys.modules)
sys.exit(code)
"""


class Server:
    """A running server process."""

    def __init__(self, process: Process, url: str, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.url = url
        self.session = session
        self.out = ""
        self.err = ""

    async def get(self, path: str) -> int:
        async with self.session.get(self.url + path) as response:
            await response.read()
            return response.status

    async def metric(self, name: str) -> float:
        async with self.session.get(self.url + "/metrics") as response:
            text = await response.text()
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + " "))

    @asynccontextmanager
    async def chat(self, model: str, **body: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        body = {"model": model, "messages": HELLO, **body}
        async with self.session.post(self.url + "/v1/chat/completions", json=body) as response:
            yield response

    async def end(self, number: signal.Signals | None = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        out, err = await self.process.communicate()
        self.out, self.err = out.decode(), err.decode()
        assert self.process.returncode is not None
        return self.process.returncode

    @property
    def log(self) -> list[Any]:
        return [orjson.loads(line) for line in self.err.splitlines()]


@pytest.fixture
def config(tmp_path: Path, upstream: ScriptedOpenAI) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES.replace("BASE_URL", upstream.base_url))
    return path


@asynccontextmanager
async def running(config: Path, *, code: str = CODE, **options: Any) -> AsyncIterator[Server]:
    process = await spawn(config, code=code, **options)
    unix_socket = options.get("unix_socket")
    connector = None if unix_socket is None else aiohttp.UnixConnector(str(unix_socket))
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().partition(" ")[0]
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Server(process, "http://localhost" if connector else url, session)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def spawn(config: Path, *, code: str = CODE, **options: Any) -> Process:
    options = {"port": 0, **options}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(config), repr(options), stdout=PIPE, stderr=PIPE
    )


async def failing(config: Path, **options: Any) -> tuple[int | None, str]:
    """Return the exit code of a server that is not meant to start, and what it told the operator."""
    process = await spawn(config, **options)
    _, err = await process.communicate()
    told = [line for line in err.decode().splitlines(keepends=True) if not line.startswith("{")]
    return process.returncode, "".join(told)


async def test_it_serves_until_sigterm_and_never_loads_litellm_for_relayed_and_mocked_targets(
    config: Path, upstream: ScriptedOpenAI
) -> None:
    async with running(config) as server:
        assert server.url.startswith("http://127.0.0.1:")
        for model in ("fast", "echo"):
            async with server.chat(model) as response:
                assert response.status == 200
        async with server.chat("fast", stream=True) as response:
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
        assert await server.end() == 0
    assert server.out.strip() == "False"
    assert upstream.calls == ["a", "a"]


async def test_openai_anthropic_and_gemini_never_load_litellm(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    async with WireUpstream() as upstream:
        kinds = {"openai": "/v1", "anthropic": "", "gemini": ""}
        providers = "".join(
            f"  my-{kind}: {{kind: {kind}, base_url: '{upstream.root_url}{end}', api_key: k}}\n"
            for kind, end in kinds.items()
        )
        models = "".join(f"  {kind}: my-{kind}/m\n" for kind in kinds)
        path.write_text(f"version: 1\nproviders:\n{providers}models:\n{models}")
        async with running(path) as server:
            assert await server.get("/readyz") == 200
            for kind in kinds:
                for stream in (False, True):
                    async with server.chat(kind, stream=stream) as response:
                        assert response.status == 200
                        await response.read()
            assert await server.end() == 0
        assert server.out.strip() == "False"
        assert len(upstream.requests) == 6


SLOW: Final = {
    "__init__.py": """\
import time
from pathlib import Path
while not Path(__file__).with_name("go").exists():
    time.sleep(0.01)
async def close_litellm_async_clients(): pass
""",
    "litellm_core_utils/__init__.py": "",
    "litellm_core_utils/model_param_helper.py": """\
class ModelParamHelper:
    @staticmethod
    def _get_all_llm_api_params(): return set()
""",
}


@pytest.fixture
def slow_litellm(tmp_path: Path) -> Path:
    """Make a LiteLLM whose import lasts until `slow_litellm / "go"` exists."""
    folder = tmp_path / "packages" / "litellm"
    for name, text in SLOW.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def need_litellm(config: Path) -> None:
    text = config.read_text().replace(
        "models:\n", "  lab: {kind: mistral, api_key: sk-x}\nmodels:\n  large: lab/large\n"
    )
    save(config, text)


def with_package(folder: Path) -> str:
    return f"import sys; sys.path.insert(0, {str(folder.parent)!r})\n{CODE}"


async def test_it_is_ready_once_litellm_is_loaded_where_the_table_needs_it(config: Path, slow_litellm: Path) -> None:
    need_litellm(config)
    async with running(config, code=with_package(slow_litellm)) as server:
        for _ in range(3):
            assert (await server.get("/readyz"), await server.get("/healthz")) == (503, 200)
        async with server.chat("fast") as response:  # what is relayed does not wait
            assert response.status == 200
        (slow_litellm / "go").touch()
        await until(lambda: _is_ready(server))
        assert await server.end() == 0
    assert server.out.strip() == "True"


async def test_an_edit_that_first_needs_litellm_goes_live_once_that_is_loaded(config: Path, slow_litellm: Path) -> None:
    async with running(config, code=with_package(slow_litellm)) as server:
        await until(lambda: _is_ready(server))
        need_litellm(config)
        for _ in range(20):
            await asyncio.sleep(0.03)
            assert (await server.get("/readyz"), await server.get("/v1/models/large")) == (200, 404)
        (slow_litellm / "go").touch()

        async def is_live() -> bool:
            assert await server.get("/readyz") == 200
            return await server.get("/v1/models/large") == 200

        await until(is_live)
        assert await server.end() == 0


async def test_a_stop_signal_ends_it_while_an_edit_waits_for_litellm(config: Path, slow_litellm: Path) -> None:
    async with running(config, code=with_package(slow_litellm)) as server:
        await until(lambda: _is_ready(server))
        need_litellm(config)
        await asyncio.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        (slow_litellm / "go").touch()  # a thread that imports is waited for by Python itself
        assert await server.end(None) == 0
    assert "Traceback" not in server.err


async def test_a_port_in_use_ends_it_at_once_also_where_litellm_is_needed(config: Path, slow_litellm: Path) -> None:
    need_litellm(config)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = await spawn(config, code=with_package(slow_litellm), port=taken.getsockname()[1])
        _, err = await process.communicate()  # LiteLLM is never loaded
    assert (process.returncode, b"the address is in use already" in err) == (2, True)


async def _is_ready(server: Server) -> bool:
    return await server.get("/readyz") == 200


async def test_what_is_no_http_has_one_log_line_without_what_came(config: Path) -> None:
    async with running(config) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nsk-secret\r\n\r\n")
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert await server.end() == 0
    [line] = [line for line in server.log if line["event"] == "request"]
    assert line["request_id"].encode() in received
    assert (line["status"], line["error"], line["operation"]) == (400, "malformed_request", "other")
    assert "sk-secret" not in server.err
    assert not [line for line in server.log if line["level"] in ("warning", "error")]


async def test_the_log_is_json_with_one_line_per_request_and_no_prompt(config: Path) -> None:
    async with running(config) as server:
        async with server.chat("fast", messages=[{"role": "user", "content": "my-prompt"}]) as response:
            request_id = response.headers["x-request-id"]
            assert "hello" in await response.text()
        await server.get("/healthz")
        assert await server.end(signal.SIGINT) == 0
    [line] = [line for line in server.log if line["event"] == "request"]
    assert (line["request_id"], line["alias"], line["target"]) == (request_id, "fast", "up/a")
    assert (line["status"], line["stream"], line["generation"]) == (200, False, 1)
    assert [attempt["target"] for attempt in line["attempts"]] == ["up/a"]
    assert line["tokens"]["prompt"] == 7
    assert [line["event"] for line in server.log][-2:] == ["draining", "stopped"]
    for text in ("my-prompt", "hello", "sk-upstream"):
        assert text not in server.err


async def test_sigterm_lets_a_stream_come_to_its_end(config: Path, upstream: ScriptedOpenAI) -> None:
    gate = asyncio.Event()
    upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate)
    async with running(config) as server, server.chat("fast", stream=True) as response:
        await response.content.readuntil(b"\n\n")
        server.process.send_signal(signal.SIGTERM)
        while await server.get("/readyz") != 503:
            pass
        assert await server.get("/healthz") == 200
        async with server.chat("fast") as late:
            assert (late.status, late.headers["retry-after"]) == (503, "1")
        gate.set()
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
        assert await server.end(None) == 0


async def test_sigterm_lets_a_plain_answer_come_to_its_end(config: Path, upstream: ScriptedOpenAI) -> None:
    gate = asyncio.Event()
    upstream.script("a", reply="x" * 300_000, stall_after=100, gate=gate)
    async with running(config) as server, asyncio.TaskGroup() as group:

        async def ask() -> str:
            async with server.chat("fast") as response:
                return await response.text()

        asking = group.create_task(ask())
        await upstream.wait_for_calls(1)
        server.process.send_signal(signal.SIGTERM)
        while await server.get("/readyz") != 503:
            pass
        gate.set()
        assert len(await asking) > 300_000
        assert await server.end(None) == 0


async def test_sigterm_drops_what_shadows_are_sent(config: Path, upstream: ScriptedOpenAI) -> None:
    shadow = "  watched: {chain: [up/a], shadow: {target: up/s, share: 100%}}\n"
    save(config, ROUTES.replace("BASE_URL", upstream.base_url) + shadow)
    upstream.script("s", reply="late", stall_after=0)
    async with running(config) as server:
        async with server.chat("watched") as response:
            assert "hello" in await response.text()
        await upstream.wait_for_calls(2)
        assert await server.end() == 0
    (line,) = (line for line in server.log if line["event"] == "shadow")
    assert (line["target"], line["status"], line["error"]) == ("up/s", 499, "dropped")
    assert not [line for line in server.log if line["level"] in ("warning", "error")]


@pytest.mark.parametrize("hurried", [True, False], ids=["second signal", "time is up"])
async def test_what_does_not_end_is_cut_off_and_looks_like_it(
    config: Path, upstream: ScriptedOpenAI, *, hurried: bool
) -> None:
    upstream.script("a", chunks=["one ", "two"], stall_after=1)
    async with running(config, drain_s=60 if hurried else 0.2) as server, server.chat("fast", stream=True) as response:
        await response.content.readuntil(b"\n\n")
        server.process.send_signal(signal.SIGTERM)
        if hurried:
            while await server.get("/readyz") != 503:
                pass
            server.process.send_signal(signal.SIGTERM)
        while b'"code":"shutting_down"' not in await response.content.readuntil(b"\n\n"):
            pass
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        assert await server.end(None) == 0
    assert "requests are cut off" in [line["event"] for line in server.log]
    (request,) = (line for line in server.log if line["event"] == "request" and line["operation"] == "chat")
    assert (request["status"], request["error"]) == (503, "shutting_down")


@pytest.mark.parametrize("header", [{}, {"te": "trailers"}], ids=["ours", "aiohttp"])
@pytest.mark.parametrize("in_time", [True, False])
async def test_an_answer_that_its_client_still_reads_is_waited_for(
    config: Path, header: dict[str, str], *, in_time: bool
) -> None:
    body = io.BytesIO(orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "a" * 12_000_000}]}))
    headers = {"content-type": "application/json", **header}
    async with (
        running(config, drain_s=60 if in_time else 0.2) as server,
        server.session.post(server.url + "/v1/chat/completions", data=body, headers=headers) as response,
    ):
        server.process.send_signal(signal.SIGTERM)
        if in_time:
            while await server.get("/readyz") != 503:
                pass
            await asyncio.sleep(2 * FLUSH_S)  # as long as it would have taken to be cut off
            assert len(await response.read()) > 12_000_000
            assert await server.end(None) == 0
        else:
            assert await server.end(None) == 0
            with pytest.raises(aiohttp.ClientError):
                await response.read()
    (request,) = (line for line in server.log if line["event"] == "request" and line["operation"] == "chat")
    assert (request["status"], request.get("error")) == ((200, None) if in_time else (503, "shutting_down"))


async def test_sighup_compiles_the_file_again(config: Path) -> None:
    async with running(config) as server:
        server.process.send_signal(signal.SIGHUP)
        assert server.process.stderr is not None
        line: dict[str, Any] = {}
        while line.get("event") != "reloaded at a signal":
            line = orjson.loads(await server.process.stderr.readline())
        assert (line["ok"], line["generation"]) == (True, 2)
        assert await server.metric("gateway_config_generation") == 2
        assert await server.end() == 0


async def test_a_port_in_use_is_said_plainly(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = await failing(config, port=port)
    assert code == 2
    assert (
        err
        == f"gateway: cannot listen on 127.0.0.1:{port}: the address is in use already; choose another with --port\n"
    )


async def test_a_host_that_is_not_ours_is_said_plainly(config: Path) -> None:
    code, err = await failing(config, host="192.0.2.1", insecure=True)
    assert (code, err) == (2, "gateway: cannot listen on 192.0.2.1:0: cannot assign requested address\n")


async def test_the_port_file_has_the_port_while_it_listens(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "port"
    path.write_text("an older one")
    async with running(config, port_file=path) as server:
        assert path.read_text() == f"{server.url.rpartition(':')[2]}\n"
        assert await server.end() == 0
    assert not path.exists()
    assert os.listdir(tmp_path) == ["routes.yaml"]


async def test_the_port_file_of_another_process_stays(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with running(config, port_file=path) as server:
        save(path, "another's\n")
        assert await server.end() == 0
    assert sorted(os.listdir(tmp_path)) == ["port", "routes.yaml"]


async def test_the_log_file_takes_the_log(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    async with running(config, log_file=path) as server:
        async with server.chat("echo") as response:
            assert response.status == 200
        assert await server.end() == 0
    first, *lines = path.read_text().splitlines()
    assert (server.err, first) == ("", "before")
    assert [orjson.loads(line)["event"] for line in lines][1:] == ["listening", "request", "draining", "stopped"]


async def test_listening_to_everybody_needs_a_word(config: Path) -> None:
    code, err = await failing(config, host="0.0.0.0")
    assert code == 2
    assert "--client-keys-file" in err


async def test_a_config_file_with_problems_ends_with_1_and_all_of_them(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text("version: 1\nmodels:\n  fast: openai\n  slow: nowhere\n")
    code, err = await failing(config)
    assert code == 1
    faults = [line.split(":")[1:4:2] for line in err.splitlines()]
    assert faults == [["3", " no-provider"], ["4", " no-provider"]]


async def test_a_config_file_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    code, err = await failing(tmp_path / "none.yaml")
    assert code == 2
    assert "none.yaml" in err


async def test_a_unix_socket_is_for_this_user_only_and_goes_away(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    async with running(config, unix_socket=path) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await server.get("/readyz"), await server.get("/-/config")) == (200, 200)
        async with server.session.get("http://any.name/v1/models") as response:
            assert response.status == 200
        assert await server.end() == 0
    assert not path.exists()


async def test_a_stale_unix_socket_gives_way_but_a_live_one_does_not(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with running(config, unix_socket=path) as server:
        assert await server.get("/readyz") == 200
        code, err = await failing(config, unix_socket=path)
        assert (code, "somebody listens there already" in err) == (2, True)
        assert await server.get("/readyz") == 200
        assert await server.end() == 0


async def test_a_file_in_the_place_of_the_unix_socket_stays(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    code, err = await failing(config, unix_socket=path)
    assert (code, "is no socket" in err, path.read_text()) == (2, True, "precious")


@pytest.mark.parametrize(
    ("name", "message"), [("no/such/folder", "no such file or directory"), ("x" * 200, "af_unix path too long")]
)
async def test_a_unix_socket_that_cannot_be_made_is_said_plainly(
    config: Path, tmp_path: Path, name: str, message: str
) -> None:
    code, err = await failing(config, unix_socket=tmp_path / name)
    assert (code, err) == (2, f"gateway: cannot listen on {tmp_path / name}: {message}\n")


async def test_what_the_event_loop_complains_of_is_logged_without_its_text(config: Path) -> None:
    code = CODE.replace(
        "print(url, *table.routes, flush=True)",
        "(asyncio.get_running_loop().call_soon(lambda: {}['secret']), print(url, flush=True))",
    )
    async with running(config, code="import asyncio\n" + code) as server:
        await server.get("/healthz")
        assert await server.end() == 0
    [line] = [line for line in server.log if line["event"] == "event loop fault"]
    assert line["exception"] == ["KeyError"]
    assert "'secret'" not in server.err


async def test_warnings_of_the_config_file_are_told_at_the_start(config: Path) -> None:
    save(
        config,
        ROUTES.replace("api_key: sk-upstream", "api_key: sk-upstream, params: {api_version: '1'}").replace(
            "BASE_URL", "http://127.0.0.1:1/v1"
        ),
    )
    async with running(config) as server:
        assert await server.end() == 0
    assert " unused-param: " in server.err
