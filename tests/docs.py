"""The pages for users, taken apart into blocks, and their commands run. `python -m tests.docs` writes outputs anew.

What follows a fence's language says what the block is:

- ```yaml``` is a config file, or the part of one; ```yaml other``` is any other YAML.
- ```yaml bad CODE …``` is a config file with exactly these problems.
- A word with a dot is a file's name, as in ```yaml routes.yaml```: the page's later commands find that file.
- ```console run``` is run, and prints what the block shows; a line `…` stands for any lines.
- ```python part``` is compiled and not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Final

from tests.paths import ROOT

PAGES: Final = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/*.md")),
)

_BLOCK: Final = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_ANY_LINES: Final = "…"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    """Of its fence."""
    language: str
    words: tuple[str, ...]
    """What follows the language."""
    text: str
    """Without the indentation of its fence."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that it shows."""
        return next((word for word in self.words if "." in word), None)

    @property
    def commands(self) -> list[str]:
        """The shell commands that it shows, each with the lines that continue it."""
        if self.language == "sh":
            lines = self.text
        elif self.language == "console":
            lines = "".join(f"{command}\n" for command, _ in transcript(self.text))
        else:
            return []
        return [line for line in lines.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        language, *words = match["info"].split() or [""]
        yield Block(page, text.count("\n", 0, match.start()) + 1, language, tuple(words), dedent(match["body"]))


def prose(page: Path) -> str:
    """Return a page's text without its fenced blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def transcript(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output below it."""
    parts = re.split(r"^\$ (.*(?:(?<=\\)\n.*)*)\n?", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def is_shown(shown: str, printed: str) -> bool:
    """Tell whether a block shows what a command printed."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == _ANY_LINES else re.escape(line.rstrip()) + r" *\n"
        for line in shown.splitlines()
    )
    return re.fullmatch(pattern, printed) is not None


class Folder:
    """A folder with what a user's checkout holds, in which a page's commands are run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for name in ("examples", "schemas"):
            shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "routes.yaml", path)
        programs = path / ".bin"
        programs.mkdir()
        gateway = programs / "gateway"
        gateway.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -P -m gateway "$@"\n')
        gateway.chmod(0o755)
        self._environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(path),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def put(self, block: Block) -> None:
        """Write the file that a block shows."""
        if block.file is not None:
            (self._path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (self._path / block.file).write_text(block.text, encoding="utf-8")

    def run(self, command: str) -> str:
        """Return what a command prints, to either output."""
        done = subprocess.run(
            ("bash", "-c", command), cwd=self._path, env=self._environ, text=True, timeout=30, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout


def differences(page: Path, folder: Folder) -> Iterator[tuple[Block, str, str, str]]:
    """Run a page's commands; yield each that prints something else: block, command, what is shown, what was printed."""
    for block in blocks(page):
        folder.put(block)
        if block.language == "console" and "run" in block.words:
            for command, shown in transcript(block.text):
                printed = folder.run(command)
                if not is_shown(shown, printed):
                    yield block, command, shown, printed


def _write_anew() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as path:
            found = list(differences(page, Folder(Path(path))))
        for block, command, shown, printed in reversed(found):
            print(f"{block}: {command}")
            lines = text.splitlines(keepends=True)
            before, after = "".join(lines[: block.line]), "".join(lines[block.line :])
            old, new = f"$ {command}\n{shown}", f"$ {command}\n{printed}"
            if _ANY_LINES in shown.splitlines() or old not in after:
                print("  change it by hand: it leaves lines out, or it is indented")
            else:
                text = before + after.replace(old, new, 1)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write_anew()
