"""The parent of `--workers N`: it binds the sockets, reads the config and supervises the workers. It serves nothing.

What is one for all is here: the files and their reloads, the generation's number, the sums of what ended workers
counted, and who made the ids of bound requests. A new table goes live in all workers or in none:

1. Each worker compiles the text and says whether it can serve it. If one cannot, the edit is refused.
2. Each worker loads what the table needs.
3. All swap; the reload is reported once they have.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

from gateway.config.compiler.compiler import Compiler
from gateway.engine.limits.shared_memory import Seat
from gateway.errors import NotAsExpected
from gateway.policy.problem import Problems
from gateway.policy.table import RoutingTable
from gateway.server.ending import STOP_SIGNALS
from gateway.server.jobs import restarting
from gateway.server.kept_counts import KeptCounts
from gateway.server.listen import SocketFile, port_file
from gateway.server.systemd import notify
from gateway.server.wiring import ServeOptions, make_reloader, read_callers
from gateway.server.workers.distribution import Distribution
from gateway.server.workers.limits import CommonLimits
from gateway.server.workers.member import VARIABLE, variable
from gateway.server.workers.sockets import shared_out
from gateway.server.workers.sums import Texts, shown
from gateway.server.workers.supervisor import Supervisor
from gateway.server.workers.together import Together
from gateway.telemetry.logs import timestamp
from gateway.telemetry.metrics import Metrics
from gateway.wire.json import JsonObject

log = logging.getLogger(__name__)


def supervise(
    options: ServeOptions,
    *,
    on_ready: Callable[[str, RoutingTable], None],
    report: Callable[[Problems], None],
    complain: Callable[[str], None],
) -> int:
    """Run the workers until a stop signal, and return the exit code. Raises ConfigError and UsageError."""
    parent = Parent(options)
    if parent.reloader.last.problems:
        report(parent.reloader.last.problems)
    if parent.reloader.kept_at is not None:
        complain(f"serving the last good version of {timestamp(parent.reloader.kept_at)}")
    return asyncio.run(parent.run(on_ready))


class Parent:
    """The supervisor with all that is one for the workers."""

    def __init__(self, options: ServeOptions) -> None:
        """Read the config file. Raises ConfigError and UsageError."""
        read_callers(options)  # a fault of theirs is told once, and not by each worker
        self._options = options
        self._reloading = asyncio.Lock()
        self._metrics = Metrics()
        self._texts = Texts()
        self._together = Together(self._metrics)
        compiler = Compiler(environ=os.environ, openai_adapter="relay", strict_env=True)
        self._distribution = Distribution(compiler, self._together)
        self.reloader = make_reloader(
            options,
            self._distribution,
            metrics=self._metrics,
            jobs=self._distribution,
            on_report=self._distribution.reported,
        )
        self.reloader.load()
        kept = None if options.state_dir is None else KeptCounts(options.state_dir, options.config)
        self._limits = CommonLimits(options.workers, self.reloader, kept, elsewhere=options.state is not None)

    async def run(self, on_ready: Callable[[str, RoutingTable], None]) -> int:
        """Run the workers until a stop signal, and return the exit code. Raises UsageError if it cannot listen."""
        options, loop = self._options, asyncio.get_running_loop()
        with ExitStack() as stack:
            url, listeners = self._listeners(stack)
            admin = self._admin_listener()
            supervisor = Supervisor(
                self._together,
                listeners,
                spawn=lambda number, channel, sockets: self._spawn(number, channel, sockets, admin),
                hello=self._hello,
                answer=self._answer,
                end_s=options.drain_delay_s + options.drain_s,
            )
            self._distribution.start(loop)
            jobs = [loop.create_task(restarting(self.reloader.watch)), loop.create_task(self._limits.run())]
            asked: set[asyncio.Task[None]] = set()

            def soon(what: Callable[[], Coroutine[None, None, None]]) -> None:
                task = loop.create_task(what())
                asked.add(task)
                task.add_done_callback(asked.discard)

            for number in STOP_SIGNALS:
                loop.add_signal_handler(number, supervisor.stop)
            loop.add_signal_handler(signal.SIGHUP, soon, self._reload_at_signal)
            loop.add_signal_handler(signal.SIGUSR2, soon, supervisor.restart)

            async def ready() -> None:
                stack.enter_context(port_file(options.port_file, url))
                on_ready(url, self.reloader.current)
                log.info("listening", extra={"url": url, "generation": self.reloader.current.generation})
                await supervisor.settled()
                self._together.start_is_complete()
                notify("READY=1")

            try:
                code = await supervisor.run(ready)
            finally:
                self.reloader.give_up()
                for task in (*jobs, *asked):
                    task.cancel()
                await self._limits.close()
            notify("STOPPING=1")
            log.info("stopped", extra={"code": code})
            return code

    async def _spawn(
        self, number: int, channel: socket.socket, listeners: Sequence[socket.socket], admin: socket.socket | None
    ) -> asyncio.subprocess.Process:
        """Start a worker, with its seat among those that count limits together."""
        limits = self._limits
        seat = limits.take_seat()
        try:
            process = await _spawn(self._options, number, channel, listeners, admin, seat)
        except BaseException:
            limits.leave(seat)
            raise
        limits.leave_after(process, seat)
        return process

    def _listeners(self, stack: ExitStack) -> tuple[str, list[list[socket.socket]]]:
        """Return the address and the sockets of each worker."""
        options = self._options
        if options.unix_socket is not None:
            listener = options.listener
            if listener is None:
                file = SocketFile(options.unix_socket)
                stack.callback(file.remove)
                listener = file.listener
                listener.listen()
            return f"unix:{options.unix_socket}", [[listener]] * options.workers
        if options.listener is not None:
            sockets = [[options.listener]] * options.workers
        else:
            sockets = shared_out(options.host, options.port, options.workers)
        host = f"[{options.host}]" if ":" in options.host else options.host
        return f"http://{host}:{sockets[0][0].getsockname()[1]}", sockets

    def _admin_listener(self) -> socket.socket | None:
        options = self._options
        if options.admin_listener is not None:
            return options.admin_listener
        admin = options.for_admin()
        return None if admin is None else shared_out(admin.host, admin.port, 1, flag="--admin-port")[0][0]

    def _hello(self) -> JsonObject:
        reloader = self.reloader
        return {
            **self._distribution.live,
            "report": asdict(reloader.last),
            "kept_at": reloader.kept_at,
            "history": reloader.history.as_json(),
            "rests": self._together.rests,
            "all_ready": self._together.all_ready,
            **self._together.names,
        }

    async def _answer(self, op: str, fields: JsonObject) -> JsonObject:
        """Answer a worker's question."""
        together = self._together
        match op:
            case "metrics":
                await self.reloader.show()
                text, content_type = shown(await together.metrics(), fields["accept"])
                return {**self._texts.keep(text), "content_type": content_type}
            case "piece":
                return self._texts.piece(fields["number"], fields["place"])
            case "targets":
                return {"parts": await together.targets()}
            case "look":
                return await together.look()
            case "parts":
                return await together.parts()
            case "requests":
                return await together.requests(fields["after"], wait_s=fields["wait_s"])
            case "maker":
                maker = await together.maker(fields["key"])
                return {"maker": None if maker is None else list(maker)}
            case "reload":
                return await self._reload(fields)
        raise AssertionError(f"no worker asks for {op!r}")

    async def _reload(self, fields: JsonObject) -> JsonObject:
        try:
            async with self._reloading:  # one after the other, so that each tells what it has made live
                result = await asyncio.to_thread(self.reloader.reload, **fields)
        except NotAsExpected as error:
            return {"not_as_expected": str(error)}
        return {"report": asdict(result)}

    async def _reload_at_signal(self) -> None:
        report = await asyncio.to_thread(self.reloader.reload, wait=False)
        log.info("reloaded at a signal", extra={"ok": report.ok, "generation": report.generation})


async def _spawn(
    options: ServeOptions,
    number: int,
    channel: socket.socket,
    listeners: Sequence[socket.socket],
    admin: socket.socket | None,
    limits: tuple[int, Seat] | None,
) -> asyncio.subprocess.Process:
    """Start a worker: this program again, in a process group of its own, so that a terminal's signals come from us."""
    inherited = [sock.fileno() for sock in (channel, *listeners, *((admin,) if admin is not None else ()))]
    if limits is not None:
        inherited.append(limits[0])
    place = variable(number=number, channel=channel, listeners=listeners, admin=admin, limits=limits)
    safe_path = [] if sys.path[0] in {"", os.getcwd()} else ["-P"]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *safe_path, "-m", "gateway", *options.arguments),
        env={**os.environ, VARIABLE: place},
        pass_fds=inherited,
        process_group=0,
    )


def as_worker(options: ServeOptions, listeners: Sequence[socket.socket], admin: socket.socket | None) -> ServeOptions:
    """Return the options of one worker: its sockets, and its part of the limits for all."""
    workers = options.workers

    def part(limit: int | None) -> int | None:
        return None if limit is None else max(1, -(-limit // workers))

    first, *more = listeners
    if admin is not None:
        options = replace(options, admin_listener=admin)
    options = options.on(first)
    return replace(
        options,
        more_listeners=tuple(more),
        port_file=None,
        state_dir=None,
        canary=None,
        max_connections=part(options.max_connections),
        max_in_flight=part(options.max_in_flight),
        cache_bytes=options.cache_bytes // workers,
        max_body_in_flight_bytes=part(options.max_body_in_flight_bytes) or 1,
    )
