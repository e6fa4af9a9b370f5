"""Reloader with a kept version and a canary: what serves when the file, or its test cases, are unfit."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.config.kept import LastGood
from gateway.config.reload import Reloader
from gateway.errors import ConfigError, UsageError
from gateway.policy.problem import Problem
from gateway.policy.stamp import Stamp, stamp
from gateway.policy.table import RoutingTable

BROKEN = "version: 1\nmodels: {demo: ["
BAD = "version: 1\nmodels: {demo: nowhere}\n"


def good(model: str) -> str:
    return f"version: 1\nmodels:\n  demo: mock/{model}\n"


class Verdict:
    """A canary that refuses tables whose target is not in its file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = 0

    def version(self) -> Stamp | None:
        return stamp(self.path)

    def __call__(self, table: RoutingTable) -> tuple[Problem, ...]:
        self.asked += 1
        model = table.routes["demo"].steps[0].target.model
        if self.path.exists() and model in self.path.read_text().split():
            return ()
        return (Problem(line=1, column=1, code="canary-failed", path="", message="no", source=str(self.path)),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(good("one"))
    return path


def started(path: Path, *, canary: Verdict | None = None, environ: dict[str, str] | None = None) -> Reloader:
    """Return a reloader as a new process would have it."""
    reloader = Reloader(
        path,
        Compiler(environ=environ or {}, strict_env=True),
        last_good=LastGood(path.parent / "state", path),
        canary=canary,
        clock=lambda: 1000.0,
    )
    reloader.load()
    return reloader


def model(reloader: Reloader) -> str:
    return reloader.current.routes["demo"].steps[0].target.model


class TestLastGood:
    @pytest.mark.parametrize("text", [BROKEN, BAD, "", None])
    def test_a_start_with_an_unfit_file_serves_what_was_accepted_last(
        self, path: Path, text: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        reloader = started(path)
        path.write_text(good("two"))
        reloader.reload()
        path.write_text(BAD)
        reloader.reload()
        path.unlink() if text is None else path.write_text(text)
        reloader = started(path)
        assert (model(reloader), reloader.current.generation, reloader.kept_at) == ("two", 1, 1000.0)
        assert (reloader.last.ok, bool(reloader.last.problems)) == (False, True)
        [told] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert told.message == "the config file cannot be served: the last good version is"
        assert str(reloader.last.problems[0]) in vars(told)["problems"]

    @pytest.mark.parametrize("text", [BROKEN, None])
    def test_the_watcher_does_not_tell_the_same_again(self, path: Path, text: str | None) -> None:
        started(path)
        path.unlink() if text is None else path.write_text(text)
        reloader = started(path)
        before = reloader.last
        assert reloader.reload(force=False) is before

    def test_the_next_good_version_is_served_and_kept(self, path: Path) -> None:
        started(path)
        path.write_text(BROKEN)
        reloader = started(path)
        path.write_text(good("three"))
        report = reloader.reload(force=False)
        assert (report.ok, report.generation, model(reloader), reloader.kept_at) == (True, 2, "three", None)
        path.write_text(BROKEN)
        assert model(started(path)) == "three"

    def test_the_kept_text_in_the_file_again_is_no_change(self, path: Path) -> None:
        started(path)
        path.write_text(BROKEN)
        reloader = started(path)
        path.write_text(good("one"))
        report = reloader.reload(force=False)
        assert (report.ok, report.changed, report.generation, reloader.kept_at) == (True, False, 1, None)
        assert report.problems == ()

    def test_included_files_are_kept_too(self, path: Path) -> None:
        teams = path.parent / "teams"
        teams.mkdir()
        (teams / "a.yaml").write_text("models: {a: mock/one}\n")
        path.write_text(f"{good('one')}include: [teams/*.yaml]\n")
        before = started(path)
        assert [state.path for state in before.files()] == [str(path), str(teams / "a.yaml")]
        for text in ("models: {a: nowhere}\n", "", None):
            (teams / "a.yaml").unlink() if text is None else (teams / "a.yaml").write_text(text)
            path.write_text(BROKEN if text is None else path.read_text())
            if text == "":
                continue
            reloader = started(path)
            assert (reloader.current.digest, reloader.kept_at) == (before.current.digest, 1000.0)
            assert [step.target.name for step in reloader.current.routes["a"].steps] == ["mock/one"]
        assert [state.on_disk is None for state in reloader.files()] == [False, True]
        path.write_text(f"{good('one')}include: [teams/*.yaml]\n")
        (teams / "a.yaml").write_text("models: {a: mock/one}\n")
        assert reloader.reload(force=False).ok
        assert (reloader.current.generation, reloader.kept_at) == (1, None)

    def test_without_a_kept_version_the_problems_are_the_file_s_and_a_line(self, path: Path) -> None:
        path.write_text(BAD)
        with pytest.raises(ConfigError) as caught:
            started(path)
        assert [(one.code, one.severity) for one in caught.value.problems] == [
            ("no-provider", "error"),
            ("last-good", "warning"),
        ]
        assert "is not there yet" in caught.value.problems[-1].message
        path.unlink()
        with pytest.raises(UsageError, match=r"cannot read .*routes\.yaml: no such file"):
            started(path)

    def test_a_damaged_version_is_not_served(self, path: Path) -> None:
        started(path)
        [kept] = (path.parent / "state").iterdir()
        kept.write_bytes(kept.read_bytes()[:-1])
        for text in (BAD, None):
            path.unlink() if text is None else path.write_text(text)
            with pytest.raises(ConfigError) as caught:
                started(path)
            assert [one.code for one in caught.value.problems][-1] == "last-good"
            assert "is damaged: its digest differs" in caught.value.problems[-1].message

    def test_a_version_that_compiles_no_more_is_not_served(self, path: Path) -> None:
        path.write_text('version: 1\nmodels: {demo: "mock/${MODEL}"}\n')
        started(path, environ={"MODEL": "one"})
        path.write_text(BAD)
        with pytest.raises(ConfigError) as caught:
            started(path)
        assert "cannot be served: line 2: unset-variable: " in caught.value.problems[-1].message

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_what_cannot_be_kept_is_served_and_told(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        reloader = started(path)
        folder = path.parent / "state"
        folder.chmod(0o500)
        path.write_text(good("two"))
        assert reloader.reload().ok
        folder.chmod(0o700)
        assert model(reloader) == "two"
        assert "this version is not kept as the last good one: an older one stays" in caplog.messages


class TestCanary:
    def test_a_table_that_it_refuses_is_a_bad_file(self, path: Path, tmp_path: Path) -> None:
        canary = Verdict(tmp_path / "cases")
        canary.path.write_text("one")
        reloader = started(path, canary=canary)
        path.write_text(good("two"))
        for dry_run in (True, False):
            report = reloader.reload(dry_run=dry_run)
            assert (report.ok, [one.code for one in report.problems]) == (False, ["canary-failed"])
        assert (model(reloader), reloader.current.generation) == ("one", 1)

    def test_it_is_not_asked_about_a_file_that_does_not_compile(self, path: Path, tmp_path: Path) -> None:
        canary = Verdict(tmp_path / "cases")
        canary.path.write_text("one")
        reloader = started(path, canary=canary)
        path.write_text(BAD)
        reloader.reload()
        assert canary.asked == 1

    def test_other_cases_let_a_refused_file_try_again(self, path: Path, tmp_path: Path) -> None:
        """A checkout writes the two files one after the other, in any order."""
        canary = Verdict(tmp_path / "cases")
        canary.path.write_text("one")
        reloader = started(path, canary=canary)
        path.write_text(good("two"))
        reloader.reload(force=False)
        asked = canary.asked
        reloader.reload(force=False)
        assert canary.asked == asked
        canary.path.write_text("one two")
        assert reloader.reload(force=False).ok
        assert model(reloader) == "two"
        canary.path.write_text("three")
        reloader.reload(force=False)
        assert (model(reloader), reloader.last.ok, canary.asked) == ("two", True, asked + 1)

    def test_at_the_start_it_refuses_the_file_and_not_the_kept_version(self, path: Path, tmp_path: Path) -> None:
        canary = Verdict(tmp_path / "cases")
        with pytest.raises(ConfigError, match="canary-failed"):
            started(path, canary=canary)
        canary.path.write_text("one")
        started(path, canary=canary)
        path.write_text(good("two"))
        assert model(started(path, canary=canary)) == "one"
        canary.path.write_text("none")
        reloader = started(path, canary=canary)
        assert model(reloader) == "one"
        canary.path.write_text("one two")
        assert reloader.reload(force=False).ok
        assert model(reloader) == "two"
