"""The load: `wrk` for what is counted, the client in `streams.py` for what is read event by event."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.bench.processes import BenchError, pinned

_TIMEOUT_S: Final = 60
_GRACE_S: Final = 120.0
_POLL_S: Final = 0.005
_GIVE_UP_S: Final = 30
_MARK: Final = "figures: "

_LUA: Final = """\
local requests, turn = {}, 0
function init(args)
  mark_file = args[2]
  for body in io.lines(args[1]) do requests[#requests + 1] = wrk.format("POST", nil, nil, body) end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local bad = summary.errors
  io.write(string.format(
    '\\nfigures: {"requests":%d,"us":%d,"p50_us":%.1f,"p99_us":%.1f,"failed":%d,"refused":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    bad.connect + bad.read + bad.write + bad.timeout, bad.status))
end
"""

_LUA_MARK: Final = """\
local answered = 0
function response()
  answered = answered + 1
  if answered == %d then io.open(mark_file, "w"):close() end
end
"""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, always the same or with several bodies in turn."""

    url: str
    bodies: tuple[bytes, ...]
    """One line each."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self) -> bytes:
        """Return the bytes of the first one."""
        parts = urlsplit(self.url)
        body = self.bodies[0]
        head = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in self._headers().items()]
        return "\r\n".join([*head, "", ""]).encode() + body

    def _headers(self) -> dict[str, str]:
        return {"content-type": "application/json", **self.headers}


@dataclass(frozen=True, slots=True)
class Counted:
    """What wrk found."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds


class Wrk:
    """One run of wrk, begun when made; `result` waits for it."""

    def __init__(
        self,
        request: Request,
        *,
        connections: int,
        seconds: float,
        cores: Iterable[int],
        pause_ms: float = 0.0,
        answers: int = 0,
    ) -> None:
        """With `pause_ms`, a connection waits so long on average after each answer.

        With `answers` it ends after about so many, or after the `seconds`.
        """
        self._folder = tempfile.TemporaryDirectory()
        script, bodies = Path(self._folder.name, "load.lua"), Path(self._folder.name, "bodies")
        bodies.write_bytes(b"\n".join(request.bodies) + b"\n")
        pause = f"function delay() return math.random(0, {round(2 * pause_ms)}) end\n" if pause_ms >= 1 else ""
        self._mark = Path(self._folder.name, "mark")
        """Made at the first answer, or the last one of `answers`, if it has to be ended early."""
        self._left_s = 0.0 if answers else seconds
        """Seconds from the mark to the end."""
        self._early = answers > 0 or bool(seconds % 1)
        script.write_text(_LUA + pause + (_LUA_MARK % max(1, answers) if self._early else ""))
        self._seconds = seconds
        headers = [arg for name, value in request._headers().items() for arg in ("-H", f"{name}: {value}")]
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(_GIVE_UP_S, round(seconds)) if self._early else round(seconds)}s",
            f"--timeout={_TIMEOUT_S}s",
            *headers,
        ]
        self._url = request.url
        self._process = subprocess.Popen(
            [*pinned(cores), *command, "-s", str(script), request.url, "--", str(bodies), str(self._mark)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def result(self) -> Counted:
        """Return the figures. Raises BenchError when a request failed: then they would mean nothing."""
        try:
            self._end_early()
            output, _ = self._process.communicate(timeout=self._seconds + _GRACE_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"wrk on {self._url} did not end") from None
        finally:
            if self.running:
                self._process.kill()
                self._process.communicate()
            self._folder.cleanup()
        _, found, line = output.rpartition(_MARK)
        if not found:
            raise BenchError(f"wrk on {self._url} failed: {output.strip()[-400:]}")
        got = json.loads(line)
        if not got["requests"]:
            raise BenchError(f"{self._url}: no answer within {self._seconds:g} s; try more --seconds")
        if got["failed"] or got["refused"]:
            raise BenchError(
                f"{self._url}: {got['requests']} answers, of them {got['refused']} with an error status,"
                f" and {got['failed']} failed connections or timeouts"
            )
        return Counted(got["requests"], got["us"] / 1e6, got["p50_us"] / 1e3, got["p99_us"] / 1e3)

    def _end_early(self) -> None:
        """End it after a part of a second, as it knows only whole ones, but not before the first answer."""
        if not self._early:
            return
        while self.running and not self._mark.exists():
            time.sleep(_POLL_S)
        try:
            self._process.wait(self._left_s)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """What the client of `streams.py` found."""

    streams: int
    seconds: float
    broken: int
    """Streams that ended early, or lacked an event or `[DONE]`."""
    first_ms: Sequence[float]
    """Of each stream, from the question to the first event."""
    late_ms: Sequence[float]
    """Of each event that tells when it was sent."""


def read_streams(request: Request, *, connections: int, seconds: float, cores: Iterable[int]) -> Streamed:
    """Read streams on so many connections, one after the other until the time is up; 0 seconds: one on each."""
    parts = urlsplit(request.url)
    asked = {
        "host": parts.hostname,
        "port": parts.port,
        "request": request.wire().decode(),
        "connections": connections,
        "seconds": seconds,
    }
    done = subprocess.run(
        [*pinned(cores), sys.executable, "-m", "tests.bench.streams"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=seconds + _GRACE_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"reading streams of {request.url} failed: {done.stderr.strip()[-400:]}")
    return Streamed(**json.loads(done.stdout))
