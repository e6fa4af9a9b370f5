"""Warns of a config file that is a mount of its own: a version that is renamed over it is never seen."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def warn_of_mounts(files: Iterable[Path], mounts: Path) -> None:
    """Log each file that is a mount point, as with Kubernetes' `subPath` and Docker's `-v file:file`.

    `mounts` is the system's table of mounts; without one nothing is known.
    """
    try:
        points = mount_points(mounts.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return
    for file in files:
        if os.path.realpath(file) in points:
            log.warning(
                "the config file is a mount of its own: a version that replaces it is never seen; mount its folder",
                extra={"source": str(file)},
            )


def mount_points(table: str) -> set[str]:
    """Return the mount points of a mountinfo table: the fifth field, spaces as octal escapes (proc(5))."""
    fields = (line.split(" ") for line in table.splitlines())
    return {_OCTAL.sub(lambda match: chr(int(match[1], 8)), field[4]) for field in fields if len(field) > 4}
