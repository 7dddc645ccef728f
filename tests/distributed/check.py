"""Trains over MPI and compares with one process: `check.py PROGRAM MPIRUN`.

Needs Python 3.11 or newer and nothing else.
"""

import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM, MPIRUN = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2]
IS_OPEN_MPI = "openmpi" in MPIRUN
# A run that takes longer hangs.
TIMEOUT = 120
KILLS = int(os.environ.get("GATESCAN_KILLS", "2"))

LAYER = """
[[network.layer]]
cell = "lstm"
hidden_size = {hidden}
bias = "single"
forget_bias = 1.0
init = "orthogonal"
dropout = {{ output_keep_prob = 0.8 }}
"""

END = """
[network.head]
reads = "{reads}"
loss = "cross-entropy"
init = "glorot"

[optimizer]
kind = "adam"
lr = 0.01
beta1 = 0.9
beta2 = 0.999
epsilon = 1e-8
form = "torch"

[parallel]
micro_batches = 8

[checkpoint]
every_steps = 5
keep = 100
"""


def write_npy(path, shape, values, letter):
    """Writes a NumPy array of f32 or i32."""
    kind = {"f": "<f4", "i": "<i4"}[letter]
    header = str({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    header += b" " * ((-len(header) - 11) % 64) + b"\n"
    data = struct.pack(f"<{len(values)}{letter}", *values)
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)


def mnist(_):
    data = ROOT / "data" / "mnist"
    return (
        f'name = "mnist"\nseed = 1\nepochs = 1\nsteps = 12\nbatch_size = 64\nclip_norm = 0.5\n'
        f'[data]\nkind = "idx"\npath = "{data}"\nclasses = 10\nscale = 3.25\n'
        "validation_size = 59000\n" + LAYER.format(hidden=24) + END.format(reads="last")
    )


def text(place):
    draw = random.Random(3)
    words = ["gate", "scan", "rank", "tree", "sum", "of", "the", "."]
    (place / "input.txt").write_text(" ".join(draw.choice(words) for _ in range(4000)))
    return (
        'name = "text"\nseed = 1\nepochs = 2\nbatch_size = 16\nbptt_steps = 40\nkeep_best = true\n'
        '[data]\nkind = "text"\npath = "input.txt"\nunit = "char"\nstreams = 16\n'
        'test_fraction = 0.1\n[network]\ninput = "one-hot"\n'
        + 2 * LAYER.format(hidden=16) + END.format(reads="every")
    )


def ragged(place):
    draw = random.Random(5)
    data, count = place / "arrays", 117
    data.mkdir()
    values = [draw.uniform(-1, 1) for _ in range(count * 20 * 3)]
    write_npy(data / "inputs.npy", (count, 20, 3), values, "f")
    # Some steps have no class; the first of a sequence has one.
    labels = [draw.randrange(-1 if n % 20 else 0, 3) for n in range(count * 20)]
    write_npy(data / "labels.npy", (count, 20), labels, "i")
    lengths = [draw.randrange(1, 21) for _ in range(count)]
    write_npy(data / "lengths.npy", (count,), lengths, "i")
    return (
        'name = "ragged"\nseed = 1\nepochs = 4\nbatch_size = 16\nclip_norm = 0.2\n'
        '[data]\nkind = "npy"\npath = "arrays"\ninputs = "inputs"\nlabels = "labels"\n'
        'lengths = "lengths"\nclasses = 3\ntest_fraction = 0.3\n'
        + LAYER.format(hidden=12) + END.format(reads="every")
    )


def command(ranks, *arguments):
    """The command that trains on so many ranks, or in one process without MPI for 0."""
    train = [PROGRAM, "train", *map(str, arguments), "--device", "cpu"]
    if ranks == 0:
        return train
    options = ["--allow-run-as-root", "--oversubscribe"] if IS_OPEN_MPI else []
    return [MPIRUN, *options, "-n", str(ranks), *train, "--distributed"]


def train(place, ranks, *arguments, code=0):
    done = subprocess.run(
        command(ranks, *arguments), cwd=place, timeout=TIMEOUT, capture_output=True, text=True
    )
    if done.returncode != code:
        sys.exit(f"{ranks} ranks, {arguments}: exit code {done.returncode}\n{done.stderr}")
    return done.stderr


def checkpoint(run, step=None):
    """The bytes of a run's newest checkpoint, or that of a step."""
    files = sorted((run / "checkpoints").glob("*.safetensors"), key=lambda file: file.name)
    if step is not None:
        files = [file for file in files if int(re.search(r"\d+", file.name)[0]) == step]
    assert files, f"{run} has no checkpoint"
    return files[-1].read_bytes()


def check_equal(run, expected, what):
    if checkpoint(run) != expected:
        sys.exit(f"{what}: another checkpoint than that of one process")
    print(f"ok    {what}", flush=True)


def kill_one(place, ranks, *arguments):
    """Kills one rank at a random moment with SIGKILL. All must end within seconds."""
    process = subprocess.Popen(
        command(ranks, *arguments), cwd=place, stderr=subprocess.PIPE, text=True
    )
    time.sleep(random.uniform(0.2, 3.0))
    pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit()]
    own = []
    for pid in pids:
        try:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if line[0].decode() == PROGRAM and str(arguments[-1]).encode() in line:
            own.append(pid)
    if own:
        os.kill(random.choice(own), signal.SIGKILL)
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit("a rank was killed, and the others hang")


def check_kills(place, expected):
    for n in range(KILLS):
        run = place / f"killed-{n}"
        kill_one(place, 4, "recipe.toml", "--out", run)
        if not (run / "recipe.toml").exists():
            train(place, 4, "recipe.toml", "--out", run)
        else:
            train(place, 4, "--resume", run)
        check_equal(run, expected, f"killed and resumed, {n + 1} of {KILLS}")


def check_signal(place, expected):
    """SIGTERM to mpirun saves the run."""
    run = place / "stopped"
    process = subprocess.Popen(
        command(2, "recipe.toml", "--out", run), cwd=place, stderr=subprocess.PIPE, text=True
    )
    while not list((run / "checkpoints").glob("*.safetensors")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    train(place, 2, "--resume", run)
    check_equal(run, expected, "stopped by SIGTERM and resumed")


def check_refusals(place):
    message = train(place, 3, "recipe.toml", "--out", place / "three", code=2)
    assert message.count("3 processes cannot share a batch") == 1, message
    message = train(place, 2, "none.toml", "--out", place / "none", code=1)
    assert message.count("error: ") == 1, message
    message = train(place, 2, "recipe.toml", "--set", "network.layer.0.cell=none", code=2)
    assert message.count("error: ") == 1, message
    (place / "file").write_text("")
    message = train(place, 2, "recipe.toml", "--out", place / "file" / "run", code=1)
    assert message.count("error: ") == 1, message
    print("ok    refusals, with one message each", flush=True)


def check(recipe):
    with tempfile.TemporaryDirectory(prefix="gatescan-mpi-") as directory:
        place = pathlib.Path(directory)
        (place / "recipe.toml").write_text(recipe(place))
        name = recipe.__name__
        train(place, 0, "recipe.toml", "--out", place / "alone")
        expected = checkpoint(place / "alone")
        for ranks in [1, 2, 4] + ([8] if name == "ragged" else []):
            train(place, ranks, "recipe.toml", "--out", place / f"ranks-{ranks}")
            check_equal(place / f"ranks-{ranks}", expected, f"{name} on {ranks} ranks")
        # The files without times are equal too.
        models = {(place / run / "model.safetensors").read_bytes() for run in ["alone", "ranks-4"]}
        assert len(models) == 1, f"{name}: the models differ"
        if name != "mnist":
            resumed(place, expected, name)
        if name == "ragged":
            check_refusals(place)
            check_signal(place, expected)
            check_kills(place, expected)
        # Allreduce adds in another order, so the loss is equal up to rounding.
        train(place, 2, "recipe.toml", "--out", place / "mpi", "--reduce", "mpi")


def resumed(place, expected, name):
    """Resumes from 4 ranks on 2 and then on 1, from checkpoints in the middle of an epoch."""
    run = place / "resumed"
    shutil.copytree(place / "ranks-4", run)
    for ranks, step in [(2, 5), (1, 10)]:
        for file in (run / "checkpoints").glob("*.safetensors"):
            if int(re.search(r"\d+", file.name)[0]) > step:
                file.unlink()
        train(place, ranks, "--resume", run)
        check_equal(run, expected, f"{name} resumed on {ranks} ranks from step {step}")


def main():
    start = time.time()
    for recipe in [mnist, text, ragged]:
        check(recipe)
    print(f"distributed: passed in {time.time() - start:.0f} s")


main()
