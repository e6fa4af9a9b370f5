"""Damages config files that hold secrets, and looks for these in what the commands print about them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import random
import re
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.cli import main
from tests.audit import Findings

MUTATIONS: Final = 24_000

SECRETS: Final = ("Zq8planted1vault", "Zq8planted2bearer", "Zq8planted3word", "Zq8planted4query", "Zq8planted5cloud",
                  "Zq8planted6listed", "Zq8planted7folded", "Zq8planted8anchor")  # fmt: skip
"""What no command may print, in any of `SHAPES`. Neither cut nor damaged by a mutation: the search would miss it."""
SHAPES: Final[tuple[Callable[[bytes], str], ...]] = (
    bytes.decode,
    lambda seed: hashlib.sha256(seed).hexdigest()[:32],
    lambda seed: base64.b64encode(hashlib.sha256(seed).digest()).decode()[:43] + "=",
    lambda seed: f"sk-{base64.urlsafe_b64encode(hashlib.sha256(seed).digest()).decode()[:32]}",
    lambda seed: base64.b32encode(hashlib.sha256(seed).digest()).decode().lower()[:20],
    lambda seed: str(uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16])),
)
"""How keys and generated passwords look, made from one of SECRETS."""
SOUND: Final = f"""\
version: 1
defaults: {{timeout: 30s, retries: 1}}
providers:
  vault: {{kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: {SECRETS[0]}}}
  bearer:
    kind: openai
    base_url: "https://example.com/v1"
    headers:
      Authorization: "Bearer {SECRETS[1]}"
      x-token: '{SECRETS[5]}'
  cloud:
    kind: openai
    base_url: "https://example.com/v1"
    params:
      vendor_secret: {SECRETS[4]}
      nested:
        password: >-
          {SECRETS[6]}
  shared:
    kind: openai
    base_url: https://example.com/v1
    api_key: &key {SECRETS[7]}
  again: {{kind: openai, base_url: "https://example.org/v1", api_key: *key}}
models:
  fast: [vault/a, bearer/b]
  slow:
    chain: [cloud/c, again/d, {{target: shared/e, params: {{temperature: 0.5, auth_token: {SECRETS[2]}}}}}]
    timeout: 20s
"""
FAULTY: Final = SOUND.replace("https://example.org", f"https://user:{SECRETS[2]}@example.org").replace(
    "https://example.com/v1\n", f"https://example.com/v1?api_key={SECRETS[3]}&x=1\n"
)
"""With secrets where the file must have none, which problems are about."""
CASES: Final = """\
cases:
  - name: falls over
    request: fast
    upstream: {vault/a: rate_limit}
    expect: {target: bearer/b, text: not this}
"""

_BREAKERS: Final[tuple[str, ...]] = (
    *"'\"{}[]:,&*!|>%@`#\\-?", "\t", " ", "\n", "  ", ": ", " #", "- ", "!!str ", "!x ", "&a ", "*key ", "*no ",
    "<<: ", "---\n", "...\n", "\ufeff", "\u2028", "\x85", "\0", "\u00a0", "${", "${X}", "? ", "://",
)  # fmt: skip


def damaged(text: str, dice: random.Random) -> str:
    """Return the text with one to three mutations that leave the secrets' own letters whole."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        mutation: Callable[[str, random.Random], str] = dice.choice(_MUTATIONS)
        text = mutation(text, dice)
    return text


def planted(text: str, shape: Callable[[bytes], str]) -> tuple[str, frozenset[str]]:
    """Return the text with its secrets in a shape, and the parts of these to look for: 8 letters and digits or more."""
    parts: set[str] = set()
    for one in SECRETS:
        secret = shape(one.encode())
        text = text.replace(one, secret)
        parts.update(re.findall("[A-Za-z0-9]{8,}", secret))
    return text, frozenset(parts)


def _places(text: str) -> list[int]:
    """Return the places of a text that are not inside a secret."""
    inside = {place for one in SECRETS for start in _starts(text, one) for place in range(start + 1, start + len(one))}
    return [place for place in range(len(text) + 1) if place not in inside]


def _starts(text: str, word: str) -> list[int]:
    return [match.start() for match in re.finditer(word, text)]


def _inserted(text: str, dice: random.Random) -> str:
    at = dice.choice(_places(text))
    return text[:at] + dice.choice(_BREAKERS) + text[at:]


def _dropped(text: str, dice: random.Random) -> str:
    """Drop a letter, most likely one that YAML reads."""
    places = [at for at in _places(text) if at < len(text) and not any(text.startswith(one, at) for one in SECRETS)]
    signs = [at for at in places if text[at] in "\"'{}[]:,&*>-\n"]
    if not places:
        return text
    at = dice.choice(signs if signs and dice.random() < 0.8 else places)
    return text[:at] + text[at + 1 :]


def _swapped(text: str, dice: random.Random) -> str:
    places = set(_places(text))
    fit = [at for at in range(len(text) - 1) if {at, at + 1, at + 2} <= places]
    fit = [at for at in fit if not any(text.startswith(one, at) or text.startswith(one, at + 1) for one in SECRETS)]
    if not fit:
        return text
    at = dice.choice(fit)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _cut(text: str, dice: random.Random) -> str:
    return text[: dice.choice(_places(text))]


def _line(change: Callable[[list[str], int, random.Random], None]) -> Callable[[str, random.Random], str]:
    def changed(text: str, dice: random.Random) -> str:
        lines = text.split("\n")
        change(lines, dice.randrange(len(lines)), dice)
        return "\n".join(lines)

    return changed


def _indented(lines: list[str], at: int, dice: random.Random) -> None:
    lines[at] = " " * dice.randint(0, 10) + lines[at].lstrip()


def _tabbed(lines: list[str], at: int, dice: random.Random) -> None:
    lines[at] = "\t" * dice.randint(1, 2) + lines[at].lstrip()


def _joined(lines: list[str], at: int, dice: random.Random) -> None:
    lines[at : at + 2] = [dice.choice((" ", "", ", ")).join(lines[at : at + 2])]


def _removed(lines: list[str], at: int, dice: random.Random) -> None:
    del lines[at]


def _twice(lines: list[str], at: int, dice: random.Random) -> None:
    lines.insert(dice.randrange(len(lines)), lines[at])


def _commented(lines: list[str], at: int, dice: random.Random) -> None:
    lines[at] = "# " + lines[at]


_MUTATIONS: Final = (
    _inserted, _inserted, _dropped, _dropped, _swapped, _cut, *map(_line, (_indented, _indented, _tabbed, _joined)),
    *map(_line, (_removed, _twice, _commented)),
)  # fmt: skip


def printed(argv: Sequence[str]) -> str:
    """Run a command and return all that it prints, a traceback too."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(list(argv))
        except SystemExit as exit_:
            out.write(str(exit_))
        except Exception as error:  # noqa: BLE001 - a finding of its own
            out.write(f"CRASH {error!r}")
    return out.getvalue()


def probe(scale: float, *, seed: int = 1) -> Findings:
    """Return what leaked: the command, the secret, the mutation's number and the line that shows it."""
    mutations = max(50, round(MUTATIONS * scale))
    findings = Findings(tried=mutations)
    with tempfile.TemporaryDirectory() as folder:
        sound, broken, cases = (Path(folder, name) for name in ("sound.yaml", "routes.yaml", "cases.yaml"))
        sound.write_text(SOUND, encoding="utf-8")
        cases.write_text(CASES, encoding="utf-8")
        whole = ("--config", str(broken))
        others = (
            ("explain", "fast", *whole), ("explain", "slow", "--format", "json", *whole), ("test", str(cases), *whole),
            ("diff", str(sound), str(broken)), ("diff", str(broken), str(sound), "--format", "json"),
            ("fmt", "--check", str(broken)), ("validate", "--format", "sarif", str(broken)),
        )  # fmt: skip
        for number in range(mutations):
            dice = random.Random(f"{seed}-{number}")
            text, secrets = planted(damaged((SOUND, FAULTY)[number % 3 == 2], dice), dice.choice(SHAPES))
            broken.write_text(text, encoding="utf-8", errors="replace")
            for argv in (("validate", str(broken)), others[number % len(others)]):
                shown = printed(argv)
                findings += [
                    f"{seed}-{number} {argv[0]} {' '.join(argv[1:2])}: {line.strip()[:200]}"
                    for line in shown.splitlines()
                    if line.startswith("CRASH") or any(secret in line for secret in (*SECRETS, *secrets))
                ]
    return findings
