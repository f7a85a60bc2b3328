"""`python -m forklock.cluster.errand PARENT ARGUMENTS`: the command line, which stops as after Ctrl-C with PARENT."""

from __future__ import annotations

import signal
import sys

from forklock import cli
from forklock.sandbox import linux


def main() -> None:
    linux.die_with(int(sys.argv[1]), signal.SIGTERM)
    sys.argv = ["forklock", *sys.argv[2:]]
    cli.main()


if __name__ == "__main__":
    main()
