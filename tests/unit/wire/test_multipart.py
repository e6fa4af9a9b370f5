"""Forms: read by their parts, written with some replaced, and refused where two readers could disagree."""

from __future__ import annotations

import email
import email.policy
from mmap import mmap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.multipart import MAX_HEAD_BYTES, MAX_PARTS, MAX_TEXT_BYTES, Form, NotForm, read_form

TYPE = "multipart/form-data; boundary=b0"
FILE = b"\x00\xff\r\n--b\r\nimage\r\n\r\n--"


def field(name: str, value: bytes, *, more: str = "", headers: bytes = b"") -> bytes:
    return b'--b0\r\nContent-Disposition: form-data; name="%b"%b\r\n%b\r\n%b\r\n' % (
        name.encode(), more.encode(), headers, value
    )  # fmt: skip


def file(name: str, value: bytes) -> bytes:
    return field(name, value, more='; filename="a.mp3"', headers=b"Content-Type: audio/mpeg\r\n")


END = b"--b0--\r\n"
BODY = file("file", FILE) + field("model", b"m") + field("n", b"2") + END


def read(body: bytes | mmap, content_type: str = TYPE, **options: Any) -> Form:
    steps = read_form(body, content_type, **options)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        form: Form = end.value
        return form


def written(form: Form, fields: dict[str, Any], **options: Any) -> bytes:
    return b"".join(form.encoded(fields, **options).parts)


@pytest.mark.parametrize("window", [1, 7, 64, 1 << 20])
def test_the_fields_are_read_wherever_they_come(window: int) -> None:
    form = read(BODY, window_bytes=window)
    assert form.fields == {"model": "m", "n": "2"}
    assert form.file_names == {"file"}
    assert form.content_type == TYPE
    assert written(form, form.fields) == BODY


def test_a_field_is_replaced_where_it_stands_and_the_rest_is_not_touched() -> None:
    out = written(read(BODY), {"model": "other", "n": "2"})
    expected = b'--b0\r\ncontent-disposition: form-data; name="model"\r\n\r\nother\r\n'
    assert out == file("file", FILE) + expected + field("n", b"2") + END


def test_a_body_in_a_map_is_read_likewise() -> None:
    """As the bodies over 1 MiB are that the server reads."""
    with mmap(-1, len(BODY)) as body:
        body[:] = BODY
        form = read(body, window_bytes=64)
        assert form.fields == {"model": "m", "n": "2"}
        assert written(form, form.fields) == BODY
        del form


def test_a_file_is_not_copied() -> None:
    body = file("file", b"x" * 100_000) + field("model", b"m") + END
    pieces = read(body).encoded({"model": "a"}).parts
    (view,) = [piece for piece in pieces if len(piece) > 100_000]
    assert isinstance(view, memoryview)
    assert view.obj is body


def test_fields_are_left_out_added_and_kept() -> None:
    out = written(read(BODY), {"model": "m", "language": "en", "keywords": ["a", "b"], "speed": 1.5, "gone": None})
    read_back = read(out)
    assert read_back.fields == {"model": "m", "language": "en", "keywords": ["a", "b"], "speed": "1.5"}
    assert b'name="keywords[]"' in out
    assert read(written(read(BODY), {}, kept=frozenset({"n"}))).fields == {"n": "2"}


def test_fields_that_come_twice_or_are_called_lists_are_lists() -> None:
    body = field("a[]", b"1") + field("b", b"2") + field("b", b"3") + file("image[]", b"i") + END
    form = read(body)
    assert form.fields == {"a": ["1"], "b": ["2", "3"]}
    assert form.file_names == {"image"}
    assert written(form, form.fields) == body
    assert read(written(form, {"a": ["1"], "b": ["4"]})).fields == {"a": ["1"], "b": "4"}


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/form-data; boundary="b 0"', b"b 0"),
        ("multipart/form-data; charset=utf-8; BOUNDARY=b.0_'+", b"b.0_'+"),
        ("multipart/form-data; boundary=b0; charset=utf-8", b"b0"),
        ('multipart/form-data; boundary="b?0"', b"b?0"),
    ],
)
def test_the_boundary_is_kept(content_type: str, boundary: bytes) -> None:
    form = read(BODY.replace(b"--b0", b"--" + boundary), content_type)
    assert form.fields["model"] == "m"
    assert boundary in form.content_type.encode()
    assert read(written(form, {"model": "x"}), form.content_type).fields == {"model": "x"}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "does not begin with the boundary"),
        (b'{"model": "m"}', "does not begin with the boundary"),
        (b"\r\n" + BODY, "does not begin with the boundary"),
        (BODY[:-8], "ends within part 3, without its last boundary"),
        (BODY[:60], "ends in the header of part 1"),
        (b"--b0\n" + BODY, "something else behind the boundary"),
        (field("a", b"1\r\n--b0x\r\n") + END, "something else behind the boundary at the end of part 1"),
        (b"--b0\r\n\r\nvalue\r\n" + END, "ends in the header of part 1"),
        (b"--b0\r\nContent-Disposition: form-data; name=a\r\n" + BODY, "line in its header that is no field"),
        (b"--b0\r\nx: y\r\n\r\nvalue\r\n" + END, "part 1 of the form has no content-disposition"),
        (b"--b0\r\nContent-Disposition: attachment; name=a\r\n\r\nv\r\n" + END, "has no content-disposition"),
        (b"--b0\r\nContent-Disposition: form-data\r\n\r\nv\r\n" + END, "part 1 of the form has no name"),
        (field("", b"v") + END, "part 1 of the form has no name"),
        (field("a", b"v", more="; name=model") + END, "readers take differently"),
        (field("a", b"v", more="; name*=utf-8''model") + END, "readers take differently"),
        (field("a", b"v", more='; x="') + END, "readers take differently"),
        (field("a", b"v", headers=b"Content-Disposition: form-data; name=model\r\n") + END, "two content-disposition"),
        (field("a", b"v", headers=b" folded\r\n") + END, "line in its header that is no field"),
        (field("a", b"\xff") + END, "no filename, and is no text"),
        (field("a", b"v", headers=b"x: " + b"y" * MAX_HEAD_BYTES + b"\r\n") + END, "bytes in the header of part 1"),
        (field("a", b"v" * (MAX_TEXT_BYTES + 1)) + END, "texts have more than"),
        (field("a", b"v" * MAX_TEXT_BYTES) + field("b", b"v") + END, "texts have more than"),
        (field("a", b"v") * (MAX_PARTS + 1) + END, f"more than {MAX_PARTS} parts"),
        (
            b"--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n--b0--\r\n",
            "boundary in it, not on a line of its own",
        ),
        (
            file("f", b"x\n" + field("model", b"m").replace(b"\r", b"")) + END,
            "boundary in it, not on a line of its own",
        ),
        (file("f", b"x\r" + field("model", b"m")) + END, "boundary in it, not on a line of its own"),
        (field("a", b"v", headers=b"x: y\nContent-Disposition: form-data; name=model\r\n") + END, "that is no field"),
        (field("a", b"v", headers=b"x: \0\r\n") + END, "that is no field"),
        (field("a", b"v", headers=b"x: 1\r\nX: 2\r\n") + END, "part 1 of the form has two x fields"),
        (field("a", b"dg==", headers=b"Content-Transfer-Encoding: base64\r\n") + END, "a coding or charset"),
        (field("a", b"+AHY-", headers=b"Content-Type: text/plain; charset=UTF-7\r\n") + END, "a coding or charset"),
    ],
)
def test_what_is_no_form_is_refused_with_what_was_found(body: bytes, found: str) -> None:
    with pytest.raises(NotForm, match=found):
        read(body)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=a; boundary=b0",
        'multipart/form-data; boundary="a\r\nx"', "multipart/form-data; boundary=" + "b" * 71,
    ],
)  # fmt: skip
def test_a_boundary_is_needed(content_type: str) -> None:
    with pytest.raises(NotForm, match="boundary"):
        read(BODY, content_type)


def test_names_are_read_and_written_with_quotes() -> None:
    form = read(field(r"a\"b", b"v") + END)
    assert form.fields == {'a"b': "v"}
    assert b'name="a%22b"' in written(form, {'a"b': "w"})


def test_the_boundary_in_a_value_that_is_set_is_refused() -> None:
    with pytest.raises(NotForm, match="boundary is part of"):
        read(BODY).encoded({"model": "x\r\n--b0\r\n"})


def test_padding_and_what_follows_the_form_are_left_out() -> None:
    body = BODY.replace(b"--b0\r\n", b"--b0 \t\r\n") + b"epilogue"
    assert written(read(body), {"model": "m", "n": "2"}) == BODY


def test_texts_may_say_that_they_are_plain() -> None:
    headers = b"Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    assert read(field("a", "ä".encode(), headers=headers) + END).fields == {"a": "ä"}
    coded = field("f", b"dg==", more="; filename=f", headers=b"Content-Transfer-Encoding: base64\r\n")
    assert read(coded + END).fields == {}


ANY = st.characters(codec="utf-8")
PRINTABLE = st.characters(codec="utf-8", min_codepoint=0x20, exclude_characters='"\\\x7f')
NAMES = st.text(PRINTABLE, min_size=1).filter(lambda name: not name.startswith("model["))


@given(
    parts=st.lists(st.tuples(NAMES, st.binary(max_size=200), st.booleans()), max_size=6),
    model=st.text(ANY, max_size=30),
    window=st.integers(1, 64),
)
def test_what_is_written_is_what_another_reader_reads(
    parts: list[tuple[str, bytes, bool]], model: str, window: int
) -> None:
    boundary = "c5a1f0e2-no-value-has-this"
    body = b""
    for name, value, is_file in parts:
        shown = value if is_file else value.hex().encode()
        more = b'; filename="f"' if is_file else b""
        body += b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (
            boundary.encode(), name.encode(), more, shown
        )  # fmt: skip
    body += f"--{boundary}--\r\n".encode()
    form = read(body, f"multipart/form-data; boundary={boundary}", window_bytes=window)
    out = written(form, {**form.fields, "model": model})
    head = f"content-type: {form.content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + out, policy=email.policy.HTTP)
    found = [part.get_payload(decode=True) for part in message.iter_parts()]
    kept = [value if is_file else value.hex().encode() for name, value, is_file in parts if is_file or name != "model"]
    assert len(found) >= len(kept)
    assert all(one in found for one in kept)
    assert read(out, form.content_type).fields == {**form.fields, "model": model}


def test_a_part_may_be_empty() -> None:
    assert read(field("a", b"") + file("f", b"") + END).fields == {"a": ""}
    assert read(b"--b0--").fields == {}
