"""Differences between two tables as values. `test_diff` of the CLI tests the pairs of files in `tests/cases/diff`."""

from __future__ import annotations

from gateway.config.compare.changes import Change, Changes, Reach
from gateway.config.compare.policies import compare
from gateway.engine.arrange import shares
from tests.compiling import table


def changes(old: str, new: str) -> Changes:
    return compare(table(old), table(new), shares)


def only(old: str, new: str) -> Change:
    (change,) = changes(old, new).changes
    return change


def test_the_same_text_changes_nothing() -> None:
    text = "models: {a: [mock/a, mock/b], 'b/*': 'mock/*'}\n"
    found = changes(text, text)
    assert not found
    assert found.common == ("a", "b/*")


def test_a_change_that_many_aliases_share_is_one_record() -> None:
    models = "models: {a: [mock/a, mock/b], b: {chain: [mock/a], retries: 0}, c: mock/c}\n"
    change = only(f"defaults: {{retries: 1}}\n{models}", f"defaults: {{retries: 2}}\n{models}")
    assert (change.field, change.kind, change.old, change.new) == ("retries", "changed", 1, 2)
    assert change.reach == (Reach("a", steps=2), Reach("c", steps=1))


def test_a_step_of_its_own_names_its_target() -> None:
    change = only(
        "models: {a: [{target: mock/a, timeout: 5s}, mock/b]}\n",
        "models: {a: [{target: mock/a, timeout: {first_token: 2s, idle: 5s, total: 5s}}, mock/b]}\n",
    )
    assert change.field == "timeout"
    assert change.old == {"first_token": 5.0, "stream_total": None}
    assert change.new == {"first_token": 2.0, "stream_total": 5.0}
    assert change.reach == (Reach("a", ("mock/a",), steps=2),)


def test_what_takes_the_place_of_a_target_is_compared_with_it() -> None:
    found = changes(
        "models: {a: [{target: mock/a, retries: 0}, mock/b]}\n", "models: {a: [{target: mock/x, retries: 1}, mock/b]}\n"
    )
    assert [(change.field, change.kind, change.old, change.new) for change in found.changes] == [
        ("chain", "replaced", ["mock/a"], ["mock/x"]),
        ("retries", "changed", 0, 1),
    ]
    assert found.chains == {"a": (("mock/a", "mock/b"), ("mock/x", "mock/b"))}


def test_a_name_that_a_wildcard_takes_as_it_was_is_gone_without_further_changes() -> None:
    found = changes("models: {lab/a: mock/a, 'lab/*': 'mock/*'}\n", "models: {'lab/*': 'mock/*'}\n")
    assert [(one.alias, one.wildcard) for one in found.removed] == [("lab/a", "lab/*")]
    assert found.changes == ()
    assert found.common == ("lab/*",)


def test_a_name_that_no_wildcard_may_carry_is_taken_by_none() -> None:
    found = changes("models: {'lab/a+b': mock/a, 'lab/*': 'mock/*'}\n", "models: {'lab/*': 'mock/*'}\n")
    assert [one.wildcard for one in found.removed] == [None]


def test_one_is_not_true_and_how_a_number_or_a_mapping_is_written_is_nothing() -> None:
    change = only(
        "models: {a: {chain: [mock/a], params: {flag: 1, x: {b: 1, c: [2]}}}}\n",
        "models: {a: {chain: [mock/a], params: {x: {c: [2.0], b: 1}, flag: true}}}\n",
    )
    assert (change.field, change.old, change.new) == ("params.flag", 1, True)


def test_no_record_holds_a_secret() -> None:
    def text(secret: str) -> str:
        return (
            f"providers: {{v: {{kind: openai, base_url: 'http://127.0.0.1:1', api_key: {secret}, "
            f"headers: {{x-a: {secret}}}}}}}\n"
            f"models: {{a: {{chain: [v/m], params: {{metadata: {{api_key: {secret}, list: [{{token: {secret}}}]}}, "
            f"user: 'https://me:{secret}@example.com'}}}}}}\n"
        )

    found = changes(text("hidden-1"), text("hidden-2"))
    assert [change.field for change in found.changes] == [
        "params.metadata",
        "params.user",
        "providers.api_key",
        "providers.headers.x-a",
    ]
    assert "hidden" not in repr(found)
    assert all(change.old == change.new for change in found.changes)


def test_a_name_that_swallowed_its_secret_is_not_shown() -> None:
    provider = "providers: {v: {kind: openai, base_url: 'http://127.0.0.1:1'"
    models = "models: {a: {chain: [v/m], params: {'auth_token sesame': 1}}}\n"
    found = changes(
        f"{provider}, headers: {{k3v8q0zw5mx1: a}}}}}}\n{models}",
        f"{provider}, headers: {{k3v8q0zw5mx1: b}}}}}}\n{models.replace('1}', '2}')}",
    )
    assert [change.field for change in found.changes] == ["params.auth_token***", "providers.headers.***"]


def test_the_vendors_variable_is_the_same_written_or_not() -> None:
    models = "models: {a: openai/gpt-4o}\n"
    assert not changes(f"providers: {{openai: {{api_key: '${{OPENAI_API_KEY:-}}'}}}}\n{models}", models)
    change = only(f"providers: {{openai: {{api_key: '${{MINE:-}}'}}}}\n{models}", models)
    assert (change.old, change.new) == ("$MINE or none", "$OPENAI_API_KEY or none")
    assert change.providers == ("openai",)


def test_a_provider_that_nothing_calls_is_no_difference() -> None:
    entry = "providers: {v: {kind: openai, base_url: 'http://127.0.0.1:1'}}\n"
    assert not changes("models: {a: mock/a}\n", f"{entry}models: {{a: mock/a}}\n")


def test_a_new_provider_is_told_with_its_address_and_key() -> None:
    entry = "providers: {v: {kind: openai, base_url: 'http://127.0.0.1:1', api_key: '${K}', headers: {x-a: b}}}\n"
    found = changes("models: {a: mock/a}\n", f"{entry}models: {{a: v/a}}\n")
    (service,) = found.providers_added
    assert (service.provider, service.base_url, service.api_key, service.headers) == (
        "v", "http://127.0.0.1:1", "$K", ("x-a",),
    )  # fmt: skip
    assert [one.provider for one in found.providers_removed] == ["mock"]


def test_a_hook_is_compared_by_what_the_file_says_even_when_it_is_not_imported() -> None:
    models = "models: {a: mock/a, b: {chain: [mock/b], hooks: {post: [m.b]}}}\n"
    found = compare(
        table(f"hooks: {{pre: [m.a, {{path: m.c, timeout: '${{T:-1s}}'}}]}}\n{models}", skip_hooks=True),
        table(
            f"hooks: {{pre: [m.a, {{path: m.c, timeout: '${{T:-2s}}', on_error: skip}}]}}\n{models}", skip_hooks=True
        ),
        shares,
    )
    (change,) = found.changes
    assert change.field == "hooks.pre.m.c"
    assert change.new == {"timeout": "${T:-2s}", "on_error": "skip"}
    assert [reach.alias for reach in change.reach] == ["a", "b"]


def test_the_operations_of_a_hook_are_compared_by_what_they_mean() -> None:
    old, same, new = (
        table(f"hooks: {{pre: [{hook}]}}\nmodels: {{a: mock/a}}\n", skip_hooks=True)
        for hook in (
            "m.a",
            "{path: m.a, operations: [embeddings, chat]}",
            "{path: m.a, operations: [chat, messages, '${MORE:-speech}']}",
        )
    )
    assert not compare(old, same, shares)
    (change,) = compare(old, new, shares).changes
    assert change.old == {"operations": ["chat", "embeddings"]}
    assert change.new == {"operations": ["chat", "messages", "count_tokens", "${MORE:-speech}"]}


def test_a_nested_alias_hooks_are_compared_for_the_steps_that_it_leads_to() -> None:
    models = "models: {outer: [mock/a, {alias: safe}], safe: {chain: [mock/b, mock/c]HOOKS}}\n"
    bare = table(models.replace("HOOKS", ""), skip_hooks=True)
    hooked = table(models.replace("HOOKS", ", hooks: {pre: [m.redact], post: [m.stamp]}"), skip_hooks=True)
    slower = table(
        models.replace("HOOKS", ", hooks: {pre: [{path: m.redact, timeout: 1s}], post: [m.stamp]}"), skip_hooks=True
    )
    reach = (Reach("outer", ("mock/b", "mock/c"), 1, 3), Reach("safe", (), 1, 2))
    assert [(one.field, one.kind, one.new, set(one.reach)) for one in compare(bare, hooked, shares).changes] == [
        ("hooks.pre", "added", ["m.redact"], set(reach)),
        ("hooks.post", "added", ["m.stamp"], set(reach)),
    ]
    (change,) = compare(hooked, slower, shares).changes
    assert (change.field, change.old, change.new) == ("hooks.pre.m.redact", {"timeout": None}, {"timeout": 1.0})
    assert [one.alias for one in change.reach] == ["outer", "safe"]


def test_a_chain_in_place_of_an_alias_loses_its_hooks() -> None:
    safe = "safe: {chain: [mock/b], hooks: {pre: [m.redact]}}"
    old = table(f"models: {{outer: [{{alias: safe}}], {safe}}}\n", skip_hooks=True)
    new = table(f"models: {{outer: [mock/b], {safe}}}\n", skip_hooks=True)
    (change,) = compare(old, new, shares).changes
    assert (change.field, change.kind, change.old) == ("hooks.pre", "removed", ["m.redact"])
    assert [one.alias for one in change.reach] == ["outer"]


def test_a_changed_model_family_is_told_though_it_is_never_sent() -> None:
    change = only(
        "models: {a: {chain: [mock/a], params: {model_family: x}}}\n",
        "models: {a: {chain: [mock/a], params: {model_family: y}}}\n",
    )
    assert (change.field, change.old, change.new) == ("params.model_family", "x", "y")
