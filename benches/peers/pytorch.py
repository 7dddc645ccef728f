#!/usr/bin/env python3
"""What `gatescan bench step --json` measures, by PyTorch: python pytorch.py --shape lstm-128-28-28-128 [--device cuda]"""
import argparse
import copy
import json
import math
import re
import sys
import time

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

CLASSES = 10
SHAPES = [
    "rnn-150-28-28-150", "lstm-128-28-28-128", "gru-128-28-28-128", "lstm2-64-50-64-256", "lstm-32-64-512-512",
    "lstm-64-50-1024-1024", "lstm-4-28-28-16", "lstm-1-1000-8-64", "lstm-ragged-128-100-28-128",
]
PIECE = 0.05  # seconds between two waits, as in gatescan
SAMPLES = 5  # at least


class Network(nn.Module):
    """Recurrent layers and a linear head over the last state."""

    def __init__(self, cell, layers, inputs, hidden):
        super().__init__()
        self.rnn = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](inputs, hidden, layers)
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, x, lengths):
        if lengths is not None:
            x = pack_padded_sequence(x, lengths)
        _, last = self.rnn(x)
        h = last[0] if isinstance(last, tuple) else last
        return self.head(h[-1])


class Bench:
    """A shape's network and data on a device."""

    def __init__(self, shape, options):
        form = re.fullmatch(r"(rnn|lstm|gru)(\d*)(-ragged)?-(\d+)-(\d+)-(\d+)-(\d+)", shape)
        if not form:
            sys.exit(f"there is no shape {shape}; it is CELL-B-T-I-H as in lstm-128-28-28-128")
        cell, layers, ragged, *sizes = form.groups()
        self.batch, steps, inputs, hidden = map(int, sizes)
        self.chain = int(layers or 1) * ({"rnn": 1, "lstm": 4, "gru": 3}[cell] + 1) * hidden
        self.chain = steps * (inputs + self.chain) + steps * self.batch
        self.options, self.device = options, torch.device(options.device)
        self.batches = max(4, min(256, 2**23 // (self.batch * steps * inputs)))
        count = self.batch * self.batches
        torch.manual_seed(0)
        self.model = Network(cell, int(layers or 1), inputs, hidden).to(self.device)
        # Time-major, so that a batch is taken without a transposition.
        self.inputs = (2 * torch.rand(steps, count, inputs) - 1).to(self.device)
        self.labels = (torch.arange(count) % CLASSES).to(self.device)
        self.order = torch.arange(count).to(self.device)
        # The same in every batch, the longest first; on the host, where PyTorch wants them.
        lengths = [1 + steps * n // self.batch for n in reversed(range(self.batch))]
        self.lengths = torch.tensor(lengths) if ragged else None
        self.history = torch.zeros(256, device=self.device)
        self.cursor = torch.zeros(1, dtype=torch.long, device=self.device)
        self.numbers = torch.arange(self.batch).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=1e-3, fused=options.fused or None, capturable=options.graph)
        self.check()
        self.steps = {"train": self.train, "forward": self.forward}
        if options.graph:
            self.steps = {name: self.captured(step) for name, step in self.steps.items()}

    def loss(self):
        """The loss of the batch at the cursor, which moves on."""
        order = self.order.index_select(0, (self.cursor * self.batch + self.numbers) % len(self.order))
        x, labels = self.inputs.index_select(1, order), self.labels.index_select(0, order)
        return nn.functional.cross_entropy(self.model(x, self.lengths), labels)

    def record(self, loss):
        self.history.index_copy_(0, self.cursor % len(self.history), loss.detach().reshape(1))
        self.cursor += 1

    def train(self):
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        self.record(loss)

    def forward(self):
        with torch.inference_mode():
            self.record(self.loss())

    def check(self):
        """Loss and gradients of the first batch against the CPU in f64, with gatescan's limit."""
        exact = copy.deepcopy(self.model).cpu().double()
        x = self.inputs[:, : self.batch].cpu().double()
        expected = nn.functional.cross_entropy(exact(x, self.lengths), self.labels[: self.batch].cpu())
        expected.backward()
        loss = self.loss()
        loss.backward()
        rounding = 2.0 ** (-11 if self.options.tf32 else -24)
        limit = 10 * rounding * math.sqrt(self.chain)
        pairs = [("loss", loss, expected)]
        named = zip(self.model.named_parameters(), exact.parameters())
        pairs += [(name, found.grad, right.grad) for (name, found), right in named]
        for name, found, right in pairs:
            error = ((found.detach().cpu().double() - right).norm() / right.norm()).item()
            if not error <= limit:
                sys.exit(f"{name} is {error:.1e} away from the CPU's in f64, and rounding explains {limit:.1e}")
        self.model.zero_grad()

    def captured(self, step):
        """The step as a CUDA graph."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def play(self, name, count):
        """Seconds of a step, of `count` with one wait."""
        step = self.steps[name]
        self.model.train(name == "train")
        self.cursor.zero_()
        self.wait()
        start = time.perf_counter()
        for _ in range(count):
            step()
        self.wait()
        return (time.perf_counter() - start) / count

    def measure(self):
        """Milliseconds of each step in pieces, training and forward in turn."""
        pieces = {}
        for name in self.steps:
            # Long enough for caches, thread pools and a card's clock to settle, but no longer than a few slow steps.
            start, each = time.perf_counter(), self.play(name, 2)
            while time.perf_counter() - start < 4 * PIECE:
                each = self.play(name, 3)
            pieces[name] = max(1, min(self.batches, int(PIECE / each)))
        samples, start = {name: [] for name in self.steps}, time.perf_counter()
        while len(samples["train"]) < SAMPLES or time.perf_counter() - start < self.options.seconds:
            for name, times in samples.items():
                times.append(self.play(name, pieces[name]) * 1e3)
        return samples


def quantile(values, part):
    """Between the two sorted values that it falls between."""
    values, place = sorted(values), part * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def label(options):
    """The device, and how it is used."""
    if options.device == "cpu":
        kind = f"{torch.get_num_threads()} threads"
    else:
        kind = torch.cuda.get_device_name() + (", TF32" if options.tf32 else ", f32")
    kind += ", CUDA graph" if options.graph else ", eager"
    return f"pytorch {torch.__version__} {options.device}, {kind}" + (", fused Adam" if options.fused else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default=",".join(SHAPES), help="names, with commas between them; on the CPU all but the largest")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each shape; what is slow takes longer")
    parser.add_argument("--threads", type=int, help="of the CPU; PyTorch's own choice by default")
    parser.add_argument("--tf32", action="store_true", help="let products round their factors to TF32")
    parser.add_argument("--graph", action="store_true", help="replay the step as a CUDA graph")
    parser.add_argument("--fused", action="store_true", help="Adam in one kernel")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch sees no CUDA device here")
    if options.device == "cpu" and (options.graph or options.tf32):
        sys.exit("--graph and --tf32 need --device cuda")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32
    names = options.shape.split(",")
    if options.device == "cpu" and options.shape == parser.get_default("shape"):
        names.remove("lstm-64-50-1024-1024")
    for name in names:
        bench = Bench(name, options)
        samples = bench.measure()
        row = {"shape": name, "device": label(options)}
        for key, times in samples.items():
            row[f"{key}_ms"] = quantile(times, 0.5)
            row[f"{key}_ms_p10"] = quantile(times, 0.1)
            row[f"{key}_ms_p90"] = quantile(times, 0.9)
        row["sequences_per_s"] = bench.batch / row["train_ms"] * 1e3
        row["parameters"] = sum(parameter.numel() for parameter in bench.model.parameters())
        row["samples"] = len(samples["train"])
        print(json.dumps(row), flush=True)


main()
