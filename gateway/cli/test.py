"""`gateway test`: play a policy's test cases against it, offline and in virtual time."""

from __future__ import annotations

import argparse

_TEXT = """\
Play test cases against a policy: the real routing table, engine and hooks, with scripted upstreams in virtual time.
Nothing is called, no key is needed, and a stall of a minute takes no time. The config file is found beside the cases.
"""

_EPILOG = """\
a case:
  cases:
    - name: Claude answers when OpenAI is rate limited
      request: {model: smart, messages: [{role: user, content: hi}]}
      upstream:
        openai/gpt-4o: [{status: 429}, {status: 429}]
        anthropic/claude-sonnet-4-5: [{text: hello}]
      expect: {target: anthropic/claude-sonnet-4-5, status: 200}

  Targets that `upstream` does not name are well and answer `hello from <target>`. The last outcome of a list goes
  on for ever. `gateway schema test` prints every key with its meaning.

examples:
  gateway test                            play ./routes.test.yaml
  gateway test examples/ -v               every *.test.yaml below a folder, each case with its path
  gateway test -k 'rate limited'          only cases whose name holds this
  gateway test --min-coverage 90 --format junit > report.xml

exit codes:
  0  every case passed, and the coverage is as wanted
  1  a case failed, a file has problems, or the coverage is too low
  2  wrong usage, or a file cannot be read
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "test",
        help="play a policy's test cases in virtual time",
        description=_TEXT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="files of cases, or folders that hold them")
    parser.add_argument("--config", metavar="FILE", help="the config file under test, in place of the one beside")
    parser.add_argument("--format", choices=("text", "json", "junit"), default="text", help="default: text")
    parser.add_argument("-k", metavar="TEXT", dest="only", help="play only cases whose name holds TEXT")
    parser.add_argument("-v", "--verbose", action="store_true", help="name the cases that passed as well")
    parser.add_argument("--min-coverage", metavar="PERCENT", type=_percent, help="fail when less is reached")
    parser.add_argument(
        "--skip-hooks", action="store_true", help="do not import hooks; what they change goes unchecked"
    )
    parser.set_defaults(run=run, file=None)


def run(args: argparse.Namespace) -> int:
    """Play every file's cases and print what came of them."""
    # The engine and asyncio come with it, and `validate` starts faster without.
    from gateway.cli.testing import run_tests

    return run_tests(args)


def _percent(text: str) -> int:
    if not text.rstrip("%").isdigit() or int(text.rstrip("%")) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 100")
    return int(text.rstrip("%"))
