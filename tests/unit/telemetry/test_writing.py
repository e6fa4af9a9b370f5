"""Lines are written without waiting for their reader, are never torn, and those that nobody takes are counted."""

from __future__ import annotations

import json
import os
import pty
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from gateway.telemetry import writing
from gateway.telemetry.writing import MAX_WAITING_BYTES, LineWriter

Ends: TypeAlias = tuple[int, int]
"""Descriptors to read from and to write to."""


def pipe() -> Ends:
    return os.pipe()


def unix_socket() -> Ends:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def terminal() -> Ends:
    return pty.openpty()


@pytest.fixture(params=[pipe, unix_socket, terminal])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made: Ends = request.param()
    yield made
    for descriptor in made:
        os.close(descriptor)


def line(number: int, size: int = 100) -> bytes:
    return json.dumps({"number": number, "text": "x" * size}).encode() + b"\n"


def read_on(descriptor: int) -> tuple[bytearray, Callable[[], None]]:
    """Read in a thread from now on; return what was read, and a function that waits for a line's number -1."""
    read = bytearray()
    seen = threading.Event()

    def go_on() -> None:
        while b'"number": -1,' not in read or not read.endswith(b"\n"):
            read.extend(os.read(descriptor, 65536))
        seen.set()

    threading.Thread(target=go_on, daemon=True).start()
    return read, partial(_wait, seen)


def _wait(seen: threading.Event) -> None:
    assert seen.wait(5.0)


@pytest.mark.parametrize("size", [100, 5_000, 100_000])
def test_what_nobody_reads_is_kept_up_to_a_limit_and_then_dropped_in_whole_lines(ends: Ends, size: int) -> None:
    reading, descriptor = ends
    blocking = os.get_blocking(descriptor)
    writer = LineWriter(descriptor)
    count = 3 * MAX_WAITING_BYTES // size
    for number in range(count):
        writer.write(line(number, size))
    assert writer.is_behind
    assert 0 < writer.dropped == writer.untold < count
    assert os.get_blocking(descriptor) == blocking  # other processes share it
    read, wait = read_on(reading)
    writer.catch_up(5.0)
    assert not writer.is_behind
    writer.write(line(-1))
    writer.catch_up(5.0)
    wait()
    numbers = [json.loads(each)["number"] for each in read.splitlines()]
    assert len(numbers) == count - writer.dropped + 1
    assert numbers[:-1] == sorted(numbers[:-1])
    writer.close(0.0)


def test_lines_for_a_reader_that_is_gone_are_counted() -> None:
    reading, descriptor = os.pipe()
    writer = LineWriter(descriptor)
    writer.write(line(0))
    assert (writer.dropped, writer.is_read) == (0, True)
    os.close(reading)
    writer.write(line(1) + line(2))
    assert (writer.dropped, writer.is_read, writer.is_behind) == (2, False, False)
    writer.close(0.0)
    os.close(descriptor)


def test_a_line_that_was_cut_off_for_good_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    descriptor = os.open(path, os.O_WRONLY)
    writer = LineWriter(descriptor)
    while not writer.is_behind:
        writer.write(line(0, 5_000))
    os.close(reading)
    writer.catch_up()  # the rest of the line is lost with its reader
    assert (writer.dropped, writer.is_behind) == (1, False)
    again = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer.write(line(1))
    read = os.read(again, 1 << 20)
    writer.catch_up()
    read += os.read(again, 1 << 20)
    assert read.endswith(b"\n" + line(1))
    writer.close(0.0)
    os.close(again)
    os.close(descriptor)


def test_a_file_gets_its_lines_at_its_own_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        LineWriter(file.fileno()).write(b"a line\n")
        os.write(file.fileno(), b"another's\n")
    assert path.read_bytes() == b"before\na line\nanother's\n"


def test_where_a_pipe_cannot_be_opened_anew_it_is_asked_for_room() -> None:
    reading, descriptor = os.pipe()
    written = 0
    with suppress(BlockingIOError):
        while True:
            written += writing._write_if_ready(descriptor, b"x" * 100_000)
    assert written >= 4096
    assert len(os.read(reading, written)) == written
    assert writing._write_if_ready(descriptor, b"y") == 1
    os.close(reading)
    os.close(descriptor)


def test_closing_waits_for_a_reader_only_so_long_and_later_lines_are_dropped() -> None:
    reading, descriptor = os.pipe()
    writer = LineWriter(descriptor)
    while not writer.is_behind:
        writer.write(line(0))
    writer.close(0.05)
    assert writer.dropped == 1
    writer.write(line(1))
    assert writer.dropped == 2
    os.close(reading)
    os.close(descriptor)


def test_a_descriptor_that_is_closed_takes_nothing() -> None:
    reading, descriptor = os.pipe()
    os.close(reading)
    os.close(descriptor)
    writer = LineWriter(descriptor)
    writer.write(line(0))
    assert writer.dropped == 1
