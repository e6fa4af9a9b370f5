"""Who may import whom, folder by folder: imports go down, and the config half and the request half never meet."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.paths import PACKAGE

ALLOWED: Final = {
    "cli": "server library reports simulation importers state config engine adapters policy telemetry wire errors "
    "words",
    "server": "reports simulation state config engine operations adapters policy telemetry wire concurrency errors "
    "words",
    "state": "engine policy wire errors words",
    "library": "config engine operations adapters policy telemetry wire errors words",
    "reports": "simulation config policy telemetry wire errors words",
    "simulation": "config engine operations adapters policy telemetry wire errors words",
    "importers": "reports config policy wire errors words",
    "config": "policy concurrency wire errors words",
    "engine": "operations adapters policy telemetry wire concurrency errors words",
    "operations": "adapters policy wire errors",
    "adapters": "policy wire concurrency words",
    "errors": "telemetry policy wire",
    "telemetry": "policy wire",
    "policy": "wire words",
    "wire": "concurrency",
    "concurrency": "",
    "words": "",
}
"""By folder (or module) of `gateway/`: what it may import besides itself."""

NEVER: Final = {
    "config": {"aiohttp", "litellm", "uvloop", "httptools"},
    "policy": {"aiohttp", "litellm", "uvloop", "httptools", "yaml", "jsonschema", "watchfiles"},
    "engine": {"yaml", "jsonschema", "watchfiles"},
    "operations": {"yaml", "jsonschema", "watchfiles"},
    "adapters": {"yaml", "jsonschema", "watchfiles"},
}
"""By folder: the libraries that it never imports. The config half starts fast; a request never sees the file."""


def _folder(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


FILES: Final = {
    str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py")) if not _folder(path).startswith("_")
}


def _imported(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, wherever in the file and however it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they go"
            inside = node.module == "gateway"
            found |= {f"gateway.{alias.name}" for alias in node.names} if inside else {node.module or ""}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_folders_below_its_own(name: str) -> None:
    folder = _folder(FILES[name])
    assert folder in ALLOWED, f"gateway/{folder}: give the new folder its place in this table"
    ours = {module.split(".")[1] for module in _imported(FILES[name]) if module.startswith("gateway.")}
    across = ours - {folder, "_version"} - set(ALLOWED[folder].split())
    assert not across, f"gateway/{name} must not import {sorted(across)}"


def test_the_table_has_no_circle() -> None:
    done: set[str] = set()
    while left := ALLOWED.keys() - done:
        ready = {folder for folder in left if set(ALLOWED[folder].split()) <= done}
        assert ready, f"a circle among {sorted(left)}"
        done |= ready


def test_config_and_engine_do_not_know_each_other() -> None:
    half = {"engine", "operations", "adapters", "server", "library"}
    assert not half & set(ALLOWED["config"].split())
    assert not {"config"} & {
        name for folder in ("engine", "operations", "adapters") for name in ALLOWED[folder].split()
    }


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_no_library_that_its_folder_must_not_have(name: str) -> None:
    third_parties = {module.partition(".")[0] for module in _imported(FILES[name])} - sys.stdlib_module_names
    assert not third_parties & NEVER.get(_folder(FILES[name]), set())


def test_one_file_imports_litellm() -> None:
    importing = [name for name, path in FILES.items() if "litellm" in {m.partition(".")[0] for m in _imported(path)}]
    assert importing == ["adapters/litellm/loading.py"]
