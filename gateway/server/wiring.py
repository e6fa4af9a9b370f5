"""The server's composition root: wires every part, listens, obeys signals, drains."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import RawRequestMessage

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.mock import MockAdapter
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.config.compiler.compiler import Compiler
from gateway.config.reload import Reloader, ReloadReport
from gateway.engine.health import State
from gateway.errors import ConfigError, UsageError
from gateway.library.provider import Provider
from gateway.policy.table import RoutingTable
from gateway.server.access import ClientKeys, Guards, check_exposure, is_loopback
from gateway.server.connection import Connection, FastPath
from gateway.server.endpoints.admin import Admin
from gateway.server.endpoints.model_calls import Endpoints
from gateway.server.exchange import Front, Lifecycle
from gateway.server.pauses import no_full_collection, short_pauses
from gateway.telemetry.logs import Metrics, configure_logging
from gateway.types import Adapters, Json, Problems

log = logging.getLogger(__name__)

THREADS: Final = 32
KEEPALIVE_S: Final = 75.0
BACKLOG: Final = 1024
GC_THRESHOLD: Final = 20_000
"""So many objects more than at the last look make Python look for cycles: a request leaves none behind."""
FLUSH_S: Final = 0.5
"""Given to answers that are complete but not yet written when the process stops."""
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

AGAIN_S: Final = 1.0
"""Waited before a background job that failed is begun again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line and its environment variables decide. None of it is hot."""

    config: Path
    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free port."""
    unix_socket: Path | None = None
    """Listen here instead of on host and port; only this user may connect."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Of a request, decompressed."""
    client_keys_file: Path | None = None
    insecure: bool = False
    """Listen beyond this machine without client keys."""
    allow_origins: tuple[str, ...] = ()
    """Web pages that may call; `*` for all."""
    drain_s: float = 30.0
    """How long requests may go on after the first SIGTERM."""
    log_level: str = "info"
    client_s: float = 60.0
    """How long a client may take to send its body, or to read what waits for it."""


class Gateway:
    """One gateway: every part, wired to the others, and the application to listen with."""

    def __init__(self, options: ServeOptions, *, environ: Mapping[str, str] = os.environ) -> None:
        """Read the config file and the client keys. Raises ConfigError and UsageError."""
        loopback = options.unix_socket is None and is_loopback(options.host)
        check_exposure(
            private=loopback or options.unix_socket is not None,
            has_keys=options.client_keys_file is not None,
            insecure=options.insecure,
        )
        keys = None if options.client_keys_file is None else ClientKeys(options.client_keys_file)
        guards = Guards(loopback=loopback, allow_origins=options.allow_origins, keys=keys)
        metrics = Metrics()
        self.lifecycle = Lifecycle(metrics)
        self.jobs = Jobs()
        compiler = Compiler(environ=environ, openai_adapter="relay", strict_env=True)
        self.reloader = _CountedReloader(options.config, compiler, metrics=metrics, on_swap=self.jobs.swapped)
        self.reloader.load()
        self._state = state = State()
        self._metrics = metrics
        mock = MockAdapter()
        self._adapters: Adapters = {
            "relay": RelayAdapter(),
            "litellm": LiteLLMAdapter(own_process=True),
            "mock": mock,
        }
        self._provider = Provider(tables=self.reloader, adapters=self._adapters, state=state)
        endpoints = Endpoints(
            provider=self._provider,
            metrics=metrics,
            lifecycle=self.lifecycle,
            client_s=options.client_s,
            before_scrape=self._before_scrape,
        )
        admin = Admin(reloads=self.reloader, state=state, mocks=mock.peek)
        self._front = Front(
            guards=guards,
            metrics=metrics,
            tables=self.reloader,
            paths={**endpoints.paths(), **admin.paths()},
            below=endpoints.below(),
        )
        self._max_body_bytes = options.max_body_bytes

    def runner(self) -> web.BaseRunner:
        """Return what runs the server. A gateway lives once, so it has one."""
        return _Runner(self._front, self._run_jobs, max_body_bytes=self._max_body_bytes)

    def _before_scrape(self) -> None:
        self.reloader.show()
        now_s = asyncio.get_running_loop().time()
        states = {
            target.label: self._state.snapshot(target, now_s)["state"] for target in self.reloader.current.targets
        }
        self._metrics.show_cooldowns({label: state != "ok" for label, state in states.items()})

    @asynccontextmanager
    async def _run_jobs(self) -> AsyncGenerator[None, None]:
        """Have the background jobs run; at the end give back the upstreams' connections."""
        work = asyncio.get_running_loop().create_task(self.jobs.run(self.reloader, self._adapters))
        yield
        work.cancel()
        await asyncio.wait([work])
        await self._provider.close()


class _Runner(web.BaseRunner):
    """aiohttp's server without its application: there are a handful of paths, and one look finds each."""

    def __init__(
        self, front: Front, jobs: Callable[[], AbstractAsyncContextManager[None]], *, max_body_bytes: int
    ) -> None:
        super().__init__(shutdown_timeout=FLUSH_S)
        self._front = front
        self._jobs = jobs
        self._max_body_bytes = max_body_bytes
        self._running = AsyncExitStack()

    async def shutdown(self) -> None:
        """There is nobody to tell."""

    async def _make_server(self) -> web.Server:
        await self._running.enter_async_context(self._jobs())
        return _Server(self._front, request_factory=self._make_request, max_body_bytes=self._max_body_bytes)

    async def _cleanup_server(self) -> None:
        await self._running.aclose()

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._max_body_bytes)


class _Server(web.Server):
    """aiohttp's server, for what does not take the fast path."""

    def __init__(self, front: Front, *, request_factory: Callable[..., web.BaseRequest], max_body_bytes: int) -> None:
        super().__init__(front.handle, request_factory=request_factory, handler_cancellation=True)
        self._front = front
        self._fast = FastPath(
            front.fast(),
            lambda: _Connection(self, front),
            max_body_bytes=max_body_bytes,
            keepalive_s=KEEPALIVE_S,
        )

    def __call__(self) -> Any:  # aiohttp's server promises connections of its own
        return Connection(self._fast)

    def pre_shutdown(self) -> None:
        self._fast.stop()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        await asyncio.gather(self._fast.stopped(FLUSH_S), super().shutdown(timeout))


class _Connection(web.RequestHandler):
    """One client's connection. What is no HTTP is answered as everything else is."""

    __slots__ = ("_front",)

    def __init__(self, server: web.Server, front: Front) -> None:
        loop = asyncio.get_running_loop()
        no_log: Any = None  # as web.Server passes it on when asked for none
        super().__init__(server, loop=loop, access_log=no_log, keepalive_timeout=KEEPALIVE_S)
        self._front = front

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, BadHttpMessage):
            return self._front.refuse_malformed(request, exc)
        return super().handle_error(request, status, exc, message)


class Jobs:
    """What goes on beside requests: watching the file, loading adapters, reloads that a signal asks for."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._swap_seen = asyncio.Event()
        self._reload_asked = asyncio.Event()

    def swapped(self, _: RoutingTable) -> None:
        """Note that another table is live. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._swap_seen.set)

    def ask_reload(self) -> None:
        """Have the file compiled and swapped in soon, whether it changed or not."""
        self._reload_asked.set()

    async def run(self, reloader: Reloader, adapters: Adapters) -> None:
        """Do all of it until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_again_and_again(reloader.watch))
                group.create_task(self._prepare(reloader, adapters))
                group.create_task(self._reload_when_asked(reloader))
        finally:
            self._loop = None

    async def _prepare(self, reloader: Reloader, adapters: Adapters) -> None:
        """Load what the live table's targets need, so that the first request does not wait for it."""
        while True:
            self._swap_seen.clear()
            for name in sorted({target.endpoint.adapter for target in reloader.current.targets}):
                try:
                    await adapters[name].prepare()
                except Exception:
                    log.exception("an adapter could not be made ready", extra={"adapter": name})
            await self._swap_seen.wait()

    async def _reload_when_asked(self, reloader: Reloader) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            report = await asyncio.to_thread(reloader.reload)
            log.info("reloaded at a signal", extra={"ok": report.ok, "generation": report.generation})


async def _again_and_again(job: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await job()
        except Exception:
            log.exception("a background job failed and begins again")
        await asyncio.sleep(AGAIN_S)


class _CountedReloader(Reloader):
    """A reloader whose looks at the file are counted."""

    def __init__(
        self, path: Path, compiler: Compiler, *, metrics: Metrics, on_swap: Callable[[RoutingTable], None]
    ) -> None:
        super().__init__(path, compiler, on_swap=on_swap, around=short_pauses)
        self._metrics = metrics
        self._good_at = 0.0

    def load(self) -> ReloadReport:
        with no_full_collection():
            report = super().load()
        self._good_at = report.at
        return report

    def reload(self, *, force: bool = True, dry_run: bool = False) -> ReloadReport:
        before = self.last
        report = super().reload(force=force, dry_run=dry_run)
        if not dry_run and report is not before:
            self._metrics.count_reload(ok=report.ok)
            if report.ok:
                self._good_at = report.at
        return report

    def show(self) -> None:
        """Bring the metrics about the file up to date."""
        table, last = self.current, self.last
        self._metrics.show_config(ok=last.ok, good_at=self._good_at, generation=table.generation, digest=table.digest)


def serve(
    options: ServeOptions,
    *,
    on_ready: Callable[[str, RoutingTable], None] = lambda url, table: None,
    report: Callable[[Problems], None] = lambda problems: _say("\n".join(map(str, problems))),
    complain: Callable[[str], None] = lambda message: _say(f"gateway: {message}"),
) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code.

    0 after every request was answered, 1 for a config file with problems or requests that were cut off, 2 for
    options that cannot be obeyed. `on_ready` gets the address and the table once requests are taken, `report` the
    problems and warnings of the config file, `complain` what is wrong with the options.
    """
    configure_logging(options.log_level)
    try:
        gateway = Gateway(options)
        if gateway.reloader.last.problems:
            report(gateway.reloader.last.problems)
        with asyncio.Runner(loop_factory=_loop_factory()) as loop:
            return loop.run(_serve(gateway, options, on_ready))
    except ConfigError as exc:
        report(exc.problems)
        return 1
    except UsageError as exc:
        complain(str(exc))
        return 2


async def _serve(gateway: Gateway, options: ServeOptions, on_ready: Callable[[str, RoutingTable], None]) -> int:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="gateway"))
    loop.set_exception_handler(_log_fault)
    runner = gateway.runner()
    await runner.setup()
    try:
        async with listening(runner, options) as url:
            stop = asyncio.Event()
            for number in _STOP_SIGNALS:
                loop.add_signal_handler(number, stop.set)
            loop.add_signal_handler(signal.SIGHUP, gateway.jobs.ask_reload)
            gc.collect()
            gc.set_threshold(GC_THRESHOLD)
            gc.freeze()  # what was made at the start stays: collections need not look at it again and again
            on_ready(url, gateway.reloader.current)
            log.info("listening", extra={"url": url, "generation": gateway.reloader.current.generation})
            await stop.wait()
            whole = await _drain(gateway.lifecycle, options.drain_s)
    finally:
        await runner.cleanup()
    log.info("stopped", extra={"whole": whole})
    return 0 if whole else 1


async def _drain(lifecycle: Lifecycle, drain_s: float) -> bool:
    """Let requests come to their end and return whether all did; a second signal cuts the wait short.

    Probes are answered meanwhile: alive, but not ready.
    """
    loop = asyncio.get_running_loop()
    lifecycle.draining = True
    log.info("draining", extra={"at_most_s": drain_s})
    try:
        async with asyncio.timeout(drain_s) as limit:
            for number in _STOP_SIGNALS:
                loop.add_signal_handler(number, lambda: limit.reschedule(loop.time()))
            await lifecycle.drained()
    except TimeoutError:
        log.warning("requests are cut off")
        lifecycle.cut()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await lifecycle.drained()
        return False
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
    return True


@asynccontextmanager
async def listening(runner: web.BaseRunner, options: ServeOptions) -> AsyncGenerator[str, None]:
    """Listen as `options` say and give the address: `http://host:port` or `unix:path`. Raises UsageError."""
    if options.unix_socket is not None:
        site: web.BaseSite = web.SockSite(runner, _unix_socket(options.unix_socket), backlog=BACKLOG)
        url = f"unix:{options.unix_socket}"
    else:
        host = f"[{options.host}]" if ":" in options.host else options.host
        site = web.TCPSite(runner, options.host, options.port, backlog=BACKLOG, reuse_address=True)
        url = f"http://{host}"
    try:
        await site.start()
    except OSError as exc:
        raise UsageError(f"cannot listen on {options.host}:{options.port}: {_why(exc)}") from exc
    try:
        yield f"{url}:{runner.addresses[0][1]}" if isinstance(site, web.TCPSite) else url
    finally:
        if options.unix_socket is not None:
            options.unix_socket.unlink(missing_ok=True)


def _unix_socket(path: Path) -> socket.socket:
    """Return a bound socket that only this user can connect to. A stale one that nobody listens on gives way."""
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise UsageError(f"cannot listen on {path}: it exists and is no socket")
        if path.exists() and _is_answered(path):
            raise UsageError(f"cannot listen on {path}: somebody listens there already")
        path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            bound.bind(str(path))
        except OSError:
            bound.close()
            raise
        finally:
            os.umask(mask)
    except OSError as exc:
        raise UsageError(f"cannot listen on {path}: {_why(exc)}") from exc
    return bound


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def _why(exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "the address is in use already; choose another with --port"
    known = exc.errno is not None and exc.errno in errno.errorcode
    return (os.strerror(exc.errno) if known and exc.errno is not None else str(exc)).lower()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # it does not exist for every platform
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _log_fault(_: asyncio.AbstractEventLoop, context: Mapping[str, Json]) -> None:
    """Log what the event loop complains of, by type only: asyncio's own handler writes the exception's text."""
    log.error("event loop fault", extra={"what": context.get("message")}, exc_info=context.get("exception"))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
