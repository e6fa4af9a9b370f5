"""Streams in every form that OpenAI's SDKs read, and forms that only look like one: one table for both adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

USAGE: Final = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
DONE: Final = b"data: [DONE]\n\n"
TOOL_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_EVENT_STREAM: Final = "text/event-stream"
_JSON: Final = "application/json"
_HEAD: Final = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "m"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A response to a request for a stream with its usage."""

    name: str
    body: bytes
    whole: bool = True
    """It is an answer, "one two"; otherwise it must not look like one."""
    content_type: str = _EVENT_STREAM
    """Empty for no field at all."""
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    """Of the request, beside messages, model and `stream`."""

    @property
    def outcome(self) -> dict[str, Any]:
        """The fields of a scripted upstream's outcome."""
        return {"body": self.body, "content_type": self.content_type, "headers": self.headers}


def chunk(text: str | None = None, finish: str | None = None, *, index: int = 0, **fields: Any) -> bytes:
    """Return an event with a choice."""
    choice = {"index": index, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return event({"choices": [choice], **fields})


def event(fields: Mapping[str, Any]) -> bytes:
    """Return an event of a chat stream."""
    return b"data: " + orjson.dumps({**_HEAD, "object": "chat.completion.chunk", **fields}) + b"\n\n"


def plain(finish: str | None = "stop", **message: Any) -> bytes:
    """Return a plain answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "one two", **message}, "finish_reason": finish}
    return orjson.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE})


_TEXT: Final = chunk("one ") + chunk("two")
_STOP: Final = chunk(finish="stop")
_TOLD: Final = event({"choices": [], "usage": USAGE})
_SAID: Final = _TEXT + _STOP + _TOLD
_WHOLE: Final = _SAID + DONE
_TWO: Final = {"n": 2}


def _ends() -> list[Form]:
    ends = {
        "blank": b"data: [DONE] \n\n",
        "blanks": b"data:   [DONE]\t\n\n",
        "no-blank": b"data:[DONE]\n\n",
        "cr-lf": b"data: [DONE]\r\n\r\n",
        "comment": b"data: [DONE]\n: bye\n\n: bye\n\n",
        "named": b"event: done\nid: 7\ndata: [DONE]\n\n",
        "unended": b"data: [DONE]",
        "bare": b"[DONE]\n\n",
        "twice": DONE + DONE,
        "none": b"",
    }
    good = [Form(name=f"done-{name}", body=_SAID + end) for name, end in ends.items()]
    bad = [Form(name=f"unfinished-{name}", body=_TEXT + end, whole=False) for name, end in ends.items()]
    return good + bad


def _indexes() -> list[Form]:
    counted = b"".join(chunk(text, index=index) for index, text in enumerate(("one ", "two")))
    second = chunk("one two", index=1)
    return [
        Form(name="index-counts-up", body=counted + chunk(finish="stop", index=2) + _TOLD + DONE),
        Form(name="index-finishes-another", body=second + _STOP + _TOLD + DONE),
        Form(name="index-begins-at-one", body=second + chunk(finish="stop", index=1) + _TOLD + DONE),
        Form(name="index-unfinished", body=counted + _TOLD + DONE, whole=False),
        Form(name="index-unfinished-of-two", body=second + _STOP + _TOLD + DONE, params=_TWO, whole=False),
    ]


def _labels() -> list[Form]:
    forms = [
        Form(name="labelled-after-blanks", body=b"\n\n\n" + _WHOLE, content_type=_JSON),
        Form(name="labelled-after-a-comment", body=b": hi\n\n" + _WHOLE, content_type=_JSON),
    ]
    labels = {
        "json": _JSON, "utf-8": f"{_JSON}; charset=utf-8", "problem": "application/problem+json", "html": "text/html",
        "text": "text/plain", "not": "",
    }  # fmt: skip
    for word, label in labels.items():
        name = f"labelled-{word}"
        forms += [
            Form(name=name, body=_WHOLE, content_type=label),
            Form(name=f"cut-{name}", body=_TEXT + DONE, content_type=label, whole=False),
            Form(name=f"words-{name}", body=b"Bad gateway", content_type=label, whole=False),
        ]
    for coding in ("none", "identity", "utf-8", "chunked"):
        forms.append(Form(name=f"coding-{coding}", body=_WHOLE, headers={"content-encoding": coding}))
    return forms


def _marks() -> list[Form]:
    mark = b"\xef\xbb\xbf"
    return [
        Form(name="mark", body=mark + chunk("one two") + _STOP + _TOLD + DONE),
        Form(name="mark-cr-lf", body=mark + (chunk("one two") + _STOP + _TOLD + DONE).replace(b"\n", b"\r\n")),
        Form(name="mark-comment", body=mark + b": hi\n\n" + _WHOLE),
        Form(name="mark-named", body=mark + b"event: message\n" + _WHOLE),
        Form(name="mark-labelled-json", body=mark + _WHOLE, content_type=_JSON),
    ]


def _finishes() -> list[Form]:
    forms = []
    for reason in ("null", "", "None"):
        begun = chunk("one ", reason) + chunk("two", reason)
        name = reason.lower() or "empty"
        forms += [
            Form(name=f"finish-{name}", body=begun + _STOP + _TOLD + DONE),
            Form(name=f"finish-{name}-only", body=begun + _TOLD + DONE, whole=False),
        ]
    return [*forms, Form(name="finish-unknown", body=_TEXT + chunk(finish="banana") + _TOLD + DONE)]


def _usages() -> list[Form]:
    beside_empty = chunk("", usage=USAGE)
    counting = [{**USAGE, "completion_tokens": count, "total_tokens": 100 + count} for count in (10, 20)]
    each = chunk("one ", usage=counting[0]) + chunk("two", usage=counting[1])
    return [
        Form(name="usage-beside-an-empty-choice", body=_TEXT + _STOP + beside_empty + DONE),
        Form(name="usage-beside-the-finish", body=_TEXT + chunk(finish="stop", usage=USAGE) + DONE),
        Form(name="usage-beside-and-alone", body=_TEXT + chunk(finish="stop", usage=USAGE) + _TOLD + DONE),
        Form(name="usage-in-each", body=each + chunk(finish="stop", usage=USAGE) + DONE),
        Form(name="usage-twice", body=_SAID + _TOLD + DONE),
    ]


def _plain_answers() -> list[Form]:
    indented = orjson.dumps(orjson.loads(plain()), option=orjson.OPT_INDENT_2)
    return [
        Form(name="plain", body=plain(), content_type=_JSON),
        Form(name="plain-indented", body=indented, content_type=_JSON),
        Form(name="plain-indented-labelled-a-stream", body=indented),
        Form(name="plain-after-blanks", body=b"\n\n\n" + plain(), content_type=_JSON),
        Form(name="plain-labelled-a-stream", body=plain()),
        Form(name="plain-labelled-a-stream-done", body=plain() + b"\n\n" + DONE),
        Form(name="plain-not-labelled", body=plain(), content_type=""),
        Form(name="plain-labelled-problem", body=indented, content_type="application/problem+json"),
        Form(name="plain-labelled-text", body=indented, content_type="text/plain"),
        Form(name="plain-unfinished", body=plain(None), content_type=_JSON, whole=False),
        Form(name="plain-unfinished-labelled-a-stream", body=plain(None), whole=False),
        Form(name="plain-cut", body=plain()[:-9], content_type=_JSON, whole=False),
        Form(name="plain-cut-labelled-a-stream", body=plain()[:-9], whole=False),
        Form(name="plain-other", body=b'{"id": "x"}', whole=False),
        Form(name="plain-after-text", body=_TEXT + plain() + b"\n\n" + DONE, whole=False),
    ]


_WITH_USAGE: Final = {"stream_options": {"include_usage": True}}
FORMS: Final = tuple(
    replace(form, params={**_WITH_USAGE, **form.params})
    for form in (*_ends(), *_indexes(), *_labels(), *_marks(), *_finishes(), *_usages(), *_plain_answers())
)
