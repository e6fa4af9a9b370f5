"""Child processes of the benchmark: started on chosen cores, watched through /proc, ended by their id."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

READY_S: Final = 120.0
STOP_S: Final = 5.0
_FETCH_S: Final = 10.0
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_POLL_S: Final = 0.002


class BenchError(Exception):
    """Something could not be measured; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores what is measured may use, and which are left to the client and the upstream."""

    peer: frozenset[int]
    rest: frozenset[int]

    @classmethod
    def split(cls) -> Cores:
        """Give the first core to the peer and the others to the rest; with one core they share it."""
        every = sorted(os.sched_getaffinity(0))
        return cls(frozenset(every[:1]), frozenset(every[1:] or every))

    @property
    def all(self) -> frozenset[int]:
        return self.peer | self.rest


class Child:
    """A process and what it started. Ended when the `with` block ends."""

    def __init__(
        self, command: Sequence[str], *, cores: Iterable[int], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        """Start it. Its output goes to `log`, which is emptied whenever `forget_log` is called."""
        self._name = Path(command[0]).name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*pinned(cores), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it: politely, and after STOP_S the hard way, with what it started."""
        started = self._pids()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                for pid in started:
                    _kill(pid)
                self._process.wait(STOP_S)

    def wait_ready(self, url: str, *, within_s: float = READY_S) -> None:
        """Return when `url` answers with anything below 500. Raises BenchError."""
        end_s = time.monotonic() + within_s
        while not answers(url):
            if self._process.poll() is not None:
                raise BenchError(f"{self._name} ended with {self._process.returncode}: {self._last_words()}")
            if time.monotonic() > end_s:
                raise BenchError(f"{self._name} was not ready after {within_s:g} s: {self._last_words()}")
            time.sleep(_POLL_S)

    def cpu_s(self) -> float:
        """Return the CPU time used so far, by it and what it started."""
        return sum(_cpu_s(pid) for pid in self._pids())

    def memory_mb(self) -> float:
        """Return the resident memory of it and what it started, in MB of a million bytes."""
        return sum(_memory_bytes(pid) for pid in self._pids()) / 1e6

    def open_files(self) -> int:
        """Return how many file descriptors it and what it started have open."""
        return sum(len(_names(Path(f"/proc/{pid}/fd"))) for pid in self._pids())

    def use(self, cores: Iterable[int]) -> None:
        """Let it run on other cores, all its threads."""
        wanted = frozenset(cores)
        for pid in self._pids():
            for thread in _names(Path(f"/proc/{pid}/task")):
                os.sched_setaffinity(int(thread), wanted)

    def forget_log(self) -> None:
        """Empty its log, so that an access log does not fill the disk."""
        os.truncate(self._log, 0)

    def _pids(self) -> list[int]:
        found = [self._process.pid]
        for pid in found:  # grows meanwhile
            for thread in _names(Path(f"/proc/{pid}/task")):
                found += map(int, _read(Path(f"/proc/{pid}/task/{thread}/children")).split())
        return found

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-800:].strip() or "it said nothing"


def pinned(cores: Iterable[int]) -> list[str]:
    """Return what goes in front of a command that may use these cores only."""
    return ["taskset", "-c", ",".join(map(str, sorted(cores)))]


def fetch(url: str) -> tuple[int, bytes]:
    """GET an `http` URL and return the status and the body. Raises OSError and HTTPException."""
    parts = urlsplit(url)
    assert parts.hostname
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=_FETCH_S)) as connection:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status, response.read()


def answers(url: str) -> bool:
    """Tell whether an HTTP server answers there, with anything below 500."""
    try:
        return fetch(url)[0] < 500
    except (OSError, http.client.HTTPException):
        return False


def raise_file_limit() -> None:
    """Let this process, and those it starts, hold as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens at now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def _cpu_s(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S if fields else 0.0


def _memory_bytes(pid: int) -> int:
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: Path) -> str:
    """Return a file of /proc, or nothing when its process is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
