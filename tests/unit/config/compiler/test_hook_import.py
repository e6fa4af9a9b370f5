"""Hooks and capabilities by dotted path: the objects found, and the faults of those that are not."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.compiler.hook_import import HookLoader, misshapen
from gateway.config.model.specs import HookSpec
from gateway.config.problems import Fault
from gateway.policy.table import Hook

GOOD = """
import functools

def plain(params): return params
async def waits(params): return params
def with_default(params, extra=None): return params
def anything(*args, **kwargs): return args[0]

class Adder:
    def __init__(self, word="x"): self.word = word
    def __call__(self, params): return params
    def method(self, params): return params
    @staticmethod
    def static(params): return params
    @classmethod
    def of_class(cls, params): return params

class Waiter:
    async def __call__(self, params): return params

adder = Adder()
waiter = Waiter()
partly = functools.partial(with_default, extra=1)
partly_waits = functools.partial(functools.partial(waits))
partly_waiter = functools.partial(Waiter())
builtin = dict
shown = print
update = {}.update
"""


@pytest.fixture(autouse=True)
def _clean_import_state() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def loader(tmp_path: Path) -> HookLoader:
    (tmp_path / "good_hooks.py").write_text(GOOD)
    return HookLoader(tmp_path)


def load(loader: HookLoader, path: str, *, timeout_s: float | None = None) -> Hook | Fault:
    return loader.load_hook(HookSpec(path=path, timeout_s=timeout_s))


def fault(loader: HookLoader, path: str, *, timeout_s: float | None = None) -> Fault:
    found = load(loader, path, timeout_s=timeout_s)
    assert isinstance(found, Fault), found
    return found


@pytest.mark.parametrize(
    ("name", "is_async"),
    [
        ("plain", False),
        ("waits", True),
        ("with_default", False),
        ("anything", False),
        ("adder", False),
        ("adder.method", False),
        ("Adder.static", False),
        ("Adder.of_class", False),
        ("waiter", True),
        ("partly", False),
        ("partly_waits", True),
        ("partly_waiter", True),
        ("shown", False),
        ("update", False),
    ],
)
def test_a_callable_of_one_argument_is_a_hook(loader: HookLoader, name: str, is_async: bool) -> None:
    hook = load(loader, f"good_hooks.{name}")
    assert isinstance(hook, Hook), hook
    assert (hook.path, hook.is_async, hook.on_error) == (f"good_hooks.{name}", is_async, "fail")


def test_timeout_and_on_error_of_the_file_go_into_the_hook(loader: HookLoader) -> None:
    hook = loader.load_hook(HookSpec(path="good_hooks.waits", timeout_s=0.2, on_error="skip"))
    assert isinstance(hook, Hook)
    assert (hook.timeout_s, hook.on_error) == (0.2, "skip")


@pytest.mark.parametrize("name", ["plain", "adder", "partly"])
def test_a_sync_hook_cannot_have_a_timeout(loader: HookLoader, name: str) -> None:
    found = fault(loader, f"good_hooks.{name}", timeout_s=1.0)
    assert found.code == "hook-timeout-sync"
    assert "async" in found.message


@pytest.mark.parametrize("name", ["waits", "waiter", "partly_waits"])
def test_an_async_hook_can_have_a_timeout(loader: HookLoader, name: str) -> None:
    assert isinstance(load(loader, f"good_hooks.{name}", timeout_s=1.0), Hook)


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("def it(): pass", "hook-arity", "takes ()"),
        ("def it(a, b): pass", "hook-arity", "takes (a, b)"),
        ("def it(a, *, key): pass", "hook-arity", "exactly one argument"),
        ("def it(a, b, **rest): pass", "hook-arity", "**rest"),
        ("class _C:\n    def method(self): pass\nit = _C().method", "hook-arity", "takes ()"),
        ("class it: pass", "hook-not-callable", "is a class"),
        ("class it:\n    def __call__(self, x): pass", "hook-not-callable", "an instance"),
        ("import json as it", "hook-not-callable", "is a module"),
        ("it = {}", "hook-not-callable", "is a dict"),
        ("it = 3", "hook-not-callable", "is an int"),
        ("it = None", "hook-not-callable", "is a NoneType"),
        ("def it(x): yield x", "hook-not-callable", "generator"),
        ("async def it(x): yield x", "hook-not-callable", "generator"),
        ("class _G:\n    def __call__(self, x): yield x\nit = _G()", "hook-not-callable", "generator"),
        ("import functools\ndef _g(x): yield x\nit = functools.partial(_g)", "hook-not-callable", "generator"),
    ],
)
def test_what_cannot_serve_as_a_hook_is_refused(tmp_path: Path, source: str, code: str, words: str) -> None:
    (tmp_path / "bad_hooks.py").write_text(source + "\n")
    found = fault(HookLoader(tmp_path), "bad_hooks.it")
    assert found.code == code
    assert words in found.message


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("redact", "module.name"),
        (".hooks.redact", "relative"),
        ("..hooks.redact", "relative"),
        ("hooks:redact", "'hooks.redact'"),
        ("hooks/redact.py", "no dotted path"),
        ("hooks..redact", "no dotted path"),
        ("hooks.redact()", "no dotted path"),
        ("hooks.", "no dotted path"),
        ("", "no dotted path"),
    ],
)
def test_a_path_of_the_wrong_shape_is_refused_without_importing(path: str, words: str) -> None:
    found = misshapen(path)
    assert found is not None
    assert found.code == "hook-path"
    assert words in found.message
    assert fault(HookLoader(None), path) == found


def test_a_path_of_the_right_shape_passes_without_importing() -> None:
    assert misshapen("no.such.module") is None


def test_an_unknown_module_is_told_from_a_broken_one(tmp_path: Path) -> None:
    found = fault(HookLoader(tmp_path), "no_such_module_here.redact")
    assert found == Fault(
        "hook-import", "there is no module 'no_such_module_here' beside the config file or on the import path"
    )


def test_without_a_folder_the_import_path_alone_is_named() -> None:
    found = fault(HookLoader(None), "no_such_module_here.redact")
    assert found.message == "there is no module 'no_such_module_here' on the import path"


def test_an_error_inside_the_users_module_names_its_line_and_type_only(tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text("import json\n\n\njson.loads('sk-secret')\n")
    found = fault(HookLoader(tmp_path), "raising.redact")
    assert found == Fault("hook-import", "cannot be imported: JSONDecodeError at raising.py:4")


def test_an_error_in_a_module_that_the_hooks_import_names_that_module(tmp_path: Path) -> None:
    (tmp_path / "outer_hooks.py").write_text("import inner_hooks\n")
    (tmp_path / "inner_hooks.py").write_text("\n\nvalue = {}['key']\n")
    found = fault(HookLoader(tmp_path), "outer_hooks.redact")
    assert found.message == "cannot be imported: KeyError at inner_hooks.py:3"


def test_a_missing_import_of_the_users_module_is_named(tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    found = fault(HookLoader(tmp_path), "needs_more.redact")
    assert found.message == ("cannot be imported: ModuleNotFoundError for 'not_installed_anywhere' at needs_more.py:1")


def test_a_syntax_error_names_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "unparsable.py").write_text("x = 1\ndef redact(params:\n    pass\n")
    found = fault(HookLoader(tmp_path), "unparsable.redact")
    assert found == Fault("hook-import", "cannot be imported: SyntaxError at unparsable.py:2")


def test_a_module_that_exits_does_not_end_the_process(tmp_path: Path) -> None:
    (tmp_path / "exiting.py").write_text("import sys\nsys.exit(3)\n")
    found = fault(HookLoader(tmp_path), "exiting.redact")
    assert found.message == "cannot be imported: SystemExit at exiting.py:2"


def test_ctrl_c_during_an_import_is_not_swallowed(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    with pytest.raises(KeyboardInterrupt):
        load(HookLoader(tmp_path), "interrupted.redact")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_module_may_handle_sigint_itself(tmp_path: Path) -> None:
    (tmp_path / "handling.py").write_text(
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nredact = dict\n"
    )
    try:
        load(HookLoader(tmp_path), "handling.redact")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "GeneratorExit", "BaseException"])
def test_whatever_a_module_raises_is_a_problem_of_the_hook(tmp_path: Path, error: str) -> None:
    (tmp_path / "raising.py").write_text(f"raise {error}\n")
    found = fault(HookLoader(tmp_path), "raising.redact")
    assert found.message == f"cannot be imported: {error} at raising.py:1"


def test_a_missing_name_comes_with_the_closest_one(loader: HookLoader) -> None:
    assert fault(loader, "good_hooks.plian") == Fault(
        "hook-missing", "'good_hooks' has no 'plian'; did you mean 'plain'?"
    )


def test_a_missing_name_deeper_down_names_what_was_reached(loader: HookLoader) -> None:
    assert fault(loader, "good_hooks.adder.metod").message == (
        "'good_hooks.adder' has no 'metod'; did you mean 'method'?"
    )


def test_a_missing_submodule_is_a_missing_name(tmp_path: Path) -> None:
    (tmp_path / "some_package").mkdir()
    (tmp_path / "some_package" / "__init__.py").write_text("")
    assert fault(HookLoader(tmp_path), "some_package.zzz.redact") == Fault(
        "hook-missing", "'some_package' has no 'zzz'"
    )


def test_a_library_of_the_same_name_is_shown_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def redact(params): return params\n")
    found = fault(HookLoader(tmp_path), "json.redact")
    assert found.code == "hook-missing"
    assert "(it is " in found.message


def test_a_module_deep_in_a_package_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "deep_package" / "inner"
    folder.mkdir(parents=True)
    (folder / "hooks.py").write_text("class Group:\n    @staticmethod\n    def redact(params): return params\n")
    assert isinstance(load(HookLoader(tmp_path), "deep_package.inner.hooks.Group.redact"), Hook)


def test_an_error_in_a_submodule_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "half_package").mkdir()
    (tmp_path / "half_package" / "__init__.py").write_text("")
    (tmp_path / "half_package" / "hooks.py").write_text("import half_package.nothing\n")
    found = fault(HookLoader(tmp_path), "half_package.hooks.redact")
    assert found.message == (
        "cannot be imported: ModuleNotFoundError for 'half_package.nothing' at half_package/hooks.py:1"
    )


def test_a_folder_goes_last_on_the_import_path_and_only_once(tmp_path: Path) -> None:
    (tmp_path / "placed_hooks.py").write_text("def a(x): return x\ndef b(x): return x\n")
    loader = HookLoader(tmp_path)
    load(loader, "placed_hooks.a")
    load(loader, "placed_hooks.b")
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_folder_that_is_on_the_import_path_already_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "placed_first.py").write_text("def a(x): return x\n")
    sys.path.insert(0, str(tmp_path))
    load(HookLoader(tmp_path), "placed_first.a")
    assert sys.path.count(str(tmp_path)) == 1


def test_hook_code_is_imported_once(tmp_path: Path) -> None:
    module = tmp_path / "counted.py"
    module.write_text("def a(x): return x\n")
    loader = HookLoader(tmp_path)
    first = load(loader, "counted.a")
    module.write_text("raise RuntimeError\n")
    loader.begin()
    second = load(loader, "counted.a")
    assert isinstance(first, Hook)
    assert isinstance(second, Hook)
    assert first.call is second.call


def test_a_failed_import_is_tried_again_by_the_next_compile_only(tmp_path: Path) -> None:
    module = tmp_path / "mended.py"
    count = tmp_path / "count"
    module.write_text(f"with open({str(count)!r}, 'a') as file: file.write('x')\nraise RuntimeError\n")
    loader = HookLoader(tmp_path)
    assert fault(loader, "mended.a") == fault(loader, "mended.a")
    assert count.read_text() == "x"
    module.write_text("def a(params): return params  # longer than before, so that no cached bytecode fits\n" * 2)
    loader.begin()
    assert isinstance(load(loader, "mended.a"), Hook)


def test_a_failed_import_leaves_no_half_registered_module(tmp_path: Path) -> None:
    folder = tmp_path / "torn_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from torn_package import part\nimport torn_helper\nraise RuntimeError\n")
    (folder / "part.py").write_text("")
    (tmp_path / "torn_helper.py").write_text("import json.tool\n")
    fault(HookLoader(tmp_path), "torn_package.redact")
    assert not [name for name in sys.modules if name.startswith("torn_")]


def test_a_failed_import_leaves_libraries_alone(tmp_path: Path) -> None:
    sys.modules.pop("this", None)
    sys.modules.pop("colorsys", None)
    (tmp_path / "uses_library.py").write_text("import colorsys\nraise RuntimeError\n")
    fault(HookLoader(tmp_path), "uses_library.redact")
    assert "colorsys" in sys.modules


def test_an_attribute_that_raises_is_reported_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "lazy_hooks.py").write_text("def __getattr__(name):\n    raise OSError(name)\n")
    assert fault(HookLoader(tmp_path), "lazy_hooks.a").message == "cannot be imported: OSError at lazy_hooks.py:2"


def test_a_builtin_without_a_signature_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "odd_hooks.py").write_text(
        "class _Odd:\n    __signature__ = 'none'\n    def __call__(self, x): return x\nodd = _Odd()\n"
    )
    assert isinstance(load(HookLoader(tmp_path), "odd_hooks.odd"), Hook)


def test_a_capability_that_is_a_class_is_called_once(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text("count = []\nclass Cache:\n    def __init__(self): count.append(1)\n")
    loader = HookLoader(tmp_path)
    first = loader.load_capability("made.Cache")
    loader.begin()
    assert loader.load_capability("made.Cache") is first
    assert type(first).__name__ == "Cache"
    assert loader.load_capability("made.count") == [1]


def test_a_capability_that_is_an_object_is_taken_as_it_is(loader: HookLoader) -> None:
    found = loader.load_capability("good_hooks.partly")
    assert isinstance(found, functools.partial)


@pytest.mark.parametrize(
    ("source", "where"),
    [
        (
            "class It:\n    def __init__(self): raise ValueError('sk-secret')",
            "ValueError at broken.py:2",
        ),
        ("class It:\n    def __init__(self): raise SystemExit", "SystemExit at broken.py:2"),
        ("class It:\n    def __init__(self): raise KeyboardInterrupt", "KeyboardInterrupt at broken.py:2"),
        (
            "import asyncio\nclass It:\n    def __init__(self): raise asyncio.CancelledError",
            "CancelledError at broken.py:3",
        ),
        ("import os\nclass It:\n    def __init__(self, size): pass", "TypeError at broken.py:2"),
        ("from builtins import range as It", "TypeError"),
    ],
)
def test_a_capability_whose_class_cannot_be_called_is_a_problem(tmp_path: Path, source: str, where: str) -> None:
    (tmp_path / "broken.py").write_text(source + "\n")
    loader = HookLoader(tmp_path)
    message = f"cannot be made: {where}; a class is called once, without arguments"
    expected = Fault("capability-failed", message)
    assert loader.load_capability("broken.It") == expected
    assert loader.load_capability("broken.It") == expected


def test_a_capability_that_cannot_be_imported_says_so_like_a_hook(tmp_path: Path) -> None:
    found = HookLoader(tmp_path).load_capability("no_such_module_here.Cache")
    assert isinstance(found, Fault)
    assert found.code == "hook-import"


def test_loaders_in_several_threads_import_a_module_once(tmp_path: Path) -> None:
    count = tmp_path / "count"
    (tmp_path / "threaded.py").write_text(
        f"with open({str(count)!r}, 'a') as file: file.write('x')\ndef a(x): return x\n"
    )
    results: list[Hook | Fault] = []
    threads = [
        threading.Thread(target=lambda: results.append(load(HookLoader(tmp_path), "threaded.a"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(result) for result in results] == [Hook] * 8
    assert count.read_text() == "x"
