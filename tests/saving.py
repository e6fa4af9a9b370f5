"""How programs save a file: real processes that write `$FILE` from `$NEW`, each its own way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

linux: Final = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open for writing")
IS_ROOT: Final = os.geteuid() == 0
NOBODY: Final = 65534
"""An ordinary user."""

LINES: Final = 130
"""Lines of `text`. With 90 bytes each, a buffer of 8 KiB fills in the middle."""

HOOK: Final = "def redact(params):\n    return params\n"
"""`redact.py`, to put beside the config file."""


def text(version: int) -> str:
    """Return a config file whose beginning, cut almost anywhere, is valid but lacks the hooks."""
    padding = "".join(f"  a{n:03}: mock/some-name-of-{version:04}  # {'padding ' * 6}\n" for n in range(LINES))
    last = f"  last: mock/v{version:04}\nhooks: {{pre: [redact.redact]}}\n"
    return f"version: 1\nmodels:\n  demo: mock/v{version:04}\n{padding}{last}"


@contextmanager
def folder_in(parent: str | None) -> Iterator[Path]:
    """Make a folder that every user may enter, and the hook's module in it."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        folder.chmod(0o755)
        (folder / "redact.py").write_text(HOOK)
        yield folder
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True)
class Writer:
    """One way to save a file."""

    script: str
    """For `sh`; `$PYTHON` is our interpreter."""
    pauses: bool = False
    """Whether it leaves the file half written for longer than 200 ms, held open."""


STALLED: Final = 75
"""Exit code of a writer that the machine held up for so long that its save became two edits. To be tried again."""

PACED: Final = """\
import os, sys, time
mode, size, pause_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
lines = open(os.environ["NEW"]).readlines()
path, last_s, longest_s = os.environ["FILE"], None, 0
if mode == "anew":
    os.remove(path)
elif mode == "again":
    open(path, "w").close()
for at in range(0, len(lines), size):
    part = "".join(lines[at : at + size])
    if mode == "print":
        print(part, end="", flush=True)
    else:
        with open(path, "a") as file:
            file.write(part)
        if mode == "anew":
            os.chmod(path, 0o644)
    now_s = time.monotonic()
    longest_s, last_s = max(longest_s, now_s - (last_s or now_s)), now_s
    time.sleep(pause_s)
sys.exit(75 if longest_s > 0.18 else 0)
"""
BUFFERED: Final = """\
import os, time
with open(os.environ["FILE"], "w", buffering=8192) as file:
    for number, line in enumerate(open(os.environ["NEW"])):
        file.write(line)
        time.sleep(0.35 if number == 110 else 0.002)
"""
OVERWRITE: Final = """\
import os, time
new = open(os.environ["NEW"], "rb").read()
with open(os.environ["FILE"], "r+b", buffering=0) as file:
    file.write(new[:3000])
    time.sleep(0.35)
    file.write(new[3000:])
    file.truncate()
"""
MAPPED: Final = """\
import mmap, os, time
new = open(os.environ["NEW"], "rb").read()
with open(os.environ["FILE"], "r+b") as file:
    file.truncate(len(new))
    memory = mmap.mmap(file.fileno(), len(new))
memory[:4000] = new[:4000]
memory.flush()
time.sleep(0.35)
memory[4000:] = new[4000:]
memory.flush()
memory.close()
"""

WRITERS: Final = {
    "a line each 5 ms": Writer(f"exec $PYTHON -c '{PACED}' print 1 .005 > \"$FILE\""),
    "a pause between two parts": Writer('{ head -n 60 "$NEW"; sleep .3; tail -n +61 "$NEW"; } > "$FILE"', pauses=True),
    "a short pause": Writer(f"exec $PYTHON -c '{PACED}' print 70 .12 > \"$FILE\""),
    "a cut inside a name": Writer('{ head -c 4045 "$NEW"; sleep .3; tail -c +4046 "$NEW"; } > "$FILE"', pauses=True),
    "a pause before the last newline": Writer(
        '{ head -c -1 "$NEW"; sleep .3; tail -c 1 "$NEW"; } > "$FILE"', pauses=True
    ),
    "a buffer of 8 KiB": Writer(f"exec $PYTHON -c '{BUFFERED}'", pauses=True),
    "parts written over the old text": Writer(f"exec $PYTHON -c '{OVERWRITE}'", pauses=True),
    "a memory map": Writer(f"exec $PYTHON -c '{MAPPED}'", pauses=True),
    "opened for every line": Writer(f"exec $PYTHON -c '{PACED}' again 1 .005"),
    "opened for every part": Writer(f"exec $PYTHON -c '{PACED}' again 70 .12"),
    "removed, then opened for every part, with a change of mode": Writer(f"exec $PYTHON -c '{PACED}' anew 70 .12"),
    "moved away, then written anew": Writer(
        'mv "$FILE" "$FILE~"; { head -n 60 "$NEW"; sleep .3; tail -n +61 "$NEW"; } > "$FILE"; rm "$FILE~"', pauses=True
    ),
    "truncated, then written": Writer(': > "$FILE"; sleep .1; cat "$NEW" > "$FILE"'),
    "tee": Writer('{ head -n 60 "$NEW"; sleep .3; tail -n +61 "$NEW"; } | tee "$FILE" > /dev/null', pauses=True),
    "dd in small blocks": Writer('dd if="$NEW" of="$FILE" bs=7 status=none'),
    "cp": Writer('cp "$NEW" "$FILE"'),
    "a rename": Writer('cp "$NEW" "$FILE.new"; mv "$FILE.new" "$FILE"'),
    "a rename while it is written": Writer(
        '{ head -n 60 "$NEW"; mv "$FILE.new" "$FILE"; sleep .3; tail -n +61 "$NEW"; } > "$FILE.new"', pauses=True
    ),
    "a rename, then more": Writer(
        'head -n 60 "$NEW" > "$FILE.new"; mv "$FILE.new" "$FILE"; tail -n +61 "$NEW" >> "$FILE"'
    ),
    "a hard link": Writer('cp "$NEW" "$FILE.new"; ln -f "$FILE.new" "$FILE"; rm "$FILE.new"'),
    "sed -i": Writer('sed -i "s/v[0-9]*$/v$VERSION/; s/-of-[0-9]*/-of-$VERSION/" "$FILE"'),
    "vim": Writer('vim -u NONE -i NONE -N -n -es -c "%!cat \\"$NEW\\"" -c "wq!" "$FILE" < /dev/null'),
}
"""What each leaves is exactly the text of `$NEW`."""


def save(
    path: Path, version: int, writer: str, *, scratch: Path, prefix: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start to save `text(version)` as `writer` does it, in a process group of its own, by the command `prefix`."""
    new = scratch / f"new-{version}"
    new.write_text(text(version))
    environ = {"FILE": str(path), "NEW": str(new), "VERSION": f"{version:04}", "PYTHON": sys.executable}
    command = [*prefix, "/bin/sh", "-c", WRITERS[writer].script]
    return subprocess.Popen(command, env={**os.environ, **environ}, cwd=path.parent, start_new_session=True)


def write(folder: Path, texts: Mapping[str, str | bytes]) -> None:
    """Write files, by their paths from `folder`, whose own folders may not be there yet."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def publish(mount: Path, texts: Mapping[str, str | bytes], number: int) -> None:
    """Update a ConfigMap's folder as the kubelet does: one rename of ..data, then links of new files, then of old."""
    before = (mount / "..data").resolve() if (mount / "..data").exists() else None
    version = mount / f"..2026_01_{number:02}"
    write(version, texts)
    (mount / "..data_tmp").symlink_to(version.name)
    (mount / "..data_tmp").rename(mount / "..data")
    for name in texts:
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(f"..data/{name}")
    for link in mount.iterdir():
        if link.is_symlink() and link.name[0] != "." and link.name not in texts:
            link.unlink()
    if before is not None:
        shutil.rmtree(before)


def half_text(version: int) -> str:
    """Return the first half of `text(version)`."""
    return "".join(text(version).splitlines(keepends=True)[:60])


class HalfWriter:
    """A process that has written half of `text(version)` and holds the file open."""

    def __init__(self, path: Path, version: int) -> None:
        new = path.parent / f"new-{version}"
        new.write_text(text(version))
        self._half, self._go = path.parent / f"half-{version}", path.parent / f"go-{version}"
        script = """
            exec > "$FILE"; head -n 60 "$NEW"; : > "$HALF"
            until [ -e "$GO" ]; do sleep .02; done
            tail -n +61 "$NEW"
        """
        environ = {"FILE": str(path), "NEW": str(new), "HALF": str(self._half), "GO": str(self._go)}
        command = ["/bin/sh", "-c", script]
        self._process = subprocess.Popen(command, env={**os.environ, **environ}, start_new_session=True)

    def wait_for_half(self) -> None:
        """Return once the first half is in the file."""
        end_s = time.monotonic() + 20
        while not self._half.exists():
            assert time.monotonic() < end_s
            time.sleep(0.01)

    def finish(self) -> None:
        """Have it write the other half and end."""
        self._go.touch()
        assert self._process.wait() == 0

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def half_written(path: Path, version: int) -> Iterator[HalfWriter]:
    """Have half of `text(version)` in the file, which stays open for writing until the end of the block at most."""
    writer = HalfWriter(path, version)
    try:
        writer.wait_for_half()
        yield writer
    finally:
        writer.kill()
