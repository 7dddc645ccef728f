"""Data and recipes that the tests share."""

from typing import Any

import numpy as np

CPU = "cpu"


def waves(count: int = 120, steps: int = 15, seed: int = 0) -> tuple[Any, Any]:
    """Sine waves [N, T, 1] of two frequencies with any phase, and their classes [N]."""
    random = np.random.default_rng(seed)
    classes = np.arange(count) % 2
    phase = random.uniform(0, 6.3, count)
    time = np.arange(steps)
    x = np.sin((1 + classes)[:, None] * 0.4 * time[None, :] + phase[:, None])
    return x[:, :, None].astype(np.float32), classes


def recipe(
    loss: str = "cross-entropy", reads: str = "last", cell: str = "lstm", **changes: Any
) -> dict[str, Any]:
    """A small recipe for arrays."""
    made: dict[str, Any] = {
        "epochs": 3,
        "network": {
            "layer": [{"cell": cell, "hidden_size": 8}],
            "head": {"loss": loss, "reads": reads},
        },
        "optimizer": {"kind": "adam", "lr": 0.02},
    }
    return {**made, **changes}
