"""Hooks that fail in every way Python knows, for the `hooks` probe: `sync_KIND` and `async_KIND`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

Failure: TypeAlias = Callable[[dict[str, Any]], Any]
"""Fails on a request, an answer or an event: raises, or returns what is no dict."""


class OtherError(BaseException):
    """Derived from BaseException, as some libraries' are."""


class UnprintableError(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def _raising(error: Callable[[], BaseException]) -> Failure:
    def fail(value: dict[str, Any]) -> Any:
        raise error()

    return fail


def _tell(value: dict[str, Any]) -> Any:
    raise ValueError(f"in the text of this error is {value}")


def _recurse(value: dict[str, Any]) -> Any:
    return _recurse(value)


FAILURES: Final[dict[str, Failure]] = {
    "value_error": _raising(lambda: ValueError("no good")),
    "prompt_in_text": _tell,
    "system_exit": _raising(lambda: SystemExit("said by a hook")),
    "keyboard_interrupt": _raising(KeyboardInterrupt),
    "cancelled": _raising(asyncio.CancelledError),
    "other": _raising(OtherError),
    "generator_exit": _raising(GeneratorExit),
    "stop_iteration": _raising(lambda: StopIteration(1)),
    "timeout": _raising(TimeoutError),
    "memory": _raising(MemoryError),
    "recursion": _recurse,
    "group": _raising(lambda: BaseExceptionGroup("many", [KeyboardInterrupt(), ValueError("one")])),
    "unprintable": _raising(UnprintableError),
    "no_dict": lambda value: ["a list"],
}


def _sync(failure: Failure) -> Failure:
    def hook(value: dict[str, Any]) -> Any:
        return failure(value)

    return hook


def _async(failure: Failure) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    async def hook(value: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return failure(value)

    return hook


globals().update({f"sync_{kind}": _sync(failure) for kind, failure in FAILURES.items()})
globals().update({f"async_{kind}": _async(failure) for kind, failure in FAILURES.items()})
