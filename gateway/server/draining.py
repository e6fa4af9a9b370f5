"""What a stop comes to, step by step, until no request is left.

1. At once the process is not ready: `/readyz` answers 503, and who balances load sends no more.
2. For `drain_delay_s` new requests are served as ever.
3. From then on they are refused. After a delay nobody should come, and nobody else may be waiting for the port: the
   listener closes. Without one it stays open, so that probes and clients are told. A socket of systemd's closes in any
   case: the next process takes what waits there.
4. Requests and streams may go on for `drain_s`. The rest are cut off: a stream gets its wire's error, never its end.

A second stop signal goes to the end of 4 at once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiohttp import web

from gateway.engine.hooks import running_hooks
from gateway.server.aiohttp_server import FLUSH_S, Runner
from gateway.server.ending import Ending
from gateway.server.lifecycle import Lifecycle
from gateway.server.listen import stop_listening
from gateway.server.wiring import ServeOptions

log = logging.getLogger(__name__)

LOOK_S: Final = 0.05
"""Seconds between two looks whether all clients have gone."""


async def drain(lifecycle: Lifecycle, ending: Ending, runner: web.BaseRunner, options: ServeOptions) -> bool:
    """Return once no request is left, and whether all were answered. `ending` has heard of the first signal."""
    loop = asyncio.get_running_loop()
    lifecycle.stopping = True
    now = asyncio.Event()
    ending.at_second(loop, now.set)
    delay_s = 0.0 if options.command else options.drain_delay_s
    try:
        if delay_s:
            log.info("not ready", extra={"for_s": delay_s})
            await _until(now, delay_s)
        lifecycle.draining = True
        if delay_s or options.listener is not None:
            await stop_listening(runner)
        log.info("draining", extra={"at_most_s": options.drain_s})
        try:
            async with asyncio.timeout(options.drain_s) as limit:
                ending.at_second(loop, lambda: _end_now(limit))
                await lifecycle.drained()
        except TimeoutError:
            return await _cut(lifecycle)
    finally:
        ending.ignore_signals(loop)
    return True


async def leave(lifecycle: Lifecycle, ending: Ending, runner: Runner, options: ServeOptions) -> bool:
    """Return once the clients have gone to the process that takes this one's place, and whether all were answered.

    That process listens already. Requests that come on connections to this one are answered, each as its connection's
    last; a connection that is silent stays open for `drain_s`, as a request may be on its way.
    """
    lifecycle.stopping = True
    await stop_listening(runner)
    runner.leave()
    log.info("leaving", extra={"at_most_s": options.drain_s})
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(options.drain_s) as limit:
            ending.at_second(loop, lambda: _end_now(limit))
            while runner.open_connections or lifecycle.in_flight:  # noqa: ASYNC110 - nothing tells of connections that end
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        if lifecycle.in_flight:
            return await _cut(lifecycle)
    finally:
        ending.ignore_signals(loop)
    return True


async def _until(event: asyncio.Event, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        pass


def _end_now(limit: asyncio.Timeout) -> None:
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())


async def _cut(lifecycle: Lifecycle) -> bool:
    """Cut off the requests that there are; return False."""
    log.warning("requests are cut off", extra={"requests": lifecycle.in_flight})
    lifecycle.cut()
    try:
        async with asyncio.timeout(FLUSH_S):
            await lifecycle.drained()
    except TimeoutError:
        log.warning("requests do not end, although they were cancelled", extra={"hooks": running_hooks()})
    return False
