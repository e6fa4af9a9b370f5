"""Faults of this machine and refused certificates have a log line each, once a minute, without foreign text."""

from __future__ import annotations

import errno
import logging
import ssl

import pytest

from gateway.wire.local_faults import EVERY_S, MAX_CAUSES, RareLines, note_local_fault


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_cause_is_told_once_a_minute_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lines = RareLines(clock)
    for _ in range(5):
        lines.warn("it failed", host="a")
    lines.warn("it failed", host="b")
    clock.now_s += EVERY_S
    lines.warn("it failed", host="a")
    told = [(vars(record)["host"], vars(record)["times"]) for record in caplog.records]
    assert told == [("a", 1), ("b", 1), ("a", 5)]


def test_causes_are_bounded_in_number(caplog: pytest.LogCaptureFixture) -> None:
    lines = RareLines(Clock())
    for number in range(2 * MAX_CAUSES + 1):
        lines.warn("it failed", host=str(number))
    assert len(caplog.records) == 2 * MAX_CAUSES + 1
    assert len(lines._causes) == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL])
def test_want_of_a_resource_is_found_below_other_exceptions(number: int, caplog: pytest.LogCaptureFixture) -> None:
    cause = OSError(number, "the prompt")
    outer = ExceptionGroup("x", [ValueError("y"), cause])
    error = RuntimeError("it failed")
    error.__cause__ = outer
    assert note_local_fault(error, doing=f"test {number}")
    [record] = caplog.records
    fields = vars(record)
    assert (record.levelno, record.msg, fields["reason"]) == (
        logging.WARNING,
        "out of resources",
        errno.errorcode[number],
    )


def test_what_is_an_upstreams_fault_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    assert not note_local_fault(ConnectionRefusedError(errno.ECONNREFUSED, "x"), doing="connect", host="h")
    assert not caplog.records


def test_a_tls_fault_without_a_reason_has_its_types_name(caplog: pytest.LogCaptureFixture) -> None:
    assert note_local_fault(ssl.SSLError("sk-secret"), doing="connect", host="faulty:1")
    assert (caplog.records[0].msg, vars(caplog.records[0])["reason"]) == ("tls failed", "SSLError")
