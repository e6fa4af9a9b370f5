"""Who may talk to the gateway, and who may not: pages, host names, keys, peers."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.server.access import Guards, check_exposure, is_loopback, is_near
from gateway.server.client_keys import ClientKeys
from gateway.server.wiring import Gateway, ServeOptions
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, save

PAGE = "http://localhost:3000"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/-/config", "/nowhere"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
async def test_a_web_page_is_refused_unless_allowed(gateway: RunningGateway, path: str, origin: str) -> None:
    answer = await gateway.get(path, headers={"origin": origin})
    assert (answer.status, answer.error["code"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/chat/completions", {}, 404),
        ("/v1/chat/completions", {"host": "evil.example"}, 403),
        ("/v1/chat/completions", {"content-type": "text/plain"}, 415),
        ("/-/reload", {"x-forwarded-for": "192.0.2.1"}, 403),
        ("/-/reload", {"content-type": "text/plain"}, 415),
    ],
)
async def test_a_head_that_comes_again_is_judged_alike(
    path: str, headers: dict[str, str], status: int, gateway: RunningGateway
) -> None:
    good = {"content-type": "application/json"}
    data = b'{"model":"nobody","messages":[{"role":"user","content":"hi"}]}'
    for _ in range(3):
        assert (await gateway.request("POST", path, data=data, headers={**good, **headers})).status == status
        assert (await gateway.request("POST", "/v1/chat/completions", data=data, headers=good)).status == 404


async def test_a_refused_page_spends_nothing(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    assert (await gateway.chat("fast", headers={"origin": "https://evil.example"})).status == 403
    assert upstream.calls == []


async def test_an_allowed_page_may_call_and_read(start: Start) -> None:
    gateway = await start(allow_origins=(PAGE,))
    preflight = await gateway.request("OPTIONS", "/v1/chat/completions", headers={"origin": PAGE, **PREFLIGHT})
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for stream in (True, False):
        answer = await gateway.chat("fast", headers={"origin": PAGE}, stream=stream)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        assert answer.headers["vary"] == "Origin"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
    failed = await gateway.chat("unknown", headers={"origin": PAGE})
    assert (failed.status, failed.headers["access-control-allow-origin"]) == (404, PAGE)


async def test_other_pages_stay_refused_when_one_is_allowed(start: Start) -> None:
    gateway = await start(allow_origins=(PAGE,))
    for origin in ("http://localhost:3001", "https://localhost:3000", "http://localhost:3000.evil.example"):
        assert (await gateway.get("/v1/models", headers={"origin": origin})).status == 403
        preflight = await gateway.request("OPTIONS", "/v1/chat/completions", headers={"origin": origin, **PREFLIGHT})
        assert preflight.status == 403


async def test_an_allowed_page_may_not_use_the_operator_s_endpoints(start: Start) -> None:
    gateway = await start(allow_origins=("*",))
    assert (await gateway.get("/v1/models", headers={"origin": "https://any.example"})).status == 200
    assert (await gateway.get("/-/config", headers={"origin": "https://any.example"})).status == 403
    assert (await gateway.request("POST", "/-/reload", headers={"origin": PAGE})).status == 403


@pytest.mark.parametrize("origin", ["localhost:3000", "http://host/path", "http://user@host", "", "http://host/"])
def test_what_is_no_origin_is_a_usage_error(origin: str) -> None:
    with pytest.raises(UsageError, match="is not an origin"):
        Guards(loopback=True, allow_origins=(origin,), keys=None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("localhost.", 200),
        ("app.localhost:80", 200),
        ("host.docker.internal:8080", 200),
        ("127.0.0.1", 200),
        ("127.1.2.3:8080", 200),
        ("[::1]", 200),
        ("[::1]:8080", 200),
        ("[::ffff:127.0.0.1]:8080", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("127.0.0.1%.evil.example", 403),
        ("127.0.0.1.nip.io", 403),
        ("evil.example.:80", 403),
        ("localhost@evil.example", 403),
        ("10.0.0.1", 403),
        ("0.0.0.0", 403),
        ("[::]", 403),
        ("[evil", 403),
    ],
)
async def test_on_loopback_a_foreign_host_name_is_refused(gateway: RunningGateway, host: str, status: int) -> None:
    assert (await gateway.get("/v1/models", headers={"host": host})).status == status


async def test_without_a_host_header_a_request_is_no_page_s(gateway: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /v1/models HTTP/1.0\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()


async def test_beyond_loopback_any_host_name_will_do(start: Start) -> None:
    gateway = await start(host="0.0.0.0", insecure=True)
    gateway.url = f"http://127.0.0.1:{gateway.port}"
    assert (await gateway.get("/v1/models", headers={"host": "gateway.svc"})).status == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("gateway.example", False),
    ],
)
def test_only_loopback_addresses_count_as_this_machine(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("insecure", [True, False])
@pytest.mark.parametrize("private", [True, False])
def test_beyond_loopback_keys_or_an_explicit_word_are_needed(*, private: bool, insecure: bool, keys: bool) -> None:
    if private or insecure or keys:
        check_exposure(private=private, has_keys=keys, insecure=insecure)
    else:
        with pytest.raises(UsageError, match="--client-keys-file"):
            check_exposure(private=private, has_keys=keys, insecure=insecure)


def test_a_gateway_for_everybody_is_not_even_built(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--insecure"):
        Gateway(ServeOptions(config=tmp_path / "routes.yaml", host="0.0.0.0"), environ={})


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    hashed = hashlib.sha256(b"bob-key").hexdigest()
    path.write_text(f"# clients\n\nann ann-key\nann ann-key-2\nbob sha256:{hashed}\n")
    return path


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer ann-key", 200),
        ("Bearer ann-key-2", 200),
        ("bearer  bob-key", 200),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer ann-key-3", 401),
        ("Bearer ann", 401),
        ("Basic ann-key", 401),
        ("ann-key", 401),
        ("Bearer é", 401),
    ],
)
async def test_with_a_keys_file_clients_need_a_key(
    start: Start, keys_file: Path, authorization: str | None, status: int
) -> None:
    gateway = await start(client_keys_file=keys_file)
    headers = {} if authorization is None else {"authorization": authorization}
    answer = await gateway.chat("echo", headers=headers)
    assert answer.status == status
    if status == 401:
        assert answer.error["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("form", ["ours", "aiohttp"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "ann-key"}, 200),
        ({"api-key": "bob-key"}, 200),
        ({"X-Api-Key": " ann-key-2 "}, 200),
        ({"x-api-key": "ann-key-3"}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "Bearer ann-key"}, 401),
        # One known key is enough: SDKs fill the other headers with what they find in the environment.
        ({"authorization": "Bearer sk-of-a-vendor", "x-api-key": "ann-key"}, 200),
        ({"authorization": "Basic dXNlcjpwYXNz", "api-key": "ann-key"}, 200),
        ({"authorization": "Bearer ann-key", "x-api-key": "sk-of-a-vendor"}, 200),
        ({"authorization": "Bearer ann-key", "x-api-key": "ann-key-2", "api-key": "ann-key"}, 200),
        ({"authorization": "Bearer sk-1", "x-api-key": "sk-2", "api-key": "sk-3"}, 401),
        # Whose limits and whose name would count?
        ({"authorization": "Bearer ann-key", "x-api-key": "bob-key"}, 401),
        ({"x-api-key": "ann-key", "api-key": "bob-key"}, 401),
    ],
)
async def test_a_key_may_come_in_three_headers_and_goes_no_further(
    start: Start, upstream: ScriptedOpenAI, keys_file: Path, headers: dict[str, str], status: int, form: str
) -> None:
    gateway = await start(client_keys_file=keys_file)
    more = {"te": "trailers"} if form == "aiohttp" else {}
    answer = await gateway.chat("fast", headers={**headers, **more})
    assert answer.status == status
    if status == 401:
        assert (answer.error["code"], answer.headers["x-should-retry"]) == ("invalid_api_key", "false")
        assert upstream.requests == []
    else:
        sent = upstream.requests[0].headers
        assert sent["authorization"] == "Bearer sk-upstream"
        assert not {"x-api-key", "api-key"} & {name.lower() for name in sent}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models", {"authorization": "Bearer ann-key"}, 200),
        ("/v1/models", {"x-api-key": "ann-key"}, 200),
        ("/healthz", {"api-key": "ann-key"}, 200),
        ("/-/config", {"authorization": "Bearer root-key"}, 200),
        ("/-/config", {"authorization": "Bearer ann-key"}, 403),
        ("/v1/models", {"authorization": "Bearer guessed"}, 401),
        ("/healthz", {"authorization": "Bearer guessed"}, 401),
        ("/v1/models", {}, 403),
        ("/healthz", {}, 403),
        ("/-/config", {}, 403),
    ],
)
async def test_a_foreign_host_name_is_let_in_with_a_key(
    start: Start, keys_file: Path, path: str, headers: dict[str, str], status: int
) -> None:
    save(keys_file, "ann ann-key\nroot root-key admin\n")
    gateway = await start(client_keys_file=keys_file)
    answer = await gateway.get(path, headers={"host": "gateway.internal", **headers})
    assert answer.status == status
    if status == 403 and not headers:
        assert re.search("unless (a client|an operator's) key is sent", answer.error["message"])
        assert "www-authenticate" not in answer.headers


async def test_without_client_keys_none_opens_a_foreign_host_name(gateway: RunningGateway) -> None:
    answer = await gateway.get("/v1/models", headers={"host": "evil.example", "authorization": "Bearer any"})
    assert answer.status == 403
    assert "client key" not in answer.error["message"]


async def test_the_hash_of_a_key_is_no_key(start: Start, keys_file: Path) -> None:
    gateway = await start(client_keys_file=keys_file)
    hashed = hashlib.sha256(b"bob-key").hexdigest()
    for key in (hashed, f"sha256:{hashed}"):
        assert (await gateway.chat("echo", headers={"authorization": f"Bearer {key}"})).status == 401


async def test_probes_and_metrics_need_no_key(start: Start, keys_file: Path) -> None:
    gateway = await start(client_keys_file=keys_file)
    for path in ("/healthz", "/readyz", "/metrics", "/", "/v1"):
        assert (await gateway.get(path)).status == 200
    for path in ("/v1/models", "/v1/models/echo", "/models", "//v1//models/", "/models/echo"):
        assert (await gateway.get(path)).status == 401


async def test_preflights_carry_no_key(start: Start, keys_file: Path) -> None:
    gateway = await start(client_keys_file=keys_file, allow_origins=(PAGE,))
    headers = {"origin": PAGE, **PREFLIGHT}
    assert (await gateway.request("OPTIONS", "/v1/chat/completions", headers=headers)).status == 204
    answer = await gateway.chat("echo", headers={"origin": PAGE})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, PAGE)


async def test_the_keys_file_is_read_again_when_it_changes(
    start: Start, keys_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await start(client_keys_file=keys_file)

    async def status_of(key: str) -> int:
        status: int = (await gateway.chat("echo", headers={"authorization": f"Bearer {key}"})).status
        return status

    save(keys_file, "cem cem-key\n")
    assert (await status_of("cem-key"), await status_of("ann-key")) == (200, 401)
    save(keys_file, "cem\n")
    assert await status_of("cem-key") == 200
    assert [record.message for record in caplog.records].count("client keys not read again: the old ones stay") == 1
    save(keys_file, None)
    assert await status_of("cem-key") == 200
    save(keys_file, "dan dan-key\n")
    assert (await status_of("dan-key"), await status_of("cem-key")) == (200, 401)
    assert not any("-key" in record.getMessage() + str(record.__dict__.get("reason")) for record in caplog.records)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("# nobody\n\n", "holds no key"),
        ("only-a-key\n", ":1: a line is `name key`"),
        ("ann key adnim\n", ":1: a line is `name key`"),
        ("ann key admin admin\n", ":1: a line has one `group=NAME` and one `admin`"),
        ("ann key group=a group=b\n", ":1: a line has one `group=NAME` and one `admin`"),
        ("ann key group=\n", ":1: a group's name is made of"),
        ("ann key group=é\n", ":1: a group's name is made of"),
        ("ann key-1 group=a\nann key-2 group=b\n", ":2: line 1 gives the client 'ann' the group 'a'; a client has one"),
        ("ann admin key\n", ":1: the key comes second"),
        ("ann admin\n", ":1: the key comes second"),
        ("ann group=a key\n", ":1: the key comes second"),
        ("# c\nann key more\n", ":2: a line is `name key`"),
        ("än key\n", ":1: a client's name"),
        ("ann kéy\n", ":1: a key is printable ASCII"),
        ("ann sha256:abc\n", ":1: after sha256: stand 64 hex digits"),
        ("ann same\nbob same\n", ":2: the key is that of client 'ann' already"),
    ],
)
def test_a_malformed_keys_file_is_a_usage_error_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        ClientKeys(path)
    assert message in str(caught.value)
    assert "same" not in str(caught.value).replace("the same", "")


def test_a_keys_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the client keys file"):
        ClientKeys(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        ClientKeys(tmp_path / "binary")


@pytest.mark.parametrize(
    ("peer", "near"),
    [
        (("127.0.0.1", 1), True),
        (("::1", 1, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), True),
        (("10.0.0.1", 1), False),
        (("fe80::1%eth0", 1, 0, 0), False),
        (None, False),
    ],
)
def test_a_neighbour_is_a_loopback_peer(peer: tuple[object, ...] | None, *, near: bool) -> None:
    assert is_near(peer, None) is near


def test_a_peer_on_a_unix_socket_is_a_neighbour() -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        assert is_near("", unix)
