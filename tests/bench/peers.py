"""Who is measured: how each is configured, started and asked."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from tests.bench.load import Request
from tests.bench.messages import answer, question
from tests.bench.processes import Child, Cores, free_ports
from tests.paths import ROOT

Kind: TypeAlias = Literal["plain", "sized", "stream", "slow"]
"""What is asked for: a small answer, one as long as the question, a stream, a slow stream."""
KINDS: Final[tuple[Kind, ...]] = ("plain", "sized", "stream", "slow")

INSTALLED: Final = ROOT / ".bench"
"""Where `make bench-peers` puts other gateways."""

DIRECT: Final = "no gateway"
NGINX: Final = "nginx"
RELAY: Final = "aiohttp relay"
GATEWAY: Final = "gateway"
TRANSLATED: Final = "gateway, LiteLLM targets"
LITELLM: Final = "LiteLLM proxy"
PORTKEY: Final = "Portkey"


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Where the upstream listens: small plain answers have a place of their own."""

    plain: str
    other: str

    def base_url(self, kind: Kind) -> str:
        """Return what an OpenAI client would be given."""
        return f"{self.plain if kind == 'plain' else self.other}/{kind}/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One of those that are measured, ready to be started."""

    name: str
    url: str
    """Where it listens."""
    command: tuple[str, ...]
    """Empty when there is nothing to start."""
    ready: str = ""
    """The path that answers once it takes requests."""
    by_path: bool = False
    """The kind of answer is chosen by the path, as nobody looks at the model; else by the model."""
    model: Callable[[Kind], str] = field(default=lambda kind: kind)
    """The name of what gives a kind of answer."""
    headers: Callable[[Kind], Mapping[str, str]] = field(default=lambda kind: {})
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path

    def request(self, kind: Kind, *, models: Sequence[str] = (), length: int = 0) -> Request:
        """Return what asks for that kind of answer, of these models in turn."""
        asked = models or (self.model(kind),)
        bodies = tuple(question(model, stream=kind in ("stream", "slow"), length=length) for model in asked)
        path = f"/{kind}/v1/chat/completions" if self.by_path else "/v1/chat/completions"
        return Request(self.url + path, bodies, self.headers(kind))

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @contextmanager
    def running(self, cores: Cores) -> Iterator[Child | None]:
        """Start it, wait until it is ready, and end it afterwards. None when there is nothing to start."""
        if not self.command:
            yield None
            return
        with Child(self.command, cores=cores.peer, log=self.log, env=self.env) as child:
            child.wait_ready(self.url + self.ready)
            yield child


Builder: TypeAlias = Callable[[Path, Upstreams], Peer | None]
"""Configures a peer in a folder for these upstreams; None where it is not installed."""


# The upstream


@contextmanager
def upstreams(folder: Path, cores: Cores, *, slow_every_s: float = 0.2) -> Iterator[Upstreams]:
    """Start the upstream: nginx for small plain answers where it is installed, `upstream.py` for everything else."""
    port, plain_port = free_ports(2)
    other = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "tests.bench.upstream", str(port), str(slow_every_s))
    with Child(command, cores=cores.rest, log=_made(folder / "upstream") / "log") as child:
        child.wait_ready(f"{other}/sized/v1/models")
        if shutil.which("nginx") is None:
            yield Upstreams(other, other)
            return
        own = _made(folder / "plain")
        server = f"location / {{ default_type application/json; return 200 '{answer().decode()}'; }}"
        with Child(_nginx_command(own, plain_port, server), cores=cores.rest, log=own / "log") as nginx_child:
            plain = f"http://127.0.0.1:{plain_port}"
            nginx_child.wait_ready(f"{plain}/plain")
            yield Upstreams(plain, other)


def direct(folder: Path, up: Upstreams, kind: Kind = "sized") -> Peer:
    """Return the upstream itself, which shows what client and upstream can do."""
    url = up.plain if kind == "plain" else up.other
    return Peer(name=DIRECT, url=url, command=(), by_path=True, folder=folder)


# The peers


def nginx(folder: Path, up: Upstreams) -> Peer:
    """Return nginx with `proxy_pass`: one worker, connections kept, no access log."""
    (port,) = free_ports(1)
    own = _made(folder / "nginx")
    server = "\n".join(
        [
            'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering on;',
            "location /plain/ { proxy_pass http://plain; }",
            "location /ready { return 200 'ready'; }",
            # What comes in pieces is passed on in pieces.
            "location / { proxy_buffering off; proxy_pass http://other; }",
        ]
    )
    pools = "\n".join(
        f"upstream {name} {{ server {url.removeprefix('http://')}; keepalive 1024; keepalive_requests 1000000000; }}"
        for name, url in (("plain", up.plain), ("other", up.other))
    )
    command = _nginx_command(own, port, server, pools)
    return Peer(name=NGINX, url=f"http://127.0.0.1:{port}", command=command, ready="/ready", by_path=True, folder=own)


def relay(folder: Path, up: Upstreams) -> Peer:
    """Return the aiohttp relay of `relay.py`."""
    (port,) = free_ports(1)
    return Peer(
        name=RELAY,
        url=f"http://127.0.0.1:{port}",
        command=(sys.executable, "-m", "tests.bench.relay", str(port), up.plain, up.other),
        ready="/ready",
        by_path=True,
        folder=_made(folder / "relay"),
    )


def gateway(folder: Path, up: Upstreams, *, name: str = GATEWAY, routes: str | None = None, code: Path = ROOT) -> Peer:
    """Return our gateway as it comes: one worker, its access log to a file."""
    (port,) = free_ports(1)
    own = _made(folder / "".join(letter if letter.isalnum() else "-" for letter in name))
    (own / "routes.yaml").write_text(routes_yaml(up) if routes is None else routes)
    start = f"import sys; sys.path.insert(0, {str(code)!r}); from gateway.cli import main; sys.exit(main())"
    return Peer(
        name=name,
        url=f"http://127.0.0.1:{port}",
        command=(sys.executable, "-c", start, "serve", str(own / "routes.yaml"), "--port", str(port)),
        ready="/readyz",
        folder=own,
    )


def routes_yaml(up: Upstreams, *, adapter: str = "relay", more: Sequence[str] = ()) -> str:
    """Return a routes.yaml: an alias for each kind of answer, and lines that go below `models`."""
    lines = ["version: 1", "providers:"]
    lines += [f'  {kind}: {{kind: openai, adapter: {adapter}, base_url: "{up.base_url(kind)}"}}' for kind in KINDS]
    lines += ["models:", *(f"  {kind}: {kind}/bench-model" for kind in KINDS), *more]
    return "\n".join(lines) + "\n"


def translated(folder: Path, up: Upstreams) -> Peer:
    """Return our gateway with all targets behind the LiteLLM library."""
    return gateway(folder, up, name=TRANSLATED, routes=routes_yaml(up, adapter="litellm"))


def litellm_proxy(
    folder: Path, up: Upstreams, *, targets: Mapping[str, Mapping[str, str]] | None = None
) -> Peer | None:
    """Return the LiteLLM proxy, where it is installed: one worker, no database, no keys.

    `targets` are LiteLLM's parameters by the name of a model; without, a model for each kind of answer.
    """
    script = INSTALLED / "litellm/bin/litellm"
    if not script.exists():
        return None
    (port,) = free_ports(1)
    own = _made(folder / ("litellm" if targets is None else "litellm-targets"))
    if targets is None:
        targets = {kind: {"model": "openai/bench-model", "api_base": up.base_url(kind)} for kind in KINDS}
    models = [{"model_name": name, "litellm_params": {**params, "api_key": "none"}} for name, params in targets.items()]
    (own / "config.yaml").write_text(json.dumps({"model_list": models, "litellm_settings": {"telemetry": False}}))
    listen = ("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False")
    return Peer(
        name=LITELLM,
        url=f"http://127.0.0.1:{port}",
        command=(str(script), "--config", str(own / "config.yaml"), *listen),
        ready="/health/liveliness",
        env={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            # It listens on the loopback for a few minutes; looking at keys would only slow it down.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
        folder=own,
    )


def portkey(folder: Path, up: Upstreams) -> Peer | None:
    """Return the Portkey gateway, where it is installed."""
    script = INSTALLED / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    node = shutil.which("node")
    if not script.exists() or node is None:
        return None
    (port,) = free_ports(1)
    return Peer(
        name=PORTKEY,
        url=f"http://127.0.0.1:{port}",
        command=(node, str(script), f"--port={port}", "--headless"),
        ready="/",
        headers=lambda kind: {"x-portkey-provider": "openai", "x-portkey-custom-host": up.base_url(kind)},
        env={"NODE_ENV": "production"},
        folder=_made(folder / "portkey"),
    )


def _nginx_command(folder: Path, port: int, server: str, pools: str = "") -> tuple[str, ...]:
    temp = "\n".join(f"{name}_temp_path {folder}/{name};" for name in ("fastcgi", "uwsgi", "scgi", "proxy"))
    conf = f"""\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log error;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 8192; }}
http {{
access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
client_max_body_size 0; client_body_buffer_size 16m; client_body_temp_path {folder}/body;
{temp}
{pools}
server {{
listen 127.0.0.1:{port} backlog=4096;
{server}
}}
}}
"""
    (folder / "nginx.conf").write_text(conf)
    return ("nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "log"))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
