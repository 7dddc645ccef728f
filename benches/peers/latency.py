#!/usr/bin/env python3
"""Latency of one time step of one sequence with carried states: gatescan, PyTorch in eager mode, TorchScript and ONNX Runtime, in turn on the same machine."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
SHAPES = "lstm-1-1-28-32,lstm-1-1-28-128,gru-1-1-28-128,lstm2-1-1-64-256,lstm-1-1-512-512"
CLASSES = 10
WARM_UP = 1000


def parts(shape):
    """Cell, layers, inputs and hidden units of CELL-1-1-I-H."""
    cell, batch, steps, inputs, hidden = shape.split("-")
    if (batch, steps) != ("1", "1"):
        sys.exit(f"{shape}: a latency is that of one step of one sequence: CELL-1-1-I-H")
    layers = int(cell.lstrip("rnnlstmgru") or 1)
    return cell.rstrip("0123456789"), layers, int(inputs), int(hidden)


def network(shape):
    """A module that takes a step and the states, and returns the outputs and the states."""
    import torch

    cell, layers, inputs, hidden = parts(shape)
    kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]

    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = kind(inputs, hidden, layers)
            self.head = torch.nn.Linear(hidden, CLASSES)

        def forward(self, x, h, c):
            y, (h, c) = self.cell(x, (h, c))
            return self.head(y[0]), h, c

    class StepWithoutC(Step):
        def forward(self, x, h):
            y, h = self.cell(x, h)
            return self.head(y[0]), h

    torch.manual_seed(0)
    module = (Step if cell == "lstm" else StepWithoutC)().eval()
    states = [torch.zeros(layers, 1, hidden) for _ in range(2 if cell == "lstm" else 1)]
    return module, states


def eager(shape):
    """A function that takes a step, in eager mode."""
    import torch

    module, states = network(shape)
    torch.set_num_threads(1)

    def step(row):
        nonlocal states
        with torch.inference_mode():
            outputs, *states = module(torch.from_numpy(row), *states)
        return outputs.numpy()

    return step


def torchscript(shape):
    """A function that takes a step by a traced and frozen module."""
    import torch

    module, states = network(shape)
    torch.set_num_threads(1)
    example = (torch.zeros(1, 1, parts(shape)[2]), *states)
    traced = torch.jit.freeze(torch.jit.trace(module, example))

    def step(row):
        nonlocal states
        with torch.inference_mode():
            outputs, *states = traced(torch.from_numpy(row), *states)
        return outputs.numpy()

    return step


def onnxruntime(shape):
    """A function that takes a step by ONNX Runtime, with the operators LSTM, GRU or RNN."""
    import numpy
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    cell, layers, inputs, hidden = parts(shape)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    names = ["h", "c"] if cell == "lstm" else ["h"]
    draw = numpy.random.default_rng(0)
    limit = hidden**-0.5
    constants, nodes = [], []

    def constant(name, *size):
        values = draw.uniform(-limit, limit, size).astype(numpy.float32)
        constants.append(numpy_helper.from_array(values, name))
        return name

    constants.append(numpy_helper.from_array(numpy.array([1, hidden], numpy.int64), "row"))
    before, after, last = [], [], "x"
    for layer in range(layers):
        width = inputs if layer == 0 else hidden
        own = [f"{name}{layer}" for name in names]
        weights = [
            constant(f"w{layer}", 1, gates * hidden, width),
            constant(f"r{layer}", 1, gates * hidden, hidden),
            constant(f"b{layer}", 1, 2 * gates * hidden),
        ]
        outputs = [f"y{layer}", *(f"{name}_after" for name in own)]
        options = {"linear_before_reset": 1} if cell == "gru" else {}
        nodes.append(helper.make_node(cell.upper(), [last, *weights, "", *own], outputs, hidden_size=hidden, **options))
        before += own
        after += outputs[1:]
        nodes.append(helper.make_node("Squeeze", [outputs[0], "directions"], [f"s{layer}"]))
        last = f"s{layer}"
    constants.append(numpy_helper.from_array(numpy.array([1], numpy.int64), "directions"))
    nodes.append(helper.make_node("Reshape", [last, "row"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", constant("head", hidden, CLASSES), constant("bias", CLASSES)], ["out"]))
    info = helper.make_tensor_value_info
    state = [1, 1, hidden]
    graph = helper.make_graph(
        nodes,
        "step",
        [info("x", TensorProto.FLOAT, [1, 1, inputs]), *(info(name, TensorProto.FLOAT, state) for name in before)],
        [info("out", TensorProto.FLOAT, [1, CLASSES]), *(info(name, TensorProto.FLOAT, state) for name in after)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    states = {name: numpy.zeros(state, numpy.float32) for name in before}

    def step(row):
        nonlocal states
        outputs, *rest = session.run(None, {"x": row, **states})
        states = dict(zip(before, rest))
        return outputs

    return step


PEERS = {"eager": eager, "torchscript": torchscript, "onnxruntime": onnxruntime}


def measure_peer(peer, shape, seconds):
    """Percentiles of the microseconds of a step."""
    import numpy

    step = PEERS[peer](shape)
    rows = numpy.random.default_rng(1).uniform(-1, 1, (64, 1, 1, parts(shape)[2])).astype(numpy.float32)
    for number in range(WARM_UP):
        step(rows[number % len(rows)])
    times, clock = [], time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    while clock() < end or len(times) < 1000:
        row = rows[len(times) % len(rows)]
        begin = clock()
        step(row)
        times.append((clock() - begin) / 1e3)
    times = numpy.sort(numpy.array(times))
    median, p90, p99 = numpy.quantile(times, [0.5, 0.9, 0.99])
    return {"shape": shape, "device": peer, "us": median, "us_p90": p90, "us_p99": p99, "steps": len(times)}


def run(command):
    """The one JSON line that a command prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatescan", default=HERE.parents[1] / "target/release/gatescan", help="the program; the release build by default")
    parser.add_argument("--shape", default=SHAPES, help="names, with commas between them")
    parser.add_argument("--peers", default=",".join(PEERS), help="with commas between them; needs torch, onnx and onnxruntime")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement of a round")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure_peer(options.one, options.shape, options.seconds)))
        return
    seconds = ["--seconds", str(options.seconds)]
    for shape in options.shape.split(","):
        ours = [str(options.gatescan), "bench", "latency", "--json", "--device", "cpu", "--shape", shape, *seconds]
        commands = {"gatescan": ours}
        for peer in options.peers.split(","):
            commands[peer] = [sys.executable, __file__, "--one", peer, "--shape", shape, *seconds]
        # Each peer in a process of its own, in turn with the others.
        rounds = [{name: run(command) for name, command in commands.items()} for _ in range(options.rounds)]
        for name in commands:
            row = {"shape": shape, "program": name}
            for part in ("us", "us_p90", "us_p99"):
                row[part] = statistics.median(found[name][part] for found in rounds)
            row["us_least"] = min(found[name]["us"] for found in rounds)
            row["us_most"] = max(found[name]["us"] for found in rounds)
            if options.json:
                print(json.dumps(row), flush=True)
                continue
            times = f"median {row['us']:8.2f} ({row['us_least']:.2f} to {row['us_most']:.2f})"
            print(f"{shape:<20} {name:<12} {times:<36} p90 {row['us_p90']:8.2f}  p99 {row['us_p99']:8.2f} µs", flush=True)


main()
