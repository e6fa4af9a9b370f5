"""`gateway keys new`: a fresh key for a client, and the line with its digest for the file of client keys."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from typing import Final

from gateway.cli.settings import Commands, add_command
from gateway.server.client_keys import key_line

_PREFIX: Final = "gw-"
"""Begins each key, so that a person and a scanner of secrets know what it is."""
_RANDOM_BYTES: Final = 32

_TEXT = """\
Make a key for a client. It is shown on standard error, this once, and stored nowhere; the line for the file of
--client-keys-file goes to standard output. The line holds the SHA-256 of the key, not the key, so people may read the
file.
Several lines may have one name: add the new key's, change the client, then remove the old one.
"""

_EPILOG = """\
examples:
  gateway keys new search-ci --group search                      a client of the group `search` of the config file
  gateway keys new app --group search >> keys.txt                the key is shown, and its line is in the file
  gateway keys new ops --admin                                   its key opens the operators' paths too

--format json prints one object to standard output:
  {"key", "line", "name", "group": name | null, "admin": bool, "sha256"}
  Fields may be added; these stay.

exit codes:
  0  printed
  2  wrong usage, such as a name that the file cannot have
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, run, "keys", "make a key for a client of the gateway", _TEXT, _EPILOG)
    parser.add_argument("action", choices=("new",), help="what to do")
    parser.add_argument("name", metavar="NAME", help="the client's name: letters, digits and . _ @ -")
    parser.add_argument("--group", metavar="GROUP", help="its group, as under `clients` in the config file")
    parser.add_argument("--admin", action="store_true", help="the key opens the operators' paths too")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")


def run(args: argparse.Namespace) -> int:
    """Print a new key and its line; return the exit code. Raises UsageError."""
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    line = key_line(args.name, key, group=args.group, is_admin=args.admin)
    if args.format == "json":
        fields = {"name": args.name, "group": args.group, "admin": args.admin}
        digest = line.split()[1].removeprefix("sha256:")
        print(json.dumps({"key": key, "line": line, **fields, "sha256": digest}, indent=2))
        return 0
    print(f"key, for the client; it is shown once and stored nowhere:\n  {key}", file=sys.stderr)
    print("line, for the file of --client-keys-file:", file=sys.stderr, flush=True)
    print(line)
    return 0
