"""Decides what is secret, by name or by shape, and masks it in every output.

Excerpts, messages, `explain`, `diff`, `test`, the admin paths and the importer's report use it. It hides in doubt.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from gateway.policy.random_words import WORDS, random_words
from gateway.policy.variables import VARIABLE, is_made_of_variables
from gateway.wire.json import Json

STARS: Final = "***"

_LAST_WORDS: Final = frozenset({"key", "token", "jwt", "auth", "pass", "passcode", "pw", "pwd", "bearer"})
_SECRET: Final = re.compile(
    r"apikey(?!file)|(?:access|private)key(?:id)?$|secret|passw|passphrase|authorization|credential|cookie"
    r"|headers|header$|(?:^|auth|access|session|bearer|api|ad|refresh)token$"
)
_PUBLIC: Final = frozenset({"promptcachekey", "eostoken", "bostoken", "padtoken", "stoptoken", "firsttoken"})
"""Names that look like a secret's and are not."""
_MISSPELT: Final = ("apikey", "headers")
_ONE_SLIP: Final = ("secret", "password", "passphrase", "authorization", "credential", "credentials", "cookie")
"""Words that make a name secret wherever they stand in it, also when a letter is missing, added, wrong or swapped."""
_NO_SLIPS: Final = frozenset({"tokens", "taken"})
_ADDRESS: Final = re.compile(r"ur[il]|endpoint|apibase|address|^host|host$|proxy")

SECRET_TEXT: Final = re.compile(
    r"(?:api|access|private)[-_ ]?key(?![-_ ]?file)|api[-_]?k\w{0,2}y\b|headers?|haeders|authorization|secret"
    r"|passw(?:or)?d|credential|(?:auth|access|session|bearer|api)[-_]?token|(?<![\w.-])(?:key|token)[\"']?\s*:",
    re.IGNORECASE,
)
"""Marks a secret in unparsed text: a line of a broken file, a comment, a malformed key."""
_KEY_SHAPED: Final = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}|\b(?:gsk|xai|pplx|hf|AIza)[-_]?[A-Za-z0-9]{20,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)
_GLUED: Final = re.compile(
    r"(?<![\w-])(?=[\w-]*?(?:api[-_]?key|password|secret|token|authorization))[\w-]*+[\"']?+[:=](\S+)", re.IGNORECASE
)
"""Looks once at each word: a search from each of its letters would take quadratic time."""
_CREDENTIALS: Final = re.compile(r"\b(?:(?i:bearer)[ \t]+|Basic[ \t]+|(?i:basic)[ \t]+(?=\S*[A-Z0-9=]))([^\s'\"]+)")
"""A scheme of HTTP authentication and what it sends: `Bearer xyz`. In lower case `basic` is mostly a plain word."""
_QUERY: Final = re.compile(r"(?<=[?&])([^?&#=\s'\"]{1,64})[ \t]{0,3}=[ \t]{0,3}([^&#\s'\"]+)")
_UPSTREAM_KEY: Final = re.compile(
    r"\b(?:(?:sk|gsk|xai|pplx|key)-[\w-]{6}|AIza[\w-]{20})[^\s'\"]*|(?<=[Bb]earer )\S{6,}"
)
"""Whole words: the rest of a key would not be found as the endpoint's own any more."""
_SCHEME: Final = re.compile(r"://|https?[:/]+", re.IGNORECASE)
_HTTP: Final = re.compile("https?://", re.IGNORECASE)
_SLIPPED: Final = re.compile(r"([\w.-]{1,64}:[\w.:-]{0,64})\s+(?=\S)")
"""The start of a key whose colon slipped: `api_ke:y sk-1`."""
_STARTS_NAMED: Final = re.compile(r"\W{0,8}([\w.-][\w.:-]{0,63})(?:[\"']|\s{0,9}[:=>|])")
"""A value that begins with what was a key before its colon, its quotation mark or its line was lost."""
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Tell whether a parameter, header or config key of this name is secret, as `api_key` and `HF_TOKEN` are."""
    squashed = _squashed(name)
    if squashed in _PUBLIC:
        return False
    words = WORDS.findall(name)
    if _SECRET.search(squashed) or (words and words[-1].lower() in _LAST_WORDS):
        return True
    if words and _one_slip_apart(words[-1].lower(), "token") and words[-1].lower() not in _NO_SLIPS:
        return True
    return _looks_like(squashed, _MISSPELT) or any(
        _one_slip_apart(text.lower(), word) for text in (*words, squashed) for word in _ONE_SLIP
    )


def _one_slip_apart(text: str, word: str) -> bool:
    """Tell whether one added, missing or wrong letter, or two swapped ones, are the difference. Equal texts: no."""
    if abs(len(text) - len(word)) > 1 or text == word:
        return False
    same = next((at for at, (one, other) in enumerate(zip(text, word, strict=False)) if one != other), len(word))
    text, word = text[same:], word[same:]
    return (
        text[1:] == word[1:]
        or text[1:] == word
        or text == word[1:]
        or (text[:2] == word[1::-1] and text[2:] == word[2:])
    )


@lru_cache(maxsize=4096)
def is_address_name(name: str) -> bool:
    """Tell whether a value of this name is an address: the part before an `@` in it is hidden."""
    squashed = _squashed(name)
    return _ADDRESS.search(squashed) is not None or _looks_like(squashed, ("baseurl",))


def _squashed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _looks_like(squashed: str, words: tuple[str, ...]) -> bool:
    return 4 <= len(squashed) <= 9 and any(SequenceMatcher(None, squashed, word).ratio() >= 0.8 for word in words)


def shown(
    value: Json,
    name: str = "",
    *,
    around: str = "",
    hidden: bool = False,
    address: bool = False,
    secrets: frozenset[str] = frozenset(),
    names: Container[str] = (),
) -> Json:
    """Return a value for an output, with all secrets in it masked at any depth. Variables must be as written.

    `name` is its key, `around` the key of the mapping that has it. `hidden` and `address` make it a secret or an
    address regardless of its name. Texts in `secrets` are hidden wherever they occur; `names` may look random.
    """
    hidden = hidden or (is_secret_name(name) and not names_no_secret(around, name, value))
    address = address or is_address_name(name)
    if isinstance(value, Mapping):
        return {
            (STARS if hidden and not shows_key(name, key) else mask_key(key, names)): shown(
                item, key, around=name, hidden=hidden, address=address, secrets=secrets, names=names
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [shown(item, hidden=hidden, address=address, secrets=secrets, names=names) for item in value]
    if not isinstance(value, str):
        return STARS if hidden and value is not None else value
    if hidden or (value and value in secrets):
        return mask_written(value)
    named = _STARTS_NAMED.match(value)
    if named and is_secret_name(named[1]):
        return value[: named.end(1)] + STARS
    return mask_address(value) if address else mask_text(value, names)


SOURCES: Final = frozenset({"header", "metadata"})
"""Keys of a sticky pool's `key`: they name where the key of a request is, and are none."""


def names_no_secret(around: str, name: str, value: Json = None) -> bool:
    """Tell whether a value is shown although its name looks secret: headers of a condition, the `key` of a pool.

    `around` is the key of the mapping that has it. A header of a condition may have a secret name itself.
    """
    if name == "header":
        return around in ("when", "not", "key")
    is_source = value == "client" or (isinstance(value, Mapping) and len(value) > 0 and value.keys() <= SOURCES)
    return name == "key" and is_source


def shows_key(parent: str, key: str) -> bool:
    """Tell whether a key below a secret key may be shown: names of headers may."""
    return parent == "headers" and _HEADER_NAME.fullmatch(key) is not None


def mask_written(text: str) -> str:
    """Return a secret with its `${NAME}` as written; literal parts and literal defaults become `***`."""
    parts: list[str] = []
    end = 0
    for match in VARIABLE.finditer(text):
        if match.start() > end:
            parts.append(STARS)
        default = "" if match[2] is None else f":-{STARS}" if match[2] else ":-"
        parts.append(f"${{{match[1]}{default}}}")
        end = match.end()
    if end < len(text):
        parts.append(STARS)
    return "".join(parts)


def mask_text(text: str, names: Container[str] = ()) -> str:
    """Return a message or a value with what looks secret in it masked: `secret_spans`, but for mere variables."""
    parts: list[str] = []
    done = 0
    for start, end in merged(secret_spans(text, names)):
        if not is_made_of_variables(text[start:end]):
            parts += text[done:start], STARS
            done = end
    return "".join([*parts, text[done:]]) if parts else text


def secret_spans(text: str, names: Container[str] = ()) -> list[tuple[int, int]]:
    """Return the spans of URL user-info, secret query parameters, `Bearer xyz`, `api_key=xyz`, keys' shapes and words
    that look random.

    `names` may look random: the file's own names of models and providers.
    """
    return [
        *random_words(text, names),
        *user_info(text),
        *(match.span() for match in _KEY_SHAPED.finditer(text)),
        *(match.span(1) for match in _GLUED.finditer(text)),
        *(match.span(1) for match in _CREDENTIALS.finditer(text)),
        *(match.span(2) for match in _QUERY.finditer(text) if is_secret_name(match[1])),
    ]


def merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans in order, overlapping ones joined, empty ones dropped."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined


def mask_upstream_text(text: str) -> str:
    """Return an upstream's message with anything like a key masked, short ones included."""
    return _UPSTREAM_KEY.sub(STARS, text)


def mask_key(key: str, names: Container[str] = ()) -> str:
    """Return a mapping's key masked: YAML reads `api_key:sk-1`, or the same over two lines, as one long key."""
    found = SECRET_TEXT.search(key)
    if found and re.match(r"[^\w.-]", key[found.end() :]):
        key = key[: found.end()] + STARS
    slipped = _SLIPPED.match(key)
    if slipped and is_secret_name(slipped[1].replace(":", "")):
        key = key[: slipped.end()] + STARS
    return mask_text(key, names)


def mask_address(text: str) -> str:
    """Return an address, which may be malformed, with its user-info masked, and what is secret behind it."""
    at = text.rfind("@")
    return mask_text(text if at < 0 else text[: start_of_host(text, 0)] + STARS + text[at:])


def mask_url(url: str) -> str:
    """Return a well-formed URL with user-info and query masked."""
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    netloc = f"{STARS}@{host}" if at else host
    return parts._replace(netloc=netloc, query=STARS if parts.query else "").geturl()


def user_info(text: str) -> list[tuple[int, int]]:
    """Return the spans of user-info in a text: in each word from the first `://` to the last `@`.

    `http:/` and `http//` count as `http://`, so that a mistyped address shows no password.
    """
    if "@" not in text:
        return []
    spans = []
    for word in re.finditer(r"\S+", text):
        scheme, at = _SCHEME.search(text, *word.span()), text.rfind("@", *word.span())
        if scheme and scheme.end() <= at:
            spans.append((scheme.end(), at))
    return spans


def start_of_host(line: str, start: int) -> int:
    """Return the offset in `line` behind a quotation mark and `http://` at `start`, where user-info may begin."""
    start += line.startswith(("'", '"'), start)
    begins = _HTTP.match(line, start)
    return begins.end() if begins else start
