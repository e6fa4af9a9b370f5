"""The files of a config on disk: each edit is really made, and noted with the policy that the files then have."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Final

from tests.model.steps import Checkout, Content, Delete, Hold, Mode, Release, Swap, Way, Write
from tests.model.texts import BROKEN, MAIN, TEAMS, Author, Policy, Text, policy
from tests.saving import IS_ROOT, publish

ONE_EDIT_S: Final = 0.04
"""What is done within this time is read as one edit: a reload looks twice, TICK_S apart."""
NO_OVERRIDE: Final[tuple[str, ...]] = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if IS_ROOT else ()
"""Command that runs another so that the mode of a file binds it, also as root."""


class Files:
    """The files of one config."""

    def __init__(self, folder: Path, base_url: str, *, config_map: bool, modes_bind: bool) -> None:
        """Write a first, valid version. `modes_bind`: whether the gateway cannot read a file of mode 0."""
        self.config = folder / MAIN
        self._folder = folder
        self._author = Author(base_url, "teams-*.yaml" if config_map else "teams/*.yaml")
        self._config_map = config_map
        self._modes_bind = modes_bind
        self._texts: dict[str, Text] = {}
        self._valid: dict[str, Text] = {}
        """The texts when they were valid last."""
        self._earlier: dict[str, list[Text]] = {}
        self._unreadable: set[str] = set()
        self._held: tuple[str, FileIO, Text, Text] | None = None
        """(file, its descriptor, what is written, the whole text)."""
        self._nameless: list[FileIO] = []
        """Open files that have no name any more."""
        self._serial = 0
        self._links: set[str] = set()
        """The names in a ConfigMap's folder."""
        self._noted: list[Policy | None] = []
        if not config_map:
            (folder / "teams").mkdir()
        self.repair()
        self.write(Write("a"))
        self.take()

    @property
    def is_held(self) -> bool:
        """Whether a file is held open, so that only a reload by hand reads."""
        return self._held is not None

    def policy(self) -> Policy | None:
        """Return what the files say now, half written ones too."""
        return policy(self._texts, frozenset(self._unreadable))

    def take(self) -> list[Policy | None]:
        """Return the versions since the last call, each of which may have been read; the last one has to be."""
        noted, self._noted = self._noted, []
        return noted

    def write(self, step: Write) -> None:
        """Save one file."""
        name = self._name(step.file)
        text, half = self._content(name, step.content, step.number)
        self._earlier.setdefault(name, []).append(text)
        with self._one_edit():
            if self._config_map:
                self._publish({**self._texts, name: text})
            else:
                self._save(name, text, half, step.way)

    def delete(self, step: Delete) -> None:
        """Remove one file; of a ConfigMap, all files with the main one."""
        name = self._name(step.file)
        if name not in self._texts:
            return
        self._end_hold_of(name)
        with self._one_edit():
            if not self._config_map:
                self._remove(name)
            elif name != MAIN:
                self._publish({other: text for other, text in self._texts.items() if other != name})
            else:
                (self._folder / "..data").unlink()
                self._texts.clear()
                self._note()

    def mode(self, step: Mode) -> None:
        """Take the right to read, or give it back."""
        name = self._name(step.file)
        if self._config_map or name not in self._texts:
            return
        self._end_hold_of(name)
        if name in self._unreadable:
            self._make_readable(name)
            return
        self._path(name).chmod(0)
        if self._modes_bind:
            self._unreadable.add(name)
        self._note()

    def swap(self, step: Swap) -> None:
        """Exchange two files. Where there is only one, it gets the other's name."""
        one, other = self._name(step.one), self._name(step.other)
        if one == other or not {one, other} & self._texts.keys():
            return
        if self._config_map:
            exchanged = {other: self._texts.get(one), one: self._texts.get(other)}
            wanted = {**self._texts, **exchanged}
            with self._one_edit():
                self._publish({name: text for name, text in wanted.items() if text is not None})
            return
        self._end_hold_of(one)
        self._end_hold_of(other)
        aside = ".aside"
        with self._one_edit():
            for old, new in ((one, aside), (other, one), (aside, other)):
                if old in self._texts:
                    self._rename(old, new)

    def swap_folder(self) -> None:
        """Replace all included files."""
        texts = {name: self._author.good(name)[0] for name in map(self._name, TEAMS)}
        for name in texts:
            self._end_hold_of(name)
        with self._one_edit():
            if self._config_map:
                self._publish({**self._texts, **texts})
                return
            self._serial += 1
            fresh, teams = self._folder / ".fresh", self._folder / "teams"
            fresh.mkdir()
            for name, text in texts.items():
                (fresh / Path(name).name).write_bytes(text.data)
            teams.rename(self._folder / f".old-{self._serial}")
            for name in texts:
                self._texts.pop(name, None)
                self._unreadable.discard(name)
            self._note()
            fresh.rename(teams)
            self._texts |= texts
            self._note()

    def checkout(self, step: Checkout) -> None:
        """Write all files in place."""
        names = (MAIN, *map(self._name, TEAMS))
        texts = {name: self._author.good(name)[0] for name in names} if step.new else self._valid
        self.release(Release())
        with self._one_edit():
            if self._config_map:
                self._publish(texts)
                return
            for name in names:
                if name in texts:
                    self._save(name, texts[name], texts[name], "in place")
                elif name in self._texts:
                    self._remove(name)

    def hold(self, step: Hold) -> None:
        """Write half of a file, and keep it open."""
        name = self._name(step.file)
        if self._config_map or sys.platform != "linux":
            return
        if self._held is not None:
            raise ValueError("one file is held open at a time")
        before, began_s = len(self._noted), time.monotonic()
        self._make_readable(name)
        whole, half = self._author.good(name, broken_off=step.broken_off)
        file = FileIO(self._path(name), "w")
        if time.monotonic() - began_s < ONE_EDIT_S:
            del self._noted[before:]
        file.write(half.data)
        self._texts[name] = half
        self._held = name, file, half, whole

    def release(self, step: Release) -> None:
        """Close the file that is held open, with its other half or without."""
        if self._held is None:
            return
        name, file, half, whole = self._held
        if step.finished:
            file.write(whole.data[len(half.data) :])
            self._texts[name] = whole
        file.close()
        self._held = None
        self._note()

    def repair(self) -> None:
        """Write a valid main file, and remove the included ones."""
        self.release(Release())
        if self._config_map:
            self._publish({MAIN: self._author.good(MAIN)[0]})
            return
        for team in TEAMS:
            self.delete(Delete(team))
        self._save(MAIN, *self._author.good(MAIN), "rename")

    def close(self) -> None:
        """Close what is open."""
        self.release(Release())
        for file in self._nameless:
            file.close()

    def _content(self, name: str, content: Content, number: int) -> tuple[Text, Text]:
        """Return a text for a file, and its first half."""
        earlier = self._earlier.get(name, [])
        if content == "taken" and name != MAIN:
            text = self._author.taken()
        elif content in {"broken", "taken"}:
            text = Text(BROKEN[number % len(BROKEN)], None)
        elif content == "same" and name in self._texts:
            text = self._texts[name]
        elif content == "earlier" and earlier:
            text = earlier[number % len(earlier)]
        elif content == "copy" and (others := sorted(self._texts.keys() - {name})):
            text = self._texts[others[number % len(others)]]
        else:
            return self._author.good(name, includes=content != "alone")
        return text, Text(text.data[: len(text.data) // 2], None)

    def _save(self, name: str, text: Text, half: Text, way: Way) -> None:
        path = self._path(name)
        if way in {"in place", "two parts"} or name not in self._texts:
            self._end_hold_of(name)
            self._make_readable(name)
            if way == "two parts":
                path.write_bytes(half.data)
                self._put(name, half)
                with path.open("ab") as file:
                    file.write(text.data[len(half.data) :])
            else:
                path.write_bytes(text.data)
        elif way in {"like vim", "delete and create"}:
            # A writer that still holds the old file writes to one that has no name any more.
            backup = path.with_name(f"{path.name}~")
            if way == "like vim":
                path.rename(backup)
            else:
                path.unlink()
            self._drop(name)
            path.write_bytes(text.data)
            backup.unlink(missing_ok=True)
        else:
            self._serial += 1
            fresh = path.with_name(f".{self._serial}")
            fresh.write_bytes(text.data)
            if way == "symlink":
                link = path.with_name(".link")
                link.symlink_to(fresh.name)
                fresh = link
            self._forget_hold_of(name)
            fresh.replace(path)
        self._put(name, text)

    def _publish(self, texts: dict[str, Text]) -> None:
        """Replace a ConfigMap; names that come or go follow behind the swap."""
        self._serial += 1
        publish(self._folder, {name: text.data for name, text in texts.items()}, self._serial)
        dangling = self._links - texts.keys()
        here = {name: text for name, text in texts.items() if name in self._links}
        self._noted.append(policy(here, frozenset(dangling)))
        self._texts, self._links = dict(texts), set(texts)
        self._note()

    def _remove(self, name: str) -> None:
        self._path(name).unlink()
        self._drop(name)

    def _put(self, name: str, text: Text) -> None:
        self._texts[name] = text
        self._unreadable.discard(name)
        self._note()

    def _drop(self, name: str) -> None:
        self._forget_hold_of(name)
        del self._texts[name]
        self._unreadable.discard(name)
        self._note()

    def _rename(self, old: str, new: str) -> None:
        self._path(old).replace(self._path(new))
        self._texts[new] = self._texts.pop(old)
        if old in self._unreadable:
            self._unreadable = {*self._unreadable - {old}, new}
        self._note()

    def _make_readable(self, name: str) -> None:
        if name in self._texts:
            self._path(name).chmod(0o644)
            if name in self._unreadable:
                self._unreadable.discard(name)
                self._note()

    def _note(self) -> None:
        """Note the files as they are; while one is held open, nothing is read."""
        if self._held is None:
            now = self.policy()
            self._noted.append(now)
            if now is not None:
                self._valid = dict(self._texts)

    def _end_hold_of(self, name: str) -> None:
        if self._held is not None and self._held[0] == name:
            self.release(Release())

    def _forget_hold_of(self, name: str) -> None:
        """The file that is held open has lost its name, or will at once."""
        if self._held is not None and self._held[0] == name:
            self._nameless.append(self._held[1])
            self._held = None

    @contextmanager
    def _one_edit(self) -> Iterator[None]:
        before, began_s = len(self._noted), time.monotonic()
        yield
        if time.monotonic() - began_s < ONE_EDIT_S:
            del self._noted[before:-1]

    def _name(self, file: str) -> str:
        if file == MAIN:
            return MAIN
        return f"teams-{file}.yaml" if self._config_map else f"teams/{file}.yaml"

    def _path(self, name: str) -> Path:
        return self._folder / name


@cache
def modes_bind() -> bool:
    """Tell whether a process that NO_OVERRIDE starts cannot read a file of mode 0."""
    if IS_ROOT and shutil.which(NO_OVERRIDE[0]) is None:
        return False
    script = "import os, sys, tempfile; f = tempfile.NamedTemporaryFile(); os.chmod(f.name, 0); open(f.name)"
    return (
        subprocess.run([*NO_OVERRIDE, sys.executable, "-c", script], capture_output=True, check=False).returncode != 0
    )


def prefix() -> tuple[str, ...]:
    """Return the command that starts a gateway whom the modes of files bind, where there is one."""
    return NO_OVERRIDE if IS_ROOT and modes_bind() else ()
