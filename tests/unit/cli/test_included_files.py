"""Included files on the command line: every command reads them, and every format names the right file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gateway.cli import main
from gateway.cli.completion import names_under
from tests.command_line import gateway, write

pytestmark = pytest.mark.usefixtures("clean_environment")

MAIN = "version: 1\ninclude: [teams/*.yaml]\nmodels:\n  main: [mock/status-503, {alias: a/fast}]\n"
GOOD_A = "models:\n  a/fast: mock/echo\n"
GOOD_B = "models:\n  b/slow: [mock/status-429, mock/other]\n"
BAD_B = "models:\n  b/slow: [mock/echo, nowhere]\n"


@pytest.fixture(autouse=True)
def _files(clean_environment: None) -> None:
    Path("teams").mkdir()
    write("routes.yaml", MAIN)
    write("teams/a.yaml", GOOD_A)
    write("teams/b.yaml", GOOD_B)


class TestValidate:
    def test_a_good_set_is_counted_up(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate"]) == 0
        assert capsys.readouterr().out == "routes.yaml: ok (3 aliases, 4 targets, 2 included files)\n"

    def test_a_problem_is_shown_in_its_own_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("teams/b.yaml", BAD_B)
        assert main(["validate", "--strict"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("teams/b.yaml:2:23: no-provider: models[\"b/slow\"][1]: 'nowhere' names no provider")
        assert lines[1:3] == ["  2 |   b/slow: [mock/echo, nowhere]", "    |                       ^"]
        assert lines[-1] == "1 problem in teams/b.yaml"

    def test_each_file_is_counted(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("teams/b.yaml", BAD_B)
        write("routes.yaml", MAIN + "  bad: nowhere\n")
        assert main(["validate"]) == 1
        assert capsys.readouterr().out.splitlines()[-2:] == ["1 problem in routes.yaml", "1 problem in teams/b.yaml"]

    def test_json_names_the_files(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("teams/b.yaml", BAD_B)
        assert main(["validate", "--format", "json"]) == 1
        (file,) = json.loads(capsys.readouterr().out)["files"]
        assert (file["file"], file["included"]) == ("routes.yaml", ["teams/a.yaml", "teams/b.yaml"])
        (problem,) = file["problems"]
        assert (problem["source"], problem["line"], problem["column"]) == ("teams/b.yaml", 2, 23)
        assert problem["excerpt"] == "  b/slow: [mock/echo, nowhere]"

    def test_annotations_point_into_the_right_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("teams/b.yaml", BAD_B)
        assert main(["validate", "--format", "github"]) == 1
        first, last = capsys.readouterr().out.splitlines()
        assert first.startswith("::error file=teams/b.yaml,line=2,col=23,title=no-provider::")
        assert last == "1 problem in 3 files"

    def test_sarif_points_into_the_right_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("teams/b.yaml", BAD_B)
        assert main(["validate", "--format", "sarif"]) == 1
        (result,) = json.loads(capsys.readouterr().out)["runs"][0]["results"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "teams/b.yaml", "uriBaseId": "%SRCROOT%"}
        assert place["region"] == {"startLine": 2, "startColumn": 23}

    def test_junit_points_into_the_right_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("teams/b.yaml", BAD_B)
        assert main(["validate", "--format", "junit"]) == 1
        root = ET.fromstring(capsys.readouterr().out)  # noqa: S314 - our own
        case = root.find(".//testcase")
        assert case is not None
        assert (case.get("file"), case.get("line")) == ("teams/b.yaml", "2")

    def test_standard_input_includes_from_the_current_folder(self) -> None:
        write("teams/b.yaml", BAD_B)
        done = gateway("validate", "-", "--format", "github", stdin=MAIN)
        assert (done.returncode, done.stdout.split("::")[1]) == (
            1,
            "error file=teams/b.yaml,line=2,col=23,title=no-provider",
        )

    def test_a_file_is_checked_with_the_one_that_includes_it_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", "**/*.yaml"]) == 0
        assert main(["validate", "teams/b.yaml", "routes.yaml", "teams/a.yaml"]) == 0
        assert capsys.readouterr().out.splitlines() == ["routes.yaml: ok (3 aliases, 4 targets, 2 included files)"] * 2

    def test_a_missing_key_of_a_team_is_a_problem_with_strict_env(self, capsys: pytest.CaptureFixture[str]) -> None:
        entry = 'providers: {own: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${NO_SUCH_KEY}"}}\n'
        write("teams/a.yaml", entry + GOOD_A)
        assert main(["validate"]) == 0
        assert "teams/a.yaml:1:77: warning: unset-variable: providers.own.api_key: " in capsys.readouterr().out
        assert main(["validate", "--strict-env"]) == 1

    def test_warnings_of_a_team_are_in_its_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("teams/b.yaml", "models:\n  b/slow: [mock/echo, mock/echo]\n")
        assert main(["validate", "--strict"]) == 1
        assert "teams/b.yaml:2:23: warning: repeated-target: " in capsys.readouterr().out

    def test_a_pattern_without_a_match_is_a_warning(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("routes.yaml", "version: 1\ninclude: [none/*.yaml]\nmodels: {a: mock/a}\n")
        assert main(["validate"]) == 0
        assert main(["validate", "--strict"]) == 1
        assert "routes.yaml:2:11: warning: unmatched-include: include[0]: " in capsys.readouterr().out


class TestOtherCommands:
    def test_explain_names_the_place_of_an_included_alias(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", "b/slow"]) == 0
        assert "teams/b.yaml:2" in capsys.readouterr().out.splitlines()[0]

    def test_test_plays_cases_of_included_aliases(self, capsys: pytest.CaptureFixture[str]) -> None:
        cases = "cases:\n  - {name: a, request: {model: a/fast}, expect: {target: mock/echo}}\n"
        write("routes.test.yaml", cases)
        assert main(["test"]) == 0
        write("teams/b.yaml", BAD_B)
        assert main(["test"]) == 1
        assert "teams/b.yaml:2:23: no-provider: " in capsys.readouterr().out

    def test_fmt_formats_the_named_file_only(self, capsys: pytest.CaptureFixture[str]) -> None:
        untidy = "models:\n      a/fast: {chain: [mock/echo]}\n"
        write("teams/a.yaml", untidy)
        assert main(["fmt"]) == 0
        assert (Path("teams/a.yaml").read_text(), Path("routes.yaml").read_text()) == (untidy, MAIN)
        assert main(["fmt", "teams/a.yaml"]) == 0
        assert Path("teams/a.yaml").read_text() == GOOD_A

    def test_aliases_of_all_files_are_completed_even_beside_a_broken_one(self) -> None:
        assert names_under("models", Path("routes.yaml")) == ["main", "a/fast", "b/slow"]
        write("teams/b.yaml", "models: [")
        assert names_under("models", Path("routes.yaml")) == ["main", "a/fast"]


class TestDiff:
    @pytest.fixture(autouse=True)
    def _repository(self) -> None:
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
            identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
            subprocess.run(["git", *identity, *command], check=True)

    def changes(self, capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
        code = main(["diff", *args, "--format", "json", "--exit-code"])
        output = json.loads(capsys.readouterr().out)
        assert output["ok"], output
        assert code == output["changed"]
        names = [alias["alias"] for change in output["changes"] for alias in change["aliases"]]
        return (
            names + [f"+{one['alias']}" for one in output["added"]] + [f"-{one['alias']}" for one in output["removed"]]
        )

    def test_the_files_of_a_revision_are_those_of_that_revision(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.changes(capsys) == []
        write("teams/b.yaml", "models: {b/slow: mock/other}\n")
        write("teams/c.yaml", "models: {c: mock/c}\n")
        Path("teams/a.yaml").rename("teams/d.yaml")
        assert self.changes(capsys) == ["b/slow", "+c"]
        assert self.changes(capsys, "HEAD", ":routes.yaml") == []
        subprocess.run(["git", "add", "-A"], check=True)
        assert self.changes(capsys, "HEAD", ":routes.yaml") == ["b/slow", "+c"]
        assert self.changes(capsys, ":routes.yaml") == []

    def test_two_sets_of_files_are_compared(self, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("old", "new"):
            Path(name, "teams").mkdir(parents=True)
            write(f"{name}/routes.yaml", "version: 1\ninclude: [teams/*.yaml]\n")
            write(f"{name}/teams/a.yaml", f"models: {{a: mock/{name}, same: mock/same}}\n")
        assert self.changes(capsys, "old/routes.yaml", "new/routes.yaml") == ["a"]

    def test_problems_of_a_revision_name_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("teams/b.yaml", BAD_B)
        subprocess.run(["git", "add", "-A"], check=True)
        assert main(["diff", "HEAD", ":routes.yaml"]) == 1
        assert capsys.readouterr().out.startswith(":teams/b.yaml:2:23: no-provider: ")

    def test_what_is_outside_of_the_repository_is_a_problem(self, capsys: pytest.CaptureFixture[str]) -> None:
        write("routes.yaml", "version: 1\ninclude: [../../*.yaml, /etc/*.none]\nmodels: {a: mock/a}\n")
        subprocess.run(["git", "add", "-A"], check=True)
        assert main(["diff", ":routes.yaml", "routes.yaml"]) == 1
        lines = [line for line in capsys.readouterr().out.splitlines() if "unreadable-file" in line]
        assert [line.split(": ")[0] for line in lines] == [":routes.yaml:2:11", ":routes.yaml:2:25"]
