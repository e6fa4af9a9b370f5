"""What each problem code means: a Markdown page per code in `config/problems/`, read here.

A page is a title, paragraphs, and two lists of fenced blocks under `## Bad` and `## Good`. What follows a fence's
language is the file's name; `yaml` without one is `routes.yaml`. The tests compile every example.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Protocol

from gateway.config.document.yaml_tree import Where
from gateway.policy.problem import Severity

CONFIG: Final = "routes.yaml"

_SECTION: Final = re.compile(r"^## (Bad|Good)\n", re.MULTILINE)
_FENCE: Final = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Example:
    """One block of an example."""

    language: str
    """`sh` sets the environment, `console` shows a command, `bytes` is YAML in which `\\xNN` stands for one byte; what
    is in any other language is a file."""
    name: str
    """The file's name; empty where it is no file."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What there is to say about one code."""

    code: str
    summary: str
    """One line, without a full stop."""
    meaning: str
    """Paragraphs, each on a line of its own."""
    bad: tuple[Example, ...]
    """The first block is the one with the problem. Empty where no file can show it."""
    good: tuple[Example, ...]
    markdown: str
    """All of it but the title."""


@cache
def codes() -> tuple[str, ...]:
    """Return every code, sorted."""
    pages = (entry.name for entry in (files("gateway.config") / "problems").iterdir())
    return tuple(sorted(name.removesuffix(".md") for name in pages if name.endswith(".md")))


@cache
def page(code: str) -> Page | None:
    """Return the page of a code, None when there is no such code."""
    if code not in codes():
        return None
    text = (files("gateway.config") / "problems" / f"{code}.md").read_text(encoding="utf-8")
    title, _, markdown = text.partition("\n")
    meaning, *rest = _SECTION.split(markdown)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    return Page(
        code=code,
        summary=title.removeprefix("# "),
        meaning="\n\n".join(" ".join(paragraph.split()) for paragraph in meaning.strip().split("\n\n")),
        bad=_examples(sections.get("Bad", "")),
        good=_examples(sections.get("Good", "")),
        markdown=markdown.strip(),
    )


def _examples(section: str) -> tuple[Example, ...]:
    return tuple(
        Example(language, name or (CONFIG if language in ("yaml", "bytes") else ""), text)
        for language, name, text in _FENCE.findall(section)
    )


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value, whatever place it stands at."""

    code: str
    message: str


class Report(Protocol):
    """Takes one problem. The place is written in full: short forms of the file are seen through."""

    def __call__(
        self, place: Where, code: str, message: str, *, severity: Severity = "error", at_key: bool = False
    ) -> None:
        """`at_key` points at the key of the place instead of its value."""
