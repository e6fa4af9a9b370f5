"""The bytes of one reading: of the config file, and of the files that it includes once the compiler asks for them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.config.include import Included, IncludedFile, digest_of, find, read
from gateway.config.kept import Kept
from gateway.config.saves import Looks
from gateway.policy.regular_file import read_regular_file
from gateway.policy.stamp import Stamp

MAX_FILE_BYTES: Final = 64 * 1024 * 1024


class UnsettledError(Exception):
    """The files are not as they were when the save looked complete, or others are included now."""


class Texts:
    """One reading of the config file. Included files are read at the first `include`, and kept."""

    def __init__(
        self,
        file: Path,
        source: str,
        *,
        complete: Looks | None = None,
        before_reading: Callable[[Path], None] | None = None,
        given: Kept | None = None,
    ) -> None:
        """Read `file`, an absolute path that was given as `source`. Raises OSError.

        With `complete`, a finished save, this and `include` raise UnsettledError when a file has changed since.
        `before_reading` is called with the path of each included file. What is `given` is taken in place of the files.
        """
        self.main: bytes
        self.stamp: Stamp | None
        if given is None:
            self.main, self.stamp = read_regular_file(file, limit_bytes=MAX_FILE_BYTES)
        else:
            self.main, self.stamp = given.main, None
        self.patterns: tuple[str, ...] = ()
        self._file = file
        self._source = source
        self._complete = complete
        self._before_reading = before_reading
        self._included = Included()
        self._is_given = given is not None
        if given is not None:
            folder = os.path.dirname(source)
            self._included = Included(
                files=tuple(
                    IncludedFile(name=name, source=os.path.join(folder, name), data=data)
                    for name, data in given.included.items()
                )
            )
        if complete is not None and self.stamp != complete.main.stamp:
            raise UnsettledError

    def include(self, patterns: Sequence[str]) -> Included:
        """Return the files that the patterns match."""
        wanted = tuple(patterns)
        if wanted != self.patterns:
            self.patterns = wanted
            if self._is_given:
                return self._included
            if self._before_reading is not None:
                for name in find(self._file, wanted).names:
                    self._before_reading(self._file.parent / name)
            self._included = read(self._file, wanted, source=self._source, used_bytes=len(self.main))
            if self._complete is not None and self.stamps != self._complete.stamps:
                raise UnsettledError
        return self._included

    @property
    def included(self) -> dict[str, bytes]:
        """The included files, by the names that the main one has for them."""
        return {file.name: file.data for file in self._included.files}

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that were read, the main one first."""
        return (self._file, *(self._file.parent / file.name for file in self._included.files))

    @property
    def stamps(self) -> dict[str, Stamp | None]:
        """The stamp of each file as it was read, as in `Looks.stamps`."""
        included = {os.path.join(self._file.parent, file.name): file.stamp for file in self._included.files}
        return {"": self.stamp, **included}

    @property
    def digest(self) -> str:
        """SHA-256 over all files, in hex."""
        return digest_of(self._source, hashlib.sha256(self.main).hexdigest(), self._included.files)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file that could be read, in hex, by its path as problems show it; the main one first."""
        files = {file.source: file.data for file in self._included.files if file.fault is None}
        return {path: hashlib.sha256(data).hexdigest() for path, data in {self._source: self.main, **files}.items()}

    def is_same(self, other: Texts | None) -> bool:
        """Tell whether all files have the same names and bytes, and the same of them cannot be read."""
        return other is not None and self.main == other.main and self._included == other._included
