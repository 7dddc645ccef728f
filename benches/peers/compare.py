#!/usr/bin/env python3
"""Runs gatescan and PyTorch in turn, A B A B, on the same machine, and prints medians and ratios."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SHAPES = (
    "rnn-150-28-28-150,lstm-128-28-28-128,gru-128-28-28-128,lstm2-64-50-64-256,lstm-32-64-512-512,"
    "lstm-4-28-28-16,lstm-1-1000-8-64,lstm-ragged-128-100-28-128"
)
TIMES = ["train_ms", "forward_ms"]


def measure(command, shape, seconds):
    """The one line that the command prints for a shape."""
    command = [*command, "--shape", shape, "--seconds", str(seconds)]
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")
    if run.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr}")
    return json.loads(run.stdout)


def compare(shape, ours, theirs, options):
    """Medians over the rounds, and the median, least and largest of the rounds' ratios."""
    rounds = []
    for number in range(options.rounds):
        print(f"{shape}: round {number + 1} of {options.rounds}", file=sys.stderr)
        rounds.append([measure(command, shape, options.seconds) for command in (ours, theirs)])
    for a, b in rounds:
        if a["parameters"] != b["parameters"]:
            sys.exit(f"{shape}: the networks have {a['parameters']} and {b['parameters']} parameters")
    row = {"shape": shape, "device": rounds[0][0]["device"], "peer": rounds[0][1]["device"], "rounds": len(rounds)}
    for time in TIMES:
        ratios = [b[time] / a[time] for a, b in rounds]
        row[time] = statistics.median(a[time] for a, _ in rounds)
        row["peer_" + time] = statistics.median(b[time] for _, b in rounds)
        name = time.replace("_ms", "_ratio")
        row[name] = statistics.median(ratios)
        row[name + "_least"], row[name + "_most"] = min(ratios), max(ratios)
    return row


def line(row):
    """Of each step our median, the peer's, and how many times as fast we are."""
    cells = [f"{row['shape']:<26}"]
    for time in TIMES:
        name = time.replace("_ms", "_ratio")
        cells += [f"{row[time]:10.4g}", f"{row['peer_' + time]:10.4g}"]
        cells += [f"{row[name]:6.2f}x [{row[name + '_least']:.2f}, {row[name + '_most']:.2f}]".ljust(22)]
    return "  ".join(cells).rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog="What follows -- goes to pytorch.py, as in: -- --device cuda --graph")
    parser.add_argument("--gatescan", default=HERE.parents[1] / "target/release/gatescan", help="the program; the release build by default")
    parser.add_argument("--device", default="auto", help="gatescan's, as `gatescan devices` lists them")
    parser.add_argument("--python", default=sys.executable, help="the Python that has PyTorch; this one by default")
    parser.add_argument("--shape", default=SHAPES, help="names, with commas between them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement of a round")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("pytorch", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    ours = [str(options.gatescan), "bench", "step", "--json", "--device", options.device]
    theirs = [options.python, str(HERE / "pytorch.py"), *options.pytorch]
    for number, shape in enumerate(options.shape.split(",")):
        row = compare(shape, ours, theirs, options)
        if not options.json and number == 0:
            print(f"gatescan on {row['device']}, beside {row['peer']}; {row['rounds']} rounds")
            titles = ["TRAIN ms", "PEER ms", "RATIO", "FORWARD ms", "PEER ms", "RATIO"]
            widths = [10, 10, -22] * 2
            titles = [title.ljust(-width) if width < 0 else title.rjust(width) for title, width in zip(titles, widths)]
            print("  ".join([f"{'SHAPE':<26}", *titles]).rstrip())
        print(json.dumps(row) if options.json else line(row), flush=True)


main()
