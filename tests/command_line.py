"""Short ways to run the command line, and config files to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

GOOD = "version: 1\nmodels:\n  demo: [mock/status-503, mock/echo]\n  'a/*': 'mock/*'\n"
BAD = "version: 1\nmodels:\n  fast: nowhere\n  slow: [mock/echo, nothing]\n"
KEYLESS = """\
version: 1
providers:
  vllm: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${NO_SUCH_KEY}"}
models:
  a: vllm/x
"""


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


@contextmanager
def closed_pipe() -> Iterator[TextIO]:
    """Give a file that nobody reads from any more."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        yield file


def gateway(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *argv]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=9, check=False)
