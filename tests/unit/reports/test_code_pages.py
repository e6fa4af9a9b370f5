"""`gateway validate --explain`: the pages of the problem codes on a terminal."""

from __future__ import annotations

import pytest

from gateway.cli import main
from gateway.config.problems import codes
from gateway.reports.code_pages import explain, how_to_explain
from gateway.reports.problems import PLAIN, Painter


def test_a_page_has_its_meaning_and_its_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(how_to_explain("hook-arity").split()[1:]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("hook-arity: A hook cannot be called with one argument\n\nA hook gets exactly one argument")
    headings = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["bad:", "with greedy_hooks.py:", "good:", "with modest_hooks.py:"]
    assert "  hooks:\n    pre: [greedy_hooks.redact]\n" in out


@pytest.mark.parametrize("code", codes())
def test_every_page_fits_a_terminal(code: str) -> None:
    lines = explain(code, PLAIN).splitlines()
    assert lines[0].startswith(f"{code}: ")
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("argv", [["--explain"], ["--explain", "all"]])
def test_all_codes_are_listed_with_one_line_each(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", *argv]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(codes())
    assert max(map(len, lines)) <= 120


def test_colour_is_added_where_a_terminal_shows_it() -> None:
    page = explain("bad-name", Painter(colour=True))
    assert page.count("\x1b[") == 6
    assert page.replace("\x1b[1m", "").replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[0m", "") == (
        explain("bad-name", PLAIN)
    )


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (
            ["--explain", "unknown-providr"],
            "'unknown-providr'; did you mean 'unknown-provider'?; the codes are alias-bomb,",
        ),
        (["--explain", "Bad-Name"], "did you mean 'bad-name'?"),
        (["--explain", ""], "there is no problem code ''; the codes are"),
        (["--explain", "../problems/bad-name"], "there is no problem code"),
        (["--explain", "bad-name", "a.yaml"], "leave out a.yaml"),
        (["--explain", "--format", "json"], "--explain prints text; leave out --format json"),
    ],
)
def test_wrong_usage_is_told(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err
