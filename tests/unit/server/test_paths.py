"""Routes of paths, as spans name them."""

from __future__ import annotations

import pytest

from gateway.server.paths import PathHandlers, Paths

PATHS = Paths(
    {"/v1/chat/completions": PathHandlers("chat", {}), "/healthz": PathHandlers("probe", {})},
    {
        "/v1/models/": PathHandlers("models", {}),
        "/v1/responses/": PathHandlers(
            "stored_responses", {}, told=("GET /v1/responses/ID", "POST /v1/responses/ID/cancel")
        ),
    },
)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1//v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/models/team/x", "/v1/models/{id}"),
        ("/v1/responses/resp_1", "/v1/responses/{id}"),
        ("/v1/responses/resp_1/cancel", "/v1/responses/{id}/cancel"),
        ("/v1/responses/resp_1/anything", "/v1/responses/{id}"),
        ("/v1/nothing", None),
    ],
)
def test_what_a_client_chooses_is_a_placeholder(path: str, route: str | None) -> None:
    assert PATHS.route_of(path) == route
