"""What is installed: the bounds of pyproject.toml, the lock, and the bill of materials."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT
from tests.supply import locked
from tests.supply.declared import build_requirements, dependencies, extra, oldest
from tests.supply.sbom import OURS, bill


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    for requirement in [*dependencies(), *extra("otel"), *extra("redis")]:
        assert oldest(requirement) is not None, requirement
        assert any(bound.operator in {"<", "~="} for bound in requirement.specifier), requirement


def test_the_malicious_releases_of_litellm_are_excluded_by_name() -> None:
    (litellm,) = (requirement for requirement in dependencies() if requirement.name == "litellm")
    assert {"!=1.82.7", "!=1.82.8"} <= {str(bound) for bound in litellm.specifier}
    assert not any(litellm.specifier.contains(bad) for bad in ("1.82.7", "1.82.8"))


def test_what_is_installed_here_is_allowed() -> None:
    """So `make test-oldest` fails when pip took something else than the oldest."""
    here = Path(sys.prefix) / "oldest.txt"
    bounds = [Requirement(line) for line in here.read_text().splitlines()] if here.exists() else dependencies()
    for requirement in bounds:
        if requirement.marker is None or requirement.marker.evaluate():
            assert requirement.specifier.contains(version(requirement.name)), requirement


@pytest.mark.parametrize("path", [locked.LOCK, locked.BUILD_LOCK, locked.REDIS_LOCK], ids=lambda path: path.name)
def test_every_package_of_a_lock_has_digests_and_no_other_source(path: Path) -> None:
    assert [name for name, package in locked.read(path).items() if not package.sha256] == []
    assert not re.search(r"://|^\s*-(?!-hash=)|@ ", path.read_text(), re.MULTILINE)


def test_the_locks_hold_what_is_declared() -> None:
    for lock, requirements in (
        (locked.read(), dependencies()),
        (locked.read(locked.BUILD_LOCK), build_requirements()),
        (locked.read(locked.REDIS_LOCK), extra("redis")),
    ):
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            assert name in lock, f"{name}: run `make lock`"
            assert requirement.specifier.contains(lock[name].version), f"{requirement}: run `make lock`"


def test_the_lock_holds_what_its_packages_need_in_turn() -> None:
    """As far as they are installed here in the locked version; `make test-locked` installs them all."""
    lock = locked.read()
    asked = []
    for name, package in lock.items():
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        if installed.version != package.version:
            continue
        asked.append(name)
        for line in installed.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed = canonicalize_name(requirement.name)
                assert needed in lock, f"{name} needs {requirement}"
                assert requirement.specifier.contains(lock[needed].version), f"{name} needs {requirement}"
    assert asked


def test_the_bill_of_materials_holds_the_lock_and_who_needs_what() -> None:
    lock = locked.read()
    run = [sys.executable, "-m", "tests.supply", "sbom"]
    document = json.loads(subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert document == bill(lock)
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["serialNumber"])
    components = {component["name"]: component for component in document["components"]}
    assert components.keys() == lock.keys()
    for name, component in components.items():
        assert component["purl"] == f"pkg:pypi/{name}@{lock[name].version}"
        assert {digest["content"] for digest in component["hashes"]} == set(lock[name].sha256)
    needs = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    refs = [component["bom-ref"] for component in components.values()]
    assert sorted(needs) == sorted([*refs, document["metadata"]["component"]["bom-ref"]])
    ours = {need.split("/")[-1].split("@")[0] for need in needs[document["metadata"]["component"]["bom-ref"]]}
    assert document["metadata"]["component"]["name"] == OURS
    assert ours == {canonicalize_name(requirement.name) for requirement in dependencies()}
    reached, ahead = set[str](), [document["metadata"]["component"]["bom-ref"]]
    while ahead:
        ref = ahead.pop()
        if ref not in reached:
            reached.add(ref)
            ahead += needs[ref]
    assert reached == set(needs)
