"""The commands that ask a running gateway, run in this process."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cli import main


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take from the environment what says where a gateway listens."""
    for name in ("URL", "HOST", "PORT", "ADMIN_HOST", "ADMIN_PORT", "UNIX_SOCKET", "TOKEN_FILE", "ADMIN_TOKEN_FILE"):
        monkeypatch.delenv(f"GATEWAY_{name}", raising=False)


async def asked(capsys: pytest.CaptureFixture[str], command: str, *flags: str) -> tuple[int, str, str]:
    """Return exit code, output and complaint of `gateway COMMAND FLAGS`."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, [command, *flags])
    out, err = capsys.readouterr()
    return code, out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith("{"))
