"""Runs the server process: start, signals, drain, exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

from gateway.config.saves import QUIET_S, wait_for_writer
from gateway.errors import ConfigError, UsageError
from gateway.policy.problem import Problems
from gateway.policy.regular_file import why
from gateway.policy.table import RoutingTable
from gateway.reports.log_text import TextFormatter
from gateway.reports.problems import PLAIN, Painter
from gateway.server.aiohttp_server import Runner
from gateway.server.command import PLACEHOLDER, Command, environment, raise_descriptor_limit, url_for_clients
from gateway.server.draining import drain, leave
from gateway.server.ending import Ending
from gateway.server.listen import listening, port_file
from gateway.server.systemd import inherited, notify
from gateway.server.wiring import Gateway, LogFormat, ServeOptions
from gateway.server.workers.member import Member, Place, place
from gateway.telemetry.access_log import ALL, AccessLog
from gateway.telemetry.logs import configure_logging, timestamp
from gateway.telemetry.writing import open_lines
from gateway.wire.json import Json
from gateway.wire.local_faults import note_local_fault

log = logging.getLogger(__name__)

THREADS: Final = 32
GC_THRESHOLD: Final = 20_000
"""Objects made between two collections of the young generation. High, because requests make no cycles."""


def serve(
    options: ServeOptions,
    *,
    on_ready: Callable[[str, RoutingTable], None] = lambda url, table: None,
    report: Callable[[Problems], None] = lambda problems: _say("\n".join(map(str, problems))),
    complain: Callable[[str], None] = lambda message: _say(f"gateway: {message}"),
) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code; with a `command`, until that ends, and return its code.

    0: stopped in order. 1: the config file has problems, or something does not end. 2: wrong options.
    At a stop signal the process ends within `drain_delay_s`, `drain_s` and MARGIN_S seconds, even if a hook does not.
    `on_ready` gets the address and the table once the server listens, `report` the problems of the config file,
    `complain` the message for wrong options.
    """
    try:
        _log_as(options)
        threading.excepthook = sys.unraisablehook = _log_uncaught
        if (found := place()) is not None:
            return _work(options, found)
        options = _with_inherited(options)
        open_files = raise_descriptor_limit()
        _wait_until_written(options)
        if options.workers > 1:
            from gateway.server.workers.parent import supervise  # one process needs none of it

            return supervise(options, on_ready=on_ready, report=report, complain=complain)
        gateway = Gateway(options)
        if gateway.reloader.last.problems:
            report(gateway.reloader.last.problems)
        if gateway.reloader.kept_at is not None:
            complain(f"serving the last good version of {timestamp(gateway.reloader.kept_at)}")
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return _run(runner.get_loop(), _serve(gateway, options, on_ready, open_files=open_files))
    except ConfigError as exc:
        report(exc.problems)
        return 1
    except UsageError as exc:
        complain(str(exc))
        return 2


def _work(options: ServeOptions, found: Place) -> int:
    """Serve as one of several workers."""
    from gateway.server.workers.parent import as_worker

    raise_descriptor_limit()
    own, member = as_worker(options, found.listeners, found.admin), Member(found)
    gateway = Gateway(own, member=member)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return _run(runner.get_loop(), _serve_beside_others(gateway, own, member))


def _log_as(options: ServeOptions) -> None:
    stream = None if options.log_file is None else _log_file(options.log_file)
    begin_logging(options.log_level, options.log_format, stream=stream, access=options.access_log)


def begin_logging(level: str, log_format: LogFormat, *, stream: TextIO | None = None, access: AccessLog = ALL) -> None:
    """Log to `stream`, else to standard error. Text has colours on a terminal, and the day elsewhere."""
    form: TextFormatter | None = None
    if log_format == "text":
        painter = PLAIN if stream is not None else Painter.of(sys.stderr, os.environ)
        form = TextFormatter(painter, dated=stream is not None or not sys.stderr.isatty())
    configure_logging(level, stream=stream, form=form, access=access)


def _log_file(path: Path) -> TextIO:
    try:
        return open_lines(path)
    except OSError as exc:
        raise UsageError(f"cannot write the log file {path}: {why(exc)}") from exc


def _with_inherited(options: ServeOptions) -> ServeOptions:
    """Return the options with the sockets that systemd hands over, if it does."""
    main, admin = inherited()
    if admin is not None:
        options = replace(options, admin_listener=admin)
    return options if main is None else options.on(main)


def _wait_until_written(options: ServeOptions) -> None:
    """Wait while the config file is being written. Raises UsageError, unless a kept version could serve instead."""
    try:
        wait_for_writer(options.config, quiet_s=QUIET_S)
    except UsageError:
        if options.state_dir is None:
            raise


def _run(loop: asyncio.AbstractEventLoop, main: Coroutine[None, None, int]) -> int:
    """Run the loop until `main` has ended. A task that a hook has started cannot end it by `sys.exit()`."""
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt):
            # While we handle SIGINT ourselves, Ctrl-C raises nothing.
            if task.done() or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                raise
            log.exception("a task tried to end the process")


async def _serve(
    gateway: Gateway, options: ServeOptions, on_ready: Callable[[str, RoutingTable], None], *, open_files: int
) -> int:
    loop = asyncio.get_running_loop()
    command = Command(options.command, open_files=open_files) if options.command else None
    async with AsyncExitStack() as stack:
        runner, url = await _listen(stack, gateway, options)
        ending, stop = Ending(options.drain_delay_s + options.drain_s), asyncio.Event()
        if command is None:
            ending.at_signals(loop, stop.set)
            loop.add_signal_handler(signal.SIGHUP, gateway.jobs.ask_reload)
        _leave_out_of_collections()
        on_ready(url, gateway.reloader.current)
        log.info("listening", extra={"url": url, "generation": gateway.reloader.current.generation})
        async with _telling(gateway, lambda: notify("READY=1")):
            code = 0
            if command is None:
                await stop.wait()
            else:
                code = await _run_beside(command, gateway, url, ending)
        notify("STOPPING=1")
        gateway.shadows.drop()
        whole = await drain(gateway.lifecycle, ending, runner, options)
    log.info("stopped", extra={"whole": whole})
    return code


async def _serve_beside_others(gateway: Gateway, options: ServeOptions, member: Member) -> int:
    """Serve as a worker, until its supervisor says otherwise or is gone."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        runner, url = await _listen(stack, gateway, options)
        ending, stop = Ending(options.drain_delay_s + options.drain_s), asyncio.Event()
        ending.at_signals(loop, stop.set)
        for number in (signal.SIGHUP, signal.SIGUSR2):
            loop.add_signal_handler(number, lambda: None)  # the supervisor's
        member.on_stop, member.on_end = ending.told, stop.set
        _leave_out_of_collections()
        member.channel.tell("listens")
        log.info("listening", extra={"url": url, "worker": member.place.number})
        async with _telling(gateway, lambda: member.channel.tell("settled")):
            await stop.wait()
        gateway.shadows.drop()
        if not ending.heard:
            ending.begin_time()
        await (leave if member.is_replaced else drain)(gateway.lifecycle, ending, runner, options)
    log.info("stopped", extra={"worker": member.place.number})
    return 0


async def _listen(stack: AsyncExitStack, gateway: Gateway, options: ServeOptions) -> tuple[Runner, str]:
    """Run the server until the stack ends; return it with its address. Raises UsageError if it cannot listen."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="gateway"))
    loop.set_exception_handler(_log_fault)
    runner, admin_runner, admin = gateway.runner(), gateway.admin_runner(), options.for_admin()
    gateway.jobs.may_prepare.clear()  # a thread that imports LiteLLM would hold up the end, if we cannot listen
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if admin_runner is not None and admin is not None:
        await admin_runner.setup()
        stack.push_async_callback(admin_runner.cleanup)
        admin_url = await stack.enter_async_context(listening(admin_runner, admin, flag="--admin-port"))
        log.info("listening for operators", extra={"url": admin_url})
    url = await stack.enter_async_context(listening(runner, options))
    stack.enter_context(port_file(options.port_file, url))
    gateway.jobs.may_prepare.set()
    return runner, url


def _leave_out_of_collections() -> None:
    """Leave objects made at the start out of later collections."""
    gc.collect()
    gc.set_threshold(GC_THRESHOLD)
    gc.freeze()


async def _run_beside(command: Command, gateway: Gateway, url: str, ending: Ending) -> int:
    """Run the command once all is ready, and return its exit code. Its end is a stop signal for `ending`.

    Raises UsageError if the gateway cannot get ready.
    """
    stopped = await command.wait_for(gateway.jobs.settled)
    if stopped is not None:
        ending.begin(stopped)
        return stopped
    if missing := gateway.jobs.waiting_for:
        raise UsageError(f"the command is not run, as the gateway is not ready: no {', '.join(missing)}; see its log")
    if not url.startswith("http:"):
        raise UsageError("the command is not run: a base URL cannot name a Unix socket")
    key = PLACEHOLDER if gateway.keys is None else gateway.keys.new_key("run")
    return await command.run(environment(os.environ, url_for_clients(url), key), on_end=ending.begin)


@asynccontextmanager
async def _telling(gateway: Gateway, tell: Callable[[], None]) -> AsyncGenerator[None, None]:
    """Call `tell` once the start is complete."""

    async def tell_then() -> None:
        await gateway.settled()
        tell()

    telling = asyncio.get_running_loop().create_task(tell_then())
    try:
        yield
    finally:
        telling.cancel()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not available on every platform
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _log_fault(_: asyncio.AbstractEventLoop, context: Mapping[str, Json]) -> None:
    """Log a fault in a callback or task without the exception's text, which asyncio's own handler would write."""
    exception = context.get("exception")
    if isinstance(exception, OSError) and note_local_fault(exception, doing="accept"):
        return  # asyncio would tell it for each connection in its backlog
    log.error("event loop fault", extra={"what": context.get("message")}, exc_info=exception)


def _log_uncaught(args: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
    """Log what a thread or a destructor of a hook raised, without its text, which Python's own handlers would write."""
    log.error("exception in a thread or destructor", exc_info=args.exc_value)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
