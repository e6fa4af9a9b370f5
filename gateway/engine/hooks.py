"""Runs hooks: pre hooks on a request, post hooks on an answer or the events of a stream."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Collection
from typing import Any, Final, get_args

from gateway.concurrency.deadlines import until
from gateway.errors import GatewayError, HookFailed, Unsupported
from gateway.policy.table import Hook, HookEvents
from gateway.policy.wires import HOOK_OPERATIONS, OPERATION_NAMES, as_list, operations_named
from gateway.wire.json import Json, JsonObject, Spliced, decode_json
from gateway.words import did_you_mean


def own_data(data: JsonObject, raw: bytes | Spliced | None) -> JsonObject:
    """Return a copy of an answer for hooks; decoded from `raw`, if given, so that no number is rounded."""
    own: JsonObject = copy_json(data) if raw is None else decode_json(bytes(raw), exact=True)
    return own


log = logging.getLogger(__name__)

_running: Final[dict[object, str]] = {}
"""One key for each hook that runs now → its path."""


def running_hooks() -> list[str]:
    """Return the paths of the hooks that run now, sorted. May be called from any thread."""
    return sorted(set(_running.values()))


async def run_hooks(hooks: tuple[Hook, ...], value: JsonObject, *, deadline_s: float) -> JsonObject:
    """Run the hooks in order on `value`, which they may change in place, and return the result. Raises HookFailed.

    Whatever a hook raises is its error, SystemExit and CancelledError too. Only the cancellation of the task that runs
    it is cancellation, and a hook cannot hold that up by swallowing it.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    assert task is not None, "a request is answered in a task"
    cancelled_before = task.cancelling()
    for hook in hooks:
        before = copy_json(value) if hook.on_error == "skip" else value
        limit_s = deadline_s if hook.timeout_s is None else min(deadline_s, loop.time() + hook.timeout_s)
        mark = object()
        _running[mark] = hook.path
        try:
            value = await _called(hook, value, limit_s)
        except BaseException as error:
            if asyncio.current_task(loop) is not task:
                raise  # this coroutine is closed from outside, by GeneratorExit
            if task.cancelling() > cancelled_before:
                raise asyncio.CancelledError from None
            if isinstance(error, GatewayError):
                raise
            log.warning(
                "hook failed", extra={"hook": hook.path, "error": type(error).__name__, "on_error": hook.on_error}
            )
            if hook.on_error != "skip":
                raise HookFailed(f"hook {hook.path} failed: {_reason(error)}") from error
            value = before
        finally:
            del _running[mark]
        if task.cancelling() > cancelled_before:
            raise asyncio.CancelledError
    return value


async def _called(hook: Hook, value: JsonObject, limit_s: float) -> JsonObject:
    """Return what a hook makes of `value`, until `limit_s` on the loop's clock."""
    result = hook.call(value)
    if inspect.isawaitable(result):
        with until(limit_s):
            result = await result
    if not isinstance(result, dict):
        raise _NotADict(f"it returned {type(result).__name__}, not a dict")
    return result


async def changed_by(
    hooks: tuple[Hook, ...], body: JsonObject, *, alias: str, model: str, operation: str, deadline_s: float
) -> JsonObject:
    """Run the pre hooks of `alias` on a request's body, which they may change in place. Raises HookFailed.

    `model` is the name that the client asked for, which hooks may not change. `operation` is shown to them as a field
    of the body, in place of the client's own; `upstream_params` drops it.
    """
    body["operation"] = operation
    body = await run_hooks(hooks, body, deadline_s=deadline_s)
    if body.get("model") != model:
        raise HookFailed(f"a pre hook of {alias!r} changed the model; a hook may change anything but that")
    return body


def refusal(alias: str, hook: Hook, operation: str) -> Unsupported:
    """Return the error for a request that a pre hook of `alias` must see and does not know."""
    known = as_list({*hook.operations, operation})
    return Unsupported(
        f"{alias!r} has the pre hook {hook.path}, which does not know {operation}, so nothing is sent past it; "
        f"once it does, its entry says so: operations: [{', '.join(known)}]"
    )


class _NotADict(Exception):
    """A hook returned something other than a dict."""


def _reason(error: BaseException) -> str:
    """Return why a hook failed, without the text of its exception, which may contain a prompt."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error) if isinstance(error, _NotADict) else type(error).__name__


def copy_json(value: Json) -> Json:
    """Return a copy whose dicts and lists are new; other values are shared."""
    if isinstance(value, dict):
        return {key: copy_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_json(item) for item in value]
    return value


def hook_of(
    call: Callable[[JsonObject], Any],
    *,
    operations: Collection[str] = HOOK_OPERATIONS,
    events: HookEvents = "all",
) -> Hook:
    """Return `call` as a hook. Raises TypeError unless it takes one argument, ValueError for an unknown operation."""
    if isinstance(operations, str):
        raise TypeError("the operations of a hook must be a list of names, not a string")
    if not operations:
        raise ValueError("a hook knows at least one operation")
    for name in operations:
        if name not in OPERATION_NAMES:
            hint = did_you_mean(name, OPERATION_NAMES) or f"; there are {', '.join(OPERATION_NAMES)}"
            raise ValueError(f"there is no operation {name!r}{hint}")
    if events not in get_args(HookEvents):
        raise ValueError(f"the events of a hook are one of {', '.join(get_args(HookEvents))}, not {events!r}")
    if not callable(call):
        raise TypeError(f"a hook is a callable, not a {type(call).__name__}")
    name = getattr(call, "__qualname__", type(call).__qualname__)
    try:
        inspect.signature(call).bind(None)
    except TypeError as error:
        raise TypeError(f"{name} cannot be a hook: it must take exactly one argument, a dict") from error
    except ValueError:
        pass  # a builtin without a known signature
    is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004
    return Hook(
        path=f"{getattr(call, '__module__', None) or '?'}.{name}",
        call=call,
        is_async=is_async,
        operations=operations_named(operations),
        events=events,
    )
