"""Trains an LSTM on long sequences with and without `recompute = "sqrt"`.

python benches/long.py target/release/gatescan [--rounds 2] [--steps 10000] [--batch 32] [--hidden 256]

One training step of a batch of random numbers, on the CPU. Prints the time of the step and the largest
resident memory of the process, in turn, and compares the parameters afterwards: the exit code is 1
where a bit differs. Needs NumPy and safetensors.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import numpy
from safetensors.numpy import load_file

RECIPE = """
name = "long"
seed = 0
epochs = 1
batch_size = {batch}
[data]
kind = "npy"
path = "long.npz"
inputs = "x"
labels = "y"
test_fraction = 0
[[network.layer]]
cell = "lstm"
hidden_size = {hidden}
[network.head]
loss = "cross-entropy"
[optimizer]
kind = "adam"
lr = 0.001
"""


def train(program: str, folder: str, recompute: str, round_number: int) -> tuple[float, int, str]:
    """Returns the seconds of the step, the KiB of the process and its model."""
    out = os.path.join(folder, f"{recompute}-{round_number}")
    command = [program, "train", "long.toml", "--device", "cpu", "--json", "--out", out]
    command += ["--set", f"recompute={recompute}"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{output}")
    rows = [json.loads(line) for line in output.splitlines()]
    seconds = next(row["seconds"] for row in rows if "seconds" in row)
    return seconds, usage.ru_maxrss, os.path.join(out, "model.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=256)
    options = parser.parse_args()
    program = os.path.abspath(options.program)
    with tempfile.TemporaryDirectory() as folder:
        random = numpy.random.default_rng(0)
        x = random.standard_normal((options.batch, options.steps, 1)).astype("float32")
        y = numpy.arange(options.batch) % 3
        numpy.savez(os.path.join(folder, "long.npz"), x=x, y=y)
        with open(os.path.join(folder, "long.toml"), "w") as file:
            file.write(RECIPE.format(batch=options.batch, hidden=options.hidden))
        times: dict[str, list[float]] = {"off": [], "sqrt": []}
        models = []
        for round_number in range(options.rounds):
            for kind, measured in times.items():
                seconds, kib, model = train(program, folder, kind, round_number)
                measured.append(seconds)
                models.append(load_file(model))
                print(f"{kind:5} {seconds:8.2f} s {kib / 1024:8.0f} MiB", flush=True)
    median = {kind: statistics.median(each) for kind, each in times.items()}
    print(f"sqrt takes {median['sqrt'] / median['off']:.2f} times as long")
    first = {name: values.tobytes() for name, values in models[0].items()}
    same = all(
        {name: values.tobytes() for name, values in model.items()} == first for model in models
    )
    print("the parameters are the same, bit for bit" if same else "the parameters DIFFER")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
