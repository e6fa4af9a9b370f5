"""Lets LiteLLM sign requests to Amazon in the event loop where no credentials have to be fetched for it.

LiteLLM signs each in a thread, since fetching may block. A signature alone takes less than the way to a thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from gateway.adapters.litellm.call import our_call

_MODULE: Final = "litellm.llms.bedrock.base_aws_llm"
_NAME: Final = "run_aws_signing"
_MARK: Final = "gateway_signs"
_READY: Final = frozenset({"NoneType", "Credentials", "ReadOnlyCredentials"})
"""Classes of botocore's credentials that are as they are; others may be fetched again at any time."""


def sign_in_place() -> None:
    """Replace LiteLLM's function wherever it was imported. Does nothing if that was done, or if it has none."""
    run_in_thread = getattr(sys.modules.get(_MODULE), _NAME, None)
    if run_in_thread is None or hasattr(run_in_thread, _MARK):
        return

    async def sign(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        ours = our_call()
        if ours is not None and ours.carried and type(kwargs.get("credentials", run_in_thread)).__name__ in _READY:
            return function(*args, **kwargs)
        return await run_in_thread(function, *args, **kwargs)

    setattr(sign, _MARK, True)
    for name, module in list(sys.modules.items()):
        if name.startswith("litellm.llms.") and getattr(module, _NAME, None) is run_in_thread:
            setattr(module, _NAME, sign)
