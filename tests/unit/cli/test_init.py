"""`gateway init`: the file is valid for any set of keys, and no existing file is replaced."""

from __future__ import annotations

import os
import stat
from datetime import UTC, date, datetime
from itertools import combinations
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli import main
from gateway.cli.checked import untried
from gateway.cli.init import MODELS, starting_file, vendors_with_key
from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.config.compiler.known_providers import WELL_KNOWN
from gateway.config.format.format import format_bytes
from gateway.config.lint import Outside, lint
from gateway.config.model_data import LISTED, load
from gateway.policy.problem import Problem
from tests.command_line import gateway
from tests.compiling import names

pytestmark = pytest.mark.usefixtures("clean_environment")

KEY: Final = "sk-hidden-0123456789"
VARIABLES: Final = sorted({name for known in WELL_KNOWN.values() for name in known.key_variables})
BIG: Final = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "XAI_API_KEY", "GROQ_API_KEY"]

NO_FILE: Final = "no such file or directory; name a file, set GATEWAY_CONFIG, or run `gateway init` to write one"


def checked(environ: dict[str, str]) -> tuple[Compiled, tuple[Problem, ...]]:
    """Return the starting file compiled in its environment, with all problems and warnings."""
    compiled = Compiler(environ=environ, strict_env=True).compile(starting_file(environ).encode(), source="routes.yaml")
    return compiled, lint(compiled, Outside(today=datetime.now(UTC).date(), untried=untried, models=load))


def is_good(environ: dict[str, str]) -> None:
    compiled, problems = checked(environ)
    assert compiled.table is not None
    assert problems == ()
    text = starting_file(environ)
    assert format_bytes(text.encode(), name="routes.yaml").data.decode() == text
    assert KEY not in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("variables", [(), *((name,) for name in VARIABLES), *combinations(BIG, 2), tuple(VARIABLES)])
def test_the_file_is_good_in_its_environment(variables: tuple[str, ...]) -> None:
    is_good(dict.fromkeys(variables, KEY))


@given(
    st.sets(st.sampled_from(VARIABLES)), st.sampled_from([{}, {"LITELLM_TIMEOUT": "600", "LITELLM_MAX_RETRIES": "9"}])
)
@settings(max_examples=40, deadline=None)
def test_the_file_is_good_whatever_keys_there_are(variables: set[str], more: dict[str, str]) -> None:
    is_good(dict.fromkeys(sorted(variables), KEY) | more)


@pytest.mark.parametrize(
    ("variables", "alias", "chain"),
    [
        ({}, "demo", ["mock/echo"]),
        ({"OPENAI_API_KEY": KEY}, "smart", ["openai/gpt-5.5"]),
        ({"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY}, "smart", ["openai/gpt-5.5", "anthropic/claude-sonnet-5"]),
        ({"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": " "}, "smart", ["anthropic/claude-sonnet-5"]),
        ({"GROQ_API_KEY": KEY}, "fast", ["groq/openai/gpt-oss-120b"]),
        ({"VOYAGE_API_KEY": KEY}, "voyage/voyage-4", ["voyage/voyage-4"]),
        ({"CO_API_KEY": KEY}, "cohere/any", ["cohere/any"]),
    ],
)
def test_what_the_keys_lead_to(variables: dict[str, str], alias: str, chain: list[str]) -> None:
    compiled, _ = checked(variables)
    assert compiled.table is not None
    assert names(compiled.table.find(alias)) == chain


def test_a_key_is_found_in_any_of_its_variables_and_named_once() -> None:
    environ = {"TOGETHERAI_API_KEY": KEY, "GOOGLE_API_KEY": KEY, "GEMINI_API_KEY": KEY, "CO_API_KEY": KEY}
    assert vendors_with_key(environ) == [
        ("together_ai", "TOGETHERAI_API_KEY"),
        ("cohere", "CO_API_KEY"),
        ("gemini", "GOOGLE_API_KEY"),
    ]
    assert vendors_with_key({"AZURE_API_KEY": KEY, "OLLAMA_API_KEY": KEY}) == []  # a key has no address


@pytest.mark.parametrize("alias", MODELS)
def test_the_models_are_current_and_alike(alias: str) -> None:
    """Lint checks the same, but not for models that it does not know."""
    data = load()
    assert data is not None
    environ = {variable: KEY for vendor in MODELS[alias] for variable in WELL_KNOWN[vendor].key_variables}
    compiled, _ = checked(environ)
    assert compiled.table is not None
    route = compiled.table.find(alias)
    assert route is not None
    assert [step.target.endpoint.provider for step in route.steps] == list(MODELS[alias])
    for step in route.steps:
        assert step.target.endpoint.kind in LISTED
        model = data.find(step.target)
        assert model is not None, step.target.name
        assert (model.chat, model.tools) == (True, True)
        assert (model.retired or date.max) > datetime.now(UTC).date()


class TestCommand:
    def test_it_writes_the_default_file_and_says_what_is_next(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["init"]) == 0
        assert capsys.readouterr().out == "routes.yaml: written, with a mock: no key was found\nnext: gateway serve\n"
        assert Path("routes.yaml").read_text() == starting_file({})
        assert os.listdir() == ["routes.yaml"]
        assert main(["validate", "--strict"]) == 0
        assert main(["fmt", "--check"]) == 0

    def test_it_names_the_variables_that_hold_keys(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("GROQ_API_KEY", KEY)
        assert main(["init", "my routes.yaml"]) == 0
        assert capsys.readouterr().out == (
            "my routes.yaml: written, with the vendors of OPENAI_API_KEY, GROQ_API_KEY\n"
            "next: gateway serve 'my routes.yaml'\n"
        )

    def test_the_variable_names_the_file_as_for_every_command(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("GATEWAY_CONFIG", "a.yaml")
        assert main(["init"]) == 0
        assert capsys.readouterr().out.splitlines()[1] == "next: gateway serve"
        assert os.listdir() == ["a.yaml"]

    @pytest.mark.parametrize("argv", [["-"], ["--stdout"], ["--stdout", "-"]])
    def test_it_prints(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        Path("routes.yaml").write_text("mine")
        assert main(["init", *argv]) == 0
        assert capsys.readouterr() == (starting_file({}), "")
        assert Path("routes.yaml").read_text() == "mine"

    @pytest.mark.parametrize("link", [False, True])
    def test_a_file_that_exists_is_replaced_by_force_alone(
        self, link: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mine = Path("mine.yaml" if link else "routes.yaml")
        mine.write_text("mine")
        mine.chmod(0o640)
        if link:
            Path("routes.yaml").symlink_to(mine)
        assert main(["init"]) == 2
        told = "gateway: routes.yaml exists already; --force replaces it, `gateway init -` prints a new one\n"
        assert capsys.readouterr().err == told
        assert mine.read_text() == "mine"
        assert main(["init", "--force"]) == 0
        assert (mine.read_text(), stat.S_IMODE(mine.stat().st_mode)) == (starting_file({}), 0o640)
        assert Path("routes.yaml").is_symlink() is link

    def test_a_link_to_nowhere_exists_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("routes.yaml").symlink_to("mine.yaml")
        assert main(["init"]) == 2
        assert "exists already" in capsys.readouterr().err
        assert main(["init", "--force"]) == 0
        assert Path("mine.yaml").read_text() == starting_file({})

    def test_a_new_file_has_the_mode_that_any_new_file_has(self) -> None:
        Path("other").touch()
        assert main(["init"]) == 0
        assert Path("routes.yaml").stat().st_mode == Path("other").stat().st_mode

    @pytest.mark.parametrize(
        ("argv", "told"),
        [
            (["no/such/routes.yaml"], "cannot write no/such/routes.yaml: there is no folder {}/no/such"),
            (["--force", "folder"], "cannot write folder: it is a folder"),
            (["folder"], "folder exists already"),
            (["a.yaml/b.yaml"], "cannot write a.yaml/b.yaml: "),
            (["x" * 300], "cannot write xxx"),
            (["--stdout", "a.yaml"], "--stdout prints the file instead of writing it; leave out a.yaml"),
        ],
    )
    def test_what_cannot_be_written_is_exit_2_and_one_line(
        self, argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("folder").mkdir()
        Path("a.yaml").touch()
        assert main(["init", *argv]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"gateway: {told.format(os.getcwd())}")
        assert sorted(os.listdir()) == ["a.yaml", "folder"]

    def test_a_name_of_any_letters_is_written(self, capsys: pytest.CaptureFixture[str]) -> None:
        name = os.fsdecode("wörter-\u202e-".encode() + b"\xff.yaml")
        assert main(["init", name]) == 0
        assert main(["init", name]) == 2
        assert os.listdir() == [name]
        assert "\u202e" not in "".join(capsys.readouterr())

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_is_not_ones_own_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("folder").mkdir(mode=0o500)
        assert main(["init", "folder/routes.yaml"]) == 2
        assert capsys.readouterr().err == "gateway: cannot write folder/routes.yaml: permission denied\n"


@pytest.mark.parametrize(
    "argv",
    [["validate"], ["explain", "a"], ["fmt"], ["test", "routes.test.yaml"], ["completion", "aliases"]],
)
def test_a_command_without_its_config_file_points_to_init(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("routes.test.yaml").write_text(
        "cases: [{name: a, request: {model: a, messages: []}, expect: {status: 200}}]\n"
    )
    assert main(argv) == 2
    assert NO_FILE in "".join(capsys.readouterr())


def test_a_server_without_its_config_file_points_to_init() -> None:
    done = gateway("serve", "--port", "0")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"gateway: cannot read routes.yaml: {NO_FILE}\n")
