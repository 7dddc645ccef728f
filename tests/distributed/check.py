"""Trains over MPI and compares with one process: `check.py PROGRAM MPIRUN`.

Needs Python 3.11 or newer and nothing else.
"""

import json
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
TIMEOUT = 300
# Of a run in which signals come: some seconds.
LONG_EPOCHS = 1500
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


def heads(place):
    """Ragged sequences with a class and a value at each step."""
    recipe = ragged(place)
    draw = random.Random(7)
    values = [draw.uniform(-1, 1) for _ in range(117 * 20)]
    write_npy(place / "arrays" / "values.npy", (117, 20, 1), values, "f")
    for line in ['labels = "labels"\n', "classes = 3\n", 'loss = "cross-entropy"\n']:
        assert line in recipe, line
        recipe = recipe.replace(line, "")
    for name, loss, weight in [("labels", "cross-entropy", 0.5), ("values", "huber", 2.0)]:
        loss = "{ huber = { delta = 0.5 } }" if loss == "huber" else f'"{loss}"'
        recipe += f'[[network.heads]]\nname = "{name}"\ntargets = ["{name}"]\n'
        recipe += f"loss = {loss}\nweight = {weight}\n"
    return recipe


def command(ranks, *arguments):
    """The command that trains on so many ranks, or in one process without MPI for 0."""
    train = [PROGRAM, "train", *map(str, arguments), "--device", "cpu"]
    if ranks == 0:
        return train
    options = ["--allow-run-as-root", "--oversubscribe"] if IS_OPEN_MPI else []
    return [MPIRUN, *options, "-n", str(ranks), *train, "--distributed"]


def own_processes(place):
    """The ids of the trained processes whose directory is `place`."""
    own = []
    for pid in os.listdir("/proc"):
        try:
            is_own = os.readlink(f"/proc/{pid}/exe") == PROGRAM
            if is_own and os.readlink(f"/proc/{pid}/cwd") == str(place):
                own.append(int(pid))
        except OSError:
            continue
    return own


def start(place, ranks, *arguments):
    """Starts the processes in the background. Their messages go to a file, and so does their
    output, where MPICH reports a process that was killed."""
    with open(place / "messages", "w") as messages:
        return subprocess.Popen(
            command(ranks, *arguments), cwd=place, stdout=messages, stderr=messages
        )


def ended(process, place, what, timeout=20):
    """The exit code of processes that must end in time, and their messages."""
    try:
        code = process.wait(timeout=timeout)
        # Some end a moment later than mpirun.
        deadline = time.time() + 5
        while own_processes(place) and time.time() < deadline:
            time.sleep(0.02)
        left = own_processes(place)
    except subprocess.TimeoutExpired:
        left = [process.pid, *own_processes(place)]
    messages = (place / "messages").read_text()
    if left:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        sys.exit(f"{what}: {len(left)} processes are left\n{messages}")
    return code, messages


def train(place, ranks, *arguments, code=0):
    """Trains with an exit code that must be `code`, and returns the messages."""
    what = f"{ranks} ranks, {arguments}"
    found, messages = ended(start(place, ranks, *arguments), place, what, TIMEOUT)
    if found != code:
        sys.exit(f"{what}: exit code {found}\n{messages}")
    return messages


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


def wait_for_step(run, process):
    """Waits until the run has saved a step in training."""
    while not list((run / "checkpoints").glob("*.safetensors")) and process.poll() is None:
        time.sleep(0.02)


def check_kills(place, expected):
    """Kills one of 4 ranks at random moments with SIGKILL. All must end within seconds."""
    in_training = 0
    for n in range(KILLS):
        run = place / f"killed-{n}"
        process = start(place, 4, "recipe.toml", "--out", run)
        # Every second one while the processes start, the others in training.
        if n % 2 == 0:
            wait_for_step(run, process)
        time.sleep(random.uniform(0.0, 1.5))
        own = own_processes(place)
        if own:
            os.kill(random.choice(own), signal.SIGKILL)
            code, messages = ended(process, place, "a rank was killed")
            assert code != 0, "a rank was killed, and mpirun returns 0"
            assert re.search("signal 9|signal: 9|KILLED", messages), messages
            assert "panicked" not in messages, messages
            in_training += (run / "recipe.toml").exists()
        else:
            ended(process, place, "no rank was there to be killed")
        if not (run / "recipe.toml").exists():
            train(place, 4, "recipe.toml", "--out", run)
        else:
            train(place, 4, "--resume", run)
        check_equal(run, expected, f"killed and resumed, {n + 1} of {KILLS}")
    assert KILLS == 0 or in_training > 0, "no rank was killed in training"


def check_signal(place, expected):
    """SIGTERM to mpirun saves the run."""
    run = place / "stopped"
    process = start(place, 2, "recipe.toml", "--out", run)
    wait_for_step(run, process)
    process.send_signal(signal.SIGTERM)
    _, messages = ended(process, place, "SIGTERM")
    step = stopped_step(run, messages)
    train(place, 2, "--resume", run)
    check_equal(run, expected, f"stopped by SIGTERM at step {step} and resumed")


def stopped_step(run, messages):
    """The step of the checkpoint of a run that was stopped after an update."""
    stopped = re.findall(r"at step (\d+) and saved the model as it is", messages)
    assert len(stopped) == 1, f"the run did not stop after an update:\n{messages}"
    step = int(stopped[0])
    checkpoint(run, step)
    model = (run / "model.safetensors").stat().st_mtime_ns
    newest = max(file.stat().st_mtime_ns for file in (run / "checkpoints").iterdir())
    assert newest - model < 10**9, "the model is older than the checkpoint"
    return step


def check_unread_output(place):
    """Open MPI's mpirun reads nothing while it ends its processes, and what stands between it and
    them holds some KiB: a run with more lines is saved too."""
    memory = pathlib.Path("/dev/shm")
    # Without a disk to wait for, there are more lines.
    place_of_run = memory if os.access(memory, os.W_OK) else place
    with tempfile.TemporaryDirectory(prefix="gatescan-mpi-", dir=place_of_run) as directory:
        for n in range(3):
            run = pathlib.Path(directory) / f"run-{n}"
            often = ["--report-every", 1, "--set", "checkpoint.keep=1"]
            process = start(place, 2, "recipe.toml", "--out", run, *often)
            wait_for_step(run, process)
            process.send_signal(signal.SIGTERM)
            _, messages = ended(process, place, "SIGTERM with much output")
            stopped_step(run, messages)
    print("ok    stopped by SIGTERM while nobody reads its output", flush=True)


def check_full_disk(place):
    """A run on a full disk says so once, continues, and ends once there is room. Only root can
    mount a small disk."""
    disk, recipe = place / "disk", place / "short.toml"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        print("skip  a full disk, as no disk can be mounted", flush=True)
        return
    try:
        text = (place / "recipe.toml").read_text()
        recipe.write_text(text.replace(f"epochs = {LONG_EPOCHS}", "epochs = 60"))
        process = start(place, 2, "short.toml", "--out", disk / "run")
        deadline = time.time() + TIMEOUT
        while "No space left" not in (place / "messages").read_text() and time.time() < deadline:
            time.sleep(0.1)
        # For good: the run goes on while room is made.
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        code, messages = ended(process, place, "a full disk", TIMEOUT)
        assert code == 0 and messages.count("No space left") == 1, messages
        assert "the run continues and tries again" in messages, messages
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    print("ok    a full disk, with one message", flush=True)


def check_preemption(place):
    """A SIGTERM that a scheduler sends to the processes themselves ends all with exit code 0."""
    run = place / "preempted"
    process = start(place, 4, "recipe.toml", "--out", run)
    wait_for_step(run, process)
    for pid in own_processes(place):
        os.kill(pid, signal.SIGTERM)
    code, messages = ended(process, place, "SIGTERM to the processes")
    assert code == 0, f"exit code {code}\n{messages}"
    print(f"ok    preempted at step {stopped_step(run, messages)}, with exit code 0", flush=True)


def check_failure(place):
    """A loss that is not finite ends all, and the message says what is saved."""
    run = place / "failed"
    message = train(place, 2, "recipe.toml", "--lr", "1e38", "--out", run, code=1)
    assert message.count("error: ") == 1, message
    assert message.count("nothing is saved yet") == message.count("all processes end") == 1, message
    print("ok    a loss that is not finite, with one message", flush=True)


def check_refusals(place):
    message = train(place, 3, "recipe.toml", "--out", place / "three", code=2)
    assert message.count("3 processes cannot share a batch") == 1, message
    message = train(place, 2, "none.toml", "--out", place / "none", code=1)
    assert message.count("error: ") == 1, message
    for wrong in ["--bogus", "--set=network.layer.0.cell=none"]:
        message = train(place, 2, "recipe.toml", wrong, code=2)
        # MPICH does not end the others for an error that is found before MPI is started.
        most = 1 if IS_OPEN_MPI or "network" in wrong else 2
        assert 1 <= message.count("error: ") <= most, message
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
            check_bench(place)
            check_failure(place)
            check_ends(place)
        # Allreduce adds in another order, so the loss is equal up to rounding.
        if name != "ragged":
            train(place, 2, "recipe.toml", "--out", place / "mpi", "--reduce", "mpi")
            check_close(place / "mpi", place / "alone", name)


def check_ends(place):
    """Signals in a run of some seconds."""
    recipe = place / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 4", f"epochs = {LONG_EPOCHS}"))
    train(place, 0, "recipe.toml", "--out", place / "long")
    expected = checkpoint(place / "long")
    check_signal(place, expected)
    check_unread_output(place)
    check_preemption(place)
    check_full_disk(place)
    check_kills(place, expected)


def check_bench(place):
    """Rows of the processes that were started and of some of them, as JSON, once each."""
    bench = [PROGRAM, "bench", "distributed", "--device", "cpu", "--seconds", "0", "--json"]

    def run(ranks, *arguments, shape="gru-16-5-3-6", code=0):
        launcher = command(ranks)[: -len([PROGRAM, "train", "--device", "cpu", "--distributed"])]
        ended = subprocess.run(
            [*launcher, *bench, "--shape", shape, *arguments],
            cwd=place, capture_output=True, text=True, timeout=TIMEOUT,
        )
        assert ended.returncode == code, ended
        return ended

    rows = [json.loads(line) for line in run(4).stdout.splitlines()]
    sizes = [(row["scaling"], row["ranks"], row["batch"]) for row in rows if "ranks" in row]
    strong = [("strong", ranks, 16) for ranks in [1, 2, 4]]
    weak = [("weak", ranks, 16 * ranks) for ranks in [1, 2, 4]]
    assert sizes == strong + weak, sizes
    assert rows[-1]["latency_us"] > 0 and rows[-1]["gbytes_per_s"] > 0, rows[-1]
    rows = [json.loads(line) for line in run(4, "--ranks", "2").stdout.splitlines()]
    assert [row["ranks"] for row in rows if "ranks" in row] == [1, 2, 1, 2], rows
    for ranks, more, shape, part in [
        (1, [], "gru-16-5-3-6", "there is only one process"),
        (2, ["--ranks", "4"], "gru-16-5-3-6", "4 is not a number of processes that can be"),
        (2, [], "gru-6-5-3-6", "batch_size is 6"),
    ]:
        message = run(ranks, *more, shape=shape, code=2).stderr
        assert message.count(part) == message.count("error: ") == 1, message
    print("ok    bench distributed", flush=True)


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


def check_close(run, expected, name):
    """Compares the loss of each epoch."""
    losses = []
    for place in [run, expected]:
        lines = (place / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        losses.append([entry["train_loss"] for entry in records if "train_loss" in entry])
    assert losses[0] and len(losses[0]) == len(losses[1]), losses
    for value, reference in zip(*losses):
        assert abs(value - reference) <= 1e-4 * abs(reference), losses
    print(f"ok    {name} with Allreduce", flush=True)


def main():
    start = time.time()
    for recipe in [mnist, text, ragged, heads]:
        check(recipe)
    print(f"distributed: passed in {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
