"""Trains PyTorch's layers on the same text as gatescan, from the same initial weights, with the
same order, dropout masks and optimizer. Compares the losses of the first updates with those of the
recipe `text` at half its learning rate.

    python tests/interop/text.py path/to/gatescan my-text.txt [STEPS [FLAGS OF gatescan train]]

With a tied embedding: 200 --set 'network.input={embedding={size=128, tied=true}}'

It needs torch and numpy, and a text long enough for STEPS updates in an epoch (half a megabyte).
"""

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from torch import nn

BOUND = 1e-3
# Differences of rounding grow with the updates and with the learning rate: at 0.006, that of the
# recipe, to 3e-3 in 200 updates.
RATE = 0.003


def gatescan(program, *arguments):
    run = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(
            f"gatescan {' '.join(map(str, arguments))}: exit code {run.returncode}\n{run.stderr}"
        )


def load(path):
    """Returns the tensors and the description of a model file: safetensors of f32."""
    file = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", file[:8])
    header, values = json.loads(file[8 : 8 + length]), file[8 + length :]
    description = json.loads(header.pop("__metadata__")["gatescan"])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(bytearray(values[begin:end]), dtype=torch.float32).reshape(
            entry["shape"]
        )
    return tensors, description


def philox(counter, key):
    """Philox 4x32-10 (Salmon et al. 2011): words `[N, 4]` of counters `[N, 4]` and a key."""
    low = numpy.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = counter.astype(numpy.uint64).T
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * numpy.uint64(0xD2511F53), c2 * numpy.uint64(0xCD9E8D57)
        shift, key0, key1 = numpy.uint64(32), numpy.uint64(k0), numpy.uint64(k1)
        c0, c1, c2, c3 = (
            (second >> shift) ^ c1 ^ key0,
            second & low,
            (first >> shift) ^ c3 ^ key1,
            first & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return numpy.stack([c0, c1, c2, c3], axis=1)


def mask(seed, step, number, keep_prob, shape):
    """Dropout mask `number` of an update, `[T, B, H]`; H is a multiple of 4."""
    blocks = numpy.arange(numpy.prod(shape) // 4)
    dropout = 4  # The number of the stream.
    counter = numpy.stack(
        [blocks, *(numpy.full_like(blocks, word) for word in (step, dropout, number))], axis=1
    )
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    kept = words < int(keep_prob * 2**32)
    return torch.from_numpy(kept.reshape(shape)).float() / keep_prob


def permutation(seed, count):
    """The order of the first epoch: a Fisher-Yates shuffle with the draws of Lemire (2019)."""
    shuffle = 2  # The number of the stream.
    blocks = numpy.arange(count)
    counter = numpy.stack([blocks, 0 * blocks, 0 * blocks + shuffle, 0 * blocks], axis=1)
    words = map(int, philox(counter, (seed & 0xFFFFFFFF, seed >> 32)).flatten())
    order = list(range(count))
    for i in range(count - 1, 0, -1):
        n = i + 1
        place = next(product >> 32 for word in words if (product := word * n) % 2**32 >= 2**32 % n)
        order[i], order[place] = order[place], order[i]
    return order


class Network(nn.Module):
    """Layers of nn.LSTM with one trained bias over characters, and a linear head."""

    def __init__(self, weights, vocabulary, recipe):
        super().__init__()
        self.vocabulary, self.seed = vocabulary, recipe["seed"]
        layers = recipe["network"]["layer"]
        self.keep_probs = [
            layer.get("dropout", {}).get("output_keep_prob", 1.0) for layer in layers
        ]
        hidden, reads = weights["rnn.weight_hh_l0"].shape[1], weights["rnn.weight_ih_l0"].shape[1]
        # One module each, so that the masks of this file can be applied between them.
        self.layers = nn.ModuleList(
            nn.LSTM(hidden if level else reads, hidden) for level in range(len(layers))
        )
        self.head = nn.Linear(hidden, vocabulary)
        self.embedding = None
        if "embedding.weight" in weights:
            self.embedding = nn.Embedding(vocabulary, reads)
            if recipe["network"]["input"]["embedding"].get("tied"):
                self.head.weight = self.embedding.weight
                weights = {**weights, "head.weight": weights["embedding.weight"]}
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("layers."):
                    _, level, name = name.split(".")
                    name = f"rnn.{name[: -len('0')]}{level}"
                parameter.copy_(weights[name])
                # Layers of gatescan train one bias; the second one of PyTorch stays zero.
                parameter.requires_grad = "bias_hh" not in name

    def forward(self, tokens, states, step):
        """Returns the logits `[T, B, V]` of tokens `[T, B]` in an update, and the last states."""
        if self.embedding is None:
            x = nn.functional.one_hot(tokens, self.vocabulary).float()
        else:
            x = self.embedding(tokens)
        last, drawn = [], 0
        for level, (layer, keep_prob) in enumerate(zip(self.layers, self.keep_probs)):
            x, state = layer(x, states and states[level])
            if keep_prob < 1:
                x = x * mask(self.seed, step, drawn, keep_prob, x.shape)
                drawn += 1
            last.append(tuple(part.detach() for part in state))
        return self.head(x), last


def main(program, text, steps=200, *given):
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        flags = ["--data", text, "--device", "cpu", "--report-every", 1, "--json", *given]
        # An update too small to change any weight leaves the initial ones.
        still = ["--lr", "1e-30", "--set", "steps=1"]
        gatescan(program, "train", "text", *flags, *still, "--out", place / "initial")
        gatescan(
            program,
            "train",
            "text",
            *flags,
            "--lr",
            RATE,
            "--set",
            f"steps={steps}",
            "--out",
            place / "run",
        )
        weights, _ = load(place / "initial" / "model.safetensors")
        _, description = load(place / "run" / "model.safetensors")
        lines = (place / "run" / "metrics.jsonl").read_text().splitlines()
    ours = [line["loss"] for line in map(json.loads, lines) if "step" in line]

    recipe = description["recipe"]
    streams, chunk = recipe["batch_size"], recipe["bptt_steps"]
    vocabulary = ["", *description["preparation"]["vocabulary"]["entries"]]
    numbers = {character: number for number, character in enumerate(vocabulary)}
    characters = Path(text).read_bytes().decode()
    # Rust rounds halves away from zero.
    count = len(characters) - int(len(characters) * recipe["data"]["test_fraction"] + 0.5)
    tokens = torch.tensor([numbers[character] for character in characters[:count]])
    length = (count - 1) // streams
    order = permutation(recipe["seed"], streams)
    inputs = tokens[: streams * length].view(streams, length)[order].T
    targets = tokens[1 : streams * length + 1].view(streams, length)[order].T

    network = Network(weights, len(vocabulary), recipe)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    adam = recipe["optimizer"]
    betas = adam["beta1"], adam["beta2"]
    optimizer = torch.optim.Adam(trained, lr=adam["lr"], betas=betas, eps=adam["epsilon"])
    states, theirs = None, []
    for step in range(steps):
        here = slice(step * chunk, (step + 1) * chunk)
        outputs, states = network(inputs[here], states, step)
        loss = nn.functional.cross_entropy(outputs.flatten(0, 1), targets[here].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(trained, recipe["clip_value"])
        optimizer.step()
        theirs.append(loss.item())

    assert len(ours) == len(theirs) == steps, (len(ours), len(theirs))
    apart = [abs(here - there) for here, there in zip(ours, theirs)]
    for step in sorted({1, 2, 10, 50, 100, steps} & set(range(1, steps + 1))):
        print(
            f"step {step:4}  gatescan {ours[step - 1]:.6f}  PyTorch {theirs[step - 1]:.6f}  "
            f"apart {apart[step - 1]:.1e}"
        )
    worst = max(apart)
    print(f"worst of {steps} steps: {worst:.1e} at step {apart.index(worst) + 1}")
    if not worst <= BOUND:
        sys.exit(f"the losses are more than {BOUND} apart")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]), *sys.argv[4:])
