"""Lists of keys: one endpoint with each, and the secrets of all in what is masked."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from gateway.policy.keys import MAX_KEY_FILE_BYTES, KeyList, KeySource, Secret
from gateway.policy.table import Step
from gateway.policy.target import Endpoint, Limits, Target

LIMITS = Limits(connect_s=1, first_token_s=1, idle_s=1, total_s=1)
ONE, TWO = "sk-one-0123456789abcdef", "sk-two-0123456789abcdef"


def source(key: str | None, *, name: str | None = None) -> KeySource:
    return KeySource(name=name or str(key), value=Secret(key) if key else None)


def endpoint(api_key: KeySource) -> Endpoint:
    return Endpoint(provider="up", kind="openai", adapter="relay", base_url="http://up/v1", api_key=api_key)


def test_a_list_reads_as_its_first_key_that_there_is() -> None:
    assert KeyList([source(None), source("b")]).read() == Secret("b")
    assert KeyList([source(None), source(None)]).read() is None


def test_lists_are_equal_when_their_sources_are() -> None:
    assert KeyList([source("a"), source("b")]) == KeyList([source("a"), source("b")])
    assert KeyList([source("a"), source("b")]) != KeyList([source("b"), source("a")])
    assert KeyList([source("a"), source("b")]) != source("a, b")
    assert hash(KeyList([source("a")])) == hash(KeyList([source("a")]))


def test_a_list_knows_the_keys_of_all_its_sources_also_once_a_file_changed(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    keys = KeyList([source("a"), KeySource(name="f", file=file)])
    assert [*keys.known] == [Secret("a"), Secret("old")]
    file.write_text("newer")
    assert keys.sources[1].read() == Secret("newer")
    assert [*keys.known] == [Secret("a"), Secret("newer"), Secret("old")]


@pytest.mark.parametrize("data", [b"", b"\n", b"two words", b"\xff", b"x" * (MAX_KEY_FILE_BYTES + 1), None])
def test_a_file_that_has_no_key_any_more_keeps_the_last_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes | None
) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    kept, dropped = KeySource(name="f", file=file), KeySource(name="f", file=file, keeps=False)
    assert kept.read() == dropped.read() == Secret("old")
    file.unlink() if data is None else file.write_bytes(data)
    for _ in range(3):
        assert (kept.read(), dropped.read()) == (Secret("old"), None)
    assert caplog.messages == ["key not read again: the last one stays"]
    file.write_text("new")
    assert kept.read() == dropped.read() == Secret("new")
    file.write_bytes(b"")
    assert kept.read() == Secret("new")
    assert caplog.messages.count("key not read again: the last one stays") == 2
    assert "old" not in caplog.text
    assert "new" not in caplog.text


def test_a_rotation_is_in_the_log_by_the_digest_of_the_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    file = tmp_path / "key"
    file.write_text(ONE)
    source = KeySource(name="f", file=file)
    source.read()
    assert caplog.messages == []
    file.write_text(TWO)
    source.read()
    [record] = caplog.records
    assert (record.message, vars(record)["file"], vars(record)["key"]) == ("key read again", str(file), source.short)


def test_a_key_is_told_by_four_characters_of_its_digest_and_without_one_of_its_name() -> None:
    assert source(ONE).short == sha256(ONE.encode()).hexdigest()[:4]
    assert source(None, name="${K}").short == sha256(b"${K}").hexdigest()[:4]


def test_an_endpoint_with_several_keys_has_one_with_each_and_they_mask_the_keys_of_all() -> None:
    found = endpoint(KeyList([source(ONE), source(TWO)]))
    assert [one.api_key.read() for one in found.by_key] == [Secret(ONE), Secret(TWO)]
    for one in (found, *found.by_key):
        assert one.echoes.mask(f"not {ONE}, not {TWO}") == "not ***, not ***"
        assert one.echoes.in_answer(f'"{TWO}"'.encode())
    assert endpoint(source(ONE)).by_key == ()


def test_a_step_has_one_with_each_key_also_where_a_wildcard_is_filled_in() -> None:
    target = Target(name="up/m", model="m", label="up/*", endpoint=endpoint(KeyList([source("a"), source("b")])))
    step = Step(target=target, limits=LIMITS, retries=3)
    assert [one.target.endpoint.api_key.name for one in step.by_key] == ["a", "b"]
    assert {(one.target.name, one.retries, one.by_key) for one in step.by_key} == {("up/m", 3, ())}
    assert len({one.target.identity for one in (step, *step.by_key)}) == 3
    only = Step(target=target, limits=LIMITS, key=1)
    assert [one.target.endpoint.api_key.name for one in only.by_key] == ["b"]
