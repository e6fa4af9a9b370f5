"""`gateway schema`: the JSON schema of the config file, for editors and other tools."""

from __future__ import annotations

import argparse
import json

from gateway.config import schema


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    text = "print the JSON schema of the config file"
    parser = commands.add_parser("schema", help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
    return 0
