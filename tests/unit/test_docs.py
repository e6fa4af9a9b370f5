"""README and docs: complete, linked, and true. Every example validates and every command shown prints what is shown."""

from __future__ import annotations

import ast
import inspect
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Final

import pytest
import yaml

import gateway
from gateway.cli import build_parser
from gateway.config.compiler.compiler import Compiler
from gateway.config.compiler.known_wires import KNOWN_WIRES
from gateway.config.lint import CODES
from gateway.config.model.read import schema
from gateway.operations import OPERATIONS
from gateway.policy.failures import Kind
from gateway.policy.wires import OPERATIONS_OF
from gateway.simulation.cases import file as case_files
from gateway.telemetry.metrics import Metrics
from gateway.wire.json import Json
from tests.docs import PAGES, Block, Folder, blocks, differences, prose
from tests.paths import PACKAGE, ROOT
from tests.unit.test_layers import ALLOWED

BLOCKS: Final = [block for page in PAGES for block in blocks(page)]
PROGRAMS: Final = {
    "apt-get", "cat", "cd", "cp", "curl", "docker", "export", "git", "grep", "helm", "kill", "kubectl", "openssl",
    "pip", "pre-commit", "python3", "redis-cli", "sed", "source", "systemctl", "tail",
}  # fmt: skip
"""Other people's programs that the pages name."""


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


# What has to be told of.


def test_the_readme_is_short() -> None:
    assert len(page("README.md").splitlines()) <= 250


def properties(value: Json) -> set[str]:
    """Return the names of all properties in a schema."""
    if isinstance(value, list):
        return {key for item in value for key in properties(item)}
    if not isinstance(value, dict):
        return set()
    own = set(value["properties"]) if isinstance(value.get("properties"), dict) else set()
    return own.union(*(properties(item) for item in value.values()))


@pytest.mark.parametrize("key", sorted(properties(schema())))
def test_every_key_of_the_file_is_in_the_reference(key: str) -> None:
    assert f"`{key}`" in page("docs/config.md")


def test_every_key_has_a_section_with_an_example() -> None:
    sections = re.split(r"^##+ ", page("docs/config.md"), flags=re.MULTILINE)[1:]
    definitions = schema()["$defs"]
    keys = {
        *schema()["properties"],
        *(key for name in ("defaults", "provider", "alias") for key in definitions[name]["properties"]),
    }
    headed = {key: section for section in sections for key in re.findall(r"`(\w+)`", section.partition("\n")[0])}
    assert keys - headed.keys() == set()
    assert [key for key in keys if "```yaml" not in headed[key]] == []


@pytest.mark.parametrize("kind", sorted(Kind))
def test_every_kind_is_told(kind: Kind) -> None:
    assert f"| `{kind}` |" in page("docs/failover.md")


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_warning_is_told(code: str) -> None:
    assert f"| `{code}` |" in page("docs/ci.md")


def test_every_path_of_the_server_is_told() -> None:
    path = re.compile(r"/(?:v1|-)/[a-z/]+|/healthz|/readyz|/metrics")
    served = {f"/v1{operation.path}" for operation in OPERATIONS.values()} | {
        node.value
        for source in PACKAGE.glob("server/**/*.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.fullmatch(node.value)
    }
    assert len(served) >= 9
    assert {one for one in served if one not in page("docs/server.md")} == set()


def test_every_metric_is_told() -> None:
    """A running gateway's, with their labels, are compared by tests/server/test_dashboard.py."""
    names = [family.name for family in Metrics().families()]
    assert len(names) >= 12
    assert [name for name in names if f"`{name}`" not in page("docs/metrics.md")] == []


@cache
def options(command: str) -> frozenset[str]:
    """Return the flags of one of our commands, read from its help text."""
    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", printed)
        with pytest.raises(SystemExit) as left:
            build_parser().parse_args([command, "--help"])
    assert left.value.code == 0, f"no command named {command}"
    return frozenset(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", printed.getvalue()))


def test_every_flag_of_the_server_is_told() -> None:
    assert {flag for flag in options("serve") if flag.startswith("--") and flag not in page("docs/server.md")} == {
        "--help"
    }


# Links and names.


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        goal = path.parent / name if name else path
        assert goal.exists(), link
        if anchor:
            assert anchor in anchors(goal), link


def test_every_page_is_in_the_index() -> None:
    index = page("docs/README.md")
    assert [path.name for path in ROOT.glob("docs/*.md") if f"({path.name})" not in index] == ["README.md"]


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_named_in_the_text_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:py|md|yaml|yml|json|toml|service))?|\w+\.py|Makefile)`", prose(path)
    )
    assert {name for name in named if not is_in_the_tree(name, path.parent)} == set()


def is_in_the_tree(name: str, folder: Path) -> bool:
    """Tell whether there is such a file or folder: from the root, from the page, or anywhere in the package."""
    return any((where / name).exists() for where in (ROOT, folder)) or any(PACKAGE.rglob(name.rstrip("/")))


def test_functions_and_classes_named_in_the_architecture_exist() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    defined = set(re.findall(r"(?:def|class) (\w+)", source))
    text = prose(ROOT / "docs/architecture.md") + prose(ROOT / "CONTRIBUTING.md")
    named = {name for dotted in re.findall(r"`([\w.]+)\(\)`", text) for name in dotted.split(".")}
    named |= {
        name for dotted in re.findall(r"`((?:[A-Z]\w*[a-z]\w*)(?:\.\w+)?)`", text) for name in dotted.split(".")[:1]
    }
    assert named - defined - {"Makefile", "Spec"} == set()


def test_the_architecture_shows_who_may_import_whom() -> None:
    shown = re.findall(r"^(\w+) +→ (.*)$", page("docs/architecture.md"), re.MULTILINE)
    assert shown == [(folder, names or "–") for folder, names in ALLOWED.items()]


def test_nothing_in_the_tree_cites_a_document_that_is_not_in_it() -> None:
    cited = re.compile(r"\b(DESIGN|REFERENCE|STYLE)(\.md| section| \d)|the design\b")
    trees = ("gateway", "tests", "deploy", "examples", "docs", "schemas")
    files = [
        path for tree in trees for path in (ROOT / tree).rglob("*") if path.suffix in {".py", ".md", ".yaml", ".yml"}
    ]
    found = [name_of(file) for file in files if cited.search(file.read_text(encoding="utf-8", errors="replace"))]
    assert [name for name in found if name != "tests/unit/test_docs.py"] == []


# Examples.


def completed(text: str) -> str:
    """Return the part of a config file as a whole one."""
    keys = set(yaml.safe_load(text) or {})
    before = "" if "version" in keys else "version: 1\n"
    after = "" if "models" in keys else "\nmodels: {any: mock/echo}\n"
    return f"{before}{text}{after}"


@pytest.mark.parametrize("block", of("yaml", "yml"), ids=str)
def test_yaml_is_valid(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    if "other" in block.words:
        assert list(yaml.safe_load_all(block.text))
        return
    if block.text.lstrip().startswith(("cases:", "# routes.test.yaml")):
        data, problems = case_files.read(block.text.encode(), name="routes.test.yaml")
        assert (data is not None, list(problems)) == (True, [])
        return
    bad = block.words[block.words.index("bad") + 1 :] if "bad" in block.words else ()
    assert set(yaml.safe_load(block.text)) <= {*schema()["properties"], "x-notes"}, (
        "say `yaml other` where it is no config"
    )
    compiler = Compiler(
        environ={}, skip_hooks="python" in {one.language for one in BLOCKS if one.page == block.page and one.file}
    )
    compiled = compiler.compile(completed(block.text).encode(), source=str(ROOT / "routes.yaml"))
    assert sorted(problem.code for problem in compiled.problems if problem.severity == "error") == sorted(bad)


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_parses(block: Block) -> None:
    try:
        json.loads(block.text)
    except ValueError:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.fixture
def access_log() -> Iterator[None]:
    """Take back what a page does with the logger."""
    logger = logging.getLogger("gateway.access")
    level, handlers = logger.level, logger.handlers[:]
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.mark.parametrize(
    "path", [path for path in PAGES if any(b.language == "python" for b in blocks(path))], ids=name_of
)
@pytest.mark.usefixtures("access_log")
async def test_python_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(path):
        if block.language != "python":
            continue
        code = compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if "part" in block.words or block.file:
            continue
        result = eval(code, names)  # noqa: S307 - the pages are ours
        if inspect.iscoroutine(result):
            await result


@pytest.mark.parametrize("name", gateway.__all__)
def test_every_public_name_is_told(name: str) -> None:
    assert name in page("docs/python.md")


# Commands.


def simple_commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a shell line, without its redirections and assignments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if word in {"|", "||", "&&", ";", "&", "(", ")", "<("}:
            if words:
                yield words
            words = []
        elif set(word) <= set("<>&12") and set(word) & set("<>"):
            skip = True
        elif skip:
            skip = False
        elif words or not re.match(r"\w+=", word):
            words.append(word)


def check_flags(module: str, words: list[str]) -> None:
    """See that a program of the tests has the flags."""
    source = (ROOT / module.replace(".", "/") / "__main__.py").read_text(encoding="utf-8")
    assert [word for word in words if word.startswith("--") and f'"{word.partition("=")[0]}"' not in source] == []


def check_command(words: list[str]) -> None:
    """See that there is such a command and that it has the flags."""
    program, *rest = words
    if program.endswith("/python") or program in {"python", "python3"}:
        if rest[0] == "-m" and rest[1].startswith("tests."):
            if (ROOT / rest[1].replace(".", "/")).is_dir():
                check_flags(rest[1], rest[2:])
            else:
                assert (ROOT / f"{rest[1].replace('.', '/')}.py").is_file(), rest[1]
            return
        if rest[0] == "-m" and rest[1] == "gateway":
            program, rest = "gateway", rest[2:]
        elif rest[0].endswith(".py"):
            assert (ROOT / rest[0]).is_file()
            return
    name = os.path.basename(program)
    if name == "gateway":
        complaint = StringIO()
        with redirect_stderr(complaint):
            try:
                build_parser().parse_args(rest)
            except SystemExit:
                pytest.fail(complaint.getvalue())
    elif name == "make":
        targets = re.findall(r"^([\w-]+):", page("Makefile"), re.MULTILINE)
        for word in rest:
            variable, equals, value = word.partition("=")
            if not equals:
                assert word in targets
            elif variable == "ARGS" and rest[0] in {"bench", "failover"}:
                check_flags(f"tests.{rest[0]}", shlex.split(value))
    elif name in {"pytest", "mypy", "ruff"} and program.startswith(".venv/bin/"):
        pass
    else:
        assert name in PROGRAMS or program.startswith("/"), f"no program named {program}"
    for word in rest:
        if re.match(r"(?:deploy|examples|docs|tests|gateway|schemas)/", word) and "*" not in word:
            assert (ROOT / word.partition("::")[0]).exists(), word


@pytest.mark.parametrize("block", of("sh", "console"), ids=str)
def test_commands_exist_and_have_the_flags(block: Block) -> None:
    for line in block.commands:
        for words in simple_commands(line):
            check_command(words)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_in_the_text_exist_and_have_the_flags(path: Path) -> None:
    for command, rest in re.findall(r"`gateway ([a-z]+)([^`]*)`", prose(path)):
        flags = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", rest))
        assert flags <= options(command), f"gateway {command}{rest}"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", [path for path in PAGES if any("run" in b.words for b in blocks(path))], ids=name_of)
def test_commands_print_what_is_shown(path: Path, tmp_path: Path) -> None:
    """`python -m tests.docs` writes the pages anew; read every line of the difference afterwards."""
    for block, command, shown, printed in differences(path, Folder(tmp_path)):
        assert printed == shown, f"{block}: {command}"


def test_the_page_of_providers_has_the_wires_that_are_known() -> None:
    told = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (relayed|translated|LiteLLM) \| \[.*?\]\((.*?)\) \|$", page("docs/providers.md"), re.M
    )
    known = [
        (
            name,
            ", ".join(f"`{wire}`" for wire in OPERATIONS_OF if wire in line.wires) or "–",
            "relayed" if "chat" in line.wires else "translated" if name in ("anthropic", "gemini") else "LiteLLM",
            line.source,
        )
        for name, line in KNOWN_WIRES.items()
    ]
    assert told == known
