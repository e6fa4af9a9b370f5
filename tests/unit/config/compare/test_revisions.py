"""Which file of which repository a revision means, with real git: its hooks, work trees, submodules and links."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.compare.revisions import read_both
from gateway.errors import UsageError
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a file at the top and one below, each saying which it is; it is the current folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in (("GIT_CONFIG_GLOBAL", os.devnull), ("GIT_CONFIG_NOSYSTEM", "1"), ("HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.com")
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    monkeypatch.chdir(top)
    git("init", "-q", "-b", "main")
    commit({"routes.yaml": "top 1", "sub/routes.yaml": "sub 1"})
    commit({"routes.yaml": "top 2", "sub/routes.yaml": "sub 2"})
    return top


def git(*argv: str) -> None:
    subprocess.run(["git", "-c", "protocol.file.allow=always", *argv], check=True, capture_output=True)


def commit(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).write_text(text)
    git("add", ".")
    git("commit", "-q", "-m", "a change")


def read(old: str | None = None, new: str | None = None, config: str = "routes.yaml", **options: bool) -> list[str]:
    """Return `NAME = TEXT` of both sides."""
    sides = read_both(old, new, config=Path(config), explicit=options.get("explicit", False))
    return [f"{side.name} = {side.data.decode()}" for side in sides]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("HEAD~1", "HEAD:sub/routes.yaml"),
        ("HEAD~1", "HEAD:./sub/routes.yaml"),
        ("HEAD~1", ":sub/routes.yaml"),
        ("HEAD~1", ":0:sub/routes.yaml"),
        ("HEAD~1:sub/routes.yaml", "HEAD"),
        ("HEAD^{/one: x}", "HEAD:sub/routes.yaml"),
        ("HEAD^{/one: x}:sub/routes.yaml", "HEAD"),
    ],
)
def test_a_revision_beside_a_path_means_that_path(old: str, new: str) -> None:
    git("reset", "-q", "--hard", "HEAD~1")
    git("commit", "-q", "--amend", "-m", "one: x")
    commit({"routes.yaml": "top 2", "sub/routes.yaml": "sub 2"})
    sides = read(old, new)
    assert [side.partition(" = ")[2] for side in sides] == ["sub 1", "sub 2"]
    assert all(":sub/routes.yaml" in side or ":0:sub/routes.yaml" in side for side in sides)


def test_two_revisions_mean_the_config_file() -> None:
    assert read("HEAD~1", "HEAD") == ["HEAD~1:routes.yaml = top 1", "HEAD:routes.yaml = top 2"]


def test_a_named_config_file_goes_before_the_other_sides_path() -> None:
    assert read("HEAD~1", "HEAD:sub/routes.yaml", explicit=True) == [
        "HEAD~1:routes.yaml = top 1",
        "HEAD:sub/routes.yaml = sub 2",
    ]


def test_a_path_from_a_folder_below_is_the_tops_or_begins_with_a_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("sub")
    for path in ("sub/routes.yaml", "./routes.yaml"):
        assert read("HEAD~1", f"HEAD:{path}") == ["HEAD~1:sub/routes.yaml = sub 1", "HEAD:sub/routes.yaml = sub 2"]
    assert read("HEAD", "HEAD~1:../routes.yaml") == ["HEAD:routes.yaml = top 2", "HEAD~1:routes.yaml = top 1"]


HOOK = """#!/bin/sh
export PYTHONPATH="{root}"
for folder in . sub; do
  (cd $folder && "{python}" -P -c '
import os
from pathlib import Path
from gateway.config.compare.revisions import read_both
for new in (None, ":./routes.yaml", "routes.yaml"):
    for side in read_both(None, new, config=Path("routes.yaml"), explicit=False):
        print(f"{{side.name}} = {{side.data.decode()}}")
print("GIT_DIR" in os.environ, "GIT_WORK_TREE" in os.environ, "GIT_INDEX_FILE" in os.environ)
')
done > "{out}"
"""


@pytest.mark.parametrize("in_worktree", [True, False])
def test_a_hook_reads_the_file_of_its_own_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_worktree: bool
) -> None:
    """In a linked work tree git gives its hooks GIT_DIR alone; to git any folder is then the top."""
    out = tmp_path / "out"
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.write_text(HOOK.format(root=ROOT, python=sys.executable, out=out))
    hook.chmod(0o755)
    if in_worktree:
        git("worktree", "add", "-q", str(tmp_path / "linked"))
        monkeypatch.chdir(tmp_path / "linked")
    Path("sub/routes.yaml").write_text("sub 3")
    Path("routes.yaml").write_text("top 3")
    git("commit", "-q", "-m", "x", "sub/routes.yaml")  # of what is named alone: an index of its own, GIT_INDEX_FILE
    assert out.read_text().splitlines() == [
        "HEAD:routes.yaml = top 2", "routes.yaml = top 3",
        "HEAD:routes.yaml = top 2", ":routes.yaml = top 2",
        "HEAD:routes.yaml = top 2", "routes.yaml = top 3",
        f"{in_worktree} False True",
        "HEAD:sub/routes.yaml = sub 2", "routes.yaml = sub 3",
        "HEAD:sub/routes.yaml = sub 2", ":sub/routes.yaml = sub 3",
        "HEAD:sub/routes.yaml = sub 2", "routes.yaml = sub 3",
        f"{in_worktree} False True",
    ]  # fmt: skip


@pytest.mark.parametrize("with_tree", [True, False])
def test_git_dir_may_mean_a_repository_elsewhere(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tree: bool
) -> None:
    """As for dot files: the repository's own folder is not above the files."""
    home = tmp_path / "elsewhere.git"
    (repository / ".git").rename(home)
    monkeypatch.setenv("GIT_DIR", os.path.relpath(home))
    if with_tree:
        monkeypatch.setenv("GIT_WORK_TREE", ".")
    assert read(config="sub/routes.yaml") == ["HEAD:sub/routes.yaml = sub 2", "sub/routes.yaml = sub 2"]
    assert read("HEAD~1", "HEAD:./sub/routes.yaml")[0] == "HEAD~1:sub/routes.yaml = sub 1"


def test_a_file_in_a_submodule_is_of_the_submodule(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("clone", "-q", str(repository), str(tmp_path / "other"))
    git("submodule", "add", "-q", str(tmp_path / "other"), "module")
    commit({"routes.yaml": "top 3"})
    wanted = ["HEAD~1:routes.yaml = top 1", "module/routes.yaml = top 2"]
    assert read("HEAD~1", config="module/routes.yaml") == wanted
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/index")
    assert read("HEAD~1", config="module/routes.yaml") == wanted
    monkeypatch.setenv("GIT_DIR", ".git")
    assert read("HEAD~1", config="module/routes.yaml") == wanted
    monkeypatch.setenv("GIT_WORK_TREE", ".")
    assert read("HEAD~1", config="module/routes.yaml") == wanted
    assert read("HEAD~1")[0] == "HEAD~1:routes.yaml = top 2"


def test_a_bare_repository_has_revisions_too(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as in a hook of a server, where git sets `GIT_DIR=.`."""
    git("clone", "-q", "--bare", str(repository), str(tmp_path / "bare.git"))
    monkeypatch.chdir(tmp_path / "bare.git")
    for _ in range(2):
        assert read("HEAD~1", "HEAD") == ["HEAD~1:routes.yaml = top 1", "HEAD:routes.yaml = top 2"]
        assert read("HEAD~1", "HEAD:./sub/routes.yaml")[0] == "HEAD~1:sub/routes.yaml = sub 1"
        monkeypatch.setenv("GIT_DIR", ".")
    with pytest.raises(UsageError, match=r"cannot read routes\.yaml: no such file"):
        read("HEAD")


def test_links_are_followed_as_they_were_at_the_revision(repository: Path) -> None:
    Path("v1.yaml").write_text("v 1")
    Path("v2.yaml").write_text("v 2")
    Path("current.yaml").symlink_to("v1.yaml")
    Path("linked").symlink_to("sub")
    commit({})
    Path("current.yaml").unlink()
    Path("current.yaml").symlink_to("v2.yaml")
    assert read(config="current.yaml") == ["HEAD:current.yaml = v 1", "current.yaml = v 2"]
    assert read("HEAD:linked/routes.yaml", ":linked/routes.yaml") == [
        "HEAD:linked/routes.yaml = sub 2",
        ":linked/routes.yaml = sub 2",
    ]
    assert read(":current.yaml", "current.yaml") == [":current.yaml = v 1", "current.yaml = v 2"]
    git("add", ".")
    assert read("HEAD:current.yaml", ":current.yaml") == ["HEAD:current.yaml = v 1", ":current.yaml = v 2"]
    assert read(config="linked/routes.yaml") == ["HEAD:linked/routes.yaml = sub 2", "linked/routes.yaml = sub 2"]


@pytest.mark.parametrize("revision", ["HEAD", ""])
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("out.yaml", "out.yaml is a symbolic link that leads out of the repository or to nothing"),
        ("up.yaml", "up.yaml is a symbolic link that leads out of the repository or to nothing"),
        ("loop.yaml", "loop.yaml is a symbolic link that leads out of the repository or to nothing"),
        ("sub", "sub is a folder"),
        ("no.yaml", "there is no no.yaml"),
        ("routes.yaml/x", "there is no routes.yaml/x"),
    ],
)
def test_what_is_no_file_at_a_revision_is_told(path: str, why: str, revision: str) -> None:
    Path("out.yaml").symlink_to("/etc/hostname")
    Path("up.yaml").symlink_to("../up.yaml")
    Path("loop.yaml").symlink_to("loop.yaml")
    commit({})
    with pytest.raises(UsageError) as told:
        read(f"{revision}:{path}", "routes.yaml")
    assert str(told.value) == f"cannot read {revision}:{path}: {why} {'at HEAD' if revision else 'in the index'}"


def test_cases_beside_a_revision_are_those_of_the_revision() -> None:
    commit({"sub/routes.test.yaml": "cases 1"})
    commit({"sub/routes.test.yaml": "cases 2"})
    for side in read_both("HEAD~1", "HEAD:sub/routes.yaml", config=Path("routes.yaml"), explicit=False):
        number = 1 if side.revision == "HEAD~1" else 2
        assert side.beside() == (f"{side.revision}:sub/routes.test.yaml", f"cases {number}".encode())
    assert read_both("HEAD~2:routes.yaml", "HEAD", config=Path("routes.yaml"), explicit=False)[0].beside() is None
