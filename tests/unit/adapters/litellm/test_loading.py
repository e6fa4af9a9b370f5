"""How LiteLLM is loaded, settled and mended."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Union

import pytest
from litellm.litellm_core_utils import exception_mapping_utils

from gateway.adapters.base import NotInstalled
from gateway.adapters.litellm.adapter import LiteLLMAdapter, LiteLLMUnavailable
from gateway.adapters.litellm.call import OurCall, our_call
from gateway.adapters.litellm.loading import _FIRST_USED, mend_annotations
from tests.litellm_calls import QUIET
from tests.paths import ROOT

pytestmark = [pytest.mark.timeout(60), *QUIET]


FAKE: Final = {
    "__init__.py": """
        import os
        print("imported", os.environ.get("LITELLM_LOCAL_MODEL_COST_MAP"), os.environ.get("LITELLM_MODE"))
        suppress_debug_info = False
        async def close_litellm_async_clients(): print("closed")
    """,
    "litellm_core_utils/__init__.py": "",
    "litellm_core_utils/exception_mapping_utils.py": "def speak(): print('a banner')",
    "litellm_core_utils/get_llm_provider_logic.py": "",
    "litellm_core_utils/model_param_helper.py": """
        class ModelParamHelper:
            @staticmethod
            def _get_all_llm_api_params(): return set()
    """,
}


@pytest.fixture
def fake_litellm(tmp_path: Path) -> Path:
    """A package named `litellm` that is imported in no time and says so."""
    for name, text in FAKE.items():
        path = tmp_path / "litellm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path


def run(program: str, path: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{path}:{ROOT}", **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


LOAD: Final = """
    import asyncio, os, sys
    from gateway.adapters.litellm.adapter import LiteLLMAdapter

    async def main():
        assert "litellm" not in sys.modules
        adapter = LiteLLMAdapter(own_process={own_process})
        await asyncio.gather(*(adapter.prepare() for _ in range(5)))
        await adapter.prepare()
        print("now", os.environ.get("LITELLM_LOCAL_MODEL_COST_MAP"), os.environ.get("LITELLM_MODE"))
        assert asyncio.get_running_loop()._default_executor is None
        import litellm
        print(litellm.suppress_debug_info)
        await adapter.close()

    asyncio.run(main())
"""


def test_own_process_loads_once_and_settles_litellm(fake_litellm: Path) -> None:
    lines = run(LOAD.format(own_process=True), fake_litellm)
    assert lines == ["imported True PRODUCTION", "now True PRODUCTION", "True", "closed"]


def test_only_settings_that_the_release_has_are_set_and_what_was_loaded_is_frozen(fake_litellm: Path) -> None:
    program = """
        import gc
        from gateway.adapters.litellm.loading import load
        for own_process in (False, True):
            litellm = load(own_process=own_process)
            print(litellm.suppress_debug_info, hasattr(litellm, "telemetry"), gc.get_freeze_count() > 1000)
    """
    assert run(program, fake_litellm)[1:] == ["False False False", "True False True"]


def test_host_process_gets_its_environment_back(fake_litellm: Path) -> None:
    lines = run(LOAD.format(own_process=False), fake_litellm)
    assert lines == ["imported True PRODUCTION", "now None None", "False"]


def test_what_the_user_set_is_respected(fake_litellm: Path) -> None:
    lines = run(LOAD.format(own_process=True), fake_litellm, LITELLM_MODE="DEV")
    assert lines[:2] == ["imported True DEV", "now True DEV"]


def test_a_broken_litellm_is_a_clear_error_and_imported_once(fake_litellm: Path) -> None:
    (fake_litellm / "litellm" / "__init__.py").write_text("print('tried')\nraise ImportError('no such thing')\n")
    program = """
        import asyncio
        from gateway.adapters.litellm.adapter import LiteLLMAdapter, LiteLLMUnavailable

        async def main():
            adapter = LiteLLMAdapter(own_process=True)
            for _ in range(3):
                try:
                    await adapter.prepare()
                except LiteLLMUnavailable as error:
                    print(f"{error}: {error.__cause__}")
            await adapter.close()

        asyncio.run(main())
    """
    assert run(program, fake_litellm) == ["tried"] + ["needs LiteLLM, which cannot be imported here: no such thing"] * 3


def test_cancelling_a_caller_does_not_stop_the_load(fake_litellm: Path) -> None:
    init = fake_litellm / "litellm" / "__init__.py"
    init.write_text("import time\ntime.sleep(0.3)\n" + init.read_text())
    program = """
        import asyncio
        from gateway.adapters.litellm.adapter import LiteLLMAdapter

        async def main():
            adapter = LiteLLMAdapter(own_process=True)
            try:
                await asyncio.wait_for(adapter.prepare(), 0.05)
            except TimeoutError:
                print("left")
            await adapter.prepare()

        asyncio.run(main())
    """
    assert run(program, fake_litellm) == ["left", "imported True PRODUCTION"]


def test_banners_are_silent_for_our_calls_only(fake_litellm: Path) -> None:
    program = """
        from gateway.adapters.litellm.call import OurCall
        from gateway.adapters.litellm.loading import load
        load(own_process=False)
        from litellm.litellm_core_utils import exception_mapping_utils
        with OurCall(1.0):
            exception_mapping_utils.speak()
        print("then")
        exception_mapping_utils.speak()
    """
    assert run(program, fake_litellm) == ["imported True PRODUCTION", "then", "a banner"]


class _Unreadable(type):
    """A class of this type has no `__annotations__`, as a union has none on Python 3.14."""

    @property
    def __annotations__(cls) -> Any:  # type: ignore[override]  # the point is to break it
        raise AttributeError("no __annotations__ here")


def _helper_module(broken: bool) -> Any:
    module: Any = ModuleType("model_param_helper")
    source = """
        class ModelParamHelper:
            @staticmethod
            def _get_litellm_supported_chat_completion_kwargs():
                return set(Params.__annotations__.keys())

            @staticmethod
            def _get_litellm_supported_other_kwargs():
                return set(far_away().__annotations__.keys())

            @staticmethod
            def _get_all_llm_api_params():
                helper = ModelParamHelper
                chat = helper._get_litellm_supported_chat_completion_kwargs()
                return chat | helper._get_litellm_supported_other_kwargs()
    """
    exec(textwrap.dedent(source), vars(module))  # noqa: S102 - the functions look their names up in this module

    class Sound:
        temperature: float

    class Other:
        top_p: float

    class Far(metaclass=_Unreadable):
        pass

    module.Params = Union[Sound, Other] if broken else Sound  # noqa: UP007 - a union that has no annotations
    module.far_away = lambda: Far if broken else Other
    return module


def test_a_helper_that_fails_on_annotations_is_mended() -> None:
    module = _helper_module(broken=True)
    with pytest.raises(AttributeError, match="__annotations__"):
        module.ModelParamHelper._get_all_llm_api_params()
    mend_annotations(module)
    assert module.ModelParamHelper._get_all_llm_api_params() == {"temperature", "top_p"}


def test_a_sound_helper_stays_as_it_is() -> None:
    module = _helper_module(broken=False)
    before = dict(vars(module))
    functions = dict(vars(module.ModelParamHelper))
    mend_annotations(module)
    assert dict(vars(module)) == before
    assert dict(vars(module.ModelParamHelper)) == functions


def test_the_installed_helper_is_sound_or_mended() -> None:
    from litellm.litellm_core_utils import model_param_helper

    mend_annotations(model_param_helper)
    assert "temperature" in model_param_helper.ModelParamHelper._get_all_llm_api_params()


@pytest.mark.parametrize("name", _FIRST_USED)
def test_what_litellm_imports_late_is_where_the_installed_release_has_it(name: str) -> None:
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / name.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


TOKENIZERS: Final = """
    import sys
    from gateway.adapters.litellm.loading import load
    litellm = load(own_process={own_process})
    parsed, cached = hasattr(litellm.utils, "json_data"), type(litellm.main._encoding_cache).__name__
    print(parsed, cached, "litellm.litellm_core_utils.default_encoding" in sys.modules)
    print(litellm.main._get_encoding().name, len(litellm.main._get_encoding().encode("hello world")))
    print(litellm.utils.token_counter(model="gpt-4o", text="hello world"))
    print(litellm.utils.token_counter(model="claude-3-opus", text="hello world") > 0)
"""


def test_tokenizers_are_loaded_once_tokens_are_counted(tmp_path: Path) -> None:
    lines = run(TOKENIZERS.format(own_process=True), tmp_path, LITELLM_LOG="ERROR")
    assert lines == ["False _Postponed False", "cl100k_base 2", "2", "True"]


def test_a_hosts_tokenizers_are_left_alone(tmp_path: Path) -> None:
    lines = run(TOKENIZERS.format(own_process=False), tmp_path, LITELLM_LOG="ERROR")
    assert lines == ["True NoneType False", "cl100k_base 2", "2", "True"]


class _Broken:
    """Finds LiteLLM, and cannot import it."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "litellm":
            raise ImportError("a broken installation")


async def test_litellm_that_cannot_be_imported_is_said_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "litellm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Broken(), *sys.meta_path])
    adapter = LiteLLMAdapter(own_process=True)
    for _ in range(2):
        with pytest.raises(LiteLLMUnavailable, match="cannot be imported"):
            await adapter.prepare()
    await adapter.close()


async def test_litellm_that_is_not_there_is_said_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    adapter = LiteLLMAdapter(own_process=True)
    for _ in range(2):
        with pytest.raises(NotInstalled, match="not installed"):
            await adapter.prepare()
    await adapter.close()


async def test_litellms_printers_are_silent_for_our_calls_only(capsys: pytest.CaptureFixture[str]) -> None:
    await LiteLLMAdapter(own_process=False).prepare()
    printer: Any = exception_mapping_utils
    with OurCall(1.0):
        printer.print("ours")
    printer.print("the host's", "own", sep="-")
    assert capsys.readouterr().out == "the host's-own\n"


def test_a_call_is_ours_within_its_block_only_and_can_be_entered_again() -> None:
    outer, inner = OurCall(1.0), OurCall(2.0)
    with outer:
        with inner:
            assert our_call() is inner
        assert our_call() is outer
    assert our_call() is None
    with outer:
        assert our_call() is outer
