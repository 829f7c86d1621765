"""`python -m rushlight`, and the console script of the same name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rushlight import cli
from rushlight.demo.command import DEMO

COMMANDS = (DEMO, cli.INFO, cli.RUN, cli.LAUNCH, cli.CACHE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    return cli.main(COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
