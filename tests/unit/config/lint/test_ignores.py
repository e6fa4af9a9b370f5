"""Comments that ignore warnings: which ones do, and for which lines."""

from __future__ import annotations

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.config.lint import lint
from tests.linting import OUTSIDE, warnings

CHAIN = "[openai/gpt-5.5, openai/gpt-5.4-mini]"
MARK = "# gateway: ignore[single-provider]"


def silenced(text: str) -> bool:
    """Tell whether a text with one chain at one provider has no warning."""
    found = [line.partition(" ")[2] for line in warnings(text)]
    assert found in ([], ["single-provider"])
    return not found


@pytest.mark.parametrize(
    "comment",
    [
        "# gateway: ignore[single-provider]",
        "#gateway:ignore[single-provider]",
        "#  gateway:  ignore  [ single-provider , ]",
        "# gateway: ignore[single-provider] because",
        "# because  # gateway: ignore[single-provider]",
        "# gateway: ignore[single-provider]\r",
    ],
)
def test_a_silence(comment: str) -> None:
    assert silenced(f"models:\n  a: {CHAIN} {comment}\n")


@pytest.mark.parametrize(
    "comment",
    [
        "# gateway: ignore single-provider",
        "# Gateway: ignore[single-provider]",
        "# gateway ignore[single-provider]",
        "# about `# gateway: ignore[single-provider]`",
        "# noqa: single-provider",
        "",
    ],
)
def test_no_silence(comment: str) -> None:
    assert not silenced(f"models:\n  a: {CHAIN} {comment}\n")


@pytest.mark.parametrize(
    "text",
    [
        f"{MARK}\nmodels:\n  a: {CHAIN}\n",
        f"models:\n  {MARK}\n  a: {CHAIN}\n",
        f"models:\n  {MARK}\n\n  # more\n  a: {CHAIN}\n",
        f"models:\n{MARK}\n  a: {CHAIN}\n",
        f"models:\n  b: mock/echo\n\n      {MARK}\n  a: {CHAIN}\n",
        f"models: {{\n  {MARK}\n  a: {CHAIN}}}\n",
        f"models:\n  a:  {MARK}\n    chain: {CHAIN}\n",
        f"models:\n  ? a {MARK}\n  : {CHAIN}\n",
        f"models:\n  a: # x {MARK}\n    chain:\n      - openai/gpt-5.5\n      - openai/gpt-5.4-mini\n",
        f"# é {MARK}\nmodels:\n  a: {CHAIN}\n",
    ],
)
def test_it_is_for_its_line_or_for_the_entry_below(text: str) -> None:
    assert silenced(text)


@pytest.mark.parametrize(
    "text",
    [
        f"models:\n  {MARK}\n  b: mock/echo\n  a: {CHAIN}\n",
        f"models:\n  a: {CHAIN}\n  {MARK}\n",
        f"models:\n  a:\n    chain: {CHAIN} {MARK}\n",
        f"x-a: 5 {MARK}\nmodels:\n  a: {CHAIN}\n",
    ],
)
def test_it_is_for_nothing_else(text: str) -> None:
    assert sorted(line.partition(" ")[2] for line in warnings(text)) == ["single-provider", "unused-ignore"]


@pytest.mark.parametrize(
    "text",
    [
        f"models:\n  a: {{description: '{MARK}', chain: {CHAIN}}}\n",
        f'models:\n  a: {{description: "x {MARK}", chain: {CHAIN}}}\n',
        f"models:\n  a:\n    description: |\n      x {MARK}\n    chain: {CHAIN}\n",
        f"x-a: >-\n  {MARK}\n\nmodels:\n  a: {CHAIN}\n",
        f"x-a: 'one\n  {MARK}\n  two'\nmodels:\n  a: {CHAIN}\n",
        f"x-a: |\n  {MARK}\n   \nmodels:\n  a: {CHAIN}\n",
    ],
)
def test_in_a_text_it_is_no_comment(text: str) -> None:
    assert not silenced(text)


@pytest.mark.parametrize(
    ("head", "quiet"),
    [
        ("# gateway: ignore-file[single-provider]\n", True),
        ("# a title\n\n---\n# gateway: ignore-file[single-provider] all ours\n", True),
        ("x-a: 1\n# gateway: ignore-file[single-provider]\n", False),
    ],
)
def test_for_a_whole_file_it_stands_at_the_top(head: str, quiet: bool) -> None:

    text = f"{head}version: 1\nmodels:\n  a: {CHAIN}\n  b: {CHAIN}\n"
    problems = lint(Compiler(environ={}).compile(text.encode(), source="routes.yaml"), OUTSIDE)
    assert [problem.code for problem in problems] == (
        [] if quiet else ["unused-ignore", "single-provider", "single-provider"]
    )


def test_many_of_them_take_no_time() -> None:
    text = "models:\n" + "".join(f"  a{number}: {CHAIN} {MARK}\n" for number in range(2000))
    assert warnings(text) == []
