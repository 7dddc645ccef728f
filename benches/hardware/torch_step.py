"""Times a training step of an LSTM by PyTorch with cuDNN: eager, and replayed as a CUDA graph. The
shapes are those of `gatescan bench step`; one JSON object for each.

    python3 benches/hardware/torch_step.py SECONDS
"""

import json
import sys
import time

import torch

SHAPES = ["lstm-128-28-28-128", "gru-128-28-28-128", "lstm-32-64-512-512"]


def steps_of(shape):
    """Returns a function that plays a training step, and the tensors that it reads."""
    cell, batch, steps, inputs, hidden = shape.split("-")
    batch, steps, inputs, hidden = int(batch), int(steps), int(inputs), int(hidden)
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](inputs, hidden).cuda()
    head = torch.nn.Linear(hidden, 10).cuda()
    parameters = [*layer.parameters(), *head.parameters()]
    adam = torch.optim.Adam(parameters, lr=1e-3, capturable=True)
    x = torch.randn(steps, batch, inputs, device="cuda")
    y = torch.randint(10, (batch,), device="cuda")
    loss_of = torch.nn.CrossEntropyLoss()

    def step():
        adam.zero_grad(set_to_none=False)
        loss_of(head(layer(x)[0][-1]), y).backward()
        adam.step()

    return step


def milliseconds(step, seconds):
    """Returns the median milliseconds of a step, over groups of 20."""
    samples, begin = [], time.perf_counter()
    while time.perf_counter() - begin < seconds or len(samples) < 5:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(20):
            step()
        torch.cuda.synchronize()
        samples.append((time.perf_counter() - start) / 20 * 1e3)
    return sorted(samples)[len(samples) // 2]


def main(seconds):
    for shape in SHAPES:
        step = steps_of(shape)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(5):
                step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        # In turn, since the clock of a GPU changes.
        eager, replayed = [], []
        for _ in range(3):
            eager.append(milliseconds(step, seconds / 6))
            replayed.append(milliseconds(graph.replay, seconds / 6))
        result = {"shape": shape, "eager_ms": sorted(eager)[1], "graph_ms": sorted(replayed)[1]}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
