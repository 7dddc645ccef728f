"""Times layers of gatescan.torch against torch.nn's, in turn.

``python python/benches/torch_layers.py [rounds]`` prints, for each layer, the medians of forward
and backward pass in milliseconds and their ratio. The two libraries take turns within one process,
so that other load of the machine falls on both. Run it by default and with
``OMP_WAIT_POLICY=PASSIVE``.
"""

import os
import statistics
import sys
import time

import torch

import gatescan.torch as gt

#: H, T, I, B.
SHAPE = (128, 28, 28, 128)


def seconds(layer: torch.nn.Module, values: torch.Tensor) -> float:
    """Return the time of one forward and backward pass."""
    layer.zero_grad()
    begin = time.perf_counter()
    layer(values)[0].sum().backward()
    return time.perf_counter() - begin


def main() -> None:
    """Measure each layer."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    hidden_size, steps, features, batch = SHAPE
    policy = os.environ.get("OMP_WAIT_POLICY", "default")
    print(f"H, T, I, B = {SHAPE}; OMP_WAIT_POLICY {policy}; {torch.get_num_threads()} threads")
    for name in ("LSTM", "GRU", "RNN"):
        layers = [getattr(own, name)(features, hidden_size) for own in (torch.nn, gt)]
        values = torch.randn(steps, batch, features)
        times: list[list[float]] = [[], []]
        for turn in range(rounds + 5):
            for own, layer in enumerate(layers):
                elapsed = seconds(layer, values)
                if turn >= 5:
                    times[own].append(1000 * elapsed)
        theirs, ours = (statistics.median(own) for own in times)
        fastest = [min(own) for own in times]
        print(
            f"{name}: torch.nn {theirs:.2f} ms, gatescan {ours:.2f} ms, ratio {theirs / ours:.2f};"
            f" fastest {fastest[0]:.2f} and {fastest[1]:.2f}, ratio {fastest[0] / fastest[1]:.2f}"
        )


if __name__ == "__main__":
    main()
