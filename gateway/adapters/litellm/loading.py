"""Loads and patches LiteLLM. The only file that imports it.

LiteLLM takes two seconds and 150 MB to import, fetches a price list over HTTPS, loads `.env` and prints banners. In a
process of our own that is switched off here. In a host's process LiteLLM's public settings stay as they are, and only
our calls print no banners (see `_mute`).
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import inspect
import logging
import os
import sys
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, Final

from gateway.adapters.litellm.call import our_call
from gateway.adapters.litellm.sending import check_hosts
from gateway.adapters.litellm.wire import carry

_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
)
"""Read by LiteLLM during import: no price list over HTTPS, no `.env`."""

_SETTINGS: Final[Mapping[str, object]] = MappingProxyType(
    {
        "telemetry": False,
        "suppress_debug_info": True,
        "REPEATED_STREAMING_CHUNK_LIMIT": sys.maxsize,
        # Some of its embeddings ignore `max_retries` and take this.
        "DEFAULT_MAX_RETRIES": 0,
    }
)
"""Set in a process of our own, if the installed release has them."""

_PRINTERS: Final = (
    "litellm.litellm_core_utils.exception_mapping_utils",
    "litellm.litellm_core_utils.get_llm_provider_logic",
)
"""The modules that print banners on stdout unless the host set `litellm.suppress_debug_info`."""


_FIRST_USED: Final = (
    "litellm_core_utils.logging_callback_manager",
    "llms.edenai.chat.transformation",
    "llms.fal_ai",
    "llms.github_copilot.per_user_auth",
    "proxy.openai_files_endpoints.common_utils",
    "_service_logger",
)
"""Modules that LiteLLM imports during the first call only: half a second in which the event loop stands still."""


def load(*, own_process: bool) -> ModuleType:
    """Import and patch LiteLLM, or the module that the host has imported. Blocks for seconds; run it in a thread."""
    with _environment(restore=not own_process), _pruned() if own_process else contextlib.nullcontext():
        litellm = importlib.import_module("litellm")
    mend_annotations(importlib.import_module("litellm.litellm_core_utils.model_param_helper"))
    if own_process:
        _configure(litellm)
        for name in _FIRST_USED:
            with contextlib.suppress(ImportError):
                importlib.import_module(f"litellm.{name}")
        _postpone_tokenizer()
        # Each full collection would walk hundreds of thousands of permanent objects: 7 % of the throughput.
        gc.collect()
        gc.freeze()
    else:
        _mute()
    return litellm


class _Pruner(MetaPathFinder):
    """Takes out of `litellm.utils`, once it is imported, Anthropic's tokenizer as it was parsed.

    LiteLLM uses its text, which it keeps as well. At once, what is imported later takes its memory; that is 15 MB.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where to find the module, with a loader that prunes it."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == "litellm.utils" else None
        loader: Any = None if spec is None else spec.loader
        if loader is None:
            return None
        execute = loader.exec_module

        def execute_pruned(module: ModuleType) -> None:
            execute(module)
            if hasattr(module, "claude_json_str"):
                vars(module).pop("json_data", None)

        loader.exec_module = execute_pruned
        return spec


@contextlib.contextmanager
def _pruned() -> Iterator[None]:
    """Import LiteLLM without what nobody needs."""
    pruner = _Pruner()
    sys.meta_path.insert(0, pruner)
    try:
        yield
    finally:
        sys.meta_path.remove(pruner)


class _Postponed:
    """LiteLLM's tokenizer, which is loaded once somebody wants something of it."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


def _postpone_tokenizer() -> None:
    """Keep OpenAI's tokenizer, 42 MB, out of memory until tokens are counted, where an upstream tells no usage.

    LiteLLM hands it to each call.
    """
    main = sys.modules.get("litellm.main")
    load = getattr(main, "_load_default_encoding", None)
    if load is not None and getattr(main, "_encoding_cache", load) is None:
        vars(main)["_encoding_cache"] = _Postponed(load)


@contextlib.contextmanager
def _environment(*, restore: bool) -> Iterator[None]:
    """Set the variables that LiteLLM reads during import and the user has not set; none if it is imported already."""
    missing = [] if "litellm" in sys.modules else [name for name in _ENVIRONMENT if name not in os.environ]
    os.environ.update({name: _ENVIRONMENT[name] for name in missing})
    try:
        yield
    finally:
        for name in missing if restore else ():
            os.environ.pop(name, None)


def _configure(litellm: Any) -> None:
    """Configure and patch LiteLLM in a process of our own.

    The global `drop_params` stays off: with it LiteLLM repeats a request that got a 422 and loses the error. Each call
    passes its own.
    """
    for name, value in _SETTINGS.items():
        if hasattr(litellm, name):
            setattr(litellm, name, value)
    warnings.filterwarnings("ignore", message=".*`ReadOnly` qualifier", category=UserWarning)
    if "LITELLM_LOG" not in os.environ:
        # Its log lines contain upstream text and go to stderr in a format of their own.
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    check_hosts()
    for patch, name in (
        (carry, "llms.custom_httpx.aiohttp_transport"),
        (_keep_no_accounts, "litellm_core_utils.litellm_logging"),
    ):
        with contextlib.suppress(ImportError):
            patch(importlib.import_module(f"litellm.{name}"))


def _keep_no_accounts(module: Any) -> None:
    """Keep LiteLLM from computing prices and log records that nobody reads: a quarter of the time of a call.

    There is no setting for it. Once somebody, such as a hook's module, registers callbacks, a budget or a cache with
    LiteLLM, both are computed again.
    """
    logging_: Any = getattr(module, "Logging", None)
    if not all(hasattr(logging_, name) for name in ("response_cost_calculator", "async_success_handler")):
        return
    price, record = logging_.response_cost_calculator, logging_.async_success_handler

    def price_if_wanted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if our_call() is not None and not _is_heard(self):
            return None
        return price(self, *args, **kwargs)

    async def record_if_wanted(self: Any, *args: Any, **kwargs: Any) -> None:
        if _is_heard(self):
            await record(self, *args, **kwargs)

    logging_.response_cost_calculator = price_if_wanted
    logging_.async_success_handler = record_if_wanted


_LISTENERS: Final = (
    "callbacks", "success_callback", "_async_success_callback", "cache", "max_budget", "request_correlation_in_logs",
)  # fmt: skip
_OWN_LISTENERS: Final = ("dynamic_success_callbacks", "dynamic_async_success_callbacks")


def is_listened_to() -> bool:
    """Tell whether callbacks, a budget or a cache were registered with LiteLLM, which use the outcome of calls."""
    settings = vars(sys.modules["litellm"])
    return any(_hears(listener) for name in _LISTENERS if (listener := settings.get(name)))


def _is_heard(call: Any) -> bool:
    """Tell the same of one call. `call` is LiteLLM's logging object."""
    return is_listened_to() or any(_hears(getattr(call, name, None)) for name in _OWN_LISTENERS)


def _hears(listener: Any) -> bool:
    """Tell whether a setting of LiteLLM listens. `cache` in a list does not: a call to Gemini leaves it there."""
    return any(each != "cache" for each in listener) if isinstance(listener, list) else bool(listener)


def _mute() -> None:
    """Keep LiteLLM's banners off a host's stdout during our calls, without changing a setting.

    The modules that print get a `print` of their own: silent while a call of ours runs, else the builtin.
    """
    for name in _PRINTERS:
        vars(importlib.import_module(name))["print"] = _print


def _print(*args: Any, **kwargs: Any) -> None:
    if our_call() is None:
        builtins.print(*args, **kwargs)  # noqa: T201 - stands in for the builtin


def mend_annotations(module: Any) -> None:
    """Patch LiteLLM's `model_param_helper`, given as `module`, if it fails on `__annotations__`.

    Some releases read `__annotations__` of objects that have none on newer Pythons (a `Union` on 3.14), so every call
    fails. Such objects are replaced, in that module only, by objects with the same field names.
    """
    helper = module.ModelParamHelper
    if not _fails_on_annotations(getattr(helper, "_get_all_llm_api_params", None)):
        return
    for name, value in list(vars(module).items()):
        if (isinstance(value, type) or typing.get_args(value)) and not hasattr(value, "__annotations__"):
            setattr(module, name, SimpleNamespace(__annotations__=_annotations(value)))
    for name in list(vars(helper)):
        if name.startswith("_get_litellm_supported_") and _fails_on_annotations(getattr(helper, name)):
            setattr(helper, name, staticmethod(set))


def _fails_on_annotations(function: Callable[[], object] | None) -> bool:
    try:
        if function is not None:
            function()
    except AttributeError as error:
        return "__annotations__" in str(error)
    return False


def _annotations(value: Any) -> dict[str, object]:
    members = typing.get_args(value)
    if members:
        return {name: hint for member in members for name, hint in _annotations(member).items()}
    try:
        return dict(inspect.get_annotations(value))
    except (TypeError, NameError, AttributeError):
        return {}
