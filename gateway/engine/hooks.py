"""Runs hooks: pre hooks on a request, post hooks on an answer or the events of a stream."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Collection, Generator
from types import CoroutineType, coroutine
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


async def run_hooks(
    hooks: tuple[Hook, ...],
    value: JsonObject,
    *,
    deadline_s: float,
    again: Callable[[], JsonObject] | None = None,
) -> JsonObject:
    """Run the hooks in order on `value`, which they may change in place, and return the result. Raises HookFailed.

    `again` returns `value` as it was; where it is given, no copy is made in case the first hook fails and is skipped.
    Whatever a hook raises is its error, SystemExit and CancelledError too. Only the cancellation of the task that runs
    it is cancellation, and a hook cannot hold that up by swallowing it.
    """
    mark = object()
    try:
        for hook in hooks:
            before = copy_json(value) if hook.on_error == "skip" and again is None else value
            task: asyncio.Task[Any] | None = None
            cancelled_before = 0
            limit_s = deadline_s
            if hook.timeout_s is not None:
                limit_s = min(deadline_s, asyncio.get_running_loop().time() + hook.timeout_s)
            _running[mark] = hook.path
            try:
                result = hook.call(value)
                if type(result) is CoroutineType:
                    # Most wait for nothing: a timer would take several times as long.
                    try:
                        waited = result.send(None)
                    except StopIteration as stop:
                        result = stop.value
                    else:
                        result = _rest(result, waited)
                if type(result) is not dict:
                    task = asyncio.current_task()
                    assert task is not None, "a request is answered in a task"
                    cancelled_before = task.cancelling()
                    result = await _awaited(result, limit_s)
                value = result
            except BaseException as error:
                if task is not None:
                    if asyncio.current_task(task.get_loop()) is not task:
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
                value = before if again is None else again()
            again = None
            if task is not None and task.cancelling() > cancelled_before:
                raise asyncio.CancelledError
    finally:
        _running.pop(mark, None)
    return value


async def _awaited(result: object, limit_s: float) -> JsonObject:
    """Return the dict that a hook's result is or becomes, until `limit_s` on the loop's clock."""
    if inspect.isawaitable(result):
        with until(limit_s):
            result = await result
    if not isinstance(result, dict):
        raise _NotADict(f"it returned {type(result).__name__}, not a dict")
    return result


@coroutine
def _rest(begun: CoroutineType[Any, Any, Any], waited: object) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that waits for `waited`, and return its result."""
    try:
        while True:
            try:
                yield waited
            except BaseException as error:  # noqa: BLE001 - the hook's to handle
                waited = begun.throw(error)
            else:
                waited = begun.send(None)
    except StopIteration as stop:
        return stop.value


async def changed_by(
    hooks: tuple[Hook, ...],
    body: JsonObject,
    *,
    alias: str,
    model: str,
    operation: str,
    client: str | None,
    deadline_s: float,
) -> JsonObject:
    """Run the pre hooks of `alias` on a request's body, which they may change in place. Raises HookFailed.

    `model` is the name that the client asked for, which hooks may not change. `operation` and the name of the
    `client`, if its key was sent, are shown to them as fields of the body, in place of the client's own;
    `upstream_params` drops both.
    """
    body["operation"] = operation
    if client is None:
        body.pop("client", None)
    else:
        body["client"] = client
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


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def copy_json(value: Json) -> Json:
    """Return a copy whose dicts and lists are new; other values are shared."""
    if isinstance(value, dict):
        return {key: item if type(item) in _SCALARS else copy_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [item if type(item) in _SCALARS else copy_json(item) for item in value]
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
