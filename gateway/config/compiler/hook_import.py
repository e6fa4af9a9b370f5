"""Import hooks and capabilities by dotted path, and report what is wrong with the user's code."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final

from gateway.config.model.specs import HookSpec
from gateway.config.problems import Fault
from gateway.policy.table import Hook
from gateway.policy.wires import HOOK_OPERATIONS
from gateway.words import did_you_mean

_IMPORTING: Final = threading.RLock()
"""Serializes all loaders: imports, and undoing a failed one, change the whole process."""

_LIBRARIES: Final = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")})


class HookLoader:
    """Imports hooks and capabilities by path and keeps every object found.

    Faults are kept only until `begin`, so that the next compile sees a corrected module.
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder` is that of the config file; an import appends it to the import path."""
        self._folder = folder
        self._found: dict[str, object] = {}
        self._faults: dict[str, Fault] = {}
        self._capabilities: dict[str, object] = {}

    def begin(self) -> None:
        """Forget all faults. Called at the start of each compile."""
        self._faults.clear()

    def load_hook(self, spec: HookSpec) -> Hook | Fault:
        """Return the hook of `spec`, importing its module if necessary; a Fault if it cannot be used."""
        found = self._resolve(spec.path)
        if isinstance(found, Fault):
            return found
        fault = _unfit(found)
        if fault is not None or not callable(found):
            return fault or Fault("hook-not-callable", f"is {_article(type(found).__name__)}, not a function")
        is_async = _runs_as(inspect.iscoroutinefunction, found)
        if spec.timeout_s is not None and not is_async:
            return Fault("hook-timeout-sync", "only an `async def` hook can have a timeout, and this one is not async")
        return Hook(
            path=spec.path,
            call=found,
            is_async=is_async,
            timeout_s=spec.timeout_s,
            on_error=spec.on_error,
            operations=HOOK_OPERATIONS if spec.operations is None else spec.operations,
            events=spec.events or "all",
        )

    def load_capability(self, path: str) -> object:
        """Return the object at `path`, or a Fault; a class is called once, without arguments."""
        if path in self._capabilities:
            return self._capabilities[path]
        found = self._faults.get(path) or self._resolve(path)
        if isinstance(found, Fault):
            return found
        if inspect.isclass(found):
            with _IMPORTING, _noting_ctrl_c() as ctrl_c:
                try:
                    found = found()
                except BaseException as exc:
                    if ctrl_c:
                        raise
                    where = self._where(exc, found)
                    message = f"cannot be made: {where}; a class is called once, without arguments"
                    self._faults[path] = Fault("capability-failed", message)
                    return self._faults[path]
        self._capabilities[path] = found
        return found

    def _resolve(self, path: str) -> object:
        if path in self._found:
            return self._found[path]
        if path not in self._faults:
            found = misshapen(path) or self._import(path)
            if not isinstance(found, Fault):
                self._found[path] = found
                return found
            self._faults[path] = found
        return self._faults[path]

    def _import(self, path: str) -> object:
        with _IMPORTING, _noting_ctrl_c() as ctrl_c:
            folder = os.path.abspath(self._folder) if self._folder is not None else None
            if folder is not None and all(os.path.abspath(entry) != folder for entry in sys.path):
                sys.path.append(folder)
            importlib.invalidate_caches()
            before = set(sys.modules)
            try:
                return self._walk(path)
            except BaseException as exc:
                self._undo(before, path.partition(".")[0])
                if ctrl_c:
                    raise
                return Fault("hook-import", f"cannot be imported: {self._where(exc)}")

    def _walk(self, path: str) -> object:
        """Resolve the path from its first module on: each part is an attribute or, if there is none, a submodule."""
        reached, *rest = path.split(".")
        try:
            found: object = importlib.import_module(reached)
        except ModuleNotFoundError as exc:
            if exc.name != reached:
                raise
            where = "beside the config file or " if self._folder else ""
            return Fault("hook-import", f"there is no module {reached!r} {where}on the import path")
        for name in rest:
            whole = f"{reached}.{name}"
            if not hasattr(found, name) and isinstance(found, ModuleType) and hasattr(found, "__path__"):
                try:
                    importlib.import_module(whole)
                except ModuleNotFoundError as exc:
                    if exc.name != whole:
                        raise
            if not hasattr(found, name):
                file = getattr(found, "__file__", None)
                # A library of the same name hides the user's own module, since the config file's folder comes last.
                where = f" (it is {file})" if file is not None and not self._is_own(file) else ""
                hint = did_you_mean(name, [known for known in dir(found) if not known.startswith("_")])
                return Fault("hook-missing", f"{reached!r}{where} has no {name!r}{hint}")
            found = getattr(found, name)
            reached = whole
        return found

    def _undo(self, before: set[str], first: str) -> None:
        """Remove the user's modules that a failed import left in `sys.modules`, so that a retry imports them."""
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if name.partition(".")[0] == first or (file is not None and self._is_own(file)):
                sys.modules.pop(name, None)

    def _is_own(self, file: str) -> bool:
        return self._folder is not None and _is_below(self._folder, file)

    def _where(self, exc: BaseException, made: Any = None) -> str:
        """Return an exception's type and its last line of the user's own code, or else the line of class `made`."""
        kind = type(exc).__name__
        if isinstance(exc, ModuleNotFoundError) and exc.name:
            kind = f"{kind} for {exc.name!r}"
        if isinstance(exc, SyntaxError) and exc.filename:
            return f"{kind} at {self._shown(exc.filename)}:{exc.lineno}"
        frames = [
            frame
            for frame in traceback.extract_tb(exc.__traceback__)
            if not frame.filename.startswith("<frozen") and frame.filename not in (__file__, importlib.__file__)
        ]
        own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)] or frames
        if own:
            return f"{kind} at {self._shown(own[-1].filename)}:{own[-1].lineno}"
        try:
            file, line = inspect.getfile(made), inspect.getsourcelines(made)[1]
        except (OSError, SyntaxError, TypeError):
            return kind
        return f"{kind} at {self._shown(file)}:{line}"

    def _shown(self, filename: str) -> str:
        return os.path.relpath(filename, self._folder) if self._is_own(filename) and self._folder else filename


@contextmanager
def _noting_ctrl_c() -> Iterator[list[int]]:
    """Yield a list with an item once the user pressed Ctrl-C: no other KeyboardInterrupt ends the process."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        signal.default_int_handler(number, frame)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield heard  # no signal raises KeyboardInterrupt here
        return
    signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        if signal.getsignal(signal.SIGINT) is hear:  # else the imported module has set its own
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def imports_taken_back(folder: Path) -> Iterator[None]:
    """Restore the import path and remove the modules of `folder` at the end: Python keeps one module per name."""
    path, before = sys.path[:], set(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - before:
            if name.partition(".")[0] != "gateway" and _is_below(folder, *_files(sys.modules[name])):
                del sys.modules[name]


def _files(module: ModuleType) -> list[str]:
    """Return the module's file, or the folders of a namespace package."""
    file = getattr(module, "__file__", None)
    return [file] if file is not None else list(getattr(module, "__path__", ()))


def _is_below(folder: Path, *files: str) -> bool:
    top = os.path.abspath(folder)
    return any(Path(file).is_relative_to(top) and not file.startswith(_LIBRARIES) for file in files)


def misshapen(path: str) -> Fault | None:
    """Return the fault of a malformed dotted path, or None. Imports nothing."""
    dotted = path.replace(":", ".")
    if path.startswith("."):
        return Fault("hook-path", "is relative; write the path from its first package on")
    if dotted != path and all(part.isidentifier() for part in dotted.split(".")):
        return Fault("hook-path", f"has a colon; write {dotted!r}")
    if not all(part.isidentifier() for part in path.split(".")):
        return Fault("hook-path", "is no dotted path; write it as `package.module.name`")
    if "." not in path:
        return Fault("hook-path", "has no dot; write it as `module.name`")
    return None


def _unfit(found: object) -> Fault | None:
    """Return the fault of an object that cannot be a hook, or None."""
    if inspect.isclass(found):
        return Fault("hook-not-callable", "is a class; a hook is a function, or an instance that can be called")
    if inspect.ismodule(found):
        return Fault("hook-not-callable", "is a module; name a function in it")
    if not callable(found):
        return Fault("hook-not-callable", f"is {_article(type(found).__name__)}, not a function")
    if _runs_as(inspect.isgeneratorfunction, found) or _runs_as(inspect.isasyncgenfunction, found):
        return Fault("hook-not-callable", "is a generator function; a hook returns one dict")
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):
        return None
    try:
        signature.bind(None)
    except TypeError:
        names = ", ".join(
            f"**{parameter.name}" if parameter.kind is inspect.Parameter.VAR_KEYWORD else parameter.name
            for parameter in signature.parameters.values()
        )
        return Fault("hook-arity", f"takes ({names}); a hook is called with exactly one argument, a dict")
    return None


def _runs_as(test: Callable[[object], bool], found: object) -> bool:
    """Apply one of inspect's function tests to `found`, or to the function behind a partial or a callable object."""
    while isinstance(found, functools.partial):
        found = found.func
    method: Any = getattr(type(found), "__call__", None)  # noqa: B004 - the function behind it is wanted
    return test(found) or test(method)


def _article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"
