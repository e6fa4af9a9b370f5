"""The texts of the config files, each made with the knowledge of what it routes, and the policy of several together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

MAIN: Final = "routes.yaml"
TEAMS: Final = ("a", "b", "c")
"""Included files, without folder and suffix."""
BROKEN: Final = (
    b"",
    b"version: 2\n",
    b"version: 1\nmodels: {fast: [",
    b"version: 1\nmodels: {fast: nowhere}\n",
    b"\x00",
    b"\xff\xfe",
    b"version: 1\nmodels: {fast: ${NOT_SET_ANYWHERE}/x}\n",
    b"hooks: {}\n",
)
"""Not valid, neither as the main file nor as an included one."""


@dataclass(frozen=True, slots=True)
class Text:
    """The content of one file."""

    data: bytes
    aliases: Mapping[str, str] | None
    """Alias → target; None if the text is not valid."""
    is_main: bool = False
    includes: bool = False


@dataclass(frozen=True)
class Policy:
    """The content of all files of a valid config."""

    files: tuple[tuple[str, bytes], ...]
    """(name, content), the main file first."""
    aliases: Mapping[str, str]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self.files == other.files

    def __hash__(self) -> int:
        return hash(self.files)

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, in hex, by its name."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files}


class Author:
    """Writes texts, each of them new."""

    def __init__(self, base_url: str, include: str) -> None:
        """`include` is the pattern for the teams' files."""
        self._base_url = base_url
        self._include = include
        self._serial = 0

    def good(self, name: str, *, includes: bool = True, broken_off: bool = False) -> tuple[Text, Text]:
        """Return a valid text for a file and the first half of it, which is valid too unless it is `broken_off`.

        A main file has the aliases `fast` and `held` always, also in its half.
        """
        self._serial += 1
        n = self._serial
        whole = {f"own-{n}": f"up/v{n}"}
        if name == MAIN:
            half = {"fast": f"up/v{n}", "held": f"up/held-v{n}"}
            provider = f'{{kind: openai, base_url: "{self._base_url}", api_key: k}}'
            include = f"include: [{self._include}]\n" if includes else ""
            head = f"version: 1\n{include}defaults: {{retries: 0}}\nproviders:\n  up: {provider}\nmodels:\n"
        else:
            half, head, includes = {f"team-{n}": f"up/v{n}"}, "models:\n", False
        begun = head + _lines(half)
        is_main = name == MAIN
        text = Text((begun + _lines(whole)).encode(), {**half, **whole}, is_main, includes)
        if broken_off:
            return text, Text(f"{begun}  own-{n}: [up".encode(), None)
        return text, Text(begun.encode(), half, is_main, includes)

    def taken(self) -> Text:
        """Return an included file that is valid by itself, whose alias the main file has already."""
        self._serial += 1
        return Text(f"models: {{fast: up/v{self._serial}}}\n".encode(), {"fast": f"up/v{self._serial}"})


def policy(texts: Mapping[str, Text], unreadable: frozenset[str] = frozenset()) -> Policy | None:
    """Return the policy of the files by name, None if it is not valid. An unreadable file is there, but bad."""
    main = texts.get(MAIN)
    if main is None or main.aliases is None or not main.is_main or MAIN in unreadable:
        return None
    found = dict(main.aliases)
    files = [(MAIN, main.data)]
    for name in sorted(name for name in {*texts, *unreadable} if name != MAIN) if main.includes else ():
        text = texts.get(name)
        if name in unreadable or text is None or text.aliases is None or text.is_main:
            return None
        if not found.keys().isdisjoint(text.aliases):
            return None
        found.update(text.aliases)
        files.append((name, text.data))
    return Policy(tuple(files), found)


def _lines(aliases: Mapping[str, str]) -> str:
    return "".join(f"  {alias}: [{target}]\n" for alias, target in aliases.items())
