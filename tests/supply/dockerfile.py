"""Reads deploy/Dockerfile, and runs the steps of its build outside Docker, in a folder that stands for `/`.

What a real build has and this lacks: the base image, another user, and a root that nothing can write to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.paths import ROOT

FILE: Final = ROOT / "deploy" / "Dockerfile"
_PLACES: Final = re.compile(r"(?<![\w.}/$])/(build|dist|src|venv)\b")
"""Paths of the build, each a folder of its own below `/`."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form: `["gateway", "serve"]`."""
        words: list[str] = json.loads(self.text[self.text.index("[") :])
        return words


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage, the first of which is its FROM; ARGs before it are left out."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    made: list[list[Instruction]] = []
    for line in filter(str.strip, text.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            made.append([])
        if made:
            made[-1].append(Instruction(name, " ".join(rest.split())))
    return made


def instructions(name: str) -> list[Instruction]:
    """Return all instructions of a name."""
    return [instruction for stage in stages() for instruction in stage if instruction.name == name]


def environ() -> dict[str, str]:
    """Return what ENV sets, as it is written."""
    return dict(word.split("=", 1) for each in instructions("ENV") for word in each.text.split())


def image(folder: Path, suffix: str) -> Path:
    """Return the root of an image below `folder`, built if it is not there. `suffix`: empty, or `-slim`."""
    root = folder / f"routes-gateway{suffix}"
    if not root.exists():
        print(f"building {root.name}", file=sys.stderr, flush=True)
        build(root, {"SLIM": suffix})
    return root


def build(root: Path, arguments: Mapping[str, str]) -> None:
    """Run the first stage below `root`. Raises CalledProcessError where a step fails; its output goes to stderr."""
    given = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    here = root
    for instruction in stages()[0]:
        match instruction.name:
            case "ARG":
                name, _, default = instruction.text.partition("=")
                given[name] = arguments.get(name, default)
            case "WORKDIR":
                here = root / instruction.text.lstrip("/")
                here.mkdir(parents=True)
            case "COPY":
                _copy(instruction.text.split(), here)
            case "RUN":
                command = _PLACES.sub(lambda match: str(root / match[1]), instruction.text)
                subprocess.run(["sh", "-euc", command], cwd=here, env=given, check=True, stdout=sys.stderr)


def _copy(words: list[str], here: Path) -> None:
    *sources, target = words
    to = here / target
    for source in sources:
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, to, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (to if target.endswith("/") else to.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to / path.name if to.is_dir() else to)
