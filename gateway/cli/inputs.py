"""Which files a command line names: patterns filled in, each file once, in the order given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob, has_magic
from typing import Final

from gateway.errors import UsageError

_OF_CASES: Final = (".test.yaml", ".test.yml")
"""Files of test cases, which lie beside the config files and are none."""


def expand(given: Iterable[str]) -> list[str]:
    """Return the files that names and patterns stand for. Raises UsageError for a pattern that stands for none.

    `**` goes down any number of folders. A file whose own name looks like a pattern is that file.
    """
    names: dict[str, str] = {}
    for name in given:
        if not name:
            raise UsageError("the name of a file is empty")
        for file in [name] if os.path.lexists(name) or not has_magic(name) else _matches(name):
            names.setdefault(os.path.abspath(file) if file != "-" else file, file)
    return list(names.values())


def _matches(pattern: str) -> list[str]:
    # A link to nowhere stays, to be reported; folders, pipes and devices go.
    found = sorted(name for name in glob(pattern, recursive=True) if os.path.isfile(name) or not os.path.exists(name))
    if not found:
        raise UsageError(f"no file matches {pattern!r}")
    files = [name for name in found if not name.endswith(_OF_CASES)]
    if not files:
        raise UsageError(f"{pattern!r} matches files of test cases alone; `gateway test` plays them")
    return files
