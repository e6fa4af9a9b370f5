"""Masks an endpoint's own secrets in what its upstream sends back.

Servers repeat what they were sent: in error texts, comments and headers, spelt with escapes or in base64. What is no
answer is searched for every spelling. An answer passes byte for byte, unless a long secret is in it as it is written,
or with the escapes that some JSON writers use for any `+` or `/`: .NET writes `\\u002B`, PHP `\\/`.
"""

from __future__ import annotations

import binascii
import html
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from gateway.policy.keys import KeySource, Secret
from gateway.policy.secrets import STARS, is_secret_name
from gateway.wire.json import Json, JsonObject, Spliced, encode_json, json_in

WORD_CHARS: Final = 8
"""Shorter secrets, such as a local server's key `x`, are masked as whole words only, and in no other spelling."""
ANSWER_CHARS: Final = 16
"""Shorter secrets are not searched for in answers: `lm-studio` is a usual key, and a word that answers contain."""

_SCHEME: Final = re.compile(r"([A-Za-z]{1,32}) +(\S+)")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_MAX_DEPTH: Final = 100
_LONGEST_ESCAPE: Final = 6
"""Bytes of a character that is escaped as JSON."""
_ROUNDS: Final = 3
"""How often a text is decoded: JSON in JSON in a URL."""
_URL_ALPHABET: Final = str.maketrans("+/", "-_")
_PADDING: Final = "(?:[A-Za-z0-9+/_-]?={1,2})?"
"""The end of a base64: its last character has some bits of the secret."""
_MAX_NAMES: Final = 256


class Echoes:
    """The secrets of one endpoint: its keys, the file's `headers`, the URL's user information, secret `params`."""

    __slots__ = ("_base_url", "_escaped", "_headers", "_keys", "_needles", "_params", "_source", "_spellings")

    def __init__(
        self, *, source: KeySource, headers: Mapping[str, str], base_url: str | None, params: Mapping[str, Json]
    ) -> None:
        self._source = source
        self._headers = headers
        self._base_url = base_url
        self._params = params
        self._keys: tuple[Secret, ...] | None = None
        self._needles: tuple[bytes, ...] = ()
        """The secrets that answers are searched for."""
        self._escaped: re.Pattern[bytes] | None = None
        """The same, any of whose characters may be escaped as JSON."""
        self._spellings: _Spellings

    def _refresh(self) -> None:
        """Find the secrets: at first use, and when the key's file has changed."""
        keys = self._source.known
        answers = set(self._of_answers(keys))
        long = [text for text in sorted(answers) if len(text) >= ANSWER_CHARS]
        self._needles = tuple(text.encode() for text in long)
        self._escaped = re.compile("|".join(map(_with_escapes, long)).encode()) if long else None
        others = {part for value in self._headers.values() for part in _parts(value) if len(part) >= WORD_CHARS}
        self._spellings = _Spellings(answers | others)
        self._keys = keys

    def _of_answers(self, keys: tuple[Secret, ...]) -> Iterator[str]:
        """Yield the secrets that no answer has by chance: no header such as `http-referer`."""
        yield from (key.reveal() for key in keys)
        for name, value in self._headers.items():
            if is_secret_name(name):
                yield from _parts(value)
        if self._base_url is not None:
            yield from _of_url(self._base_url)
        yield from _of_params(self._params, hidden=False)

    def in_answer(self, raw: bytes) -> bool:
        """Tell whether an answer's bytes hold a long secret. Cheap: asked of every answer and parsed event."""
        if self._source.known is not self._keys:
            self._refresh()
        for needle in self._needles:
            if raw.find(needle) >= 0:  # several times as fast as `in`, which tries a number first
                return True
        if raw.find(b"\\") < 0 or (raw.find(b"\\u00") < 0 and raw.find(b"\\/") < 0):
            return False
        return self._escaped is not None and self._escaped.search(raw) is not None

    def search(self) -> EchoSearch:
        """Return a search of an answer that arrives in parts."""
        if self._source.known is not self._keys:
            self._refresh()
        return EchoSearch(self, _LONGEST_ESCAPE * max(map(len, self._needles), default=0))

    def in_value(self, value: Json) -> bool:
        """Tell the same of a decoded answer."""
        if self._source.known is not self._keys:
            self._refresh()
        if not self._needles:
            return False
        try:
            return self.in_answer(_encoded(value))
        except RecursionError:
            return True  # so what is nested that deep is masked
        except (TypeError, ValueError):  # whoever sends it fails as well
            return False

    def is_in(self, data: Json, raw: bytes | Spliced | None) -> bool:
        """Tell the same of an answer or event: of its bytes if there are any, else of its decoded value.

        Bytes in parts were searched as they arrived.
        """
        if raw is None:
            return self.in_value(data)
        return type(raw) is bytes and self.in_answer(raw)

    def mask(self, text: str) -> str:
        """Return a text with the secrets as `***`; only `***` if one is spelt with escapes in it."""
        if self._source.known is not self._keys:
            self._refresh()
        return self._spellings.masked(text)

    def mask_value(self, value: Json, *, depth: int = _MAX_DEPTH) -> Json:
        """Return a decoded value with the secrets in its texts masked; what is nested deeper than `depth` is `***`."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict | list) and not depth:
            return STARS
        if isinstance(value, dict):
            # Short secrets may be the name of a field, such as `code`.
            return {
                name if len(name) < WORD_CHARS else self.mask(name): self.mask_value(item, depth=depth - 1)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.mask_value(item, depth=depth - 1) for item in value]
        if type(value) is int and value >= 10 ** (WORD_CHARS - 1):
            return value if self.mask(str(value)) == str(value) else STARS
        return value

    def mask_object(self, data: JsonObject) -> JsonObject:
        """Return a decoded answer masked."""
        masked = self.mask_value(data)
        assert isinstance(masked, dict), "an object stays an object"
        return masked

    def mask_body(self, raw: bytes) -> bytes:
        """Return an error body masked: the same bytes if it holds no secret."""
        text = raw.decode("utf-8", "replace")
        masked = self.mask(text)
        value = json_in(raw)
        if isinstance(value, dict | list):
            # A secret may be in the bytes only: where a name comes twice, the first value is not in `value`.
            safe = self.mask_value(value)
            return raw if masked == text and safe == value else encode_json(safe)
        return raw if masked == text else masked.encode("utf-8", "replace")

    def mask_lines(self, raw: bytes) -> bytes:
        """Return a comment, or another event without data, masked: the same bytes if it holds no secret."""
        text = raw.decode("utf-8", "replace")
        return raw if self.mask(text) == text else f": {STARS}\n\n".encode()

    def mask_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return response headers masked; one whose name holds a secret is left out."""
        if self._source.known is not self._keys:
            self._refresh()
        spellings = self._spellings
        text = "\n".join(headers.values())
        if spellings.are_fit(tuple(headers)) and spellings.masked(text) == text:
            return headers
        return {name: spellings.masked(value) for name, value in headers.items() if spellings.are_fit((name,))}


class EchoSearch:
    """Searches an answer for an endpoint's secrets, part after part."""

    __slots__ = ("_echoes", "_most_bytes", "_tail")

    def __init__(self, echoes: Echoes, most_bytes: int) -> None:
        """`most_bytes`: length of the longest spelling of a secret; 0 if there are none."""
        self._echoes = echoes
        self._most_bytes = most_bytes
        self._tail = b""

    def are_in(self, part: bytes) -> bool:
        """Tell whether a long secret is in the next part, or begins in an earlier one and ends in this."""
        if not self._most_bytes:
            return False
        across = self._tail + part[: self._most_bytes]
        self._tail = (
            (self._tail + part)[-self._most_bytes :] if len(part) < self._most_bytes else part[-self._most_bytes :]
        )
        return self._echoes.in_answer(across) or self._echoes.in_answer(part)


class _Spellings:
    """What to search a text for."""

    __slots__ = ("_all", "_long", "_names", "_short")

    def __init__(self, secrets: set[str]) -> None:
        long = sorted((text for text in secrets if len(text) >= WORD_CHARS), key=len, reverse=True)
        short = [rf"(?<![\w-]){re.escape(text)}(?![\w-])" for text in sorted(secrets) if 0 < len(text) < WORD_CHARS]
        self._long = tuple(spelt for text in long for spelt in (text, *_coded(text)))
        self._short = re.compile("|".join(short)) if short else None
        self._all = re.compile("|".join([*(re.escape(spelt) + _PADDING for spelt in self._long), *short]))
        self._names: set[tuple[str, ...]] = set()

    def masked(self, text: str) -> str:
        """Return the text masked."""
        if self._short is not None or self._is_in(text):
            text = self._all.sub(STARS, text) if self._long or self._short else text
        plain = text
        for _ in range(_ROUNDS):
            if "\\" not in plain and "%" not in plain and "&" not in plain:
                break
            decoded = _decoded(plain)
            if decoded == plain:
                break
            if self._is_in(decoded):
                return STARS
            plain = decoded
        return text

    def are_fit(self, names: tuple[str, ...]) -> bool:
        """Tell whether names of headers hold none of the secrets; remembers the usual ones."""
        if names in self._names:
            return True
        text = "\n".join(names)
        if any(secret.lower() in text for secret in self._long):
            return False
        if len(self._names) < _MAX_NAMES:
            self._names.add(names)
        return True

    def _is_in(self, text: str) -> bool:
        """Tell whether a longer secret is in a text. Faster than one pattern of all spellings."""
        for spelt in self._long:  # noqa: SIM110
            if spelt in text:
                return True
        return False


def _with_escapes(text: str) -> str:
    """Return a pattern of a text any of whose characters may be escaped as JSON. Its length is fixed: it is linear."""
    backslash = dict.fromkeys('"/\\', r"\\?")
    return "".join(rf"(?:{backslash.get(char, '')}{re.escape(char)}|\\u(?i:{ord(char):04x}))" for char in text)


def _encoded(value: Json) -> bytes:
    """Return a value as JSON, also what orjson refuses: half a surrogate pair, great integers, deep nesting."""
    try:
        return orjson.dumps(value, default=repr)
    except TypeError:
        return json.dumps(value, default=repr).encode()


def _coded(text: str) -> Iterator[str]:
    """Yield a longer secret in hexadecimal, and in base64 with either alphabet."""
    raw = text.encode()
    yield raw.hex()
    yield raw.hex().upper()
    for code in _in_base64(raw):
        yield code
        if (other := code.translate(_URL_ALPHABET)) != code:
            yield other


def _in_base64(raw: bytes) -> Iterator[str]:
    """Yield what a longer text's base64 holds of `raw` if it begins at the first, second or third byte of three."""
    for before in range(3):
        code = b64encode(b"\0" * before + raw).decode()
        yield code[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]


def _decoded(text: str) -> str:
    """Return a text with the escapes of JSON, URLs and HTML decoded once."""

    def plain(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else _CONTROLS.get(match[3], match[3])

    return html.unescape(unquote(_ESCAPE.sub(plain, text)))


def _parts(value: str) -> Iterator[str]:
    """Yield a header's value, what follows its scheme, and what `Basic` encodes."""
    value = value.strip()
    yield value
    found = _SCHEME.fullmatch(value)
    if found is None:
        return
    yield found[2]
    if found[1].lower() == "basic":
        try:
            pair = b64decode(found[2], validate=True).decode()
        except (binascii.Error, ValueError):
            return
        yield pair
        yield pair.partition(":")[2]


def _of_url(url: str) -> Iterator[str]:
    """Yield a URL's password, its user information as `Basic` sends it, and the secret parameters of its query."""
    parts = urlsplit(url)
    info, at, _ = parts.netloc.rpartition("@")
    if at:
        pair = unquote(info)
        yield pair
        yield pair.partition(":")[2]
        yield b64encode(pair.encode()).decode()
    yield from (value for name, value in parse_qsl(parts.query) if is_secret_name(name))


def _of_params(value: Json, *, hidden: bool) -> Iterator[str]:
    """Yield the texts below names of secrets, such as `aws_secret_access_key`."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _of_params(item, hidden=hidden or is_secret_name(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _of_params(item, hidden=hidden)
    elif hidden and isinstance(value, str):
        yield value
