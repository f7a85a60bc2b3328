"""`python -m forklock.cluster.errand PARENT HEAD ARGUMENTS`: the command line on the cluster of HEAD; it stops as after
Ctrl-C when PARENT ends."""

from __future__ import annotations

import signal
import sys

from forklock import cli
from forklock.sandbox import linux


def main() -> None:
    parent, head, *typed = sys.argv[1:]
    linux.die_with(int(parent), signal.SIGTERM)
    sys.argv = ["forklock", *typed]  # what words name as the command to go on with
    cli.main([*typed, "--cluster", head])


if __name__ == "__main__":
    main()
