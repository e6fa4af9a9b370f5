"""No descriptors left, and an upstream's certificate that is refused: the log says so, once a minute."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import litellm  # noqa: F401 - warns when it is loaded, which is an error in a thread
import pytest

from tests.litellm_calls import QUIET
from tests.log_lines import logging_to
from tests.raw_http import Peer, serving
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import ROUTES, Start, until
from tests.server.test_process import CODE, running

pytestmark = [*QUIET]

FEW: int = 48
"""Descriptors that the process may have."""


async def test_a_process_without_descriptors_says_so_and_recovers(tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES.replace("BASE_URL", upstream.base_url))
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({FEW}, {FEW}))\n{CODE}"
    async with running(config, code=code) as server:
        assert await server.get("/healthz") == 200  # this connection is kept
        port = int(server.url.rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * FEW)]

        async def status() -> int:
            async with server.chat("fast") as response:
                return response.status

        async def is_refused() -> bool:
            return await status() == 502

        await until(is_refused)  # from when on the process has accepted all that it can
        assert [await status(), await status()] == [502, 502]
        await asyncio.sleep(1.5)  # until the next look
        for _, writer in held:
            writer.close()

        async def is_served() -> bool:
            return await status() == 200

        await until(is_served)
        assert await server.end() == 0
    told = [line for line in server.log if line["event"] == "out of resources"]
    assert sorted((line["doing"], line["reason"]) for line in told) == [("accept", "EMFILE"), ("connect", "EMFILE")]


@pytest.fixture(scope="module")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The TLS of a server whose certificate nobody trusts."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(path), "-out", f"{path}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{path}.crt", path)
    return context


@pytest.mark.parametrize("adapter", ["relay", "litellm"])
async def test_a_certificate_that_is_refused_has_one_line(
    start: Start, server_tls: ssl.SSLContext, adapter: str
) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()

    lines = io.StringIO()
    async with serving(handle, tls=server_tls) as server:
        base_url = f"https://127.0.0.1:{server.origin.port}/v1"
        routes = ROUTES.replace("BASE_URL", base_url).replace("kind: openai", f"kind: openai, adapter: {adapter}")
        gateway = await start(routes)
        with logging_to(lines):
            for _ in range(3):
                answer = await gateway.chat("fast")
                assert (answer.status, answer.error["attempts"][0]["kind"]) == (502, "connection")
    logged: list[Any] = [json.loads(line) for line in lines.getvalue().splitlines()]
    [line] = [line for line in logged if line["event"] == "certificate refused"]
    assert line["host"].startswith("127.0.0.1")
    assert line["reason"].startswith("self")
