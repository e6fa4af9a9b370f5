"""The steps of a sequence, and how hypothesis draws them. Each can be taken at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from hypothesis import strategies as st

from tests.model.texts import BROKEN, MAIN, TEAMS

Content: TypeAlias = Literal["new", "alone", "broken", "taken", "same", "earlier", "copy"]
"""`alone`: a main file that includes nothing. `copy`: the text of the next file."""
Way: TypeAlias = Literal["rename", "in place", "two parts", "like vim", "delete and create", "symlink"]
WAYS: Final[tuple[Way, ...]] = ("rename", "in place", "two parts", "like vim", "delete and create", "symlink")


@dataclass(frozen=True, slots=True)
class Write:
    """Save one file."""

    file: str = MAIN
    content: Content = "new"
    way: Way = "rename"
    number: int = 0
    """Which of the broken texts, or of the earlier ones."""
    hurry: bool = False
    """Whether the next step comes at once."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove one file."""

    file: str = MAIN
    hurry: bool = False


@dataclass(frozen=True, slots=True)
class Mode:
    """Make one file unreadable, or readable again."""

    file: str = MAIN


@dataclass(frozen=True, slots=True)
class Swap:
    """Exchange two files by renames."""

    one: str
    other: str


@dataclass(frozen=True, slots=True)
class SwapFolder:
    """Put a new folder of included files in place of the old one."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """Write all files in place, as git does: new ones, or those that were valid last."""

    new: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Write half of a file and keep it open."""

    file: str = MAIN
    broken_off: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """Close it: with the other half, or as a writer that was killed leaves it."""

    finished: bool = True


@dataclass(frozen=True, slots=True)
class Post:
    """`POST /-/reload`."""

    dry_run: bool = False
    if_match: Literal["", "right", "wrong"] = ""


@dataclass(frozen=True, slots=True)
class Hangup:
    """SIGHUP."""


@dataclass(frozen=True, slots=True)
class Kill:
    """`kill -9`, edits of the files, and a start."""

    edits: tuple[Write | Delete | Mode, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Ask for a stream, and leave it open after its first word."""


@dataclass(frozen=True, slots=True)
class EndStream:
    """Let the stream that is open for longest go on, to its end."""


Step: TypeAlias = (
    Write
    | Delete
    | Mode
    | Swap
    | SwapFolder
    | Checkout
    | Hold
    | Release
    | Post
    | Hangup
    | Kill
    | OpenStream
    | EndStream
)


@dataclass(frozen=True, slots=True)
class Sequence:
    """What is done to one config, from a start with valid files on."""

    steps: tuple[Step, ...]
    state_dir: bool = False
    config_map: bool = False
    """Whether the files are a ConfigMap's, so that each edit is a swap of its symlink."""


def sequences(*, most: int = 14) -> st.SearchStrategy[Sequence]:
    """Draw sequences of up to `most` steps."""
    files = st.sampled_from((MAIN, *TEAMS))
    contents: tuple[Content, ...] = (
        "new",
        "new",
        "new",
        "alone",
        "broken",
        "broken",
        "taken",
        "same",
        "earlier",
        "copy",
    )
    hurry = st.sampled_from((False, False, False, True))
    write = st.builds(
        Write, files, st.sampled_from(contents), st.sampled_from(WAYS), st.integers(0, len(BROKEN) - 1), hurry
    )
    delete = st.builds(Delete, files, hurry)
    mode = st.builds(Mode, files)
    step = st.one_of(
        write,
        write,
        write,
        delete,
        mode,
        st.builds(Swap, files, files),
        st.builds(SwapFolder),
        st.builds(Checkout, st.booleans()),
        st.builds(Checkout, st.booleans()),
        st.builds(Hold, files, st.booleans()),
        st.builds(Release, st.booleans()),
        st.builds(Post, st.booleans(), st.sampled_from(("", "right", "wrong"))),
        st.builds(Hangup),
        st.builds(Kill, st.lists(st.one_of(write, delete, mode), max_size=2).map(tuple)),
        st.builds(OpenStream),
        st.builds(EndStream),
    )
    steps = st.lists(step, min_size=min(6, most), max_size=most).map(tuple)
    return st.builds(Sequence, steps, st.booleans(), st.sampled_from((False, False, True)))
