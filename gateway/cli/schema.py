"""`gateway schema`: the JSON schemas of our files, for editors and other tools."""

from __future__ import annotations

import argparse
import json
from typing import Final

from gateway.cli.settings import Commands, add_command
from gateway.config.model.read import schema

_SCHEMAS: Final = {"routes": "routes", "test": "routes.test"}
"""Names of the schemas, by argument."""

_TEXT = """\
Print the JSON schema (draft 2020-12) of the config file, or of a file of test cases. Editors complete and explain
each key with it.
"""

_EPILOG = """\
examples:
  gateway schema > routes.schema.json
  gateway schema test > routes.test.schema.json

and then, as the first line of routes.yaml:
  # yaml-language-server: $schema=routes.schema.json

exit codes:
  0  printed
  2  wrong usage
"""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "print the JSON schema of the config file or of test cases"
    parser = add_command(commands, run, "schema", text, _TEXT, _EPILOG)
    text = "whose schema (default: routes)"
    parser.add_argument("name", choices=tuple(_SCHEMAS), nargs="?", default="routes", help=text)


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(schema(_SCHEMAS[args.name]), indent=2, ensure_ascii=False))
    return 0
