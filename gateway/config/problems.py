"""Read the Markdown page that explains each problem code, from `config/problems/`.

A page has a title, paragraphs, and fenced blocks under `## Bad` and `## Good`. The word after a block's language is its
file name, for `yaml` `routes.yaml` by default. The tests compile every example.
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
    """`sh` sets the environment, `console` shows a command, `bytes` is YAML with `\\xNN` for one byte; any other
    language is that of a file."""
    name: str
    """The file's name; empty if the block is no file."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page of one code."""

    code: str
    summary: str
    """One line, without a full stop."""
    meaning: str
    """Paragraphs, each on a line of its own."""
    bad: tuple[Example, ...]
    """The first block has the problem. Empty when no file can show it."""
    good: tuple[Example, ...]
    markdown: str
    """The whole page without its title."""


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
    """A problem of a value, without its place."""

    code: str
    message: str


class Report(Protocol):
    """Receives one problem. The place is written in full, even if the file has a short form."""

    def __call__(
        self, place: Where, code: str, message: str, *, severity: Severity = "error", at_key: bool = False
    ) -> None:
        """`at_key` points at the key of the place instead of its value."""
