"""The Dockerfile and the Compose file: what an image holds, who it runs as, and what may reach it."""

from __future__ import annotations

import fnmatch
import re
from typing import Final

import pytest
import yaml

from gateway.cli import build_parser
from gateway.cli.serve import read_options
from tests.paths import ROOT
from tests.supply.dockerfile import FILE, environ, instructions, stages
from tests.supply.tools import run, tool

PYTHON: Final = "ARG PYTHON=python:3.13-slim\n"


def test_the_image_runs_as_nobody_and_its_base_can_be_fixed_by_digest() -> None:
    assert instructions("USER")[-1].text == "10001:10001"
    assert PYTHON in FILE.read_text()
    assert [stage[0].text for stage in stages()] == ["${PYTHON} AS build", "${PYTHON}"]


def test_the_image_installs_the_locks_and_nothing_else() -> None:
    installs = [part for each in instructions("RUN") for part in each.text.split("&&") if " install " in part]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes -r deploy/" in command or "--no-index --no-deps" in command, command
    assert "apt" not in "".join(each.text for each in instructions("RUN"))


def test_no_pip_is_left_in_the_image() -> None:
    (venv,) = (each.text for each in stages()[0] if "-m venv" in each.text and "/venv" in each.text)
    assert "--without-pip /venv" in venv
    (last,) = (each.text for each in stages()[1] if each.name == "RUN")
    assert {"/usr/local/lib/python3*/site-packages/pip*", "/usr/local/lib/python3*/ensurepip"} <= set(last.split())


def test_the_health_check_asks_whether_the_gateway_lives() -> None:
    (check,) = instructions("HEALTHCHECK")
    assert check.words == ["gateway", "status", "--live"]
    args = build_parser(["status"]).parse_args(check.words[1:])
    assert args.live is True


def test_what_is_copied_exists_and_is_let_through() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert "*" in lines
    for copy in instructions("COPY"):
        if copy.text.startswith("--from="):
            continue
        for source in copy.text.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source, pattern) for pattern in let_through), source
    for pattern in let_through:
        assert list(ROOT.glob(pattern)), pattern


def test_nothing_is_written_where_the_root_is_read_only() -> None:
    assert environ()["PYTHONDONTWRITEBYTECODE"] == "1"
    (compiled,) = (each.text for each in stages()[0] if "compileall" in each.text)
    assert "--invalidation-mode unchecked-hash" in compiled, "the time of the build would be in the image"


COMPOSED: Final = ("compose.yaml", "compose.replicas.yaml")


@pytest.mark.parametrize("name", COMPOSED)
def test_every_service_of_compose_is_locked_down(name: str) -> None:
    compose = yaml.safe_load((ROOT / "deploy" / name).read_text())
    for each, service in compose["services"].items():
        assert service["read_only"] is True, each
        assert service["cap_drop"] == ["ALL"], each
        assert service["security_opt"] == ["no-new-privileges:true"], each
        assert "ports" not in service, each
        assert re.search(r"/.*:\d+\.\d+\.\d+$", service.get("image", "ours/gateway:0.0.0")), each
    assert compose["services"]["gateway"]["stop_grace_period"] == "40s"


def test_two_gateways_of_compose_share_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.replicas.yaml").read_text())["services"]
    gateway = services["gateway"]
    for variable, value in gateway["environment"].items():
        monkeypatch.setenv(variable, value)
    options = read_options(build_parser(["serve"]).parse_args(["serve"]))
    assert options.state is not None
    assert str(options.state.address) == "redis://redis:6379/0"
    assert gateway["deploy"]["replicas"] == 2
    assert set(gateway["networks"]) & set(services["redis"]["networks"]) == {"state"}
    assert not set(services["app"]["networks"]) & set(services["redis"]["networks"])
    (folder,) = gateway["volumes"]
    routes = ROOT / "deploy" / folder.partition(":")[0] / "routes.yaml"
    assert "clients:" in routes.read_text(), "the policy that they share; tests/unit/test_examples.py compiles it"


@pytest.mark.parametrize("name", COMPOSED)
def test_compose_takes_its_file(name: str) -> None:
    docker = tool("docker", how="its plugin compose reads the file without a daemon")
    if run(docker, "compose", "version").returncode:
        pytest.skip("docker has no compose on this machine")
    done = run(docker, "compose", "-f", str(ROOT / "deploy" / name), "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
