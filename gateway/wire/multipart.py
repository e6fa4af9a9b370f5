"""Reads a multipart form by its parts and writes it with some of them replaced; a file in it is never copied.

    form = read the steps of `read_form(body, content_type)` to their end
    form.fields                                      # the texts by name; files stay where they are in `body`
    pieces = form.encoded({"model": "a", …})         # what to send: views of `body`, and the parts that changed

Source: RFC 7578, with RFC 2046, 5.1.1. What two readers could take for different forms is refused: a part without a
name, with two or with `name*`, a boundary behind a bare line feed, control characters in a header, and a text that is
encoded or no UTF-8. A field that comes twice is a list.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Final, TypeAlias

from gateway.wire.json import Json, JsonObject, Spliced, encode_json

MAX_PARTS: Final = 256
MAX_HEAD_BYTES: Final = 8 * 1024
"""Limit of a part's header fields together."""
MAX_TEXT_BYTES: Final = 4 * 1024 * 1024
"""Limit of all texts of a form together. Files are what the limit of the body allows."""
_TOO_MUCH_TEXT: Final = f"the form's texts have more than {MAX_TEXT_BYTES} bytes; a file needs a filename"
WINDOW_BYTES: Final = 256 * 1024
"""Bytes that a step searches."""

_BOUNDARY: Final = re.compile(r";[ \t]*boundary=(?:\"([^\"\\]{1,70})\"|([^\s;\"]{1,70}))[ \t]*(?=;|$)", re.IGNORECASE)
_SAFE_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_TOKEN: Final = re.compile(r"[0-9A-Za-z'+_.-]+")
_HEAD_END: Final = b"\r\n\r\n"
_DISPOSITION: Final = re.compile(r"[ \t]*form-data[ \t]*((?:;.*)?)", re.IGNORECASE | re.DOTALL)
_PARAMETER: Final = re.compile(
    r";[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s;\"]*+))[ \t]*"
)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CHARSET: Final = re.compile(r";[ \t]*charset=\"?([^\s;\"]*)", re.IGNORECASE)
_CHARSETS: Final = frozenset({"ascii", "us-ascii", "utf-8", "utf8"})
_PLAIN_CODINGS: Final = frozenset({"7bit", "8bit", "binary"})
_ESCAPED: Final = re.compile(r"\\(.)")
_Q: Final = '"'
_LIST: Final = "[]"
"""What clients write behind the name of a field that has several values."""

FormSteps: TypeAlias = Generator[None, None, "Form"]


class NotForm(ValueError):
    """The body is no multipart form, or one beyond the limits above. `str()` says what was found, without the data."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    text: str | None
    """The value of a field; None for a file."""
    start: int
    """Where its header begins in the body."""
    end: int
    """Where its value ends."""


class Form:
    """A form: the body that it is, and where its parts are."""

    __slots__ = ("_body", "_boundary", "_parts", "fields")

    def __init__(self, body: bytes | mmap, boundary: bytes, parts: Sequence[_Part]) -> None:
        self._body = body
        self._boundary = boundary
        self._parts = parts
        self.fields = _fields(parts)
        """The texts by name without `[]`: a list where the name has that, or came more than once."""

    @property
    def content_type(self) -> str:
        """The value of the `content-type` field, whose boundary is the client's."""
        boundary = self._boundary.decode("ascii")
        return f"multipart/form-data; boundary={boundary if _TOKEN.fullmatch(boundary) else f'{_Q}{boundary}{_Q}'}"

    @property
    def file_names(self) -> frozenset[str]:
        """The names of its files' parts, without `[]`."""
        return frozenset(_plain(part.name) for part in self._parts if part.text is None)

    def encoded(self, fields: Mapping[str, Json], *, kept: frozenset[str] = frozenset()) -> Spliced:
        """Return the body with `fields` as its texts, in pieces; files and other parts that stay are views.

        A field that has the same value as before stays where and as it is, and so does one in `kept`. One with another
        value is replaced where it stands, one that is not in `fields` is left out, a new one comes last. Raises NotForm
        if the boundary is part of a new value.
        """
        whole = memoryview(self._body)
        line = b"--" + self._boundary + b"\r\n"
        pieces: list[bytes | memoryview] = []
        written: set[str] = set()
        for part in self._parts:
            name = _plain(part.name)
            if part.text is None or name in kept or (name in fields and fields[name] == self.fields.get(name)):
                pieces += (line, whole[part.start : part.end], b"\r\n")
            elif name in fields and name not in written:
                pieces += self._texts(part.name, fields[name])
            written.add(name)
        for name, value in fields.items():
            if name not in written:
                pieces += self._texts(f"{name}{_LIST}" if isinstance(value, list) else name, value)
        pieces.append(b"--" + self._boundary + b"--\r\n")
        return Spliced([piece for piece in pieces if len(piece)])

    def _texts(self, name: str, value: Json) -> list[bytes | memoryview]:
        """Return a field's part, or one for each item of a list."""
        quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = b'--%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n' % (self._boundary, quoted.encode())
        pieces: list[bytes | memoryview] = []
        for item in value if isinstance(value, list) else () if value is None else [value]:
            text = item.encode() if isinstance(item, str) else encode_json(item)
            if self._boundary in text or self._boundary in quoted.encode():
                raise NotForm("the form's boundary is part of a field that the gateway sets")
            pieces += (head, text, b"\r\n")
        return pieces


def read_form(body: bytes | mmap, content_type: str, *, window_bytes: int = WINDOW_BYTES) -> FormSteps:
    """Return the form in steps of about a millisecond. Raises NotForm."""
    boundary = _boundary_of(content_type)
    line = b"--" + boundary
    if body[: len(line)] != line:
        raise NotForm("the body is no multipart form: it does not begin with the boundary of its content-type")
    parts: list[_Part] = []
    text_bytes = 0
    at, is_last = _after_boundary(body, len(line), 0)
    while not is_last:
        if len(parts) == MAX_PARTS:
            raise NotForm(f"the form has more than {MAX_PARTS} parts")
        number = len(parts) + 1
        head_end = body.find(_HEAD_END, at, at + MAX_HEAD_BYTES + len(_HEAD_END))
        if head_end < 0:
            is_cut = len(body) - at <= MAX_HEAD_BYTES
            fault = "ends" if is_cut else f"has more than {MAX_HEAD_BYTES} bytes"
            raise NotForm(f"the form {fault} in the header of part {number}")
        value_at = head_end + len(_HEAD_END)
        found, looked = -1, value_at
        while found < 0:
            # Of a copy: the search in an mmap tries each byte.
            found = body[looked : looked + window_bytes + len(line)].find(line)
            if found < 0:
                looked += window_bytes
                if looked >= len(body):
                    raise NotForm(f"the form ends within part {number}, without its last boundary")
            yield
        end = looked + found - 2
        if end < value_at or body[end : end + 2] != b"\r\n":
            raise NotForm(f"part {number} of the form has the boundary in it, not on a line of its own")
        part = _part(body, at, head_end, value_at, end, number)
        text_bytes += 0 if part.text is None else end - value_at
        if text_bytes > MAX_TEXT_BYTES:
            raise NotForm(_TOO_MUCH_TEXT)
        parts.append(part)
        at, is_last = _after_boundary(body, end + 2 + len(line), number)
    return Form(body, boundary, parts)


def _boundary_of(content_type: str) -> bytes:
    found = _BOUNDARY.findall(content_type)
    boundary = found[0][0] or found[0][1] if len(found) == 1 else ""
    if not _SAFE_BOUNDARY.fullmatch(boundary):
        raise NotForm(f"the content-type header has {'no valid' if len(found) < 2 else 'more than one'} boundary")
    return boundary.encode("ascii")


def _after_boundary(body: bytes | mmap, at: int, number: int) -> tuple[int, bool]:
    """Return where the header of the next part begins, and whether there is none."""
    if body[at : at + 2] == b"--":
        return at, True
    end = body.find(b"\r\n", at, at + 80)
    if end < 0 or body[at:end].strip(b" \t"):
        raise NotForm(f"there is something else behind the boundary at the end of part {number}")
    return end + 2, False


def _part(body: bytes | mmap, start: int, head_end: int, value_at: int, end: int, number: int) -> _Part:
    """Return a part by its header. Raises NotForm."""
    fields = _header(body[start:head_end], number)
    parameters = _parameters(fields.get("content-disposition"), number)
    name = parameters.get("name")
    if not name:
        raise NotForm(f"part {number} of the form has no name")
    text: str | None = None
    if "filename" not in parameters and "filename*" not in parameters:
        if end - value_at > MAX_TEXT_BYTES:
            raise NotForm(_TOO_MUCH_TEXT)
        charset = _CHARSET.search(fields.get("content-type", ""))
        if fields.get("content-transfer-encoding", "8bit").lower() not in _PLAIN_CODINGS or (
            charset is not None and charset[1].lower() not in _CHARSETS
        ):
            raise NotForm(f"part {number} of the form is a text with a coding or charset; send it as it is, in UTF-8")
        try:
            text = body[value_at:end].decode()
        except UnicodeDecodeError:
            raise NotForm(f"part {number} of the form has no filename, and is no text in UTF-8") from None
    return _Part(name, text, start, end)


def _header(head: bytes, number: int) -> Mapping[str, str]:
    """Return the header fields of a part, by lower-case names. Raises NotForm."""
    fields: dict[str, str] = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        field = name.strip().lower().decode("latin-1")
        if not colon or not field or name[:1] in b" \t" or _CONTROL.search(line):
            raise NotForm(f"part {number} of the form has a line in its header that is no field")
        if field in fields:
            raise NotForm(f"part {number} of the form has two {field[:40]} fields")
        fields[field] = value.strip().decode("utf-8", "replace")
    return fields


def _parameters(disposition: str | None, number: int) -> Mapping[str, str]:
    found = None if disposition is None else _DISPOSITION.fullmatch(disposition)
    if found is None:
        raise NotForm(f"part {number} of the form has no content-disposition: form-data")
    parameters: dict[str, str] = {}
    at, text = 0, found[1]
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None or parameter[1].lower() in parameters or parameter[1].lower() == "name*":
            raise NotForm(f"part {number} of the form has a content-disposition that readers take differently")
        quoted, token = parameter[2], parameter[3]
        parameters[parameter[1].lower()] = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
        at = parameter.end()
    return parameters


def _fields(parts: Sequence[_Part]) -> JsonObject:
    texts: dict[str, list[str]] = {}
    lists = {_plain(part.name) for part in parts if part.name.endswith(_LIST)}
    for part in parts:
        if part.text is not None:
            texts.setdefault(_plain(part.name), []).append(part.text)
    return {name: found if name in lists or len(found) > 1 else found[0] for name, found in texts.items()}


def _plain(name: str) -> str:
    return name.removesuffix(_LIST)
