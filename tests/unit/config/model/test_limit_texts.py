"""Limits as texts: what is read is written back, and what is no limit is told why."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model.limit_texts import COUNTED, WINDOWS, amount_of, amount_text, limit_text, read_limit
from gateway.config.model.limit_texts import why_no_limit as why
from gateway.config.model.read import schema
from gateway.config.model.schema_check import fitting
from gateway.config.model.schema_faults import inline
from gateway.config.model.specs import LimitSpec
from tests.compiling import messages, table

LIMIT = fitting(inline(schema()["$defs"]["limit"], schema()))
AMOUNTS = st.integers(1, 10**12)
LIMITS = st.one_of(
    st.builds(LimitSpec, unit=st.sampled_from(COUNTED), amount=AMOUNTS.map(float), per=st.sampled_from(WINDOWS)),
    st.builds(LimitSpec, unit=st.just("concurrent"), amount=AMOUNTS.map(float)),
)


@given(LIMITS)
def test_the_normal_form_is_a_limit_and_reads_back(limit: LimitSpec) -> None:
    text = limit_text(limit.unit, limit.amount, limit.per)
    assert LIMIT(text), text
    assert read_limit(text) == limit


@given(LIMITS)
def test_the_long_form_is_the_same_limit(limit: LimitSpec) -> None:
    text = limit_text(limit.unit, limit.amount, limit.per)
    per = f", per: {limit.per}" if limit.per else ""
    long = f"{{{limit.unit}: {limit.amount:.0f}{per}}}"
    short, other = (
        table(f"clients: {{default: {{limits: [{form}]}}}}\nmodels: {{a: mock/a}}").clients["default"].limits
        for form in (text, long)
    )
    assert short == other
    assert [one.text for one in short] == [one.text for one in other] == [text]


@given(st.from_regex(r"\A[0-9]{1,6}(\.[0-9]{1,6})?[kM]?\Z").filter(lambda text: "." not in text or text[-1] in "kM"))
def test_an_amount_is_what_it_says_and_settles_in_one_form(text: str) -> None:
    amount = amount_of(text)
    number = float(text.rstrip("kM"))
    assert amount == pytest.approx(number * {"k": 1e3, "M": 1e6}.get(text[-1], 1))
    assert amount_text(amount_of(amount_text(amount))) == amount_text(amount)


@given(st.text(max_size=40))
def test_every_other_text_is_refused_in_words(text: str) -> None:
    if not LIMIT(text):
        said = why(text)
        assert said
        assert not said.endswith(".")


NUMBERS = st.from_regex(r"\A[0-9]{1,13}(\.[0-9]{1,8})?[kM]?\Z")


@given(NUMBERS, st.sampled_from(["rpm", "tokens", "request/day", "Tokens/hour", "concurrents"]))
def test_what_is_suggested_is_a_limit(number: str, words: str) -> None:
    said = why(f"{number} {words}")
    suggestion = re.search(r"did you mean '(.+)'\?|; write '(.+)', or another", said)
    assert suggestion is None or LIMIT(suggestion[1] or suggestion[2]), said


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (1, "1"), (60, "60"), (999, "999"), (1000, "1k"), (1001, "1001"), (1100, "1.1k"), (1110, "1110"),
        (400_000, "400k"), (1_000_000, "1M"), (1_500_000, "1.5M"), (1_550_000, "1550k"), (1e12, "1000000M"),
    ],
)  # fmt: skip
def test_an_amount_is_written_in_the_largest_sign_that_says_it(amount: float, text: str) -> None:
    assert amount_text(amount) == text
    assert amount_of(text) == amount


@pytest.mark.parametrize(
    ("amount", "text"), [(50, "$50/day"), (0.5, "$0.5/day"), (1250.25, "$1250.25/day"), (1e-5, "$0.00001/day")]
)
def test_spend_is_written_in_dollars(amount: float, text: str) -> None:
    assert limit_text("spend", amount, "day") == text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("60 rpm", "did you mean '60 requests/minute'?"),
        ("60rpm", "did you mean '60 requests/minute'?"),
        ("400k tpm", "did you mean '400k tokens/minute'?"),
        ("60 requests per minute", "did you mean '60 requests/minute'?"),
        ("60 Requests/Minute", "did you mean '60 requests/minute'?"),
        ("60requests / minute", "did you mean '60 requests/minute'?"),
        ("1 request/minute", "did you mean '1 requests/minute'?"),
        ("5k token/day", "did you mean '5k tokens/day'?"),
        ("5concurrent", "did you mean '5 concurrent'?"),
        ("0.5 concurrent", "is no whole number"),
        ("9999999999999 tokens/day", "at most 1,000,000,000,000"),
        ("60 parallel", "write it like"),
        ("60 tokens", "has no window"),
        ("60 requests/min", "did you mean 'minute'?"),
        ("5m tokens/day", "5M (millions)"),
        ("5K tokens/day", "400k (thousands)"),
        ("1_000 tokens/day", "has an odd number"),
        ("1.5 tokens/day", "is no whole number"),
        ("0k tokens/day", "is a limit of nothing"),
        ("$50/day", "{spend: 50, per: day}"),
        ("0.0000001M tokens/minute", "is no whole number"),
        ("1.0000000M tokens/minute", "did you mean '1M tokens/minute'?"),
        ("1000000000000 tokens/day", "did you mean '1000000M tokens/day'?"),
        ("1.5 rpm", "is no whole number"),
        ("0 rpm", "is a limit of nothing"),
        ("60 concurrent/minute", "write it like"),
        ("concurrent", "write it like"),
    ],
)
def test_a_slip_is_told_with_what_would_be_right(text: str, part: str) -> None:
    assert not LIMIT(text)
    assert part in why(text)


def test_a_variable_may_be_the_whole_limit_or_its_number() -> None:
    text = "clients: {default: {limits: ['${ALL}', '${N} requests/minute', {tokens: '${N}', per: '${PER}'}]}}"
    environ = {"ALL": "20 concurrent", "N": "1.5k", "PER": "day"}
    found = table(f"{text}\nmodels: {{a: mock/a}}", environ=environ).clients["default"].limits
    assert [limit.text for limit in found] == ["20 concurrent", "1.5k requests/minute", "1.5k tokens/day"]
    assert messages(f"{text}\nmodels: {{a: mock/a}}", environ=environ | {"N": "many", "PER": "week"}) == [
        "'${N} requests/minute' is no limit; write it like '60 requests/minute', '5M tokens/day' or '20 concurrent'",
        "'${N}' is no amount; write a whole number above zero, such as 60, 400k or 5M",
        "expected one of minute, hour, day, month, found '${PER}'",
    ]
