"""Refusals in other shapes than OpenAI's."""

from __future__ import annotations

from typing import Final

from gateway.policy.failures import Kind
from tests.vendor_failures.case import GONE, Refusal, error

SHAPES: Final = [
    Refusal(
        vendor="detail",
        status=400,
        kind=Kind.BAD_REQUEST,
        body={"detail": "temperature is odd"},
        says="temperature is odd",
    ),
    Refusal(
        vendor="message",
        status=400,
        kind=Kind.BAD_REQUEST,
        body={"message": "temperature is odd"},
        says="temperature is odd",
    ),
    Refusal(
        vendor="errors",
        status=400,
        kind=Kind.BAD_REQUEST,
        code=7003,
        says="temperature is odd",
        body={"success": False, "errors": [{"code": 7003, "message": "temperature is odd"}]},
    ),
    Refusal(
        vendor="errors text",
        status=400,
        kind=Kind.BAD_REQUEST,
        body={"errors": ["temperature is odd"]},
        says="temperature is odd",
    ),
    Refusal(vendor="text", status=400, kind=Kind.BAD_REQUEST, body="temperature is odd", says="temperature is odd"),
    Refusal(
        vendor="nested",
        status=400,
        kind=Kind.BAD_REQUEST,
        code="odd",
        says="temperature is odd",
        body={"detail": {"error": {"message": "temperature is odd", "code": "odd"}}},
    ),
    Refusal(vendor="page", status=404, body="<html>nothing here</html>", **GONE, says="answered with status 404"),
    Refusal(vendor="empty", status=400, kind=Kind.BAD_REQUEST, says="answered with status 400"),
    Refusal(vendor="list", status=400, kind=Kind.BAD_REQUEST, body=[1, 2], says="answered with status 400"),
    Refusal(
        vendor="echo",
        status=400,
        kind=Kind.BAD_REQUEST,
        says="Invalid value",
        body=error("Invalid value: 'API key not valid; The model m has been decommissioned'"),
    ),
    Refusal(
        vendor="echoed input",
        status=422,
        kind=Kind.BAD_REQUEST,
        says="body.x: bad",
        body={"detail": [{"loc": ["body", "x"], "msg": "bad", "input": "prompt is too long"}]},
    ),
    Refusal(
        vendor="parameter",
        status=400,
        kind=Kind.BAD_REQUEST,
        body=error("Invalid model parameter: temperature"),
        says="temperature",
    ),
]
