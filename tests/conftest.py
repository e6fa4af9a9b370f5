"""What holds for all tests: LiteLLM asks nothing of the network, and no test fails because of the ones before it."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

from gateway.telemetry import logs
from tests.paths import ROOT

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
os.environ.pop("FORCE_COLOR", None)

# A shell starts what runs in the background without Ctrl-C; processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

UNIT: Final = ROOT / "tests" / "unit"

# A busy machine makes no test fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from what is collected: twenty thousand tests, which all stay to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files of `unit`, which compute, evenly with the others, which wait more: they are to run side by side."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    sides = [[path for path in files if path.is_relative_to(UNIT) is of_unit] for of_unit in (False, True)]
    places = {path: place / len(side) for side in sides for place, path in enumerate(side)}
    items[:] = [item for path in sorted(files, key=places.__getitem__) for item in files[path]]


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Take back the levels and the handler that a command in this process has set."""
    lines = logs._lines
    loggers = [logging.getLogger(name) for name in (None, "gateway")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    if logs._lines is not lines:
        if logs._lines is not None:
            logging.getLogger().removeHandler(logs._lines)
        logs._lines = lines
