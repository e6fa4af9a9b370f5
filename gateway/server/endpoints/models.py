"""The list of models, and a single model."""

from __future__ import annotations

from typing import Final

from gateway.engine.pipeline import Pipeline
from gateway.server.exchange import Exchange
from gateway.server.paths import PathHandlers
from gateway.wire.json import JsonObject

_ONE_MODEL: Final = "/v1/models/"


class Models:
    """Answers `/v1/models` and `/v1/models/{name}`."""

    def __init__(self, *, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def paths(self) -> dict[str, PathHandlers]:
        """Return the endpoints by path."""
        return {"/v1/models": PathHandlers("models", {"GET": self._list})}

    def below(self) -> dict[str, PathHandlers]:
        """Return the endpoints for everything below a path."""
        return {_ONE_MODEL: PathHandlers("models", {"GET": self._one})}

    async def _list(self, exchange: Exchange) -> None:
        """`GET /v1/models`: every alias but the wildcards."""
        table = self._pipeline.tables.current
        entries = [_model(name, route.steps[0].target.name, table.loaded_at) for name, route in table.routes.items()]
        exchange.send_json({"object": "list", "data": entries})

    async def _one(self, exchange: Exchange) -> None:
        """`GET /v1/models/{name}`: one alias, or a name that a wildcard matches."""
        name = exchange.request.path.removeprefix(_ONE_MODEL)
        if name.endswith("/") and self._pipeline.tables.current.find(name) is None:
            name = name.rstrip("/")
        target = self._pipeline.route(name).steps[0].target.name
        exchange.send_json(_model(name, target, self._pipeline.tables.current.loaded_at))


def _model(name: str, first_target: str, loaded_at: float) -> JsonObject:
    owner = first_target.partition("/")[0]
    return {"id": name, "object": "model", "created": int(loaded_at), "owned_by": owner}
