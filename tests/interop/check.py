"""The checks of tests/interop/run: round trips of each format, and differences of outputs."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import keras_models as random_keras_models
import numpy
import onnx
import onnxruntime
import safetensors.torch
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
BOUND = 1e-5
WORST = {}


def gatescan(*arguments, fails=False, prints=False):
    """Runs the program; returns its standard error."""
    run = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if (
        (run.returncode != 0) != fails
        or bool(run.stdout) != prints
        or (fails and run.returncode not in (1, 2))
    ):
        sys.exit(
            f"gatescan {' '.join(map(str, arguments))}: exit code {run.returncode}\n"
            f"{run.stdout}{run.stderr}"
        )
    return run.stderr


def rust(test, directory):
    """Runs one of the ignored tests of main.rs."""
    command = ["cargo", "test", "--quiet", "--test", "interop", "--", "--ignored", "--exact", test]
    env = dict(os.environ, GATESCAN_INTEROP=str(directory))
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if run.returncode != 0 or "1 passed" not in run.stdout:
        sys.exit(f"{' '.join(command)}:\n{run.stdout}{run.stderr}")


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def differ(what, case, ours, theirs, lengths=None):
    """Records the largest difference, at valid steps only if there are lengths."""
    ours, theirs = numpy.asarray(ours), numpy.asarray(theirs)
    assert ours.shape == theirs.shape, f"{what} {case}: {ours.shape} here, {theirs.shape} there"
    apart = numpy.abs(ours - theirs)
    if lengths is not None and apart.ndim == 3:
        apart = apart * (
            numpy.arange(apart.shape[1])[None, :, None] < numpy.asarray(lengths)[:, None, None]
        )
    worst = float(apart.max())
    count, before, name = WORST.get(what, (0, -1.0, ""))
    WORST[what] = (count + 1, max(worst, before), case if worst > before else name)
    if not worst <= BOUND:
        print(f"{what} {case}: {worst:.2e} is beyond {BOUND:.0e}")


def sequences(case):
    name = "inputs" if (case / "inputs.npy").exists() else "tokens"
    return name, numpy.load(case / f"{name}.npy"), numpy.load(case / "lengths.npy")


def export(case, about):
    """Exports a case in every format, and checks that formats that lack an option refuse it."""
    model = case / "model.safetensors"
    gatescan("export", model, "--to", "onnx", "--quiet")
    gatescan("export", model, "--to", "onnx", "--lengths", "-o", case / "lengths.onnx", "--quiet")
    for form in ("pytorch", "keras"):
        if form in about["lacks"]:
            assert "use the ONNX format" in gatescan("export", model, "--to", form, fails=True)
            continue
        gatescan("export", model, "--to", form, "--quiet")


def options(about):
    given = ["--reads", about["reads"], "--loss", about["loss"], "--quiet"]
    if about["cell"]:
        given += ["--cell", about["cell"]]
    return given + ["--one-hot"] * about["one_hot"]


def check_onnx(case):
    name, inputs, lengths = sequences(case)
    for file, ragged in (("model.onnx", False), ("lengths.onnx", True)):
        onnx.checker.check_model(onnx.load(case / file), full_check=True)
        session = onnxruntime.InferenceSession(case / file, providers=["CPUExecutionProvider"])
        feed = {name: inputs}
        if ragged:
            feed["lengths"] = lengths.astype(numpy.int32)
        results = dict(zip((each.name for each in session.get_outputs()), session.run(None, feed)))
        ours = numpy.load(case / ("outputs_ragged.npy" if ragged else "outputs.npy"))
        what = "ONNX Runtime, lengths" if ragged else "ONNX Runtime"
        differ(what, case.name, ours, results["outputs"], lengths if ragged else None)
        if "probabilities" in results:
            powers = numpy.exp(ours - ours.max(-1, keepdims=True))
            expected = powers / powers.sum(-1, keepdims=True)
            if case.name == "labels":
                expected = 1 / (1 + numpy.exp(-ours))
            differ(
                what + ", probabilities",
                case.name,
                expected,
                results["probabilities"],
                lengths if ragged else None,
            )
        if not ragged:
            # Batch and time may have any size.
            few = session.run(["outputs"], {name: inputs[:2, :4]})[0]
            if few.ndim == 3:
                assert few.shape[:2] == (2, 4)


def check_pytorch(case, about):
    _, inputs, lengths = sequences(case)
    network = module(case / "model_pytorch.py").load()
    some = lengths > 0  # PyTorch does not accept empty sequences.
    with torch.no_grad():
        dense = network(torch.tensor(inputs))
        ragged = network(torch.tensor(inputs[some]), torch.tensor(lengths[some]))
    differ("PyTorch", case.name, numpy.load(case / "outputs.npy"), dense)
    ours = numpy.load(case / "outputs_ragged.npy")[some]
    differ("PyTorch, lengths", case.name, ours, ragged, lengths[some])
    # A state dict that PyTorch saved is imported bit for bit.
    saved = case / "saved.safetensors"
    safetensors.torch.save_model(network, str(saved))
    back = case.parent / f"{case.name} from PyTorch"
    if about["told"]:
        gatescan("import", saved, "-o", back, *options(about))
        same(case / "model.safetensors", back / "model.safetensors")
    return back if about["told"] else None


def same(ours, back):
    ours, back = (safetensors.torch.load_file(path) for path in (ours, back))
    assert ours.keys() == back.keys(), f"{back.keys()}"
    for name in ours:
        assert ours[name].numpy().tobytes() == back[name].numpy().tobytes(), name


def check_keras(case, about):
    _, inputs, lengths = sequences(case)
    program = module(case / "model_keras.py")
    differ(
        "Keras",
        case.name,
        numpy.load(case / "outputs.npy"),
        keras.ops.convert_to_numpy(program.load()(inputs)),
    )
    masked = program.load(masked=True)
    mask = numpy.arange(inputs.shape[1])[None] < lengths[:, None]
    outputs = keras.ops.convert_to_numpy(masked([inputs, mask]))
    ours = numpy.load(case / "outputs_ragged.npy")
    if about["reads"] in ("mean", "max"):
        some = lengths > 0  # Keras's mean of no steps is NaN.
        ours, outputs, lengths = ours[some], outputs[some], lengths[some]
    differ("Keras, mask", case.name, ours, outputs, lengths)
    # Weights that Keras saved are imported bit for bit.
    masked.save(case / "model.keras")
    model = keras.models.load_model(case / "model.keras")
    for saved in save_keras(model, case / "saved") if about["told"] else ():
        back = case.parent / f"{case.name} from {saved.name}"
        gatescan("import", saved, "-o", back, *options(about))
        gatescan("export", back, "--to", "keras", "--quiet")
        first, second = (place / "model_keras.weights.h5" for place in (case, back))
        assert first.read_bytes() == second.read_bytes(), f"{case.name} {saved.name}"


def check_heads(case, about):
    """Compares the outputs of several heads of one network."""
    _, inputs, lengths = sequences(case)
    masked = numpy.arange(inputs.shape[1])[None] < lengths[:, None]
    some = lengths > 0
    network = module(case / "model_pytorch.py").load()
    program = module(case / "model_keras.py")
    session = {
        ragged: onnxruntime.InferenceSession(case / file, providers=["CPUExecutionProvider"])
        for file, ragged in (("model.onnx", False), ("lengths.onnx", True))
    }
    for ragged in (False, True):
        feed = {"inputs": inputs}
        if ragged:
            feed["lengths"] = lengths.astype(numpy.int32)
        names = [each.name for each in session[ragged].get_outputs()]
        graph = dict(zip(names, session[ragged].run(None, feed)))
        with torch.no_grad():
            if ragged:
                theirs = network(torch.tensor(inputs[some]), torch.tensor(lengths[some]))
                of_keras = program.load(masked=True)([inputs, masked])
            else:
                theirs, of_keras = network(torch.tensor(inputs)), program.load()(inputs)
        valid = lengths if ragged else None
        for name in about["heads"]:
            file = "outputs_ragged" if ragged else "outputs"
            ours = numpy.load(case / f"{file}_{name}.npy")
            what = ", heads and lengths" if ragged else ", heads"
            differ("ONNX Runtime" + what, case.name, ours, graph[f"outputs.{name}"], valid)
            rows = some if ragged else slice(None)
            own = lengths[some] if ragged else None
            differ("PyTorch" + what, case.name, ours[rows], theirs[name], own)
            keras_outputs = keras.ops.convert_to_numpy(of_keras[name])[rows]
            differ("Keras" + what, case.name, ours[rows], keras_outputs, own)
        powers = numpy.exp(numpy.load(case / f"{file}_state.npy"))
        states = powers / powers.sum(-1, keepdims=True)
        alarms = 1 / (1 + numpy.exp(-numpy.load(case / f"{file}_alarms.npy")))
        for name, expected in (("state", states), ("alarms", alarms)):
            found = graph[f"probabilities.{name}"]
            differ("ONNX Runtime, heads, probabilities", case.name, expected, found, valid)


def save_keras(model, stem):
    """Saves the model in every form that gatescan reads; returns the files."""
    model.save_weights(f"{stem}.weights.h5")
    model.save(f"{stem}.keras")
    numpy.savez(f"{stem}.npz", **{w.path: w for w in model.weights})
    return [Path(f"{stem}.{form}") for form in ("npz", "weights.h5", "keras")]


def check_tensorboard(place):
    """Compares the scalars that TensorBoard reads of a resumed run with its metrics."""
    run = place / "run"
    few = ["--device", "cpu", "--tensorboard", "--json", "--quiet"]
    begin = [
        "series",
        "--epochs",
        "2",
        "--hidden-size",
        "4",
        "--report-every",
        "3",
        "--set",
        "data.windows=1000",
    ]
    gatescan("train", *begin, "--out", run, *few, prints=True)
    gatescan("train", "--resume", run, "--epochs", "4", *few, prints=True)
    events = EventAccumulator(str(run)).Reload()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for tag, key in (
        ("loss/train", "train_loss"),
        ("loss/test", "test_loss"),
        ("loss/report", "loss"),
    ):
        values = [line[key] for line in lines if line.get(key) is not None]
        read = [scalar.value for scalar in events.Scalars(tag)]
        assert len(values) >= 4, tag
        differ("TensorBoard", tag, numpy.float32(values), numpy.float32(read))


class Torch(nn.Module):
    """A network with names that users choose."""

    def __init__(self, *layers, classes=4, every=False, embedding=None):
        super().__init__()
        self.embed = embedding
        self.encoder = nn.ModuleList(layers)
        sides = 2 if layers[-1].bidirectional else 1
        self.fc = nn.Linear(sides * (layers[-1].proj_size or layers[-1].hidden_size), classes)
        self.every = every

    def forward(self, x):
        if self.embed is not None:
            x = self.embed(x)
        for layer in self.encoder:
            x, state = layer(x)
        h = state[0] if isinstance(state, tuple) else state
        if self.every:
            return self.fc(x)
        return self.fc(h[-(2 if layer.bidirectional else 1) :].transpose(0, 1).flatten(1))


def torch_models():
    yield "torch-lstm", Torch(nn.LSTM(3, 8, num_layers=2, batch_first=True)), []
    yield (
        "torch-gru-both",
        Torch(nn.GRU(3, 5, num_layers=2, batch_first=True, bidirectional=True), every=True),
        ["--reads", "every"],
    )
    yield (
        "torch-relu",
        Torch(nn.RNN(3, 5, batch_first=True, nonlinearity="relu")),
        ["--cell", "rnn-relu"],
    )
    yield (
        "torch-projected",
        Torch(nn.LSTM(3, 8, num_layers=2, batch_first=True, proj_size=5, bidirectional=True)),
        [],
    )
    yield (
        "torch-many",
        Torch(*(nn.GRU(3 + n, 4 + n, batch_first=True) for n in range(12)), classes=1),
        [],
    )
    embedding = nn.Embedding(11, 6)
    yield (
        "torch-embedding",
        Torch(nn.LSTM(6, 6, batch_first=True, bias=False), embedding=embedding, every=True),
        ["--reads", "every"],
    )


def keras_models():
    layers = keras.layers
    yield (
        "keras-lstm",
        [
            keras.Input([None, 3]),
            layers.LSTM(6, return_sequences=True),
            layers.LSTM(5),
            layers.Dense(4),
        ],
        [],
    )
    yield (
        "keras-gru",
        [keras.Input([None, 3]), layers.GRU(6, return_sequences=True), layers.Dense(1)],
        ["--reads", "every"],
    )
    yield (
        "keras-gru-before",
        [keras.Input([None, 3]), layers.GRU(6, reset_after=False), layers.Dense(4)],
        [],
    )
    yield (
        "keras-relu",
        [keras.Input([None, 3]), layers.SimpleRNN(6, activation="relu"), layers.Dense(4)],
        ["--cell", "rnn-relu"],
    )
    yield (
        "keras-both",
        [
            keras.Input([None], dtype="int32"),
            layers.Embedding(11, 6),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True, dropout=0.2)),
            layers.Bidirectional(layers.GRU(4)),
            layers.Dense(4),
        ],
        [],
    )
    yield (
        "keras-mixed",
        [
            keras.Input([None, 3]),
            layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
            layers.LSTM(8, return_sequences=True),
            layers.GRU(7, return_sequences=True),
            layers.LSTM(6),
            layers.Dense(4),
        ],
        [],
    )


def write_sequences(case, tokens):
    random = numpy.random.default_rng(1)
    if tokens:
        numpy.save(case / "tokens.npy", random.integers(0, 11, (4, 7)))
    else:
        numpy.save(case / "inputs.npy", random.standard_normal((4, 7, 3)).astype(numpy.float32))
    numpy.save(case / "lengths.npy", numpy.full(4, 7))


def main():
    global PROGRAM
    # Building the tests builds the program.
    subprocess.run(
        ["cargo", "test", "--quiet", "--no-run", "--test", "interop"], cwd=ROOT, check=True
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    PROGRAM = str(target / "debug" / ("gatescan.exe" if os.name == "nt" else "gatescan"))
    with tempfile.TemporaryDirectory() as place:
        check(Path(place))
    random_keras_models.check(PROGRAM)
    print(f"{'':34}{'networks':>9}  worst difference")
    for what, (count, worst, name) in WORST.items():
        print(f"{what:34}{count:9}  {worst:.2e} ({name})")
    if any(not worst <= BOUND for _, worst, _ in WORST.values()):
        sys.exit(f"beyond {BOUND:.0e}")
    print(f"all within {BOUND:.0e}; every round trip bit for bit")


def check(place):
    rust("write_cases", place)
    cases = sorted(path.parent for path in place.glob("*/case.json"))
    abouts = {case: json.loads((case / "case.json").read_text()) for case in cases}
    for case in cases:
        export(case, abouts[case])
    torch.manual_seed(0)
    theirs = {}
    for name, network, given in torch_models():
        case = place / name
        case.mkdir()
        write_sequences(case, network.embed is not None)
        safetensors.torch.save_file(network.state_dict(), place / f"{name}.safetensors")
        gatescan("import", place / f"{name}.safetensors", "-o", case, "--quiet", *given)
        with torch.no_grad():
            theirs[case] = "from PyTorch", network(torch.tensor(sequences(case)[1])).numpy()
    keras.utils.set_random_seed(0)
    for name, layers, given in keras_models():
        case, model = place / name, keras.Sequential(layers)
        case.mkdir()
        for weight in model.weights:  # Biases start as zeros, which would hide mistakes.
            weight.assign(keras.random.uniform(weight.shape, -0.5, 0.5))
        write_sequences(case, "both" in name)
        for saved in save_keras(model, place / name):
            back = case if saved.suffix == ".npz" else case / saved.name
            gatescan("import", saved, "-o", back, "--quiet", *given)
            same(case / "model.safetensors", back / "model.safetensors")
        theirs[case] = "from Keras", keras.ops.convert_to_numpy(model(sequences(case)[1]))
    rust("answer_cases", place)
    for case in cases:
        about = abouts[case]
        if about["heads"]:
            check_heads(case, about)
            continue
        check_onnx(case)
        if "pytorch" not in about["lacks"]:
            check_pytorch(case, about)
        if "keras" not in about["lacks"]:
            check_keras(case, about)
    check_tensorboard(place)
    for case, (what, outputs) in theirs.items():
        differ(what, case.name, numpy.load(case / "outputs.npy"), outputs)


if __name__ == "__main__":
    main()
