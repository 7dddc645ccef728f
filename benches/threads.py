"""Times training steps on the CPU with several numbers of threads.

python benches/threads.py target/release/gatescan [--threads 2,4,8,16] [--rounds 3] [SHAPE ...]

The first number of threads is the reference. The numbers are measured in turn, and the exit code is
1 where the median time of a shape is more than 10 % above that of the reference.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

SHAPES = [
    "rnn-150-28-28-150",
    "lstm-128-28-28-128",
    "gru-128-28-28-128",
    "lstm-32-64-512-512",
    "lstm-4-28-28-16",
]


def measure(program: str, threads: int, shape: str, seconds: float) -> float:
    """Returns the median seconds of a training step."""
    command = [program, "bench", "step", "--device", "cpu", "--json"]
    command += ["--seconds", str(seconds), "--shape", shape]
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    output = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    row = json.loads(output.splitlines()[0])
    return 1e-3 * float(row["train_ms"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("shapes", nargs="*", default=SHAPES)
    parser.add_argument("--threads", default="2,4,8,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    counts = [int(count) for count in options.threads.split(",")]
    slower = False
    for shape in options.shapes:
        times: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(options.rounds):
            for count in counts:
                times[count].append(measure(options.program, count, shape, options.seconds))
        medians = {count: statistics.median(each) for count, each in times.items()}
        ratios = {count: median / medians[counts[0]] for count, median in medians.items()}
        cells = [f"{count}: {1e3 * medians[count]:.3f} ms x{ratios[count]:.2f}" for count in counts]
        print(f"{shape:24} {'   '.join(cells)}", flush=True)
        slower |= any(ratio > 1.1 for ratio in ratios.values())
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
