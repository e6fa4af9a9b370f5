"""No regular expression of the package takes more than linear time: a file or an upstream cannot hold the loop."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import litellm  # noqa: F401 - imported here, as its warnings are errors in the thread that loads it
import pytest

import gateway
from tests.paths import PACKAGE

LETTERS: Final = [*'a0 \n_."*/\0', "a ", "a:", "#", "${a:-", "[a", "://"]
LONG: Final = 50_000
WORDS: Final = 5
LONG_PATTERN: Final = 300
"""Of the words in a pattern, so many are repeated too."""
OWN_TEXT: Final = {
    "gateway.config.problems._FENCE",
    "gateway.config.problems._SECTION",
    "gateway.server.endpoints.page.page._BLOCK[script]",
    "gateway.server.endpoints.page.page._BLOCK[style]",
}
"""Patterns for files of the package itself."""


def _patterns_in(name: str, value: Any, depth: int = 3) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Yield the patterns that a value of a module holds: in collections, classes and frozen values too."""
    if isinstance(value, re.Pattern):
        yield name, value
    elif not depth or isinstance(value, str | bytes):
        return
    elif isinstance(value, tuple | list | set | frozenset):
        for position, item in enumerate(value):
            yield from _patterns_in(f"{name}[{position}]", item, depth - 1)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _patterns_in(f"{name}[{key}]", item, depth - 1)
    elif type(value).__module__.startswith("gateway.") or str(getattr(value, "__module__", "")).startswith("gateway."):
        fields = [*getattr(value, "__dataclass_fields__", ()), *getattr(value, "__dict__", ())]
        for field in fields:
            yield from _patterns_in(f"{name}.{field}", getattr(value, field, None), depth - 1)


def _all_patterns() -> dict[re.Pattern[Any], str]:
    found: dict[re.Pattern[Any], str] = {}
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                for where, pattern in _patterns_in(f"{module.name}.{name}", value):
                    found.setdefault(pattern, where)
    return found


PATTERNS: Final = _all_patterns()
SOURCES: Final = "\n".join(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py")))


def test_the_patterns_were_found() -> None:
    """Each named pattern of the sources, but not those that are made of a file's values."""
    named = set(re.findall(r"^(_?[A-Z_]+): Final = re\.compile", SOURCES, re.MULTILINE))
    # Python gives equal patterns as one object, which has the name that was found first.
    assert named - {name.rpartition(".")[2] for name in PATTERNS.values()} <= {"_ODD_BREAKS"}
    assert len(PATTERNS) >= 100


def _words(pattern: re.Pattern[Any]) -> list[str]:
    """Return the words that a pattern looks for, roughly."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    plain = re.sub(r"\\[a-zA-Z]|\(\?[a-zA-Z<!=:>]+|\{\d*,?\d*\}", "\0", text).replace("\\", "")
    found = re.findall(r"[^\0()|^$*+?\[\]]{2,}", plain)
    return list(dict.fromkeys(found))[:WORDS]


def _methods(pattern: re.Pattern[Any], name: str) -> list[Callable[[Any], object]]:
    """Return the ways in which the package applies a pattern; all if its name does not say."""
    short = re.split(r"[.\[]", name.removeprefix("gateway."))[-1]
    used = set(re.findall(rf"\b{re.escape(short)}\.(match|fullmatch|search|finditer|findall|sub|split)\(", SOURCES))
    if used and used <= {"match", "fullmatch"}:
        return [pattern.match, pattern.fullmatch]
    return [lambda text: sum(1 for _ in pattern.finditer(text))]


def _cpu_s(act: Callable[[Any], object], text: Any) -> float:
    begun_s = time.thread_time()
    act(text)
    return time.thread_time() - begun_s


@pytest.mark.parametrize(("pattern", "name"), PATTERNS.items(), ids=PATTERNS.values())
def test_a_pattern_takes_linear_time(pattern: re.Pattern[Any], name: str) -> None:
    if name in OWN_TEXT:
        pytest.skip("reads files of the package only")
    ways = _methods(pattern, name)
    words = _words(pattern)[: WORDS if len(pattern.pattern) < LONG_PATTERN else 1]
    for letters, end in itertools.product([*LETTERS, *words], ["\1"]):
        text = letters * (LONG // len(letters)) + end
        short = letters * (LONG // 10 // len(letters)) + end
        for way in ways:
            tenth_s = _bounded(way, _encoded(pattern, short), 0.05, name, letters)
            _bounded(way, _encoded(pattern, text), 0.02 + 20 * tenth_s, name, letters)


def _encoded(pattern: re.Pattern[Any], text: str) -> Any:
    return text.encode() if isinstance(pattern.pattern, bytes) else text


def _bounded(way: Callable[[Any], object], text: Any, most_s: float, name: str, letters: str) -> float:
    """Return the CPU time of the best of three; fail if none is within the bound."""
    taken_s = [_cpu_s(way, text)]
    while min(taken_s) > most_s and len(taken_s) < 3:
        taken_s.append(_cpu_s(way, text))
    assert min(taken_s) <= most_s, f"{name}: {min(taken_s):.2f} s for {len(text)} letters of {letters!r}"
    return min(taken_s)
