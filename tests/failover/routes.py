"""The scenarios of all routes: those of chat in the words of other wires, and those of the upstream's wire alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from tests.failover import scenarios as chat
from tests.failover.client import Leave
from tests.failover.faults import FAILED, ErrorForm, Fault
from tests.failover.scenario import CHAT, SECRET, BrokenOff, Left, Refused, Route, Scenario
from tests.failover.scenarios import FIRST, SCENARIOS, SECOND, both, late, plain, stream
from tests.wires import gemini
from tests.wires.messages import ERROR_TYPES
from tests.wires.play import Play

_OPENAI: Final = "kind: openai"
_ONLY_CHAT: Final = "kind: openai, wires: [chat]"
_ANTHROPIC: Final = "kind: anthropic"
_GEMINI: Final = "kind: gemini"

ROUTES: Final[tuple[Route, ...]] = (
    CHAT,
    Route(name="responses", client="responses", upstream="responses", provider=_OPENAI),
    Route(name="messages", client="messages", upstream="messages", provider=_ANTHROPIC),
    Route(name="responses-to-chat", client="responses", upstream="chat", provider=_ONLY_CHAT),
    Route(name="messages-to-chat", client="messages", upstream="chat", provider=_ONLY_CHAT),
    Route(name="chat-to-messages", client="chat", upstream="messages", provider=_ANTHROPIC),
    Route(name="responses-to-messages", client="responses", upstream="messages", provider=_ANTHROPIC),
    Route(name="chat-to-gemini", client="chat", upstream="gemini", provider=_GEMINI),
    Route(name="messages-to-gemini", client="messages", upstream="gemini", provider=_GEMINI),
    Route(name="speech", client="speech", upstream="speech", provider=_OPENAI),
    Route(name="transcriptions", client="transcriptions", upstream="transcriptions", provider=_OPENAI),
)

_OF_CHAT: Final = {
    "no-choices", "finish-error", "usage-beside", "named-error-event-40", "no-done", "torn-end", "no-finish-no-done",
    *chat.READ, *chat.REFUSED, *chat.BROKEN,
}  # fmt: skip
"""Scenarios, without their mode, of what only an upstream that speaks chat can do."""
_OPENAI_WORDS: Final = {"tool-use-failed", "model-retired-400"}
"""Scenarios of errors that Anthropic does not have."""
_MEDIA: Final = {"speech", "transcriptions"}
_NOT_MEDIA: Final = _OF_CHAT | {"tool-use-failed", "tool-call", "no-text", "usage"}
"""Scenarios of chat that have no meaning where sound becomes text, or text sound."""
_FAILED: Final = {"message": "overloaded", "type": "server_error", "code": "server_error"}

_ANTHROPIC_WORDS: Final[Mapping[str, tuple[int, str]]] = {
    chat.CONTEXT: (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    chat.TOO_LARGE: (413, "Request exceeds the maximum size"),
    chat.FILTERED: (400, "Output blocked by content filtering policy"),
    chat.QUOTA: (402, "Your organization has no credit left"),
    chat.BAD_KEY: (401, f"invalid x-api-key {SECRET}"),
    chat.NO_MODEL: (404, "model: claude-none"),
    chat.ACCOUNT: (400, "Your credit balance is too low to access the Anthropic API."),
    chat.HOT: (400, "temperature: range: 0..1"),
    chat.ENGINE: (200, "Internal server error"),
}
"""An error's body on OpenAI's wire → status and message that Anthropic has for it."""
_GEMINI_WORDS: Final[Mapping[str, tuple[int, str]]] = {
    chat.CONTEXT: (400, "The input token count (210000) exceeds the maximum number of tokens allowed (200000)."),
    chat.TOO_LARGE: (413, "Request payload size exceeds the limit: 20971520 bytes."),
    chat.QUOTA: (429, "Your prepayment credits are depleted. Please go to AI Studio to manage your project."),
    chat.BAD_KEY: (400, f"API key not valid. Please pass a valid API key. {SECRET}"),
    chat.NO_MODEL: (404, "models/gemini-none is not found for API version v1beta"),
    chat.ACCOUNT: (429, "Your prepayment credits are depleted. Please go to AI Studio to manage your project."),
    chat.HOT: (400, "Invalid value at 'generation_config.temperature'"),
    chat.ENGINE: (200, "Internal error encountered."),
}
"""The same for what Gemini has."""
_NOT_GEMINI: Final = {
    # No error has a code for it; a blocked prompt has a scenario of its own.
    "content-filter",
    # Calls come whole, and no event is the last one.
    "cut-in-arguments", "torn-after-the-end",
    # Found by the model in the body.
    "early-413",
}  # fmt: skip
"""Scenarios that have no meaning where the upstream is Gemini."""

_ON_MESSAGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "content-filter": {"expect": Refused(400, code="content_policy_violation")},
    "bad-request": {"expect": Refused(400)},
    # `request_too_large` says that the prompt is too long for this target.
    "early-413": {"expect": SECOND, "calls": (1, 1)},
}
_ON: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "messages": _ON_MESSAGES,
    "gemini": {"bad-request": {"expect": Refused(400, code="INVALID_ARGUMENT")}},
}
"""Wire of the upstream → scenario without its mode → fields that are others there."""

Scenarios = Iterator[Scenario]


def scenarios_on(route: Route) -> tuple[Scenario, ...]:
    """Return the scenarios of a route."""
    if route is CHAT:
        return SCENARIOS
    found = [_on(route, scenario) for scenario in SCENARIOS if _fits(route, scenario)]
    return (*found, *(replace(scenario, route=route) for scenario in _own(route)))


def all_scenarios() -> tuple[Scenario, ...]:
    """Return the scenarios of all routes."""
    return tuple(scenario for route in ROUTES for scenario in scenarios_on(route))


def _fits(route: Route, scenario: Scenario) -> bool:
    """Tell whether a scenario of chat has a meaning on a route. Only chat has several choices."""
    if "n" in scenario.params:
        return False
    if route.upstream == "chat":
        return True
    if route.upstream in _MEDIA:
        return scenario.fault not in _NOT_MEDIA
    if scenario.fault in _NOT_GEMINI and route.upstream == "gemini":
        return False
    return scenario.fault not in (_OF_CHAT if route.upstream == "responses" else _OF_CHAT | _OPENAI_WORDS)


def _on(route: Route, scenario: Scenario) -> Scenario:
    """Return a scenario of chat on a route."""
    fields = _ON.get(route.upstream, {}).get(scenario.fault, {})
    if route.client == "speech" and isinstance(scenario.expect, Left) and scenario.expect.leave.at is not None:
        fields = {"expect": Left(Leave(at=base64.b64encode(scenario.expect.leave.at)))}
    params = scenario.params if route.client == "chat" else {}
    scripts = tuple(script and tuple(_said(route, fault) for fault in script) for script in scenario.scripts)
    return replace(scenario, route=route, params=params, scripts=scripts, **fields)


def _said(route: Route, fault: Fault) -> Fault:
    """Return a fault of chat in the words of the upstream's wire."""
    if route.upstream != "chat" and fault.error_event_bare:
        fault = replace(fault, error_form="bare")
    if route.upstream == "responses" and fault.error:
        return replace(fault, error=_FAILED)
    if route.upstream not in ("messages", "gemini"):
        return fault
    if "x-ratelimit-remaining-requests" in fault.headers and route.upstream == "messages":
        return replace(fault, headers={}, limit_resets_s=1.5)
    known = _GEMINI_WORDS if route.upstream == "gemini" else _ANTHROPIC_WORDS
    words = known.get(fault.body) if isinstance(fault.body, str) else None
    if words is None:
        return fault
    status, message = words
    if route.upstream == "gemini":
        return replace(
            fault, status=status, body=json.dumps(gemini.error_body(Play(error={"message": message}), status))
        )
    error = {"type": ERROR_TYPES.get(status, "api_error"), "message": message}
    return replace(fault, status=status, body=json.dumps({"type": "error", "error": error}))


def _own(route: Route) -> Scenarios:
    if route.upstream == "responses":
        yield from _typed_events()
        yield from _responses()
    elif route.upstream == "messages":
        yield from _typed_events()
        yield from _messages()
    elif route.upstream == "gemini":
        yield from (each for each in _typed_events() if each.fault not in _NOT_GEMINI)
        yield from _gemini()
    elif route.upstream in _MEDIA:
        left_out = {"plain-unfinished", "cut-in-arguments", "plain-labelled-a-stream"}
        yield from (each for each in _typed_events() if each.fault not in left_out)
        if route.upstream == "speech":
            yield from _bytes()


def _long(**fields: Any) -> Fault:
    return Fault(chunks=chat.LONG, **fields)


def _error_after(chunks: int, form: ErrorForm, error: Mapping[str, Any]) -> Fault:
    return _long(error_event_after=chunks, error_form=form, error=error)


def _typed_events() -> Scenarios:
    """Yield the forms of streams that `tests.stream_forms` has for chat."""
    first: dict[str, Any] = {"expect": FIRST, "calls": (1, 0)}
    json_type = "application/json"
    yield from stream("labelled-json", _long(content_type=json_type), **first)
    yield from stream("labelled-not", _long(content_type=""), **first)
    yield from stream("coding-none", _long(headers={"content-encoding": "none"}), **first)
    yield from stream("mark", _long(mark=True), **first)
    yield from stream("plain", _long(plain=True), **first)
    yield from stream("plain-labelled-a-stream", _long(plain=True, content_type="text/event-stream"), **first)
    yield from stream("torn-after-the-end", _long(torn=True), **first)
    yield from stream("words-labelled-html", Fault(body=b"Bad gateway", content_type="text/html"))
    yield from stream("plain-unfinished", _long(plain=True, no_finish=True))
    yield from stream("plain-cut", _long(plain=True, short_body=True))
    yield from stream("plain-other", Fault(body=b'{"id": "x"}', is_broken=True))
    yield from late("cut-labelled-json", _long(content_type=json_type, no_finish=True))
    yield from late("cut-in-arguments", Fault(tool_calls=[chat.TOOL], cut_after=2), tools=True)


def _responses() -> Scenarios:
    yield from plain("hollow", Fault(body={"id": "resp_1", "object": "response", "status": "completed"}))
    yield from both("incomplete", Fault(stop="incomplete"), expect=FIRST, calls=(1, 0))
    yield from plain("failed", Fault(stop=FAILED, error=_FAILED), calls=(3, 1))
    yield from stream("failed-first", Fault(chunks=0, stop=FAILED, error=_FAILED), calls=(3, 1))
    yield from stream("plain-failed", Fault(plain=True, stop=FAILED, error=_FAILED), calls=(3, 1))
    yield from stream("failed-error-first", _error_after(0, "failed", _FAILED), calls=(3, 1))
    yield from late("failed-at-its-end", _long(stop=FAILED, error=_FAILED), held_calls=(3, 1))
    forms: tuple[ErrorForm, ...] = ("failed", "nested", "unnamed")
    for form in forms:
        yield from late(f"{form}-error-40", _error_after(40, form, _FAILED), held_calls=(3, 1))


def _bytes() -> Scenarios:
    """Yield faults of a sound after its first 16 KiB, once as it comes and once with all of it held back."""
    sound = "x" * 100_000
    faults = {
        "cut": Fault(reply=sound, cut_after=60_000),
        "reset": Fault(reply=sound, cut_after=60_000, reset=True),
        "stall": Fault(reply=sound, stall_after=60_000),
        "short": Fault(reply=sound, short_body=True, is_broken=True),
    }
    for name, fault in faults.items():
        (scenario,) = plain(f"late-{name}", fault, expect=BrokenOff(), calls=(1, 0))
        yield scenario
        yield replace(scenario, name=f"held-late-{name}", hold=True, ours_only=True, expect=SECOND, calls=(1, 1))


def _gemini() -> Scenarios:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}}
    refused = Refused(400, code="content_filter")
    yield from plain("blocked", Fault(body=blocked), expect=refused, calls=(1, 0))
    yield from stream("blocked", Fault(body=f"data: {json.dumps(blocked)}\r\n\r\n", content_type="text/event-stream"),
                      expect=refused, calls=(1, 0))  # fmt: skip
    yield from plain("hollow", Fault(body={"usageMetadata": {}, "modelVersion": "m"}))
    yield from both("max-tokens", Fault(stop="MAX_TOKENS"), expect=FIRST, calls=(1, 0))
    yield from both("filtered", Fault(stop="SAFETY"), expect=FIRST, calls=(1, 0))
    yield from both("malformed-call", Fault(stop="MALFORMED_FUNCTION_CALL", chunks=0))
    yield from plain("unfinished", Fault(no_finish=True))
    yield from late("error-40", _long(error_event_after=40, error=chat.OVERLOADED), held_calls=(3, 1))


def _messages() -> Scenarios:
    hollow = {"id": "msg_1", "type": "message", "role": "assistant", "stop_reason": "end_turn"}
    yield from plain("hollow", Fault(body=hollow))
    yield from both("max-tokens", Fault(stop="max_tokens"), expect=FIRST, calls=(1, 0))
    yield from plain("unfinished", Fault(no_finish=True))
    yield from stream("only-pings", _long(pings_after=0))
    yield from stream("pings-40", _long(pings_after=40), expect=FIRST, calls=(1, 0))
    yield from late("no-done", _long(no_done=True, is_broken=True))
    yield from late("torn-end", _long(no_done=True, is_broken=True, torn=True))
    yield from late("no-finish-no-done", _long(no_finish=True, no_done=True))
    forms: tuple[ErrorForm, ...] = ("nested", "unnamed")
    for form in forms:
        yield from late(f"{form}-error-40", _error_after(40, form, chat.OVERLOADED), held_calls=(3, 1))
