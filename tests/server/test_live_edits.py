"""`gateway serve` beside programs that save its file in every way: it serves the old text or the new one, no half."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from tests.saving import IS_ROOT, NOBODY, STALLED, WRITERS, folder_in, half_text, half_written, linux, save, text

pytestmark = pytest.mark.timeout(60)

STILL: Final = "the config file is still being written: the old routes stay"
AS_NOBODY: Final = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    # The interpreter may lie in a home folder that nobody else may enter.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
"""Command that runs another as an ordinary user, who gets leases on his own files only."""

CODE: Final = """\
import sys
from pathlib import Path
from gateway.server.process import ServeOptions, serve
sys.exit(serve(ServeOptions(config=Path(sys.argv[1]), port=0)))
"""


def digest(version: int) -> str:
    return hashlib.sha256(text(version).encode()).hexdigest()


class Server:
    """A server process, and the log that it has written so far."""

    def __init__(self, path: Path, *prefix: str) -> None:
        self.process = subprocess.Popen([*prefix, sys.executable, "-c", CODE, str(path)], stderr=subprocess.PIPE)
        self.log: list[dict[str, Any]] = []
        self.told = ""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith(b"{"):
                self.log.append(orjson.loads(line))
            else:
                self.told += line.decode()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in list(self.log) if line["event"] == name]

    @property
    def loaded(self) -> list[str]:
        """Digests of all tables so far."""
        return [line["digest"] for line in self.events("routes loaded")]

    def until(self, condition: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end_s, (self.log, self.told)
            assert self.process.poll() is None, (self.process.returncode, self.log, self.told)
            time.sleep(0.01)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._reading.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def serving(path: Path, *prefix: str) -> Iterator[Server]:
    """Run a server until the end of the block, by the command `prefix` if there is one."""
    server = Server(path, *prefix)
    try:
        server.until(lambda: bool(server.events("listening")))
        yield server
    finally:
        server.end()


@contextmanager
def overlay() -> Iterator[str]:
    """Mount an overlay, as containers have it. Only root may."""
    with folder_in(None) as base:
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        merged = str(base / "merged")
        if subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", merged], check=False).returncode:
            pytest.skip("no overlay can be mounted here")
        try:
            yield merged
        finally:
            subprocess.run(["umount", merged], check=True)


@dataclass(frozen=True, slots=True)
class Place:
    """A served file."""

    name: str
    server: Server
    path: Path
    scratch: Path
    prefix: tuple[str, ...]
    """Command that runs another as the file's owner."""
    tells_writers: bool
    """Whether the system tells the server who has the file open for writing."""


VERSIONS: Final = count(1)
FEW: Final = ["a pause between two parts", "opened for every part", "cp"]
"""The writers tried in every place; the others are tried on the disk, and elsewhere among the slow tests."""
DISK: Final = ["disk"]
ELSEWHERE: Final = ["tmpfs", "overlay", "an ordinary user's own", "another user's"]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    name = request.param
    if name == "tmpfs" and not os.access("/dev/shm", os.W_OK):
        pytest.skip("no tmpfs")
    if name not in {"disk", "tmpfs"} and not IS_ROOT:
        pytest.skip("only root can mount and change its user")
    if "user" in name and shutil.which("setpriv") is None:
        pytest.skip("no setpriv")
    shm = "/dev/shm" if name == "tmpfs" else None
    with overlay() if name == "overlay" else folder_in(shm) as parent, folder_in(str(parent)) as folder:
        path = folder / "routes.yaml"
        path.write_text(text(0))
        prefix = AS_NOBODY if "user" in name else ()
        owned = name == "an ordinary user's own"
        if owned:
            for owner in (folder, path):
                os.chown(owner, NOBODY, NOBODY)
        with serving(path, *prefix) as server, folder_in(None) as scratch:
            tells_writers = sys.platform == "linux" and name != "another user's"
            yield Place(name, server, path, scratch, prefix if owned else (), tells_writers)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("place", DISK, indirect=True)
def test_the_whole_text_is_served_and_nothing_before_it(place: Place, writer: str) -> None:
    served_whole(place, writer)


@pytest.mark.parametrize("writer", FEW)
@pytest.mark.parametrize("place", ELSEWHERE, indirect=True)
def test_the_whole_text_is_served_wherever_it_lies(place: Place, writer: str) -> None:
    served_whole(place, writer)


@pytest.mark.slow
@pytest.mark.parametrize("writer", sorted(WRITERS.keys() - FEW))
@pytest.mark.parametrize("place", ELSEWHERE, indirect=True)
def test_the_whole_text_is_served_wherever_it_lies_whoever_writes_it(place: Place, writer: str) -> None:
    served_whole(place, writer)


def served_whole(place: Place, writer: str) -> None:
    """Save the file, see that its whole text is the next and only one that is loaded."""
    if WRITERS[writer].pauses and not place.tells_writers:
        pytest.skip("only a quiet time counts here, and the writer is quiet for longer")
    if writer == "vim" and shutil.which("vim") is None:
        pytest.skip("no vim")
    code = STALLED
    while code == STALLED:
        version, before = next(VERSIONS), len(place.server.loaded)
        code = save(place.path, version, writer, scratch=place.scratch, prefix=place.prefix).wait()
        assert place.path.read_text() == text(version)
        place.server.until(lambda: place.server.loaded[-1] == digest(version))  # noqa: B023 - called at once
    assert code == 0
    assert place.server.loaded[before:] == [digest(version)]


@pytest.fixture
def path() -> Iterator[Path]:
    with folder_in(None) as folder:
        (folder / "routes.yaml").write_text(text(0))
        yield folder / "routes.yaml"


def half(version: int) -> str:
    return hashlib.sha256(half_text(version).encode()).hexdigest()


def test_two_saves_further_apart_are_two_edits(path: Path) -> None:
    with serving(path) as server:
        for version in (1, 2, 3):
            path.write_text(text(version))
            server.until(lambda: len(server.loaded) == version + 1)  # noqa: B023 - called at once
        assert server.loaded == [digest(version) for version in range(4)]


@linux
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_file_held_open_is_logged_once_and_not_read_until_its_writer_dies(path: Path, times: int) -> None:
    """After a kill the half file is all there is: as no one writes it any more, it is an edit like any other."""
    with serving(path) as server:
        for version in range(1, times + 1):
            with half_written(path, version) as writer:
                server.until(lambda: len(server.events(STILL)) == version)  # noqa: B023 - called at once
                assert server.loaded == [digest(0), *map(half, range(1, version))]
                writer.kill()
                server.until(lambda: server.loaded[-1] == half(version))  # noqa: B023 - called at once
        assert len(server.loaded) == times + 1
    lines = server.events(STILL)
    assert [line["level"] for line in lines] == ["warning"] * times
    assert {line["reason"] for line in lines} == {"a process has it open for writing"}


@linux
def test_sighup_reads_at_once_what_is_held_open(path: Path) -> None:
    with serving(path) as server, half_written(path, 1):
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: server.loaded == [digest(0), half(1)])


@pytest.mark.slow
def test_a_file_that_never_rests_is_logged_and_not_read(path: Path) -> None:
    endless = """
import pathlib, sys, time
half = sys.stdin.read()
while True:
    pathlib.Path(sys.argv[1]).write_text(half)
    time.sleep(0.001)
"""
    with serving(path) as server:
        writer = subprocess.Popen([sys.executable, "-c", endless, path], stdin=subprocess.PIPE, text=True)
        assert writer.stdin is not None
        with writer.stdin:
            writer.stdin.write(half_text(1))
        try:
            server.until(lambda: bool(server.events(STILL)))
            assert server.loaded == [digest(0)]
        finally:
            writer.kill()
            writer.wait()
        path.write_text(text(2))
        server.until(lambda: server.loaded == [digest(0), digest(2)])


@linux
@pytest.mark.parametrize("writer", ["a pause between two parts", "a buffer of 8 KiB"])
def test_a_start_waits_for_a_writer_and_serves_the_whole_text_first(path: Path, writer: str) -> None:
    path.write_text("")
    saving = save(path, 1, writer, scratch=path.parent)
    with serving(path) as server:
        assert server.loaded == [digest(1)]
    assert saving.wait() == 0


@linux
@pytest.mark.slow
def test_a_start_ends_with_2_when_the_file_is_held_open_for_long(path: Path) -> None:
    with half_written(path, 1):
        server = Server(path)
        assert server.process.wait() == 2
        server.end()
    assert "is still being written after 5 s: a process has it open for writing" in server.told
    assert server.loaded == []
