"""Finds the modules that the tests share, and leaves out tests whose packages are not installed."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# `bash python/tests/run --reduced` installs no PyTorch; PyTorch's own test cases need expecttest.
_HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "expecttest"))
collect_ignore_glob = [] if _HAS_TORCH else ["test_torch*.py"]
