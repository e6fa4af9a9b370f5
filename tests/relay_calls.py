"""What the tests of the relay share: a call of a scripted upstream."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from gateway.adapters.base import Call
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.operations import OPERATIONS
from gateway.policy.failures import UpstreamError
from gateway.policy.keys import NO_KEY, KeySource, Secret
from gateway.policy.params import Params
from gateway.policy.target import Endpoint, Limits, Target

MESSAGES = [{"role": "user", "content": "hi"}]


def a_call(
    base_url: str | None,
    *,
    operation: str = "chat",
    params: Mapping[str, Any] = MappingProxyType({"messages": MESSAGES}),
    overrides: Mapping[str, Any] = MappingProxyType({}),
    headers: Mapping[str, str] = MappingProxyType({}),
    endpoint_headers: Mapping[str, str] = MappingProxyType({}),
    key: str | None = None,
    key_required: bool = False,
    connect_s: float = 5.0,
) -> Call:
    """Return a call of model `a` at a base URL."""
    endpoint = Endpoint(
        provider="up", kind="openai", adapter="relay", base_url=base_url, key_required=key_required,
        api_key=KeySource(name="k", value=Secret(key)) if key else NO_KEY, headers=endpoint_headers,
    )  # fmt: skip
    return Call(
        operation=OPERATIONS[operation],
        target=Target(name="up/a", model="a", label="up/a", endpoint=endpoint),
        params=params,
        overrides=Params(overrides),
        limits=Limits(connect_s=connect_s, first_token_s=5.0, idle_s=5.0, total_s=5.0),
        headers=headers,
    )


async def failure_of(adapter: RelayAdapter, call: Call, *, stream: bool = False) -> UpstreamError:
    """Make the call and return how it failed."""
    with pytest.raises(UpstreamError) as caught:
        await (adapter.stream(call) if stream else adapter.complete(call))
    return caught.value
