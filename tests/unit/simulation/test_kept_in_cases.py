"""Test cases of aliases with a cache: the second of two equal requests, on the clock of the case."""

from __future__ import annotations

import json
from typing import Any

from gateway.reports.diff_words import outcome_texts
from gateway.simulation.cases.compare import compare_cases
from gateway.simulation.cases.file import Case, read
from gateway.simulation.cases.play import play
from gateway.wire.json import Json
from tests.compiling import table

ROUTES = """\
clients:
  default: {}
  search: {limits: [2 requests/day]}
models:
  faq: {chain: [openai/gpt-5.5, mistral/mistral-large-latest], cache: {ttl: 1h, stale_if_error: 1d}, retries: 0}
  shared: {chain: [openai/gpt-5.5], cache: {ttl: 1h, scope: shared}}
  plain: openai/gpt-5.5
"""
HELLO = "hello from openai/gpt-5.5"
DOWN: Json = {"openai/*": 500, "mistral/*": 500}


def case(expect: Json, *then: Json, request: Json = "faq", **more: Any) -> Case:
    one = {"name": "a case", "request": request, "expect": expect, "then": [*then], **more}
    found, problems = read(json.dumps({"cases": [one]}).encode(), name="routes.test.yaml")
    assert found is not None, problems
    [only] = found.cases
    return only


def told(expect: Json, *then: Json, **more: Any) -> list[tuple[int, str, tuple[str, ...]]]:
    """Play a case, and return its mismatches: request, check, what came instead."""
    return [
        (one.number, mismatch.check, mismatch.actual)
        for one in play(table(ROUTES), case(expect, *then, **more)).played
        for mismatch in one.mismatches
    ]


def test_the_second_request_is_a_hit_until_the_ttl_is_over() -> None:
    hit = {"cache": "hit", "attempts": [], "target": "openai/gpt-5.5", "text": HELLO}
    assert not told(
        {"cache": "miss", "attempts": ["openai/gpt-5.5"], "headers": {"cache-status": "gateway; fwd=miss; stored"}},
        {"expect": {**hit, "headers": {"cache-status": "gateway; hit; ttl=3600", "age": 0}}},
        {"after": "3599s", "expect": {**hit, "headers": {"age": 3599}}},
        {"after": "1s", "expect": {"cache": "miss"}},
        {"expect": hit},
    )


def test_a_wrong_expectation_says_what_came() -> None:
    assert told({"cache": "hit"}) == [(1, "cache", ("miss",))]
    assert told({"cache": "miss"}, request="plain") == [(1, "cache", ("(none)",))]
    assert not told({"cache": None}, request="plain")


def test_when_all_fail_an_answer_that_is_too_old_is_given() -> None:
    assert not told(
        {"cache": "miss"},
        {"after": "2h", "upstream": DOWN, "expect": {"cache": "stale", "text": HELLO, "headers": {"age": 7200}}},
        {"after": "23h", "expect": {"status": 502, "cache": "miss"}},
        upstream={},
    )


def test_a_stream_is_kept_with_its_text() -> None:
    assert not told(
        {"cache": "miss", "text": HELLO},
        {"expect": {"cache": "hit", "text": HELLO, "broken": False}},
        request={"model": "faq", "stream": True},
    )


def test_equal_requests_beside_another_wait_for_its_answer() -> None:
    assert not told({"cache": "collapsed", "text": HELLO, "attempts": []}, beside=5)


def test_clients_get_their_own_answers_and_hits_take_from_no_limit() -> None:
    repeated = {"client": "ann", "times": 5, "expect": {"status": 200, "cache": "hit"}}
    other = {"client": "bob", "expect": {"cache": "miss"}}
    assert not told({"cache": "miss"}, repeated, other, client="ann", group="search")
    assert not told({"cache": "miss"}, {**other, "expect": {"cache": "hit"}}, request="shared", client="ann")


def test_what_may_not_be_kept_is_a_bypass() -> None:
    assert not told({"cache": "bypass"}, {"expect": {"cache": "bypass"}}, headers={"cache-control": "no-store"})


def test_shares_are_counted_without_the_cache() -> None:
    pool = table("models: {fast: {chain: [{pool: {openai/a: 1, openai/b: 1}}], cache: 1h}}")
    counted = {"status": 200, "share": {"openai/a": "50%", "openai/b": "50%"}}
    result = play(pool, case(counted, {"expect": {"cache": "miss"}}, request="fast"))
    assert result.ok, result.played


def test_cases_do_not_share_answers() -> None:
    one = case({"cache": "miss"})
    assert all(play(table(ROUTES), one).ok for _ in range(2))


def test_a_diff_says_that_a_kept_answer_comes_now() -> None:
    new = table(ROUTES.replace("plain: openai/gpt-5.5", "plain: {chain: [openai/gpt-5.5], cache: 1h}"))
    twice = case({"status": 200}, {"expect": {"status": 200}}, request="plain")
    [change] = compare_cases(table(ROUTES), new, [twice], file="routes.test.yaml").changed
    assert (change.verdict, change.request) == ("passes", 2)
    assert outcome_texts(change, str) == ("openai/gpt-5.5 answers", "openai/gpt-5.5 answers, by a kept answer (hit)")


def test_a_diff_tells_of_no_case_that_only_fills_a_cache() -> None:
    new = table(ROUTES.replace("plain: openai/gpt-5.5", "plain: {chain: [openai/gpt-5.5], cache: 1h}"))
    once = case({"status": 200}, request="plain")
    assert not compare_cases(table(ROUTES), new, [once], file="routes.test.yaml").changed
