"""`python -m tests.supply.image [FOLDER]`: build what the images hold, run it as they do, and print its size.

Both images, with and without LiteLLM. Packages are downloaded, with the digests of the locks. With a folder, images are
taken from there if they are there, and stay.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench.processes import free_ports
from tests.paths import ROOT
from tests.supply import dockerfile

READY_S: Final = 60.0
STOP_S: Final = 10.0
SUFFIXES: Final = ("", "-slim")
"""Of the images' names, and of the files that they are made of."""


def main(argv: list[str]) -> int:
    """Try both images and return the exit code."""
    with folder_of(argv) as folder:
        failed = 0
        for suffix in SUFFIXES:
            root = dockerfile.image(folder, suffix)
            faults = tried(root, has_litellm=not suffix)
            size_mb = sum(path.lstat().st_size for path in (root / "venv").rglob("*") if path.is_file()) / 1e6
            print(f"{root.name}: /venv has {size_mb:,.0f} MB; {'; '.join(faults) or 'nothing is wrong'}", flush=True)
            failed += bool(faults)
    print(f"{len(SUFFIXES) - failed} passed, {failed} failed")
    return min(failed, 1)


def tried(root: Path, *, has_litellm: bool) -> list[str]:
    """Run the image's command and its health check; return what is wrong."""
    faults = []
    packages = [path.name.lower() for path in (root / "venv").glob("lib/python3*/site-packages/*")]
    if any(name.startswith("pip") for name in packages) or list((root / "venv" / "bin").glob("pip*")):
        faults.append("pip is left")
    if ("litellm" in packages) != has_litellm:
        faults.append("LiteLLM is there" if not has_litellm else "LiteLLM is missing")
    before = _seen(root / "venv")
    (port,) = free_ports(1)
    environ = _environ(root, port)
    (check,), (entry,), (command,) = (dockerfile.instructions(name) for name in ("HEALTHCHECK", "ENTRYPOINT", "CMD"))
    with subprocess.Popen(
        [*entry.words, *command.words], env=environ, cwd=root, stdout=sys.stderr, executable=_program(root, entry.words)
    ) as process:
        if not _healthy(root, check.words, environ, within_s=READY_S):
            faults.append("the health check fails")
        process.terminate()
        try:
            if code := process.wait(STOP_S):
                faults.append(f"it ends with {code} after SIGTERM")
        except subprocess.TimeoutExpired:
            process.kill()
            faults.append("it does not end after SIGTERM")
    if _healthy(root, check.words, environ, within_s=0):
        faults.append("the health check says that a stopped gateway is alive")
    if changed := _seen(root / "venv").keys() ^ before.keys():
        faults.append(f"it writes below /venv: {sorted(changed)[0]}")
    return faults


def _environ(root: Path, port: int) -> dict[str, str]:
    given = dockerfile.environ()
    given["PATH"] = given["PATH"].replace("/venv", str(root / "venv")).replace("$PATH", "/usr/bin:/bin")
    return {**given, "GATEWAY_CONFIG": str(ROOT / "routes.yaml"), "GATEWAY_PORT": str(port)}


def _program(root: Path, words: list[str]) -> Path:
    return root / "venv" / "bin" / words[0]


def _healthy(root: Path, words: list[str], environ: Mapping[str, str], *, within_s: float) -> bool:
    end_s = time.monotonic() + within_s
    while True:
        done = subprocess.run(words, env=environ, executable=_program(root, words), capture_output=True, check=False)
        if done.returncode == 0 or time.monotonic() >= end_s:
            return done.returncode == 0
        time.sleep(0.1)


def _seen(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


@contextmanager
def folder_of(argv: list[str]) -> Iterator[Path]:
    """Yield the folder that the arguments name, or one for the time being."""
    if argv:
        yield Path(argv[0])
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
