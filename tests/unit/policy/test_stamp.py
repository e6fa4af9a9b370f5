"""Whoever rereads a file notices the same changes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.policy.clients import Client
from gateway.policy.keys import KeySource, Secret
from gateway.policy.stamp import stamp, stamp_of
from gateway.server.client_keys import ClientKeys


def _write_in_place(file: Path, text: str) -> None:
    file.write_text(text)


def _replace(file: Path, text: str) -> None:
    other = file.with_name("other")
    other.write_text(text)
    os.replace(other, file)


def _write_and_set_the_time_back(file: Path, text: str) -> None:
    before = os.stat(file)
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [_write_in_place, _replace, _write_and_set_the_time_back])
def test_a_file_of_the_same_size_that_changed_is_read_again(change: object, tmp_path: Path) -> None:
    assert callable(change)
    key_file, clients = tmp_path / "key", tmp_path / "clients"
    key_file.write_text("key-1")
    clients.write_text("ann key-1")
    source, keys = KeySource(name="k", file=key_file), ClientKeys(clients)
    assert (source.read(), keys.client_of("key-1"), keys.changed()) == (Secret("key-1"), Client(name="ann"), False)
    change(key_file, "key-2")
    change(clients, "ann key-2")
    assert (source.read(), keys.changed()) == (Secret("key-2"), True)
    keys.read_again()
    assert (keys.client_of("key-1"), keys.client_of("key-2")) == (None, Client(name="ann"))


def test_there_is_no_stamp_without_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    source = KeySource(name="k", file=file)
    assert (stamp(file), source.read()) == (None, None)
    file.write_text("key-1")
    assert (stamp(file), source.read()) == (stamp_of(os.stat(file)), Secret("key-1"))
    file.unlink()
    assert (stamp(file), source.read()) == (None, Secret("key-1"))
