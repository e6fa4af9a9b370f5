"""Problems as text and as JSON."""

from __future__ import annotations

import io
from typing import Any

import pytest

from gateway.policy.problem import Problem
from gateway.reports.problems import Painter, as_text, report


def problem(**changes: Any) -> Problem:
    values: dict[str, Any] = {
        "line": 14,
        "column": 9,
        "code": "unknown-target",
        "path": "models.fast.chain[1]",
        "message": "no target named 'gpt-mni'",
        "source": "routes.yaml",
        "excerpt": "      - gpt-mni",
    }
    return Problem(**{**values, **changes})


class TestRender:
    def test_the_line_at_fault_is_shown_with_a_caret_below(self) -> None:
        assert as_text(problem()) == (
            "routes.yaml:14:9: unknown-target: models.fast.chain[1]: no target named 'gpt-mni'\n"
            "  14 |       - gpt-mni\n"
            "     |         ^"
        )

    def test_a_warning_says_so(self) -> None:
        assert as_text(problem(severity="warning", excerpt=None)).startswith(
            "routes.yaml:14:9: warning: unknown-target: models"
        )

    def test_a_problem_without_a_place_has_no_line(self) -> None:
        text = as_text(problem(line=0, column=0, path="", code="unreadable-file", message="cannot read"))
        assert text == "routes.yaml: unreadable-file: cannot read"

    @pytest.mark.parametrize(
        ("excerpt", "column", "line", "caret_at"),
        [
            ("a: b", 4, "a: b", 3),
            ("a:\tb", 4, "a:  b", 4),
            ("模型: b", 5, "模型: b", 6),
            ("a: b", 99, "a: b", 4),
            ("a: b\r\n", 1, "a: b", 0),
            ("a: \x1b[2Jb", 4, "a: \\x1b[2Jb", 3),
            ("\u202ea: b", 5, "\\u202ea: b", 9),
        ],
    )
    def test_the_caret_stands_under_its_character_on_a_terminal(
        self, excerpt: str, column: int, line: str, caret_at: int
    ) -> None:
        _, shown, below = as_text(problem(excerpt=excerpt, column=column)).split("\n")
        assert shown == f"  14 | {line}"
        assert below == f"     | {' ' * caret_at}^"

    @pytest.mark.parametrize("column", [1, 30, 150, 290, 300])
    def test_a_long_line_is_cut_around_its_caret(self, column: int) -> None:
        excerpt = "x" * (column - 1) + "!" + "y" * (300 - column)
        _, shown, below = as_text(problem(excerpt=excerpt, column=column)).split("\n")
        assert len(shown) <= 130
        assert shown[below.index("^")] == "!"

    def test_a_caret_given_with_the_excerpt_goes_before_the_column(self) -> None:
        text = as_text(problem(excerpt="{api_key: ***, base: 1}", column=40, caret=16))
        assert text.endswith(f"| {' ' * 15}^")

    def test_no_caret_is_guessed_behind_a_masked_secret(self) -> None:
        assert as_text(problem(excerpt="{api_key: ***, base: 1}", column=40)).count("\n") == 1

    def test_control_characters_of_a_strangers_file_are_escaped(self) -> None:
        text = as_text(problem(path="models.\x1b[31m", message="bad\nroutes.yaml:1:1: fake", excerpt=None))
        assert "\x1b" not in text
        assert "\n" not in text

    def test_colour_is_for_terminals_without_no_color(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        assert "\x1b[" in Painter.of(Terminal(), {}).error("x")
        assert Painter.of(Terminal(), {"NO_COLOR": "1"}).error("x") == "x"
        assert Painter.of(Terminal(), {"TERM": "dumb"}).error("x") == "x"
        assert Painter.of(io.StringIO(), {}).error("x") == "x"
        assert "\x1b[" in Painter.of(io.StringIO(), {"FORCE_COLOR": "1"}).error("x")
        assert "\x1b[" in Painter.of(Terminal(), {"FORCE_COLOR": "1", "TERM": "dumb"}).error("x")
        assert Painter.of(Terminal(), {"FORCE_COLOR": "0"}).error("x") == "x"
        assert Painter.of(Terminal(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}).error("x") == "x"
        assert as_text(problem(), Painter.of(Terminal(), {})).count("\x1b[") == 6

    def test_a_report_counts_up_what_it_shows(self, capsys: pytest.CaptureFixture[str]) -> None:
        report([problem(), problem(severity="warning", excerpt=None)])
        out, err = capsys.readouterr()
        assert (out, err.splitlines()[-1]) == ("", "1 problem, 1 warning in routes.yaml")
        report([])
        assert capsys.readouterr() == ("", "")

    def test_json_holds_every_field(self) -> None:
        assert problem(severity="warning").as_json() == {
            "line": 14,
            "column": 9,
            "code": "unknown-target",
            "severity": "warning",
            "path": "models.fast.chain[1]",
            "message": "no target named 'gpt-mni'",
            "source": "routes.yaml",
            "excerpt": "      - gpt-mni",
            "text": "routes.yaml:14:9: unknown-target: models.fast.chain[1]: no target named 'gpt-mni'",
        }
