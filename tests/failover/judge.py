"""Judging: what did the caller get, what did the upstream see, and is that as it should be? Plain code on values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from tests.failover.client import Ending, Heard
from tests.failover.reading import READERS, Reader, Told, events_in, parsed
from tests.failover.scenario import (
    BOUND_S,
    CLOSE_S,
    RETRIES,
    SECRET,
    Answered,
    BrokenOff,
    Left,
    Refused,
    Scenario,
    Wire,
)
from tests.failover.upstream import UpstreamCall


class Word(StrEnum):
    """What a caller got."""

    COMPLETE = "complete"
    ERROR = "clean error"
    """A status of 400 and above with an error body."""
    BROKEN = "clean error in the stream"
    """After a good status: the caller can tell that the answer is not whole."""
    TRUNCATED = "truncated passed off as success"
    NO_ANSWER = "no answer passed off as success"
    UNCLEAN = "unclean error"
    """No response, an error that is none in OpenAI's shape, or a body that cannot be read."""
    HANG = "hang"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """One response, read as a client would."""

    word: Word
    text: str = ""
    """What the assistant said in its first choice, tool calls included, as far as it came."""
    choices: int = 0
    """How many choices have their finish reason."""
    status: int | None = None
    error: Any = None
    """The error object, of the body or of an event."""
    why: str = ""
    """What is wrong with it."""
    usage_last: bool = False
    first_content_s: float | None = None
    ending: Ending = Ending.WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a scenario went."""

    score: Literal["pass", "ok", "fail"]
    caller: str
    calls: tuple[int, ...]
    """How often each target was called."""
    told: tuple[str, ...] = ()
    """What is wrong with what the caller got."""
    conduct: tuple[str, ...] = ()
    """What is wrong with what the upstream saw."""


def read(heard: Heard, mode: Literal["plain", "stream"], wire: Wire = "chat") -> Got:
    """Return what a client of this wire makes of a response."""
    common: dict[str, Any] = {"status": heard.status, "ending": heard.ending}
    reader = READERS[wire]
    if heard.ending in (Ending.HANG, Ending.LEFT):
        if heard.ending is Ending.LEFT:
            return Got(word=Word.LEFT, **common)
        return Got(word=Word.HANG, why=f"nothing whole within {BOUND_S:g} s", **common)
    if heard.status is None:
        return Got(word=Word.UNCLEAN, why="the connection closed without a response", **common)
    if heard.status >= 300:
        error = reader.error(parsed(heard.body))
        if heard.status >= 400 and heard.ending is Ending.WHOLE and error is not None:
            return Got(word=Word.ERROR, error=error, **common)
        return Got(word=Word.UNCLEAN, why=f"status {heard.status} without a whole error body", **common)
    if mode == "stream" and "event-stream" in heard.headers.get("content-type", ""):
        return _read_stream(heard, reader, common)
    return _read_plain(heard, reader, common)


def _read_plain(heard: Heard, reader: Reader, common: dict[str, Any]) -> Got:
    is_json = "json" in heard.headers.get("content-type", "")
    if reader.is_bytes and not is_json:
        word = Word.BROKEN if heard.ending is not Ending.WHOLE else Word.COMPLETE if heard.body else Word.NO_ANSWER
        return Got(word=word, text=heard.body.decode(errors="replace"), choices=1, **common)
    if heard.ending is not Ending.WHOLE:
        return Got(word=Word.UNCLEAN, why="the body breaks off", **common)
    body = parsed(heard.body)
    error = reader.error(body)
    if error is not None:
        return Got(word=Word.UNCLEAN, why="an error with a good status", error=error, **common)
    told = reader.plain(body)
    if not told.finished:
        return Got(word=Word.NO_ANSWER, why="a good status without an answer", **common)
    return Got(word=Word.COMPLETE, text=told.said, choices=len(told.finished), **common)


def _read_stream(heard: Heard, reader: Reader, common: dict[str, Any]) -> Got:
    told, first_s = Told(), None
    for name, data, end in events_in(heard.body):
        reader.see(told, name, data)
        if told.fault:
            return Got(word=Word.UNCLEAN, text=told.said, why=told.fault, **common)
        if first_s is None and told.said:
            first_s = next(when for when, size in heard.arrivals if size >= end)
    common |= {"text": told.said, "first_content_s": first_s, "choices": len(told.finished)}
    if told.error is not None:
        why = "an end as of a whole stream beside an error event" if told.is_ended else told.doubt
        return Got(word=Word.BROKEN, error=told.error, why=why, **common)
    if not told.finished:
        if heard.ending is Ending.WHOLE or told.is_ended:
            word = Word.TRUNCATED if told.said else Word.NO_ANSWER
            return Got(word=word, why="a clean end of an unfinished answer", **common)
        return Got(word=Word.BROKEN, why="cut without an error event", **common)
    if heard.ending is not Ending.WHOLE:
        return Got(word=Word.BROKEN, why="the response breaks off at its end", **common)
    if not told.is_ended or told.doubt:
        return Got(word=Word.UNCLEAN, why=told.doubt or "the event that ends a stream is missing", **common)
    return Got(word=Word.COMPLETE, usage_last=told.usage_last, **common)


def judge(scenario: Scenario, heard: Sequence[Heard], calls: Sequence[UpstreamCall], *, ours: bool) -> Verdict:
    """Score a scenario. `ours` asks for what only this gateway promises: exact counts, statuses, limits and headers.

    Others pass with any whole answer, and with any error of the right sort where no answer is to be had.
    """
    wire = scenario.route.client
    gots = [_unmasked(scenario, read(each, scenario.mode, wire)) for each in heard]
    told = [
        reason
        for number, (each, got) in enumerate(zip(heard, gots, strict=True))
        for reason in _caller_faults(scenario, number, each, got, ours=ours)
    ]
    counts = tuple(sum(call.model == model for call in calls) for model in scenario.models)
    conduct = [*_count_faults(scenario, counts, ours=ours), *_conduct_faults(scenario, heard, calls)]
    if ours and not told:
        conduct += _header_faults(scenario, heard, counts)
    worst = next((got for got in gots if got.word is not Word.COMPLETE), gots[-1])
    broken = isinstance(scenario.expect, BrokenOff) and worst.word is not Word.COMPLETE
    return Verdict(
        score="fail" if told or conduct else "ok" if broken else "pass",
        caller=f"{worst.word} {worst.status}" if worst.word is Word.ERROR else str(worst.word),
        calls=counts,
        told=tuple(dict.fromkeys(told)),
        conduct=tuple(conduct),
    )


def _unmasked(scenario: Scenario, got: Got) -> Got:
    """Return what looked complete as what it is: the upstream knows what a whole answer would have been."""
    if got.word is not Word.COMPLETE:
        return got
    wanted = scenario.params.get("n", 1)
    if got.choices < wanted:
        return replace(got, word=Word.TRUNCATED, why=f"{got.choices} of {wanted} choices are finished")
    if _answered_by(scenario, got) is not None:
        return got
    if not got.text:
        return replace(got, word=Word.NO_ANSWER, why="an empty answer that no target gave")
    first = _first_text(scenario)
    others = [text for texts in _whole_texts(scenario)[1:] for text in texts if got.text.endswith(text)]
    if got.text == first:
        why = "the target never said that it had finished"
    elif any(first.startswith(got.text.removesuffix(text)) for text in others):
        why = "a part of one answer, then another one"
    else:
        why = f"{len(got.text)} of {len(first)} characters"
    return replace(got, word=Word.TRUNCATED, why=why)


def _whole_texts(scenario: Scenario) -> list[set[str]]:
    """Return by target what it says when it answers at all."""
    return [
        {fault.says(model) for fault in script or () if fault.is_whole}
        for model, script in zip(scenario.models, scenario.scripts, strict=True)
    ]


def _first_text(scenario: Scenario) -> str:
    script = scenario.scripts[0]
    return script[-1].says(scenario.models[0]) if script else ""


def _answered_by(scenario: Scenario, got: Got) -> int | None:
    """Return which target's whole answer this is, from 1."""
    return next((place for place, texts in enumerate(_whole_texts(scenario), 1) if got.text in texts), None)


def _caller_faults(scenario: Scenario, number: int, heard: Heard, got: Got, *, ours: bool) -> Iterator[str]:
    """Yield what is wrong with one response."""
    expect = scenario.expect
    if SECRET.encode() in heard.body:
        yield "the upstream's key is shown to the caller"
    if isinstance(expect, Left):
        return
    if got.word is Word.COMPLETE and (isinstance(expect, Answered | BrokenOff) or not ours):
        yield from _answer_faults(scenario, number, got, ours=ours)
    elif isinstance(expect, BrokenOff) and got.word in (Word.BROKEN, Word.ERROR):
        yield from _broken_faults(scenario, heard, got, ours=ours)
    elif isinstance(expect, Refused) and got.word is Word.ERROR:
        yield from _refusal_faults(scenario, expect, heard, got, ours=ours)
    elif got.word is Word.BROKEN and got.error is not None:
        yield "an error inside a 200, where another target or a status was possible"
    else:
        yield f"{got.word}: {got.why}" if got.why else str(got.word)
    if ours and scenario.within_s is not None and heard.elapsed_s > scenario.within_s:
        yield f"it took {heard.elapsed_s:.1f} s, more than {scenario.within_s:g} s"


def _answer_faults(scenario: Scenario, number: int, got: Got, *, ours: bool) -> Iterator[str]:
    by = _answered_by(scenario, got)
    if ours and isinstance(scenario.expect, Answered) and by != scenario.expect.by[number]:
        yield f"target {by} answered, not {scenario.expect.by[number]}"
    if scenario.usage_last and not got.usage_last:
        yield "the stream does not end with the usage"
    limit_s = scenario.first_content_s
    if limit_s is not None and (got.first_content_s is None or got.first_content_s > limit_s):
        yield f"the first content came after {got.first_content_s or 0:.1f} s, not as it was sent"


def _broken_faults(scenario: Scenario, heard: Heard, got: Got, *, ours: bool) -> Iterator[str]:
    if got.why and (ours or got.error is not None):
        yield got.why
    if ours and (got.word is Word.ERROR or heard.ending is Ending.WHOLE):
        yield "the response ends as if it were whole"
    if not _first_text(scenario).startswith(got.text):
        yield "the text is not what the target sent"


def _refusal_faults(scenario: Scenario, expect: Refused, heard: Heard, got: Got, *, ours: bool) -> Iterator[str]:
    status = got.status or 0
    fits = status // 100 == expect.status // 100 or expect.status == 429 or status == 408
    if status != expect.status if ours else not fits:
        yield f"status {status}, not {expect.status}"
    fault = READERS[scenario.route.client].code_fault(got.error, status, expect.code) if ours else None
    if fault is not None:
        yield fault
    retry_after = heard.headers.get("retry-after")
    if ours and expect.retry_after is not None and retry_after != expect.retry_after:
        yield f"Retry-After is {retry_after}, not {expect.retry_after}"


def _count_faults(scenario: Scenario, counts: tuple[int, ...], *, ours: bool) -> Iterator[str]:
    for position, (count, wanted) in enumerate(zip(counts, scenario.calls, strict=True), 1):
        least, most = (wanted, wanted) if isinstance(wanted, int) else (wanted.start, wanted.stop - 1)
        if not ours and not isinstance(scenario.expect, Left):
            least, most = 0, max(most, len(scenario.pauses_s) * (1 + RETRIES) if scenario.again_helps else 1)
        if not least <= count <= most:
            times = "once" if count == 1 else f"{count} times"
            yield f"target {position} was called {times}, not {most}"


def _conduct_faults(scenario: Scenario, heard: Sequence[Heard], calls: Sequence[UpstreamCall]) -> Iterator[str]:
    """Yield what is wrong with when calls began and ended."""
    first = [call.began_s for call in calls if call.model == scenario.models[0]]
    if scenario.gap_s is not None and len(first) > 1:
        gap_s = first[1] - first[0]
        if not scenario.gap_s[0] <= gap_s <= scenario.gap_s[1]:
            yield f"retried after {gap_s:.2f} s, not between {scenario.gap_s[0]} and {scenario.gap_s[1]} s"
    for number, each in enumerate(heard):
        until_s = heard[number + 1].began_s if number + 1 < len(heard) else float("inf")
        own = [call for call in calls if each.began_s <= call.began_s < until_s]
        nexts = [*(later.began_s for later in own[1:]), each.ended_s]
        for call, next_s in zip(own, nexts, strict=False):
            if call.ended_s is None or call.ended_s > next_s + CLOSE_S:
                position = scenario.models.index(call.model) + 1
                yield f"the call of target {position} ran on after nobody waited for it"
    if isinstance(scenario.expect, Left) and any(call.began_s > heard[-1].ended_s for call in calls[1:]):
        yield "a further attempt after the client had left"


def _header_faults(scenario: Scenario, heard: Sequence[Heard], counts: tuple[int, ...]) -> Iterator[str]:
    """Yield where our own headers and attempt lists do not tell what the upstream saw."""
    if isinstance(scenario.expect, Answered):
        for each, position in zip(heard, scenario.expect.by, strict=True):
            target = each.headers.get("x-gateway-target", "")
            if target.partition("/")[2] != scenario.models[position - 1]:
                yield f"x-gateway-target is {target!r}"
    if len(heard) > 1 or None in scenario.scripts or isinstance(scenario.expect, Left):
        return
    if len(scenario.scripts) > 1 and sum(counts) > 1 and any(fault.unread for fault in scenario.scripts[0] or ()):
        return  # the next target may first be tried over the connection that the upstream was about to close
    attempts = heard[0].headers.get("x-gateway-attempts")
    if attempts != str(sum(counts)):
        yield f"x-gateway-attempts is {attempts}, the upstream saw {sum(counts)}"
    error = read(heard[0], scenario.mode, scenario.route.client).error
    listed = error.get("attempts") if isinstance(error, dict) else None
    if listed is not None and len(listed) != sum(counts):
        yield f"the error lists {len(listed)} attempts, the upstream saw {sum(counts)}"
