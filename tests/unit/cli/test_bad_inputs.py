"""No command ends in a traceback, whatever the files, folders and streams are that it is given."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli import main
from tests.paths import ROOT

pytestmark = pytest.mark.usefixtures("clean_environment")

GOOD: Final = "version: 1\nmodels:\n  a: mock/echo\n"
CASE: Final = "cases: [{name: a, request: a, expect: {status: 200}}]\n"

FILES: Final[dict[str, Callable[[Path], object]]] = {
    "folder": Path.mkdir,
    "no file": lambda path: None,
    "link to itself": lambda path: path.symlink_to(path),
    "link to nothing": lambda path: path.symlink_to("nowhere.yaml"),
    "nothing in it": Path.touch,
    "utf-16": lambda path: path.write_bytes(GOOD.encode("utf-16")),
    "latin-1": lambda path: path.write_bytes(b"version: 1\nmodels: {caf\xe9: mock/echo}\n"),
    "byte order mark": lambda path: path.write_bytes(f"\ufeff{GOOD}".encode()),
    "CR": lambda path: path.write_bytes(GOOD.replace("\n", "\r").encode()),
    "NUL": lambda path: path.write_bytes(b"version: 1\nmodels: {a: mock/\0}\n"),
    "tabs": lambda path: path.write_text("version: 1\nmodels:\n\ta: mock/echo\n"),
    "two documents": lambda path: path.write_text(f"{GOOD}---\n{GOOD}"),
    "not a mapping": lambda path: path.write_text("- 5\n"),
    "a number": lambda path: path.write_text("5\n"),
    "half a character": lambda path: path.write_text('version: 1\nmodels: {"\\ud800": "mock/\\udfff"}\n'),
    "an anchor in itself": lambda path: path.write_text("version: 1\nx-a: &a {b: *a}\nmodels: {a: mock/echo}\n"),
    "a bomb": lambda path: path.write_text(
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    ),
    "deep flow": lambda path: path.write_text(f"x-a: {'[' * 5000}{']' * 5000}\n"),
    "deep block": lambda path: path.write_text(f"x-a:\n  {'- ' * 900}x\n"),
    "a long number": lambda path: path.write_text(f"version: 1\ndefaults: {{retries: {'9' * 5000}}}\nmodels: {{}}\n"),
    "no number": lambda path: path.write_text("version: 1\ndefaults: {timeout: .inf, retries: .nan}\nmodels: {}\n"),
    "a long key": lambda path: path.write_text(f'version: 1\n"{"k" * 100_000}": 1\n'),
    "tags": lambda path: path.write_text("version: !!python/object:os.system 1\nmodels: !x {}\n"),
}
COMMANDS: Final = [
    ["fmt", "@"], ["fmt", "--check", "@"], ["fmt", "--diff", "@"],
    ["validate", "@"], ["validate", "--format", "sarif", "@"], ["validate", "--format", "junit", "@"],
    ["validate", "--format", "github", "@"], ["validate", "--format", "json", "@"],
    ["test", "@"], ["test", "cases.test.yaml", "--config", "@"], ["test", "@", "--format", "junit"],
    ["explain", "a", "--config", "@"], ["explain", "a", "--config", "good.yaml", "--request", "@"],
    ["diff", "@", "good.yaml"], ["diff", "good.yaml", "@", "--format", "json"], ["diff", "--config", "@"],
    ["import", "litellm", "@"], ["import", "litellm", "good.yaml", "--report", "@"], ["init", "@"],
]  # fmt: skip


def run(argv: list[str], *, given: bytes = b"") -> tuple[int, str]:
    """Run a command; return its exit code and what it complains of."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2))
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(given))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(argv)
    finally:
        sys.stdin = stdin
    err.flush()
    assert isinstance(err.buffer, io.BytesIO)
    return code, err.buffer.getvalue().decode()


@pytest.mark.parametrize("kind", FILES)
def test_no_file_ends_a_command_in_a_traceback(kind: str, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "cases.test.yaml").write_text(CASE)
    for argv in COMMANDS:
        for name in ("bad.yaml", "bad.test.yaml"):
            if not os.path.lexists(name):
                FILES[kind](Path(name))
        for name in ("bad.yaml", "bad.test.yaml") if argv == ["test", "@"] else ("bad.yaml",):
            code, said = run([name if word == "@" else word for word in argv])
            assert code in {0, 1, 2}, (argv, said)
            assert "Traceback" not in said, argv
            assert "please report" not in said, argv


SHARDS: Final = [
    "\t", "\r\n", "\r", "\ufeff", "\0", "&a ", "*a ", "!!binary ", "!t ", "? ", ": ", "- ", "{", "}", "[", "]", ",",
    " # c", "|\n   x\n", ">-\n", '"', "'", "\\", "%YAML 1.1\n", "---\n", "...\n", "<<: *a\n", "${A", "${A:-}", "$$",
    "\u2028", "\x85", "1e999", ".inf", "~", "true", '"\\ud800"', "\x7f", "\x1b[31m", "x" * 300, "[" * 40,
    "? [a]\n: b\n", '"a": 1\n"a": 2\n', "models: 5\n", "x-a: &a {b: *a}\n", "{chain: [mock/echo]}", "{target: a/b}",
    "cases: []\n", "# gateway: ignore[", "{url", "[api_key",
]  # fmt: skip
BASES: Final = [path.read_text() for path in (ROOT / "routes.yaml", *sorted(ROOT.glob("examples/*.yaml")))]


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """Return a good file with a few shards put into it, or only shards, maybe no UTF-8 any more."""
    text = draw(st.sampled_from(["", GOOD, CASE, *BASES]))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(SHARDS)) + text[at + draw(st.sampled_from([0, 0, 1, 8])) :]
    return text.encode() + draw(st.sampled_from([b"", b"", b"\xff", b"\xe2\x80"]))


@pytest.mark.timeout(60)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=torn())
def test_no_text_ends_a_command_in_a_traceback(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("torn.yaml", "torn.test.yaml"):
            Path(folder, name).write_bytes(data)
        for argv in (["fmt", "--diff"], ["fmt"], ["validate", "--skip-hooks"], ["import", "litellm"]):
            code, said = run([*argv, f"{folder}/torn.yaml"])
            assert code in {0, 1, 2}
            assert "please report" not in said
        for argv in (["fmt", "-"], ["validate", "--format", "sarif", "--skip-hooks", "-"]):
            assert run(argv, given=data)[0] in {0, 1, 2}
        assert run(["test", "--skip-hooks", f"{folder}/torn.test.yaml"])[0] in {0, 1, 2}


def test_a_text_on_which_the_formatter_itself_fails_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").write_text(text := f"version: 1\nmodels: {{}}\nx-a: {'[' * 90}{']' * 90}\n")
    limit, depth, frame = sys.getrecursionlimit(), 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    assert run(["fmt", "--check", "deep.yaml"])[0] in {0, 1}  # everything it needs is loaded now
    sys.setrecursionlimit(depth + 75)
    try:
        code, said = run(["fmt", "deep.yaml"])
    finally:
        sys.setrecursionlimit(limit)
    assert code == 1
    assert said.startswith("gateway: deep.yaml stays as it is: RecursionError in the formatter. This is a fault of")
    assert (tmp_path / "deep.yaml").read_text() == text


def shell(command: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = command.replace("gateway", f"'{sys.executable}' -P -m gateway", 1)
    return subprocess.run(["sh", "-c", script], env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command", ["fmt good.yaml", "validate --format sarif good.yaml", "schema", "fmt - <good.yaml"]
)
def test_an_output_that_cannot_be_written_is_told(command: str) -> None:
    Path("good.yaml").write_text(GOOD)
    done = shell(f"gateway {command} 1</dev/null")
    assert (done.returncode, done.stderr) == (2, "gateway: cannot write the output: bad file descriptor\n")


@pytest.mark.parametrize("command", ["validate a.yaml", "diff a.yaml b.yaml", "diff"])
def test_a_current_folder_that_is_gone_is_told(command: str) -> None:
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; gateway {command}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("gateway: ")
    assert "Traceback" not in done.stderr


def test_a_folder_that_vanishes_or_cannot_be_read_is_passed_over_by_test() -> None:
    """As below `/proc`, whose folders come and go."""
    done = shell("gateway test /proc/self/task")
    assert (done.returncode, done.stderr) == (2, "gateway: there is no *.test.yaml below /proc/self/task\n")
