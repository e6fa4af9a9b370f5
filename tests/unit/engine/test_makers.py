"""Who made an id, for whom: bounded, and without keys."""

from __future__ import annotations

from gateway.engine.makers import ENTRY_BYTES, MAX_ID, Makers, account_of
from gateway.policy.keys import KeySource, Secret
from gateway.policy.target import Endpoint, Target


def target(name: str = "one/a", *, base_url: str = "https://one.example/v1", source: str = "${ONE}") -> Target:
    key = KeySource(name=source, value=Secret("sk-very-secret"))
    endpoint = Endpoint(provider="one", kind="openai", adapter="relay", base_url=base_url, api_key=key)
    return Target(name=name, model=name.partition("/")[2], label=name, endpoint=endpoint)


def test_an_id_leads_to_its_maker_for_its_client_only() -> None:
    makers = Makers()
    makers.note(["resp_1"], target(), alias="fast", client="alice")
    maker = makers.find("resp_1", client="alice")
    assert maker is not None
    assert (maker.target, maker.alias) == ("one/a", "fast")
    assert makers.find("resp_1", client="bob") is None
    assert makers.find("resp_1", client=None) is None
    makers.note(["resp_1"], target("one/b"), alias="fast", client="bob")
    assert makers.find("resp_1", client="alice") == maker


def test_the_number_is_bounded_and_what_was_used_last_stays() -> None:
    makers = Makers(max_ids=3)
    makers.note(["a", "b", "c"], target(), alias="", client=None)
    assert makers.find("a", client=None) is not None
    makers.note(["d"], target(), alias="", client=None)
    assert [name for name in "abcd" if makers.find(name, client=None)] == ["a", "c", "d"]
    assert len(makers) == 3


def test_the_bytes_are_bounded_and_counted_once() -> None:
    makers = Makers(max_bytes=10 * (ENTRY_BYTES + 100))
    for number in range(50):
        for _ in range(2):
            makers.note([f"{number:0100}"], target(), alias="", client=None)
    assert (len(makers), makers.size_bytes) == (10, 10 * (ENTRY_BYTES + 100))
    for number in range(50):
        makers.forget(f"{number:0100}", client=None)
    assert (len(makers), makers.size_bytes) == (0, 0)


def test_a_long_id_is_not_remembered() -> None:
    makers = Makers()
    makers.note(["x" * MAX_ID, "y" * (MAX_ID + 1)], target(), alias="", client=None)
    assert len(makers) == 1
    assert makers.find("y" * (MAX_ID + 1), client=None) is None


def test_no_address_and_no_key_are_in_it() -> None:
    makers = Makers()
    makers.note(["a"], target(base_url="https://user:password@one.example"), alias="fast", client="alice")
    shown = repr(vars(makers))
    assert "password" not in shown
    assert "secret" not in shown
    assert "one.example" not in shown


def test_an_account_is_one_provider_address_and_key() -> None:
    same = account_of(target().identity)
    assert account_of(target("one/b").identity) == same
    others = [target("two/a"), target(base_url="https://two.example/v1"), target(source="${TWO}")]
    assert same not in {account_of(other.identity) for other in others}
