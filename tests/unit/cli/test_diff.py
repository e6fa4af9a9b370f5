"""`gateway diff`: its report of a change in each format, and where it reads both sides.

The pairs of policies and their reports are files in `tests/cases/diff`. `python -m tests.unit.cli.test_diff` rewrites
the reports; read each line of the difference.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.config.compare.policies import compare
from gateway.engine.arrange import shares
from gateway.reports.diff_text import Difference, code, text_lines
from gateway.reports.problems import Painter
from gateway.wire.json import JsonObject
from tests.compiling import table
from tests.paths import ROOT

POLICY = ROOT / "examples" / "policy"
CASES = ROOT / "tests" / "cases" / "diff"
NAMES = sorted(file.name.removesuffix(".old.yaml") for file in CASES.glob("*.old.yaml"))

SMALL = "version: 1\ndefaults: {retries: 0}\nmodels: {smart: [openai/gpt-4o, mistral/mistral-large-latest]}\n"
SWAPPED = SMALL.replace("openai/gpt-4o, mistral/mistral-large-latest", "mistral/mistral-large-latest, openai/gpt-4o")
MISTRAL = "`mistral/mistral-large-latest`"
SAID = "~ smart: openai/gpt-4o and mistral/mistral-large-latest swap places; mistral/mistral-large-latest is first now"


def clear(environ: dict[str, str]) -> dict[str, str]:
    """Return an environment without the variables that change a report."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(("GATEWAY_", "LITELLM_", "GIT_")) and not name.endswith(("_API_KEY", "_KEY"))
    }


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ.keys() - clear(dict(os.environ)).keys():
        monkeypatch.delenv(name)
    for name, value in (("GIT_CONFIG_GLOBAL", os.devnull), ("GIT_CONFIG_NOSYSTEM", "1"), ("HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.com")
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)


def diff(*argv: str) -> tuple[int, str, str]:
    """Run the command; return its exit code and its output."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        exit_code = main(["diff", *argv])
    return exit_code, out.getvalue(), err.getvalue()


def report(name: str, *argv: str) -> str:
    with chdir(CASES):
        return diff(f"{name}.old.yaml", f"{name}.new.yaml", *argv)[1]


def as_json(*argv: str) -> JsonObject:
    value: JsonObject = json.loads(diff(*argv, "--format", "json")[1])
    return value


def git(*argv: str) -> None:
    subprocess.run(["git", *argv], check=True, capture_output=True)


def commit(**files: str) -> None:
    for name, text in files.items():
        Path(f"{name}.yaml").write_text(text)
    git("add", ".")
    git("commit", "-q", "-m", "a change")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of `routes.yaml`; it is the current folder."""
    git("init", "-q", "-b", "main")
    commit(routes=SMALL)
    return tmp_path


class TestPairs:
    @pytest.mark.parametrize("name", NAMES)
    def test_what_is_said_of_a_pair(self, name: str) -> None:
        assert report(name) == (CASES / f"{name}.diff").read_text(encoding="utf-8")

    @pytest.mark.parametrize("name", NAMES)
    def test_nothing_differs_from_itself(self, name: str) -> None:
        with chdir(CASES):
            for side in ("old", "new"):
                file = f"{name}.{side}.yaml"
                exit_code, out, err = diff(file, file, "--exit-code")
                assert (exit_code, err) == (0, "")
                assert out.startswith(f"{file} → {file}: no change in behaviour")

    @pytest.mark.parametrize("name", NAMES)
    def test_every_format_tells_of_the_same_and_none_of_a_secret(self, name: str) -> None:
        whole = json.loads(report(name, "--format", "json"))
        assert whole["changed"] == (name != "refactoring")
        for form in ("text", "markdown", "json"):
            assert "sk-hidden" not in report(name, "--format", form, "-v")
        for change in whole["changes"]:
            assert change.keys() == {"field", "kind", "old", "new", "providers", "group", "text", "aliases"}

    def test_every_pair_has_its_report(self) -> None:
        assert {*NAMES} == {file.stem for file in CASES.glob("*.diff")} == {
            file.name.removesuffix(".new.yaml") for file in CASES.glob("*.new.yaml")
        }  # fmt: skip

    def test_outcomes_are_told_in_full_when_asked(self) -> None:
        assert report("outcomes", "-v").splitlines()[4:] == [
            "! 1 of 6 test cases newly fails:",
            "    chat goes to OpenAI: openai/gpt-4o answers → mistral/mistral-large-latest answers",
            "+ 1 of 6 test cases newly passes:",
            "    chat goes to Mistral: openai/gpt-4o answers → mistral/mistral-large-latest answers",
            "~ 2 of 6 test cases end otherwise and pass:",
            "    chat answers: openai/gpt-4o answers → mistral/mistral-large-latest answers",
            "    two calls: openai/gpt-4o-mini answers → openai/gpt-4o answers",
            "~ 1 of 6 test cases ends otherwise and fails as before:",
            "    nobody likes this: openai/gpt-4o-mini answers → 503 upstream_failed",
        ]


class TestTheExamplePolicy:
    """A reviewer reads the changes for each audience in five lines."""

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            pytest.param(
                "      - openai/gpt-5.4-mini\n      - anthropic/claude-haiku-4-5\n",
                "      - anthropic/claude-haiku-4-5\n      - openai/gpt-5.4-mini\n",
                "~ chat (1st), chat-pro (3rd), gpt-3.5-turbo (1st): "
                "openai/gpt-5.4-mini and anthropic/claude-haiku-4-5 swap places",
                id="two targets are swapped",
            ),
            pytest.param(
                "  summarize:\n",
                "  sumarize:\n",
                "- summarize: gone, asking for it is a 404 now",
                id="an alias is misspelt",
            ),
            pytest.param(
                "    chain: [openai/gpt-5.4-mini, mistral/mistral-small-latest]\n",
                "    chain: [openai/gpt-5.4-mini]\n",
                "~ triage (2nd, no fallback is left), classify (3rd): mistral/mistral-small-latest removed",
                id="a fallback is dropped",
            ),
        ],
    )
    def test_a_slip_is_told_in_five_lines(self, old: str, new: str, told: str) -> None:
        text = (POLICY / "routes.yaml").read_text()
        assert text.count(old) == 1
        for file in ("policy_hooks.py", "routes.test.yaml"):
            Path(file).write_text((POLICY / file).read_text())
        Path("routes.yaml").write_text(text.replace(old, new))
        exit_code, out, _ = diff(str(POLICY / "routes.yaml"))
        assert exit_code == 0
        assert told in out.splitlines()
        assert " newly fail" in out
        assert len(out.splitlines()) <= 5

    def test_it_takes_well_below_a_second_of_processor_time(self) -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "gateway", "diff", "routes.yaml", "routes.yaml"]
        done = subprocess.run(
            command, cwd=POLICY, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.stdout == ("routes.yaml → routes.yaml: no change in behaviour, and 69 test cases end as before\n")
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3, "several times what it takes"


class TestSides:
    def test_without_arguments_the_work_tree_is_compared_with_the_last_commit(self, repository: Path) -> None:
        assert diff()[1] == "HEAD:routes.yaml → routes.yaml: no change in behaviour\n"
        Path("routes.yaml").write_text(SWAPPED)
        assert diff() == (0, f"HEAD:routes.yaml → routes.yaml\n{SAID}\n", "")

    def test_the_exit_code_tells_when_asked(self, repository: Path) -> None:
        assert diff("--exit-code")[0] == 0
        Path("routes.yaml").write_text(SWAPPED)
        assert [diff("--exit-code", "--format", form)[0] for form in ("text", "markdown", "json")] == [1, 1, 1]

    def test_revisions_tags_paths_and_the_index(self, repository: Path) -> None:
        git("tag", "v1")
        commit(routes=SWAPPED)
        for argv, title in [
            (("v1",), "v1:routes.yaml → routes.yaml"),
            (("v1", "HEAD"), "v1:routes.yaml → HEAD:routes.yaml"),
            (("HEAD~1:routes.yaml", "main:./routes.yaml"), "HEAD~1:routes.yaml → main:routes.yaml"),
            (("v1", "routes.yaml"), "v1:routes.yaml → routes.yaml"),
            (("v1", ":routes.yaml"), "v1:routes.yaml → :routes.yaml"),
        ]:
            assert diff(*argv) == (0, f"{title}\n{SAID}\n", "")

    def test_a_revision_alone_means_the_other_sides_file_unless_the_config_is_named(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit(other=SMALL)
        Path("other.yaml").write_text(SWAPPED)
        assert diff("HEAD", "other.yaml")[1].startswith("HEAD:other.yaml → other.yaml\n~ smart")
        assert diff("HEAD", "other.yaml", "--config", "routes.yaml")[1].startswith("HEAD:routes.yaml → other.yaml\n")
        monkeypatch.setenv("GATEWAY_CONFIG", "routes.yaml")
        assert diff("other.yaml", "HEAD")[1].startswith("other.yaml → HEAD:other.yaml\n~ smart")

    def test_a_file_outside_of_every_repository_is_compared_with_the_config_files_revision(
        self, repository: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        outside = tmp_path_factory.mktemp("outside") / "candidate.yaml"
        outside.write_text(SWAPPED)
        assert diff("HEAD", str(outside))[1] == f"HEAD:routes.yaml → {outside}\n{SAID}\n"

    def test_a_folder_below_and_the_variable(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("deep/er").mkdir(parents=True)
        commit(**{"deep/er/policy": SMALL})
        Path("deep/er/policy.yaml").write_text(SWAPPED)
        monkeypatch.setenv("GATEWAY_CONFIG", "deep/er/policy.yaml")
        assert diff()[1] == f"HEAD:deep/er/policy.yaml → deep/er/policy.yaml\n{SAID}\n"
        monkeypatch.chdir("deep")
        told = diff("HEAD:deep/er/policy.yaml", "er/policy.yaml")[1]
        assert told == f"HEAD:deep/er/policy.yaml → er/policy.yaml\n{SAID}\n"

    def test_an_existing_file_goes_before_a_revision_and_a_folder_does_not(self, repository: Path) -> None:
        git("branch", "candidate")
        git("branch", "policies")
        Path("candidate").write_text(SWAPPED)
        Path("policies").mkdir()
        assert diff("candidate", "routes.yaml")[1].startswith("candidate → routes.yaml\n~ smart")
        assert diff("policies")[1].startswith("policies:routes.yaml → routes.yaml: no change")

    def test_standard_input_is_a_side(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for argv, title in ((("HEAD", "-"), "HEAD:routes.yaml → <stdin>"), (("-",), "<stdin> → routes.yaml")):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SWAPPED.encode())))
            assert diff(*argv)[1].startswith(f"{title}\n~ smart")

    def test_a_linked_config_file_is_followed(self, repository: Path) -> None:
        Path("linked.yaml").symlink_to("routes.yaml")
        assert diff("HEAD", "linked.yaml")[1] == "HEAD:routes.yaml → linked.yaml: no change in behaviour\n"

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (("rotes.yaml",), "'rotes.yaml' is neither a file nor a revision of this repository"),
            (("v9:routes.yaml",), "cannot read v9:routes.yaml: there is no revision 'v9' in this repository"),
            (("HEAD:rotes.yaml",), "cannot read HEAD:rotes.yaml: there is no rotes.yaml at HEAD"),
            (("HEAD", "--config", "new.yaml"), "cannot read HEAD:new.yaml: there is no new.yaml at HEAD"),
            ((":rotes.yaml",), "cannot read :rotes.yaml: there is no rotes.yaml in the index"),
            (("HEAD:folder",), "cannot read HEAD:folder: folder is a folder at HEAD"),
            (("HEAD:",), "'HEAD:' names no file; write HEAD:routes.yaml, or HEAD alone"),
            (("main..HEAD",), "'main..HEAD' is a range; name both ends: gateway diff main HEAD"),
            (("...main",), "'...main' is a range; name both ends: gateway diff HEAD main"),
            (("--", "--output=x"), "'--output=x' is neither a file nor a revision"),
            (("-", "-"), "both sides are standard input; `-` may stand for one of them"),
            (("",), "'' is neither a file nor a revision"),
            (("routes.yaml", "a\0b"), "'a\\x00b' is neither a file nor a revision"),
            (("HEAD", "--config", "no/routes.yaml"), "cannot read HEAD:no/routes.yaml: there is no folder no"),
            (("routes.yaml", "--config", "no.yaml"), "cannot read no.yaml: no such file or directory"),
        ],
    )
    def test_what_cannot_be_read_is_told(self, repository: Path, argv: tuple[str, ...], said: str) -> None:
        Path("folder").mkdir()
        commit(**{"folder/x": "x"})
        Path("new.yaml").write_text(SMALL)
        assert diff(*argv) == (2, "", f"gateway: {said}\n")

    def test_a_full_hash_is_cut_short(self, repository: Path) -> None:
        done = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        full = done.stdout.strip()
        Path("routes.yaml").write_text(SWAPPED)
        exit_code, out, _ = diff(full)
        assert exit_code == 0
        assert out.startswith(f"{full[:12]}:routes.yaml → routes.yaml\n")
        exit_code, out, _ = diff(f"{full}:./routes.yaml")
        assert out.startswith(f"{full[:12]}:routes.yaml → routes.yaml\n")

    def test_a_shallow_clone_may_lack_a_revision(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        commit(routes=SWAPPED)
        git("clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
        monkeypatch.chdir("shallow")
        exit_code, _, err = diff("HEAD~1")
        assert exit_code == 2
        assert "'HEAD~1' is neither a file nor a revision of this repository; the clone is shallow" in err

    def test_without_a_repository_or_without_git_two_files_are_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("routes.yaml").write_text(SMALL)
        assert diff()[2] == "gateway: 'HEAD' is no file, and this folder is in no git repository; name two files\n"
        monkeypatch.setenv("PATH", "")
        assert "git is not installed" in diff()[2]
        assert diff("routes.yaml", "routes.yaml")[0] == 0

    def test_what_git_itself_refuses_is_told_in_its_words(self, repository: Path) -> None:
        Path(".git/config").write_text("[core\n")
        assert diff() == (2, "", "gateway: cannot read HEAD: git says: bad config line 1 in file .git/config\n")


class TestProblems:
    BAD = "version: 1\nmodels: {smart: [opnai/gpt-4o]}\n"

    def test_a_side_with_problems_is_told_as_validate_does(self, repository: Path) -> None:
        commit(routes=self.BAD)
        exit_code, out, err = diff()
        assert (exit_code, err) == (1, "")
        lines = out.splitlines()
        assert lines[0] == (
            "HEAD:routes.yaml:2:18: unknown-provider: models.smart[0]: "
            "no provider named 'opnai'; did you mean 'openai'?"
        )
        assert lines[-2:] == ["1 problem in HEAD:routes.yaml", "1 problem in routes.yaml"]

    def test_the_same_file_twice_has_its_problems_once(self) -> None:
        Path("routes.yaml").write_text(self.BAD)
        assert diff("routes.yaml", "routes.yaml")[1].count("unknown-provider") == 1

    def test_as_data_and_as_a_comment(self, repository: Path) -> None:
        Path("routes.yaml").write_text(self.BAD)
        whole = as_json()
        assert (whole["ok"], whole["changed"], len(whole["problems"])) == (False, None, 1)
        assert diff("--format", "markdown")[1].startswith(
            "### Routing policy: 1 problem\n\n- `routes.yaml:2:18: unknown-provider"
        )

    def test_missing_keys_never_matter(self, repository: Path) -> None:
        text = 'version: 1\nproviders: {openai: {api_key: "${NOT_SET}"}}\nmodels: {smart: openai/gpt-4o}\n'
        commit(routes=text)
        assert diff() == (0, "HEAD:routes.yaml → routes.yaml: no change in behaviour\n", "")


class TestHooksAndCases:
    HOOKED = f"{SMALL}hooks: {{pre: [own_diff_hooks.shout]}}\n"
    TESTS = "cases: [{name: OpenAI first, request: smart, expect: {target: openai/gpt-4o}}]\n"

    def test_hooks_of_a_revision_are_the_work_trees(self, repository: Path) -> None:
        Path("own_diff_hooks.py").write_text("print('hello')\ndef shout(request):\n    return request\n")
        commit(routes=SMALL)
        Path("routes.yaml").write_text(self.HOOKED)
        assert diff()[:2] == (0, "HEAD:routes.yaml → routes.yaml\n~ smart: pre hook own_diff_hooks.shout added\n")

    def test_a_revisions_hook_that_is_gone_is_compared_all_the_same(self, repository: Path) -> None:
        commit(routes=self.HOOKED.replace("own_diff_hooks", "gone_diff_hooks"))
        Path("routes.yaml").write_text(SMALL)
        assert diff()[1].splitlines() == [
            "HEAD:routes.yaml → routes.yaml",
            "~ smart: pre hook gone_diff_hooks.shout removed",
            "note: hooks are left out: the work tree lacks some of HEAD:routes.yaml",
        ]
        Path("routes.yaml").write_text(self.HOOKED.replace("own_diff_hooks", "gone_diff_hooks"))
        assert diff()[0] == 1, "a hook that the work tree's own file names has to be there"
        assert diff("--skip-hooks")[1] == "HEAD:routes.yaml → routes.yaml: no change in behaviour\n"

    def test_cases_are_those_of_the_new_side(self, repository: Path) -> None:
        commit(**{"routes": SWAPPED, "routes.test": self.TESTS})
        Path("routes.test.yaml").unlink()
        assert as_json("HEAD~1")["cases"] is None
        assert as_json("HEAD~1", "HEAD")["cases"] == {
            "file": "HEAD:routes.test.yaml",
            "played": 1,
            "changed": [
                {
                    "name": "OpenAI first",
                    "line": 1,
                    "verdict": "newly fails",
                    "request": 1,
                    "old": an_outcome("openai/gpt-4o"),
                    "new": an_outcome("mistral/mistral-large-latest"),
                }
            ],
        }

    def test_cases_of_a_folder_that_is_gone_are_played(self, repository: Path) -> None:
        Path("deep").mkdir()
        commit(**{"deep/routes": SMALL, "deep/routes.test": self.TESTS})
        git("rm", "-r", "-q", "deep")
        assert not Path("deep").exists()
        assert diff("HEAD:deep/routes.yaml", "HEAD:deep/routes.yaml")[1].endswith("1 test case ends as before\n")

    def test_cases_that_cannot_be_played_are_noted(self, repository: Path) -> None:
        Path("routes.test.yaml").write_text("cases: []\n")
        assert diff()[1].splitlines()[1:] == [
            "note: routes.test.yaml has 1 problem, so its cases are not played; gateway test tells more"
        ]
        Path("routes.test.yaml").write_text(f"env: {{LITELLM_TIMEOUT: '5'}}\n{self.TESTS}")
        assert diff()[1].endswith("no change in behaviour, and 1 test case ends as before\n")
        Path("routes.yaml").write_text(SMALL.replace("retries: 0", "retries: '${TIMES:-1}'"))
        Path("routes.test.yaml").write_text(f"env: {{TIMES: many}}\n{self.TESTS}")
        assert "note: with the `env` of routes.test.yaml a side has problems" in diff()[1]

    def test_a_case_that_only_expects_other_parameters_fails_without_ending_otherwise(self, repository: Path) -> None:
        tests = "cases: [{name: cool, request: smart, expect: {sent: {temperature: 0}}}]\n"
        commit(**{"routes": SMALL.replace("}\nmodels", ", params: {temperature: 0}}\nmodels"), "routes.test": tests})
        Path("routes.yaml").write_text(SMALL)
        assert diff("-v")[1].splitlines()[2:] == ["! 1 of 1 test case newly fails:", "    cool"]
        (case,) = as_json()["cases"]["changed"]
        assert (case["verdict"], case["request"], case["old"], case["new"]) == ("newly fails", None, None, None)


class TestWords:
    def test_many_changes_of_one_audience_stand_below_it(self) -> None:
        Path("old.yaml").write_text(SMALL)
        longer = "timeout: 20s, deadline: 3m, max_attempts: 5, retry_on: [overloaded], cooldown: {for: 1m, within: 1h}"
        Path("new.yaml").write_text(SMALL.replace("retries: 0", f"retries: 1, {longer}"))
        assert diff("old.yaml", "new.yaml")[1].splitlines()[1:] == [
            "~ smart:",
            "    timeout first_token/idle/total 30s → 20s",
            "    retries 0 → 1",
            "    deadline 2m → 3m",
            "    max_attempts 8 → 5",
            "    cooldown within 30s → 1h, for 15s → 1m",
            "    retry_on drops connection, rate_limit, server_error, bad_response",
        ]

    def test_a_limit_of_most_providers_names_the_first_of_them(self) -> None:
        own = "".join(f"  p{number}: {{kind: mock}}\n" for number in range(6))
        chain = ", ".join(f"p{number}/m" for number in range(6))
        text = f"version: 1\nproviders:\n{own}models: {{a: [{chain}]}}\n"
        Path("old.yaml").write_text(text.replace("p5: {kind: mock}", "p5: {kind: mock, cooldown: {for: 5s}}"))
        Path("new.yaml").write_text(
            text.replace("p5: {kind: mock}", "p5: {kind: mock, cooldown: {for: 5s}}")
            + "defaults: {cooldown: {for: 1m}}\n"
        )
        assert diff("old.yaml", "new.yaml")[1].splitlines()[1:] == [
            "~ a: cooldown of 5 providers (p0, p1, p2, …) for 15s → 1m"
        ]

    def test_other_calls_with_the_same_end_are_told(self) -> None:
        Path("old.yaml").write_text(SMALL)
        Path("new.yaml").write_text(SMALL.replace("retries: 0", "retries: 1"))
        Path("new.test.yaml").write_text(
            "cases: [{name: an outage, request: smart, upstream: {openai/gpt-4o: 503}, expect: {status: 200}}]\n"
        )
        assert diff("old.yaml", "new.yaml", "-v")[1].splitlines()[-1] == (
            "    an outage: openai/gpt-4o overloaded, mistral/mistral-large-latest → "
            "openai/gpt-4o overloaded ×2, mistral/mistral-large-latest"
        )

    def test_a_broken_stream_is_told(self) -> None:
        Path("old.yaml").write_text(SMALL)
        Path("new.yaml").write_text(SMALL.replace("retries: 0", "retries: 0, stream: {hold: full}"))
        Path("new.test.yaml").write_text(
            "cases: [{name: a break, request: {model: smart, stream: true}, "
            "upstream: {openai/gpt-4o: {cut: 1}}, expect: {status: 200}}]\n"
        )
        assert diff("old.yaml", "new.yaml", "-v")[1].splitlines()[-1] == (
            "    a break: openai/gpt-4o breaks off: 200 stream_broken → mistral/mistral-large-latest answers"
        )

    def test_colours_are_for_terminals(self) -> None:
        told = Difference(
            old="old",
            new="new",
            changes=compare(
                table("models: {a: mock/a, b: mock/b}\n"), table("models: {a: mock/c, c: mock/b}\n"), shares
            ),
            cases=None,
        )
        assert list(text_lines(told, Painter(colour=True), verbose=False)) == [
            "\x1b[1mold → new\x1b[0m",
            "\x1b[31m-\x1b[0m b: gone, asking for it is a 404 now",
            "\x1b[32m+\x1b[0m c: new, goes to mock/b",
            "\x1b[33m~\x1b[0m a: mock/a replaced by mock/c",
        ]

    def test_control_characters_are_escaped(self) -> None:
        Path("old.yaml").write_text(SMALL)
        Path("new.yaml").write_text(SMALL.replace("retries: 0", 'retries: 0, params: {"a\\e[31m": "\\e]0;x"}'))
        assert "\x1b" not in diff("old.yaml", "new.yaml")[1]


def an_outcome(target: str) -> JsonObject:
    attempts = [{"target": target, "kind": None}]
    ended = {"target": target, "status": 200, "error": None, "broken": False, "limited": None, "kept": None}
    return {**ended, "attempts": attempts}


class TestMarkdown:
    def test_a_comment_on_a_pull_request(self) -> None:
        assert report("outcomes", "--format", "markdown").splitlines()[:6] == [
            "### Routing policy: `outcomes.old.yaml` → `outcomes.new.yaml`",
            "",
            "| | for whom | what changes |",
            "|---|---|---|",
            f"| ✏️ | `chat` | `openai/gpt-4o` and {MISTRAL} swap places; {MISTRAL} is first now |",
            "| ✏️ | `pair` | `openai/gpt-4o-mini` removed (was 2nd); no fallback is left |",
        ]
        assert report("refactoring", "--format", "markdown").splitlines()[-1] == "No change in behaviour."

    def test_cases_that_end_as_before_and_notes_are_told(self) -> None:
        Path("old.yaml").write_text(SMALL)
        Path("new.yaml").write_text(f"{SMALL}# the same\n")
        Path("new.test.yaml").write_text(TestHooksAndCases.TESTS)
        told = ["No change in behaviour.", "", "1 test case ends as before: `new.test.yaml`."]
        assert diff("old.yaml", "new.yaml", "--format", "markdown")[1].splitlines()[2:] == told
        Path("new.test.yaml").write_text("cases: []\n")
        (note,) = diff("old.yaml", "new.yaml", "--format", "markdown")[1].splitlines()[4:]
        assert note.startswith("<sub>new.test.yaml has 1 problem, so its cases are not played;")

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("openai/gpt-4o", "`openai/gpt-4o`"),
            ("@somebody <b>", "`@somebody <b>`"),
            ("a|b", "<code>a&#124;b</code>"),
            ("a`b", "<code>a&#96;b</code>"),
            ("a\\", "<code>a&#92;</code>"),
            ("<b>|@me", "<code>&#60;b&#62;&#124;&#64;me</code>"),
            (" ", "<code> </code>"),
            ("", "<code></code>"),
            ("two\nlines", "<code>two&#92;nlines</code>"),
        ],
    )
    def test_a_name_is_code_whatever_is_in_it(self, text: str, shown: str) -> None:
        assert code(text) == shown

    def test_a_long_comment_is_cut(self) -> None:
        models = "".join(f"  a{number}: mock/a{number}\n" for number in range(200))
        Path("old.yaml").write_text(f"version: 1\nmodels:\n{models}")
        Path("new.yaml").write_text(f"version: 1\nmodels:\n{models.replace('mock/a', 'mock/b')}")
        cases = "".join(
            f"  - {{name: '{number}', request: a{number}, expect: {{status: 200}}}}\n" for number in range(100)
        )
        Path("new.test.yaml").write_text(f"cases:\n{cases}")
        lines = diff("old.yaml", "new.yaml", "--format", "markdown")[1].splitlines()
        assert "| | … and 140 more | |" in lines
        assert "| … and 40 more | | | |" in lines
        assert sum(map(len, lines)) < 20_000


def _write_anew() -> None:
    kept = clear(dict(os.environ))
    os.environ.clear()
    os.environ.update(kept)
    for name in NAMES:
        (CASES / f"{name}.diff").write_text(report(name), encoding="utf-8")


if __name__ == "__main__":
    _write_anew()
