"""PyTorch's own network on the same text, from the same initial weights, in the same order, by the same optimiser: the loss of
each of the first 200 updates beside gatescan's.

    python tests/interop/text.py path/to/gatescan my-text.txt [STEPS]

It needs torch and safetensors' header alone; the text has to be long enough for STEPS updates in an epoch (half a megabyte).
"""

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

BOUND = 1e-3
STREAMS = CHUNK = 50


def gatescan(program, *arguments):
    run = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"gatescan {' '.join(map(str, arguments))}: exit code {run.returncode}\n{run.stderr}")


def load(path):
    """Tensors and description of a model's file: safetensors, all of them f32."""
    file = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", file[:8])
    header, values = json.loads(file[8 : 8 + length]), file[8 + length :]
    description = json.loads(header.pop("__metadata__")["gatescan"])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(bytearray(values[begin:end]), dtype=torch.float32).reshape(entry["shape"])
    return tensors, description


class Network(nn.Module):
    """Two layers of nn.LSTM over one-hot characters, with one trained bias, and a linear head."""

    def __init__(self, weights, vocabulary):
        super().__init__()
        hidden = weights["rnn.weight_hh_l0"].shape[1]
        self.vocabulary = vocabulary
        self.rnn = nn.LSTM(vocabulary, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(weights[name])
                # gatescan's layers have one bias; PyTorch's second, which the file has for its sake, stays zero.
                parameter.requires_grad = "bias_hh" not in name

    def forward(self, tokens, states):
        inputs = nn.functional.one_hot(tokens, self.vocabulary).float()
        outputs, states = self.rnn(inputs, states)
        return self.head(outputs), states


def main(program, text, steps=200):
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        flags = ["--data", text, "--device", "cpu", "--report-every", 1, "--json"]
        # An update that is too small for any weight leaves them as they began.
        still = ["--lr", "1e-30", "--set", "steps=1"]
        gatescan(program, "train", "text", *flags, *still, "--out", place / "initial")
        gatescan(program, "train", "text", *flags, "--set", f"steps={steps}", "--out", place / "run")
        weights, description = load(place / "initial" / "model.safetensors")
        lines = (place / "run" / "metrics.jsonl").read_text().splitlines()
    ours = [line["loss"] for line in map(json.loads, lines) if "step" in line]

    vocabulary = ["", *description["preparation"]["vocabulary"]["entries"]]
    numbers = {character: number for number, character in enumerate(vocabulary)}
    characters = Path(text).read_bytes().decode()
    # Halves away from zero, as Rust rounds.
    count = len(characters) - int(len(characters) * 0.05 + 0.5)
    tokens = torch.tensor([numbers[character] for character in characters[:count]])
    length = (count - 1) // STREAMS
    inputs = tokens[: STREAMS * length].view(STREAMS, length)
    targets = tokens[1 : STREAMS * length + 1].view(STREAMS, length)

    network = Network(weights, len(vocabulary))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.002)
    states, theirs = None, []
    for step in range(steps):
        chunk = slice(step * CHUNK, (step + 1) * CHUNK)
        outputs, states = network(inputs[:, chunk], states)
        loss = nn.functional.cross_entropy(outputs.flatten(0, 1), targets[:, chunk].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(trained, 5.0)
        optimizer.step()
        states = tuple(state.detach() for state in states)
        theirs.append(loss.item())

    assert len(ours) == len(theirs) == steps, (len(ours), len(theirs))
    apart = [abs(here - there) for here, there in zip(ours, theirs)]
    for step in sorted({1, 2, 10, 50, 100, steps} & set(range(1, steps + 1))):
        print(f"step {step:4}  gatescan {ours[step - 1]:.6f}  PyTorch {theirs[step - 1]:.6f}  apart {apart[step - 1]:.1e}")
    worst = max(apart)
    print(f"worst of {steps} steps: {worst:.1e} at step {apart.index(worst) + 1}")
    if not worst <= BOUND:
        sys.exit(f"the losses are more than {BOUND} apart")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
