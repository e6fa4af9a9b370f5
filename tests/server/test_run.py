"""`gateway run`: the command's environment, signals and exit code, and that neither process is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.server.command import environment, url_for_clients
from tests.paths import ROOT
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import ROUTES, save, until

ASK: Final = """\
import json, os, sys, urllib.request
def ask(model, key=os.environ["OPENAI_API_KEY"]):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"content-type": "application/json", "authorization": "Bearer " + key}
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
"""
"""The beginning of commands that ask the gateway."""

WAIT: Final = """\
import os, signal, sys
def caught(number, frame):
    os.write(1, b"caught %d\\n" % number)  # the signal may come in the middle of a print
    sys.exit(40 + number)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), caught)
print("waits", flush=True)
while True:
    signal.pause()
"""
"""A command that waits for a signal, and exits with 40 + its number if it is one of its arguments."""


@pytest.fixture
def config(tmp_path: Path, upstream: ScriptedOpenAI) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES.replace("BASE_URL", upstream.base_url))
    return path


@asynccontextmanager
async def running(
    config: Path,
    *command: str,
    flags: Sequence[str] = (),
    environ: Mapping[str, str] = {},
    start: Sequence[str] = (sys.executable, "-m", "gateway"),
) -> AsyncIterator[Process]:
    """Run `gateway run --config CONFIG FLAGS -- COMMAND`; Python, if the command is one text of code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        *start, "run", "--config", str(config), *flags, "--", *command,
        env={**kept, "PYTHONPATH": str(ROOT), **environ}, stdout=PIPE, stderr=PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


async def ended(process: Process) -> tuple[int | None, str, str]:
    """Return exit code, standard output and standard error."""
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def said(process: Process) -> str:
    """Return the next line of standard output."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; its parent may not have asked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_the_command_finds_the_gateway_and_no_key_of_a_vendor(config: Path, upstream: ScriptedOpenAI) -> None:
    show = f"{ASK}\nprint(json.dumps([ask('fast'), dict(os.environ), sys.argv[1:]]))\nsys.exit(7)"
    environ = {
        "OPENAI_API_KEY": "sk-real",
        "ANTHROPIC_API_KEY": "sk-real",
        "ANTHROPIC_AUTH_TOKEN": "sk-real",
        "MY": "x",
    }
    async with running(config, *python(show, "--port", "a b", "--", "$HOME"), environ=environ) as process:
        code, out, err = await ended(process)
    status, found, arguments = json.loads(out)  # and nothing else
    assert (code, err, status, arguments) == (7, "", 200, ["--port", "a b", "--", "$HOME"])
    assert found["OPENAI_BASE_URL"] == f"{found['ANTHROPIC_BASE_URL']}/v1"
    assert found["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
    assert (found["OPENAI_API_KEY"], found["ANTHROPIC_API_KEY"], found["MY"]) == ("placeholder", "placeholder", "x")
    assert "sk-real" not in out
    assert upstream.keys == ["sk-upstream"]


async def test_the_command_has_a_client_key_of_its_own_where_keys_are_on(config: Path, tmp_path: Path) -> None:
    keys, log = tmp_path / "keys", tmp_path / "log"
    keys.write_text("other a-key-of-another\n")
    ask = f"{ASK}\nprint(ask('fast'), ask('fast', 'placeholder'), ask('fast', 'a-key-of-another'))\n"
    ask += f"open({str(keys)!r}, 'a').write('third third-key\\n')\nprint(ask('fast', 'third-key'), ask('fast'))\n"
    ask += "print(os.environ['OPENAI_API_KEY'])"
    flags = ("--client-keys-file", str(keys), "--log-file", str(log))
    async with running(config, *python(ask), flags=flags) as process:
        code, out, err = await ended(process)
    *statuses, key = out.splitlines()
    assert (code, err, statuses) == (0, "", ["200 401 200", "200 200"])
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    clients = [line.get("client") for line in lines if line["event"] == "request"]
    assert clients == ["run", None, "other", "third", "run"]
    assert len(key) > 40
    assert key not in log.read_text()


@pytest.mark.parametrize(
    "name",
    ["SIGTERM", "SIGINT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGHUP", "SIGQUIT", "SIGUSR2"))],
)
async def test_a_signal_reaches_the_command_and_its_exit_code_is_ours(config: Path, name: str) -> None:
    number = getattr(signal, name)
    async with running(config, *python(WAIT, name)) as process:
        assert await said(process) == "waits"
        process.send_signal(number)
        assert await ended(process) == (40 + number, f"caught {number}\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
async def test_a_command_that_a_signal_ends_is_128_and_its_number(config: Path, number: int) -> None:
    code = f"import os\nprint(os.getpid(), flush=True)\nos.kill(os.getpid(), {int(number)})"
    async with running(config, *python(code)) as process:
        assert (await ended(process))[::2] == (128 + number, "")


async def test_the_command_gets_sigterm_when_the_gateway_is_killed(config: Path, tmp_path: Path) -> None:
    mark = tmp_path / "told"
    code = f"""\
import os, signal
def told(number, frame):
    open({str(mark)!r}, "w").write(str(number))
    os._exit(0)
signal.signal(signal.SIGTERM, told)
print(os.getpid(), flush=True)
while True:
    signal.pause()
"""
    async with running(config, *python(code)) as process:
        pid = int(await said(process))
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        await until(lambda: is_gone(pid))
    assert mark.read_text() == str(int(signal.SIGTERM))


async def test_what_the_command_has_left_in_flight_is_answered_before_the_end(
    config: Path, upstream: ScriptedOpenAI, tmp_path: Path
) -> None:
    gate, answer = asyncio.Event(), tmp_path / "answer"
    upstream.script("a", reply="x" * 300_000, stall_after=100, gate=gate)
    left = f"{ASK}\nopen({str(answer)!r}, 'w').write(str(ask('fast')))"
    code = f"""\
import signal, subprocess, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
subprocess.Popen([sys.executable, "-c", {left!r}])
signal.sigwait([signal.SIGUSR1])
"""
    async with running(config, *python(code), flags=("--log-level", "info")) as process:
        await upstream.wait_for_calls(1)
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        while b'"draining"' not in await process.stderr.readline():
            pass
        gate.set()
        code_, _, err = await ended(process)
    assert (code_, '"whole":true' in err) == (0, True)
    assert answer.read_text() == "200"


@pytest.mark.slow
@pytest.mark.timeout(30)
async def test_neither_is_left_behind_where_a_hook_blocks_the_gateway(config: Path) -> None:
    save(config.with_name("blocking.py"), "import time\ndef block(request): time.sleep(3600)\n")
    save(config, "version: 1\nmodels: {slow: {chain: [mock/echo], hooks: {pre: [blocking.block]}}}\n")
    code = f"""{ASK}
import signal, threading
threading.Thread(target=ask, args=("slow",), daemon=True).start()
print("asks", flush=True)
signal.pause()
"""
    async with running(config, *python(code), flags=("--drain", "100ms")) as process:
        assert await said(process) == "asks"
        await asyncio.sleep(1.0)  # until the hook runs; a blocked process cannot tell
        process.send_signal(signal.SIGTERM)
        returned, _, err = await ended(process)
    assert returned == 128 + signal.SIGTERM
    assert "the process is ended: something in it does not end" in err


async def test_a_command_without_an_interpreter_is_told_too(config: Path, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    async with running(config, str(script)) as process:
        code, _, err = await ended(process)
    assert (code, err) == (127, f"gateway: cannot run {script}: no such file or directory\n")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--port", "TAKEN"], "the address is in use already"),
        (["--unix-socket", "s"], "a base URL cannot name the Unix socket"),
        (["--client-keys-file", "no-keys"], "cannot read the client keys file no-keys"),
        (["--log-file", "no/such/log"], "cannot write the log file no/such/log: no such file or directory"),
        (["--port-file", "no/such/port"], "cannot write the port file no/such/port: no such file or directory"),
    ],
    ids=["port", "socket", "keys", "log", "port file"],
)
async def test_the_command_is_not_run_where_the_gateway_cannot_serve_it(
    config: Path, flags: list[str], told: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = [flag.replace("TAKEN", str(taken.getsockname()[1])) for flag in flags]
        async with running(config, "echo", "ran", flags=flags) as process:
            code, out, err = await ended(process)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert told in err


async def test_a_config_file_with_problems_is_1_and_the_command_is_not_run(config: Path) -> None:
    save(config, "version: 1\nmodels: {fast: nowhere}\n")
    async with running(config, "echo", "ran") as process:
        code, out, err = await ended(process)
    assert (code, out, "no-provider" in err) == (1, "", True)


async def test_the_command_waits_until_the_gateway_is_ready_and_is_not_run_if_it_never_is(
    config: Path, tmp_path: Path
) -> None:
    package = tmp_path / "packages" / "litellm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('broken')")
    save(config, "version: 1\nproviders: {lab: {kind: mistral, api_key: k}}\nmodels: {large: lab/large}\n")
    start = python(
        f"import sys; sys.path.insert(0, {str(package.parent)!r}); from gateway.cli import main; sys.exit(main())"
    )
    async with running(config, "echo", "ran", start=start) as process:
        code, out, err = await ended(process)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("gateway: the command is not run, as the gateway is not ready: no litellm")


async def test_a_stop_signal_before_the_command_is_run_ends_the_gateway(config: Path, tmp_path: Path) -> None:
    package = tmp_path / "packages" / "litellm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import time\nfrom pathlib import Path\nPath(__file__).with_name('begun').touch()\n"
        "while not Path(__file__).with_name('go').exists(): time.sleep(0.01)\n"
    )
    save(config, "version: 1\nproviders: {lab: {kind: mistral, api_key: k}}\nmodels: {large: lab/large}\n")
    start = python(
        f"import sys; sys.path.insert(0, {str(package.parent)!r}); from gateway.cli import main; sys.exit(main())"
    )
    async with running(config, "echo", "ran", start=start) as process:
        await until((package / "begun").exists, within_s=8)
        process.send_signal(signal.SIGTERM)
        (package / "go").touch()  # a thread that imports is waited for by Python itself
        code, out, _ = await ended(process)
    assert (code, out) == (128 + signal.SIGTERM, "")


async def test_the_command_keeps_its_own_limit_of_descriptors_and_the_gateway_has_the_highest(config: Path) -> None:
    show = "import os, resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    show += "print(open(f'/proc/{os.getppid()}/limits').read())"
    start = ("sh", "-c", 'ulimit -Sn 200; exec "$@"', "sh", sys.executable, "-m", "gateway")
    async with running(config, *python(show), start=start) as process:
        code, out, err = await ended(process)
    first, *limits = out.splitlines()
    [ours] = [line.split()[-3:-1] for line in limits if line.startswith("Max open files")]
    assert (code, err, first, ours[0]) == (0, "", "200", ours[1])


async def test_a_signal_that_is_ignored_stays_so(config: Path) -> None:
    show = "import signal\nprint(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    start = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, "-m", "gateway")
    async with running(config, *python(show), start=start) as process:
        assert await ended(process) == (0, "True\n", "")


async def test_ctrl_c_on_a_terminal_reaches_the_command_once(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "signals"
    wait = f"""\
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("waits", flush=True)
with open({str(log)!r}, "w") as log:
    log.write(f"{{signal.sigwait([signal.SIGINT])}} {{signal.sigtimedwait([signal.SIGINT], 0.5)}}")
"""
    run = [sys.executable, "-m", "gateway", "run", "--config", str(config), "--", *python(wait)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    spawn = f"import pty, sys; sys.exit(pty.spawn({run!r}) >> 8)"
    terminal = await asyncio.create_subprocess_exec(
        sys.executable, "-c", spawn, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environ
    )
    try:
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        while b"waits" not in await terminal.stdout.readline():
            pass
        terminal.stdin.write(b"\x03")
        await terminal.stdin.drain()
        assert await terminal.wait() == 0
    finally:
        if terminal.returncode is None:
            terminal.kill()
        await terminal.communicate()
    assert log.read_text() == "2 None"


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("http://0.0.0.0:80", "http://127.0.0.1:80"),
        ("http://[::]:80", "http://[::1]:80"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://example.org:80", "http://example.org:80"),
    ],
)
def test_clients_are_led_to_an_address_that_they_can_connect_to(url: str, near: str) -> None:
    assert url_for_clients(url) == near


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"NO_PROXY": "a"}, {"NO_PROXY": "a"}),
        ({"http_proxy": "http://p"}, {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}),
        ({"ALL_PROXY": "p", "NO_PROXY": "a,127.0.0.1"}, {"NO_PROXY": "a,127.0.0.1", "no_proxy": "127.0.0.1"}),
    ],
)
def test_clients_do_not_ask_a_proxy_for_the_gateway(given: dict[str, str], expected: dict[str, str]) -> None:
    found: dict[str, Any] = environment(given, "http://127.0.0.1:80")
    assert {name: found[name] for name in found if name.lower() == "no_proxy"} == expected


def test_what_systemd_tells_the_gateway_is_not_for_the_command() -> None:
    given = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x", "NOTIFY_SOCKET": "/run/x", "PATH": "/bin"}
    assert environment(given, "http://127.0.0.1:80").keys() & given.keys() == {"PATH"}
