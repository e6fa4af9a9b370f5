"""The server's options and composition root."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from aiohttp import web

from gateway.adapters.base import Adapters
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.adapters.mock import MockAdapter
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.adapters.translated import with_translation
from gateway.config.compiler.compiler import Compiler
from gateway.config.kept import LastGood
from gateway.config.reload_report import Compile, ReloadReport
from gateway.engine.cache.cache import Cache
from gateway.engine.cache.memory import MemoryAnswers
from gateway.engine.cache.store import CacheStore
from gateway.engine.health import Health
from gateway.engine.limits.admission import Limits
from gateway.engine.limits.kept import CountSource
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.limits.store import Store
from gateway.engine.makers import Makers
from gateway.engine.pipeline import Pipeline
from gateway.engine.rest_log import RestLog
from gateway.engine.room import RoomyHealth
from gateway.engine.shadows import ShadowCall, Shadows
from gateway.engine.stored import StoredAnswers
from gateway.policy.keys import KeySource
from gateway.server.access import Guards, check_admin_exposure, check_exposure, is_loopback
from gateway.server.aiohttp_server import Runner
from gateway.server.body import MAX_IN_FLIGHT_BYTES, MAX_PARSED_BYTES, BodiesInFlight, LargeBodies
from gateway.server.canary import Canary
from gateway.server.client_keys import ClientKeys, admin_token
from gateway.server.endpoints.admin import Admin
from gateway.server.endpoints.index import Index
from gateway.server.endpoints.live import Live
from gateway.server.endpoints.model_calls import ModelCalls
from gateway.server.endpoints.models import Models
from gateway.server.endpoints.probes import Probes
from gateway.server.endpoints.stored_responses import StoredResponses
from gateway.server.front import Front
from gateway.server.jobs import CountedReloader, Jobs, Swaps, restarting
from gateway.server.kept_counts import KeptCounts, warn_of_forgotten
from gateway.server.lifecycle import Lifecycle
from gateway.server.live.state import State
from gateway.server.live.view import OwnView, View
from gateway.server.live.watching import Watching
from gateway.server.paths import Paths, is_for_operators
from gateway.server.scraping import Scraping
from gateway.server.shared_state import SharedState
from gateway.server.tracing import Telemetry
from gateway.server.workers.following import FollowingReloader
from gateway.server.workers.limits import workers_store
from gateway.server.workers.member import Member
from gateway.server.workers.sharing import SharedMakers, share_rests
from gateway.server.workers.sums import collected, without_config
from gateway.server.workers.viewing import JoinedView
from gateway.state.options import StateOptions
from gateway.telemetry.access_log import ALL, AccessLog
from gateway.telemetry.logs import log_ended
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observer import Observer
from gateway.telemetry.otel.settings import settings

log = logging.getLogger(__name__)


LogFormat: TypeAlias = Literal["json", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Settings from the command line and its environment variables. None of them can change at run time."""

    config: Path
    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free port."""
    unix_socket: Path | None = None
    """Listen here instead of on host and port; only this user may connect."""
    workers: int = 1
    """Processes that serve together."""
    arguments: tuple[str, ...] = ()
    """The command line that the options were read from, without the program: workers are started with it."""
    listener: socket.socket | None = None
    """Listens already, as systemd has handed it over; `host` or `unix_socket` is its address."""
    more_listeners: tuple[socket.socket, ...] = ()
    """Others beside `listener`, where a host has several addresses."""
    admin_host: str = "127.0.0.1"
    admin_port: int | None = None
    """Metrics and the operators' paths are there, and not with the others; None for no listener of their own."""
    admin_listener: socket.socket | None = None
    """Listens for them already, as systemd has handed it over."""
    port_file: Path | None = None
    """Holds the port while the server listens."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Limit of a request's body, decompressed."""
    max_body_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES
    """Limit of all requests' bodies together; those up to 64 KiB are not counted."""
    max_parsed_body_bytes: int = MAX_PARSED_BYTES
    """Limit of a body over 1 MiB that a hook or a translation needs decoded, texts over 64 KiB not counted."""
    cache_bytes: int = 64 * 1024 * 1024
    """Of kept answers, for aliases that say so; 0 keeps none."""
    default_model: str | None = None
    """The model of requests that may leave it out: moderations and images."""
    client_keys_file: Path | None = None
    admin_token_file: Path | None = None
    """The token in it opens the operators' paths."""
    insecure: bool = False
    """Listen beyond this machine without client keys."""
    allow_origins: tuple[str, ...] = ()
    """Origins of web pages that may call; `*` for all."""
    drain_delay_s: float = 0.0
    """Seconds after the first SIGTERM in which new requests are still served, while `/readyz` says no."""
    state_dir: Path | None = None
    """A folder that keeps the last good version of the config file, for a start at which the file is unfit, and what is
    used of limits per day and month."""
    state: StateOptions | None = None
    """The Redis that replicas and workers share; None: each process has limits of its own."""
    canary: Path | None = None
    """Test cases that each new version of the config file must pass before it serves."""
    drain_s: float = 30.0
    """Seconds that requests may take after that."""
    log_level: str = "info"
    log_format: LogFormat = "json"
    access_log: AccessLog = ALL
    """Which requests have a log line."""
    log_file: Path | None = None
    """Log lines are added to it, instead of being written to standard error."""
    command: tuple[str, ...] = ()
    """Serve for as long as this command runs."""
    max_connections: int | None = None
    """Limit of clients' open connections; None for none."""
    max_in_flight: int | None = None
    """Limit of model requests being answered; None for none. One target gets half of it where there are others."""
    client_s: float = 60.0
    """Seconds that a client may take to send its body, or to read what waits for it."""

    @property
    def is_loopback(self) -> bool:
        """The address is one of this machine's own."""
        return self.unix_socket is None and is_loopback(self.host)

    def for_admin(self) -> ServeOptions | None:
        """Return the options with the address of the listener for metrics and operators; None without one."""
        if self.admin_listener is not None:
            return self.on(self.admin_listener)
        if self.admin_port is None:
            return None
        return replace(
            self, listener=None, more_listeners=(), unix_socket=None, host=self.admin_host, port=self.admin_port
        )

    def on(self, listener: socket.socket) -> ServeOptions:
        """Return the options with a socket that listens already, and its address."""
        name = listener.getsockname()
        if listener.family == socket.AF_UNIX:
            return replace(self, listener=listener, unix_socket=Path(os.fsdecode(name)))
        return replace(self, listener=listener, unix_socket=None, host=name[0], port=name[1])


def read_callers(options: ServeOptions) -> tuple[ClientKeys | None, KeySource | None]:
    """Return the client keys and the admin token. Raises UsageError, also where a listener needs them and has none."""
    has_keys = options.client_keys_file is not None
    check_exposure(
        private=options.is_loopback or options.unix_socket is not None, has_keys=has_keys, insecure=options.insecure
    )
    admin = options.for_admin()
    if admin is not None:
        check_admin_exposure(
            private=admin.is_loopback or admin.unix_socket is not None,
            has_keys=has_keys or options.admin_token_file is not None,
            insecure=options.insecure,
        )
    keys = None if options.client_keys_file is None else ClientKeys(options.client_keys_file)
    return keys, None if options.admin_token_file is None else admin_token(options.admin_token_file)


def make_reloader(
    options: ServeOptions,
    compiler: Compile,
    *,
    metrics: Metrics,
    jobs: Swaps,
    on_report: Callable[[ReloadReport], None] = lambda report: None,
) -> CountedReloader:
    """Return the reloader of the config file, which has not read it yet. Raises UsageError for the state folder."""
    return CountedReloader(
        options.config,
        compiler,
        metrics=metrics,
        jobs=jobs,
        on_report=on_report,
        last_good=None if options.state_dir is None else LastGood(options.state_dir, options.config),
        canary=(None if options.canary is None else Canary(options.canary, client_keys_file=options.client_keys_file)),
    )


class Gateway:
    """Makes and connects all parts of one gateway."""

    def __init__(
        self, options: ServeOptions, *, environ: Mapping[str, str] = os.environ, member: Member | None = None
    ) -> None:
        """Read the config file, the client keys and the admin token. Raises ConfigError and UsageError.

        `member`: this process is one of several workers, and gets the config from their supervisor.
        """
        self.member = member
        admin = options.for_admin()
        keys, token = read_callers(options)
        self.keys = keys

        def guards(of: ServeOptions) -> Guards:
            return Guards(loopback=of.is_loopback, allow_origins=of.allow_origins, keys=keys, admin_token=token)

        if keys is not None and token is None and not keys.has_admin:
            log.info("nobody may use the operators' paths: no client key is marked `admin`, no --admin-token-file")
        metrics = Metrics()
        observer = Observer(metrics.hear, log_ended)
        self.lifecycle = Lifecycle(metrics, max_in_flight=options.max_in_flight)
        self.jobs = Jobs()
        compiler = Compiler(environ=environ, openai_adapter="relay", strict_env=True)
        if member is None:
            self.reloader = make_reloader(options, compiler, metrics=metrics, jobs=self.jobs)
        else:
            self.reloader = FollowingReloader(options.config, compiler, metrics=metrics, jobs=self.jobs, member=member)
        self.reloader.load()
        self._telemetry: Telemetry | None = None
        if (exported := settings(environ)) is not None:
            number = None if member is None else member.place.number
            self._telemetry = Telemetry(
                exported,
                observer=observer,
                tables=self.reloader,
                config_ok=lambda: self.reloader.last.ok,
                worker=number,
            )
            self.jobs.prepare_first = "opentelemetry", self._telemetry.load
        self._health = health = self._healthy(options.max_in_flight)
        if member is not None:
            share_rests(health, member)
        self._shared = None if options.state is None else SharedState(options.state, metrics)
        if self._shared is not None:
            self._shared.share_rests(health, self.reloader)
        RestLog(health)
        self._metrics = metrics
        mock = MockAdapter()
        self._adapters: Adapters = with_translation(
            {"relay": RelayAdapter(), "litellm": LiteLLMAdapter(own_process=True), "mock": mock}
        )
        makers: Makers = Makers() if member is None else SharedMakers(member)
        if self._shared is not None:
            makers = self._shared.makers(makers)
        self._kept_counts: tuple[KeptCounts, CountSource] | None = None
        self.limits = Limits(self._limits_store(options, metrics))
        provider_limits = ProviderLimits(self.limits.reservations)
        self.shadows = Shadows(adapters=self._adapters, on_end=self._note_shadow, limits=provider_limits)
        self.answers = MemoryAnswers(options.cache_bytes)
        metrics.show_cache(self.answers.__len__, lambda: self.answers.bytes)
        kept: CacheStore = self.answers
        if self._shared is not None:
            kept = self._shared.cache(kept, max_bytes=options.cache_bytes * options.workers)
        self._scraping = Scraping(metrics=metrics, reloads=self.reloader, health=health, store=self.limits.store)
        self._pipeline = Pipeline(
            tables=self.reloader,
            adapters=self._adapters,
            health=health,
            makers=makers,
            shadows=self.shadows,
            limits=self.limits,
            cache=Cache(kept) if options.cache_bytes else None,
            provider_limits=provider_limits,
        )
        models = Models(pipeline=self._pipeline, limits=self.limits)
        calls = ModelCalls(
            pipeline=self._pipeline,
            lifecycle=self.lifecycle,
            large_bodies=LargeBodies(options.max_parsed_body_bytes),
            default_model=options.default_model,
        )
        stored = StoredResponses(
            stored=StoredAnswers(tables=self.reloader, adapters=self._adapters, makers=makers),
            calls=calls,
            lifecycle=self.lifecycle,
            tables=self.reloader,
            limits=self.limits,
        )
        probes = Probes(
            tables=self.reloader,
            waiting_for=self._waiting_for,
            lifecycle=self.lifecycle,
            scraping=self._scraping,
            member=member,
        )
        self._admin = Admin(
            reloads=self.reloader,
            health=health,
            mock=mock,
            limits=self.limits,
            group_of=None if keys is None else keys.group_of,
            keeps_answers=options.cache_bytes > 0,
            member=member,
        )
        self.watching = watching = Watching(observer)
        number = None if member is None else member.place.number
        own = OwnView(
            watching=watching,
            health=health,
            lifecycle=self.lifecycle,
            jobs=self.jobs,
            store=self.limits.store,
            tables=self.reloader,
            answers=self.answers,
            redis=(lambda: None) if self._shared is None else self._shared.seen,
            worker=number,
        )
        self._joined = None if member is None else JoinedView(member, own)
        view: View = self._joined or own
        state = State(reloads=self.reloader, health=health, view=view, limits=provider_limits)
        served = (
            calls,
            models,
            probes,
            self._admin,
            Live(state=state, view=view),
            Index(lambda: paths.index()),
        )
        exact = {path: each for part in served for path, each in part.paths().items()}
        moved = {} if admin is None else {path: each for path, each in exact.items() if is_for_operators(path)}
        shown = {path: each for path, each in exact.items() if path not in moved}
        paths = Paths(shown, models.below() | stored.below(), moved=moved)
        front = partial(Front, observer=observer, tables=self.reloader, client_s=options.client_s)
        self._front = front(guards=guards(options), paths=paths)
        self._admin_front: Front | None = None
        if admin is not None:
            self._admin_front = front(guards=guards(admin), paths=Paths({**moved, **probes.paths()}, {}))
        self._max_body_bytes = options.max_body_bytes
        self._max_connections = options.max_connections
        self.bodies_in_flight = BodiesInFlight(options.max_body_in_flight_bytes)
        self._show_limits(options)

    def runner(self) -> Runner:
        """Return the server's runner, which runs the background jobs too. Call it once."""
        runner = Runner(
            self._front,
            self._run_jobs,
            max_body_bytes=self._max_body_bytes,
            in_flight=self.bodies_in_flight,
            max_connections=self._max_connections,
            on_closed=self._metrics.count_closed,
        )
        self._metrics.show("gateway_connections", "Open connections of clients.", lambda: runner.open_connections)
        return runner

    def admin_runner(self) -> web.BaseRunner | None:
        """Return the runner of the listener for metrics and operators; None without one. Call it once."""
        if self._admin_front is None:
            return None
        size, in_flight = self._max_body_bytes, self.bodies_in_flight
        return Runner(self._admin_front, nullcontext, max_body_bytes=size, in_flight=in_flight)

    async def settled(self) -> None:
        """Wait until the start is complete."""
        await self.jobs.settled.wait()
        if self._shared is not None:
            await self._shared.settled()

    def _waiting_for(self) -> Sequence[str]:
        """Return what is not ready yet: in this process, then the other workers."""
        shared, own = self._shared, self.jobs.waiting_for
        if shared is not None and not shared.is_ready:
            own = (*own, "state")
        if not own and self.member is not None and not self.member.all_ready:
            return ("workers",)
        return own

    def _show_limits(self, options: ServeOptions) -> None:
        """Show what is used of limits, and those that are set."""
        show, bodies = self._metrics.show, self.bodies_in_flight
        show(
            "gateway_body_bytes_in_flight",
            "Bytes of request bodies that are held now, without those of up to 64 KiB.",
            lambda: bodies.held_bytes,
        )
        for name, flag, limit in (
            ("gateway_max_body_bytes_in_flight", "--max-body-in-flight", options.max_body_in_flight_bytes),
            ("gateway_max_in_flight", "--max-in-flight", options.max_in_flight),
            ("gateway_max_connections", "--max-connections", options.max_connections),
        ):
            if limit is not None:
                show(name, f"The limit that {flag} sets.", partial(float, limit))

    def _healthy(self, max_in_flight: int | None) -> Health:
        """Return the health of targets, of which one gets half of the requests in flight while there are others."""
        if max_in_flight is None:
            return Health()
        most = max(1, max_in_flight // 2)
        lifecycle, reloader = self.lifecycle, self.reloader

        def is_scarce() -> bool:
            return lifecycle.in_flight >= most and len(reloader.current.targets) > 1

        return RoomyHealth(most, is_scarce=is_scarce)

    def _limits_store(self, options: ServeOptions, metrics: Metrics) -> Store:
        """Return where the buckets of limits are."""
        if self._shared is not None:
            return self._shared.limits
        if self.member is not None:
            return workers_store(self.member, metrics)
        if options.state_dir is None:
            return MemoryStore()
        counts = KeptCounts(options.state_dir, options.config)
        store = MemoryStore(kept=counts.read())
        self._kept_counts = counts, store
        return store

    def _note_shadow(self, call: ShadowCall) -> None:
        self._metrics.count_shadow(call.report, target=call.target, kind=call.kind)
        seconds = asyncio.get_running_loop().time() - call.started_s
        error = None if call.kind == "ok" else call.kind
        row = (call.report, call.operation, call.status, call.stream, None, error, None, seconds, time.time())
        log_ended([row], event="shadow")
        if self._telemetry is not None:
            self._telemetry.hear_shadow(row)

    @asynccontextmanager
    async def _run_jobs(self) -> AsyncGenerator[None, None]:
        """Run the background jobs; at the end close the upstreams' connections."""
        loop = asyncio.get_running_loop()
        jobs = [self.jobs.run(self.reloader, self._adapters), self.shadows.run(), self.limits.reservations.run()]
        if self.member is not None:
            jobs.append(self.member.run())
        elif self._kept_counts is not None:
            counts, source = self._kept_counts
            jobs.append(restarting(partial(counts.run, source)))
        elif self._shared is None:
            jobs.append(warn_of_forgotten(self.reloader))
        if self._shared is not None:
            jobs.append(self._shared.run(self.jobs.may_prepare))
        work = [loop.create_task(job) for job in jobs]
        yield
        if self.member is not None and self._joined is not None:
            deque(self._scraping.refreshing(), maxlen=0)
            families, requests = without_config(collected(self._metrics)), self._joined.last_requests(0)
            targets = self._admin.targets_here()
            self.member.channel.tell("counted", families=families, targets=targets, requests=requests)
        if self._shared is not None:
            await self._shared.close()
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        if self._kept_counts is not None:
            counts, source = self._kept_counts
            await counts.close(source)
        if self._telemetry is not None:
            await self._telemetry.close()
        await self._pipeline.close()
