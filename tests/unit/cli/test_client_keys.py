"""`validate --client-keys-file`: what is wrong with the file, and with the two files together. No key is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.errors import UsageError
from gateway.server.client_keys import ClientKeys

DIGEST = f"sha256:{'0a' * 32}"
ROUTES = """\
version: 1
clients:
  default: {limits: [60 requests/minute]}
  batch: {limits: [5 concurrent]}
models: {fast: mock/hello}
"""
KEYS = f"""\
# teams
app sk-hidden-1
ci sk-hidden-2 group=batch
ci {DIGEST} admin
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CLIENT_KEYS_FILE", raising=False)
    Path("routes.yaml").write_text(ROUTES)
    Path("keys.txt").write_text(KEYS)


def validate(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[str]]:
    exit_code = main(["validate", *argv])
    shown = capsys.readouterr()
    assert "sk-hidden" not in shown.out + shown.err
    return exit_code, [*shown.out.splitlines(), *shown.err.splitlines()]


def test_two_good_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(capsys, "--client-keys-file", "keys.txt", "--strict") == (
        0,
        ["routes.yaml: ok (1 alias, 1 target)", "keys.txt: ok (3 client keys)"],
    )


def test_the_variable_of_serve_counts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CLIENT_KEYS_FILE", "keys.txt")
    assert validate(capsys)[1][-1] == "keys.txt: ok (3 client keys)"


def test_every_malformed_line_is_told_with_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    Path("keys.txt").write_text(f"{KEYS}sk-hidden-3\nx sha256:12\nci sk-hidden-4 group=other\nother sk-hidden-1\n")
    assert validate(capsys, "--client-keys-file", "keys.txt") == (
        1,
        [
            "routes.yaml: ok (1 alias, 1 target)",
            (
                "keys.txt:5:1: bad-client-key: a line is `name key` or `name sha256:<hex>`, then `group=NAME` and "
                "`admin` where they are wanted"
            ),
            "keys.txt:6:1: bad-client-key: after sha256: stand 64 hex digits",
            "keys.txt:7:1: bad-client-key: line 3 gives the client 'ci' the group 'batch'; a client has one",
            "keys.txt:8:1: bad-client-key: the key is that of client 'app' already",
            "4 problems in keys.txt",
        ],
    )


@pytest.mark.parametrize("key", ["0f" * 32, f"gw-{'x' * 43}"])
def test_a_key_in_the_place_of_the_name_is_told_and_not_shown(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a name it would be in logs and metrics."""
    Path("keys.txt").write_text(f"{KEYS}{key} app\n")
    exit_code, lines = validate(capsys, "--client-keys-file", "keys.txt")
    assert exit_code == 1
    assert lines[1].startswith("keys.txt:5:1: bad-client-key: the name comes first, then the key")
    assert key not in "".join(lines)


def test_the_mark_and_the_line_ends_of_other_systems_are_no_part_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    data = b"\xef\xbb\xbf" + KEYS.encode().replace(b"\n", b"\r\n")
    Path("keys.txt").write_bytes(data)
    assert validate(capsys, "--client-keys-file", "keys.txt")[1][-1] == "keys.txt: ok (3 client keys)"
    assert ClientKeys(Path("keys.txt")).client_of("sk-hidden-1") is not None
    Path("keys.txt").write_bytes(b"app sk-hidden-1\x0cb sk-hidden-2\n")  # one line to both
    assert "1 problem in keys.txt" in validate(capsys, "--client-keys-file", "keys.txt")[1]
    with pytest.raises(UsageError):
        ClientKeys(Path("keys.txt"))


def test_groups_that_one_of_the_files_lacks_are_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    Path("keys.txt").write_text("app sk-hidden-1\nci sk-hidden-2 group=bacth\n")
    expected = [
        "routes.yaml:4:3: warning: unused-group: clients.batch: no client key is of this group; did you mean 'bacth'?",
        "  4 |   batch: {limits: [5 concurrent]}",
        "    |   ^",
        "routes.yaml: ok (1 alias, 1 target), 1 warning",
        (
            "keys.txt:2:1: warning: unknown-group: 'clients' has no group 'bacth': its requests get 403; did you mean "
            "'batch'?"
        ),
        "keys.txt: ok (2 client keys), 1 warning",
    ]
    assert validate(capsys, "--client-keys-file", "keys.txt") == (0, expected)
    assert validate(capsys, "--client-keys-file", "keys.txt", "--strict")[0] == 1
    ignored = validate(capsys, "--client-keys-file", "keys.txt", "--ignore", "unused-group,unknown-group", "--strict")
    assert ignored == (0, ["routes.yaml: ok (1 alias, 1 target)", "keys.txt: ok (2 client keys)"])


def test_a_group_is_unknown_where_the_config_has_no_clients(capsys: pytest.CaptureFixture[str]) -> None:
    Path("routes.yaml").write_text("version: 1\nmodels: {fast: mock/hello}\n")
    assert validate(capsys, "--client-keys-file", "keys.txt")[1] == [
        "routes.yaml: ok (1 alias, 1 target)",
        "keys.txt:3:1: warning: unknown-group: 'clients' has no group 'batch': its requests get 403",
        "keys.txt: ok (3 client keys), 1 warning",
    ]


def test_a_config_with_problems_says_nothing_of_groups(capsys: pytest.CaptureFixture[str]) -> None:
    Path("routes.yaml").write_text(ROUTES.replace("mock/hello", "moc/hello"))
    exit_code, lines = validate(capsys, "--client-keys-file", "keys.txt")
    assert exit_code == 1
    assert lines[-1] == "keys.txt: ok (3 client keys)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "gateway: cannot read the client keys file keys.txt: no such file or directory"),
        (b"a \xff\n", "gateway: cannot read the client keys file keys.txt: it is not UTF-8 text"),
        (b"# none\n", "gateway: keys.txt: holds no key; write one client per line as `name key`"),
    ],
)
def test_a_file_that_serve_could_not_begin_with(
    text: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        Path("keys.txt").unlink()
    else:
        Path("keys.txt").write_bytes(text)
    assert validate(capsys, "--client-keys-file", "keys.txt") == (2, [said])


def test_json_has_an_object_for_the_file_and_annotations_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Path("keys.txt").write_text("app sk-hidden-1\nci sk-hidden-2 group=bacth\n")
    _, lines = validate(capsys, "--client-keys-file", "keys.txt", "--format", "json")
    routes, keys = json.loads("\n".join(lines))["files"]
    assert (routes["client_keys"], keys["client_keys"], keys["ok"], keys["file"]) == (None, 2, True, "keys.txt")
    assert [(problem["source"], problem["line"], problem["code"]) for problem in keys["problems"]] == [
        ("keys.txt", 2, "unknown-group")
    ]
    _, lines = validate(capsys, "--client-keys-file", "keys.txt", "--format", "github")
    assert any("file=keys.txt,line=2" in line for line in lines)
