"""`gateway status` asks a gateway that runs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.asking import asked
from tests.asking import no_settings as no_settings
from tests.paths import ROOT
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, save

BAD: Final = "version: 1\nmodels:\n  fast: openai\n"


pytestmark = pytest.mark.usefixtures("no_settings")


async def status(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    return await asked(capsys, "status", *flags)


async def test_in_sync_it_tells_generation_and_files(
    gateway: RunningGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = await status(capsys, "--url", gateway.url)
    first, second = out.splitlines()
    assert (code, err) == (0, "")
    assert first.startswith(f"{gateway.url}: generation 1 since 20")
    assert first.endswith("s ago)")
    digest = (await gateway.get("/-/config")).json["digest"]
    assert second == f"{gateway.config}: in sync, digest {digest[:12]}"


async def test_a_refused_edit_is_told_as_validate_prints_it(
    gateway: RunningGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    save(gateway.config, BAD)
    await gateway.request("POST", "/-/reload")
    code, out, _ = await status(capsys, "--url", gateway.url)
    assert code == 1
    _, second, third, *problems = out.splitlines()
    assert ": not in sync; digest " in second
    assert third.startswith("refused 20")
    assert problems[0].startswith(f"{gateway.config}:3:9: no-provider: models.fast")
    assert problems[1:] == ["  3 |   fast: openai", "    |         ^", f"1 problem in {gateway.config}"]
    gateway.config.unlink()
    await gateway.request("POST", "/-/reload")
    code, out, _ = await status(capsys, "--url", gateway.url)
    assert (code, "cannot be read; digest" in out, "unreadable-file" in out) == (1, True, True)


async def test_targets_at_rest_are_named(
    gateway: RunningGateway, upstream: ScriptedOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.script("a", status=503)
    for _ in range(3):
        await gateway.chat("pair")
    code, out, _ = await status(capsys, "--url", gateway.url)
    assert code == 0
    assert out.splitlines()[-1].startswith("at rest: up/a, for 1")
    code, out, _ = await status(capsys, "--url", gateway.url, "--json")
    shown = json.loads(out)
    assert (code, shown["in_sync"], shown["url"]) == (0, True, gateway.url)
    assert [target["target"] for target in shown["targets_at_rest"]] == ["up/a"]
    assert "config" not in shown


async def test_a_unix_socket_and_the_environment_lead_there_too(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    gateway = await start(unix_socket=path)
    for flags in (("--unix-socket", str(path)), ("--url", f"unix:{path}")):
        code, out, _ = await status(capsys, *flags)
        assert (code, out.startswith(f"unix:{path}: generation 1")) == (0, True)
    monkeypatch.setenv("GATEWAY_UNIX_SOCKET", str(path))
    assert (await status(capsys))[0] == 0
    assert (await status(capsys, "--live")) == (0, "", "")
    del gateway


async def test_host_and_port_of_the_environment_lead_there(
    gateway: RunningGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_PORT", str(gateway.port))
    monkeypatch.setenv("GATEWAY_HOST", "0.0.0.0")
    assert (await status(capsys))[0] == 0
    monkeypatch.setenv("GATEWAY_URL", f"{gateway.url}/")
    monkeypatch.setenv("GATEWAY_PORT", "1")
    assert (await status(capsys))[0] == 0


async def test_where_the_operators_have_a_port_of_their_own_that_is_asked(
    gateway: RunningGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_PORT", str(gateway.port))
    monkeypatch.setenv("GATEWAY_PORT", "1")
    monkeypatch.setenv("GATEWAY_UNIX_SOCKET", "/nowhere")
    assert (await status(capsys))[0] == 0
    assert (await status(capsys, "--unix-socket", "/elsewhere"))[0] == 2
    monkeypatch.setenv("GATEWAY_ADMIN_PORT", "tcp://10.0.0.1:9090")
    assert "unix:/nowhere" in (await status(capsys))[2]


async def test_a_token_opens_it(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("sk-the-token\n")
    gateway = await start(admin_token_file=token)
    code, out, err = await status(capsys, "--url", gateway.url)
    assert (code, out) == (2, "")
    assert "/-/config answers 401: the operators' paths want the token" in err
    assert "--token-file" in err
    assert (await status(capsys, "--url", gateway.url, "--token-file", str(token)))[0] == 0
    monkeypatch.setenv("GATEWAY_PORT", str(gateway.port))
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN_FILE", str(token))
    assert (await status(capsys))[0] == 0
    assert (await status(capsys, "--url", gateway.url))[0] == 2  # the server's own token goes to no other address
    other = tmp_path / "other"
    other.write_text("sk-another")
    code, _, err = await status(capsys, "--url", gateway.url, "--token-file", str(other))
    assert (code, "sk-another" in err) == (2, False)


async def test_it_is_alive_whatever_the_file_says(gateway: RunningGateway, capsys: pytest.CaptureFixture[str]) -> None:
    save(gateway.config, BAD)
    await gateway.request("POST", "/-/reload")
    assert await status(capsys, "--url", gateway.url, "--live") == (0, "", "")


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


async def test_where_nobody_answers_it_is_not_alive(capsys: pytest.CaptureFixture[str]) -> None:
    """With --live 1 and not 2, which Docker keeps for itself."""
    url = f"http://127.0.0.1:{free_port()}"
    said = f"gateway: cannot reach a gateway at {url}: connection refused; is it running?\n"
    assert await status(capsys, "--url", url) == (2, "", said)
    assert await status(capsys, "--url", url, "--live") == (1, "", said)


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """Answer each connection with `data`, and yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "what answers speaks no HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "what answers speaks no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "answers 200; is this a gateway?"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "answers in a way that this version does not know"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "answers 200; is this a gateway?"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://example.com/\r\n\r\n", "answers 302; is this a gateway?"),
        (b"HTTP/1.1 500 \r\n\r\n" + b'{"error": {"message": "a\\u001b[31m"}}', "answers 500: a\\x1b[31m"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", "answers 200; is this a gateway?"),
    ],
)
async def test_what_is_no_gateway_is_told(capsys: pytest.CaptureFixture[str], data: bytes, said: str) -> None:
    with answering(data) as url:
        code, out, err = await status(capsys, "--url", url)
        assert (code, out) == (2, "")
        assert said in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--url", "ftp://x"], "is no gateway's URL"),
        (["--url", "127.0.0.1:8080"], "is no gateway's URL"),
        (["--url", "http://u:sk-secret@x"], "--token-file names the file of a token"),
        (["--url", "http://x:99999"], "is no URL"),
        (["--url", "http://x", "--unix-socket", "/s"], "two addresses"),
        (["--token-file", "/nowhere"], "cannot read the token file /nowhere: no such file"),
        (["--token-file", "/dev/null"], "cannot read the token file /dev/null: not a regular file"),
        (["--live", "--json"], "--live prints nothing"),
        (["--unix-socket", "/nowhere"], "cannot reach a gateway at unix:/nowhere: no such file"),
        (["--unix-socket", "/" + "x" * 200], "cannot reach a gateway at"),
        (["--url", "http://a b"], "cannot reach a gateway at"),
    ],
)
async def test_wrong_usage_is_told(capsys: pytest.CaptureFixture[str], flags: list[str], said: str) -> None:
    code, out, err = await status(capsys, *flags)
    assert (code, out) == (2, "")
    assert said in err
    assert "sk-secret" not in err


def test_it_loads_no_server_and_no_yaml() -> None:
    """A container's health check runs it every few seconds."""
    code = (
        "import sys; from gateway.cli import main; code = main(['status', '--live', '--url', 'http://127.0.0.1:1']); "
        "print(code, sorted({'aiohttp', 'litellm', 'uvloop', 'yaml', 'jsonschema', 'asyncio'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout == "1 []\n"
