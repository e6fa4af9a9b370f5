"""A program's table beside writers of its file: the old text or the new one, and no call waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import Provider
from gateway.errors import UsageError
from tests.saving import folder_in, half_written, linux, save, text

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path() -> Iterator[Path]:
    with folder_in(None) as folder:
        (folder / "routes.yaml").write_text(text(0))
        yield folder / "routes.yaml"


def last(provider: Provider) -> str | None:
    """Return the target of the alias at the end of the file."""
    route = provider.tables.current.find("last")
    return None if route is None else route.steps[0].target.name


def used_until(provider: Provider, condition: Callable[[], bool]) -> list[str | None]:
    """Ask for the table over and over; return what it was in turn."""
    end_s = time.monotonic() + 30
    seen = [last(provider)]
    while not condition():
        assert time.monotonic() < end_s
        if (now := last(provider)) != seen[-1]:
            seen.append(now)
        time.sleep(0.002)
    return seen


@linux
def test_a_half_written_file_is_not_read_until_its_writer_is_done(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider.from_file(path)
    with half_written(path, 1) as writer:
        seen = used_until(provider, lambda: "still being written" in caplog.text)
        assert seen == ["mock/v0000"]
        writer.finish()
    assert used_until(provider, lambda: last(provider) == "mock/v0001")[0] == "mock/v0000"
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@linux
def test_reload_reads_at_once(path: Path) -> None:
    provider = Provider.from_file(path)
    with half_written(path, 1):
        assert provider.reload() == ()
        assert last(provider) is None


def test_included_files_are_followed(path: Path) -> None:
    path.write_text("version: 1\ninclude: [teams/*.yaml]\n")
    team = path.parent / "teams" / "a.yaml"
    team.parent.mkdir()
    team.write_text("models: {last: mock/v1}\n")
    provider = Provider.from_file(path)
    fresh = path.with_name("fresh")
    fresh.write_text("models: {last: mock/v2}\n")
    fresh.replace(team)
    assert used_until(provider, lambda: last(provider) == "mock/v2") == ["mock/v1"]
    team.rename(team.with_name("b.yaml"))
    (team.parent / "c.yaml").write_text("models: {more: mock/more}\n")
    assert used_until(provider, lambda: provider.tables.current.find("more") is not None) == ["mock/v2"]
    team.with_name("b.yaml").write_text("models: {last: nowhere}\n")
    assert [problem.source for problem in provider.reload()] == [str(team.with_name("b.yaml"))]
    assert last(provider) == "mock/v2"


@linux
@pytest.mark.slow
def test_a_first_reading_fails_when_a_writer_takes_too_long(path: Path) -> None:
    with half_written(path, 1), pytest.raises(UsageError, match="still being written after 5 s"):
        Provider.from_file(path)


@linux
def test_a_first_reading_waits_for_a_writer(path: Path) -> None:
    before = path.read_text()
    saving = save(path, 2, "a pause between two parts", scratch=path.parent)
    while path.read_text() in (before, ""):
        pass
    assert last(Provider.from_file(path)) == "mock/v0002"
    assert saving.wait() == 0


@pytest.mark.parametrize("writer", ["a memory map", "moved away, then written anew", "a rename", "cp"])
def test_every_other_save_is_read_whole(path: Path, writer: str) -> None:
    provider = Provider.from_file(path)
    saving = save(path, 1, writer, scratch=path.parent)
    assert set(used_until(provider, lambda: last(provider) == "mock/v0001")) <= {"mock/v0000", "mock/v0001"}
    assert saving.wait() == 0


def test_a_file_that_goes_away_and_comes_back_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    provider = Provider.from_file(Path(path.name))
    monkeypatch.chdir("/")
    path.unlink()
    assert provider.reload()
    path.write_text(text(1))
    assert used_until(provider, lambda: last(provider) == "mock/v0001")[0] == "mock/v0000"
