#!/usr/bin/env python3
"""Training and sampling a character-level language model, gatescan and PyTorch in turn, A B A B, on the same machine: medians and ratios.

The recipe `text`, but for two biases a layer, so that the networks are the same: two layers of LSTM 128 over one-hot characters, a fifth
of what they emit dropped, batches of 50 streams, 50 characters an update, Adam, gradients clamped; 65 characters and the unknown one."""
import argparse
import json
import math
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
LAYERS, HIDDEN, STREAMS, CHUNK, CHARACTERS = 2, 128, 50, 50, 65
RATES = ["train", "sample"]


def made_up(count):
    """A text of so many characters, 65 different ones, drawn by a linear congruential generator."""
    word, text = 1, bytearray()
    for _ in range(count):
        word = (word * 6364136223846793005 + 1442695040888963407) % 2**64
        text.append(48 + (word >> 33) % CHARACTERS)
    return bytes(text)


def run(command):
    """Seconds that the command takes, and what it prints."""
    start = time.perf_counter()
    try:
        run = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")
    if run.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{run.stderr}")
    return time.perf_counter() - start, run.stdout


def gatescan(options, place, out):
    """Characters a second of training, in a second epoch, and of sampling, without the start."""
    device = ["--device", options.device]
    flags = ["--data", place / "text.txt", "--epochs", 2, "--out", out, "--json", "--set", "data.test_fraction=0.0"]
    biases = [part for layer in range(LAYERS) for part in ("--set", f"network.layer.{layer}.bias=double")]
    _, lines = run([options.gatescan, "train", "text", *device, *flags, *biases])
    epoch = json.loads(lines.splitlines()[-1])
    sample = [options.gatescan, "sample", out, *device, "--temperature", 0.8, "--length"]
    (start, _), (whole, _) = run([*sample, 1]), run([*sample, options.length])
    model = (out / "model.safetensors").read_bytes()
    tensors = json.loads(model[8 : 8 + struct.unpack("<Q", model[:8])[0]])
    return {
        "parameters": sum(math.prod(entry["shape"]) for name, entry in tensors.items() if name != "__metadata__"),
        "train": epoch["sequences_per_second"] * CHUNK * options.iterations,
        "sample": (options.length - 1) / max(whole - start, 1e-9),
    }


def pytorch(options):
    """The same by PyTorch, in this process."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self, vocabulary):
            super().__init__()
            self.vocabulary = vocabulary
            self.rnn = nn.LSTM(vocabulary, HIDDEN, LAYERS, dropout=0.2)
            self.dropout, self.head = nn.Dropout(0.2), nn.Linear(HIDDEN, vocabulary)

        def forward(self, tokens, states):
            outputs, states = self.rnn(nn.functional.one_hot(tokens, self.vocabulary).float(), states)
            return self.head(self.dropout(outputs)), states

    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.peer_device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    text = made_up(STREAMS * CHUNK * options.iterations + 1)
    tokens = (torch.tensor(list(text)) - 47).to(device)
    inputs, targets = (part.view(STREAMS, -1).T.contiguous() for part in (tokens[:-1], tokens[1:]))
    torch.manual_seed(0)
    network = Network(CHARACTERS + 1).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)

    def epoch():
        states, losses = None, []
        for x, y in zip(inputs.split(CHUNK), targets.split(CHUNK)):
            outputs, states = network(x, states)
            loss = nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(network.parameters(), 5.0)
            optimizer.step()
            states = tuple(state.detach() for state in states)
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    def sample(length):
        token, states, written = tokens[:1], None, []
        for _ in range(length):
            logits, states = network(token[None], states)
            token = torch.multinomial(torch.softmax(logits[0, 0] / 0.8, 0), 1)
            written.append(token.item())
        return written

    def rate(count, work):
        wait()
        start = time.perf_counter()
        work()
        wait()
        return count / (time.perf_counter() - start)

    epoch()
    train = rate(STREAMS * CHUNK * options.iterations, epoch)
    network.eval()
    with torch.inference_mode():
        sample(100)
        sampled = rate(options.length, lambda: sample(options.length))
    kind = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name()
    return {
        "device": f"pytorch {torch.__version__} {device.type}, {kind}, eager",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "train": train,
        "sample": sampled,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gatescan", default=HERE.parents[1] / "target/release/gatescan", help="the program; the release build by default")
    parser.add_argument("--device", default="auto", help="gatescan's, as `gatescan devices` lists them")
    parser.add_argument("--python", default=sys.executable, help="the Python that has PyTorch; this one by default")
    parser.add_argument("--peer-device", default="cpu", choices=["cpu", "cuda"], help="PyTorch's")
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; its own choice by default")
    parser.add_argument("--iterations", type=int, default=100, help="updates that are timed, after as many")
    parser.add_argument("--length", type=int, default=10000, help="characters to sample")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1 or options.iterations < 1 or options.length < 2:
        parser.error("--rounds and --iterations must be at least 1, and --length at least 2")
    if options.peer:
        print(json.dumps(pytorch(options)))
        return
    theirs = [options.python, __file__, "--peer", "--peer-device", options.peer_device]
    theirs += ["--iterations", options.iterations, "--length", options.length]
    theirs += ["--threads", options.threads] if options.threads else []
    rounds = []
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "text.txt").write_bytes(made_up(STREAMS * CHUNK * options.iterations + 1))
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            ours = gatescan(options, place, place / f"run{number}")
            rounds.append((ours, json.loads(run(theirs)[1])))
    a, b = rounds[0]
    if a["parameters"] != b["parameters"]:
        sys.exit(f"the networks have {a['parameters']} and {b['parameters']} parameters")
    row = {"peer": b["device"], "rounds": len(rounds), "parameters": a["parameters"]}
    for rate in RATES:
        ratios = [a[rate] / b[rate] for a, b in rounds]
        row[f"{rate}_characters_per_s"] = statistics.median(a[rate] for a, _ in rounds)
        row[f"peer_{rate}_characters_per_s"] = statistics.median(b[rate] for _, b in rounds)
        row[f"{rate}_ratio"] = statistics.median(ratios)
        row[f"{rate}_ratio_least"], row[f"{rate}_ratio_most"] = min(ratios), max(ratios)
    if options.json:
        print(json.dumps(row))
        return
    print(f"beside {row['peer']}; {row['rounds']} rounds, {row['parameters']} parameters")
    print(f"{'CHARACTERS/s':<14}{'GATESCAN':>10}{'PEER':>10}  RATIO")
    for rate in RATES:
        ours, peer = row[f"{rate}_characters_per_s"], row[f"peer_{rate}_characters_per_s"]
        spread = f"[{row[f'{rate}_ratio_least']:.2f}, {row[f'{rate}_ratio_most']:.2f}]"
        print(f"{rate:<14}{ours:>10.0f}{peer:>10.0f}  {row[f'{rate}_ratio']:.2f}x {spread}")


main()
