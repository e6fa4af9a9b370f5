"""Fills the page in. All that comes from the file, from clients and from upstreams passes through `text` once."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.policy.failures import Kind
from gateway.reports.limit_words import has_caches, kept_text, redis_text
from gateway.server.endpoints.page.limits import limits_section
from gateway.server.endpoints.page.requests import request_row
from gateway.server.endpoints.page.texts import NOTHING, bar, joined, milliseconds, moment, row, share, table, text
from gateway.wire.json import JsonObject
from gateway.words import count

HTML_TYPE: Final = "text/html; charset=utf-8"

_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
_BLOCK: Final = {name: re.compile(rf"<{name}>(.*?)</{name}>", re.DOTALL) for name in ("style", "script")}
_STATES: Final = {
    "ok": ("good", "✓ ok"),
    "cooldown": ("bad", "✕ at rest"),
    "probing": ("warn", "? to be probed"),
    "no_key": ("bad", "✕ no key"),
}
_STEP_STATES: Final = {
    "cooldown": ("bad", "at rest"),
    "probing": ("warn", "to be probed"),
    "limited": ("warn", "no room in its limits"),
    "condition": ("dim", "by condition only"),
    "unsupported": ("dim", "does not take this"),
}
_MOST_KEYS: Final = 4
"""Keys at rest of one target that are told one by one."""
_OPEN_LINES: Final = 4
"""Lines of what a reload changed that are shown without a click."""
_RESULTS: Final = {"loaded": ("good", "✓ loaded"), "refused": ("bad", "✕ refused"), "restored": ("good", "✓ restored")}


@lru_cache(maxsize=1)
def _template() -> str:
    html = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return html.replace("{{kinds}}", " ".join(kind.value for kind in Kind))


@lru_cache(maxsize=1)
def headers() -> Mapping[str, str]:
    """Return the page's header fields. The policy lets run what the file has, and nothing that a text smuggled in."""
    hashes = {name: _hash(block) for name, block in _BLOCK.items()}
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "cache-control": "no-cache, private",
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


def _hash(block: re.Pattern[str]) -> str:
    found = block.search(_template())
    assert found is not None, "the page has one of each"
    return f"'sha256-{base64.b64encode(sha256(found[1].encode()).digest()).decode()}'"


def render(state: JsonObject, requests: Sequence[JsonObject]) -> bytes:
    """Return the page for what `/-/state` and `/-/requests` tell. May be called from any thread."""
    config = state["config"]
    bad = config["refused"] is not None
    title = f"{'refused edit' if bad else state['state']} · generation {config['generation']} · gateway"
    parts = {
        "title": text(title),
        "truth": _truth(state),
        "refused": _refused(config),
        "targets": _targets(state),
        "aliases": _aliases(state),
        "limits": limits_section(state),
        "requests": _requests(requests),
        "reloads": _reloads(state["reloads"]),
    }
    # In one pass: a name in the file may look like a place of the template.
    filled = _PLACE.sub(lambda found: parts.get(found[1], found[0]), _template())
    return filled.encode("utf-8", "replace")


def _truth(state: JsonObject) -> str:
    config, last = state["config"], text(state["last_request"])
    tones = {"ready": ("good", "✓ ready"), "loading": ("warn", "… loading"), "draining": ("warn", "… draining")}
    tone, word = tones[state["state"]]
    if config["refused"] is not None:
        sync = '<span class="bad">✕ the last edit was refused</span>'
    elif config["in_sync"]:
        sync = '<span class="good">✓ the file is what runs</span>'
    else:
        sync = '<span class="warn">… the file was not read yet</span>'
    waiting = f" ({text(', '.join(state['waiting_for']))})" if state["waiting_for"] else ""
    kept = config["last_good_of"]
    facts = [
        f'<span class="{tone}">{word}</span>{waiting}',
        f"generation <b>{text(config['generation'])}</b>, loaded {moment(config['loaded_at'])}",
        _workers(state["workers"]),
        sync,
        f"the last good version of {moment(kept, 'clock')} is served" if kept else "",
        text(count(config["aliases"], "alias")),
        f"<b>{text(state['in_flight'])}</b> in flight",
        f'<span class="bad">✕ {text(redis)}</span>' if (redis := redis_text(state["redis"])) else "",
        f'<span class="dim" data-last="{last}">{text(config["source"] or "")}</span>',
    ]
    return f"<h1>gateway</h1><p>{joined(f'<span>{fact}</span>' for fact in facts if fact)}</p>"


def _workers(workers: Sequence[JsonObject] | None) -> str:
    if workers is None:
        return ""
    silent = [str(one["worker"]) for one in workers if not one["answers"]]
    if not silent:
        return text(count(len(workers), "worker"))
    return f'<span class="warn">✕ worker {text(", ".join(silent))} does not answer: without it</span>'


def _refused(config: JsonObject) -> str:
    refused = config["refused"]
    if refused is None:
        return ""
    served = f"Generation {text(config['generation'])} of {moment(config['loaded_at'], 'clock')} is served instead."
    return (
        f'<div id="refused"><b class="bad">✕ The edit of {moment(refused["at"], "clock")} was refused.</b> {served}'
        f"<pre>{text(refused['text'])}</pre></div>"
    )


def _targets(state: JsonObject) -> str:
    heads = (
        "st:Target",
        "s:State",
        "n:In flight",
        "n:Calls/min",
        "n:Success",
        "n:First content p50",
        "n:p95",
        "b:Last failure",
        "Used by",
    )
    rows = [row(heads, _target(one)) for one in state["targets"]]
    counted = f"Counted since {moment(state['counted_since'], 'clock')}. The last minute begins with a slot of 10 s."
    since = f'<p class="dim">{counted}</p>'
    return table(heads, rows, empty="The file names no target.") + _more(state["targets_not_listed"], "target") + since


def _target(one: JsonObject) -> Iterable[str]:
    tone, word = _STATES[one["state"]]
    minute, failure = one["last_minute"], one["last_failure"]
    rest = _until(one)
    keys = [key for key in one.get("keys", ()) if key["state"] != "ok"]
    of_keys = f'<br><span class="warn">{len(keys)} of {len(one["keys"])} keys at rest</span>' if keys else ""
    of_keys += joined(f"<br>key {text(key['key'])}{_until(key)}" for key in keys[:_MOST_KEYS])
    yield f"<b>{text(one['target'])}</b>"
    yield f'<span><span class="{tone}">{word}</span>{rest}{of_keys}</span>'
    yield text(one["in_flight"])
    yield text(minute["calls"])
    yield share(minute["success_share"])
    for name in ("p50", "p95"):
        yield milliseconds(minute["first_content_ms"][name])
    status = f" {failure['status']}" if failure and failure["status"] else ""
    yield NOTHING if failure is None else f"<span>{text(failure['kind'] + status)} {moment(failure['at'])}</span>"
    more = one["aliases_not_listed"]
    yield text(", ".join(one["aliases"]) + (f" and {more} more" if more else "")) or '<span class="dim">no alias</span>'


def _until(one: JsonObject) -> str:
    return f" {moment(one['rest_ends_at'], 'left')}" if one["rest_ends_at"] else ""


def _aliases(state: JsonObject) -> str:
    heads: tuple[str, ...] = ("st:Alias", "w:Chain", "Takes now", "n:Fell over, 15 min")
    with_hits = has_caches(state)
    if with_hits:
        heads = (*heads, "n:Kept answers, 15 min")
    rows = [row(heads, (*_alias(one), *((_hits(one),) if with_hits else ()))) for one in state["aliases"]]
    kept = f'<p class="dim">{text(kept_text(state["cache"]))}</p>' if with_hits else ""
    return table(heads, rows, empty="The file has no alias.") + _more(state["aliases_not_listed"], "alias") + kept


def _hits(one: JsonObject) -> str:
    """Return the cell of an alias' hits: `75% of 40`."""
    cache = one.get("cache")
    if cache is None or cache["hit_share"] is None:
        return NOTHING
    part = cache["hit_share"]
    return f"<span>{share(part)} of {text(cache['hits'] + cache['misses'])}</span>{bar(part, 'ok')}"


def _alias(one: JsonObject) -> Iterable[str]:
    name, quarter = one["alias"], one["last_quarter"]
    about = f'<br><span class="dim">{text(one["description"])}</span>' if one["description"] else ""
    quoted = text(quote(name, safe=""))
    link = f'<a id="alias-{quoted}" data-alias="{text(name)}" href="explain?model={quoted}">'
    yield f"<span>{link}{text(name)}</a>{about}</span>"
    steps, shares = [], one.get("shares", {})
    if len(shares) < 2:
        shares = {}
    for step in one["chain"]:
        tone, word = _STEP_STATES.get(step["state"], ("", ""))
        note = f' <span class="{tone}">({word})</span>' if word else ""
        part = shares.get(step["target"])
        of_pool = "" if part is None else ' class="pool"'
        steps.append(f"<li{of_pool}>{text(step['target'])}{f' {share(part)}' if part is not None else ''}{note}</li>")
    more = f"<li>{text(one['more'])} more</li>" if one["more"] else ""
    yield f'<ol class="chain order">{joined(steps)}{more}</ol>'
    now = f"<b>{text(one['now'])}</b>" if one["now"] else '<span class="bad">✕ nothing</span>'
    operation = "" if one["operation"] == "chat" else f' <span class="dim">for {text(one["operation"])}</span>'
    resort = ' <span class="warn">although it rests</span>' if one["last_resort"] else ""
    yield f"<span>{now}{resort}{operation}</span>"
    asked, fell = quarter["requests"], quarter["fell_over"]
    yield NOTHING if not asked else f"<span>{share(fell / asked)} of {text(asked)}</span>{bar(fell / asked, 'failed')}"


def _requests(requests: Sequence[JsonObject]) -> str:
    heads = ("s:Time", "s:Alias", "sb:Status", "n:ms", "n:First content", "n:Tokens in + out", "Client", "sw:Attempts")
    rows = [request_row(heads, one) for one in reversed(requests)]
    return table(heads, rows, empty="No request yet.")


def _reloads(reloads: Sequence[JsonObject]) -> str:
    heads = ("s:When", "s:Result", "n:Generation", "Digest", "sw:What changed")
    return table(heads, [row(heads, _reload(one)) for one in reloads], empty="No reload yet.")


def _reload(one: JsonObject) -> Iterable[str]:
    tone, word = _RESULTS[one["result"]]
    yield moment(one["at"])
    yield f'<span class="{tone}">{word}</span>'
    yield text(one["generation"])
    yield f'<code class="keep">{text((one["digest"] or "–")[:12])}</code>'
    lines = one["changes"] or one["problems"]
    if not lines:
        is_start = one["generation"] == 1 and one["result"] == "loaded"
        yield f'<span class="dim">{"the start" if is_start else "nothing for clients"}</span>'
        return
    if len(lines) <= _OPEN_LINES:
        yield f"<pre>{text(chr(10).join(lines))}</pre>"
        return
    name = f"reload-{re.sub('[^0-9A-Za-z]', '-', one['at'])}"
    summary = text(count(len(lines), "line"))
    yield f'<details id="{name}"><summary>{summary}</summary><pre>{text(chr(10).join(lines))}</pre></details>'


def _more(number: int, noun: str) -> str:
    return f'<p class="dim">and {text(count(number, noun))} more</p>' if number else ""
