"""What people use in CI, run for real as far as a machine without those services can."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.paths import ROOT

PACKAGED = ("gateway", "schemas", "deploy", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")
GITLAB = ROOT / "deploy" / "gitlab-ci.yml"
GOOD = """\
version: 1
models:
  smart: [mock/status-503, mock/echo]
"""
CASES = """\
cases:
  - name: the second answers
    request: smart
    expect: {target: mock/echo}
"""

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What pip finds without a network: it builds our package and takes what that needs from this environment."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one the other way round
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PRE_COMMIT_HOME": str(tmp_path / "pre-commit"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "somebody@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }


@pytest.fixture
def run(tmp_path: Path, environ: dict[str, str]) -> Run:
    """Run a command in the folder `policy`."""
    folder = tmp_path / "policy"
    folder.mkdir()

    def run(*command: str, cwd: Path = folder, **more: str) -> subprocess.CompletedProcess[str]:
        env = {**environ, **more}
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=50, check=False)

    run("git", "init", "-q", "-b", "main")
    return run


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Give a copy of what our repository holds for users."""
    copy = tmp_path / "package"
    copy.mkdir()
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def commit(run: Run, folder: Path, **files: str) -> str:
    """Write `routes_yaml="…"` to routes.yaml and so on, commit, and return the revision."""
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    run("git", "add", "-A", cwd=folder)
    done = run("git", "commit", "-qm", "change", cwd=folder)
    assert done.returncode == 0, done.stderr
    return run("git", "rev-parse", "HEAD", cwd=folder).stdout.strip()


@pytest.mark.timeout(90)
def test_pre_commit_runs_the_hooks(tmp_path: Path, package: Path, run: Run) -> None:
    """pre-commit clones the repository, builds an environment for it and installs the package there."""
    policy = tmp_path / "policy"
    run("git", "init", "-q", "-b", "main", cwd=package)
    revision = commit(run, package)
    hooks = [{"id": name} for name in ("gateway-validate", "gateway-test", "gateway-fmt")]
    config = {"repos": [{"repo": str(package), "rev": revision, "hooks": hooks}]}
    (policy / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    commit(run, policy, routes_yaml=GOOD, routes_test_yaml=CASES, other_yaml="models: [")

    def outcome(**files: str) -> tuple[dict[str, str], str]:
        for name, text in files.items():
            (policy / name.replace("_", ".")).write_text(text)
        run("git", "add", "-A")
        done = run("pre-commit", "run", "--all-files", "--color=never")
        return dict(re.findall(r"^gateway (\w+)\.+(\w+)$", done.stdout, re.MULTILINE)), done.stdout + done.stderr

    found, text = outcome()
    assert found == {"validate": "Passed", "test": "Passed", "fmt": "Passed"}, text
    found, text = outcome(routes_yaml=GOOD.replace("mock/echo", "mok/echo"))
    assert found == {"validate": "Failed", "test": "Failed", "fmt": "Passed"}, text
    assert "routes.yaml:3:28: unknown-provider: models.smart[1]: no provider named 'mok'; did you mean 'mock'?" in text
    found, text = outcome(routes_yaml=GOOD.replace(", mock/echo", ""))
    assert found == {"validate": "Passed", "test": "Failed", "fmt": "Failed"}, text
    assert "routes.test.yaml:2:5: FAILED: the second answers" in text
    assert "files were modified by this hook" in text
    assert (policy / "routes.yaml").read_text() == "version: 1\nmodels:\n  smart: mock/status-503\n"


class Job:
    """One use of our action: its inputs, and what its steps are given."""

    def __init__(self, folder: Path, run: Run, **inputs: str) -> None:
        self.action: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "github-action" / "action.yml").read_text())
        self._folder = folder
        self._run = run
        self._inputs = {name: str(entry.get("default", "")) for name, entry in self.action["inputs"].items()}
        self._inputs |= {"base": "", **{name.replace("_", "-"): value for name, value in inputs.items()}}
        self.summary, self.output = folder / "summary.md", folder / "output"
        for file in (self.summary, self.output):
            file.touch()

    def step(self, name: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run one step as a runner does."""
        (step,) = (step for step in self.action["runs"]["steps"] if step["name"] == name)
        assert step["shell"] == "bash"
        script = self._folder / f"{name}.sh"
        script.write_text(step["run"])
        return self._run(
            *("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)),
            cwd=self._folder / "policy" / self._fill(step.get("working-directory", ".")),
            RUNNER_TEMP=str(self._folder / "temp"),
            GITHUB_STEP_SUMMARY=str(self.summary),
            GITHUB_OUTPUT=str(self.output),
            **{key: self._fill(value) for key, value in step["env"].items()},
            **more,
        )

    def _fill(self, text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: self._inputs[match[1]], text)


@pytest.fixture
def job(tmp_path: Path, run: Run) -> Callable[..., Job]:
    """Give a job whose install step has been run already, with this checkout's package."""
    command = tmp_path / "temp" / "routes-gateway" / "bin" / "gateway"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m gateway "$@"\n')
    command.chmod(0o755)
    return lambda **inputs: Job(tmp_path, run, **inputs)


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_the_action_installs_its_own_package(tmp_path: Path, package: Path, run: Run) -> None:
    (tmp_path / "policy" / "routes.yaml").write_text(GOOD)
    job = Job(tmp_path, run)
    done = job.step("install", GITHUB_ACTION_PATH=str(package / "deploy" / "github-action"))
    assert done.returncode == 0, done.stderr
    assert run(str(tmp_path / "temp" / "routes-gateway" / "bin" / "gateway"), "--version").stdout.startswith("gateway ")


def bare_environment(run: Run, folder: Path) -> Path:
    """Make a virtual environment that borrows its pip, which is ten times as fast; return the folder of commands."""
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    pip = folder / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{folder / "bin" / "python"}" -m pip "$@"\n')
    pip.chmod(0o755)
    return folder / "bin"


@pytest.mark.timeout(60)
def test_the_action_installs_what_it_is_told_to_and_nothing_else(tmp_path: Path, package: Path, run: Run) -> None:
    commands = bare_environment(run, tmp_path / "temp" / "routes-gateway")
    (tmp_path / "python3").symlink_to("/bin/true")  # the environment is there already
    more = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "GITHUB_ACTION_PATH": str(tmp_path / "nowhere" / "deploy" / "github-action"),
    }
    for hostile in ("--index-url=http://127.0.0.1:1", "$(touch pwned)"):
        done = Job(tmp_path, run, package=hostile).step("install", **more)
        assert done.returncode == 1
        assert "Invalid requirement" in done.stderr
    assert [path.name for path in tmp_path.rglob("pwned*")] == []
    done = Job(tmp_path, run, package=str(package)).step("install", **more)
    assert done.returncode == 0, done.stderr
    assert run(str(commands / "gateway"), "--version").stdout.startswith("gateway ")


def test_the_action_annotates_and_tests(tmp_path: Path, job: Callable[..., Job]) -> None:
    policy = tmp_path / "policy"
    (policy / "a").mkdir()
    (policy / "a" / "routes.yaml").write_text(GOOD.replace("mock/echo", "mok/echo"))
    (policy / "a" / "routes.test.yaml").write_text(CASES)
    using = job(files="routes.yaml\n", tests="routes.test.yaml", working_directory="a")
    done = using.step("validate")
    assert done.returncode == 1
    assert re.search(r"^::error file=routes\.yaml,line=3,col=28", done.stdout, re.MULTILINE), done.stdout
    assert using.step("test").returncode == 1
    (policy / "a" / "routes.yaml").write_text(GOOD)
    assert using.step("validate").returncode == 0
    done = using.step("test")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed")
    assert job(working_directory="a").step("test").stdout == ""


def test_the_action_is_strict_when_asked(tmp_path: Path, job: Callable[..., Job]) -> None:
    text = GOOD + "providers: {p: {kind: openai, base_url: 'http://127.0.0.1:1/v1', api_key: '${NO_SUCH_KEY}'}}\n"
    (tmp_path / "policy" / "routes.yaml").write_text(text)
    assert job().step("validate").returncode == 0
    assert job(strict="true").step("validate").returncode == 1


def test_the_action_says_what_changes(tmp_path: Path, run: Run, job: Callable[..., Job]) -> None:
    base = commit(run, tmp_path / "policy", routes_yaml=GOOD)
    (tmp_path / "policy" / "routes.yaml").write_text(GOOD.replace("mock/status-503, mock/echo", "mock/echo"))
    using = job(base=base, skip_hooks="true")
    done = using.step("diff")
    assert done.returncode == 0, done.stderr
    text = using.summary.read_text()
    assert "smart" in text
    name, end = using.output.read_text().split("\n")[0].split("<<")
    assert using.output.read_text() == f"{name}<<{end}\n{text}{end}\n"
    assert name == "diff"
    for other in (job(base="0" * 40), job(base=base, files="none.yaml")):
        done = other.step("diff")
        assert done.returncode == 0
        assert "::notice::nothing to compare" in done.stdout
    assert job().step("diff").stdout == ""
    (tmp_path / "policy" / "routes.yaml").write_text(GOOD.replace("mock/echo", "mok/echo"))
    done = job(base=base).step("diff")
    assert done.returncode == 0
    assert f"::notice::routes.yaml has problems, here or at {base}: no comparison" in done.stdout


def test_inputs_are_never_obeyed(tmp_path: Path, job: Callable[..., Job]) -> None:
    (tmp_path / "policy" / "routes.yaml").write_text(GOOD)
    hostile = '$(touch pwned)\n"; touch pwned; "\n`touch pwned`\n--version'
    using = job(files=hostile, tests=hostile, base="--output=pwned; touch pwned", strict=hostile, skip_hooks=hostile)
    for step in using.action["runs"]["steps"]:
        assert "${{" not in step["run"]
        if step["name"] != "install":
            using.step(step["name"])
    assert [path.name for path in tmp_path.rglob("pwned*")] == []


def gitlab_job(**inputs: str) -> dict[str, Any]:
    """Return the job as GitLab makes it of these inputs. One without a default has to be given."""
    header, _ = yaml.safe_load_all(GITLAB.read_text())
    values = {name: given["default"] for name, given in header["spec"]["inputs"].items() if "default" in given} | inputs
    text = re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda match: values[match[1]], GITLAB.read_text())
    _, jobs = yaml.safe_load_all(text)
    (job,) = jobs.values()
    assert isinstance(job, dict)
    return job


@pytest.fixture
def image(tmp_path: Path, run: Run) -> dict[str, str]:
    """Give what the container of a GitLab job sets: an empty Python of its own with pip, and the server's variables."""
    return {
        "PATH": f"{bare_environment(run, tmp_path / 'image')}:{os.environ['PATH']}",
        "CI_SERVER_PROTOCOL": "https",
        "CI_SERVER_HOST": "gitlab.example",
        "CI_SERVER_PORT": "443",
        "CI_JOB_TOKEN": "a-token",
    }


@pytest.mark.parametrize("ref", ["v0.1.0", pytest.param("main", marks=pytest.mark.slow)])
@pytest.mark.timeout(90)
def test_the_gitlab_job_installs_the_project_and_revision_that_it_is_told(
    tmp_path: Path, package: Path, run: Run, image: dict[str, str], ref: str
) -> None:
    run("git", "init", "-q", "-b", "main", cwd=package)
    for version in ("0.1.0", "9.9.9"):
        (package / "gateway" / "_version.py").write_text(f'__version__ = "{version}"\n')
        commit(run, package)
        run("git", "tag", f"v{version}", cwd=package)
    job = gitlab_job(project="group/routes-gateway", ref=ref)
    done = run(
        *("bash", "-eo", "pipefail", "-c", "\n".join(job["before_script"])),
        **image,
        **job["variables"],
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0=f"url.file://{package}.insteadOf",
        GIT_CONFIG_VALUE_0="https://gitlab-ci-token:a-token@gitlab.example:443/group/routes-gateway.git",
    )
    assert done.returncode == 0, done.stderr
    installed = run(str(tmp_path / "image" / "bin" / "gateway"), "--version").stdout
    assert installed.split()[:2] == ["gateway", "0.1.0" if ref == "v0.1.0" else "9.9.9"]


@pytest.mark.timeout(90)
def test_the_gitlab_job_installs_another_package_where_one_is_given(
    tmp_path: Path, package: Path, run: Run, image: dict[str, str]
) -> None:
    job = gitlab_job(project="group/none", ref="none", package=str(package))
    done = run("bash", "-euo", "pipefail", "-c", "\n".join(job["before_script"]), **image, **job["variables"])
    assert done.returncode == 0, done.stderr
    assert run(str(tmp_path / "image" / "bin" / "gateway"), "--version").returncode == 0


def test_nothing_installs_our_package_by_its_name() -> None:
    """Nobody has published it: whoever does would run their code wherever such a line runs."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile", ROOT / ".pre-commit-hooks.yaml", GITLAB]
    for folder, pattern in (
        ("deploy", "**/*"),
        ("docs", "*.md"),
        ("examples", "**/*"),
        (".ci", "*"),
        ("gateway", "**/*"),
    ):
        files += [path for path in (ROOT / folder).glob(pattern) if path.is_file() and "__pycache__" not in path.parts]
    names = "|".join(re.escape(name) for name in ("routes-gateway", "routes_gateway", "gateway"))
    by_name = re.compile(
        rf"\b(?:pip3?\b.*\binstall|uv (?:add|tool)|uvx|pipx (?:run|install))\b[^|;&\n]*[ '\"=](?:{names})(?![\w/.-])"
    )
    assert by_name.search('pip" install --quiet routes-gateway==1')
    assert by_name.search("pip install --quiet routes-gateway")
    assert not by_name.search("pip install .  # in a checkout of routes-gateway/")
    found = {str(path.relative_to(ROOT)): by_name.findall(path.read_text(encoding="utf-8")) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_gitlab_job_reports_what_it_finds(tmp_path: Path, job: Callable[..., Job], run: Run) -> None:
    job()
    policy = tmp_path / "policy"
    routes = gitlab_job(project="group/routes-gateway", ref="main")
    script = "\n".join(routes["script"])
    path = f"{tmp_path / 'temp' / 'routes-gateway' / 'bin'}:{os.environ['PATH']}"

    def failures() -> tuple[int, list[int]]:
        done = run("bash", "-eo", "pipefail", "-c", script, PATH=path)
        files = [policy / name for name in routes["artifacts"]["reports"]["junit"]]
        reports = [ET.fromstring(file.read_text()) for file in files]  # noqa: S314 - our own
        return done.returncode, [len(report.findall(".//failure") + report.findall(".//error")) for report in reports]

    (policy / "routes.test.yaml").write_text(CASES)
    (policy / "routes.yaml").write_text(GOOD)
    assert failures() == (0, [0, 0])
    (policy / "routes.yaml").write_text(GOOD.replace(", mock/echo", ""))
    assert failures() == (1, [0, 1])
    (policy / "routes.yaml").write_text(GOOD.replace("mock/echo", "mok/echo"))
    code, (validate, test) = failures()
    assert (code, validate, test > 0) == (1, 1, True)
