"""The program `gatescan`, which is the library's own command line."""

from __future__ import annotations

import signal
import sys

from . import _gatescan


def main() -> int:
    """Run the command line with the arguments of this process.

    Returns
    -------
    int
        The exit code: 0, 2 for wrong usage, 1 for what failed at run time.
    """
    # Python notes Ctrl-C for its own code, which does not run before the command ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _gatescan.command(["gatescan", *sys.argv[1:]])
