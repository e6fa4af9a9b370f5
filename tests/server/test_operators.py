"""Who may use the operators' paths: neighbours, or with keys or a token those who show one, whoever asks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.errors import UsageError
from gateway.policy.clients import Client
from gateway.server.client_keys import ClientKeys
from gateway.server.wiring import Gateway, ServeOptions
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, save

PATHS: Final = (
    ("GET", "/-/config"),
    ("GET", "/-/targets"),
    ("POST", "/-/targets/reset?target=up/a"),
    ("GET", "/-/explain?model=fast"),
    ("POST", "/-/reload"),
)
KEYS: Final = f"""\
ann ann-key
ops sha256:{hashlib.sha256(b"ops-key").hexdigest()} admin
cron ops-key-2 admin group=staff
ops ops-key-3
"""
TOKEN: Final = "a-long-admin-token"
FORWARDING: Final = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port",
    "x-forwarded-server", "x-forwarded-prefix", "x-forwarded", "x-real-ip", "x-client-ip", "true-client-ip",
    "cf-connecting-ip", "fastly-client-ip", "cdn-loop", "x-envoy-external-address", "x-cluster-client-ip",
)  # fmt: skip


def basic(password: str, *, user: str = "me") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(KEYS)
    return path


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


async def raw(gateway: RunningGateway, request: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request.replace("\n", "\r\n").encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split(b" ")[1]), head.decode()


@pytest.mark.parametrize("header", FORWARDING)
async def test_without_keys_a_proxy_on_this_machine_is_no_neighbour(gateway: RunningGateway, header: str) -> None:
    for method, path in PATHS:
        for value in ("127.0.0.1", ""):
            # With a body the request is of the common form, which our own connection reads and not aiohttp's server.
            body: dict[str, Any] = {"json": {}} if method == "POST" and not value else {}
            answer = await gateway.request(method, path, headers={header.title(): value}, **body)
            assert (answer.status, answer.error["code"]) == (403, "forbidden")
            assert f"`{header}`" in answer.error["message"]
            assert "--admin-token-file" in answer.error["message"]
    assert (await gateway.get("/healthz", headers={header: "127.0.0.1"})).status == 200


async def test_without_keys_a_neighbour_needs_none(gateway: RunningGateway) -> None:
    for method, path in PATHS:
        assert (await gateway.request(method, path)).status == 200


async def test_a_peer_of_a_unix_socket_is_a_neighbour_unless_it_is_a_proxy(start: Start, tmp_path: Path) -> None:
    gateway = await start(unix_socket=tmp_path / "s")
    assert (await gateway.get("/-/config")).status == 200
    assert (await gateway.get("/-/config", headers={"host": "gateway.example"})).status == 403
    assert (await gateway.get("/-/config", headers={"x-real-ip": "10.0.0.1"})).status == 403


async def test_without_keys_http_1_0_is_taken_for_a_proxy_s(gateway: RunningGateway) -> None:
    """Nginx adds no header unless told to, but speaks HTTP/1.0 to its upstreams."""
    status, _ = await raw(gateway, f"GET /-/config HTTP/1.0\nHost: 127.0.0.1:{gateway.port}\nConnection: close\n\n")
    assert status == 403
    assert (await raw(gateway, "GET /healthz HTTP/1.0\n\n"))[0] == 200


@pytest.mark.parametrize("path", ["/-/config", "/v1/models", "/healthz"])
@pytest.mark.parametrize(
    ("url", "host", "status"),
    [
        ("http://evil.example", "localhost", 403),
        ("HTTP://EVIL.example:80", "localhost", 403),
        ("http://localhost@evil.example", "localhost", 403),
        ("http://[::1]:8080", "[::1]:8080", 200),
        ("http://localhost", "localhost", 200),
    ],
)
async def test_the_host_of_a_whole_url_counts_and_not_the_field(
    gateway: RunningGateway, path: str, url: str, host: str, status: int
) -> None:
    assert (await raw(gateway, f"GET {url}{path} HTTP/1.1\nHost: {host}\n\n"))[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": basic(TOKEN)}, 200),
        ({"authorization": basic(TOKEN, user="")}, 200),
        ({"authorization": basic("ops-key")}, 200),
        ({"x-api-key": TOKEN}, 200),
        ({"api-key": TOKEN}, 200),
        ({"authorization": "Bearer sk-of-a-vendor", "x-api-key": TOKEN}, 200),
        ({"authorization": "Bearer ops-key"}, 200),
        ({"x-api-key": "ops-key-2"}, 200),
        ({"authorization": "Bearer ops-key-3"}, 403),
        ({"authorization": "Bearer ann-key"}, 403),
        ({"authorization": basic("ann-key")}, 403),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": basic(":" + TOKEN)}, 401),
        ({"authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()}, 401),
        ({"authorization": "Basic ???"}, 401),
        ({"authorization": "Bearer é"}, 401),
        ({"authorization": "Bearer ann-key", "x-api-key": "ops-key"}, 401),
    ],
)
@pytest.mark.parametrize("forwarded", [{}, {"x-forwarded-for": "10.0.0.1", "host": "gateway.example"}])
async def test_with_keys_an_operator_shows_one_whoever_asks(
    start: Start,
    keys_file: Path,
    token_file: Path,
    headers: dict[str, str],
    status: int,
    forwarded: dict[str, str],
) -> None:
    gateway = await start(client_keys_file=keys_file, admin_token_file=token_file, host="0.0.0.0")
    gateway.url = f"http://127.0.0.1:{gateway.port}"
    for method, path in (*PATHS, ("POST with a body", "/-/reload")):
        body: dict[str, Any] = {"json": {}} if "body" in method else {}
        answer = await gateway.request(method[:4].strip(), path, headers={**headers, **forwarded}, **body)
        assert answer.status == status, path
        if status != 200 and len(headers) < 2:
            assert (
                "the token of --admin-token-file or a client key whose line is marked `admin`" in answer.body.decode()
            )
        if status == 401:
            assert answer.headers["www-authenticate"] == 'Basic realm="gateway", Bearer'
        assert TOKEN not in answer.body.decode()


async def test_the_admin_token_is_no_client_key(start: Start, keys_file: Path, token_file: Path) -> None:
    gateway = await start(client_keys_file=keys_file, admin_token_file=token_file)
    assert (await gateway.chat("echo", headers={"authorization": f"Bearer {TOKEN}"})).status == 401
    assert (await gateway.chat("echo", headers={"authorization": basic("ann-key")})).status == 401
    assert (await gateway.chat("echo", headers={"authorization": "Bearer ops-key"})).status == 200


async def test_a_token_alone_closes_the_operators_paths_and_nothing_else(start: Start, token_file: Path) -> None:
    gateway = await start(admin_token_file=token_file)
    assert (await gateway.chat("echo")).status == 200
    assert (await gateway.get("/metrics")).status == 200
    answer = await gateway.get("/-/config")
    assert answer.status == 401
    assert answer.error["message"].startswith("the operators' paths want the token of --admin-token-file, as `Auth")
    answer = await gateway.get("/-/config", headers={"authorization": "Bearer guessed"})
    assert answer.error["message"].startswith("the key is not known to this gateway: the operators' paths want")
    assert (await gateway.get("/-/config", headers={"authorization": f"Bearer {TOKEN}"})).status == 200
    answer = await gateway.get("/-/config", headers={"host": "evil.example"})
    assert (answer.status, "www-authenticate" in answer.headers) == (403, False)


async def test_where_no_key_is_an_operator_s_the_answer_and_the_log_say_so(
    start: Start, keys_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    save(keys_file, "ann ann-key\n")
    gateway = await start(client_keys_file=keys_file)
    assert "nobody may use the operators' paths" in caplog.text
    for headers, status in (({}, 401), ({"x-api-key": "ann-key"}, 403)):
        answer = await gateway.get("/-/config", headers=headers)
        assert answer.status == status
        assert "no line of the client keys file is, and --admin-token-file is not set" in answer.error["message"]


async def test_the_token_is_read_again_when_its_file_changes(start: Start, token_file: Path) -> None:
    gateway = await start(admin_token_file=token_file)

    async def status_of(token: str) -> int:
        status: int = (await gateway.get("/-/config", headers={"authorization": f"Bearer {token}"})).status
        return status

    save(token_file, "another")
    assert (await status_of("another"), await status_of(TOKEN)) == (200, 401)
    save(token_file, None)
    assert await status_of("another") == 401
    assert "the token's file holds none at present" in (await gateway.get("/-/config")).error["message"]
    save(token_file, TOKEN)
    assert await status_of(TOKEN) == 200


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\nb", "ké"])
def test_a_file_without_a_token_is_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    (tmp_path / "routes.yaml").write_text("version: 1\nmodels: {a: mock/echo}\n")
    with pytest.raises(UsageError, match="holds no token") as caught:
        Gateway(ServeOptions(config=tmp_path / "routes.yaml", admin_token_file=tmp_path / "token"), environ={})
    assert "words" not in str(caught.value)


async def test_neither_token_nor_key_is_in_the_log_or_the_output(
    start: Start,
    upstream: ScriptedOpenAI,
    keys_file: Path,
    token_file: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    gateway = await start(client_keys_file=keys_file, admin_token_file=token_file)
    for shown in (f"Bearer {TOKEN}", basic(TOKEN), "Bearer ops-key", "Bearer ann-key", "Bearer guessed-key"):
        for method, path in (*PATHS, ("GET", "/v1/models"), ("GET", "/-/nowhere")):
            answer = await gateway.request(method, path, headers={"authorization": shown})
            assert not any(key in answer.body.decode() for key in (TOKEN, "ops-key", "ann-key", "guessed-key"))
    out, err = capfd.readouterr()
    told = out + err + "".join(str(record.__dict__) for record in caplog.records)
    assert not any(key in told for key in (TOKEN, "ops-key", "ann-key", "guessed-key", basic(TOKEN)[6:]))


def test_lines_give_name_group_and_admin_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a 1\nb 2 admin\nc 3 group=x\nd 4 admin group=x\nd 5\ne 6 group=y admin\n")
    keys = ClientKeys(tmp_path / "keys")
    assert [keys.client_of(key) for key in "1234567"] == [
        Client(name="a"),
        Client(name="b", is_admin=True),
        Client(name="c", group="x"),
        Client(name="d", group="x", is_admin=True),
        Client(name="d", group="x"),
        Client(name="e", group="y", is_admin=True),
        None,
    ]


def test_64_hex_digits_are_a_key_and_no_digest(tmp_path: Path) -> None:
    """`openssl rand -hex 32` makes such keys; a digest is marked with `sha256:`."""
    key = hashlib.sha256(b"another").hexdigest()
    (tmp_path / "keys").write_text(f"ann {key}\n")
    keys = ClientKeys(tmp_path / "keys")
    assert (keys.client_of(key), keys.client_of("another")) == (Client(name="ann"), None)
