"""`gateway init`: write a commented routes.yaml for the vendors whose keys are in the environment."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from gateway.cli import files
from gateway.cli.settings import DEFAULT_CONFIG, Commands, add_command, config_path
from gateway.config.compiler.known_hosts import NO_ADDRESS
from gateway.config.compiler.known_providers import WELL_KNOWN
from gateway.errors import UsageError
from gateway.reports.problems import STDIN
from gateway.words import printable

MODELS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "smart": {
            "openai": "gpt-5.5",
            "anthropic": "claude-sonnet-5",
            "gemini": "gemini-3.6-flash",
            "mistral": "mistral-large-4",
            "xai": "grok-4.3",
            "deepseek": "deepseek-v4-flash",
        },
        "fast": {"groq": "openai/gpt-oss-120b"},
    }
)
"""Alias → vendor → a current chat model, in the order of the chain.

Models of one chain take prompts of about the same length, tools and images, so that no fallback is weaker.
"""

_TEXT = """\
Write a commented routes.yaml to start from. For each vendor whose key is in the environment it has an alias, and with
several such vendors a chain that falls back from one to the next. Without any key its alias is answered by a mock, so
that `gateway serve` works at once. Keys are not written into the file: they are read from the environment.
"""

_EPILOG = """\
examples:
  gateway init                     write ./routes.yaml, or the file that GATEWAY_CONFIG names
  gateway init deploy/routes.yaml
  gateway init --stdout            print it; `gateway init -` does the same
  gateway init --force             replace the file that is there

exit codes:
  0  written, or printed
  2  wrong usage, the file exists already, or it cannot be written
"""

_HEAD: Final = """\
# yaml-language-server: $schema=routes.schema.json
#
# The routing policy: save it, and `gateway serve` uses it at once; a save with problems changes nothing.
#
#   gateway serve                                 serve it on http://127.0.0.1:8080
#   gateway validate                              list every problem, with line and column
#   gateway explain ALIAS                         show what a call of an alias does when targets fail
#   gateway schema > routes.schema.json           let editors complete and explain each key
version: 1

# For every alias and step that does not say otherwise.
defaults:
  # One attempt: models that reason are silent for long before their first content.
  timeout: {connect: 5s, first_token: 60s, idle: 60s, total: 2m}
  retries: 2      # extra attempts on the same target
  deadline: 15m   # all attempts together, until the first content goes out
  cooldown: {failures: 3, within: 30s, for: 15s}   # then a target is skipped for a while

# Aliases: the names that clients ask for. A target is written `provider/model`; a list is a chain: when one target
# fails, the next is called.
models:
"""

_TAIL: Final = """
# A well-known vendor needs no entry here. One is needed for a server of your own that speaks OpenAI's wire:
# providers:
#   vllm: {kind: openai, base_url: "http://127.0.0.1:8000/v1", api_key_file: /run/secrets/vllm}
#
# Functions that see each request or each answer, by dotted path from this file's folder:
# hooks:
#   pre: [hooks.redact]
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, run, "init", "write a commented routes.yaml to start from", _TEXT, _EPILOG)
    text = "the file to write; - is standard output (default: GATEWAY_CONFIG, else ./routes.yaml)"
    parser.add_argument("file", metavar="FILE", nargs="?", help=text)
    parser.add_argument("--stdout", action="store_true", help="print the file instead of writing it")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def run(args: argparse.Namespace) -> int:
    """Write or print the file; return the exit code. Raises UsageError."""
    if args.stdout and args.file not in (None, STDIN):
        raise UsageError(f"--stdout prints the file instead of writing it; leave out {args.file}")
    text = starting_file(os.environ)
    if args.stdout or args.file == STDIN:  # `-`, here standard output
        print(text, end="")
        return 0
    path = config_path(args, os.environ)
    if os.path.lexists(path) and not args.force:
        raise UsageError(f"{path} exists already; --force replaces it, `gateway init -` prints a new one")
    files.write(path, text.encode())
    found = ", ".join(variable for _, variable in vendors_with_key(os.environ))
    named = "" if args.file is None or path == DEFAULT_CONFIG else f" {shlex.quote(args.file)}"
    print(printable(f"{path}: written, {f'with the vendors of {found}' if found else 'with a mock: no key was found'}"))
    print(printable(f"next: gateway serve{named}"))
    return 0


def vendors_with_key(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (vendor, variable) for each well-known vendor with an address whose key is in that variable."""
    found: dict[str, str] = {}
    for known in WELL_KNOWN.values():
        variable = next((name for name in known.key_variables if environ.get(name, "").strip()), None)
        if known.key_required and variable is not None and known.name not in NO_ADDRESS:
            found.setdefault(variable, known.name)  # Cohere has two names for one key
    return [(vendor, variable) for variable, vendor in found.items()]


def starting_file(environ: Mapping[str, str]) -> str:
    """Return the text of a routes.yaml that is valid and free of warnings in this environment."""
    found = vendors_with_key(environ)
    return _HEAD + "".join(f"{line}\n" for line in (_with_keys(found) if found else _without_keys())) + _TAIL


def _with_keys(found: list[tuple[str, str]]) -> Iterator[str]:
    vendors = {vendor for vendor, _ in found}
    for alias, models in MODELS.items():
        chain = [f"{vendor}/{model}" for vendor, model in models.items() if vendor in vendors]
        if len(chain) > 3:
            yield f"  {alias}:"
            yield from (f"    - {target}" for target in chain)
        elif chain:
            yield f"  {alias}: {chain[0] if len(chain) == 1 else '[' + ', '.join(chain) + ']'}"
    if vendors & {vendor for models in MODELS.values() for vendor in models}:
        yield ""
    yield "  # Any model of a vendor, by the vendor's name for it. The key is read from the variable named beside it."
    entries = [(f'  "{vendor}/*": "{vendor}/*"', variable) for vendor, variable in found]
    width = max(len(entry) for entry, _ in entries)
    for entry, variable in entries:
        yield f"{entry:{width}}   # {variable}"


def _without_keys() -> Iterator[str]:
    yield "  # No vendor's key was found in the environment. This mock needs none: it repeats the last user message."
    yield "  demo: mock/echo"
    yield ""
    yield "  # With OPENAI_API_KEY and ANTHROPIC_API_KEY in the environment:"
    yield f"  # smart: [{', '.join(f'{vendor}/{model}' for vendor, model in list(MODELS['smart'].items())[:2])}]"
    yield '  # "openai/*": "openai/*"   # any model by the vendor\'s name for it'
