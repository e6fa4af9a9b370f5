"""One connection to the Redis of `--state`: pipelined, with a deadline for everything that somebody waits for.

1. Redis answers in the order of the commands, so one connection serves all: what one turn of the event loop asks for
   is one write, and each answer goes to the one that waits for it as it comes, without a task between. redis-py makes
   the connection, with name, TLS and password; hiredis writes commands and reads answers.
2. An answer that does not come in time, a lost connection or a refusal of Redis begins an *outage*: all that wait hear
   of it at once, nobody waits while it lasts, and the link connects again by itself.
3. An outage ends once Redis has taken a write. What was kept for it (`on_return`) is sent before anything else.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from gateway.state.options import StateAddress, is_hash_tag
from gateway.words import printable

if TYPE_CHECKING:
    from hiredis import Reader
    from redis.asyncio import Connection

log = logging.getLogger(__name__)

CONNECT_S: Final = 5.0
"""For name, TCP, TLS and password: no request waits for that."""
FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 2.0
"""Between two attempts to connect; it doubles, and begins anew after STEADY_S without an outage."""
STEADY_S: Final = 10.0
LATE: Final = 0.1
"""The part of the timeout that is kept for answers that have come while this process was busy."""
READY_S: Final = 5.0
"""Seconds after which the process counts as ready, whether Redis has answered or not."""
MAX_REASON: Final = 200
TOLD_S: Final = 60.0
"""Between two log lines about commands that Redis refused, which are all counted, or about why an outage goes on."""
_OF_DATA: Final = re.compile(
    r"WRONGTYPE|is not (?:an integer|a valid float)|must be strings or integers|bad argument|"
    r"attempt to (?:compare|concatenate|perform arithmetic)"
)
"""What Redis says, in the words of 6 and 7, when a command meets a value that no gateway has written."""
_MOVED: Final = re.compile(r"(?:MOVED )?[0-9]+ (?P<host>\S*):(?P<port>[0-9]+)")
"""What a node of a cluster answers that lacks a slot: its number, and who has it. redis-py 8 cuts the word off."""
_OF_SCRIPT: Final = re.compile(r",? ?script: (?:[0-9a-f]{40}, )?on @user_script:[0-9]+\.?")  # Redis adds it to errors
_CLOSED: Final = "the connection is lost"
MAX_MOVES: Final = 5
"""Nodes of a cluster that are asked, one after the other, for the one that has our slot."""
_PART: Final = object()
"""Read while an answer is not whole."""
PROBE_S: Final = 60
"""Seconds that the key of a probe lives."""
Argument: TypeAlias = str | bytes | float
Command: TypeAlias = tuple[Argument, ...]
_PROBE: Final = "return redis.call('SET', KEYS[1], '1', 'EX', ARGV[1])"


class Unreachable(Exception):
    """Redis did not answer in time, or cannot be asked."""


class Refusal(Exception):
    """Redis refused one command, such as one about a key of another type. There is no outage."""


class Script:
    """A Lua script, sent by its hash; Redis gets its text when it does not know that."""

    def __init__(self, *names: str) -> None:
        folder = Path(__file__).parent
        self.text = "\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in names)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[str], args: Sequence[Argument]) -> Command:
        """Return the command that runs it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *args)


class _Failure(str):
    """What Redis refused a command with. It begins with a code in capitals, such as `NOSCRIPT`."""

    __slots__ = ()


class Asked(Protocol):
    """A command whose answer somebody waits for."""

    command: Command
    """Read once it is sent, so that it may grow until then."""
    script: Script | None
    """The one that the command runs."""

    @property
    def waiting(self) -> int:
        """How many wait for it still."""

    def take(self, answer: Any) -> None:
        """Hand the answer to those that wait."""

    def fail(self, error: Unreachable | Refusal) -> None:
        """Have those hear that there is none."""


class _One:
    """A command with one who waits."""

    __slots__ = ("_answer", "command", "script")

    def __init__(self, command: Command, script: Script | None, answer: asyncio.Future[Any]) -> None:
        self.command = command
        self.script = script
        self._answer = answer

    @property
    def waiting(self) -> int:
        return 0 if self._answer.done() else 1

    def take(self, answer: Any) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    def fail(self, error: Unreachable | Refusal) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)


class _Channel(asyncio.Protocol):
    """Hands what comes over one connection to a link."""

    def __init__(self, reader: Reader, take: Callable[[object], None], end: Callable[[_Channel, str], None]) -> None:
        """`reader` returns _PART while an answer is not whole."""
        self._reader = reader
        self._take = take
        self._end = end

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not _PART:
                self._take(answer)
        except Exception as error:  # noqa: BLE001 - what answers may be no Redis; IndexError: an answer to no command
            self._end(self, _why(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self, _CLOSED if exc is None else _why(exc))


class Link:
    """The connection. Make it anywhere; everything else is for one event loop."""

    def __init__(
        self,
        address: StateAddress,
        *,
        prefix: str,
        timeout_s: float,
        carries: str = "limits",
        is_patient: bool = False,
        count_error: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """`carries` names the link in the log. `is_patient`: it is not down while answers come, however late.

        `count_error` hears of each answer that did not come, by reason: `timeout`, `connection`, `refused`.
        """
        self.address = address
        self.prefix = prefix
        self.timeout_s = timeout_s
        self._count_error = count_error
        self._is_patient = is_patient
        self._heard_s = -math.inf
        """When the last answer came, of a patient link."""
        self._told = {"state": str(address), "carries": carries}
        """What log lines have."""
        self.scripts: list[Script] = []
        """Loaded into Redis at each connection."""
        self._redis: Any = None
        self._hiredis: Any = None
        """The libraries."""
        self.is_up = False
        """Redis is asked. Else nobody waits for it."""
        self.ready = asyncio.Event()
        """Redis has answered once, or READY_S have passed."""
        self.on_return: list[Callable[[], None]] = []
        """Called when an outage has ended, before anybody else may ask; they `ask` what was kept meanwhile."""
        self._outgoing: list[Asked] = []
        self._sent: deque[Asked] = deque()
        """What has no answer yet."""
        self._due: deque[tuple[float, list[Asked]]] = deque()
        """What was sent together, and when its answers are looked for."""
        self._look: asyncio.TimerHandle | None = None
        """For the first of these."""
        self._transport: asyncio.Transport | None = None
        self._channel: _Channel | None = None
        self._broken: asyncio.Future[str] | None = None
        """The reason for an outage, of the connection that is up."""
        self._outage: str | None = None
        """The reason that the log has."""
        self._outage_told_s = -math.inf
        self._up_since_s = 0.0
        self._refusal_told_s = -math.inf
        """When the log was last told of a command that Redis refused."""
        self._check: Asked | None = None
        """The last question of `check`."""

    @property
    def is_ready(self) -> bool:
        """`ready` is set."""
        return self.ready.is_set()

    async def run(self) -> None:
        """Load the library, connect, and connect again, until cancelled."""
        loop = asyncio.get_running_loop()
        late = loop.call_later(READY_S, self.ready.set)
        try:
            self._redis, self._hiredis = await asyncio.to_thread(_load)
            pause_s = FIRST_PAUSE_S
            while True:
                try:
                    reason = await self._connected()
                except Exception as error:  # noqa: BLE001 - what answers may be no Redis, and the library fails at it
                    reason = _why(error)
                self._down(reason)
                pause_s = FIRST_PAUSE_S if loop.time() - self._up_since_s > STEADY_S else min(MAX_PAUSE_S, 2 * pause_s)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads replicas
        except ImportError as error:
            self._down(f"the Python package redis is not installed ({error}): install routes-gateway[redis]")
            await self.ready.wait()
        finally:
            late.cancel()
            self.is_up = False
            self._fail("connection")

    async def _connected(self) -> str:
        """Serve by one connection, and return the reason for its end. Raises what the library makes of an answer.

        A node of a cluster names the one that has the slot of our keys. Each connection begins at `address` again.
        """
        options = {"socket_timeout": None, "socket_connect_timeout": CONNECT_S, "protocol": 2}
        pool = self._redis.asyncio.ConnectionPool.from_url(self.address.url, **options)
        for _ in range(MAX_MOVES):
            try:
                return await self._served(pool.make_connection())
            except self._redis.ResponseError as error:
                moved = _MOVED.fullmatch(str(error))
                if moved is None:
                    raise
                if not is_hash_tag(self.prefix):
                    raise self._in_cluster() from None
                pool.connection_kwargs["port"] = int(moved["port"])
                if moved["host"]:  # else it is another port of the same
                    pool.connection_kwargs["host"] = moved["host"]
        return f"each of {MAX_MOVES} nodes of the cluster has named another one for our keys"

    async def _served(self, connection: Connection) -> str:
        """Serve by this connection, likewise."""
        loop, redis = asyncio.get_running_loop(), self._redis
        try:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await connection.connect()  # type: ignore[no-untyped-call]  # of redis-py
            except (redis.TimeoutError, TimeoutError):
                return f"no connection within {CONNECT_S:g} s" + self._hint()
            try:
                async with asyncio.timeout(self.timeout_s):
                    await self._probe(connection)
            except TimeoutError:
                return self._late()
            writer: asyncio.StreamWriter = connection._writer  # type: ignore[assignment]  # it is connected
            self._transport = cast("asyncio.Transport", writer.transport)
            reader = self._hiredis.Reader(replyError=_Failure, notEnoughData=_PART)
            self._channel = _Channel(reader, self._answered, self._ended)
            self._transport.set_protocol(self._channel)
            if self._transport.is_closing():
                return _CLOSED
            self._broken = loop.create_future()
            self._back()
            return await self._broken
        finally:
            self._channel = self._transport = None
            with suppress(redis.RedisError, OSError, TimeoutError):
                await connection.disconnect(nowait=True)

    def _hint(self) -> str:
        return ": does this port speak TLS, as rediss:// says?" if self.address.url.startswith("rediss:") else ""

    def _late(self) -> str:
        return f"no answer within {self.timeout_s * 1000:g} ms"

    async def _probe(self, connection: Connection) -> None:
        """Have a script write a key: a Redis that is a replica, or has no memory left, does not count as up. Raises.

        Proxies know no INFO and no SCRIPT, and rights may lack; the scripts go there with their text.
        """
        commands: list[Command] = [("INFO", "cluster"), ("EVAL", _PROBE, 1, f"{self.prefix}:probe", PROBE_S)]
        commands += [("SCRIPT LOAD", script.text) for script in self.scripts]
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        for name, *_ in commands:
            try:
                answer = await connection.read_response(disable_decoding=True)
            except self._redis.ResponseError:
                if name == "EVAL":
                    raise
            else:
                if name == "INFO" and b"cluster_enabled:1" in answer and not is_hash_tag(self.prefix):
                    raise self._in_cluster()

    def _in_cluster(self) -> OSError:
        return OSError(f"it is a node of a cluster: have all keys in one slot, by --state-prefix '{{{self.prefix}}}'")

    def _back(self) -> None:
        """Ask Redis from now on."""
        self.is_up = True
        self.ready.set()
        self._up_since_s = asyncio.get_running_loop().time()
        if self._outage is not None:
            log.warning("the state in Redis is back", extra=self._told)
            self._outage = None
        for call in self.on_return:
            call()

    def _down(self, reason: str) -> None:
        """Have nobody wait, and log an outage once, and again if it goes on for another reason."""
        self.is_up = False
        self._fail("connection")
        now_s = asyncio.get_running_loop().time()
        if self._outage is None or (reason != self._outage and now_s - self._outage_told_s >= TOLD_S):
            self._outage, self._outage_told_s = reason, now_s
            log.error("the state in Redis is out of reach", extra={**self._told, "reason": reason})

    def ask(self, command: Command, script: Script | None = None) -> asyncio.Future[Any]:
        """Send a command with all others of this turn; return its answer to come, which raises Unreachable or Refusal.

        A `script` is the one that the command runs.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(_One(command, script, answer))
        return answer

    def send(self, asked: Asked) -> None:
        """Send a command with all others of this turn."""
        if self.is_up:
            self._send(asked)
        else:
            asked.fail(Unreachable("there is an outage"))

    def _send(self, asked: Asked) -> None:
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._write)
        self._outgoing.append(asked)

    def check(self) -> None:
        """Begin an outage unless Redis answers here too; for a request that has waited at another link for LATE.

        That counts: whatever the request asks here next, it has waited for no more than one timeout in all.
        """
        if not self.is_up or (self._check is not None and self._check.waiting):
            return
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        answer.add_done_callback(unawaited)
        asked: Asked = _One(("GET", f"{self.prefix}:probe"), None, answer)
        self._check = asked
        self._send(asked)
        loop.call_later(self.timeout_s * (1 - 2 * LATE), self._look_at, [asked], self.timeout_s * LATE)

    def _write(self) -> None:
        """Send what is asked for. The time for an answer begins then: Redis is not why it is late."""
        batch, self._outgoing = self._outgoing, []
        if not batch or self._transport is None:
            return
        self._sent.extend(batch)
        try:
            self._transport.write(b"".join(map(self._hiredis.pack_command, [asked.command for asked in batch])))
        finally:
            loop, due = asyncio.get_running_loop(), self._due
            due_s = loop.time() + self.timeout_s * (1 - LATE)
            while due and not _is_waited_for(due[0][1]):
                due.popleft()
            due.append((due_s, batch))
            if self._look is None:
                self._look = loop.call_at(due_s, self._look_at_due)

    def _look_at_due(self) -> None:
        """Look at what was sent so long ago that its answers should be there. One timer for all, as most are."""
        loop, due, self._look = asyncio.get_running_loop(), self._due, None
        while due:
            due_s, batch = due[0]
            if _is_waited_for(batch) and due_s > loop.time():
                self._look = loop.call_at(due_s, self._look_at_due)
                return
            due.popleft()
            self._look_at(batch, self.timeout_s * LATE)

    def _look_at(self, batch: list[Asked], more_s: float | None) -> None:
        """Begin an outage if a command of this batch has no answer, after a last look at what has come meanwhile."""
        if not _is_waited_for(batch):
            return
        loop = asyncio.get_running_loop()
        if more_s is None and self._is_patient:
            more_s = self._heard_s + self.timeout_s - loop.time()
        if more_s is None or more_s <= 0:
            self._break(self._late(), "timeout")
        else:
            loop.call_later(more_s, self._look_at, batch, None)

    def _answered(self, answer: object) -> None:
        """Hand an answer to the one that waits for it."""
        asked = self._sent.popleft()
        if self._is_patient:
            self._heard_s = asyncio.get_running_loop().time()
        if type(answer) is _Failure:
            self._refused(asked, answer)
        else:
            asked.take(answer)

    def _ended(self, channel: _Channel, reason: str) -> None:
        """Begin an outage if a connection ends that is in use."""
        if channel is self._channel:
            self._break(reason, "connection")

    def _refused(self, asked: Asked, text: str) -> None:
        """Send a script again with its text, have one command fail, or begin an outage."""
        if asked.script is not None and text.startswith("NOSCRIPT"):
            asked.command, asked.script = ("EVAL", asked.script.text, *asked.command[2:]), None
            self._send(asked)
        elif _OF_DATA.search(text):
            for _ in range(asked.waiting):
                self._count_error("refused")
            now_s = asyncio.get_running_loop().time()
            if now_s - self._refusal_told_s >= TOLD_S:
                self._refusal_told_s = now_s
                reason = _reason(text)
                log.error("a key in Redis is not of this gateway", extra={**self._told, "reason": reason})
            asked.fail(Refusal(text))
        else:
            self._sent.appendleft(asked)
            self._break(_reason(text), "refused")

    def distrust(self) -> None:
        """Begin an outage: an answer is not of the form that its command has, so the next ones may be others' too."""
        self._break("an answer is not of the form that was asked for: is it a Redis?", "connection")

    def _break(self, reason: str, kind: str) -> None:
        """Begin an outage."""
        self.is_up = False
        self._fail(kind)
        if self._broken is not None and not self._broken.done():
            self._broken.set_result(reason)

    def _fail(self, kind: str) -> None:
        """Tell all that wait."""
        waiting, self._outgoing = [*self._sent, *self._outgoing], []
        self._sent.clear()
        self._due.clear()
        for asked in waiting:
            for _ in range(asked.waiting):
                self._count_error(kind)
            asked.fail(Unreachable(kind))


def unawaited(answer: asyncio.Future[Any]) -> None:
    """Take an answer that nobody waits for; as a callback of it, so that its error is not reported."""
    if not answer.cancelled():
        answer.exception()


def _is_waited_for(batch: list[Asked]) -> bool:
    return any(asked.waiting for asked in batch)


def _load() -> tuple[Any, Any]:
    """Return the libraries. Takes a tenth of a second."""
    import hiredis
    import redis
    import redis.asyncio

    return redis, hiredis


def _reason(text: str) -> str:
    """Return what Redis or the library says, for the log."""
    return printable(_OF_SCRIPT.sub("", text))[:MAX_REASON]


def _why(error: BaseException) -> str:
    """Return a reason for the log. No text of the library has a password."""
    if type(error) is RuntimeError:  # uvloop's, of a connection that is closed while something is sent
        return _CLOSED
    text = _reason(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
