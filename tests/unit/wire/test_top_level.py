"""A large body read by its top level has the fields that a decoder of all of it finds, whatever the windows cut."""

from __future__ import annotations

import json
import random
import time
from typing import Any, Final

import pytest

from gateway.wire.json import RawJson, Spliced, encode_body
from gateway.wire.top_level import MAX_FIELDS, MAX_NAME_BYTES, NotJson, read_top_level

MIB: Final = 1024 * 1024
STEP_S: Final = 0.05


def read(data: bytes, *, window: int = 32 * 1024, short: int = 0, limit: int = MIB) -> dict[str, Any]:
    steps = read_top_level(data, max_parsed_bytes=limit, window_bytes=window, short_bytes=short)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            fields: dict[str, Any] = end.value
            return fields


def decoded(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value.decode() if isinstance(value, RawJson) else value for name, value in fields.items()}


SHAPES: Final = [
    b"{}",
    b' {"a" : 1 , "b":-1.5e3,"c":true,"d":null} ',
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}',
    rb'{"a":"\"","b":"\\","c":"\\\"","d":["\\\\\\","]","\"]"],"stream":false}',
    rb'{"mo\u0064el":"escaped name","model2":"\ud800"}',
    b'{"a":[[[[[[]],{"b":[{}]}]]]],"c":{"d":{"e":[1,2,{"f":"}{]["}]}}}',
    b'{"a":[],"a":{},"a":"the last one counts"}',
    '{"a":["snow \u2603","\U0001f600"],"\u00e9":"\u00e9"}'.encode(),
    b'\xef\xbb\xbf{"a":["behind a byte order mark"]}',
    b'{"a":' + b"[" * 300 + b"]" * 300 + b',"b":2}',
    b'{"a":[' + b"[]," * 200 + b'0],"b":"' + b"\\\\" * 100 + b'"}',
]


@pytest.mark.parametrize("window", [7, 8, 9, 16, 33, 32 * 1024])
@pytest.mark.parametrize("data", SHAPES)
def test_the_fields_are_those_of_a_decoder(data: bytes, window: int) -> None:
    wanted = json.loads(data)
    for short in (0, 12, 4096):
        if short or not any(isinstance(value, int | float | None) for value in wanted.values()):
            assert decoded(read(data, window=window, short=short)) == wanted


@pytest.mark.parametrize("window", [8, 32 * 1024])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"1",
        b'{"a":1',
        b'{"a":[1',
        b'{"a":[1}',
        b'{"a":"1',
        b'{"a":"\\',
        b'{"a":["\\',
        b'{"a":1}}',
        b'{"a":1}x',
        b'{"a":1,}',
        b'{"a" 1}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":}',
        b'{"a":tru}',
        b'{"a":NaN}',
        b'{"a":[/* */]}',
        b'{"a":[\'"\']}',
        b'{"a":[\\"]}',
        b'{"a":"\xff"}',
        b'{"a":["\xed\xa0\x80"]}',
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_what_is_no_object_is_refused(data: bytes, window: int) -> None:
    with pytest.raises(NotJson):
        read(data, window=window, short=64)


def test_any_mutation_of_a_body_is_refused_or_read_as_a_decoder_reads_it() -> None:
    chance = random.Random(14)
    accepted = 0
    for _ in range(6000):
        data = bytearray(chance.choice(SHAPES))
        for _ in range(chance.randint(1, 3)):
            place = chance.randint(0, len(data))
            data[place : place + chance.randint(0, 2)] = chance.choice(
                [b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b" ", b"x", b"\\u0022", b'\\"', b'"model":"n",', b""]
            )
        try:
            fields = read(bytes(data), window=chance.choice([7, 8, 13, 64]), short=24)
            ours = decoded(fields)
        except ValueError:
            continue
        assert ours == json.loads(bytes(data).decode("utf-8-sig")), bytes(data)
        accepted += 1
    assert accepted > 500


def test_a_lone_surrogate_in_a_long_value_is_passed_on_as_it_is() -> None:
    long = rb'["\ud83d cut"]'
    fields = read(b'{"model":"m","messages":' + long + b"}", short=4)
    encoded = encode_body({"model": "up", **fields, "stream": True})
    assert isinstance(encoded, Spliced)
    assert b"".join(encoded.parts) == b'{"model":"m","messages":' + long + b',"stream":true}'
    assert len(encoded) == len(b"".join(encoded.parts))
    assert isinstance(encode_body({"model": "up"}), bytes)
    encoded = encode_body({**fields, "model": "up"})
    assert isinstance(encoded, Spliced)
    assert b"".join(encoded.parts) == b'{"model":"up","messages":' + long + b"}"


def test_the_number_and_the_names_of_the_fields_are_bounded() -> None:
    many = b",".join(b'"f%d":1' % number for number in range(MAX_FIELDS))
    assert len(read(b"{%b}" % many, short=64)) == MAX_FIELDS
    for data in (
        b'{%b,"a":1}' % many,
        b'{%b"b":1}' % (b'"a":1,' * MAX_FIELDS),
        b'{"%b":1}' % (b"a" * MAX_NAME_BYTES),
    ):
        with pytest.raises(NotJson, match=r"a field|fields"):
            read(data, short=64)


def test_long_texts_are_not_counted_as_what_decoding_takes() -> None:
    image = b'"' + b"A" * 100_000 + b'"'
    fields = read(b'{"model":"m","messages":[' + image + b',"short"],"b":' + image + b"}", short=64)
    assert fields["messages"].source.parsed_bytes == len(b'{"model":"m","messages":[,"short"],"b":}')


@pytest.mark.parametrize(
    "item",
    [b"[],", b"{},", b'"",', b"1,", b"[[[[[[[[[[]]]]]]]]]],", b"[" * 400 + b"]" * 400 + b",", b'{"a":{"b":[""]}},',
     b'"\\\\\\"",', b" "],
    ids=["arrays", "objects", "texts", "numbers", "nested", "nested deeply", "mixed", "escapes", "blanks"],
)  # fmt: skip
def test_each_step_is_short_and_the_work_is_linear(item: bytes) -> None:
    """In processor time, and for steps that this machine interrupts, the best of three."""
    data = b'{"model":"m","messages":[' + item * (4 * MIB // len(item)) + b'0],"stream":true}'
    worst, whole = [], []
    for _ in range(3):
        steps, spent = read_top_level(data, max_parsed_bytes=MIB), []
        before_s = time.thread_time()
        for _ in steps:
            spent.append(time.thread_time() - before_s)
            before_s = time.thread_time()
        worst.append(max(spent))
        whole.append(sum(spent))
    assert min(worst) < STEP_S
    assert min(whole) < 4.0


def test_a_mark_is_found_anywhere_in_a_spliced_body() -> None:
    fields = read(b'{"model":"m","messages":["%b", "mark"]}' % (b"x" * 300_000), short=4)
    encoded = encode_body({"user": "here", **fields})
    assert isinstance(encoded, Spliced)
    assert [encoded.has(mark) for mark in (b"here", b"mark", b"model", b"marks")] == [True, True, True, False]
    for place in range(64 * 1024 - 8, 64 * 1024 + 2):
        fields = read(b'{"messages":["%bmark%b"]}' % (b"x" * place, b"x" * 300_000), short=4)
        encoded = encode_body(fields)
        assert isinstance(encoded, Spliced)
        assert encoded.has(b"mark")
