"""Finds the module that the tests share; leaves out layers of frameworks that are missing."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# The reduced run has no PyTorch. Its layers are tested where it is installed.
collect_ignore_glob = [
    f"test_{name}*.py" for name in ("torch", "keras") if importlib.util.find_spec(name) is None
]
