"""Timeouts, cooldowns and stream policies: layers merged key by key, the environment last."""

from __future__ import annotations

import pytest

from gateway.config.compiler.inherit import (
    Environment,
    merge_cooldowns,
    merge_streams,
    merge_timeouts,
    read_environment,
)
from gateway.config.model.specs import CooldownSpec, StreamSpec, TimeoutSpec
from gateway.errors import UsageError
from gateway.policy.table import StreamPolicy
from gateway.policy.target import Cooldown, Limits

BARE = TimeoutSpec(bare_s=10)


def limits(
    connect_s: float, first_token_s: float, idle_s: float, total_s: float, stream_total_s: float | None = None
) -> Limits:
    return Limits(
        connect_s=connect_s,
        first_token_s=first_token_s,
        idle_s=idle_s,
        total_s=total_s,
        stream_total_s=stream_total_s,
    )


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((), limits(5, 30, 30, 30)),
        ((None, None, None), limits(5, 30, 30, 30)),
        ((BARE,), limits(5, 10, 10, 10)),
        ((TimeoutSpec(bare_s=2),), limits(2, 2, 2, 2)),
        ((TimeoutSpec(total_s=600),), limits(5, 30, 30, 600, 600)),
        ((TimeoutSpec(connect_s=20),), limits(20, 30, 30, 30)),
        ((TimeoutSpec(first_token_s=3, idle_s=4),), limits(5, 3, 4, 30)),
        ((BARE, None, TimeoutSpec(idle_s=60, connect_s=1)), limits(5, 10, 10, 10)),
        ((TimeoutSpec(idle_s=60), BARE), limits(5, 10, 60, 10)),
        ((TimeoutSpec(idle_s=1), TimeoutSpec(idle_s=2, total_s=3), TimeoutSpec(total_s=4)), limits(5, 30, 1, 3, 3)),
        ((BARE, TimeoutSpec(total_s=60)), limits(5, 10, 10, 10, 60)),
    ],
)
def test_timeouts_merge_key_by_key_with_the_most_particular_layer_first(
    layers: tuple[TimeoutSpec | None, ...], expected: Limits
) -> None:
    assert merge_timeouts(layers, 30) == expected


def test_a_short_timeout_of_the_environment_shortens_connecting_too() -> None:
    assert merge_timeouts((None,), 2) == limits(2, 2, 2, 2)


def test_equal_layers_share_one_value() -> None:
    assert merge_timeouts((TimeoutSpec(bare_s=7), None), 30) is merge_timeouts((TimeoutSpec(bare_s=7), None), 30)


def test_cooldowns_merge_key_by_key_over_the_built_in_one() -> None:
    assert merge_cooldowns(None, None) == Cooldown()
    merged = merge_cooldowns(CooldownSpec(failures=1), CooldownSpec(failures=9, within_s=60), None)
    assert merged == Cooldown(failures=1, within_s=60, for_s=Cooldown().for_s)
    assert merge_cooldowns(CooldownSpec(for_s=5)).for_s == 5


def test_stream_policies_merge_key_by_key_over_the_built_in_one() -> None:
    assert merge_streams(None) == StreamPolicy()
    merged = merge_streams(StreamSpec(hold="full"), StreamSpec(hold="first_token", max_bytes=1024))
    assert merged == StreamPolicy(hold="full", max_bytes=1024)
    kept = merge_streams(StreamSpec(keepalive_s=5), StreamSpec(hold="full", keepalive_s=15))
    assert kept == StreamPolicy(hold="full", keepalive_s=5)
    assert merge_streams(StreamSpec(keepalive_s=0), StreamSpec(keepalive_s=15)) == StreamPolicy()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Environment(30, 3)),
        ({"LITELLM_TIMEOUT": "", "LITELLM_MAX_RETRIES": " "}, Environment(30, 3)),
        ({"LITELLM_TIMEOUT": "2.5", "LITELLM_MAX_RETRIES": "0"}, Environment(2.5, 0)),
        ({"LITELLM_TIMEOUT": " 60 ", "LITELLM_MAX_RETRIES": "100"}, Environment(60, 100)),
        ({"LITELLM_MAX_RETRIES": "0" * 5000}, Environment(30, 0)),
    ],
)
def test_the_environment_says_what_the_file_does_not(environ: dict[str, str], expected: Environment) -> None:
    assert read_environment(environ) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("LITELLM_TIMEOUT", value) for value in ("soon", "0", "-1", "nan", "inf", "10s", "1e999")),
        *(
            ("LITELLM_MAX_RETRIES", value)
            for value in ("many", "-1", "1.5", "101", "²", "99999999999", "00991234", "0101")
        ),
    ],
)
def test_a_malformed_variable_is_a_usage_error_that_names_it(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        read_environment({name: value})
