"""Upstreams' keys: Secret, which prints as `***`; KeySource reads one from config or file, a KeyList has several."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.policy.regular_file import read_regular_file, why
from gateway.policy.stamp import Stamp, stamp
from gateway.policy.writers import is_half_written

log = logging.getLogger(__name__)

MAX_KEY_FILE_BYTES: Final = 64 * 1024
"""Larger key files are not read."""

_KEY: Final = re.compile(r"[!-~]+")
_KNOWN: Final = 3


class Secret:
    """A value that prints as `***`. `reveal()` is called only where the value is sent."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class KeySource:
    """Where an upstream's key comes from: a value of the config file, a file of its own, or nowhere."""

    __slots__ = ("_file", "_keeps", "_list", "_read", "_stamp", "_told", "known", "name")

    def __init__(self, *, name: str, value: Secret | None = None, file: Path | None = None, keeps: bool = True) -> None:
        """`keeps`: where the file has lost its key, the last one stays."""
        self.name = name
        """Identifies the source without the key: the text as written, a path, or a digest and variables."""
        self._file = file
        self._read = _usable(value.reveal()) if value is not None else None
        self._stamp: Stamp | None = None
        self._keeps = keeps
        self._told = False
        """It is in the log that the last key stays."""
        self._list: KeyList | None = None
        self.known: tuple[Secret, ...] = () if self._read is None else (self._read,)
        """The last keys that `read` returned, the newest first: a call that is under way was sent an older one."""

    def read(self) -> Secret | None:
        """Return the current key, or None. A key file is read again whenever its stat changes.

        A missing or empty file has no key, nor has text that cannot be sent in a header, such as two lines, nor has a
        file of more than MAX_KEY_FILE_BYTES, nor a named pipe or device: this runs on the event loop and never blocks.
        The last key stays while the file is being written; unless not `keeps`, also where it has none any more.
        """
        if self._file is not None:
            found = stamp(self._file)
            if found is None or found != self._stamp:
                self._read_again(self._file)
        return self._read

    def _read_again(self, file: Path) -> None:
        key, reason = None, "what it holds is no key"
        try:
            data, version = read_regular_file(file, limit_bytes=MAX_KEY_FILE_BYTES)
            if self._read is not None and is_half_written(file, version, before=self._stamp, now=time.time()):
                self._note_kept("it is being written")
                return
            self._stamp = version
            key = _usable(data.decode())
        except OSError as exc:
            reason, self._stamp = why(exc), None
        except UnicodeDecodeError:
            pass
        if key is None and self._read is not None and self._keeps:
            self._note_kept(reason)
            return
        self._read, self._told = key, False
        if key is not None and key not in self.known[:1]:
            if self.known:
                log.info("key read again", extra={"file": str(file), "key": _digest(key.reveal())})
            self.known = (key, *self.known)[:_KNOWN]
            if self._list is not None:
                self._list.gather()

    def _note_kept(self, reason: str) -> None:
        if not self._told:
            self._told = True
            log.warning("key not read again: the last one stays", extra={"file": str(self._file), "reason": reason})

    @property
    def short(self) -> str:
        """Four characters that stand for the key in outputs: its SHA-256's first; the name's while there is no key."""
        text = self.known[0].reveal() if self.known else self.name
        return _digest(text)

    def __eq__(self, other: object) -> bool:
        """Compare by value, or by file regardless of its present content."""
        if not isinstance(other, KeySource):
            return NotImplemented
        same = (self.name, self._file) == (other.name, other._file)
        return same and (self._file is not None or self._read == other._read)

    def __hash__(self) -> int:
        return hash((self.name, self._file))

    def __repr__(self) -> str:
        return f"KeySource({self.name!r})"


class KeyList(KeySource):
    """The keys of an upstream that has several. Calls use one of `sources` each; to read the list is to read its first.

    `known` are the keys of all: an upstream may repeat one that another call was sent.
    """

    __slots__ = ("sources",)

    def __init__(self, sources: Sequence[KeySource]) -> None:
        """The sources are read once, and belong to this list alone."""
        super().__init__(name=", ".join(source.name for source in sources))
        self.sources = tuple(sources)
        for source in self.sources:
            source.read()
            source._list = self
        self.gather()

    def gather(self) -> None:
        """Bring `known` up to date with the sources."""
        self.known = tuple([key for source in self.sources for key in source.known])

    def read(self) -> Secret | None:
        """Return the first source's key that there is."""
        return next((key for source in self.sources if (key := source.read()) is not None), None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyList) and self.sources == other.sources

    __hash__ = KeySource.__hash__


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]


def _usable(text: str) -> Secret | None:
    """Return the text as a key, without surrounding white space; None unless it is visible ASCII."""
    text = text.strip()
    return Secret(text) if _KEY.fullmatch(text) else None


def one_of(sources: Sequence[KeySource]) -> KeySource:
    """Return the only source, or a list of several."""
    return KeyList(sources) if len(sources) > 1 else sources[0]


NO_KEY: Final = KeySource(name="none")
