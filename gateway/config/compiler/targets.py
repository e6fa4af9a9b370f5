"""Find the upstream models that the file names, each made once."""

from __future__ import annotations

import re
from typing import Final

from gateway.config.compiler.providers import Upstreams
from gateway.config.problems import Fault
from gateway.policy.target import Target

_STEERS: Final = re.compile(r"\.\.|[ ?#\\%]")
"""Characters of a model's name that could steer a request to another path of the upstream."""


class Targets:
    """The targets of one compile, by their text."""

    def __init__(self, upstreams: Upstreams, *, bare_names: bool) -> None:
        self._upstreams = upstreams
        self._bare_names = bare_names
        self._bare = upstreams.bare()
        self._found: dict[str, Target | Fault | None] = {}

    def find(self, text: str, *, from_code: bool = False) -> Target | Fault | None:
        """Return the target, or None when its provider's entry has problems, which are already reported."""
        if text not in self._found:
            self._found[text] = self._make(text)
        found = self._found[text]
        if from_code and self._bare_names and isinstance(found, Fault) and found.code in _UNKNOWN:
            return self.bare(text)
        return found

    def are_unchanged(self) -> bool:
        """Tell whether every target of the earlier compile is still valid."""
        return self._upstreams.is_unchanged

    def is_unchanged(self, target: Target) -> bool:
        """Tell whether a target of the earlier compile is still valid."""
        return self._upstreams.find(target.endpoint.provider) is target.endpoint

    def bare(self, text: str) -> Target:
        """Return the target of a name that is passed to LiteLLM unchanged."""
        return Target(name=text, model=text, label=text, endpoint=self._bare)

    def _make(self, text: str) -> Target | Fault | None:
        provider, _, model = text.partition("/")
        endpoint = target_fault(text) or self._upstreams.find(provider)
        if endpoint is None or isinstance(endpoint, Fault):
            return endpoint
        return Target(name=text, model=model, label=text, endpoint=endpoint)


_UNKNOWN: Final = frozenset({"no-provider", "unknown-provider", "missing-base-url"})
"""Codes of faults that do not matter for a name that is passed to LiteLLM unchanged."""


def target_fault(text: str) -> Fault | None:
    """Return the fault of a target's text, or None. Does not look up the provider."""
    if not text or _STEERS.search(text) or not text.isprintable():
        return Fault("bad-target", "a target holds no spaces, no control characters and none of `..`, ?, #, %, \\")
    provider, slash, model = text.partition("/")
    if not slash:
        return Fault("no-provider", f"{text!r} names no provider; write `provider/{text}`")
    if not provider or not model:
        return Fault("bad-target", f"{text!r} is not whole; write `provider/model`")
    if text.count("*") > 1 or text.find("*") not in (-1, len(text) - 1) or "*" in provider:
        return Fault("misplaced-star", f"{text!r} may have one `*`, at its end")
    return None
