"""`gateway serve` with included files: each edit of any is one new table, whole, and a bad one changes nothing."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from gateway.config.compiler.compiler import Compiler
from tests.saving import folder_in, linux, publish, write
from tests.server.test_live_edits import STILL, Server, serving

pytestmark = pytest.mark.timeout(60)

TEAMS: Final = 30


def team(number: int, version: int) -> str:
    return f"models:\n  team-{number}/a: mock/v{version}\n  team-{number}/b: [mock/status-503, mock/v{version}]\n"


def files(version: int, teams: int = 3) -> dict[str, str]:
    """Return the texts of a main file and its teams' files. Each version is a different policy."""
    main = f"version: 1\ninclude: [teams/*.yaml]\nmodels:\n  main: mock/v{version}\n"
    return {"routes.yaml": main, **{f"teams/{number:02}.yaml": team(number, version) for number in range(teams)}}


def rename(path: Path, text: str) -> None:
    fresh = path.with_name(".fresh")
    fresh.write_text(text)
    fresh.replace(path)


def digest(path: Path) -> str:
    """Return the digest of the files as they are."""
    return Compiler(environ={}).compile(path.read_bytes(), source=str(path)).digest


def loads(server: Server, path: Path, count: int = 2) -> None:
    """Wait for the files as they are, and see that they are the only table that was loaded since."""
    wanted = digest(path)
    server.until(lambda: server.loaded[-1] == wanted)
    assert len(server.loaded) == count


@pytest.fixture
def path() -> Iterator[Path]:
    with folder_in(None) as folder:
        write(folder, files(0))
        yield folder / "routes.yaml"


def test_a_rename_of_any_file_is_a_new_table(path: Path) -> None:
    with serving(path) as server:
        for count, name in enumerate(files(0), start=2):
            rename(path.parent / name, files(1)[name])
            loads(server, path, count)


def test_a_save_in_place_of_any_file_is_a_new_table(path: Path) -> None:
    with serving(path) as server:
        for count, name in enumerate(files(0), start=2):
            (path.parent / name).write_text(files(1)[name])
            loads(server, path, count)


def test_a_new_file_a_deleted_one_and_a_renamed_one_are_seen(path: Path) -> None:
    with serving(path) as server:
        rename(path.parent / "teams" / "new.yaml", team(7, 0))
        loads(server, path, 2)
        (path.parent / "teams" / "01.yaml").unlink()
        loads(server, path, 3)
        (path.parent / "teams" / "02.yaml").rename(path.parent / "teams" / "02.off")
        loads(server, path, 4)
        (path.parent / "teams" / "hidden").write_text("no: [yaml")
        (path.parent / "teams" / ".03.yaml.swp").write_text("no: [yaml")
        (path.parent / "teams" / "02.off").rename(path.parent / "teams" / "02.yaml")
        loads(server, path, 5)
    assert server.events("routes refused") == []


def test_a_folder_that_comes_later_and_one_that_is_swapped_are_seen(path: Path) -> None:
    path.write_text(files(0)["routes.yaml"].replace("teams/*.yaml", "teams/*.yaml, later/*/*.yaml"))
    with serving(path) as server:
        write(path.parent, {"later/deep/a.yaml": team(8, 0)})
        loads(server, path, 2)
        write(path.parent, {"fresh/00.yaml": team(0, 5)})
        (path.parent / "teams").rename(path.parent / "old")
        (path.parent / "fresh").rename(path.parent / "teams")
        loads(server, path, 3)
        rename(path.parent / "teams" / "00.yaml", team(0, 6))
        loads(server, path, 4)


def test_what_the_main_file_includes_may_change(path: Path) -> None:
    write(path.parent, {"others/a.yaml": team(9, 0)})
    with serving(path) as server:
        rename(path, files(0)["routes.yaml"].replace("teams/", "others/"))
        loads(server, path, 2)
        rename(path.parent / "others" / "a.yaml", team(9, 1))
        loads(server, path, 3)
        rename(path, "version: 1\nmodels: {main: mock/alone}\n")
        loads(server, path, 4)
        rename(path, files(0)["routes.yaml"])
        loads(server, path, 5)


def test_a_bad_file_keeps_the_table_and_is_told_by_its_place(path: Path) -> None:
    bad = path.parent / "teams" / "01.yaml"
    with serving(path) as server:
        for count, text in enumerate(["models:\n  a: nowhere\n", "models: [", team(0, 1), "hooks: {}\n"], start=1):
            rename(bad, text)
            server.until(lambda: len(server.events("routes refused")) == count)  # noqa: B023 - called at once
            assert server.events("routes refused")[-1]["problems"].startswith(f"{bad}:")
        rename(path.parent / "teams" / "00.yaml", team(0, 2))
        server.until(lambda: len(server.events("routes refused")) == 5)
        assert len(server.loaded) == 1
        rename(bad, team(1, 2))
        loads(server, path, 2)


def test_a_bad_main_file_does_not_make_it_forget_the_others(path: Path) -> None:
    with serving(path) as server:
        rename(path, "version: 1\nmodels: [\n")
        server.until(lambda: len(server.events("routes refused")) == 1)
        rename(path, files(0)["routes.yaml"])
        server.until(lambda: len(server.events("routes are again as they run")) == 1)
        rename(path.parent / "teams" / "00.yaml", team(0, 1))
        loads(server, path, 2)


def test_a_dangling_link_keeps_the_table(path: Path) -> None:
    with serving(path) as server:
        (path.parent / "teams" / "x.yaml").symlink_to("nowhere")
        server.until(lambda: len(server.events("routes refused")) == 1)
        assert "x.yaml:0:0: unreadable-file: " in server.events("routes refused")[0]["problems"]
        (path.parent / "teams" / "x.yaml").unlink()
        server.until(lambda: len(server.events("routes are again as they run")) == 1)


def test_edits_of_several_files_at_once_are_one_edit(path: Path) -> None:
    with serving(path) as server:
        write(path.parent, files(1))
        loads(server, path, 2)
        for name, text in files(2).items():
            rename(path.parent / name, text)
        loads(server, path, 3)


def test_a_checkout_of_many_files_is_one_edit(path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("no git")
    folder = path.parent

    def git(*args: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", folder, *identity, *args], check=True, capture_output=True)

    git("init", "--quiet", "--initial-branch=one")
    for branch, version in (("one", 0), ("two", 1)):
        shutil.rmtree(folder / "teams")
        write(folder, files(version, teams=TEAMS if branch == "one" else TEAMS // 2))
        write(folder, {f"teams/only-in-{branch}.yaml": team(100, version)})
        git("checkout", "--quiet", "-B", branch)
        git("add", "routes.yaml", "teams")
        git("commit", "--quiet", "-m", branch)
    with serving(path) as server:
        for count, branch in enumerate(["one", "two", "one"], start=2):
            git("checkout", "--quiet", branch)
            loads(server, path, count)
    assert server.events("routes refused") == []


@linux
def test_an_included_file_held_open_is_not_read_until_it_is_closed(path: Path) -> None:
    script = (
        "import sys; f = open(sys.argv[1], 'w'); f.write('models: {half: ['); f.flush(); print(flush=True); input()"
    )
    held = path.parent / "teams" / "01.yaml"
    with serving(path) as server:
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", script, held], stdin=pipe, stdout=pipe) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            rename(path.parent / "teams" / "00.yaml", team(0, 1))
            server.until(lambda: len(server.events(STILL)) == 1)
            assert server.events(STILL)[0]["source"] == str(held)
            assert (len(server.loaded), server.events("routes refused")) == (1, [])
            writer.kill()
        server.until(lambda: len(server.events("routes refused")) == 1)


@contextmanager
def config_map(folder: Path, texts: Mapping[str, str]) -> Iterator[Path]:
    folder.mkdir()
    publish(folder, texts, 0)
    yield folder


def flat(version: int, teams: int = 3) -> dict[str, str]:
    """Return the texts of a ConfigMap: its keys hold no slashes."""
    texts = {name.replace("/", "-"): text for name, text in files(version, teams).items()}
    return texts | {"routes.yaml": texts["routes.yaml"].replace("teams/*", "teams-*")}


def test_a_config_map_of_all_files_is_swapped_as_one_edit(path: Path) -> None:
    mount = path.parent / "mount"
    with config_map(mount, flat(0)), serving(mount / "routes.yaml") as server:
        for number, teams in enumerate([3, 3, 5, 2, 3], start=1):
            publish(mount, flat(number, teams), number)
            loads(server, mount / "routes.yaml", number + 1)
        assert server.events("routes refused") == []


def test_config_maps_of_their_own_are_followed(path: Path) -> None:
    for name in ("main", "a", "b"):
        (path.parent / f"of-{name}").mkdir()
    main = path.parent / "of-main"
    include = "version: 1\ninclude: [../of-a/*.yaml, ../of-b/*.yaml]\n"
    publish(main, {"routes.yaml": include}, 0)
    for name in ("a", "b"):
        publish(path.parent / f"of-{name}", {f"{name}.yaml": f"models: {{{name}: mock/v0}}\n"}, 0)
    with serving(main / "routes.yaml") as server:
        for number in (1, 2):
            for name in ("a", "b"):
                publish(path.parent / f"of-{name}", {f"{name}.yaml": f"models: {{{name}: mock/v{number}}}\n"}, number)
                loads(server, main / "routes.yaml", len(server.loaded) + 1)


def ask(url: str, method: str = "GET") -> tuple[int, Any]:
    address = urlsplit(url)
    with closing(http.client.HTTPConnection(address.netloc, timeout=9)) as client:
        client.request(method, address.path)
        answer = client.getresponse()
        return answer.status, json.load(answer)


def test_the_operators_paths_tell_of_all_files(path: Path) -> None:
    bad = path.parent / "teams" / "02.yaml"
    with serving(path) as server:
        url = server.events("listening")[0]["url"]
        status, config = ask(f"{url}/-/config")
        assert (status, config["digest"], config["disk"]["in_sync"]) == (200, digest(path), True)
        assert list(config["config"]["models"]) == ["main", *(f"team-{n}/{end}" for n in range(3) for end in "ab")]
        rename(bad, "models:\n  fast: nowhere\n")
        status, answer = ask(f"{url}/-/reload", "POST")
        (problem,) = answer["problems"]
        place = [problem[key] for key in ("source", "line", "column", "path", "excerpt")]
        assert (status, place) == (422, [str(bad), 2, 9, "models.fast", "  fast: nowhere"])
        status, config = ask(f"{url}/-/config")
        assert (config["disk"]["in_sync"], config["disk"]["digest"]) == (False, digest(path))
        rename(bad, team(2, 1))
        status, answer = ask(f"{url}/-/reload", "POST")
        assert (status, answer["digest"]) == (200, digest(path))


def test_a_start_with_a_bad_included_file_ends_with_its_problems(path: Path) -> None:
    bad = path.parent / "teams" / "00.yaml"
    bad.write_text("models: {a: nowhere}\n")
    server = Server(path)
    assert server.process.wait() == 1
    server.end()
    assert server.told.startswith(f"{bad}:1:13: no-provider: models.a: ")
