"""`gateway keys new`: the key opens what its line says, and the line holds no key."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.policy.clients import Client
from gateway.server.client_keys import ClientKeys


def made(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[str, str]:
    """Return key and line."""
    assert main(["keys", "new", *argv]) == 0
    shown = capsys.readouterr()
    first, key, second = shown.err.splitlines()
    assert first.startswith("key")
    assert second.startswith("line")
    assert shown.out.count("\n") == 1, "it may be added to the file as it is"
    return key.strip(), shown.out.removesuffix("\n")


@pytest.mark.parametrize(
    ("argv", "client"),
    [
        (("app",), Client(name="app")),
        (("app", "--group", "search"), Client(name="app", group="search")),
        (("ops@x.y-z_1", "--admin"), Client(name="ops@x.y-z_1", is_admin=True)),
        (("app", "--admin", "--group", "a"), Client(name="app", group="a", is_admin=True)),
    ],
)
def test_the_line_gives_the_key_its_client(
    argv: tuple[str, ...], client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, line = made(capsys, *argv)
    (tmp_path / "keys.txt").write_text(f"{line}\n")
    assert ClientKeys(tmp_path / "keys.txt").client_of(key) == client
    assert key not in line


def test_no_two_keys_are_equal_and_each_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {made(capsys, "app")[0] for _ in range(5)}
    assert len(keys) == 5
    assert all(key.startswith("gw-") and len(key) >= 46 for key in keys)


def test_json_has_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "app", "--group", "search", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    digest = sha256(found["key"].encode()).hexdigest()
    line = f"app sha256:{digest} group=search"
    assert found == {
        "key": found["key"],
        "line": line,
        "name": "app",
        "group": "search",
        "admin": False,
        "sha256": digest,
    }


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (("a b",), "a client's name"),
        (("",), "a client's name"),
        (("x" * 65,), "a client's name"),
        (("a\nb",), "a client's name"),
        (("app", "--group", "a/b"), "a group's name"),
        (("app", "--group", ""), "a group's name"),
    ],
)
def test_a_name_that_the_file_cannot_have_is_refused(
    argv: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "new", *argv]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"gateway: {what} is made of letters, digits and . _ @ -, at most 64\n"
