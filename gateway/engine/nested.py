"""Hooks of nested aliases: what their pre hooks make of a request, and the post hooks of the step that answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from gateway.engine.hooks import changed_by, copy_json
from gateway.policy.params import upstream_params
from gateway.policy.table import Hook, Step
from gateway.wire.json import Json, JsonObject

_Path: TypeAlias = tuple[str, ...]
"""Names of nested aliases with hooks, from outer to inner; empty for the asked alias itself."""


class NestedHooks:
    """The bodies of one request for the steps of its chain. A nested alias' pre hooks run once for each way to it."""

    def __init__(self, body: JsonObject, *, model: str, operation: str, client: str | None = None) -> None:
        """`body` is what the asked alias' pre hooks made; it is not changed."""
        self._model = model
        self._operation = operation
        self._client = client
        self._bodies: dict[_Path, JsonObject] = {(): body}
        self._params: dict[_Path, Mapping[str, Json]] = {}

    async def run(self, step: Step, *, deadline_s: float) -> bool:
        """Run the pre hooks on the way to `step` that have not run yet; return whether one ran. Raises HookFailed.

        `deadline_s` is on the loop's clock.
        """
        path: _Path = ()
        has_run = False
        for hooks in step.nested:
            body = self._bodies[path]
            path = (*path, hooks.alias)
            if path not in self._bodies:
                if hooks.pre:
                    has_run = True
                    body = await changed_by(
                        hooks.pre,
                        copy_json(body),
                        alias=hooks.alias,
                        model=self._model,
                        operation=self._operation,
                        client=self._client,
                        deadline_s=deadline_s,
                    )
                self._bodies[path] = body
        return has_run

    def params(self, step: Step) -> Mapping[str, Json]:
        """Return the parameters for a step whose hooks have run."""
        path = tuple([hooks.alias for hooks in step.nested])
        if path not in self._params:
            self._params[path] = upstream_params(self._bodies[path])
        return self._params[path]


def post_hooks(step: Step) -> tuple[Hook, ...]:
    """Return the post hooks of the nested aliases on the way to the step that answered, from outer to inner."""
    return tuple([hook for hooks in step.nested for hook in hooks.post])
