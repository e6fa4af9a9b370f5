"""`gateway fmt`: the changes that it makes, those that it never makes, and how it writes files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli import main
from gateway.config.compiler.compiler import Compiler
from gateway.config.document.document import parse
from gateway.config.format import format as formatting
from gateway.config.format.format import FormattingError, format_bytes
from tests.paths import ROOT
from tests.unit.formatted import Author

CASES = sorted((ROOT / "tests" / "cases" / "formatting").glob("*.yaml"))
OURS = [ROOT / "routes.yaml", *ROOT.glob("examples/**/*.yaml"), *ROOT.glob("deploy/*/routes.yaml")]
FRAGMENTS = """\
models:|  a:|    chain: [a/b]|      - {target: a/b}|    - a/b|# c|    # c| |    description: >+|        text
  x: &x {chain: [a/b]}|  y: *x|    <<: *x|  z: {chain: [ {target : 'a/b' ,retries: 1} ], stream: {},|    # in
    timeout: 3s}|x-n: &n|  -   2  # two|  - - 3|    - 4|    more|? x|: y|---|  g: [ *x ]|  - |  d: |2|      two
    retries: 0|  "q": "yes"|  p:|	# tab
""".replace("\n", "|").split("|")
LONG = "version: 1\nmodels:\n    fast: {chain: [a/b]}   # quick\n"
SHORT = "version: 1\nmodels:\n  fast: a/b   # quick\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)


def formatted(text: str, name: str = "routes.yaml") -> str:
    return format_bytes(text.encode(), name=name).data.decode()


def write(name: str, text: str) -> Path:
    Path(name).write_bytes(text.encode())
    return Path(name)


@pytest.mark.parametrize("file", CASES, ids=lambda path: path.stem)
def test_what_becomes_of_a_text(file: Path) -> None:
    """`python -m tests.unit.cli.test_fmt` rewrites the results."""
    name = "cases.test.yaml" if file.stem.startswith("test-") else "routes.yaml"
    assert formatted(file.read_text(encoding="utf-8"), name) == file.with_suffix(".formatted").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_our_own_files_are_in_normal_form(file: Path) -> None:
    assert formatted(file.read_text(encoding="utf-8"), file.name) == file.read_text(encoding="utf-8")


@given(st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_meaning_and_comments_stay_and_a_second_time_changes_nothing(random: Random) -> None:
    author = Author(random)
    text = author.write()
    once = formatted(text)
    assert formatted(once) == once, text
    lines = once.splitlines()
    for word in author.behind:
        assert any(word in line.split("# behind")[0] for line in lines if f"# behind {word}" in line), text + once
    for word in author.above:
        index = next(number for number, line in enumerate(lines) if line.strip() == f"# above {word}")
        assert word in lines[index + 1], text + once


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_lines_at_all(lines: list[str]) -> None:
    text = "\n".join(["version: 1", *lines])
    if parse(text.encode(), name="a").problems:
        return
    once = formatted(text)
    assert formatted(once) == once


def test_both_texts_compile_to_the_same_table() -> None:
    file = ROOT / "examples" / "policy" / "routes.yaml"
    text = file.read_text(encoding="utf-8")
    loose = text.replace("  ", "    ").replace("- ", "-   ").replace("[", "[ ").replace("{target: ", "{ target:   ")
    tables = [
        Compiler(environ={}, skip_hooks=True).compile(data, source=str(file)).table
        for data in (loose.encode(), format_bytes(loose.encode(), name="routes.yaml").data)
    ]
    assert tables[0] is not None
    assert tables[1] is not None
    routes = [
        {name: replace(route, pre=(), post=()) for name, route in table.routes.items()} for table in tables if table
    ]
    assert repr(routes[0]) == repr(routes[1])
    assert repr(tables[0].targets) == repr(tables[1].targets)


class TestCommand:
    def test_a_file_is_rewritten_and_then_left_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        file = write("routes.yaml", LONG)
        assert main(["fmt"]) == 0
        assert file.read_text() == SHORT
        before = file.stat()
        assert main(["fmt", "routes.yaml"]) == 0
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert capsys.readouterr().out == "routes.yaml: formatted\nroutes.yaml: unchanged\n"

    def test_check_names_what_would_change(self, capsys: pytest.CaptureFixture[str]) -> None:
        file = write("a.yaml", LONG)
        write("b.yaml", SHORT)
        assert main(["fmt", "--check", "a.yaml", "b.yaml"]) == 1
        assert capsys.readouterr().out == "a.yaml: would be formatted\nb.yaml: unchanged\n"
        assert main(["fmt", "--check", "b.yaml"]) == 0
        assert file.read_text() == LONG

    def test_diff_shows_and_changes_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        file = write("a.yaml", LONG.rstrip("\n"))
        assert main(["fmt", "--diff", "a.yaml"]) == 0
        assert capsys.readouterr().out == (
            "--- a.yaml\n+++ a.yaml\n@@ -1,3 +1,3 @@\n version: 1\n models:\n"
            "-    fast: {chain: [a/b]}   # quick\n\\ No newline at end of file\n+  fast: a/b   # quick\n"
        )
        assert main(["fmt", "--diff", "--check", "a.yaml"]) == 1
        assert file.read_text() == LONG.rstrip("\n")

    def test_standard_input_goes_to_standard_output(self) -> None:
        for text, told in ((LONG, SHORT), (SHORT, SHORT)):
            done = gateway("fmt", "-", stdin=text)
            assert (done.returncode, done.stdout, done.stderr) == (0, told, "")
        done = gateway("fmt", "--check", "-", stdin=LONG)
        assert (done.returncode, done.stdout, done.stderr) == (1, "<stdin>: would be formatted\n", "")

    def test_a_file_with_problems_stays_as_it_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        file = write("a.yaml", "models:\n    a: [b\n")
        assert main(["fmt", "a.yaml"]) == 1
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith("a.yaml:2:8: yaml-syntax: ")
        assert out[-1] == "1 problem in a.yaml"
        assert file.read_text() == "models:\n    a: [b\n"
        done = gateway("fmt", "-", stdin="a: 1\na: 2\n")
        assert (done.returncode, done.stdout) == (1, "")
        assert "<stdin>:2:1: duplicate-key: " in done.stderr

    def test_several_files_are_all_tried_and_the_worst_counts(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("bad.yaml", "[")
        file = write("a.yaml", LONG)
        assert main(["fmt", "none.yaml", "bad.yaml", ".", "a.yaml"]) == 2
        out, err = capsys.readouterr()
        assert err.splitlines() == [
            "gateway: cannot read none.yaml: no such file or directory",
            "gateway: cannot read .: is a directory",
        ]
        assert out.endswith("1 problem in bad.yaml\na.yaml: formatted\n")
        assert file.read_text() == SHORT

    def test_mode_and_links_stay(self) -> None:
        Path("real").mkdir()
        file = write("real/policy.yaml", LONG)
        file.chmod(0o640)
        Path("routes.yaml").symlink_to("link.yaml")
        Path("link.yaml").symlink_to(file)
        assert main(["fmt"]) == 0
        assert Path("routes.yaml").is_symlink()
        assert Path("link.yaml").is_symlink()
        assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (SHORT, 0o640)
        assert os.listdir("real") == ["policy.yaml"]

    def test_what_is_no_regular_file_is_not_replaced(self, capsys: pytest.CaptureFixture[str]) -> None:
        os.mkfifo("pipe.yaml")
        with subprocess.Popen(["sh", "-c", "cat > pipe.yaml"], stdin=subprocess.PIPE, text=True) as writer:
            assert writer.stdin is not None
            writer.stdin.write(LONG)
            writer.stdin.close()
            assert main(["fmt", "pipe.yaml"]) == 2
        assert "cannot write pipe.yaml: it is no regular file" in capsys.readouterr().err

    def test_a_file_that_cannot_be_replaced_is_told_and_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        file = write("a.yaml", LONG)

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "replace", refuse)
        assert main(["fmt", "a.yaml"]) == 2
        assert file.read_text() == LONG
        assert os.listdir() == ["a.yaml"]

    def test_another_meaning_is_never_written(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No known text causes this fault, so the test injects it."""
        file = write("a.yaml", LONG)
        for spoilt, why in (("a/c  # quick", "the values would change"), ("a/b", "a comment would be lost")):
            monkeypatch.setattr(
                formatting, "_settled", lambda *_, now=spoilt: f"version: 1\nmodels: {{fast: {now}\n}}\n"
            )
            assert main(["fmt", "a.yaml"]) == 1
            assert f"a.yaml stays as it is: {why}. This is a fault of gateway fmt" in capsys.readouterr().err
        assert file.read_text() == LONG

    @pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
    def test_colour_is_for_terminals(self, environ: dict[str, str]) -> None:
        write("a.yaml", LONG)
        command = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", sys.executable, "-m", "gateway"]
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        done = subprocess.run(
            [*command, "fmt", "--diff", "a.yaml"],
            env={**base, **environ},
            stdin=-3,
            capture_output=True,
            timeout=9,
            check=True,
        )
        assert (b"\x1b[32m+  fast: a/b" in done.stdout) == (not environ)
        assert (b"\x1b" in done.stdout) == (not environ)


class TestBytes:
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_line_breaks_and_byte_order_marks_stay(self, ending: str, mark: str) -> None:
        assert formatted(mark + LONG.replace("\n", ending)) == mark + SHORT.replace("\n", ending)

    def test_mixed_line_breaks_follow_the_first(self) -> None:
        assert formatted("version: 1\r\nmodels:\n  a: b/c\r") == "version: 1\r\nmodels:\r\n  a: b/c\r\n"

    def test_line_breaks_that_no_editor_shows_are_left_to_their_author(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write("a.yaml", 'version: 1\nmodels: {}\nx-a: "b\u2028c"\n')
        assert main(["fmt", "a.yaml"]) == 2
        assert capsys.readouterr().err == (
            "gateway: a.yaml:3: the line break U+2028 cannot be kept; write it as an escape\n"
        )

    def test_long_lines_are_not_broken(self) -> None:
        text = f"version: 1\nmodels:\n  a: [{', '.join(['b/c'] * 400)}]   # {'x' * 900}\n"
        assert formatted(text) == text

    def test_a_text_that_does_not_settle_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(formatting, "_ROUNDS", 1)
        with pytest.raises(FormattingError, match="it does not settle"):
            formatted(LONG)

    def test_cases_are_known_by_name_or_by_what_they_hold(self) -> None:
        cases = "cases: [{request: {chain: [a/b]}}]\nmodels: {a: {chain: [a/b]}}\n"
        assert formatted(cases, "x.test.yml") == cases
        assert formatted("cases: ['a']\n", "<stdin>") == "cases: ['a']\n"
        assert formatted(cases, "<stdin>").endswith("models: {a: a/b}\n")


def gateway(*argv: str, stdin: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *argv]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, input=stdin, env=environ, capture_output=True, text=True, timeout=9, check=False)


if __name__ == "__main__":
    for case in CASES:
        file_name = "cases.test.yaml" if case.stem.startswith("test-") else "routes.yaml"
        case.with_suffix(".formatted").write_text(
            formatted(case.read_text(encoding="utf-8"), file_name), encoding="utf-8"
        )
