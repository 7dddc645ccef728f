"""Prints by how many bytes 10,000 training steps and 300 predictions increase the memory."""

import json

import numpy as np
import psutil
from common import CPU, recipe, waves

import gatescan

x, y = waves(64)
own = psutil.Process()


def use(steps: int) -> None:
    run = gatescan.train(
        recipe(epochs=steps, steps=steps, batch_size=32), (x, y), device=CPU, progress=False
    )
    assert run.step == steps
    for _ in range(300):
        np.asarray(run.model.predict(x, device=CPU))


use(2_000)
use(2_000)
before = own.memory_info().rss
for _ in range(5):
    use(2_000)
print(json.dumps({"steps": 10_000, "bytes": own.memory_info().rss - before}))
