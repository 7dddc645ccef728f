"""Runs the command line: ``python -m gatescan``."""

import sys

from ._command import main

sys.exit(main())
