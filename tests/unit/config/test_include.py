"""Included files: which match, what they may hold, and where their problems are.

`python -m tests.unit.config.test_include` rewrites the problems; read every line of the difference afterwards.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from gateway.config import include
from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.config.document.document import MAX_BYTES
from gateway.config.include import MAX_DEPTH, MAX_FILES, MAX_FOLDERS, find, from_disk, matches, parts_of
from gateway.config.lint import lint
from tests.linting import OUTSIDE
from tests.paths import CASES
from tests.special_files import SPECIAL_FILES

FOLDER: Final = CASES / "include"
SETS: Final = sorted(path for path in FOLDER.iterdir() if path.is_dir())


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder; return the path of `routes.yaml` in it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "routes.yaml"


def compiled(path: Path, compiler: Compiler | None = None, source: str | None = None) -> Compiled:
    return (compiler or Compiler(environ={})).compile(path.read_bytes(), source=source or str(path))


def printed(result: Compiled) -> str:
    lines = []
    for problem in result.problems:
        kind = "warning: " if problem.severity == "warning" else ""
        lines += [f"{kind}{problem}", *([f"    {problem.excerpt}"] if problem.excerpt else [])]
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_a_set_of_files_has_exactly_the_problems_written_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = compiled(folder / "routes.yaml", source="routes.yaml")
    expected = folder.with_suffix(".problems")
    assert printed(result) == (expected.read_text(encoding="utf-8") if expected.exists() else "")
    assert (result.table is None) == any(problem.severity == "error" for problem in result.problems)


def test_the_entries_of_all_files_are_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER / "good")
    table = compiled(Path("routes.yaml")).table
    assert table is not None
    assert list(table.routes) == ["shared", "a/fast", "b/local"]
    names = [step.target.name for step in table.routes["b/local"].steps]
    assert names == ["vllm/llama", "mock/echo", "mock/shared"]
    assert {step.limits.total_s for step in table.routes["b/local"].steps} == {20.0}
    assert list(table.config) == ["version", "include", "defaults", "hooks", "models", "providers"]


def test_the_digest_is_what_sha256sum_makes_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER / "good")
    command = "sha256sum routes.yaml extra.yaml teams/a.yaml teams/b.yaml | sha256sum"
    expected = subprocess.check_output(["/bin/sh", "-c", command], text=True).split()[0]
    assert compiled(Path("routes.yaml")).digest == expected


@pytest.mark.parametrize("text", ["include: []\n", "include: ['*.none']\n", ""])
def test_a_file_alone_has_its_own_digest(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, {"routes.yaml": f"version: 1\n{text}models: {{a: mock/a}}\n"})
    assert compiled(path).digest == subprocess.check_output(["sha256sum", path], text=True).split()[0]


FILES: Final = (
    "a.yaml", "b.yml", "routes.yaml", "routes.test.yaml", ".a.yaml.swp", ".hidden.yaml", "a.yaml~", "#a.yaml#",
    "teams/a.yaml", "teams/b.yaml", "teams/b.test.yaml", "teams/deep/c.yaml", "teams/.git/d.yaml",
    "teams/deep/er/e.yaml", "x[1].yaml",
)  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.yaml", ["a.yaml", "x[1].yaml"]),
        ("*", ["a.yaml", "b.yml", "x[1].yaml"]),
        ("./a.yaml", ["a.yaml"]),
        ("?.y*ml", ["a.yaml", "b.yml"]),
        ("[ab].*", ["a.yaml", "b.yml"]),
        ("x[[]1].yaml", ["x[1].yaml"]),
        (".hid*", [".hidden.yaml"]),
        ("teams/*.yaml", ["teams/a.yaml", "teams/b.yaml"]),
        ("teams//*.yaml", ["teams/a.yaml", "teams/b.yaml"]),
        ("*/a.yaml", ["teams/a.yaml"]),
        ("*/*/*.yaml", ["teams/deep/c.yaml"]),
        ("teams/**/*.yaml", ["teams/a.yaml", "teams/b.yaml", "teams/deep/c.yaml", "teams/deep/er/e.yaml"]),
        ("teams/**", ["teams/a.yaml", "teams/b.yaml", "teams/deep/c.yaml", "teams/deep/er/e.yaml"]),
        ("**/e.yaml", ["teams/deep/er/e.yaml"]),
        ("teams/deep/../*.yaml", ["teams/deep/../a.yaml", "teams/deep/../b.yaml"]),
        ("none/*.yaml", []),
        ("a.yaml/*.yaml", []),
    ],
)
def test_a_pattern_matches_visible_files_other_than_the_main_one(
    tmp_path: Path, pattern: str, names: list[str]
) -> None:
    write(tmp_path, dict.fromkeys(FILES, ""))
    found = find(tmp_path / "routes.yaml", [pattern])
    assert list(found.names) == names
    assert [fault.code for fault in found.faults.values()] == ([] if names else ["unmatched-include"])
    if ".." not in pattern:
        others = [path for path in FILES if path != "routes.yaml" and matches(path.split("/"), parts_of(pattern))]
        assert sorted(others) == names


def test_a_file_that_two_patterns_match_is_included_once_and_an_absolute_path_stays_one(tmp_path: Path) -> None:
    path = write(tmp_path / "conf", {"teams/a.yaml": "", "teams/b.yaml": ""})
    write(tmp_path, {"other.yaml": ""})
    found = find(path, ["teams/*.yaml", "teams/a*", "../other.yaml", f"{tmp_path}/oth*.yaml"])
    assert found.names == ("../other.yaml", f"{tmp_path}/other.yaml", "teams/a.yaml", "teams/b.yaml")


def test_links_to_files_and_folders_are_followed_but_never_by_two_stars(tmp_path: Path) -> None:
    path = write(tmp_path, {"real/a.yaml": ""})
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "up").symlink_to("..")
    (tmp_path / "b.yaml").symlink_to("real/a.yaml")
    assert find(path, ["link/*.yaml"]).names == ("link/a.yaml",)
    assert find(path, ["**/*.yaml"]).names == ("b.yaml", "real/a.yaml")


def test_the_number_of_files_and_folders_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(include, "MAX_FILES", 10)
    monkeypatch.setattr(include, "MAX_FOLDERS", 10)
    assert (MAX_FILES, MAX_FOLDERS) == (1000, 1000)
    path = write(tmp_path, {f"many/{number}.yaml": "" for number in range(11)} | {"few/a.yaml": ""})
    write(tmp_path, {f"folders/{number}/a.yaml": "" for number in range(11)})
    for pattern in ("many/*.yaml", "folders/*/*.yaml", "folders/**/none"):
        found = find(path, ["few/*.yaml", pattern])
        assert found.names == ("few/a.yaml",)
        assert {number: fault.code for number, fault in found.faults.items()} == {1: "too-many-files"}


def test_the_depth_of_folders_is_bounded(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(MAX_DEPTH):
        path /= "d"
    path.mkdir(parents=True)
    found = find(tmp_path / "routes.yaml", ["**/*.yaml"])
    assert found.faults[0].code == "too-many-files"


def test_the_limit_of_bytes_is_that_of_all_files_together(tmp_path: Path) -> None:
    filler = f"x-filler: {'x' * (MAX_BYTES // 2)}\n"
    path = write(
        tmp_path,
        {
            "routes.yaml": "version: 1\ninclude: ['t*.yaml']\n",
            "t1.yaml": f"{filler}models: {{a: mock/a}}\n",
            "t2.yaml": filler,
            "t3.yaml": "models: {c: mock/c}\n",
        },
    )
    found = compiled(path).problems
    assert [(os.path.basename(one.source), one.code) for one in found] == [
        ("t2.yaml", "file-too-large"),
        ("t3.yaml", "file-too-large"),
    ]


@pytest.mark.parametrize("pattern", ["t.yaml", "t*.yaml"])
@pytest.mark.parametrize("kind", SPECIAL_FILES)
def test_what_is_no_small_regular_file_is_a_problem_and_not_waited_for(tmp_path: Path, kind: str, pattern: str) -> None:
    if pattern == "t*.yaml" and kind in ("folder", "no file"):
        pytest.skip("no match")
    path = write(tmp_path, {"routes.yaml": f"version: 1\ninclude: ['{pattern}']\nmodels: {{a: mock/a}}\n"})
    SPECIAL_FILES[kind](tmp_path / "t.yaml")
    (found,) = compiled(path).problems
    assert (found.source, found.code, found.line) == (str(tmp_path / "t.yaml"), "unreadable-file", 0)


def test_a_dangling_link_and_a_folder_are_told_by_name(tmp_path: Path) -> None:
    text = "version: 1\ninclude: ['*.yaml', folder, none.yaml, .]\n"
    path = write(tmp_path, {"routes.yaml": text, "folder/a.yaml": ""})
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    assert [(os.path.basename(one.source), one.message) for one in compiled(path).problems] == [
        (".", "this is a folder; write ./*.yaml to include the files in it"),
        ("dangling.yaml", "cannot read the file: no such file or directory"),
        ("folder", "this is a folder; write folder/*.yaml to include the files in it"),
        ("none.yaml", "cannot read the file: no such file or directory"),
    ]


def test_key_files_and_hooks_start_at_the_main_files_folder(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "routes.yaml": "version: 1\ninclude: [teams/*.yaml]\n",
            "keys/a": "sk-from-file",
            "included_hooks.py": "def pre(params):\n    return params\n",
            "teams/a.yaml": "providers: {own: {kind: openai, base_url: 'http://127.0.0.1:1', api_key_file: keys/a}}\n"
            "models: {a: {chain: [own/m], hooks: {pre: [included_hooks.pre]}}}\n",
        },
    )
    table = compiled(path).table
    assert table is not None
    secret = table.routes["a"].steps[0].target.endpoint.api_key.read()
    assert secret is not None
    assert secret.reveal() == "sk-from-file"
    assert [hook.path for hook in table.routes["a"].pre] == ["included_hooks.pre"]


def test_a_secret_and_a_variable_of_an_included_file_are_not_shown(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "routes.yaml": "version: 1\ninclude: [t.yaml]\n",
            "t.yaml": "providers:\n  own: {kind: opena, api_key: sk-1234567890abcdef, base_url: '${WHERE}'}\n"
            "models: {a: '${TARGET}'}\n",
        },
    )
    environ = {"WHERE": "ftp://hidden-host.example", "TARGET": "hiddenprovider/model"}
    found = compiled(path, Compiler(environ=environ)).problems
    text = "".join(f"{one} {one.excerpt}" for one in found)
    assert {one.code for one in found} == {"unknown-kind", "unknown-provider"}
    assert "sk-1234567890abcdef" not in text
    assert "hidden" not in text


def test_an_edit_of_one_file_judges_no_alias_of_another_anew(tmp_path: Path) -> None:
    texts = {
        f"t{team}.yaml": "".join(["models:\n", *(f"  t{team}/{number}: mock/a{number}\n" for number in range(50))])
        for team in range(3)
    }
    path = write(tmp_path, {"routes.yaml": "version: 1\ninclude: ['t*.yaml']\nmodels: {own: mock/own}\n", **texts})
    compiler = Compiler(environ={})
    before = compiled(path, compiler).table
    write(tmp_path, {"t1.yaml": "# one line more\n" + texts["t1.yaml"].replace("mock/a7\n", "mock/other\n")})
    after = compiled(path, compiler).table
    assert before is not None
    assert after is not None
    changed = [name for name, route in after.routes.items() if before.routes[name] is not route]
    assert changed == ["t1/7"]
    assert before.digest != after.digest
    write(tmp_path, {"t1.yaml": "# one line more\n" + texts["t1.yaml"].replace("mock/a9\n", "nowhere\n")})
    (problem,) = compiled(path, compiler).problems
    assert (problem.source, problem.line, problem.path) == (str(tmp_path / "t1.yaml"), 12, 'models["t1/9"]')


def test_a_comment_ignores_warnings_of_its_own_file_only(tmp_path: Path) -> None:
    single = "models: {%s: {chain: [mock/status-503, mock/status-503]}}\n"
    path = write(
        tmp_path,
        {
            "routes.yaml": "# gateway: ignore-file[single-provider]\nversion: 1\ninclude: ['t*.yaml', 'x*.yaml']\n",
            "t1.yaml": f"# gateway: ignore-file[repeated-target]\n{single % 'a'}",
            "t2.yaml": single % "b",
        },
    )
    found = lint(compiled(path), OUTSIDE)
    assert [(os.path.basename(one.source), one.line, one.code) for one in found if one.code != "single-provider"] == [
        ("routes.yaml", 1, "unused-ignore"),
        ("routes.yaml", 3, "unmatched-include"),
        ("t2.yaml", 1, "repeated-target"),
    ]
    write(
        tmp_path, {"routes.yaml": "version: 1\ninclude: ['t*.yaml', 'x*.yaml'] # gateway: ignore[unmatched-include]\n"}
    )
    assert "unmatched-include" not in {one.code for one in lint(compiled(path), OUTSIDE)}


def test_standard_input_includes_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"t.yaml": "models: {a: nowhere}\n"})
    monkeypatch.chdir(tmp_path)
    data = b"version: 1\ninclude: ['*.yaml']\n"
    (found,) = Compiler(environ={}).compile(data, source="<stdin>", include=from_disk("<stdin>", data)).problems
    assert (found.source, found.line) == ("t.yaml", 1)


def _write_anew() -> None:
    for folder in SETS:
        os.chdir(folder)
        text = printed(compiled(folder / "routes.yaml", source="routes.yaml"))
        if text:
            folder.with_suffix(".problems").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write_anew()
