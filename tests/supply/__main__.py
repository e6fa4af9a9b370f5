"""`python -m tests.supply WHAT`: what `make test-oldest`, `make lock` and `make sbom` need."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from tests.supply import locked, sbom, slim
from tests.supply.declared import build_requirements, dependencies, extra, oldest


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.supply", description=__doc__)
    parser.add_argument("what", choices=["oldest", "build", "redis", "slim", "sbom", "sbom-slim"])
    match parser.parse_args(argv).what:
        case "oldest":
            print(
                "\n".join(
                    str(bound) for line in [*dependencies(), *extra("otel"), *extra("redis")] if (bound := oldest(line))
                )
            )
        case "build":
            print("\n".join(str(line) for line in build_requirements()))
        case "redis":
            print("\n".join(str(line) for line in extra("redis")))
        case "slim":
            print(slim.text(locked.read(), dependencies()), end="")
        case "sbom-slim":
            print(json.dumps(sbom.bill(slim.read(), name=slim.NAME), indent=2))
        case _:
            print(json.dumps(sbom.bill(locked.read()), indent=2))
    return 0


raise SystemExit(main())
