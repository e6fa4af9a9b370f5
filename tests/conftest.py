"""What holds for all tests: LiteLLM asks nothing of the network, and no test fails because of the ones before it."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from gateway.telemetry import logs
from tests.sharing import Sharing

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
os.environ.pop("FORCE_COLOR", None)

# A shell starts what runs in the background without Ctrl-C; processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> Sharing | None:
    """Share out whole files among several processes in our own way."""
    processes = config.option.numprocesses
    return Sharing(processes) if processes and config.option.dist == "loadfile" else None


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
