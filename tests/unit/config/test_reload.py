"""Reloader: which files are swapped in, which are refused, and what the watcher survives."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import watchfiles

from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.config.include import Include
from gateway.config.mounts import mount_points
from gateway.config.reload import Reloader
from gateway.config.reload_report import ReloadReport
from gateway.config.saves import Looks, look_at
from gateway.config.texts import MAX_FILE_BYTES
from gateway.errors import ConfigError, UsageError
from gateway.policy.overlay import NO_OVERLAY, Overlay
from gateway.policy.table import RoutingTable

BROKEN = "version: 1\nmodels: {demo: ["
BAD = "version: 1\nmodels: {demo: nowhere}\n"


def good(model: str) -> str:
    return f"version: 1\nmodels:\n  demo: mock/{model}\n"


class Counting:
    """A real compiler that counts its calls, and raises if the text starts with `# bug`."""

    def __init__(self) -> None:
        self.calls = 0
        self.running = 0
        self._real = Compiler(environ={})

    def compile(
        self,
        data: bytes,
        *,
        source: str,
        include: Include | None = None,
        overlay: Overlay = NO_OVERLAY,
        generation: int = 1,
        now: float = 0.0,
    ) -> Compiled:
        self.calls += 1
        self.running += 1
        try:
            assert self.running == 1, "two compiles at a time"
            if data.startswith(b"# bug"):
                raise ZeroDivisionError("sk-secret")
            return self._real.compile(
                data, source=source, include=include, overlay=overlay, generation=generation, now=now
            )
        finally:
            self.running -= 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "conf" / "routes.yaml"
    path.parent.mkdir()
    path.write_text(good("one"))
    return path


@pytest.fixture
def compiler() -> Counting:
    return Counting()


@pytest.fixture
def reloader(path: Path, compiler: Counting) -> Reloader:
    reloader = Reloader(path, compiler)
    reloader.load()
    return reloader


def model(reloader: Reloader, alias: str = "demo") -> str:
    route = reloader.current.find(alias)
    assert route is not None
    return route.steps[0].target.model


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not condition():  # noqa: ASYNC110 - what is waited for happens to files and threads
            await asyncio.sleep(0.005)


async def shows(reloader: Reloader, name: str) -> None:
    await until(lambda: model(reloader) == name and reloader.last.ok)


async def refuses(reloader: Reloader) -> None:
    await until(lambda: not reloader.last.ok)


@asynccontextmanager
async def watching(reloader: Reloader) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reloader.watch())
        yield
        task.cancel()


def save(path: Path, text: str) -> None:
    """Save in place, as most tools do: truncate, then write."""
    path.write_text(text)


def remove(path: Path) -> None:
    path.unlink()


def move(path: Path, to: Path) -> None:
    path.rename(to)


def replace(path: Path, text: str) -> None:
    """Save by writing a new file and renaming it over the old one, as many editors do."""
    fresh = path.with_name(".fresh")
    fresh.write_text(text)
    fresh.replace(path)


class TestLoad:
    def test_the_table_of_the_file_is_live(self, path: Path, compiler: Counting) -> None:
        reloader = Reloader(path, compiler, clock=lambda: 1234.5)
        assert reloader.current.generation == 0
        report = reloader.load()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert report == ReloadReport(ok=True, at=1234.5, digest=digest, generation=1, changed=True)
        assert reloader.last == report
        assert (reloader.current.generation, reloader.current.loaded_at, model(reloader)) == (1, 1234.5, "one")

    def test_a_missing_file_is_a_usage_error(self, tmp_path: Path, compiler: Counting) -> None:
        with pytest.raises(UsageError, match=r"cannot read .*nothing\.yaml: no such file"):
            Reloader(tmp_path / "nothing.yaml", compiler).load()

    def test_a_folder_is_a_usage_error(self, tmp_path: Path, compiler: Counting) -> None:
        with pytest.raises(UsageError, match=r"is a directory|not a regular file"):
            Reloader(tmp_path, compiler).load()

    def test_a_pipe_without_a_writer_is_refused_and_not_waited_for(self, tmp_path: Path, compiler: Counting) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UsageError, match="not a regular file"):
            Reloader(tmp_path / "pipe", compiler).load()

    def test_a_huge_file_is_refused_and_not_read(self, path: Path, compiler: Counting) -> None:
        os.truncate(path, MAX_FILE_BYTES + 1)
        with pytest.raises(UsageError, match="larger than"):
            Reloader(path, compiler).load()

    def test_a_bad_file_raises_its_problems(self, path: Path, compiler: Counting) -> None:
        path.write_text(BAD)
        with pytest.raises(ConfigError) as caught:
            Reloader(path, compiler).load()
        assert [problem.source for problem in caught.value.problems] == [str(path)]

    def test_a_bad_file_is_for_the_caller_to_tell(
        self, path: Path, compiler: Counting, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.write_text(BAD)
        with pytest.raises(ConfigError):
            Reloader(path, compiler).load()
        assert caplog.records == []

    def test_a_bug_in_the_compiler_is_a_problem_without_the_text_of_the_exception(
        self, path: Path, compiler: Counting
    ) -> None:
        path.write_text("# bug")
        with pytest.raises(ConfigError) as caught:
            Reloader(path, compiler).load()
        (problem,) = caught.value.problems
        assert problem.code == "internal-error"
        assert "ZeroDivisionError" in problem.message
        assert "sk-secret" not in problem.message


class TestReload:
    def test_a_changed_file_becomes_the_next_generation(self, reloader: Reloader, path: Path) -> None:
        path.write_text(good("two"))
        report = reloader.reload(force=False)
        assert (report.ok, report.changed, report.generation) == (True, True, 2)
        assert (reloader.current.generation, model(reloader)) == (2, "two")

    def test_a_request_keeps_the_table_it_read(self, reloader: Reloader, path: Path) -> None:
        table = reloader.current
        path.write_text(good("two"))
        reloader.reload()
        route = table.find("demo")
        assert route is not None
        assert (table.generation, route.steps[0].target.model) == (1, "one")

    def test_the_same_text_is_not_compiled_for_a_file_event(self, reloader: Reloader, compiler: Counting) -> None:
        assert reloader.reload(force=False).generation == 1
        assert compiler.calls == 1

    def test_the_same_text_is_compiled_when_forced(self, reloader: Reloader, compiler: Counting) -> None:
        report = reloader.reload()
        assert (compiler.calls, report.generation, report.changed) == (2, 2, True)

    @pytest.mark.parametrize("text", [BROKEN, BAD, "", "# bug", "\x00", "- 1"])
    def test_a_bad_file_changes_nothing_that_runs(self, reloader: Reloader, path: Path, text: str) -> None:
        table = reloader.current
        path.write_text(text)
        report = reloader.reload()
        assert reloader.current is table
        assert (report.ok, report.changed, report.generation, reloader.last) == (False, False, 1, report)
        assert report.problems

    def test_a_bad_file_is_told_once(
        self, reloader: Reloader, path: Path, compiler: Counting, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.write_text(BAD)
        first = reloader.reload(force=False)
        assert reloader.reload(force=False) is first
        assert compiler.calls == 2
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage() == "routes refused"
        assert str(first.problems[0]) in vars(record)["problems"]
        assert vars(record)["generation"] == 1

    def test_a_bad_file_is_compiled_again_when_forced(self, reloader: Reloader, path: Path, compiler: Counting) -> None:
        path.write_text(BAD)
        reloader.reload()
        reloader.reload()
        assert compiler.calls == 3

    def test_good_bad_good_clears_the_error_without_a_new_generation(self, reloader: Reloader, path: Path) -> None:
        path.write_text(BAD)
        assert not reloader.reload(force=False).ok
        path.write_text(good("one"))
        report = reloader.reload(force=False)
        assert (report.ok, report.problems, report.changed, report.generation) == (True, (), False, 1)
        assert reloader.last is report

    def test_a_bad_file_is_told_again_after_a_good_one(
        self, reloader: Reloader, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for text in (BAD, good("one"), BAD):
            path.write_text(text)
            reloader.reload(force=False)
        assert not reloader.last.ok
        assert [record.getMessage() for record in caplog.records].count("routes refused") == 2

    def test_a_save_that_went_on_since_it_looked_complete_is_not_read(
        self, reloader: Reloader, path: Path, compiler: Counting
    ) -> None:
        path.write_text(good("two"))
        look = Looks(look_at(path))
        path.write_text(good("three"))
        before = reloader.last
        assert reloader.reload(force=False, complete=look) is before
        path.unlink()
        assert reloader.reload(force=False, complete=look) is before
        assert not reloader.reload(force=False, complete=Looks(look_at(path))).ok
        assert compiler.calls == 1

    def test_an_older_file_counts_as_changed(self, reloader: Reloader, path: Path) -> None:
        path.write_text(good("two"))
        os.utime(path, (1, 1))
        assert reloader.reload(force=False).changed

    def test_a_relative_path_stays_what_it_was_when_the_program_changes_its_folder(
        self, path: Path, compiler: Counting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(path.parent)
        reloader = Reloader(Path("routes.yaml"), compiler)
        reloader.load()
        monkeypatch.chdir("/")
        path.write_text(good("two"))
        assert reloader.reload(force=False).changed
        assert reloader.current.source == "routes.yaml"

    def test_a_missing_file_is_a_problem_until_it_is_back(
        self, reloader: Reloader, path: Path, compiler: Counting, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.unlink()
        report = reloader.reload(force=False)
        assert ([problem.code for problem in report.problems], report.digest) == (["unreadable-file"], None)
        assert reloader.reload(force=False) is report
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
        assert reloader.disk() is None
        path.write_text(good("one"))
        assert reloader.reload(force=False).ok
        assert (reloader.last.ok, compiler.calls) == (True, 1)

    def test_a_dry_run_reports_and_leaves_no_trace(self, reloader: Reloader, path: Path) -> None:
        before = (reloader.current, reloader.last)
        path.write_text(good("two"))
        report = reloader.reload(dry_run=True)
        assert (report.ok, report.changed, report.generation) == (True, False, 1)
        path.write_text(BAD)
        assert not reloader.reload(dry_run=True).ok
        path.unlink()
        assert not reloader.reload(dry_run=True).ok
        assert (reloader.current, reloader.last) == before
        path.write_text(BAD)
        assert not reloader.reload(force=False).ok

    def test_disk_tells_whether_memory_agrees(self, reloader: Reloader, path: Path) -> None:
        assert reloader.disk() == reloader.current.digest
        path.write_text(BAD)
        assert reloader.disk() not in {None, reloader.current.digest}

    def test_a_good_load_is_logged_with_its_generation(
        self, reloader: Reloader, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        reloader.reload()
        (record,) = caplog.records
        fields = vars(record)
        assert record.getMessage() == "routes loaded"
        assert (fields["generation"], fields["digest"], fields["aliases"]) == (2, reloader.current.digest, 1)

    def test_many_problems_are_cut_short_in_the_log_only(
        self, reloader: Reloader, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        lines = "".join(f"  m{number}: nowhere\n" for number in range(50))
        path.write_text(f"version: 1\nmodels:\n{lines}")
        report = reloader.reload()
        assert len(report.problems) == 50
        assert vars(caplog.records[-1])["problems"].endswith("\nand 30 more")

    def test_reloads_from_many_threads_take_turns(self, reloader: Reloader, path: Path) -> None:
        def often() -> None:
            for number in range(10):
                path.with_name(f"{threading.get_ident()}").write_text(good(str(number)))
                path.with_name(f"{threading.get_ident()}").replace(path)
                reports.append(reloader.reload())

        reports: list[ReloadReport] = []
        threads = [threading.Thread(target=often) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(report.ok for report in reports)
        assert sorted(report.generation for report in reports) == list(range(2, 42))


class TestOnSwap:
    def test_it_sees_each_new_table_once_it_is_live(self, path: Path, compiler: Counting) -> None:
        seen: list[tuple[RoutingTable, bool]] = []
        watched = Reloader(path, compiler, on_swap=lambda table: seen.append((table, table is watched.current)))
        watched.load()
        path.write_text(BAD)
        watched.reload()
        path.write_text(good("two"))
        watched.reload()
        assert [(table.generation, live) for table, live in seen] == [(1, True), (2, True)]

    def test_a_listener_that_fails_breaks_nothing(
        self, path: Path, compiler: Counting, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(table: RoutingTable) -> None:
            raise RuntimeError(table.generation)

        reloader = Reloader(path, compiler, on_swap=fail)
        assert reloader.load().ok
        path.write_text(good("two"))
        assert reloader.reload().generation == 2
        assert [record.getMessage() for record in caplog.records].count(
            "a listener failed after routes were loaded"
        ) == 2


class TestOverlay:
    def test_it_is_compiled_over_the_running_text_and_survives_reloads(self, reloader: Reloader, path: Path) -> None:
        reloader.set_overlay(Overlay(mappings={"extra": "mock/three"}))
        assert (reloader.current.generation, model(reloader), model(reloader, "extra")) == (2, "one", "three")
        path.write_text(good("two"))
        reloader.reload(force=False)
        assert (reloader.current.generation, model(reloader), model(reloader, "extra")) == (3, "two", "three")

    def test_a_bad_one_leaves_the_old_one_in_force(self, reloader: Reloader, path: Path) -> None:
        reloader.set_overlay(Overlay(mappings={"extra": "mock/three"}))
        table = reloader.current
        with pytest.raises(ConfigError):
            reloader.set_overlay(Overlay(mappings={"extra": "nowhere"}))
        assert reloader.current is table
        path.write_text(good("two"))
        assert reloader.reload().ok
        assert model(reloader, "extra") == "three"

    def test_it_goes_over_the_last_good_text_while_the_file_is_bad(self, reloader: Reloader, path: Path) -> None:
        path.write_text(BAD)
        reloader.reload()
        reloader.set_overlay(Overlay(mappings={"extra": "mock/three"}))
        assert (model(reloader), model(reloader, "extra")) == ("one", "three")
        assert not reloader.last.ok

    def test_it_may_be_set_before_the_file_is_read(self, path: Path, compiler: Counting) -> None:
        reloader = Reloader(path, compiler)
        reloader.set_overlay(Overlay(mappings={"extra": "mock/three"}))
        reloader.load()
        assert model(reloader, "extra") == "three"


class TestInclude:
    @pytest.fixture
    def team(self, path: Path) -> Path:
        """A file that the main one includes."""
        path.write_text(good("one") + "include: [teams/*.yaml]\n")
        team = path.parent / "teams" / "a.yaml"
        team.parent.mkdir()
        team.write_text("models: {team: mock/one}\n")
        return team

    @pytest.fixture
    def loaded(self, team: Path, path: Path, compiler: Counting) -> Reloader:
        loaded = Reloader(path, compiler)
        loaded.load()
        return loaded

    def test_a_change_of_an_included_file_is_a_new_generation_and_the_same_text_is_not_compiled(
        self, loaded: Reloader, team: Path, compiler: Counting
    ) -> None:
        assert (loaded.reload(force=False).generation, compiler.calls) == (1, 1)
        team.write_text("models: {team: mock/two}\n")
        report = loaded.reload(force=False)
        assert (report.changed, report.generation, model(loaded, "team")) == (True, 2, "two")
        assert loaded.disk() == report.digest == loaded.current.digest

    def test_a_bad_included_file_is_told_once_and_cleared_when_it_is_put_back(
        self, loaded: Reloader, team: Path, compiler: Counting
    ) -> None:
        before = team.read_text()
        team.write_text("models: {team: nowhere}\n")
        first = loaded.reload(force=False)
        assert [problem.source for problem in first.problems] == [str(team)]
        assert loaded.reload(force=False) is first
        assert loaded.disk() == first.digest != loaded.current.digest
        team.write_text(before)
        assert loaded.reload(force=False).ok
        assert (loaded.current.generation, compiler.calls) == (1, 2)

    def test_an_unreadable_one_is_told_once_and_keeps_the_table(
        self, loaded: Reloader, team: Path, compiler: Counting
    ) -> None:
        team.unlink()
        team.symlink_to("nowhere")
        first = loaded.reload(force=False)
        assert [(problem.code, problem.source) for problem in first.problems] == [("unreadable-file", str(team))]
        assert loaded.reload(force=False) is first
        assert (model(loaded, "team"), compiler.calls) == ("one", 2)

    def test_a_save_that_went_on_in_any_file_is_not_read(
        self, loaded: Reloader, team: Path, path: Path, compiler: Counting
    ) -> None:
        looks, before = loaded.looks(), loaded.last
        team.write_text("models: {team: mock/two}\n")
        assert loaded.reload(force=False, complete=looks) is before
        looks = loaded.looks()
        (team.parent / "b.yaml").write_text("models: {b: mock/b}\n")
        assert loaded.reload(force=False, complete=looks) is before
        assert loaded.reload(force=False, complete=loaded.looks()).generation == 2
        looks = loaded.looks()
        path.write_text(path.read_text() + "# more\n")
        assert loaded.reload(force=False, complete=looks).generation == 2
        assert compiler.calls == 2

    def test_files_that_are_only_now_included_have_to_be_complete_too(
        self, loaded: Reloader, path: Path, compiler: Counting
    ) -> None:
        (path.parent / "other.yaml").write_text("models: {other: mock/other}\n")
        path.write_text(good("two") + "include: [other.yaml]\n")
        looks, before = loaded.looks(), loaded.last
        assert loaded.reload(force=False, complete=looks) is before
        assert loaded.looks() != looks
        assert loaded.reload(force=False, complete=loaded.looks()).generation == 2
        assert (model(loaded, "other"), loaded.current.find("team")) == ("other", None)

    def test_the_files_of_the_running_text_are_known_again_after_a_bad_one(
        self, loaded: Reloader, path: Path, team: Path
    ) -> None:
        before = path.read_text()
        path.write_text(BROKEN)
        assert not loaded.reload(force=False).ok
        assert loaded.stamps().keys() == {""}
        path.write_text(before)
        team.write_text("models: {team: mock/two}\n")
        loaded.reload(force=False, complete=loaded.looks())
        assert loaded.stamps().keys() == {"", str(team)}
        assert loaded.reload(force=False, complete=loaded.looks()).generation == 2
        assert loaded.read_stamps == loaded.stamps()

    def test_an_overlay_goes_over_the_running_texts_not_those_on_disk(self, loaded: Reloader, team: Path) -> None:
        team.write_text("models: {team: nowhere}\n")
        loaded.set_overlay(Overlay(mappings={"extra": "mock/three"}))
        assert (model(loaded, "team"), model(loaded, "extra")) == ("one", "three")

    def test_a_mount_of_an_included_file_alone_is_warned_about(
        self, team: Path, path: Path, compiler: Counting, caplog: pytest.LogCaptureFixture
    ) -> None:
        mounts = path.with_name("mountinfo")
        mounts.write_text(f"36 35 98:0 / {team} ro - ext4 /dev/sda rw\n")
        Reloader(path, compiler, mounts=mounts).load()
        (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert vars(warning)["source"] == str(team)


class TestWatch:
    async def test_a_save_in_place_is_seen(self, reloader: Reloader, path: Path) -> None:
        async with watching(reloader):
            save(path, good("two"))
            await shows(reloader, "two")

    async def test_what_changed_between_load_and_watch_is_seen(self, reloader: Reloader, path: Path) -> None:
        save(path, good("two"))
        async with watching(reloader):
            await shows(reloader, "two")

    async def test_it_outlives_every_sort_of_bad_save(self, reloader: Reloader, path: Path) -> None:
        async with watching(reloader):
            for number, text in enumerate([BROKEN, BAD, "", "# bug", "\x00\x01"]):
                save(path, text)
                await refuses(reloader)
                save(path, good(f"after-{number}"))
                await shows(reloader, f"after-{number}")
            assert reloader.current.generation == 6

    async def test_good_bad_good_clears_the_error(self, reloader: Reloader, path: Path) -> None:
        async with watching(reloader):
            save(path, BAD)
            await refuses(reloader)
            save(path, good("one"))
            await until(lambda: reloader.last.ok)
        assert reloader.current.generation == 1

    async def test_renames_over_the_file_are_seen_again_and_again(self, reloader: Reloader, path: Path) -> None:
        async with watching(reloader):
            for number in range(4):
                replace(path, good(f"v{number}"))
                await shows(reloader, f"v{number}")

    async def test_an_editor_that_moves_the_file_away_first_causes_no_complaint(
        self, reloader: Reloader, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with watching(reloader):
            for number in range(3):
                move(path, path.with_name("routes.yaml~"))
                save(path, good(f"v{number}"))
                path.with_name("routes.yaml~").unlink()
                await shows(reloader, f"v{number}")
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    async def test_a_file_deleted_and_created_again_is_seen(self, reloader: Reloader, path: Path) -> None:
        async with watching(reloader):
            remove(path)
            await refuses(reloader)
            assert (reloader.last.problems[0].code, model(reloader)) == ("unreadable-file", "one")
            save(path, good("two"))
            await shows(reloader, "two")

    async def test_a_folder_removed_and_created_again_is_seen(self, reloader: Reloader, path: Path) -> None:
        async with watching(reloader):
            for number in range(2):
                shutil.rmtree(path.parent)
                await refuses(reloader)
                path.parent.mkdir()
                save(path, good(f"v{number}"))
                await shows(reloader, f"v{number}")

    async def test_a_folder_replaced_by_another_is_seen(self, reloader: Reloader, path: Path) -> None:
        fresh = path.parent.with_name("fresh")
        async with watching(reloader):
            for number in range(2):
                fresh.mkdir()
                (fresh / path.name).write_text(good(f"v{number}"))
                path.parent.rename(path.parent.with_name(f"old-{number}"))
                fresh.rename(path.parent)
                await shows(reloader, f"v{number}")

    async def test_a_config_map_is_followed_through_its_swaps(self, tmp_path: Path, compiler: Counting) -> None:
        """Kubernetes: file -> ..data/file -> ..<timestamp>/file, and an update is one rename of ..data."""
        mount = tmp_path / "mount"
        mount.mkdir()

        def publish(number: int) -> None:
            version = mount / f"..2026_01_0{number}"
            version.mkdir()
            (version / "routes.yaml").write_text(good(f"v{number}"))
            (mount / "..data_tmp").symlink_to(version.name)
            (mount / "..data_tmp").rename(mount / "..data")

        publish(1)
        (mount / "routes.yaml").symlink_to("..data/routes.yaml")
        reloader = Reloader(mount / "routes.yaml", compiler)
        reloader.load()
        async with watching(reloader):
            for number in (2, 3, 4):
                publish(number)
                shutil.rmtree(mount / f"..2026_01_0{number - 1}")
                await shows(reloader, f"v{number}")
        assert (reloader.current.generation, reloader.last.ok) == (4, True)

    async def test_a_link_in_another_folder_is_followed(self, tmp_path: Path, path: Path, compiler: Counting) -> None:
        """The link's folder and the file's are both watched: `current -> releases/1`, then an edit in place."""
        (tmp_path / "deep" / "er").mkdir(parents=True)
        (tmp_path / "deep" / "conf").symlink_to(path.parent)
        link = tmp_path / "deep" / "er" / "link.yaml"
        link.symlink_to("../conf/routes.yaml")
        reloader = Reloader(link, compiler)
        reloader.load()
        async with watching(reloader):
            save(path, good("two"))
            await shows(reloader, "two")
            other = tmp_path / "other.yaml"
            save(other, good("three"))
            (link.parent / "fresh").symlink_to(other)
            (link.parent / "fresh").rename(link)
            await shows(reloader, "three")
            save(other, good("four"))
            await shows(reloader, "four")

    async def test_a_link_in_a_circle_is_a_problem_until_it_is_put_right(self, reloader: Reloader, path: Path) -> None:
        async with watching(reloader):
            move(path, path.with_name("away"))
            path.with_name("fresh").symlink_to(path.name)
            move(path.with_name("fresh"), path)
            await refuses(reloader)
            replace(path, good("two"))
            await shows(reloader, "two")

    async def test_an_older_time_of_change_is_seen(self, reloader: Reloader, path: Path) -> None:
        fresh = path.with_name("fresh")
        fresh.write_text(good("two"))
        os.utime(fresh, (1, 1))
        async with watching(reloader):
            fresh.replace(path)
            await shows(reloader, "two")

    async def test_a_save_that_takes_its_time_is_judged_when_it_is_written_out(
        self, reloader: Reloader, path: Path, compiler: Counting, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with watching(reloader):
            with path.open("w") as file:
                for number in range(8):
                    file.write(f"{'version: 1' if not number else f'# line {number}'}\n")
                    file.flush()
                    await asyncio.sleep(0.02)
                file.write("models: {demo: mock/two}\n")
            await shows(reloader, "two")
        assert compiler.calls == 2
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    async def test_other_files_of_the_folder_cost_no_compile(
        self, reloader: Reloader, path: Path, compiler: Counting
    ) -> None:
        async with watching(reloader):
            for number in range(20):
                path.with_name(f"other-{number}.log").write_text("noise")
            save(path, good("two"))
            await shows(reloader, "two")
        assert compiler.calls == 2

    async def test_without_file_events_the_file_is_polled(
        self, reloader: Reloader, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def no_inotify(*_: object, **__: object) -> AsyncGenerator[set[tuple[int, str]], None]:
            raise OSError("too many open files")
            yield set()

        monkeypatch.setattr(watchfiles, "awatch", no_inotify)
        async with watching(reloader):
            save(path, good("two"))
            await shows(reloader, "two")
            save(path, BAD)
            await refuses(reloader)
        told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert told == ["no file events: the config file is polled", "routes refused"]

    async def test_cancelling_ends_it_and_leaves_no_thread(self, reloader: Reloader) -> None:
        async with watching(reloader):
            await until(lambda: any(thread.name.startswith("gateway-reload") for thread in threading.enumerate()))
        await until(lambda: not any(thread.name.startswith("gateway-reload") for thread in threading.enumerate()))


class TestMountPoints:
    def test_the_fifth_field_counts_and_octal_stands_for_blanks(self) -> None:
        table = (
            "36 35 98:0 /conf/routes.yaml /etc/gateway/routes.yaml ro,relatime master:1 - ext4 /dev/sda rw\n"
            "37 35 98:0 / /with\\040blank rw - tmpfs tmpfs rw\n"
            "torn line\n"
        )
        assert mount_points(table) == {"/etc/gateway/routes.yaml", "/with blank"}

    @pytest.mark.parametrize(("mounted", "warned"), [("file", True), ("folder", False), ("nothing", False)])
    def test_a_file_that_is_a_mount_of_its_own_is_warned_about(
        self, path: Path, compiler: Counting, caplog: pytest.LogCaptureFixture, mounted: str, warned: bool
    ) -> None:
        mounts = path.with_name("mountinfo")
        if mounted != "nothing":
            mounts.write_text(f"36 35 98:0 / {path if mounted == 'file' else path.parent} ro - ext4 /dev/sda rw\n")
        assert Reloader(path, compiler, mounts=mounts).load().ok
        assert ("mount of its own" in caplog.text) is warned
