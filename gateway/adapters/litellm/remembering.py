"""Remembers what LiteLLM works out about a model, anew for each request, from its list of models.

For Bedrock that takes three quarters of a request's time. Only functions whose answer depends on their arguments and on
that list are remembered, and in a process of our own only.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

MAX_ANSWERS: Final = 4096
"""Answers of one function that are remembered."""

_FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "utils": ("supports_factory",),
    "llms.bedrock.common_utils": (
        "bedrock_model_is_unknown", "bedrock_model_known_to_accept_cache_points",
        "bedrock_model_supports_regex_lookaround", "get_bedrock_base_model",
    ),
    "llms.mistral.chat.transformation": ("get_type_hints",),
}  # fmt: skip
"""Module below `litellm` → its functions."""
_METHODS: Final = (
    (
        "integrations.anthropic_cache_control_hook",
        "AnthropicCacheControlHook",
        ("targets_openai_prompt_cache_breakpoint",),
    ),
    ("llms.anthropic.common_utils", "AnthropicModelInfo", ("thinks_by_default", "_get_model_capability")),
    (
        "llms.bedrock.chat.converse_transformation",
        "AmazonConverseConfig",
        ("get_supported_openai_params", "_supports_sampling_params", "_model_accepts_anthropic_thinking_param"),
    ),
)
"""Module, class and its methods. Their answers are the same for every instance."""
_OF_DEPLOYMENTS: Final = ("model_info", "base_model")
"""Entries of LiteLLM's parameters that say more about a model than its name. With one of them nothing is remembered."""

_MARK: Final = "gateway_remembers"
_UNKNOWN: Final = object()


def remember_models() -> None:
    """Make the functions remember, as far as their modules are imported. Cheap if it was done before."""
    replaced: dict[int, Callable[..., Any]] = {}
    for module, names in _FUNCTIONS.items():
        owner = sys.modules.get(f"litellm.{module}")
        for name, function in _unmarked(owner, names):
            replaced[id(function)] = _remembering(function)
            setattr(owner, name, replaced[id(function)])
    for module, kind, names in _METHODS:
        owner = getattr(sys.modules.get(f"litellm.{module}"), kind, None)
        for name, _ in _unmarked(owner, names):
            _replace_method(owner, name)
    if replaced:
        for name, loaded in list(sys.modules.items()):
            if name.startswith("litellm.") and loaded is not None:
                for attribute, value in list(vars(loaded).items()):
                    if id(value) in replaced and not hasattr(value, _MARK):
                        setattr(loaded, attribute, replaced[id(value)])


def _unmarked(owner: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in names:
        function = getattr(owner, name, None)
        if callable(function) and not hasattr(function, _MARK):
            yield name, function


def _replace_method(owner: Any, name: str) -> None:
    method = vars(owner).get(name)
    if isinstance(method, staticmethod):
        setattr(owner, name, staticmethod(_remembering(method.__func__)))
    elif isinstance(method, classmethod):
        setattr(owner, name, classmethod(_remembering(method.__func__)))
    elif callable(method):
        setattr(owner, name, _remembering(method, of_instances=True))


def _remembering(function: Callable[..., Any], *, of_instances: bool = False) -> Callable[..., Any]:
    """Return the function with a memory. Lists are kept as tuples, since callers change them."""
    known: dict[Any, Any] = {}

    @functools.wraps(function)
    def ask(*args: Any, **kwargs: Any) -> Any:
        try:
            key = _key(args, kwargs, of_instances=of_instances)
            answer = known.get(key, _UNKNOWN)
        except TypeError:
            return function(*args, **kwargs)
        if answer is _UNKNOWN:
            answer = function(*args, **kwargs)
            if len(known) >= MAX_ANSWERS:
                known.clear()
            known[key] = tuple(answer) if type(answer) is list else answer
            return answer
        return list(answer) if type(answer) is tuple else answer

    setattr(ask, _MARK, True)
    return ask


def _key(args: tuple[Any, ...], kwargs: Mapping[str, Any], *, of_instances: bool) -> Any:
    """Return what an answer depends on. Raises TypeError if that cannot be told."""
    if of_instances:
        args = (type(args[0]), *args[1:])
    cost_map = getattr(sys.modules.get("litellm"), "model_cost", ())
    plain = [_plain(value) for value in args]
    return (len(cost_map), *plain, *[(name, _plain(value)) for name, value in kwargs.items()])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if any(value.get(name) for name in _OF_DEPLOYMENTS):
            raise TypeError("a deployment says more about its model")
        return None
    return value
