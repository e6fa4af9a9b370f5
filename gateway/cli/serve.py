"""`gateway serve`: read flags and environment variables, and run the server."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shlex
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway._version import __version__
from gateway.cli.files import cases_beside, reading
from gateway.cli.settings import (
    Commands,
    Settings,
    add_command,
    add_flag,
    boolean,
    config_path,
    duration_s,
    is_kubernetes,
    log_format,
    log_level,
    number,
    port,
    size,
    size_or_none,
)
from gateway.config.compiler import known_providers
from gateway.errors import UsageError
from gateway.policy.table import RoutingTable
from gateway.reports.problems import complain, report
from gateway.words import printable, share_of

if TYPE_CHECKING:
    from gateway.server.wiring import ServeOptions
    from gateway.state.options import OnStateError, StateAddress, StateOptions
    from gateway.telemetry.access_log import AccessLog

log = logging.getLogger(__name__)

MAX_WORKERS: Final = 64
"""Of one machine's processors; more are a slip of the finger."""
SHOWN_ALIASES: Final = 20
"""Number of aliases that the banner names; it counts the rest."""

_TEXT = """\
Serve the aliases of a config file over OpenAI's HTTP interface.
The file is compiled anew at each save, at SIGHUP and at POST /-/reload; a bad one changes nothing.
Every flag has an environment variable, named in brackets.
"""

_EPILOG = """\
examples:
  gateway serve
  gateway serve deploy/routes.yaml --port 9000 --log-level debug
  gateway serve --host 0.0.0.0 --client-keys-file keys.txt
  gateway serve --unix-socket /run/gateway/gateway.sock

exit codes:
  0  stopped by SIGTERM or SIGINT; requests that the drain cut off ended with an error, and a log line tells of them
  1  the config file has problems, or something did not end and the process had to be ended
  2  wrong usage, an unreadable file, or an address in use
"""

_MIB: Final = 1024 * 1024


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, run, "serve", "serve a config file, reloading it at each save", _TEXT, _EPILOG)
    parser.add_argument("file", metavar="CONFIG", nargs="?", help="the config file (default: ./routes.yaml)")
    add_flag(parser, "config", "FILE", "the same as CONFIG")
    add_flags(parser)


def add_flags(parser: argparse.ArgumentParser, *, any_port: str = "8080", any_level: str = "info") -> None:
    """Add the flags of the server. `any_port` and `any_level`: the port and the log level if none is given."""
    listening = parser.add_argument_group("where to listen")
    add_flag(listening, "host", "HOST", "address to listen on (default: 127.0.0.1)")
    add_flag(listening, "port", "PORT", f"port to listen on, 0 for any (default: {any_port})")
    text = "move /metrics and /-/ to a port of their own, 0 for any"
    add_flag(listening, "admin-port", "PORT", text)
    add_flag(listening, "admin-host", "HOST", "address of that port (default: 127.0.0.1)")
    add_flag(listening, "port-file", "PATH", "write the port there once it listens; removed at the end")
    add_flag(listening, "unix-socket", "PATH", "listen on a Unix socket instead")
    add_flag(listening, "workers", "N", "processes that serve together, one core each (default: 1)")
    callers = parser.add_argument_group("who may call")
    text = "a name and a client key, or its SHA-256, per line; then group=NAME and admin, if wanted"
    add_flag(callers, "client-keys-file", "FILE", text)
    add_flag(callers, "admin-token-file", "FILE", "a token that opens the operators' paths, /-/")
    text = "listen beyond this machine without client keys [GATEWAY_INSECURE=1]"
    callers.add_argument("--insecure", action="store_true", help=text)
    add_flag(callers, "allow-origin", "ORIGIN", "a web page's origin that may call; may be repeated", many=True)
    text = "asked for where moderations and images leave the model out"
    add_flag(parser.add_argument_group("models"), "default-model", "MODEL", text)
    reloads = parser.add_argument_group("versions of the config file")
    text = "keep the last good version in this folder, for starts with a bad file, and what days and months have used"
    add_flag(reloads, "state-dir", "PATH", text)
    text = "serve no version that fails these test cases (without FILE: CONFIG's own, routes.test.yaml)"
    add_flag(reloads, "canary", "FILE", text, optional=True)
    together = parser.add_argument_group("several replicas")
    text = "share limits with other replicas and workers in this Redis: redis://, rediss:// or unix://"
    add_flag(together, "state", "URL", text)
    add_flag(together, "state-prefix", "TEXT", "what its keys begin with (default: gateway)")
    add_flag(together, "state-timeout", "DURATION", "the longest that a request waits for it (default: 50ms)")
    text = "what decides without it: local (own limits), allow or deny (default: local)"
    add_flag(together, "on-state-error", "WHAT", text)
    limits = parser.add_argument_group("limits and logs")
    add_flag(limits, "max-body", "SIZE", "largest request body (default: 32MiB)")
    text = "most bytes of all requests' bodies together, 503 beyond (default: 256MiB)"
    add_flag(limits, "max-body-in-flight", "SIZE", text)
    text = "largest body over 1MiB that a hook or a translation may decode, long texts not counted (default: 4MiB)"
    add_flag(limits, "max-parsed-body", "SIZE", text)
    text = "most bytes of kept answers, for aliases with a cache; 0 keeps none (default: 64MiB)"
    add_flag(limits, "cache-size", "SIZE", text)
    text = "most connections of clients; more get 503, but for probes and /-/ (default: no limit)"
    add_flag(limits, "max-connections", "N", text)
    text = "most model requests at once, 503 beyond; one target gets half of them at most (default: no limit)"
    add_flag(limits, "max-in-flight", "N", text)
    text = "how long new requests are still served after SIGTERM, while /readyz says no (default: 0s)"
    add_flag(limits, "drain-delay", "DURATION", text)
    add_flag(limits, "drain", "DURATION", "how long requests may go on after that (default: 30s)")
    add_flag(limits, "log-level", "LEVEL", f"debug, info, warning or error (default: {any_level})")
    text = "json, or text for people: with colours on a terminal (default: json)"
    add_flag(limits, "log-format", "FORMAT", text)
    text = (
        "the requests in the log: all, errors (also what fell over or was slow), these and a share such as 5%%, or off"
    )
    add_flag(limits, "access-log", "WHICH", f"{text} (default: all)")
    add_flag(limits, "log-file", "PATH", "add log lines to this file, not to standard error")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Raises UsageError."""
    # Not at the top: `gateway --help` loads this module, and aiohttp takes longer to load than everything else.
    from gateway.server.process import serve

    begin_logging(args, any_level="info")
    options = read_options(args)
    check_is_there(options)
    return serve(options, on_ready=partial(announce, options), report=report, complain=complain)


def begin_logging(args: argparse.Namespace, *, any_level: str) -> None:
    """Log to standard error, as flags and environment say, until the server logs by all of its options."""
    from gateway.server import process

    settings = Settings(args, os.environ)
    process.begin_logging(
        settings.get("log-level", log_level, any_level), settings.get("log-format", log_format, "json")
    )


def check_is_there(options: ServeOptions) -> None:
    """Raise UsageError where there is no config file, and no kept version that could serve in its place."""
    if options.state_dir is None:
        with reading(str(options.config)):
            options.config.stat()


def read_options(args: argparse.Namespace, *, any_port: int = 8080, quiet: bool = False) -> ServeOptions:
    """Return the options that flags and environment set. Raises UsageError.

    `any_port`: the port if none is given. `quiet`: standard error gets warnings only, unless told otherwise.
    """
    from gateway.server.wiring import ServeOptions
    from gateway.telemetry.access_log import ALL

    environ = dict(os.environ)
    for name in ("GATEWAY_PORT", "GATEWAY_ADMIN_PORT"):
        if is_kubernetes(name, environ):
            # Kubernetes sets these in every pod of a namespace with a Service named `gateway` or `gateway-admin`.
            value = environ.pop(name)
            log.warning("%s is ignored: it describes a Kubernetes Service", name, extra={"value": value})
    settings = Settings(args, environ)
    unix_socket, log_file = (settings.get(name, _path, None) for name in ("unix-socket", "log-file"))
    port_file, admin_port = settings.get("port-file", _path, None), settings.get("admin-port", _port, None)
    if admin_port is None and settings.get("admin-host", str, ""):
        raise UsageError("--admin-host without --admin-port: say which port metrics and operators' paths move to")
    if unix_socket is not None and port_file is not None:
        raise UsageError("there is no port for --port-file: a Unix socket has none")
    config = config_path(args, environ)
    return ServeOptions(
        config=config,
        host=settings.get("host", str, "127.0.0.1"),
        port=settings.get("port", port, any_port),
        admin_host=settings.get("admin-host", str, "127.0.0.1"),
        admin_port=admin_port,
        port_file=port_file,
        unix_socket=unix_socket,
        workers=settings.get("workers", _workers, 1),
        arguments=tuple(sys.argv[1:]),
        default_model=settings.get("default-model", _name, None),
        max_body_bytes=settings.get("max-body", size, 32 * _MIB),
        max_body_in_flight_bytes=settings.get("max-body-in-flight", size, 256 * _MIB),
        max_parsed_body_bytes=settings.get("max-parsed-body", size, 4 * _MIB),
        cache_bytes=settings.get("cache-size", size_or_none, 64 * _MIB),
        client_keys_file=settings.get("client-keys-file", _path, None),
        admin_token_file=settings.get("admin-token-file", _path, None),
        state_dir=settings.get("state-dir", _path, None),
        state=_state(settings),
        canary=settings.get("canary", partial(_canary, config), None),
        insecure=settings.is_on("insecure"),
        allow_origins=settings.get_all("allow-origin"),
        max_connections=settings.get("max-connections", number, None),
        max_in_flight=settings.get("max-in-flight", number, None),
        drain_delay_s=settings.get("drain-delay", duration_s, 0.0),
        drain_s=settings.get("drain", duration_s, 30.0),
        log_level=settings.get("log-level", log_level, "warning" if quiet and log_file is None else "info"),
        log_format=settings.get("log-format", log_format, "json"),
        access_log=settings.get("access-log", _access_log, ALL),
        log_file=log_file,
    )


def _state(settings: Settings) -> StateOptions | None:
    """Return the flags of the state that replicas share; None without `--state`. No message repeats its URL."""
    from gateway.state.options import StateOptions, read_address, read_on_error, read_prefix

    def address(text: str) -> StateAddress | None:
        try:
            return read_address(text)
        except ValueError as error:
            raise UsageError(f"--state (GATEWAY_STATE) is not the URL of a Redis: {error}") from None

    where = settings.get("state", address, None)
    prefix = settings.get("state-prefix", read_prefix, "gateway")
    timeout_s = settings.get("state-timeout", duration_s, 0.05)
    on_error: OnStateError = settings.get("on-state-error", read_on_error, "local")
    if where is None:
        return None
    return StateOptions(address=where, prefix=prefix, timeout_s=timeout_s, on_error=on_error)


def _name(text: str) -> str | None:
    if not text:
        raise ValueError("an alias")
    return text


def _workers(text: str) -> int:
    found = number(text) or 0
    if found > MAX_WORKERS:
        raise ValueError(f"a whole number from 1 to {MAX_WORKERS}")
    return found


def _port(text: str) -> int | None:
    return port(text)


def _canary(config: Path, text: str) -> Path | None:
    """Return the file of test cases: the named one, that beside the config file for `1` or nothing, none for `0`."""
    try:
        return cases_beside(config) if not text or boolean(text) else None
    except ValueError:
        return Path(text)


def _access_log(text: str) -> AccessLog:
    """Read which requests have a log line."""
    from gateway.telemetry.access_log import ALL, NOTEWORTHY, OFF, AccessLog

    word = text.lower()
    if (found := {"all": ALL, "errors": NOTEWORTHY, "off": OFF}.get(word)) is not None:
        return found
    try:
        share = share_of(word) if word.endswith("%") else float(word)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError("all, errors, off, or a share: 5%, or a number from 0 to 1")
    return AccessLog(share, has_noteworthy=True)


def _path(text: str) -> Path | None:
    return Path(text)


def announce(options: ServeOptions, url: str, table: RoutingTable) -> None:
    """Print the server's address, its aliases, and a command line to try."""
    names = [*table.routes, *(route.alias for route in table.wildcards.values())]
    more = f" and {len(names) - SHOWN_ALIASES} more" if len(names) > SHOWN_ALIASES else ""
    aliases = ", ".join(names[:SHOWN_ALIASES]) + more or "none"
    lines = [f"gateway {__version__} serves {options.config} on {url}", f"aliases: {aliases}"]
    if keyless := without_key(table):
        lines.append(f"no key yet for: {', '.join(keyless)}")
    lines += ["try:", f"  {curl(url, table, with_key=options.client_keys_file is not None)}"]
    with suppress(OSError):
        print("\n".join(map(printable, lines)), flush=True)


def without_key(table: RoutingTable) -> list[str]:
    """Return the well-known providers in use that lack a key, each with its variable: `openai (OPENAI_API_KEY)`."""
    endpoints = {target.endpoint.provider: target.endpoint for target in table.targets}
    known = {name: known_providers.find(name) for name, endpoint in endpoints.items() if not endpoint.own_base_url}
    return [
        f"{name} ({provider.key_variables[0]})"
        for name, provider in known.items()
        if provider is not None
        and provider.key_required
        and provider.key_variables
        and endpoints[name].api_key.read() is None
    ]


def curl(url: str, table: RoutingTable, *, with_key: bool) -> str:
    """Return a command line that sends one request to the alias `demo`, else to the first alias."""
    names = [*table.routes, *(f"{prefix}NAME" for prefix in table.wildcards), "NAME"]
    model = "demo" if "demo" in table.routes else names[0]
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    words = ["curl", "-i"]
    if url.startswith("unix:"):
        words += ["--unix-socket", url.removeprefix("unix:")]
        url = "http://localhost"
    elif urlsplit(url).hostname in {"0.0.0.0", "::"}:  # noqa: S104 - only compared
        url = f"http://127.0.0.1:{urlsplit(url).port}"
    words += [f"{url}/v1/chat/completions", "-H", "content-type: application/json"]
    if with_key:
        words += ["-H", "authorization: Bearer YOUR-KEY"]
    return shlex.join([*words, "-d", json.dumps(body)])
