"""Which kinds need a `base_url`, and where the others live."""

from __future__ import annotations

import re

import pytest

from gateway.config.compiler.known_hosts import HOSTS, INSTEAD, NO_ADDRESS, SIGN_IN
from gateway.config.compiler.known_providers import LITELLM_KINDS
from tests.compiling import endpoint, messages, problems

_ORIGIN = re.compile(r"https?://[a-z0-9.*-]+:\d+")


@pytest.mark.parametrize("kind", sorted(NO_ADDRESS))
def test_a_kind_without_an_address_needs_a_base_url(kind: str) -> None:
    assert problems(f"models: {{fast: {kind}/m}}") == ["2:16: missing-base-url"]
    assert problems(f"providers: {{up: {{kind: {kind}, api_key: k}}}}\nmodels: {{fast: up/m}}") == [
        "2:13: missing-base-url"
    ]
    found = endpoint(f"up: {{kind: {kind}, base_url: 'https://h.example/v1'}}", "up/m")
    assert (found.base_url, found.own_base_url, found.hosts) == ("https://h.example/v1", True, ())


def test_a_vendors_other_kind_is_named() -> None:
    (message,) = messages("models: {fast: ai21/m}")
    assert message.endswith("providers.ai21.base_url, or write `kind: ai21_chat` for the vendor's own")
    assert not set(INSTEAD.values()) & NO_ADDRESS


def test_the_lists_know_litellms_kinds_alone_and_agree() -> None:
    assert HOSTS.keys() | NO_ADDRESS | SIGN_IN.keys() <= LITELLM_KINDS
    assert not HOSTS.keys() & NO_ADDRESS
    origins = [origin for origins in (*HOSTS.values(), *SIGN_IN.values()) for origin in origins]
    assert all(_ORIGIN.fullmatch(origin) for origin in origins)
    # A pattern ends in a domain of the vendor's own.
    assert all(re.search(r"[a-z0-9-]+\.[a-z]+:\d+$", origin) for origin in origins if "*" in origin)
