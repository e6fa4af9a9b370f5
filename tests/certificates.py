"""A certificate of its own for tests of TLS, made by the `openssl` of this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(folder: Path, *names: str) -> Path:
    """Return a file with a key and a certificate for `names`, `localhost` and 127.0.0.1."""
    named = "".join(f"DNS:{name}," for name in ("localhost", *names))
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2",
         "-subj", "/CN=test", "-addext", f"subjectAltName={named}IP:127.0.0.1",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return both
