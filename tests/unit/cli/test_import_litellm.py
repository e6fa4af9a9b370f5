"""`gateway import litellm`: where the file and the report go, and the exit codes."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from gateway.cli import main


@pytest.fixture(autouse=True)
def config(clean_environment: None) -> None:
    write("{model: openai/a}")


def write(params: str) -> None:
    """Write a config with one deployment."""
    Path("config.yaml").write_text(f"model_list:\n  - {{model_name: a, litellm_params: {params}}}\n")


def test_the_file_goes_to_standard_output_and_the_report_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "litellm", "config.yaml"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("models:\n  a: openai/a\n")
    assert (
        err == "config.yaml:2: exactly: model_list[0]: a is openai/a\n1 item: 1 exactly, 0 approximately, 0 left out\n"
    )


def test_standard_input_is_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("config.yaml").read_bytes())))
    assert main(["import", "litellm", "-"]) == 0
    assert "<stdin>:2: exactly" in capsys.readouterr().err


def test_the_report_can_go_into_a_file_or_stand_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "litellm", "config.yaml", "--report", "report.txt"]) == 0
    out, err = capsys.readouterr()
    assert (out[:10], err) == ("# Imported", "")
    assert Path("report.txt").read_text().startswith("config.yaml:2: exactly")
    assert main(["import", "litellm", "config.yaml", "--report", "-"]) == 0
    out, err = capsys.readouterr()
    assert (out[:11], err) == ("config.yaml", "")


def test_the_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    write("{model: openai/a, api_key: sk-hidden, tags: [x]}")
    assert main(["import", "litellm", "config.yaml", "--format", "json", "--report", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"exactly": 1, "approximately": 1, "left out": 1}
    assert found["variables"] == [{"name": "OPENAI_KEY", "line": 2}]
    assert found["items"][0] == {
        "line": 2,
        "path": "model_list[0]",
        "verdict": "exactly",
        "message": "a is openai/a",
    }
    assert found["ok"]


def test_strict_wants_everything_exact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "litellm", "config.yaml", "--strict"]) == 0
    write("{model: openai/a, rpm: 5}")
    assert main(["import", "litellm", "config.yaml", "--strict"]) == 1
    assert capsys.readouterr().out.endswith("models:\n  a: openai/a\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_that_is_not_litellms_is_told_and_nothing_is_written(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.yaml").write_text("services: {}\n")
    assert main(["import", "litellm", "config.yaml", "--format", form]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "no config of the LiteLLM proxy" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none.yaml"], "cannot read none.yaml: no such file"),
        (["."], "cannot read .: is a directory"),
        (["a\0b"], "embedded null byte"),
        (["config.yaml", "--report", "no/such/folder"], "cannot write no/such/folder: no such file"),
    ],
)
def test_what_cannot_be_read_or_written_is_wrong_usage(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "litellm", *args]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("args", [["import"], ["import", "nginx"], ["import", "litellm"]])
def test_wrong_usage_is_told(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(args)
    assert re.search("required|invalid choice", capsys.readouterr().err)
