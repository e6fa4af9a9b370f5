"""The container, Compose, Kubernetes and systemd files of `deploy/`: what they allow, and the probe."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any, Final

import pytest
import yaml

from tests.paths import ROOT

DEPLOY: Final = ROOT / "deploy"
PROBE: Final = "/usr/local/lib/gateway/healthcheck.py"
LOCKED_DOWN: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pods() -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return [document["spec"] for document in documents if document["kind"] == "Pod"]


def containers() -> list[dict[str, Any]]:
    return [container for pod in pods() for kind in ("initContainers", "containers") for container in pod[kind]]


def instructions(name: str) -> list[str]:
    """Return what follows an instruction of the Dockerfile, each time, on one line."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [match[1] for match in re.finditer(rf"^{name} (.+)$", text, re.MULTILINE)]


def test_pods_are_nobody_and_have_no_token() -> None:
    assert pods()
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


def test_every_container_of_a_pod_is_locked_down() -> None:
    assert containers()
    for container in containers():
        assert container["securityContext"] == LOCKED_DOWN, container["name"]


def test_every_service_of_compose_is_locked_down() -> None:
    for name, service in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "ports" not in service, name


def test_images_name_where_they_come_from_and_which_they_are() -> None:
    images = [container["image"] for container in containers()]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    images += [service["image"] for service in services if "image" in service]
    for image in images:
        assert "/" in image, f"{image}: anybody's on the default registry"
        assert re.search(r":\d+\.\d+\.\d+$|@sha256:", image), image


def test_the_image_runs_as_nobody_and_its_base_can_be_fixed_by_digest() -> None:
    assert instructions("USER")[-1] == "10001:10001"
    assert instructions("ARG") == ["PYTHON=python:3.13-slim"]
    assert {stage.split()[0] for stage in instructions("FROM")} == {"${PYTHON}"}


def test_the_image_installs_the_lock_and_nothing_else() -> None:
    installs = [part for run in instructions("RUN") for part in run.split("&&") if "pip install" in part]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes -r deploy/" in command or "--no-index --no-deps" in command, command


def test_every_probe_is_the_same_program() -> None:
    (check,) = instructions("HEALTHCHECK")
    command = json.loads(check.split("CMD ")[1])
    assert command[-1] == PROBE
    assert f"deploy/healthcheck.py {PROBE}" in instructions("COPY")
    probes = [value["exec"]["command"] for item in containers() for key, value in item.items() if key.endswith("Probe")]
    assert probes == [command, command]


def test_the_unit_has_no_rights_to_gain() -> None:
    lines = set((DEPLOY / "gateway.service").read_text().splitlines())
    assert {"DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="} <= lines


class _Ready(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass

    def address_string(self) -> str:
        return "somebody"


class _Unready(_Ready):
    status = 503


class _UnixServer(UnixStreamServer):
    def get_request(self) -> tuple[Any, Any]:
        return super().get_request()[0], ("somebody", 0)


@contextmanager
def serving(server: HTTPServer | _UnixServer) -> Iterator[None]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def probe(**environ: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-I", str(DEPLOY / "healthcheck.py")]
    return subprocess.run(run, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("host", ["", "127.0.0.1", "0.0.0.0", "localhost"])
def test_the_probe_follows_the_port(host: str) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Ready)
    with serving(server):
        assert probe(GATEWAY_HOST=host, GATEWAY_PORT=f" {server.server_port} ").returncode == 0
    assert probe(GATEWAY_PORT=str(server.server_port)).returncode == 1


def test_the_probe_follows_the_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.sock")
    with serving(_UnixServer(path, _Ready)):
        assert probe(GATEWAY_UNIX_SOCKET=path, GATEWAY_PORT="1").returncode == 0


def test_the_probe_asks_no_proxy() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Ready)
    with serving(server):
        done = probe(
            GATEWAY_PORT=str(server.server_port), http_proxy="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1"
        )
        assert done.returncode == 0, done.stderr


def test_an_unready_gateway_and_a_wrong_port_fail_with_a_reason() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Unready)
    with serving(server):
        assert probe(GATEWAY_PORT=str(server.server_port)).stderr == "not ready: status 503\n"
    done = probe(GATEWAY_PORT="many")
    assert (done.returncode, "many" in done.stderr) == (1, True)


def test_the_port_that_kubernetes_sets_is_not_one() -> None:
    healthcheck = runpy.run_path(str(DEPLOY / "healthcheck.py"))
    for value in ("tcp://10.0.0.1:80", "", " "):
        asked = healthcheck["connection"]({"GATEWAY_PORT": value, "GATEWAY_HOST": "::"})
        assert (asked.host, asked.port) == ("::1", 8080)
